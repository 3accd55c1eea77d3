#!/usr/bin/env bash
# The lock on the kernel's own NFSv4.2: a virtual machine is the server of a directory and two
# clients of it, and runs `scripts/filesystems.sh mounts` over their mounts.
#
#   scripts/nfs.sh
#
# As root on Debian: it installs qemu, an NFS server's tools and a kernel with modules. Some minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d -t rvlf-test-nfs-XXXXXX)
trap 'rm -rf "$work"' EXIT
root=$work/root

install_packages() {
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends \
        qemu-system-x86 busybox-static nfs-kernel-server nfs-common kmod \
        netbase libtirpc-common iproute2 gawk bsdmainutils
    local kernel
    kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends/ { print $2; exit }')
    (cd "$work" && apt-get download -qq "$kernel" && dpkg -x "$kernel"_*.deb "$work/kernel")
}

# Copies commands into the machine's root, with the libraries that they need.
copy_commands() {
    local command file
    for command in "$@"; do
        command=$(command -v "$command")
        for file in "$command" $(ldd "$command" 2>/dev/null | grep -o '/[^ ]*'); do
            mkdir -p "$root$(dirname "$file")"
            cp -L "$file" "$root$file"
        done
    done
}

make_root() {
    local name
    mkdir -p "$root"/usr/{bin,sbin,lib,lib64} "$root"/{dev,proc,sys,tmp,export,one,two,etc,run,var/lib/nfs/{v4recovery,rpc_pipefs},rvlf/scripts}
    for name in bin sbin lib lib64; do
        ln -s "usr/$name" "$root/$name"
    done
    for name in libnss_files libgcc_s; do
        find /usr/lib -name "$name.so*" -exec cp -L --parents {} "$root" \;
    done
    copy_commands bash awk basename cat chmod column cp cut date dirname find flock grep head id ls \
        mkdir mkfifo mktemp mount nsenter paste rm sed seq sleep sort tail touch tr umount unshare wc xargs \
        hostname exportfs rpc.nfsd rpc.mountd modprobe ip
    cp /bin/busybox "$root/bin/busybox"
    cp -r "$work"/kernel/lib/modules "$root/lib/"
    depmod -b "$root" "$(ls "$work/kernel/lib/modules")"
    echo 'root:x:0:0::/:/bin/bash' >"$root/etc/passwd"
    cp /etc/protocols /etc/services /etc/netconfig "$root/etc/"
    touch "$root"/var/lib/nfs/{etab,rmtab}
    echo '/export *(rw,no_root_squash,fsid=0,insecure,no_subtree_check)' >"$root/etc/exports"
    cp scripts/filesystems.sh "$root/rvlf/scripts/"
    cp "${CARGO_TARGET_DIR:-target}/debug/contender" "$root/rvlf/"
    cp scripts/nfs_init.sh "$root/init"
}

cargo build --quiet -p rvlf-tests --bin contender
install_packages >"$work/install.log" 2>&1 || { cat "$work/install.log"; exit 1; }
make_root
(cd "$root" && find . | busybox cpio -o -H newc | gzip -1) >"$work/initrd" 2>/dev/null
timeout 900 qemu-system-x86_64 -accel tcg -cpu max -smp 2 -m 2048 -nographic -no-reboot \
    -kernel "$work"/kernel/boot/vmlinuz-* -initrd "$work/initrd" \
    -append "console=ttyS0 quiet panic=-1 rdinit=/init" | tee "$work/console"
grep -q '^no promise was broken' "$work/console"
