//! [`LockReport`]: the state of a lock, as its object shows it.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use rvlf::Record;
use rvlf::host;
use rvlf::judge::{Age, StoreReason, StoreVerdict};

use crate::keepalive::Keepalive;
use crate::machine::Refusal;

/// The state of a lock: its record, for how long this process has seen it unchanged, and the verdict.
///
/// `Display` gives one sentence: the process, and the reason of the verdict. With the feature `serde` it
/// is the JSON of the command `rvlf`.
///
/// Example: [`LockObject::inspect`](crate::LockObject::inspect).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockReport {
    name: String,
    look: Refusal,
    payload: Option<Bytes>,
    timestamp_age: Option<Age>,
    is_this_process: bool,
}

impl LockReport {
    pub(crate) fn new(name: String, look: Refusal, keepalive: &Keepalive) -> LockReport {
        let now = Duration::from_nanos(host::unix_ns());
        let age = |record: &Record| {
            let then = Duration::from_nanos(record.timestamp_ns());
            match now.checked_sub(then) {
                Some(age) => Age::Past(age),
                None => Age::Ahead(then.saturating_sub(now)),
            }
        };
        let is_live = |record: Record| keepalive.memory().holds.is_live(record.writer_id());
        LockReport {
            name,
            timestamp_age: look.record.as_ref().map(age),
            is_this_process: look.record.is_some_and(is_live),
            look,
            payload: None,
        }
    }

    pub(crate) fn with_payload(mut self, payload: Option<Bytes>) -> LockReport {
        self.payload = payload;
        self
    }

    /// The lock object: its URL, without credentials.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A stable name of the state: `free`, `held`, `stale`, `foreign`, `unsupported` or `malformed`. All
    /// but the first are in the way of a contender, `stale` only until it takes the lock over.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match (self.look.verdict, self.look.verdict.reason()) {
            (StoreVerdict::Free { .. }, _) => "free",
            (StoreVerdict::Stale { .. }, _) => "stale",
            (_, StoreReason::Foreign | StoreReason::OtherStamp) => "foreign",
            (_, StoreReason::Unsupported) => "unsupported",
            (_, StoreReason::Damaged) => "malformed",
            _ => "held",
        }
    }

    /// Free, held or stale, and why.
    #[must_use]
    pub fn verdict(&self) -> StoreVerdict {
        self.look.verdict
    }

    /// Whether a hold has the lock, or may have it.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.code() == "held"
    }

    /// The record, if the object begins with one. That of the last holder if the lock is free.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        self.look.record.as_ref()
    }

    /// The generation of the hold in the record.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        Some(self.record()?.store_stamp()?.generation)
    }

    /// The lease of the hold in the record; `None` if it is released, or there is none.
    #[must_use]
    pub fn lease(&self) -> Option<Duration> {
        let stamp = self.record()?.store_stamp()?;
        (!stamp.is_released()).then(|| stamp.lease())
    }

    /// Whether the last holder released the lock. `false` if there is no record.
    #[must_use]
    pub fn is_released(&self) -> bool {
        self.look.verdict.reason() == StoreReason::Released
    }

    /// For how long this process has seen the record unchanged: zero at its first look.
    #[must_use]
    pub fn unchanged(&self) -> Duration {
        self.look.unchanged
    }

    /// Age of the record's timestamp by this machine's clock. It informs: no acquisition judges by it,
    /// unless [`StoreOptions::both_clocks`](crate::StoreOptions::both_clocks) is set.
    #[must_use]
    pub fn timestamp_age(&self) -> Option<Age> {
        self.timestamp_age
    }

    /// What the last commit left behind the record. `None` if there is no record, and in errors.
    #[must_use]
    pub fn payload(&self) -> Option<&Bytes> {
        self.payload.as_ref()
    }

    /// Whether this very process holds the lock.
    #[must_use]
    pub fn is_this_process(&self) -> bool {
        self.is_this_process
    }
}

impl fmt::Display for LockReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.code() {
            "stale" => "left behind",
            other => other,
        };
        match self.record() {
            Some(record) if !self.look.verdict.is_free() => {
                let (pid, host) = (record.pid(), record.hostname());
                let id = record.writer_id();
                match self.is_this_process {
                    true => write!(
                        f,
                        "already held by this process (pid {pid}, writer id {id})"
                    )?,
                    false => write!(f, "{state} by pid {pid} on {host} (writer id {id})")?,
                }
            }
            _ => f.write_str(state)?,
        }
        write!(f, ": {}", self.look.verdict.reason())
    }
}
