#!/usr/bin/env bash
# The lock on SMB 3.1.1: a virtual machine is the Samba server of a directory and two clients of it, and
# runs `scripts/filesystems.sh mounts` over their mounts, with the default options (where flock is a
# mandatory lock of the server) and with `nobrl` (where flock stays on the client).
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
guest_packages samba >"$work/install.log" 2>&1 || { cat "$work/install.log"; exit 1; }
guest_root scripts/smb_init.sh smbd smbpasswd
# What smbd opens at run time by name.
mapfile -t modules < <(find /usr/lib/*/samba -name '*.so*')
copy_files "${modules[@]}"
mkdir -p "$root"/{etc/samba,var/lib/samba/private,var/cache/samba,var/log/samba,run/samba}
cat >"$root/etc/samba/smb.conf" <<'END'
[global]
    server role = standalone server
    interfaces = 10.0.0.1
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
run_guest
