#!/usr/bin/env bash
# Builds and tests for other systems than x86-64 Linux with glibc, as far as a machine with that one
# can. `scripts/platforms.sh` does every part, `scripts/platforms.sh msrv musl` these two. A part is a
# file of scripts/platforms/.
#
# A part that cannot get what it needs (a target's standard library, a package) is reported as SKIPPED,
# and is no failure: the sources of these are not all promised to last.
set -euo pipefail
cd "$(dirname "$0")/.."

parts=("$@")
if ((${#parts[@]} == 0)); then
    for file in scripts/platforms/*.sh; do parts+=("$(basename "$file" .sh)"); done
fi

outcomes=()
failed=0
for part in "${parts[@]}"; do
    [[ -f scripts/platforms/$part.sh ]] || { echo "no part has the name: $part" >&2 && exit 2; }
    echo
    echo "--- $part"
    start=$SECONDS status=0
    bash "scripts/platforms/$part.sh" || status=$?
    case $status in
        0) outcome="passed" ;;
        77) outcome="SKIPPED, see above" ;;
        *) outcome="FAILED with status $status" failed=1 ;;
    esac
    outcomes+=("$part: $outcome ($((SECONDS - start)) s)")
done
echo
printf '%s\n' "${outcomes[@]}"
exit "$failed"
