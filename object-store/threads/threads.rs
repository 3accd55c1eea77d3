//! The threads of the object-store lock, in many schedules: its guards on threads of their own, and the thread
//! that sends their requests and refreshes them.
//!
//! The shipped library runs here with the mutexes, threads, runtime and clocks of `virtual`: a scheduler decides
//! at every operation on one of them which thread goes on, and which future the runtime polls. The store is one
//! object in memory, whose answers take a while.
//!
//! `tests/threads/weakened.rs` has a list of changes to the library, and the test that finds each.

#[cfg(target_os = "linux")]
mod cancellation;
#[cfg(target_os = "linux")]
mod forks;
#[cfg(target_os = "linux")]
mod guards;
#[cfg(target_os = "linux")]
mod losses;
#[cfg(target_os = "linux")]
mod store;
