#!/usr/bin/env bash
# The tests on machines of other kinds: just booted, with a strict umask, with a long host name, ...
# No test's outcome may depend on what a machine happens to be. A test that cannot run says why.
#
#   scripts/environments.sh [all] [ENVIRONMENT...]      every environment by default
#
# Runs the tests that look at the machine (some minutes); with `all` the whole suite (a quarter of an hour).
# Prints what passed, what was skipped and why. Exits with 1 if a test failed. Most environments need root.
set -euo pipefail
cd "$(dirname "$0")/.."

whole=no
if [[ ${1:-} == all ]]; then
    whole=yes
    shift
fi
wanted=("$@")

work=$(mktemp -d -t rvlf-test-XXXXXX)
chmod 755 "$work"

clean_up() {
    local status=$? environment
    trap - EXIT
    for environment in $(jobs -p); do
        pkill -P "$environment" || true
        kill "$environment" 2>/dev/null || true
    done
    awk -v work="$work/" 'index($2, work) == 1 { print $2 }' /proc/mounts | sort -r |
        xargs -r -n 1 umount -l || true
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# The environments choose what a test may find missing: a skip is no failure here.
unset RVLF_REQUIRE

# ---------------------------------------------------------------- the tests

# Tests of the command that query nothing in which the environments differ: texts, the ends of processes
# after a loss (5 s each), a table that stays locked (10 s), and what has a step of its own (chaos).
same_everywhere=(help:: document:: tasks:: terminal:: hostile_names:: exit_status:: dump:: chaos::
    loss lost times_out)

# Lines: the path of a test binary, then which of its tests to run.
list_tests() {
    local binary
    cargo test --workspace --all-features --no-run 2>&1 | tee "$work/build.log" |
        sed -n 's/^ *Executable .*(\(.*\))$/\1/p' >"$work/binaries"
    grep -q '^    Finished' "$work/build.log" || {
        cat "$work/build.log"
        exit 1
    }
    while read -r binary; do
        case $whole:$(basename "${binary%-*}") in
        *:schedules | *:rvlf_simulated | *:rvlf_benches) ;; # They run in a world of their own.
        yes:*) echo "$PWD/$binary" ;;
        no:lock) echo "$PWD/$binary hard_cases:: keepalive:: --skip ten_thousand" ;;
        no:table) echo "$PWD/$binary file::" ;;
        no:command)
            echo "$PWD/$binary ${same_everywhere[*]/#/--skip }"
            # Processes are dated by the clock that this environment sets back.
            echo "$PWD/$binary loss lost --skip run_loss::" >"$work/tests.just_booted"
            ;;
        no:rvlf) echo "$PWD/$binary" ;;
        no:deployed_clients) echo "$PWD/$binary rvf_runtime::" ;;
        esac
    done <"$work/binaries"
}

# environment NAME COMMAND...: runs the tests by way of the command, which sets the environment. Two
# environments run at once, since their tests wait most of the time.
environment() {
    [[ ${#wanted[@]} == 0 || " ${wanted[*]} " == *" $1 "* ]] || return 0
    while (($(jobs -pr | wc -l) > 1)); do wait -n || true; done
    report_of "$@" &
}

# Of one environment, in one piece.
report_of() {
    run_in "$@" >"$work/$1.report" 2>&1 || echo "$1" >>"$work/failed"
    cat "$work/$1.report"
}

run_in() {
    local name=$1 start=$SECONDS log=$work/$1.log status=passed binary filters
    shift
    if ! "$@" true 2>"$log"; then
        echo "$name: skipped: $(tail -n 1 "$log")"
        return 0
    fi
    while read -r binary filters; do
        # shellcheck disable=SC2086
        if ! "$@" timeout 900 "$binary" --show-output $filters >"$log" 2>&1 </dev/null; then
            status=FAILED
            echo "$name: $binary"
            sed -n '/^failures:$/,$p' "$log"
        fi
        sed -n 's/^skipped: /    skipped: /p' "$log" >>"$work/$name.skips"
    done < <(cat "$work/tests" "$work/tests.$name" 2>/dev/null)
    echo "$name: $status ($((SECONDS - start)) s)"
    sort "$work/$name.skips" | uniq -c
    [[ $status == passed ]]
}

# ---------------------------------------------------------------- the environments

just_booted() {
    local uptime
    uptime=$(cut -d . -f 1 /proc/uptime)
    unshare --time --boottime "$((10 - uptime))" --fork "$@"
}

with_strict_umask() {
    (
        umask 077
        "$@"
    )
}

# A record has room for 43 bytes of a name before its stamp.
with_long_host_name() {
    unshare --uts sh -c 'hostname "$0"; exec "$@"' "$(printf 'a%.0s' {1..60})" "$@"
}

on_tmpfs() {
    mkdir -p "$work/tmpfs"
    mountpoint -q "$work/tmpfs" || mount -t tmpfs tmpfs "$work/tmpfs"
    TMPDIR=$work/tmpfs "$@"
}

on_overlay() {
    local layers=$work/layers
    mkdir -p "$work/overlay" "$layers"
    if ! mountpoint -q "$work/overlay"; then
        mount -t tmpfs tmpfs "$layers"
        mkdir "$layers"/{lower,upper,work}
        mount -t overlay overlay "$work/overlay" \
            -o "lowerdir=$layers/lower,upperdir=$layers/upper,workdir=$layers/work"
    fi
    TMPDIR=$work/overlay "$@"
}

# The tests' binaries must be readable to that user: a clone below /root is not.
as_ordinary_user() {
    local user=(setpriv --reuid 65534 --regid 65534 --clear-groups)
    "${user[@]}" test -r "$PWD/Cargo.toml" || {
        echo "user 65534 may not read $PWD" >&2
        return 1
    }
    "${user[@]}" "$@"
}

# Both cores and their neighbours are busy.
under_load() {
    local busy=() status=0
    while ((${#busy[@]} < 2 * $(nproc))); do
        (while :; do :; done) &
        busy+=($!)
    done
    "$@" || status=$?
    kill "${busy[@]}"
    return "$status"
}

list_tests >"$work/tests"
environment just_booted just_booted
environment strict_umask with_strict_umask
environment host_name_exported env HOSTNAME=exported.invalid
environment long_host_name with_long_host_name
environment tmpfs on_tmpfs
environment overlay on_overlay
environment ordinary_user as_ordinary_user
if [[ $whole == yes ]]; then
    environment first_run env
    environment second_run env
    environment third_run env
fi
wait
environment load under_load
wait

if [[ -s $work/failed ]]; then
    echo "FAILED in: $(paste -s -d ' ' "$work/failed")"
    exit 1
fi
echo "the tests depend on none of these"
