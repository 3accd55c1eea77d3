#!/bin/bash
# What the virtual machine of smb.sh does: serve a directory, mount it as two clients do, and try the
# promises.
source /rvlf/scripts/guest_init.sh
modprobe -a cifs veth
make_clients
(echo secret; echo secret) | smbpasswd -a -s root
smbd --daemon
until (echo >/dev/tcp/10.0.0.1/445) 2>/dev/null; do sleep 0.2; done

# A file that was removed blocks its name until it is closed.
export RVLF_TEST_REMOVAL=pending
kept=yes
for options in nolease nolease,nobrl brl nobrl; do
    mkdir "/export/$options"
    # With leases no races: the server leaves some opens without an answer (spec/evidence.md).
    [[ $options == nolease* ]] && export RVLF_TEST_ROUNDS=3 || export RVLF_TEST_ROUNDS=0
    # With brl, which is the default, no process can read the record of a stopped holder, and so break its lock.
    [[ $options == *nobrl ]] && export RVLF_TEST_ROW= || export RVLF_TEST_ROW=link
    [[ $options == nolease ]] && export RVLF_TEST_TABLE=yes || export RVLF_TEST_TABLE=
    common=vers=3.1.1,username=root,password=secret,ip=10.0.0.1,$options
    busybox mount -t cifs -o "$common" //10.0.0.1/export /one
    "${second[@]}" busybox mount -t cifs -o "$common" //10.0.0.1/export /two
    grep cifs /proc/mounts
    promises "/one/$options" "/two/$options" || kept=no
    umount /one /two
done
[[ $kept == no ]] || echo "every promise was kept"
busybox poweroff -f
