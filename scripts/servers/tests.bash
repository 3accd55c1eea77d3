# The tests that need a server. With --no-run it only compiles them.
set -euo pipefail

# Of the workspace as README's test command compiles it, so that nothing is compiled twice.
library=(cargo test --quiet --workspace --all-features --test servers)
command=(cargo test --quiet --workspace --all-features --test command)
if [[ ${1:-} == --no-run ]]; then
    "${library[@]}" --no-run
    "${command[@]}" --no-run
    exit
fi
"${library[@]}" -- --nocapture
# What the command does differs by service, not by the number of gateways.
[[ $RVLF_TEST_SERVER != gateways ]] || exit 0
# One after the other: one of them stops the server.
"${command[@]}" -- store_servers --test-threads=1 --nocapture
