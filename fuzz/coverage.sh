#!/usr/bin/env bash
# What the corpora cover of the code that each target is for: fuzz/coverage.sh [TARGET...]
# In a fresh checkout: what the kept inputs and the seeds cover.
# Installs llvm-tools of the nightly toolchain if they are missing.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/retry.bash

# Of each target: the directories of the source that it is for.
declare -A parts=(
    [decode]="src/record" [roundtrip]="src/record" [judge]="src/judge" [lock_path]="src/judge src/protocol"
    [schedule]="src/protocol src/sim" [store]="object-store/src object-store/schedules/src src/judge"
    [table_json]="src/table" [table_edits]="src/table" [table_operations]="src/table"
)
retry rustup component add llvm-tools --toolchain nightly 2>/dev/null
sysroot=$(rustc +nightly --print sysroot)
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
if (($#)); then targets=("$@"); else mapfile -t targets < <(cargo +nightly fuzz list); fi
./fuzz/seed.sh
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

for target in "${targets[@]}"; do
    cargo +nightly fuzz coverage -s none "$target" "fuzz/corpus/$target" >"$scratch/log" 2>&1 ||
        { tail -n 20 "$scratch/log" && exit 1; }
    program=$(find fuzz/target target -path "*coverage*/release/$target" -type f 2>/dev/null | head -n 1 || true)
    "$sysroot/lib/rustlib/$host/bin/llvm-cov" export -summary-only "$program" \
        -instr-profile="fuzz/coverage/$target/coverage.profdata" >"$scratch/json"
    inputs=$(find "fuzz/corpus/$target" -type f | wc -l)
    # shellcheck disable=SC2086
    python3 - "$scratch/json" "$target" "$inputs" ${parts[$target]} <<'PYTHON'
import collections, json, os, sys

summary, target, inputs, *parts = sys.argv[1:]
files = json.load(open(summary))["data"][0]["files"]
for part in parts:
    sums = collections.Counter()
    for file in files:
        # The library is compiled a second time, with its simulator, from another package's path.
        path = os.path.relpath(os.path.normpath(file["filename"]))
        if path.startswith(part + "/"):
            for kind in "lines", "regions":
                sums[kind] += file["summary"][kind]["count"]
                sums[kind + " covered"] += file["summary"][kind]["covered"]
    shares = (f"{sums[k + ' covered']:5} of {sums[k]:5} {k} ({sums[k + ' covered'] / max(sums[k], 1):4.0%})" for k in ("lines", "regions"))
    print(f"coverage: {target:16} {inputs:>5} inputs  {part:26} {'  '.join(shares)}")
PYTHON
done
