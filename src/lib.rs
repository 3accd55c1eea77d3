//! The writer lock for single-writer data files.
#![cfg_attr(not(feature = "std"), no_std)]

#[cfg(feature = "std")]
mod held;
#[cfg(feature = "std")]
mod holder;
#[cfg(feature = "std")]
mod inspect;
mod judge;
#[cfg(feature = "std")]
mod keepalive;
#[cfg(feature = "std")]
mod lock;
#[cfg(feature = "std")]
mod loss;
#[cfg(feature = "std")]
mod options;
#[cfg(feature = "std")]
mod protocol;
mod record;
#[cfg(feature = "std")]
mod sys;
#[cfg(feature = "std")]
mod trace;
#[cfg(feature = "std")]
mod wait;

pub use judge::{
    Age, Content, Evidence, FileSystem, HostMatch, KernelLock, Process, Reason, StalePolicy, Stamp,
    Verdict, judge,
};
pub use record::{
    Checksum, DecodeError, FIELDS, Field, FirstBytes, Hostname, KernelStamp, LOCK_VERSION, MAGIC,
    ParseWriterIdError, Pid, RECORD_LEN, REFRESHED, Record, WriterId,
};

#[cfg(feature = "std")]
pub use holder::{Foreign, Holder};
#[cfg(feature = "std")]
pub use inspect::{
    BreakError, InspectError, LockState, break_stale, force_break, inspect, inspect_with, sweep,
    wait_until_free,
};
#[cfg(feature = "std")]
pub use lock::{RefreshError, ReleaseError, ReleaseErrorKind, WriterLock};
#[cfg(feature = "std")]
pub use loss::{LossReason, Lost};
#[cfg(feature = "std")]
pub use options::{AcquireError, DEFAULT_KEEPALIVE, Durability, LockOptions};
#[cfg(feature = "std")]
pub use protocol::lock_path_for;
#[cfg(feature = "std")]
pub use sys::FileKind;
