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
# They wait for a lease.
of_leases=(--skip much_longer_than_its_lease --skip a_blocked_executor --skip a_live_lock_is_broken)
run=(cargo +nightly test -Zbuild-std --target "$host" --target-dir target/thread-sanitizer)
export RUSTFLAGS="-Zsanitizer=thread" TSAN_OPTIONS="halt_on_error=1"
# One after the other: what both need with different features is built for each in any case.
retry "${run[@]}" -p rvlf-tests --no-run --test lock --test table
retry "${run[@]}" -p rvlf-object-store --no-run --test lock

# What reports no race where there is one would report none anywhere.
control() {
    local output
    if output=$("${run[@]}" -p rvlf-tests --test lock -- --ignored --exact "$1" 2>&1) ||
        ! grep -q "WARNING: ThreadSanitizer: data race" <<<"$output"; then
        printf '%s\n' "$output" "ThreadSanitizer has not reported the data race of $1" >&2
        return 1
    fi
}

control data_race::two_threads_count_without_a_mutex
"${run[@]}" -p rvlf-tests --test lock -- "${lock[@]}"
"${run[@]}" -p rvlf-tests --test table -- file::
# One of them panics, and the backtrace takes seconds here.
RUST_BACKTRACE=0 "${run[@]}" -p rvlf-object-store --test lock -- "${of_leases[@]}"
echo "ran: tests of threads that share a lock, a table, and a lock of an object store, under ThreadSanitizer;" \
    "and a data race, which it reported"
