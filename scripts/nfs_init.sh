#!/bin/bash
# What the virtual machine of nfs.sh does: serve a directory, mount it as two clients do, and try the
# promises.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
[[ -e /dev/fd ]] || busybox ln -s /proc/self/fd /dev/fd
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /export
chmod 1777 /tmp
ip link set lo up
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

# Two clients, each with a name and a network of its own: mounts of one client share their state.
hostname one
unshare --net --uts sleep infinity &
second=(nsenter --target $! --net --uts)
ip link add veth0 type veth peer name veth1
until ip link set veth1 netns $!; do sleep 0.1; done
ip address add 10.0.0.1/24 dev veth0
ip link set veth0 up
"${second[@]}" hostname two
"${second[@]}" ip address add 10.0.0.2/24 dev veth1
"${second[@]}" ip link set veth1 up
busybox mount -t nfs4 -o vers=4.2,addr=10.0.0.1,clientaddr=10.0.0.1 10.0.0.1:/ /one
"${second[@]}" busybox mount -t nfs4 -o vers=4.2,addr=10.0.0.1,clientaddr=10.0.0.2 10.0.0.1:/ /two
grep nfs4 /proc/mounts
cd /rvlf
RVLF_CONTENDER=/rvlf/contender RVLF_TEST_MOUNTS=/one/dir:/two/dir bash scripts/filesystems.sh mounts
busybox poweroff -f
