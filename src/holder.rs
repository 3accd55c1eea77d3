//! Who holds a lock, as far as its file and this machine can tell.

use std::fmt;
use std::time::Duration;

use crate::judge::{Age, Content, Evidence, KernelLock, Process, Reason, Stamp, Verdict};
use crate::record::{DecodeError, FirstBytes, Record};
use crate::sys::FileKind;

/// A lock file that was looked at: its record, the evidence, and the verdict.
///
/// `Display` gives one sentence: who, since when, and how we know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub(crate) record: Result<Record, Option<DecodeError>>,
    pub(crate) evidence: Option<Evidence>,
    pub(crate) verdict: Verdict,
    pub(crate) facts: FileFacts,
    pub(crate) is_this_process: bool,
}

/// What the file itself says, apart from its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileFacts {
    pub(crate) uid: Option<u32>,
    pub(crate) has_trailing_bytes: bool,
    pub(crate) held_for: Option<Duration>,
}

impl FileFacts {
    pub(crate) const UNKNOWN: FileFacts = FileFacts {
        uid: None,
        has_trailing_bytes: false,
        held_for: None,
    };
}

impl Holder {
    /// Somebody, in a way that leaves nothing to judge: unreadable, or gone whenever we looked.
    pub(crate) fn unseen(reason: Reason, facts: FileFacts) -> Holder {
        let verdict = Verdict::Held {
            reason,
            stale_in: None,
        };
        Holder {
            record: Err(None),
            evidence: None,
            verdict,
            facts,
            is_this_process: false,
        }
    }

    /// The record, if the file holds a valid one.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        self.record.as_ref().ok()
    }

    /// Why the file holds no valid record, if it was read and does not.
    #[must_use]
    pub fn decode_error(&self) -> Option<&DecodeError> {
        self.record.as_ref().err()?.as_ref()
    }

    /// Held or stale, and why.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Everything that the verdict rests on. `None` if the file could not be read.
    #[must_use]
    pub fn evidence(&self) -> Option<&Evidence> {
        self.evidence.as_ref()
    }

    /// Age of the record's timestamp by this machine's clock: time since the last refresh.
    #[must_use]
    pub fn timestamp_age(&self) -> Option<Age> {
        self.record()
            .and(self.evidence.map(|evidence| evidence.timestamp_age))
    }

    /// Time since the lock file was made, where the file system remembers it; else the age of the
    /// timestamp. By this machine's clock.
    #[must_use]
    pub fn held_for(&self) -> Option<Duration> {
        self.facts
            .held_for
            .or_else(|| self.timestamp_age().map(Age::or_zero))
    }

    /// The user who owns the lock file, if it stayed long enough to be looked at.
    #[must_use]
    pub fn uid(&self) -> Option<u32> {
        self.facts.uid
    }

    /// Whether bytes follow the record. They are ignored, as deployed clients do.
    #[must_use]
    pub fn has_trailing_bytes(&self) -> bool {
        self.facts.has_trailing_bytes
    }

    /// Whether the lock is held by this very process: by another thread or through another handle.
    #[must_use]
    pub fn is_this_process(&self) -> bool {
        self.is_this_process
    }

    /// Whether the recorded process was seen alive in this pid namespace, and is the one recorded.
    pub(crate) fn process_lives(&self) -> bool {
        let Some(Evidence {
            process: Process::Alive { start_ticks, .. },
            stamp,
            ..
        }) = self.evidence
        else {
            return false;
        };
        match stamp {
            Stamp::Same {
                start_ticks: recorded,
            } => start_ticks == recorded,
            Stamp::Different { .. } => false,
            Stamp::Absent => true,
        }
    }

    pub(crate) fn is_kernel_locked(&self) -> bool {
        self.evidence
            .is_some_and(|evidence| evidence.kernel_lock == KernelLock::HeldElsewhere)
    }

    pub(crate) fn is_malformed(&self) -> bool {
        let content = self.evidence.map(|evidence| evidence.content);
        matches!(content, Some(Content::Short | Content::Corrupt))
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.record {
            Ok(record) if self.is_this_process => {
                write!(f, "already held by this process (pid {})", record.pid())?;
            }
            Ok(record) => {
                let (pid, host) = (record.pid(), record.hostname());
                write!(f, "{} by pid {pid} on {host}", self.verb())?;
            }
            Err(Some(error)) => write!(f, "{}: {error}", self.verb())?,
            Err(None) => match self.facts.uid {
                Some(uid) => write!(f, "held by a process of user {uid}")?,
                None => f.write_str("held")?,
            },
        }
        // A lock that was left behind was acquired so long ago; when its holder died, nobody knows.
        match (self.held_for(), self.verdict.is_stale()) {
            (Some(time), false) => write!(f, " for {} s", time.as_secs())?,
            (Some(time), true) => write!(f, ", acquired {} s ago", time.as_secs())?,
            (None, _) => {}
        }
        write!(f, ": {}", self.verdict.reason())
    }
}

impl Holder {
    fn verb(&self) -> &'static str {
        if self.verdict.is_stale() {
            "left behind"
        } else {
            "held"
        }
    }
}

/// What lies at the lock path and is no RVLF lock. It is never opened for writing, never removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Foreign {
    /// A regular file of somebody else's; these are its first bytes.
    Content(FirstBytes),
    /// Not a regular file.
    Kind(FileKind),
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Foreign::Content(first) => write!(f, "a file that begins with {first}"),
            Foreign::Kind(kind) => write!(f, "{kind}"),
        }
    }
}
