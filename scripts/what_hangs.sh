#!/usr/bin/env bash
# Lists the processes below the process PID, and what each of their threads waits in, for a run of the
# tests that does not end: `scripts/what_hangs.sh PID`. `scripts/what_hangs.sh PID --kill` then kills them.
#
# Stacks in the kernel need root. Stacks of the program need gdb.
set -euo pipefail
root=${1:?usage: scripts/what_hangs.sh PID [--kill]}

# The descendants of the process $1, without this script and its caller.
descendants() {
    local child
    for child in $(cat "/proc/$1"/task/*/children 2>/dev/null); do
        ((child == $$ || child == PPID)) && continue
        echo "$child"
        descendants "$child"
    done
}

describe() {
    local pid=$1 task
    echo "process $pid: $(tr '\0' ' ' <"/proc/$pid/cmdline" | cut -c 1-200)"
    for task in "/proc/$pid"/task/*; do
        echo "  thread ${task##*/} $(cat "$task/comm"): $(awk '/^State/ { print $2, $3 }' "$task/status")"
        echo "    system call $(cat "$task/syscall")"
        sed 's/^/    /' "$task/stack"
    done
    if command -v gdb >/dev/null; then
        timeout 60 gdb --batch --nx -p "$pid" -ex "thread apply all backtrace 40" </dev/null |
            grep -E '^(Thread|#)' | sed 's/^/  /'
    fi
}

pids=$(descendants "$root")
for pid in $pids; do
    # A process may end while it is described.
    describe "$pid" 2>/dev/null || echo "  process $pid has ended, or this user may not read what it does"
done
if [[ ${2:-} == --kill ]]; then
    kill -KILL $pids 2>/dev/null || true
fi
