#!/usr/bin/env bash
# Fuzzes every target for SECONDS (default: 30), from the seeds: fuzz/run.sh [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/.."
. fuzz/targets.bash

seconds=${1:-30}
./fuzz/seed.sh
targets=$(cargo +nightly fuzz list)
# -timeout: an input that hangs. A virtual machine that stood still for half a minute was taken for one.
for target in $targets; do
    echo "fuzz target $target"
    cargo +nightly fuzz run -s "$(sanitizer_of "$target")" "$target" -- -max_total_time="$seconds" -timeout=300 \
        -verbosity=0 -print_final_stats=1 2>&1
done
