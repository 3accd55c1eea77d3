#!/bin/bash
# What each host of hosts.sh does when it boots: it becomes the server or a client, mounts the export, and
# then runs the commands that the host of the virtual machines sends. The kernel's command line sets:
#   host      its name; `server` serves
#   place     a file of scripts/hosts/
#   address   its address on the network of the hosts
#   lease     of an NFS server, in seconds
#   control   the port of the control network that sends commands
source /rvlf/scripts/guest_init.sh
source "/rvlf/scripts/hosts/$place.sh"
server=10.0.0.1

# A disk that survives the host: what is exported, and what daemons remember across a boot.
open_disk() {
    modprobe -a virtio_pci virtio_blk
    until mount /dev/vda /disk 2>/dev/null; do sleep 0.1; done
    mkdir -p /disk/{export,nfs}
    cp -rn /var/lib/nfs/. /disk/nfs/ 2>/dev/null
    mount --bind /disk/export /export
    mount --bind /disk/nfs /var/lib/nfs
}

# eth0 joins the hosts, and fails in the tests; eth1 leads to the host of the virtual machines, and does not.
join_networks() {
    modprobe virtio_net
    until [[ -e /sys/class/net/eth1 ]]; do sleep 0.1; done
    hostname "$host"
    ip address add "$address/24" dev eth0
    ip address add 10.0.2.15/24 dev eth1
    ip link set eth0 up
    ip link set eth1 up
}

start_statd() {
    rpcbind -w
    until rpcinfo -p >/dev/null 2>&1; do sleep 0.2; done
    # It also notifies the hosts that it knew before the boot.
    rpc.statd
}

# serve_nfs RPC.NFSD-OPTION...
serve_nfs() {
    mount -t nfsd nfsd /proc/fs/nfsd
    echo "$lease" >/proc/fs/nfsd/nfsv4leasetime
    echo "$lease" >/proc/fs/nfsd/nfsv4gracetime
    echo "$lease" >/proc/sys/fs/nfs/nlm_grace_period
    exportfs -a
    rpc.nfsd "$@" --no-udp 8
    rpc.mountd
}

serve_smb() {
    (echo secret; echo secret) | smbpasswd -a -s root
    smbd --daemon
}

# attach_smb [OPTION..]
attach_smb() {
    local options=vers=3.1.1,username=root,password=secret,ip=$server${1:+,$1}
    busybox mount -t cifs -o "$options" "//$server/export" /mnt
}

open_disk
join_networks
modprobe -a "${modules[@]}"
if [[ $host == server ]]; then
    serve
    # Data of its own in the export: a mount of it is a mount of the right one.
    mkdir -p /export/dir
    chmod 777 /export/dir
else
    until attach && [[ -d /mnt/dir ]]; do
        umount /mnt 2>/dev/null
        sleep 1
    done
    grep /mnt /proc/mounts
fi
exec {commands}<>"/dev/tcp/10.0.2.2/$control"
echo "host $host $(</proc/sys/kernel/random/boot_id) $(date +%s.%N)" >&"$commands"
while read -r command <&"$commands"; do
    echo "\$ $command"
    bash -c "$command" </dev/null &
done
busybox poweroff -f
