//! [`WriterLock`]: the guard of a held lock.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::loss::Lost;
use crate::options::{AcquireError, LockOptions};
use crate::protocol::keepalive::Registration;
use crate::protocol::{Held, HoldError};
use crate::record::{Record, WriterId};
use crate::sys::Host;
#[cfg(unix)]
use crate::sys::child::{self, Farewell};

/// The writer lock of one data file, held until it is released or dropped.
///
/// **What it does not protect against**: programs that do not use RVLF locks; two names for one data
/// file ([`LockOptions::refuse_aliases`]); across hosts, a holder that was paused for so long that
/// others judged it dead, which is why [`check`](WriterLock::check) belongs right before each commit.
///
/// Dropping it releases the lock, silently and as well as it can; [`release`](WriterLock::release)
/// reports. A panic that unwinds drops it.
///
/// **Fork**: the lock stays with the process that acquired it. In a forked child every method
/// reports [`LossReason::Forked`](crate::LossReason::Forked), and dropping the copy only closes it; but as long as the child
/// lives and has not closed it, the kernel counts the lock as held. **Exec** closes the descriptor
/// without releasing: others recover the lock within 30 s. **A crash**: on a local file system others
/// recover it at once, elsewhere by age (`spec/protocol.md#judge`).
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("log");
/// let lock = rvlf::WriterLock::try_acquire(&path)?;
/// std::fs::write(&path, "written by one writer only")?;
/// lock.check()?;
/// lock.release()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropped at once, the lock is released at once"]
pub struct WriterLock {
    /// First, so that refreshes end before the lock is released.
    registration: Option<Registration>,
    held: Arc<Held<Host>>,
}

impl WriterLock {
    pub(crate) fn new(held: Arc<Held<Host>>, registration: Option<Registration>) -> WriterLock {
        WriterLock { registration, held }
    }

    /// Acquires the lock of the data file `resource` with the default [`LockOptions`], in one
    /// attempt.
    ///
    /// The data file need not exist; its directory must. One attempt sleeps only where the file at
    /// the lock path is torn (2 s at the most) or its dead holder's kernel lock lingers (63 ms), and
    /// for 100 ms on file systems that are not known to be local.
    ///
    /// # Errors
    ///
    /// See [`AcquireError`]. [`AcquireError::Held`] carries the holder.
    pub fn try_acquire(resource: impl AsRef<Path>) -> Result<WriterLock, AcquireError> {
        WriterLock::options().try_acquire(resource)
    }

    /// Acquires the lock of the data file `resource`, waiting up to `timeout` for it.
    ///
    /// Blocks the calling thread. On a local file system it sleeps until the kernel tells of the
    /// release or of the holder's death; elsewhere it polls, every 10 ms at first and every 500 ms in
    /// the end. There is no queue: any of several waiters may be next. In asynchronous code call it
    /// from a blocking task (see the example `tokio`).
    ///
    /// # Errors
    ///
    /// See [`AcquireError`]. Only holders are waited for; everything else fails at once.
    pub fn acquire(
        resource: impl AsRef<Path>,
        timeout: Duration,
    ) -> Result<WriterLock, AcquireError> {
        WriterLock::options().acquire(resource, timeout)
    }

    /// Options to acquire with.
    pub fn options() -> LockOptions {
        LockOptions::new()
    }

    /// The record as it stands in the lock file, with the time of the latest refresh.
    #[must_use]
    pub fn record(&self) -> Record {
        self.held.record()
    }

    /// Names this hold of the lock. Stored with the data, it shows who wrote what.
    #[must_use]
    pub fn writer_id(&self) -> WriterId {
        self.record().writer_id()
    }

    /// The data file, as it was named when the lock was acquired.
    #[must_use]
    pub fn resource_path(&self) -> &Path {
        self.held.place.resource_path()
    }

    /// The lock file.
    #[must_use]
    pub fn lock_path(&self) -> &Path {
        self.held.place.lock_path()
    }

    /// The record of the dead holder whose lock was broken to get this one: it crashed, and the data
    /// file may need recovery.
    ///
    /// `None` proves nothing: another process may have broken the lock (`rvlf break`, or a contender
    /// that died right after), or the broken record was malformed ([`has_reclaimed`]). A data file
    /// that must be recovered after a crash has to be able to tell so itself.
    ///
    /// [`has_reclaimed`]: WriterLock::has_reclaimed
    #[must_use]
    pub fn reclaimed_from(&self) -> Option<&Record> {
        self.held.displaced()?.record.as_ref()
    }

    /// Whether a lock was broken to get this one, be its record readable or not.
    #[must_use]
    pub fn has_reclaimed(&self) -> bool {
        self.held.displaced().is_some()
    }

    /// Looks whether the lock is still ours: right before committing data is the time to ask.
    ///
    /// Two or three system calls; never waits for a refresh that hangs. On a file system that is not
    /// local it reads the lock file as well. An I/O error is not a loss.
    ///
    /// # Errors
    ///
    /// [`Lost`], from then on for ever.
    pub fn check(&self) -> Result<(), Lost> {
        self.held.check().map_err(|reason| self.held.lost(reason))
    }

    /// Whether the lock is known to be lost: by an earlier [`check`](WriterLock::check) or refresh,
    /// by a fork, or because nothing could be refreshed for too long. No I/O.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.held.known_loss().is_some()
    }

    /// Refreshes the record's timestamp now. The keepalive does this by itself.
    ///
    /// On a file system that is not local this waits for the server.
    ///
    /// # Errors
    ///
    /// [`RefreshError::Lost`] if the lock is not ours any more; [`RefreshError::Io`] if the time could
    /// not be written, after which the lock is still held and the call may be repeated.
    pub fn refresh(&self) -> Result<(), RefreshError> {
        self.held.refresh().map_err(|error| match error {
            HoldError::Lost(reason) => RefreshError::Lost(self.held.lost(reason)),
            HoldError::Io { operation, source } => RefreshError::Io {
                operation,
                path: self.lock_path().to_owned(),
                source,
            },
        })
    }

    /// Releases the lock: unlinks the lock file, then closes it.
    ///
    /// # Errors
    ///
    /// [`ReleaseError`], which gives the lock back. After [`ReleaseErrorKind::Lost`] there is nothing
    /// left to release, and nothing at the lock path was touched.
    #[expect(
        clippy::result_large_err,
        reason = "once per hold, and it carries the lock"
    )]
    pub fn release(self) -> Result<(), ReleaseError> {
        match self.held.release() {
            Ok(()) => Ok(()),
            Err(HoldError::Lost(reason)) => {
                let kind = ReleaseErrorKind::Lost(self.held.lost(reason));
                Err(ReleaseError { kind, lock: self })
            }
            Err(HoldError::Io { operation, source }) => {
                let path = self.lock_path().to_owned();
                let kind = ReleaseErrorKind::Io {
                    operation,
                    path,
                    source,
                };
                Err(ReleaseError { kind, lock: self })
            }
        }
    }

    /// A second descriptor of the lock file, close-on-exec, for a child process to inherit: as long
    /// as the child has it open the kernel counts the lock as held, also when this process is killed.
    ///
    /// Whoever gets it must only ever close it; unlocking it would free the lock.
    ///
    /// # Errors
    ///
    /// Too many open files; or the lock was released or lost.
    #[cfg(unix)]
    pub fn try_clone_descriptor(&self) -> io::Result<std::os::fd::OwnedFd> {
        self.held.try_clone_descriptor()
    }

    /// Lends the lock to the child that `command` will spawn: the child inherits a descriptor of the
    /// lock file, and the kernel counts the lock as held until the child and everybody to whom it
    /// passes the descriptor on have ended, also when this process is killed.
    ///
    /// On Linux the child is sent SIGTERM when the thread that spawned it ends: with this process
    /// gone nobody refreshes the record. Spawn it from a thread that outlives it, in the process that
    /// made this call.
    ///
    /// Releasing the lock removes its file whether the child has ended or not: wait for the child
    /// first. `command` has a descriptor of its own until it is dropped.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("log");
    /// let lock = rvlf::WriterLock::try_acquire(&path)?;
    /// let mut command = std::process::Command::new("true");
    /// lock.lend_to(&mut command)?;
    /// assert!(command.status()?.success());
    /// lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`try_clone_descriptor`](WriterLock::try_clone_descriptor).
    #[cfg(unix)]
    pub fn lend_to(&self, command: &mut Command) -> io::Result<()> {
        child::inherit(command, self.try_clone_descriptor()?);
        child::die_with_parent(command, Farewell::Terminate);
        Ok(())
    }

    /// Withholds the lock from the child that `command` will spawn: when this process is killed the
    /// lock is free at once, and whatever the child has started may go on without it.
    ///
    /// On Linux the child itself is killed (SIGKILL) when the thread that spawned it ends, for it
    /// would write without the lock; the next holder may be there a moment earlier all the same.
    /// Spawn it from a thread that outlives it, in the process that made this call.
    #[cfg(unix)]
    pub fn withhold_from(&self, command: &mut Command) {
        child::die_with_parent(command, Farewell::Kill);
    }
}

impl Drop for WriterLock {
    fn drop(&mut self) {
        self.registration = None;
        // The keepalive may have this lock in hand at this moment: release it now, not when it is
        // done.
        let _ = self.held.release();
    }
}

impl fmt::Debug for WriterLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriterLock")
            .field("lock_path", &self.lock_path())
            .field("record", &self.record())
            .finish_non_exhaustive()
    }
}

/// Why a record was not refreshed.
#[derive(Debug)]
#[non_exhaustive]
pub enum RefreshError {
    /// The lock is not ours any more.
    Lost(Lost),
    /// The time could not be written. The lock is still held.
    Io {
        /// What was being done.
        operation: &'static str,
        /// The lock file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl fmt::Display for RefreshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RefreshError::Lost(lost) => lost.fmt(f),
            RefreshError::Io {
                operation, path, ..
            } => {
                write!(
                    f,
                    "{}: could not {operation}; try again soon",
                    path.display()
                )
            }
        }
    }
}

impl Error for RefreshError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            RefreshError::Lost(_) => None,
            RefreshError::Io { source, .. } => Some(source),
        }
    }
}

/// A lock that was not released, and why.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReleaseError {
    /// Why.
    pub kind: ReleaseErrorKind,
    /// The lock.
    pub lock: WriterLock,
}

/// Why a lock was not released.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReleaseErrorKind {
    /// The lock was not ours any more; nothing was touched.
    Lost(Lost),
    /// The lock file could not be unlinked. The lock is still held.
    Io {
        /// What was being done.
        operation: &'static str,
        /// The lock file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ReleaseErrorKind::Lost(lost) => lost.fmt(f),
            ReleaseErrorKind::Io {
                operation, path, ..
            } => {
                let path = path.display();
                write!(
                    f,
                    "{path}: could not {operation}; the lock is still held, try again"
                )
            }
        }
    }
}

impl Error for ReleaseError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            ReleaseErrorKind::Lost(_) => None,
            ReleaseErrorKind::Io { source, .. } => Some(source),
        }
    }
}
