#!/usr/bin/env bash
# Grows the kept corpora: fuzzes every target for SECONDS (default: 120) from fuzz/seeds, and keeps a small
# set of inputs that covers the same: fuzz/keep.sh [SECONDS [TARGET...]]
set -euo pipefail
cd "$(dirname "$0")/.."
. fuzz/targets.bash

# Inputs of each target: with inputs of at most 512 bytes, less than 300 KB in all.
limit=100
seconds=${1:-120}
shift || true
(($#)) || mapfile -t all < <(cargo +nightly fuzz list)
./fuzz/seed.sh
for target in "${@:-${all[@]}}"; do
    cargo +nightly fuzz run -s "$(sanitizer_of "$target")" "$target" -- -max_total_time="$seconds" \
        -timeout=30 -max_len=512 -verbosity=0
    small=$(mktemp -d)
    cargo +nightly fuzz run -s "$(sanitizer_of "$target")" "$target" -- -set_cover_merge=1 -timeout=30 \
        "$small" "fuzz/corpus/$target"
    rm -rf "fuzz/seeds/$target"
    mkdir -p "fuzz/seeds/$target"
    # Evenly from the smallest to the largest: small inputs take each path alone, large ones what paths lead to.
    mapfile -t found < <(find "$small" -type f -printf '%s %f\n' | sort -n | cut -d ' ' -f 2)
    kept=$((${#found[@]} < limit ? ${#found[@]} : limit))
    for ((at = 0; at < kept; at++)); do
        name=${found[at * ${#found[@]} / kept]}
        cp "$small/$name" "fuzz/seeds/$target/${name:0:12}"
    done
    rm -rf "$small"
    echo "$target: $(find "fuzz/seeds/$target" -type f | wc -l) inputs"
done
