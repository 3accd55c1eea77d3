#!/usr/bin/env bash
# The lock on SMB 3.1.1: a virtual machine is the Samba server of a directory and two clients of it, and
# runs `scripts/filesystems.sh mounts` over their mounts: with the default options (where flock is a mandatory
# lock of the server), with `nobrl` (where flock stays on the client), and both also with `nolease`. Only with
# `nolease` do processes race: scripts/hosts/smb_leases.sh says why.
#
#   scripts/smb.sh
#
# As root on Debian: it installs qemu, Samba and a kernel with modules. Some minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d -t rvlf-test-smb-XXXXXX)
trap 'rm -rf "$work"' EXIT
source scripts/guest.sh

cargo build --quiet -p rvlf-tests --bin contender
cargo build --quiet --example numbered_manifests
guest_packages samba
smb_root scripts/smb_init.sh
run_guest
