//! A data race, which ThreadSanitizer has to report: `scripts/thread_sanitizer.sh` begins with it. A sanitizer
//! that sees no memory accesses would pass every other test.

#![allow(unsafe_code, reason = "safe code has no data races")]

use std::cell::UnsafeCell;
use std::sync::Barrier;
use std::thread;

struct Unguarded(UnsafeCell<u64>);

// SAFETY: none. Threads access it without a mutex, which is the race.
unsafe impl Sync for Unguarded {}

#[test]
#[ignore = "a data race, for ThreadSanitizer alone"]
fn two_threads_count_without_a_mutex() {
    let counter = Unguarded(UnsafeCell::new(0));
    // A thread that has ended when the other one starts may be ordered before it by what std shares.
    let both_run = Barrier::new(2);
    let count = |counter: &Unguarded| {
        both_run.wait();
        // SAFETY: none, as above. Outside of ThreadSanitizer a count may get lost.
        unsafe { *counter.0.get() += 1 }
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| count(&counter));
        }
    });
}
