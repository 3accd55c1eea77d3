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
source scripts/guest.sh

cargo build --quiet -p rvlf-tests --bin contender
cargo build --quiet --example numbered_manifests
guest_packages nfs-kernel-server nfs-common libtirpc-common
nfs_root scripts/nfs_init.sh
run_guest
