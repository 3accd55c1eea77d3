# SMB 3.1.1, served by Samba, with nolease: flock is a mandatory lock of the server.
modules=(cifs)

serve() {
    serve_smb
}

attach() {
    attach_smb nolease
}
