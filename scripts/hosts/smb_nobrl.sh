# SMB 3.1.1, served by Samba, with nolease and nobrl: flock stays on the client.
modules=(cifs)

serve() {
    serve_smb
}

attach() {
    attach_smb nolease,nobrl
}
