# NFSv4.2, served by the kernel.
modules=(nfsd nfs nfsv4)

serve() {
    serve_nfs --no-nfs-version 3
}

attach() {
    mount.nfs "$server:/" /mnt -o "vers=4.2,clientaddr=$address"
}
