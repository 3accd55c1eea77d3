#!/usr/bin/env bash
# What a program pays that adds rvlf: crates, size and time to compile, beside the same program without it.
# Prints a table, which scripts/measure keeps.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# Every crate is compiled, and for this program alone.
unset RUSTC_WRAPPER CARGO_BUILD_RUSTC_WRAPPER
export CARGO_TARGET_DIR=$scratch/target

# A package in $scratch/$1, whose main function has the body of standard input.
package() {
    mkdir -p "$scratch/$1/src"
    {
        echo 'fn main() -> Result<(), Box<dyn std::error::Error>> {'
        cat
        echo 'Ok(()) }'
    } >"$scratch/$1/src/main.rs"
    cp "$root/Cargo.lock" "$scratch/$1"
    cat >"$scratch/$1/Cargo.toml" <<MANIFEST
[package]
name = "$1"
version = "0.0.0"
edition = "2024"
[workspace]
[profile.release]
strip = true
[dependencies]
MANIFEST
}

package without <<<'std::fs::write(std::env::args().nth(1).unwrap_or_default(), "data")?;'
package with <<'MAIN'
let path = std::env::args().nth(1).unwrap_or_default();
let lock = rvlf::WriterLock::try_acquire(&path)?;
std::fs::write(path, "data")?;
lock.check()?;
lock.release()?;
MAIN
printf 'rvlf.path = "%s"\n' "$root" >>"$scratch/with/Cargo.toml"

# Crates beside the program, those that it names itself, and those that only the build runs.
crates() { # $1: package, then options of cargo tree
    local manifest=$scratch/$1/Cargo.toml
    shift
    cargo tree --quiet --manifest-path "$manifest" --prefix none --no-dedupe "$@" |
        sed 's/ (.*//' | tail -n +2 | sort -u | grep -c . || true
}

row() { printf '%-52s %10s %10s\n' "$@"; }

for name in without with; do
    cargo fetch --quiet --manifest-path "$scratch/$name/Cargo.toml"
done
row "" "without" "with rvlf"
row "crates in the program, rvlf included" "$(crates without -e normal)" "$(crates with -e normal)"
row "crates that are compiled, those of the build included" "$(crates without -e normal,build)" "$(crates with -e normal,build)"
for profile in dev release; do
    for name in without with; do
        rm -rf "$CARGO_TARGET_DIR"
        TIMEFORMAT='%R %U %S'
        times=$({ time cargo build --quiet --offline --profile "$profile" \
            --manifest-path "$scratch/$name/Cargo.toml"; } 2>&1)
        read -r wall user system <<<"$times"
        declare "wall_$name=$wall" "cpu_$name=$(awk "BEGIN { print $user + $system }")"
        [[ $profile == dev ]] || declare "size_$name=$(stat -c %s "$CARGO_TARGET_DIR/release/$name")"
    done
    row "cargo build --profile $profile, seconds" "$wall_without" "$wall_with"
    row "cargo build --profile $profile, seconds of processor time" "$cpu_without" "$cpu_with"
done
row "size of the release program, stripped, KiB" $((size_without / 1024)) $((size_with / 1024))
