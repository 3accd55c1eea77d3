#!/usr/bin/env bash
# Undefined behaviour, with a Rust nightly: the code that makes no system call, under Miri. The record's bytes,
# the judges, the text and the judgements of the allocation table, and the machine of the object-store lock with
# its simulated times. A test that makes system calls says so, and Miri ignores it.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/retry.bash

retry rustup component add rust-src miri --toolchain nightly
export MIRIFLAGS="-Zmiri-strict-provenance" CARGO_TARGET_DIR=target/miri
cargo +nightly miri test -p rvlf --features table --lib -- record:: judge:: table::
cargo +nightly miri test -p rvlf-object-store --lib -- machine::
echo "ran: record, judge, table and the store machine under Miri"
