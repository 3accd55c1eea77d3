//! Threads and what they share, by the names of std.
//!
//! Nothing else in the library names a mutex, an atomic or a thread of std that one thread may wait for
//! another by, so that `tests/threads` can run the shipped code under a scheduler of its own
//! (`--cfg rvlf_shuttle`).
//!
//! Mutexes are without poisoning: what the mutexes of this crate protect is replaced as a whole, so a
//! thread that panics leaves no half-made value behind.

#[cfg(not(rvlf_shuttle))]
use std as primitives;
#[cfg(rvlf_shuttle)]
use virtual_std as primitives;

use std::sync::{PoisonError, TryLockError};
use std::time::Duration;

pub(crate) use primitives::sync::{Condvar, Mutex, MutexGuard, OnceLock, atomic, mpsc};
pub(crate) use primitives::thread;
pub(crate) use primitives::time::Instant;

/// Locks `mutex`, waiting for it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks `mutex` without waiting; `None` while another thread has it.
pub(crate) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Waits until `condvar` is notified; spurious wake-ups are possible.
pub(crate) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// Waits until `condvar` is notified or `timeout` has passed; spurious wake-ups are possible.
pub(crate) fn wait_timeout<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    timeout: Duration,
) -> MutexGuard<'a, T> {
    let outcome = condvar.wait_timeout(guard, timeout);
    outcome.unwrap_or_else(PoisonError::into_inner).0
}

#[cfg(rvlf_shuttle)]
pub(crate) use virtual_std::run::{clocks, sleep_in_call};

/// Makes a system call that sleeps for `timeout` at most, until its answer is ready.
#[cfg(all(unix, not(any(rvlf_shuttle, rvlf_unsupported))))]
pub(crate) fn sleep_in_call<T>(
    timeout: Duration,
    mut call: impl FnMut(Duration) -> T,
    _is_ready: impl Fn(&T) -> bool,
) -> T {
    call(timeout)
}

/// Reads the clocks of the machine.
#[cfg(all(unix, not(any(rvlf_shuttle, rvlf_unsupported))))]
pub(crate) fn clocks<const N: usize>(machine: impl FnOnce() -> [Duration; N]) -> [Duration; N] {
    machine()
}
