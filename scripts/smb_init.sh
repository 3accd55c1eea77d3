#!/bin/bash
# What the virtual machine of smb.sh does: serve a directory, mount it as two clients do, and try the
# promises.
source /rvlf/scripts/guest_init.sh
modprobe -a cifs veth
make_clients
(echo secret; echo secret) | smbpasswd -a -s root
smbd --daemon
until (echo >/dev/tcp/10.0.0.1/445) 2>/dev/null; do sleep 0.2; done
mkdir /export/{default,nobrl}

# A file that was removed blocks its name until it is closed. No races: the client keeps a removed file
# open for contenders that poll, and a race over two mounts may not end (spec/evidence.md).
export RVLF_TEST_REMOVAL=pending RVLF_TEST_ROUNDS=0
kept=yes
for options in default nobrl; do
    chosen=
    # With the default options no process can read the record of a stopped holder, and so break its lock.
    [[ $options == nobrl ]] && export RVLF_TEST_ROW= || export RVLF_TEST_ROW=link
    [[ $options == default ]] || chosen=,$options
    common=vers=3.1.1,username=root,password=secret,ip=10.0.0.1$chosen
    busybox mount -t cifs -o "$common" //10.0.0.1/export /one
    "${second[@]}" busybox mount -t cifs -o "$common" //10.0.0.1/export /two
    grep cifs /proc/mounts
    promises "/one/$options" "/two/$options" || kept=no
    umount /one /two
done
[[ $kept == no ]] || echo "every promise was kept"
busybox poweroff -f
