//! The parts of [`std`] that threads share, and the runtime of tokio, run one step at a time by the scheduler
//! [`shuttle`].
//!
//! [`sync`], [`thread`] and [`time`] have the names of std. What differs:
//!
//! * One thread runs at a time, until it reaches the next operation of this crate. There the scheduler
//!   decides who goes on. A system call, and whatever else lies between two operations, is one step.
//! * Time is [virtual](time): it passes when all threads wait, or, in a [`Search`] that permits it, at any
//!   moment. So each wait with a timeout ends at its time, and a test takes milliseconds.
//! * A mutex is never poisoned. Atomics are sequentially consistent: weaker orders are for
//!   ThreadSanitizer and Miri.
//! * [`run::fork`] forks the process for real. In the child the forking thread goes on alone, and what
//!   the other threads had locked stays locked.
//! * A thread that is in [`runtime::Runtime::block_on`] ends with the run, as it would with the process.
//! * [`run::limit_threads`] makes starts of threads fail.

#![allow(missing_docs, reason = "std documents what has its names")]

pub mod run;
pub mod runtime;
pub mod sync;
pub mod thread;
pub mod time;

mod once;

pub use run::{Search, search};
