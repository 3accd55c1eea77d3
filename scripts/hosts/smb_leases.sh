# SMB 3.1.1, served by Samba, with the default options. Not among the places that run by default: Samba 4.17
# leaves the opens of clients that race without an answer, and the race does not end (spec/evidence.md).
modules=(cifs)

serve() {
    serve_smb
}

attach() {
    attach_smb
}
