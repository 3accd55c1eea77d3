#!/bin/bash
# What the virtual machine of scripts/power does: check each disk after the cut, and write until the next.
source /rvlf/scripts/guest_init.sh
modprobe -a virtio_pci virtio_blk ext4 xfs btrfs
hostname power
# Most writes that no program has synced reach the disk early, so that a cut finds them in many orders.
echo 5 >/proc/sys/vm/dirty_writeback_centisecs
echo 10 >/proc/sys/vm/dirty_expire_centisecs

# The disk that the host calls so.
device() {
    local found
    found=$(grep -lx "$1" /sys/block/*/serial)
    found=${found%/serial}
    echo "/dev/${found##*/}"
}

open_disk() {
    case $1 in
    ext4) mount -t ext4 -o commit=1 "$(device ext4)" "$2" ;;
    ext4-nojournal) { e2fsck -fy "$(device "$1")" >/tmp/e2fsck 2>&1 || (($? < 4)); } && mount -t ext4 "$(device "$1")" "$2" ;;
    xfs) mount -t xfs "$(device xfs)" "$2" ;;
    btrfs) mount -t btrfs -o commit=1 "$(device btrfs)" "$2" ;;
    esac
}

RVLF_POWER_MARKS=$(device marks)
export RVLF_POWER_MARKS RVLF_POWER_LOG=/rvlf/append_log
export RVLF_POWER_NO_SYNC=/rvlf/no_sync.so RVLF_POWER_NO_TMPFILE=/rvlf/no_tmpfile.so
read -r boot_id </proc/sys/kernel/random/boot_id
echo "boot | $boot_id"
read -ra names </rvlf/names
for name in "${names[@]}"; do
    dir=/disks/$name
    mkdir -p "$dir"
    open_disk "$name" "$dir" || echo "power | $name | disk | BROKEN | cannot be mounted"
    /rvlf/power check "$dir" "$name" <"$(device expected)"
    rm -rf "${dir:?}"/*
    sync -f "$dir"
    /rvlf/power note "$name" all emptied
done
for name in "${names[@]}"; do
    /rvlf/power write "/disks/$name" "$name" || echo "power | $name | writers | BROKEN | they ended" &
done
wait
