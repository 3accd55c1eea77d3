# What the guests of nfs.sh and smb.sh share: sourced by their init scripts.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
[[ -e /dev/fd ]] || busybox ln -s /proc/self/fd /dev/fd
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /export
chmod 1777 /tmp
ip link set lo up

# Two clients of the server at 10.0.0.1, each with a name and a network of its own: mounts of one client
# share their state. `second` is the prefix of a command that the second client runs.
make_clients() {
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
}

# promises ONE TWO: tries the promises over two mounts of one directory.
promises() {
    (cd /rvlf && RVLF_CONTENDER=/rvlf/contender RVLF_ROW=/rvlf/numbered_manifests RVLF_TEST_MOUNTS=$1:$2 \
        bash scripts/filesystems.sh mounts)
}
