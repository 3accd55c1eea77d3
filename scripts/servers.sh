#!/usr/bin/env bash
# Runs the tests of object-store/ and of the command against servers of object stores, each started on
# 127.0.0.1 for this.
#
#   scripts/servers.sh                                every server: its tests
#   scripts/servers.sh seaweedfs azurite              these two
#   scripts/servers.sh seaweedfs -- COMMAND..         COMMAND while the server runs
#
# A server is a file of scripts/servers/. It finds in its environment a directory for what is installed
# and one for what is thrown away; it starts its processes with `background`, and exports the variables
# that object_store reads, and these:
#   RVLF_TEST_SERVER        its name
#   RVLF_TEST_URL           its bucket: s3://.., az://..
#   RVLF_TEST_SERVER_PIDS   its processes, for tests that stop and continue them
# A server that cannot be installed is reported as SKIPPED, and is no failure.
set -euo pipefail
cd "$(dirname "$0")/.."

servers=()
while (($#)) && [[ $1 != -- ]]; do
    servers+=("$1")
    shift
done
shift $(($# > 0))
given=("$@")
command=("$@")
if ((${#servers[@]} == 0)); then
    for file in scripts/servers/*.sh; do servers+=("$(basename "$file" .sh)"); done
fi
for server in "${servers[@]}"; do
    [[ -f scripts/servers/$server.sh ]] || { echo "no server has the name: $server" >&2 && exit 2; }
done
if ((${#command[@]} == 0)); then
    command=(bash scripts/servers/tests.bash)
    # Before the first server runs: a build takes longer than all the tests.
    bash scripts/servers/tests.bash --no-run
fi

work=$(mktemp -d -t rvlf-test-XXXXXX)
trap 'rm -rf "$work"' EXIT
# A shell does not act on a signal while it waits for a child in the foreground.
trap 'jobs -p | xargs -r kill 2>/dev/null; wait; exit 130' INT TERM

export RVLF_SERVERS=$PWD/target/servers
mkdir -p "$RVLF_SERVERS"

# The command while one server runs.
run_with() {
    local server=$1 start=$SECONDS status=0 running
    trap 'kill "$running" 2>/dev/null; wait; exit 130' INT TERM
    printf '\n--- %s\n' "$server"
    RVLF_TEST_SERVER=$server bash scripts/servers/run.bash "${command[@]}" &
    running=$!
    wait "$running" || status=$?
    case $status in
        0) outcome="passed" ;;
        77) outcome="SKIPPED, see above" ;;
        *) outcome="FAILED with status $status" && touch "$work/failed" ;;
    esac
    echo "$server: $outcome ($((SECONDS - start)) s)" >>"$work/outcomes"
}

in_one_piece() {
    local server=$2
    "$@" >"$work/$server.log" 2>&1
    cat "$work/$server.log"
}

# Two servers at once, since the tests wait most of the time. A command of the caller has the machine for itself.
at_once=2 report=(in_one_piece)
((${#given[@]} == 0)) || { at_once=1 report=(); }
for server in "${servers[@]}"; do
    while (($(jobs -pr | wc -l) >= at_once)); do wait -n || true; done
    "${report[@]}" run_with "$server" &
done
wait
echo
cat "$work/outcomes"
[[ ! -e $work/failed ]]
