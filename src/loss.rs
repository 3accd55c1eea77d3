//! Losing a lock: a result of its own, not an I/O error.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use crate::record::Record;

/// How a lock was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LossReason {
    /// The lock file is gone.
    Removed,
    /// Another lock file is in its place; its record, if it has a valid one.
    Replaced(Option<Record>),
    /// On a file system that is not local, nothing could be refreshed for so long that others may
    /// judge this holder dead.
    RefreshFailed,
    /// This is a forked child; its parent holds the lock.
    Forked,
    /// Other code closed the lock file's descriptor, and with it gave up the kernel lock.
    DescriptorClosed,
}

impl fmt::Display for LossReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LossReason::Removed => f.write_str("the lock file was removed"),
            LossReason::Replaced(Some(record)) => write!(
                f,
                "pid {} on {} has taken it (writer id {})",
                record.pid(),
                record.hostname(),
                record.writer_id()
            ),
            LossReason::Replaced(None) => f.write_str("another file has taken its place"),
            LossReason::RefreshFailed => f.write_str("it could not be refreshed for too long"),
            LossReason::Forked => f.write_str("it is held by the process that forked this one"),
            LossReason::DescriptorClosed => {
                f.write_str("other code has closed the lock file's descriptor")
            }
        }
    }
}

/// The lock is not ours any more. Data that is not committed yet must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// The lock file.
    pub lock_path: PathBuf,
    /// How it was lost.
    pub reason: LossReason,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.lock_path.display();
        write!(
            f,
            "{path}: lock lost: {}; stop writing and acquire it again",
            self.reason
        )
    }
}

impl Error for Lost {}
