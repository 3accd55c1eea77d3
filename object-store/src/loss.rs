//! Losing a lock: a result of its own, not an error of the store.

use std::error::Error;
use std::fmt;
use std::path::Path;

use rvlf::{Escaped, Record};

use crate::machine::Loss;

/// How a lock was lost.
///
/// Example: [`StoreLock::lost`](crate::StoreLock::lost).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LossReason {
    /// Another process took the lock over, or another program overwrote the object; its record, if it has
    /// one.
    Replaced(Option<Box<Record>>),
    /// The object was deleted. No rvlf does that.
    Removed,
    /// The store confirmed no refresh for two thirds of the lease, so other processes may take the lock
    /// over before long.
    Expired,
    /// This is a forked child; its parent holds the lock.
    Forked,
    /// The lock was released.
    Released,
}

impl From<&Loss> for LossReason {
    fn from(loss: &Loss) -> LossReason {
        match loss {
            Loss::Replaced { by } => LossReason::Replaced(by.map(Box::new)),
            Loss::Removed => LossReason::Removed,
            Loss::Expired => LossReason::Expired,
        }
    }
}

impl fmt::Display for LossReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LossReason::Replaced(Some(record)) => write!(
                f,
                "pid {} on {} has it now (writer id {})",
                record.pid(),
                record.hostname(),
                record.writer_id()
            ),
            LossReason::Replaced(None) => f.write_str("another program overwrote the lock object"),
            LossReason::Removed => f.write_str("the lock object was deleted"),
            LossReason::Expired => {
                f.write_str("the store confirmed no refresh for two thirds of the lease")
            }
            LossReason::Forked => {
                f.write_str("the parent process, which forked this one, holds it")
            }
            LossReason::Released => f.write_str("it was released"),
        }
    }
}

/// This process does not hold the lock any more. It cannot commit any more, and must not write data that
/// no commit protects.
///
/// Example: [`StoreLock::lost`](crate::StoreLock::lost).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// The lock object.
    pub name: String,
    /// How it was lost.
    pub reason: LossReason,
}

impl Lost {
    /// The record of the hold that has the lock now, if that is the reason and it is known.
    ///
    /// Example: [`StoreLock::commit`](crate::StoreLock::commit).
    #[must_use]
    pub fn by(&self) -> Option<&Record> {
        match &self.reason {
            LossReason::Replaced(by) => by.as_deref(),
            _ => None,
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: lock lost: {}; stop writing and acquire it again",
            escaped(&self.name),
            self.reason
        )
    }
}

impl Error for Lost {}

/// A name of an object as it can be printed: a key may contain anything.
pub(crate) fn escaped(name: &str) -> Escaped<'_> {
    Escaped::path(Path::new(name))
}
