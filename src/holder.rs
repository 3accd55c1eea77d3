//! The holder of a lock and the state of a lock, as far as its file and this machine show them.

use std::fmt;
use std::time::Duration;

use crate::judge::{
    Age, Content, Evidence, HostMatch, KernelLock, OwnHold, Process, Reason, Stamp, Verdict,
};
use crate::record::{DecodeError, FirstBytes, Record};
use crate::sys::FileKind;

/// A lock file that was examined: its record, the evidence, and the verdict.
///
/// `Display` gives one sentence: the process, since when, and the reason of the verdict.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("store.rvf");
/// use rvlf::{LockState, WriterLock, inspect};
///
/// let lock = WriterLock::try_acquire(&path)?;
/// let LockState::Held(holder) = inspect(&path)? else { unreachable!("it is held") };
/// assert!(holder.is_this_process());
/// assert_eq!(holder.record().map(|record| record.writer_id()), Some(lock.writer_id()));
/// assert_eq!(holder.verdict().reason().code(), "kernel-lock");
/// # lock.release()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub(crate) record: Result<Record, Option<DecodeError>>,
    pub(crate) evidence: Option<Evidence>,
    pub(crate) verdict: Verdict,
    pub(crate) facts: FileFacts,
    pub(crate) is_this_process: bool,
}

/// Facts of the file itself, apart from its content.
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
    /// A holder without evidence to judge: its file cannot be read, or was replaced during every
    /// look.
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
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// # let lock = rvlf::WriterLock::try_acquire(&path)?;
    /// let state = rvlf::inspect(&path)?;
    /// let record = state.holder().and_then(|holder| holder.record()).expect("it is held");
    /// assert_eq!(record.writer_id(), lock.writer_id());
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        self.record.as_ref().ok()
    }

    /// Why the file has no valid record, if it was read and has none.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// use rvlf::{inspect, lock_path_for};
    ///
    /// std::fs::write(lock_path_for(&path), "FLVR")?;
    /// let state = inspect(&path)?;
    /// let error = state.holder().and_then(|holder| holder.decode_error()).expect("it is torn");
    /// assert_eq!(error.to_string(), "torn record: 4 of 104 bytes");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn decode_error(&self) -> Option<&DecodeError> {
        self.record.as_ref().err()?.as_ref()
    }

    /// Held or stale, and why.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// # let lock = rvlf::WriterLock::try_acquire(&path)?;
    /// let state = rvlf::inspect(&path)?;
    /// let verdict = state.holder().expect("it is held").verdict();
    /// assert!(!verdict.is_stale());
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The facts that the verdict rests on. `None` if the file could not be read.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// # let lock = rvlf::WriterLock::try_acquire(&path)?;
    /// use rvlf::judge::KernelLock;
    ///
    /// let state = rvlf::inspect(&path)?;
    /// let evidence = state.holder().and_then(|holder| holder.evidence()).expect("it can be read");
    /// # #[cfg(target_os = "linux")]
    /// assert_eq!(evidence.kernel_lock, KernelLock::HeldElsewhere);
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn evidence(&self) -> Option<&Evidence> {
        self.evidence.as_ref()
    }

    /// Age of the record's timestamp by this machine's clock: time since the last refresh.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// # let lock = rvlf::WriterLock::try_acquire(&path)?;
    /// let state = rvlf::inspect(&path)?;
    /// let age = state.holder().and_then(|holder| holder.timestamp_age()).expect("it has a record");
    /// assert!(age.or_zero() < std::time::Duration::from_secs(300));
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn timestamp_age(&self) -> Option<Age> {
        self.record()
            .and(self.evidence.map(|evidence| evidence.timestamp_age))
    }

    /// Time since the lock file was created, if the file system records it; else the age of the
    /// timestamp. By this machine's clock.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// # let lock = rvlf::WriterLock::try_acquire(&path)?;
    /// let state = rvlf::inspect(&path)?;
    /// let time = state.holder().and_then(|holder| holder.held_for()).expect("it has a record");
    /// println!("held for {} s", time.as_secs());
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn held_for(&self) -> Option<Duration> {
        self.facts
            .held_for
            .or_else(|| self.timestamp_age().map(Age::or_zero))
    }

    /// The user id of the lock file's owner, if the file existed long enough to be examined.
    /// `None` on Windows.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// # let lock = rvlf::WriterLock::try_acquire(&path)?;
    /// let state = rvlf::inspect(&path)?;
    /// if let Some(uid) = state.holder().and_then(|holder| holder.uid()) {
    ///     println!("a process of user {uid} made the lock file");
    /// }
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn uid(&self) -> Option<u32> {
        self.facts.uid
    }

    /// Whether bytes follow the record. They are ignored, as deployed clients ignore them.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// # let lock = rvlf::WriterLock::try_acquire(&path)?;
    /// let state = rvlf::inspect(&path)?;
    /// assert!(!state.holder().expect("it is held").has_trailing_bytes());
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn has_trailing_bytes(&self) -> bool {
        self.facts.has_trailing_bytes
    }

    /// Whether this very process holds the lock, or has lost it and not dropped its guard yet: another
    /// thread, or another handle.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// # let lock = rvlf::WriterLock::try_acquire(&path)?;
    /// let state = rvlf::inspect(&path)?;
    /// assert!(state.holder().expect("it is held").is_this_process());
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_this_process(&self) -> bool {
        self.is_this_process
    }

    /// Whether a process of this pid namespace has the recorded pid, and certainly is not the one
    /// that wrote the record: the holder has ended, or runs in another container.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// # let lock = rvlf::WriterLock::try_acquire(&path)?;
    /// let state = rvlf::inspect(&path)?;
    /// let holder = state.holder().expect("this process holds the lock");
    /// assert!(!holder.pid_is_another_process());
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn pid_is_another_process(&self) -> bool {
        self.evidence.is_some_and(|evidence| match evidence {
            Evidence {
                process: Process::Alive { start_ticks, .. },
                stamp: Stamp::Same {
                    start_ticks: recorded,
                },
                ..
            } => {
                // 0: its writer did not know its start.
                recorded > 0 && start_ticks != recorded || evidence.is_of_another_boot()
            }
            _ => false,
        })
    }

    /// Whether the record was written in another container of this machine (another pid namespace): by
    /// this kernel, and either by pid 1, which is another process here, or under another host name by a
    /// process that cannot be seen here and that keeps the kernel lock.
    ///
    /// True also if this host was renamed while the lock was held, and the recorded process has then
    /// ended and left the kernel lock to a child.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// # let lock = rvlf::WriterLock::try_acquire(&path)?;
    /// let state = rvlf::inspect(&path)?;
    /// let holder = state.holder().expect("this process holds the lock");
    /// assert!(!holder.is_in_another_container());
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_in_another_container(&self) -> bool {
        let (Ok(record), Some(evidence)) = (&self.record, &self.evidence) else {
            return false;
        };
        let same_inode = matches!(evidence.stamp, Stamp::Same { .. });
        let by_this_kernel = same_inode && !evidence.is_of_another_boot();
        let is_init = record.pid().get() == 1 && self.pid_is_another_process();
        let other_name = evidence.host == HostMatch::Other && self.is_kernel_locked();
        by_this_kernel && (is_init || other_name) && !self.process_lives()
    }

    /// What to add to "pid 7 on vm" where that names no process of this pid namespace.
    fn note_on_pid(&self) -> Option<&'static str> {
        if self.is_in_another_container() {
            Some(" in another container of this machine")
        } else if self.pid_is_another_process() {
            Some(", but here this pid is another process,")
        } else {
            None
        }
    }

    /// Whether the recorded process is alive in this pid namespace, and is the one that wrote the
    /// record: the advice to a user may be to end it.
    pub(crate) fn process_lives(&self) -> bool {
        let Some(evidence) = self.evidence else {
            return false;
        };
        let Process::Alive {
            start_ticks,
            started_after_timestamp,
        } = evidence.process
        else {
            return false;
        };
        match evidence.stamp {
            Stamp::Same {
                start_ticks: recorded,
            } => start_ticks == recorded && !evidence.is_of_another_boot(),
            Stamp::Different { .. } => false,
            // A pid of another host says nothing, and one that began later was reused: in a
            // container it may be the init process.
            Stamp::Absent => evidence.host == HostMatch::Same && !started_after_timestamp,
        }
    }

    /// Whether this process has released the lock, and another one keeps a descriptor that was lent.
    pub(crate) fn is_kept_for_this_process(&self) -> bool {
        let given_up = |evidence: Evidence| evidence.own_hold == OwnHold::GivenUp;
        self.is_kernel_locked() && self.evidence.is_some_and(given_up)
    }

    /// Whether this process has lost the hold, and has not dropped its guard.
    pub(crate) fn is_lost_here(&self) -> bool {
        self.evidence
            .is_some_and(|evidence| evidence.own_hold == OwnHold::Lost)
    }

    pub(crate) fn is_kernel_locked(&self) -> bool {
        self.evidence
            .is_some_and(|evidence| evidence.kernel_lock == KernelLock::HeldElsewhere)
    }

    pub(crate) fn is_malformed(&self) -> bool {
        let content = self.evidence.map(|evidence| evidence.content);
        matches!(content, Some(Content::Short | Content::Corrupt))
    }

    /// The state in a word, for the sentence.
    fn state(&self) -> &'static str {
        if self.verdict.is_stale() {
            "left behind"
        } else {
            "held"
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.record {
            Ok(record) if self.is_this_process => {
                let held = if self.is_lost_here() {
                    "lost"
                } else {
                    "already held"
                };
                write!(f, "{held} by this process (pid {})", record.pid())?;
            }
            Ok(record) if self.is_kept_for_this_process() => write!(
                f,
                "released by this process (pid {}), but not by those to which it has lent the lock",
                record.pid()
            )?,
            Ok(record) => {
                let (pid, host) = (record.pid(), record.hostname());
                let note = self.note_on_pid().unwrap_or_default();
                write!(f, "{} by pid {pid} on {host}{note}", self.state())?;
            }
            Err(Some(_)) => f.write_str(self.state())?,
            Err(None) => match self.facts.uid {
                Some(uid) => write!(f, "held or left behind by a process of user {uid}")?,
                None => f.write_str("held")?,
            },
        }
        // The time of the acquisition is known, the time of the holder's death or loss is not.
        match (
            self.held_for(),
            self.verdict.is_stale() || self.is_lost_here(),
        ) {
            (Some(time), false) => write!(f, " for {} s", time.as_secs())?,
            (Some(time), true) => write!(f, ", acquired {} s ago", time.as_secs())?,
            (None, _) => {}
        }
        if let Err(Some(error)) = &self.record {
            write!(f, ": {error}")?;
        }
        write!(f, ": {}", self.verdict.reason())
    }
}

/// The state of a lock: the content of the lock path, judged.
///
/// `Display` gives one sentence.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("store.rvf");
/// use rvlf::{LockState, inspect};
///
/// match inspect(&path)? {
///     LockState::Free => println!("free"),
///     LockState::Held(holder) => println!("wait: {holder}"),
///     LockState::Stale(holder) => println!("the next writer recovers it: {holder}"),
///     other => println!("{other}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockState {
    /// There is no lock file.
    Free,
    /// The lock is held, or may be held.
    Held(Holder),
    /// A dead holder left the lock: the next contender that may remove the file recovers it. In a
    /// sticky directory (/tmp) only root and the owner of the file or of the directory may.
    Stale(Holder),
    /// A torn or damaged record that no process holds by flock(2). The [verdict](Holder::verdict) says
    /// whether the next contender may break it already.
    Malformed(Holder),
    /// A record of a version that this library does not know.
    UnsupportedVersion(u32),
    /// No RVLF lock.
    Foreign(Foreign),
}

impl LockState {
    pub(crate) fn of(holder: Holder) -> LockState {
        if holder.is_malformed() && !holder.is_kernel_locked() {
            LockState::Malformed(holder)
        } else if holder.verdict().is_stale() {
            LockState::Stale(holder)
        } else {
            LockState::Held(holder)
        }
    }

    /// The holder, dead or alive, if the lock file is one.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// assert_eq!(rvlf::inspect(&path)?.holder(), None, "it is free");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn holder(&self) -> Option<&Holder> {
        match self {
            LockState::Held(holder) | LockState::Stale(holder) | LockState::Malformed(holder) => {
                Some(holder)
            }
            LockState::Free | LockState::UnsupportedVersion(_) | LockState::Foreign(_) => None,
        }
    }

    /// A stable name for programs: `free`, `held`, `stale`, `malformed`, `unsupported` or
    /// `foreign`.
    ///
    /// A torn record that is so young that a process may still be writing it is `held`.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// assert_eq!(rvlf::inspect(&path)?.code(), "free");
    /// let lock = rvlf::WriterLock::try_acquire(&path)?;
    /// assert_eq!(rvlf::inspect(&path)?.code(), "held");
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            LockState::Free => "free",
            LockState::Held(_) => "held",
            LockState::Stale(_) => "stale",
            LockState::Malformed(holder) if !holder.verdict().is_stale() => "held",
            LockState::Malformed(_) => "malformed",
            LockState::UnsupportedVersion(_) => "unsupported",
            LockState::Foreign(_) => "foreign",
        }
    }

    /// Why the state is what it is; `None` for a free lock.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// # let lock = rvlf::WriterLock::try_acquire(&path)?;
    /// let reason = rvlf::inspect(&path)?.reason().expect("it is held");
    /// assert_eq!(reason.code(), "kernel-lock");
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            LockState::Free => None,
            LockState::UnsupportedVersion(_) => Some(Reason::Unsupported),
            LockState::Foreign(_) => Some(Reason::Foreign),
            LockState::Held(holder) | LockState::Stale(holder) | LockState::Malformed(holder) => {
                Some(holder.verdict().reason())
            }
        }
    }
}

impl fmt::Display for LockState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockState::Free => f.write_str("free"),
            LockState::Held(holder) | LockState::Stale(holder) | LockState::Malformed(holder) => {
                holder.fmt(f)
            }
            LockState::UnsupportedVersion(found) => {
                write!(f, "RVLF lock of unsupported version {found}")
            }
            LockState::Foreign(found) => write!(f, "not an RVLF lock but {found}"),
        }
    }
}

/// Content of the lock path that is no RVLF lock. It is never opened for writing and never removed.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("store.rvf");
/// use rvlf::{LockState, inspect, lock_path_for};
///
/// std::fs::write(lock_path_for(&path), "{\"pid\": 4121}")?;
/// let LockState::Foreign(found) = inspect(&path)? else { unreachable!("it is no record") };
/// assert_eq!(found.to_string(), r#"a file that begins with "{\"pid\": 4121}""#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Foreign {
    /// Another program's regular file, and its first bytes.
    Content(FirstBytes),
    /// Not a regular file.
    Kind(FileKind),
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Foreign::Content(first) => write!(f, "a file that begins with {first}"),
            Foreign::Kind(kind) => kind.fmt(f),
        }
    }
}
