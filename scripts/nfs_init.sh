#!/bin/bash
# What the virtual machine of nfs.sh does: serve a directory, mount it as two clients do, and try the
# promises.
source /rvlf/scripts/guest_init.sh
modprobe -a nfsd nfs nfsv4 veth
mount -t nfsd nfsd /proc/fs/nfsd
# A server that has just started waits for clients to claim their old locks: there are none.
echo 10 >/proc/fs/nfsd/nfsv4leasetime
echo 10 >/proc/fs/nfsd/nfsv4gracetime
exportfs -a
rpc.nfsd --no-nfs-version 3 --no-udp 8
rpc.mountd
echo Y >/proc/fs/nfsd/v4_end_grace
mkdir /export/dir

make_clients
busybox mount -t nfs4 -o vers=4.2,addr=10.0.0.1,clientaddr=10.0.0.1 10.0.0.1:/ /one
"${second[@]}" busybox mount -t nfs4 -o vers=4.2,addr=10.0.0.1,clientaddr=10.0.0.2 10.0.0.1:/ /two
grep nfs4 /proc/mounts
export RVLF_TEST_TABLE=yes
promises /one/dir /two/dir && echo "every promise was kept"
busybox poweroff -f
