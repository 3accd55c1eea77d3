# Big endian: vectors, the judge's table and processes on s390x, by qemu-user.
source "$(dirname "$0")/common.bash"

packages qemu-user-static gcc-s390x-linux-gnu libc6-dev-s390x-cross
target=s390x-unknown-linux-gnu
std_for $target || skip "no standard library for $target"
export CARGO_TARGET_S390X_UNKNOWN_LINUX_GNU_LINKER=s390x-linux-gnu-gcc
export CARGO_TARGET_S390X_UNKNOWN_LINUX_GNU_RUNNER=qemu-s390x-static
export CARGO_TARGET_S390X_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C target-feature=+crt-static"

# The other tests of the judge's table take minutes by emulation.
cargo test "${cargo_std[@]}" -p rvlf-tests --test spec -- \
    vectors:: spec_table:: judge_follows_the_table_for_every_combination_of_evidence

# Programs that these tests execute are started by the kernel: binfmt_misc of a user namespace, which
# Linux has since 6.7, so that nothing of the host is changed.
register=/proc/sys/fs/binfmt_misc/register
elf='\x7fELF\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x16'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff'
in_namespace=(unshare --user --map-root-user --mount bash -c "mount -t binfmt_misc none ${register%/*} &&
    printf '%s' ':s390x:M::$elf:$mask:$(command -v qemu-s390x-static):FP' >$register && exec \"\$@\"" bash)
"${in_namespace[@]}" true || skip "this kernel has no binfmt_misc for namespaces: processes were not tested"

# Not what qemu-user does not have: a main thread that ends, a page that a fork wipes (before version 8),
# containers. Not what starts hundreds of processes, which takes minutes by emulation.
unset CARGO_TARGET_S390X_UNKNOWN_LINUX_GNU_RUNNER
"${in_namespace[@]}" cargo test "${cargo_std[@]}" -p rvlf-tests --test lock -- processes:: waiting:: \
    --skip a_forked_child_with_its_parents_pid --skip a_lock_whose_main_thread_has_ended \
    --skip containers --skip under_another_boot_id --skip two_thousand --skip five_hundred
