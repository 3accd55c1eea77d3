#!/usr/bin/env bash
# Fuzzes every target for SECONDS (default: 30), from the seeds: fuzz/run.sh [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-30}
./fuzz/seed.sh
targets=$(cargo +nightly fuzz list)
for target in $targets; do
    echo "fuzz target $target"
    sanitizer=address
    # No unsafe code runs there, and what a killed process leaves would be reported as a leak.
    [[ $target == schedule || $target == store ]] && sanitizer=none
    cargo +nightly fuzz run -s "$sanitizer" "$target" -- -max_total_time="$seconds" -timeout=30 \
        -verbosity=0 -print_final_stats=1 2>&1
done
