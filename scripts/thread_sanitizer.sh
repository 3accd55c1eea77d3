#!/usr/bin/env bash
# Data races, with a Rust nightly: tests of many threads under ThreadSanitizer.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/retry.bash

host=x86_64-unknown-linux-gnu

# Built with its own std, whose atomics the sanitizer must see. Without tests that fork and then start
# threads, which ThreadSanitizer does not support, and without limits of time and memory.
retry rustup component add rust-src --toolchain nightly
lock=(waiting::threads_of keepalive::a_refreshed keepalive::a_release keepalive::a_loss keepalive::a_callback
    keepalive::one_thread cancel::a_cancelled cancel::clones cancel::dropping)
run=(cargo +nightly test -Zbuild-std --target "$host" --target-dir target/thread-sanitizer -p rvlf-tests)
export RUSTFLAGS="-Zsanitizer=thread" TSAN_OPTIONS="halt_on_error=1"
retry "${run[@]}" --no-run --test lock --test table
"${run[@]}" --test lock -- "${lock[@]}"
"${run[@]}" --test table -- file::
echo "ran: tests of threads that share a lock, and of threads that share a table, under ThreadSanitizer"
