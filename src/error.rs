//! What can go wrong, in words: the public errors, and the next step that each one names.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::alias::Alias;
use crate::escape::Escaped;
use crate::holder::{Foreign, Holder};
use crate::judge::{Reason, Verdict};
use crate::loss::Lost;
use crate::record::{DecodeError, ParseWriterIdError, PidOutOfRange};
use crate::shell_word::ShellWord;
pub use crate::sys::IoError;

/// Why a lock was not acquired.
///
/// Contention is not failure: [`is_held`](AcquireError::is_held) distinguishes the two.
///
/// Converts into [`io::Error`]: `Held` becomes `WouldBlock`, `Timeout` becomes `TimedOut`,
/// `Cancelled` becomes `Interrupted`, `Foreign` and `UnsupportedVersion` become `InvalidData`,
/// `Aliased` becomes `InvalidInput`, and `Io` converts as [`IoError`] does. No I/O error has one of
/// the first four kinds.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("store.rvf");
/// use rvlf::{AcquireError, WriterLock};
///
/// let lock = WriterLock::try_acquire(&path)?;
/// match WriterLock::try_acquire(&path) {
///     Err(error @ AcquireError::Held { .. }) => println!("busy: {error}"),
///     Err(error) => return Err(error.into()),
///     Ok(_) => unreachable!("the first lock is still held"),
/// }
/// # lock.release()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum AcquireError {
    /// Another holder has the lock, or may have it.
    Held {
        /// The lock file.
        lock_path: PathBuf,
        /// The holder: the process, since when, and the evidence.
        holder: Box<Holder>,
    },
    /// Another holder still had the lock when the timeout passed.
    Timeout {
        /// The lock file.
        lock_path: PathBuf,
        /// The timeout.
        timeout: Duration,
        /// The holder: the process, since when, and the evidence.
        holder: Box<Holder>,
    },
    /// The wait was cancelled by its [`CancelToken`](crate::CancelToken). This process does not hold the
    /// lock. If a system call took longer than 250 ms, a thread stays behind until that call returns, and
    /// gives up the lock if it has acquired it by then.
    Cancelled {
        /// The lock file.
        lock_path: PathBuf,
    },
    /// The lock path has content that is no RVLF lock. It was not touched.
    Foreign {
        /// The lock path.
        lock_path: PathBuf,
        /// What it is.
        found: Foreign,
    },
    /// The lock file is of a version that this library does not know. It was not touched.
    UnsupportedVersion {
        /// The lock file.
        lock_path: PathBuf,
        /// Its `lock_version`.
        found: u32,
    },
    /// The data file may have a second lock path, and
    /// [`LockOptions::refuse_aliases`](crate::LockOptions::refuse_aliases) is set.
    Aliased {
        /// The data file.
        data_path: PathBuf,
        /// Why.
        alias: Alias,
    },
    /// The operating system failed. This process does not hold the lock, and a lock file that it has made
    /// is removed. Off local file systems that file stays, empty, and so does one that cannot be removed:
    /// the next contender recovers it.
    Io(IoError),
}

impl AcquireError {
    /// Whether another holder has the lock: an attempt later may succeed.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// # let held = rvlf::WriterLock::try_acquire(&path)?;
    /// let refused = rvlf::WriterLock::try_acquire(&path).expect_err("another holder has it");
    /// assert!(refused.is_held(), "try again later");
    /// let broken = rvlf::WriterLock::try_acquire("no-such-directory/store.rvf").unwrap_err();
    /// assert!(!broken.is_held(), "trying again does not help");
    /// # held.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.holder().is_some()
    }

    /// Whether the wait was cancelled.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// use rvlf::{CancelToken, LockOptions};
    ///
    /// let token = CancelToken::new();
    /// token.cancel();
    /// let error = LockOptions::new().cancel_token(&token).try_acquire(&path).unwrap_err();
    /// assert!(error.is_cancelled());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, AcquireError::Cancelled { .. })
    }

    /// The holder, if contention is the reason.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// # let held = rvlf::WriterLock::try_acquire(&path)?;
    /// let refused = rvlf::WriterLock::try_acquire(&path).expect_err("another holder has it");
    /// let holder = refused.holder().expect("the reason is a holder");
    /// assert_eq!(holder.record().map(|record| record.pid().get()), Some(std::process::id()));
    /// # held.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn holder(&self) -> Option<&Holder> {
        match self {
            AcquireError::Held { holder, .. } | AcquireError::Timeout { holder, .. } => {
                Some(holder)
            }
            _ => None,
        }
    }
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AcquireError::Held { lock_path, holder } => {
                let step = step_for_contender(lock_path, holder);
                write!(f, "{}: {holder}; {step}", Escaped::path(lock_path))
            }
            AcquireError::Timeout {
                lock_path,
                timeout,
                holder,
            } => {
                let (path, time) = (Escaped::path(lock_path), timeout.as_secs_f64());
                let step = step_for_contender(lock_path, holder);
                write!(f, "{path}: timed out after {time} s: {holder}; {step}")
            }
            AcquireError::Cancelled { lock_path } => {
                write!(f, "{}: the wait was cancelled", Escaped::path(lock_path))
            }
            AcquireError::Foreign { lock_path, found } => write_foreign(f, lock_path, found),
            AcquireError::UnsupportedVersion { lock_path, found } => {
                let step = "a newer program may hold it; update this program";
                write_version(f, lock_path, *found, step)
            }
            AcquireError::Aliased { data_path, alias } => {
                let (path, step) = (Escaped::path(data_path), step_for_alias(*alias));
                write!(
                    f,
                    "{path}: the data file may have a second path with a lock of its own: {alias}; \
                     {step}"
                )
            }
            AcquireError::Io(error) => error.fmt(f),
        }
    }
}

impl Error for AcquireError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            AcquireError::Io(error) => error.source(),
            _ => None,
        }
    }
}

fn step_for_alias(alias: Alias) -> &'static str {
    match alias {
        Alias::Symlink => "lock the file that the link leads to",
        Alias::HardLinks(_) => "remove its other names",
        Alias::MountPoint => "mount its directory instead, so that the lock file is shared, too",
    }
}

fn step_for_contender(lock_path: &Path, holder: &Holder) -> String {
    let (reason, stale_in) = match holder.verdict() {
        Verdict::Held { reason, stale_in } => (reason, stale_in),
        Verdict::Stale { reason } => (reason, None),
    };
    if holder.is_lost_here() {
        "drop its guard there first".into()
    } else if holder.is_kept_for_this_process() {
        "wait until they have ended".into()
    } else if reason == Reason::DescriptorClosed {
        let left = stale_in.unwrap_or_default().as_secs() + 1;
        format!("the lock is free {left} s from now if that process does not write it again")
    } else if holder.is_this_process() {
        "release it there first".into()
    } else if reason == Reason::Unreadable {
        "wait for its release, or try again as a user who may read it".into()
    } else if reason == Reason::MandatoryLock {
        "wait for its release; the file server shows which client has the file open (`smbstatus`)"
            .into()
    } else {
        let data = data_word(lock_path);
        format!("wait for its release; to see the holder: rvlf status {data}")
    }
}

/// The data file of a lock file, as a word of a command.
fn data_word(lock_path: &Path) -> String {
    ShellWord::path(&lock_path.with_extension("")).to_string()
}

fn write_foreign(f: &mut fmt::Formatter<'_>, path: &Path, found: &Foreign) -> fmt::Result {
    write!(
        f,
        "{}: not an RVLF lock but {found}: another program may own it; if no program needs it, \
         move it away",
        Escaped::path(path)
    )
}

fn write_version(f: &mut fmt::Formatter<'_>, path: &Path, found: u32, step: &str) -> fmt::Result {
    let path = Escaped::path(path);
    write!(
        f,
        "{path}: RVLF lock of unsupported version {found}: {step}"
    )
}

/// Why a lock was not broken.
///
/// Converts into [`io::Error`]: `Held` becomes `WouldBlock`, `Foreign` and `UnsupportedVersion`
/// become `InvalidData`, and `Io` converts as [`IoError`] does.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("store.rvf");
/// # let held = rvlf::WriterLock::try_acquire(&path)?;
/// use rvlf::{BreakError, LockFile};
///
/// match LockFile::open(&path)?.break_stale() {
///     Err(BreakError::Held { holder, .. }) => println!("still held: {holder}"),
///     other => drop(other?),
/// }
/// # held.release()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum BreakError {
    /// Another holder has the lock, or may have it; or, by force, it is not the lock that was
    /// named.
    Held {
        /// The lock file.
        lock_path: PathBuf,
        /// The holder: the process, since when, and the evidence.
        holder: Box<Holder>,
    },
    /// The lock path has content that is no RVLF lock. It was not touched.
    Foreign {
        /// The lock path.
        lock_path: PathBuf,
        /// What it is.
        found: Foreign,
    },
    /// The lock file is of a version that this library does not know. It was not touched.
    UnsupportedVersion {
        /// The lock file.
        lock_path: PathBuf,
        /// Its `lock_version`.
        found: u32,
    },
    /// The operating system failed.
    Io(IoError),
}

impl fmt::Display for BreakError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BreakError::Held { lock_path, holder } => write_not_broken(f, lock_path, holder),
            BreakError::Foreign { lock_path, found } => write_foreign(f, lock_path, found),
            BreakError::UnsupportedVersion { lock_path, found } => {
                let step = "break it with the program that wrote it";
                write_version(f, lock_path, *found, step)
            }
            BreakError::Io(error) => error.fmt(f),
        }
    }
}

fn write_not_broken(f: &mut fmt::Formatter<'_>, path: &Path, holder: &Holder) -> fmt::Result {
    write!(f, "{}: not broken: {holder}", Escaped::path(path))?;
    let Some(record) = holder.record() else {
        return f.write_str(match holder.verdict().reason() {
            Reason::Unreadable => "; try again as a user who may read it",
            _ => "; try again",
        });
    };
    if holder.is_this_process() || holder.is_kept_for_this_process() {
        write!(f, "; {}", step_for_contender(path, holder))?;
    } else if holder.process_lives() {
        write!(f, "; end process {} first", record.pid())?;
    }
    let (id, data) = (record.writer_id(), data_word(path));
    write!(
        f,
        "; if you are sure that no process writes the data file: rvlf break --force --writer-id {id} \
         {data}"
    )
}

impl Error for BreakError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            BreakError::Io(error) => error.source(),
            _ => None,
        }
    }
}

/// Why a wait for a free lock ended without an answer.
///
/// Converts into [`io::Error`]: `Cancelled` becomes `Interrupted`, and `Io` converts as [`IoError`] does.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("store.rvf");
/// use rvlf::{CancelToken, LockFile, LockOptions, WaitError};
/// use std::time::Duration;
///
/// let token = CancelToken::new();
/// let file = LockFile::with_options(&path, LockOptions::new().cancel_token(&token))?;
/// token.cancel();
/// let error = file.wait_until_free(Duration::MAX).unwrap_err();
/// assert!(matches!(error, WaitError::Cancelled { .. }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum WaitError {
    /// The wait was cancelled by its [`CancelToken`](crate::CancelToken).
    Cancelled {
        /// The lock file.
        lock_path: PathBuf,
    },
    /// The operating system failed.
    Io(IoError),
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitError::Cancelled { lock_path } => {
                write!(f, "{}: the wait was cancelled", Escaped::path(lock_path))
            }
            WaitError::Io(error) => error.fmt(f),
        }
    }
}

impl Error for WaitError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            WaitError::Cancelled { .. } => None,
            WaitError::Io(error) => error.source(),
        }
    }
}

/// Why a held lock was not refreshed or released.
///
/// Converts into [`io::Error`]: `Lost` as [`Lost`] does, `Io` and `GivenUp` as [`IoError`] does.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("store.rvf");
/// use rvlf::HoldError;
///
/// let lock = rvlf::WriterLock::try_acquire(&path)?;
/// match lock.refresh() {
///     Ok(()) => {}
///     Err(HoldError::Lost(lost)) => eprintln!("stop writing: {lost}"),
///     Err(error) => eprintln!("try again soon: {error}"),
/// }
/// # lock.release()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum HoldError {
    /// This process does not hold the lock any more. Nothing at the lock path was touched.
    Lost(Lost),
    /// The operating system failed. The lock is still held, and the call may be repeated.
    Io(IoError),
    /// The operating system failed when a release had closed the descriptor of a lock that was lent.
    /// The lock is not held any more, and its file stays: the next writer that may remove the file
    /// recovers the lock, another process 30 s after the release at the earliest while this one lives.
    GivenUp(IoError),
}

impl fmt::Display for HoldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HoldError::Lost(lost) => lost.fmt(f),
            HoldError::Io(error) => write!(f, "{error}; the lock is still held"),
            HoldError::GivenUp(error) => write!(f, "{error}; the lock is not held any more"),
        }
    }
}

impl Error for HoldError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            HoldError::Lost(_) => None,
            HoldError::Io(error) | HoldError::GivenUp(error) => error.source(),
        }
    }
}

/// A wait that was cancelled before it had a result.
pub(crate) struct Cancelled {
    pub(crate) lock_path: PathBuf,
}

impl From<Cancelled> for AcquireError {
    fn from(Cancelled { lock_path }: Cancelled) -> AcquireError {
        AcquireError::Cancelled { lock_path }
    }
}

impl From<Cancelled> for WaitError {
    fn from(Cancelled { lock_path }: Cancelled) -> WaitError {
        WaitError::Cancelled { lock_path }
    }
}

impl From<IoError> for AcquireError {
    fn from(error: IoError) -> AcquireError {
        AcquireError::Io(error)
    }
}

impl From<IoError> for BreakError {
    fn from(error: IoError) -> BreakError {
        BreakError::Io(error)
    }
}

impl From<IoError> for WaitError {
    fn from(error: IoError) -> WaitError {
        WaitError::Io(error)
    }
}

impl From<IoError> for io::Error {
    fn from(error: IoError) -> io::Error {
        io::Error::new(unambiguous(error.source.kind()), error)
    }
}

impl From<AcquireError> for io::Error {
    fn from(error: AcquireError) -> io::Error {
        let kind = match &error {
            AcquireError::Held { .. } => io::ErrorKind::WouldBlock,
            AcquireError::Timeout { .. } => io::ErrorKind::TimedOut,
            AcquireError::Cancelled { .. } => io::ErrorKind::Interrupted,
            AcquireError::Foreign { .. } | AcquireError::UnsupportedVersion { .. } => {
                io::ErrorKind::InvalidData
            }
            AcquireError::Aliased { .. } => io::ErrorKind::InvalidInput,
            AcquireError::Io(error) => unambiguous(error.source.kind()),
        };
        io::Error::new(kind, error)
    }
}

impl From<BreakError> for io::Error {
    fn from(error: BreakError) -> io::Error {
        let kind = match &error {
            BreakError::Held { .. } => io::ErrorKind::WouldBlock,
            BreakError::Foreign { .. } | BreakError::UnsupportedVersion { .. } => {
                io::ErrorKind::InvalidData
            }
            BreakError::Io(error) => unambiguous(error.source.kind()),
        };
        io::Error::new(kind, error)
    }
}

impl From<WaitError> for io::Error {
    fn from(error: WaitError) -> io::Error {
        let kind = match &error {
            WaitError::Cancelled { .. } => io::ErrorKind::Interrupted,
            WaitError::Io(error) => unambiguous(error.source.kind()),
        };
        io::Error::new(kind, error)
    }
}

impl From<HoldError> for io::Error {
    fn from(error: HoldError) -> io::Error {
        let kind = match &error {
            HoldError::Lost(_) => io::ErrorKind::Other,
            HoldError::Io(error) | HoldError::GivenUp(error) => unambiguous(error.source.kind()),
        };
        io::Error::new(kind, error)
    }
}

impl From<Lost> for io::Error {
    fn from(error: Lost) -> io::Error {
        io::Error::other(error)
    }
}

impl From<DecodeError> for io::Error {
    fn from(error: DecodeError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

impl From<ParseWriterIdError> for io::Error {
    fn from(error: ParseWriterIdError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}

impl From<PidOutOfRange> for io::Error {
    fn from(error: PidOutOfRange) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}

/// A failure must not look like contention, a cancellation or a foreign file to a caller that
/// branches on the kind: a thread that cannot be started fails with EAGAIN, which is `WouldBlock`.
pub(crate) fn unambiguous(kind: io::ErrorKind) -> io::ErrorKind {
    match kind {
        io::ErrorKind::WouldBlock
        | io::ErrorKind::TimedOut
        | io::ErrorKind::Interrupted
        | io::ErrorKind::InvalidData => io::ErrorKind::Other,
        kind => kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::holder::FileFacts;
    use crate::judge::{
        Age, Content, Evidence, FileSystem, HostMatch, KernelLock, OwnHold, Process, Stamp,
    };
    use crate::record::{Hostname, Pid, Record, WriterId};
    use crate::sys::Operation;

    fn io_error(kind: io::ErrorKind) -> IoError {
        IoError::new(
            Operation::Thread("start a thread"),
            Path::new("store.rvf.lock"),
            kind.into(),
        )
    }

    // A thread that cannot be started fails with EAGAIN, whose kind is WouldBlock. A caller that
    // tries again on WouldBlock would wait for a holder that does not exist.
    #[test]
    fn an_io_error_never_has_a_kind_that_means_contention_or_cancellation() {
        let taken = [
            io::ErrorKind::WouldBlock,
            io::ErrorKind::TimedOut,
            io::ErrorKind::Interrupted,
            io::ErrorKind::InvalidData,
        ];
        for kind in taken {
            let converted: [io::Error; 5] = [
                AcquireError::Io(io_error(kind)).into(),
                BreakError::Io(io_error(kind)).into(),
                WaitError::Io(io_error(kind)).into(),
                HoldError::Io(io_error(kind)).into(),
                HoldError::GivenUp(io_error(kind)).into(),
            ];
            for error in converted {
                assert_eq!(error.kind(), io::ErrorKind::Other, "{kind}: {error}");
            }
        }
        let kept = io::Error::from(io_error(io::ErrorKind::PermissionDenied));
        assert_eq!(kept.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn contention_timeout_and_cancellation_have_kinds_of_their_own() {
        let lock_path = || PathBuf::from("store.rvf.lock");
        let holder = || Box::new(Holder::unseen(Reason::Contended, FileFacts::UNKNOWN));
        let held = AcquireError::Held {
            lock_path: lock_path(),
            holder: holder(),
        };
        let timeout = AcquireError::Timeout {
            lock_path: lock_path(),
            timeout: Duration::from_secs(1),
            holder: holder(),
        };
        let cancelled = AcquireError::Cancelled {
            lock_path: lock_path(),
        };
        let kind = |error: AcquireError| io::Error::from(error).kind();
        assert_eq!(kind(held), io::ErrorKind::WouldBlock);
        assert_eq!(kind(timeout), io::ErrorKind::TimedOut);
        assert_eq!(kind(cancelled), io::ErrorKind::Interrupted);
    }

    fn holder(stamp: Stamp, process: Process, host: HostMatch) -> Box<Holder> {
        holder_with_pid(1, stamp, process, host)
    }

    fn holder_with_pid(pid: u32, stamp: Stamp, process: Process, host: HostMatch) -> Box<Holder> {
        let evidence = Evidence {
            content: Content::Valid,
            kernel_lock: KernelLock::HeldElsewhere,
            file_system: FileSystem::Local { plain: true },
            stamp,
            host,
            own_hold: OwnHold::None,
            process,
            timestamp_age: Age::Past(Duration::from_secs(5)),
            mtime_age: Duration::from_secs(5),
            predates_boot: false,
        };
        let pid = Pid::new(pid).expect("a pid");
        let id = WriterId::from_random([1; 16]);
        Box::new(Holder {
            record: Ok(Record::new(pid, &Hostname::truncated(b"vm"), 1, id, None)),
            evidence: Some(evidence),
            ..Holder::unseen(Reason::KernelLock, FileFacts::UNKNOWN)
        })
    }

    fn refusal(holder: Box<Holder>) -> String {
        let lock_path = PathBuf::from("store.rvf.lock");
        BreakError::Held { lock_path, holder }.to_string()
    }

    // In a container, pid 1 of a record from another container is the reader's own init process.
    #[test]
    fn only_the_process_that_wrote_the_record_is_to_be_ended() {
        let alive = |start_ticks, started_after_timestamp| Process::Alive {
            start_ticks,
            started_after_timestamp,
        };
        let same = Stamp::Same { start_ticks: 7 };
        let different = Stamp::Different { start_ticks: 7 };
        let cases = [
            (same, alive(7, false), HostMatch::Same, true),
            (same, alive(8, false), HostMatch::Same, false),
            (same, Process::Dead, HostMatch::Same, false),
            (same, Process::Unknown, HostMatch::Same, false),
            (different, alive(7, false), HostMatch::Same, false),
            (Stamp::Absent, alive(7, false), HostMatch::Same, true),
            (Stamp::Absent, alive(7, true), HostMatch::Same, false),
            (Stamp::Absent, alive(7, false), HostMatch::Alias, false),
            (Stamp::Absent, alive(7, false), HostMatch::Other, false),
        ];
        for (stamp, process, host, expected) in cases {
            let text = refusal(holder(stamp, process, host));
            assert_eq!(text.contains("end process 1 first"), expected, "{text}");
        }
        let mut own = holder(same, alive(7, false), HostMatch::Same);
        own.is_this_process = true;
        let text = refusal(own);
        assert!(text.contains("release it there first"), "{text}");
        assert!(!text.contains("end process"), "{text}");
    }

    // "held by pid 1 on vm" sends a reader to a process that has nothing to do with the lock.
    #[test]
    fn a_pid_that_means_another_process_here_is_reported_as_such() {
        const OTHER: &str = ", but here this pid is another process, ";
        const CONTAINER: &str = " in another container of this machine ";
        let alive = |start_ticks| Process::Alive {
            start_ticks,
            started_after_timestamp: false,
        };
        let (same, different) = (
            Stamp::Same { start_ticks: 7 },
            Stamp::Different { start_ticks: 7 },
        );
        let cases = [
            // The writer itself, under another host name of the same pid namespace too.
            (9, same, alive(7), HostMatch::Same, " "),
            (9, same, alive(7), HostMatch::Other, " "),
            (9, same, alive(8), HostMatch::Same, OTHER),
            (9, same, alive(8), HostMatch::Other, CONTAINER),
            // It may have ended, and a child may keep the lock.
            (9, same, Process::Dead, HostMatch::Same, " "),
            (9, same, Process::Dead, HostMatch::Other, CONTAINER),
            // Pid 1 of this namespace is never reused.
            (1, same, alive(8), HostMatch::Same, CONTAINER),
            (1, same, alive(7), HostMatch::Same, " "),
            (1, same, Process::Unknown, HostMatch::Same, " "),
            // Another kernel's record.
            (1, different, alive(8), HostMatch::Same, " "),
            (9, different, Process::Unknown, HostMatch::Other, " "),
        ];
        for (pid, stamp, process, host, note) in cases {
            let text = holder_with_pid(pid, stamp, process, host).to_string();
            let expected = format!("held by pid {pid} on vm{note}for 5 s: ");
            assert!(text.starts_with(&expected), "{host:?}, {process:?}: {text}");
        }
    }
}
