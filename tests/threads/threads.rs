//! The threads of the library, in many schedules: the keepalive, the guard, waits and their cancellation,
//! and forks.
//!
//! The shipped library runs here with the mutexes, threads and clocks of `virtual`: a scheduler decides at
//! every operation on one of them which thread goes on. The kernel is the real one, and so are the lock
//! files. A run fails if it breaks an assertion, if threads wait that nothing wakes, if a thread never ends,
//! or if a forked child does.
//!
//! A check that cannot fail proves nothing: `weakened` has a list of changes to the library, and the test
//! that finds each.

#[cfg(target_os = "linux")]
mod cancellation;
#[cfg(target_os = "linux")]
mod forks;
#[cfg(target_os = "linux")]
mod guard;
#[cfg(target_os = "linux")]
mod keepalive;
#[cfg(target_os = "linux")]
mod place;
#[cfg(target_os = "linux")]
mod waiting;
mod weakened;
