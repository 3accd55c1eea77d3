#!/usr/bin/env bash
# Seeds the corpora from the vectors and the kept inputs (fuzz/seeds). A target takes a record, or two bytes
# that say what is done with it and then the record.
set -euo pipefail
cd "$(dirname "$0")"

vectors=$(find ../spec/vectors -name '*.bin' | sort)
mkdir -p corpus/decode corpus/roundtrip corpus/lock_path corpus/judge
for vector in $vectors; do
    name=$(basename "$vector" .bin)
    cp "$vector" "corpus/decode/$name"
    cp "$vector" "corpus/roundtrip/$name"
    # A young and an old file, acquired, broken, and broken by force; the same with flock held.
    for what in '\x00\xe4' '\x00\xe5' '\x00\xe7' '\x04\xe4' '\x07\xe5'; do
        { printf "$what"; cat "$vector"; } >"corpus/lock_path/$name-${what//[^0-9a-f]/}"
    done
done
for kind in 3 5 6; do
    printf "\\x0$kind\\xe4" >"corpus/lock_path/kind-$kind"
done

# A kind of system, what may go wrong, two contenders; then who runs, for how long, and what goes wrong.
mkdir -p corpus/schedule
for kind in 6 7 8 9 a b; do
    printf "\\x0$kind\\x55\\x40\\x51" >"corpus/schedule/quiet-$kind"
    printf "\\x0$kind\\x55\\x40\\x51%b" '\x18\x19\x20\x81\x21\x28\x83\x29\x90\x31\x30' \
        >"corpus/schedule/rough-$kind"
done

mkdir -p corpus/table_json
cat >corpus/table_json/two <<'JSON'
{"allocations": [
 {"pod_name": "a", "pid": 1, "socket": "/s", "scope_allow": [{"target": "/a", "permission": "write", "recursive": true}],
  "scope_deny": [{"target": "/a/x", "permission": "read"}], "delegated_from": null, "segment_id": "s", "weight": 0.1,
  "holder": {"hostname": "h", "boot_id": "b", "pid_namespace": 7, "start_ticks": 9, "writer_id": "6ba7b810-9dad-41d1-80b4-00c04fd430c8"}},
 {"pod_name": "b", "pid": 2, "socket": "", "scope_allow": [{"target": "/a/b", "permission": "write", "recursive": false}],
  "delegated_from": "a", "segment_id": null}]}
JSON

for kept in seeds/*/; do
    mkdir -p "corpus/$(basename "$kept")"
    cp -r "$kept." "corpus/$(basename "$kept")"
done
