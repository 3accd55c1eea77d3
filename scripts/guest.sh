# For scripts that run the lock in a virtual machine: sourced by them, after `work` is set. Debian's
# kernel with modules, and a root that holds the commands, the contender and `scripts/filesystems.sh`.
# As root on Debian.
source scripts/retry.bash

root=$work/root

# guest_packages PACKAGE...: installs them and qemu, and unpacks the kernel. Prints what fails.
guest_packages() {
    retry install_guest_packages "$@" >"$work/install.log" 2>&1 || { cat "$work/install.log" && exit 1; }
}

install_guest_packages() {
    local kernel
    apt-get update -qq &&
        apt-get install -y -qq --no-install-recommends \
            qemu-system-x86 busybox-static kmod netbase iproute2 gawk bsdmainutils "$@" &&
        kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends/ && !found++ { print $2 }') &&
        (cd "$work" && apt-get download -qq "$kernel" && dpkg -x "$kernel"_*.deb "$work/kernel")
}

# Copies files into the guest's root, with the libraries that they need.
copy_files() {
    local file
    { printf '%s\n' "$@" && { ldd "$@" 2>/dev/null || true; } | grep -o '/[^ :]*'; } | sort -u |
        while read -r file; do
            mkdir -p "$root$(dirname "$file")"
            cp -L "$file" "$root$file"
        done
}

# guest_root INIT COMMAND...: the root of a guest that runs the script INIT and has the commands.
guest_root() {
    local init=$1 name
    shift
    mkdir -p "$root"/usr/{bin,sbin,lib,lib64} "$root"/{dev,proc,sys,tmp,export,one,two,etc,run,rvlf/scripts}
    for name in bin sbin lib lib64; do
        ln -s "usr/$name" "$root/$name"
    done
    for name in libnss_files libgcc_s; do
        find /usr/lib -name "$name.so*" -exec cp -L --parents {} "$root" \;
    done
    local commands=(bash awk basename cat chmod column cp cut date dirname find flock grep head id ln ls
        mkdir mkfifo mktemp mount nsenter paste rm sed seq sleep sort tail touch tr umount unshare wc
        xargs hostname modprobe ip "$@")
    mapfile -t commands < <(which "${commands[@]}")
    copy_files "${commands[@]}"
    cp /bin/busybox "$root/bin/busybox"
    cp -r "$work"/kernel/lib/modules "$root/lib/"
    depmod -b "$root" "$(ls "$work/kernel/lib/modules")"
    echo 'root:x:0:0::/:/bin/bash' >"$root/etc/passwd"
    cp /etc/protocols /etc/services "$root/etc/"
    cp scripts/guest_init.sh "$root/rvlf/scripts/"
    install -m 755 "$init" "$root/init"
}

# nfs_root INIT COMMAND...: the root of a guest that serves NFS, or is a client.
nfs_root() {
    guest_root "$1" exportfs rpc.nfsd rpc.mountd "${@:2}"
    mkdir -p "$root"/var/lib/nfs/{v4recovery,rpc_pipefs}
    cp /etc/netconfig "$root/etc/"
    # Whom rpcbind becomes.
    echo '_rpc:x:100:65534::/run/rpcbind:/bin/false' >>"$root/etc/passwd"
    touch "$root"/var/lib/nfs/{etab,rmtab}
    echo '/export *(rw,no_root_squash,fsid=0,insecure,no_subtree_check)' >"$root/etc/exports"
}

# smb_root INIT COMMAND...: the same with Samba.
smb_root() {
    guest_root "$1" smbd smbpasswd "${@:2}"
    # What smbd opens at run time by name.
    mapfile -t libraries < <(find /usr/lib/*/samba -name '*.so*')
    copy_files "${libraries[@]}"
    mkdir -p "$root"/{etc/samba,var/lib/samba/private,var/cache/samba,var/log/samba,run/samba}
    cat >"$root/etc/samba/smb.conf" <<'END'
[global]
    server role = standalone server
    interfaces = 10.0.0.1
    # The locks of a client that is gone last as long as its connection.
    socket options = TCP_NODELAY SO_KEEPALIVE TCP_KEEPIDLE=5 TCP_KEEPINTVL=5 TCP_KEEPCNT=2 TCP_USER_TIMEOUT=15000
    bind interfaces only = no
    map to guest = never
    guest account = root
    disable netbios = yes
    load printers = no
    unix password sync = no
[export]
    path = /export
    read only = no
    force user = root
END
}

# Packs the root into the initial memory disk that the guest boots from.
pack_guest() {
    (cd "$root" && find . | busybox cpio -o -H newc | gzip -1) >"$work/initrd" 2>/dev/null
}

# Boots the guest to run `promises`, and fails if it does not report that no promise was broken.
run_guest() {
    cp scripts/filesystems.sh scripts/places.bash "$root/rvlf/scripts/"
    cp "${CARGO_TARGET_DIR:-target}"/debug/{contender,examples/numbered_manifests} "$root/rvlf/"
    pack_guest
    timeout 1800 qemu-system-x86_64 -accel tcg -cpu max -smp 2 -m 3072 -nographic -no-reboot \
        -kernel "$work"/kernel/boot/vmlinuz-* -initrd "$work/initrd" \
        -append "console=ttyS0 quiet no_timer_check panic=-1 rdinit=/init" | tee "$work/console"
    grep -q '^every promise was kept' "$work/console"
}
