# SMB 3.1.1, served by Samba, with the default options: flock is a mandatory lock of the server.
modules=(cifs)

serve() {
    serve_smb
}

attach() {
    attach_smb
}
