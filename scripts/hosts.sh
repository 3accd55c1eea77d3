#!/usr/bin/env bash
# The lock on several machines: a server and its clients, each a virtual machine with a kernel, a boot, a
# clock and a name of its own. Clients contend, die, are cut off from the network; the server dies and boots.
# A witness outside of the lock counts the holds that overlap.
#
#   scripts/hosts.sh [PLACE...]              all places by default, with three clients; about 40 minutes
#   scripts/hosts.sh --short [PLACE...]      nfs4 by default, with two clients: contention and a client that dies
#   scripts/hosts.sh --defaults [PLACE...]   with the default ages of the lock, without RVLF_STALE_AFTER
#   scripts/hosts.sh --only NAME ..          only the scenarios with such a name, such as long_cut
#
# A place is a file of scripts/hosts/. As root on Debian: it installs qemu, the servers and a kernel with
# modules. The virtual machines reach one another by multicast on the loopback interface.
set -euo pipefail
cd "$(dirname "$0")/.."

places=() options=()
while (($#)); do
    case $1 in
        --short | --defaults) options+=("$1") ;;
        --only) options+=("--only=$2") && shift ;;
        *) places+=("$1") ;;
    esac
    shift
done
if ((${#places[@]} == 0)); then
    if [[ " ${options[*]} " == *" --short "* ]]; then places=(nfs4); else places=(nfs4 nfs3 smb smb_nobrl); fi
fi

work=$(mktemp -d -t rvlf-test-hosts-XXXXXX)
# A shell does not act on a signal while it waits for a child in the foreground.
running=
# What is known, also when it was cut short.
finish() {
    local status=$?
    trap - EXIT
    echo
    [[ ! -e $work/report ]] || column -t -s $'\t' "$work/report"
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap '[[ -z $running ]] || kill "$running" 2>/dev/null; wait; exit 130' INT TERM
source scripts/guest.sh

# The modules of the place, and no others: a guest unpacks what it is given by software emulation.
keep_modules() {
    local kernel kept
    kernel=$(ls "$root/lib/modules")
    kept=$(modprobe -d "$root" -S "$kernel" --show-depends -a virtio_pci virtio_blk virtio_net "$@" |
        awk '$1 == "insmod" { print $2 }' | sort -u)
    # The client of SMB requests ciphers by name.
    find "$root/lib/modules" -name '*.ko' -not -path '*/crypto/*' | grep -vxF "$kept" | xargs rm
    depmod -b "$root" "$kernel"
}

# make_root PLACE: the initial RAM disk of the hosts of the place.
make_root() {
    local modules
    source "scripts/hosts/$1.sh"
    rm -rf "$root"
    case $1 in
        nfs*) nfs_root scripts/hosts/init.bash rpcbind rpcinfo rpc.statd sm-notify mount.nfs umount.nfs ;;
        smb*) smb_root scripts/hosts/init.bash ;;
    esac
    mkdir -p "$root"/{disk,mnt,var/lib/nfs/sm,var/lib/nfs/sm.bak,run/rpcbind,rvlf/scripts/hosts}
    cp scripts/hosts/*.sh "$root/rvlf/scripts/hosts/"
    cp "${CARGO_TARGET_DIR:-target}/debug/contender" "$root/rvlf/"
    keep_modules "${modules[@]}"
    pack_guest
}

cargo build --quiet -p rvlf-tests --bin contender
guest_packages python3 e2fsprogs nfs-kernel-server nfs-common libtirpc-common rpcbind samba
status=0
for place in "${places[@]}"; do
    [[ -f scripts/hosts/$place.sh ]] || { echo "no place has the name: $place" >&2 && exit 2; }
    make_root "$place"
    echo "--- $place"
    python3 scripts/hosts/run.py "${options[@]}" --place "$place" --work "$work" --report "$work/report" &
    running=$!
    wait "$running" || status=$?
done
exit "$status"
