# NFSv3, served by the kernel, with lockd and statd.
modules=(nfsd nfs nfsv3)

serve() {
    start_statd
    serve_nfs --no-nfs-version 4
}

attach() {
    start_statd
    mount.nfs "$server:/export" /mnt -o vers=3
}
