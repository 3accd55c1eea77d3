//! What goes into the machine, and what comes out of it.

use std::time::Duration;

use bytes::Bytes;

use super::object::{Condition, ErrorClass, Found, Put};

/// When a step happens, and the randomness that it may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Moment {
    /// A clock that runs while the machine is suspended (CLOCK_BOOTTIME). Ages are measured by it alone.
    pub boottime: Duration,
    /// Unix time in nanoseconds. It goes into records and informs; no rule of the machine reads it.
    pub unix_ns: u64,
    /// Fresh randomness of the operating system, never the same twice.
    pub random: u64,
}

/// Identifies a request, so that an answer finds its question. Not used twice by one lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Identifies a commit of one lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CommitId(pub u64);

/// A request to the store. The caller sends it and hands the answer back, whenever it comes: also
/// after the machine has stopped waiting for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Read the object.
    Get {
        /// The id that the answer must name.
        request: RequestId,
    },
    /// Write the object.
    Put {
        /// The id that the answer must name.
        request: RequestId,
        /// What the write is for. The store does not see it.
        purpose: Purpose,
        /// The whole object: the record, and the payload behind it.
        bytes: Bytes,
        /// The condition under which the store writes.
        condition: Condition,
    },
}

/// What a conditional write is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The first object under the key.
    Create,
    /// A new hold over a released or stale one.
    Takeover,
    /// The holder is alive.
    Refresh,
    /// The holder is alive and has a new payload.
    Commit,
    /// The tombstone.
    Release,
}

/// An answer of the store, or the failure to get one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// To [`Request::Get`].
    Got {
        /// The request.
        request: RequestId,
        /// The answer.
        answer: Result<Found, ErrorClass>,
        /// When this process saw these very bytes first, by the clock of [`Moment::boottime`]; the
        /// moment of this step if never before.
        first_seen: Duration,
    },
    /// To [`Request::Put`].
    Written {
        /// The request.
        request: RequestId,
        /// The answer.
        answer: Result<Put, ErrorClass>,
    },
}

/// Numbers the requests of one lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Requests {
    used: u64,
}

impl Requests {
    pub(super) fn next(&mut self) -> RequestId {
        self.used += 1;
        RequestId(self.used)
    }
}
