//! Threads, the runtime and what they share, by the names of std and tokio.
//!
//! The guards and the thread that keeps their locks take from here all that one of them may wait for another
//! by, so that `object-store/threads` can run the shipped code under a scheduler of its own
//! (`--cfg rvlf_shuttle`). The channels are tokio's in both: they need no runtime.

#[cfg(not(rvlf_shuttle))]
pub(crate) use std::sync::{Mutex, MutexGuard, OnceLock, atomic};
#[cfg(not(rvlf_shuttle))]
pub(crate) use std::thread;
#[cfg(not(rvlf_shuttle))]
pub(crate) use tokio::{runtime, time};

#[cfg(rvlf_shuttle)]
pub(crate) use virtual_std::runtime::{self, time};
#[cfg(rvlf_shuttle)]
pub(crate) use virtual_std::sync::{Mutex, MutexGuard, OnceLock, atomic};
#[cfg(rvlf_shuttle)]
pub(crate) use virtual_std::thread;
