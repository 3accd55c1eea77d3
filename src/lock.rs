//! [`WriterLock`]: the guard of a held lock; [`LockOptions`]: how to acquire one.

use std::cell::OnceCell;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;
#[cfg(unix)]
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{AcquireError, HoldError, IoError};
use crate::judge::{FileSystem, StalePolicy};
use crate::loss::{Lost, OnLost};
use crate::protocol::keepalive::{self, REFRESH_INTERVAL, Registration};
use crate::protocol::{
    self, AcquireOptions, Acquired, Held, Patience, Place, PublishOptions, Released, lock_path_for,
};
use crate::record::{Record, WriterId};
#[cfg(unix)]
use crate::sys::child::{self, DeathSignal};
use crate::sys::{CancelToken, Context, Host, Operation};
use crate::task::{self, LockFuture};

/// The writer lock of one data file, held until it is released or dropped.
///
/// **What it does not protect against**: programs that do not use RVLF locks; two names for one
/// data file ([`LockOptions::refuse_aliases`]); across hosts, a holder that was paused for so long
/// that other hosts judged it dead, which is why [`check`](WriterLock::check) belongs right before
/// each commit.
///
/// **Drop** releases the lock as well as it can and reports no error;
/// [`release`](WriterLock::release) reports. A panic that unwinds drops it. In a struct, declare
/// the lock as the last field: fields are dropped in the order of their declaration, and a
/// `BufWriter` that is declared after the lock flushes to the data file after the release.
///
/// **Fork**: the lock stays with the process that acquired it. In a forked child every method
/// reports [`LossReason::Forked`](crate::LossReason::Forked), and dropping the copy only closes it;
/// the kernel counts the lock as held as long as the child lives and has not closed it. **Exec**
/// closes the descriptor without a release: processes that see this one by its pid recover the lock
/// within 30 s, those in another container (pid namespace) at once, although the executed program
/// runs on. **A crash**, also of the machine: other processes recover the lock at once on a local file
/// system, and by age elsewhere (on an overlay by age after a reboot or a remount;
/// `spec/guarantees.md#guarantees`).
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
    /// Acquires the lock of the data file `data_path` in one attempt, with the default
    /// [`LockOptions`].
    ///
    /// The data file need not exist; its directory must.
    ///
    /// One attempt sleeps at most: 2 s while the file at the lock path is torn, until its writer
    /// finishes or is dead; 63 ms while the kernel lock of a dead holder lingers; 10 ms after it
    /// broke a lock that was older than 30 s; 1 ms, three times, to read a wrong checksum again;
    /// 500 ms for the holder of a file lease, fcntl(2); 100 ms on file systems that are not known
    /// to be local.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("log");
    /// use rvlf::WriterLock;
    ///
    /// let lock = WriterLock::try_acquire(&path)?;
    /// let refused = WriterLock::try_acquire(&path).expect_err("the lock is held");
    /// assert!(refused.is_held());
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`AcquireError`]. [`AcquireError::Held`] carries the holder.
    pub fn try_acquire(data_path: impl AsRef<Path>) -> Result<WriterLock, AcquireError> {
        LockOptions::new().try_acquire(data_path)
    }

    /// Acquires the lock of the data file `data_path`, waiting up to `timeout` for it, with the
    /// default [`LockOptions`]. `Duration::MAX` waits indefinitely.
    ///
    /// Blocks the calling thread. On a local file system the thread sleeps until the kernel reports
    /// the release or the holder's death; elsewhere it polls, every 10 ms at first and every 500 ms
    /// in the end. There is no queue: any of several waiters may be next.
    ///
    /// The timeout limits the wait for a holder. The attempt itself may take what
    /// [`try_acquire`](WriterLock::try_acquire) takes: with a timeout of 200 ms a torn lock file is still
    /// recovered after 2 s.
    ///
    /// [`LockOptions::cancel_token`] ends the wait from another thread. In asynchronous code use
    /// [`LockOptions::acquire_async`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("log");
    /// use rvlf::WriterLock;
    /// use std::time::Duration;
    ///
    /// let lock = WriterLock::acquire(&path, Duration::from_secs(10))?;
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`AcquireError`]. The call waits for holders only; every other error returns at once.
    pub fn acquire(
        data_path: impl AsRef<Path>,
        timeout: Duration,
    ) -> Result<WriterLock, AcquireError> {
        LockOptions::new().acquire(data_path, timeout)
    }

    /// Acquires the lock of the data file `data_path` without blocking the caller, waiting up to
    /// `timeout` for it, with the default [`LockOptions`]. `Duration::MAX` waits indefinitely.
    ///
    /// The future works with every runtime: a thread of its own, started at the first poll, does
    /// the waiting. Dropping the future cancels the wait.
    ///
    /// The methods of the lock itself are system calls: [`check`](WriterLock::check),
    /// [`refresh`](WriterLock::refresh), [`release`](WriterLock::release) and the drop take
    /// microseconds on a local file system. On a network mount they wait for the server: call them
    /// where the runtime allows blocking.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("log");
    /// # fn block_on<F: Future>(future: F) -> F::Output {
    /// #     struct Unpark(std::thread::Thread);
    /// #     impl std::task::Wake for Unpark {
    /// #         fn wake(self: std::sync::Arc<Self>) { self.0.unpark(); }
    /// #     }
    /// #     let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    /// #     let mut context = std::task::Context::from_waker(&waker);
    /// #     let mut future = std::pin::pin!(future);
    /// #     loop {
    /// #         if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
    /// #             return output;
    /// #         }
    /// #         std::thread::park();
    /// #     }
    /// # }
    /// use rvlf::WriterLock;
    /// use std::time::Duration;
    ///
    /// # block_on(async {
    /// let lock = WriterLock::acquire_async(&path, Duration::from_secs(10)).await?;
    /// // ... write the log ...
    /// lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The future's: see [`AcquireError`].
    pub fn acquire_async(
        data_path: impl AsRef<Path>,
        timeout: Duration,
    ) -> LockFuture<WriterLock, AcquireError> {
        LockOptions::new().acquire_async(data_path, timeout)
    }

    /// The default options, to be changed: [`LockOptions::new`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// let lock = rvlf::WriterLock::options().keepalive(None).try_acquire(&path)?;
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn options() -> LockOptions {
        LockOptions::new()
    }

    /// The record as it stands in the lock file, with the time of the latest refresh.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("log");
    /// let lock = rvlf::WriterLock::try_acquire(&path)?;
    /// assert_eq!(lock.record().pid().get(), std::process::id());
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn record(&self) -> Record {
        self.held.record()
    }

    /// The id of this hold of the lock. Stored with the data, it shows which hold wrote what.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// use std::io::Write;
    ///
    /// let lock = rvlf::WriterLock::try_acquire(&path)?;
    /// writeln!(std::fs::File::create(&path)?, "written by {}", lock.writer_id())?;
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn writer_id(&self) -> WriterId {
        self.record().writer_id()
    }

    /// The data file, as it was named when the lock was acquired.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// let lock = rvlf::WriterLock::try_acquire(&path)?;
    /// assert_eq!(lock.data_path(), path);
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn data_path(&self) -> &Path {
        self.held.place.data_path()
    }

    /// The lock file.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// let lock = rvlf::WriterLock::try_acquire(&path)?;
    /// assert_eq!(lock.lock_path(), rvlf::lock_path_for(&path));
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn lock_path(&self) -> &Path {
        self.held.place.lock_path()
    }

    /// The lock of a dead holder that was broken to get this one: the holder crashed, and the data
    /// file may need recovery.
    ///
    /// What a failed acquisition of this process has left at the lock path is broken without a
    /// report, since no process has written under it.
    ///
    /// `None` proves nothing: another process may have broken the lock. That may be `rvlf break`, or a
    /// contender that has removed the dead holder's lock file and has not published its own: if it
    /// dies in that moment, no process learns of the dead holder, and if this process publishes in that
    /// moment, the contender alone knows of it. A data file that needs recovery after a crash must be
    /// able to show so itself.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("log");
    /// # std::fs::write(dir.path().join("log.lock"), [])?;
    /// # let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    /// # std::fs::File::options().write(true).open(dir.path().join("log.lock"))?.set_modified(long_ago)?;
    /// let lock = rvlf::WriterLock::try_acquire(&path)?;
    /// if let Some(reclaimed) = lock.reclaimed() {
    ///     eprintln!("the previous holder died ({reclaimed}): recovering {}", path.display());
    /// }
    /// # assert!(lock.reclaimed().is_some());
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn reclaimed(&self) -> Option<Reclaimed> {
        let broken = self.held.broken()?;
        Some(Reclaimed {
            record: broken.record,
        })
    }

    /// Checks that this process still holds the lock: to be called right before committing data.
    ///
    /// Four or five system calls; never waits for a refresh that hangs. On a file system that is
    /// not local it also reads the lock file.
    ///
    /// [`LossReason::Moved`](crate::LossReason::Moved) is a loss that leaves the lock file intact:
    /// the path leads to another directory. The call sleeps for 10 ms before it reports that.
    ///
    /// `Ok` also means that the lock file could not be examined (an I/O error, or a refresh that is
    /// under way on a mount that hangs). That is sound unless a person or a program removes the file
    /// meanwhile: on a local file system no contender breaks a lock whose kernel lock this process has,
    /// and elsewhere contenders wait for 300 s without a refresh, while this call reports the loss after
    /// 150 s without one. If other code of this process has closed the directory's descriptor, the
    /// directory is opened anew by its path; if it cannot be, the lock is lost
    /// ([`DescriptorClosed`](crate::LossReason::DescriptorClosed)).
    ///
    /// Off local file systems a write that comes late, after a pause or from a server that answers late,
    /// needs a fence: `docs/fencing.md` in the repository has the recipe.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("log");
    /// let lock = rvlf::WriterLock::try_acquire(&path)?;
    /// lock.check()?; // commit the data now
    ///
    /// std::fs::remove_file(lock.lock_path())?;
    /// let lost = lock.check().expect_err("the lock file is gone");
    /// assert_eq!(lost.reason, rvlf::LossReason::Removed);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Lost`]. Once lost, a lock stays lost; another reason may follow
    /// [`Moved`](crate::LossReason::Moved).
    pub fn check(&self) -> Result<(), Lost> {
        self.held.check().map_err(|reason| self.held.lost(reason))
    }

    /// Whether the lock is known to be lost: by an earlier [`check`](WriterLock::check) or refresh,
    /// by a fork, by a release that gave it up ([`HoldError::GivenUp`]), or because it could not be
    /// refreshed for too long. No I/O.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// let lock = rvlf::WriterLock::try_acquire(&path)?;
    /// std::fs::remove_file(lock.lock_path())?;
    /// assert!(!lock.is_lost(), "not examined yet");
    /// lock.check().expect_err("the lock file is gone");
    /// assert!(lock.is_lost());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.held.loss_by_now().is_some()
    }

    /// Writes the record again, with the current time. The keepalive thread does this every 10 s by
    /// default. On a local file system this restores a lock file that another program has truncated
    /// or overwritten; elsewhere such a lock is lost.
    ///
    /// Blocks for some system calls, and for a refresh of the keepalive thread that is under way. On a file
    /// system that is not local both wait for the server.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("log");
    /// // Without the keepalive thread the program refreshes by itself, at least once a minute.
    /// let lock = rvlf::LockOptions::new().keepalive(None).try_acquire(&path)?;
    /// lock.refresh()?;
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`HoldError::Lost`] if this process does not hold the lock any more; [`HoldError::Io`] if
    /// the time could not be written: the lock is still held, and the call may be repeated.
    pub fn refresh(&self) -> Result<(), HoldError> {
        self.held.refresh()
    }

    /// Whether the lock is on a local file system, where the kernel witnesses the death of its holder.
    /// Elsewhere a call such as [`release`](WriterLock::release) may hang with the mount. After a loss,
    /// other than [`Moved`](crate::LossReason::Moved), `release` and the drop return within two seconds.
    ///
    /// No system call.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("log");
    /// use rvlf::judge::FileSystem;
    ///
    /// let lock = rvlf::WriterLock::try_acquire(&path)?;
    /// if lock.file_system() == FileSystem::NotLocal {
    ///     eprintln!("other hosts may see this lock for 300 s if this one fails");
    /// }
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn file_system(&self) -> FileSystem {
        self.held.place.file_system()
    }

    /// Releases the lock: unlinks the lock file, then closes it. The data file is not touched: sync it
    /// first (fsync(2)), or the next writer may read what a loss of power takes back.
    ///
    /// If the lock was lent ([`lend_to`](WriterLock::lend_to),
    /// [`try_clone_descriptor`](WriterLock::try_clone_descriptor)) and another process still has the
    /// descriptor after 63 ms, the lock file stays, and the result is [`Released::StillOpen`]: the
    /// kernel counts the lock as held until that process closes the descriptor or ends. So does a copy
    /// that this process keeps.
    ///
    /// The unlink needs the rights of the acquisition. A process that acquires as root and then
    /// gives up its user (setuid(2)) can never release in a directory that its new user may not
    /// write to, or whose sticky bit protects the file: [`reclaimed`](WriterLock::reclaimed) reports
    /// a dead holder to the next writer. Such a process acquires after setuid(2).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("log");
    /// let lock = rvlf::WriterLock::try_acquire(&path)?;
    /// if let Err(error) = lock.release() {
    ///     eprintln!("{error}");
    ///     let _still_held = error.lock;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ReleaseError`], which gives the lock back. After [`HoldError::Lost`] nothing is left to
    /// release, and nothing at the lock path was touched. After [`HoldError::Io`] the lock is still
    /// held, and the call may be repeated. After [`HoldError::GivenUp`], which only a lent lock reports,
    /// it is lost: the descriptor was closed before the error, and a contender may recover the lock.
    pub fn release(self) -> Result<Released, ReleaseError> {
        self.release_with(&Patience::NONE)
    }

    /// Releases the lock as [`release`](WriterLock::release) does, but first waits up to `timeout` until no
    /// other process has a descriptor that was lent. Refreshes the record every 10 s meanwhile, if this
    /// user may still write the lock file. `cancel` ends the wait, with the result
    /// [`Released::StillOpen`].
    ///
    /// Blocks; polls every 10 ms at first, later every 500 ms, because the kernel generates no event
    /// when the last process closes the descriptor. If this process is killed during the wait, the lock
    /// stays held by the processes that have the descriptor.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("log");
    /// use std::time::Duration;
    /// use rvlf::{CancelToken, Released, WriterLock};
    ///
    /// let lock = WriterLock::try_acquire(&path)?;
    /// let mut command = std::process::Command::new("sh");
    /// // The shell ends at once, and leaves a writer behind.
    /// lock.lend_to(command.args(["-c", "sleep 0.1 &"]))?;
    /// command.status()?;
    /// let released = lock.release_within(Duration::from_secs(60), &CancelToken::new())?;
    /// assert_eq!(released, Released::Free);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`release`](WriterLock::release).
    pub fn release_within(
        self,
        timeout: Duration,
        cancel: &CancelToken,
    ) -> Result<Released, ReleaseError> {
        self.release_with(&Patience {
            timeout,
            cancel: std::slice::from_ref(cancel),
        })
    }

    fn release_with(self, patience: &Patience<'_>) -> Result<Released, ReleaseError> {
        self.held
            .release(patience)
            .map_err(|error| ReleaseError { error, lock: self })
    }

    /// A second descriptor of the lock file, close-on-exec, for a child process to inherit: as long
    /// as the child has it open the kernel counts the lock as held, also after this process is
    /// killed.
    ///
    /// The program that gets it must only close it: unlocking it would free the lock.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// let lock = rvlf::WriterLock::try_acquire(&path)?;
    /// let descriptor = lock.try_clone_descriptor()?;
    /// // ... pass it to a child process, which closes it when it has finished writing ...
    /// drop(descriptor);
    /// lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Too many open files; the lock was released or lost; or this user may not open the lock file again,
    /// as the release of a lent lock does ([`LockOptions::mode`]).
    #[cfg(unix)]
    pub fn try_clone_descriptor(&self) -> io::Result<std::os::fd::OwnedFd> {
        self.held.try_clone_descriptor()
    }

    /// Lends the lock to the child that `command` will spawn: the child inherits a descriptor of
    /// the lock file, and the kernel counts the lock as held until the child, and every process to
    /// which the child passes the descriptor, has ended; also after this process is killed.
    ///
    /// On Linux the child gets SIGTERM when the thread that spawned it ends, on FreeBSD when the process
    /// does: without this process the record is not refreshed. Spawn the child from a thread that outlives
    /// it, in the process that made this call.
    ///
    /// The child does not get the signal in two cases. After unshare(CLONE_NEWPID) the first child is pid 1
    /// of its namespace, and the kernel drops a SIGTERM for which that child has no handler. And the kernel
    /// cancels the signal when the child changes its user or group in a later `pre_exec` (setuid(2);
    /// [`CommandExt::uid`] comes before and does no harm), or executes a set-user-ID or set-group-ID
    /// program, or one with capabilities.
    ///
    /// For a child only: [`CommandExt::exec`], which replaces this process and gives up its locks, fails.
    ///
    /// [`CommandExt::uid`]: std::os::unix::process::CommandExt::uid
    /// [`CommandExt::exec`]: std::os::unix::process::CommandExt::exec
    ///
    /// A release leaves the lock to the processes that still have the descriptor
    /// ([`Released::StillOpen`]). Spawn `command` before the release: afterwards its spawn fails
    /// (EBADF).
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
        self.held.lend_to(command)?;
        child::die_with_parent(command, DeathSignal::Terminate);
        Ok(())
    }

    /// Lends the lock to the children that `spawn` starts, as `lend_to` does on Unix: they inherit a handle
    /// of the lock file, and the kernel counts the lock as held until they, and every process to which the
    /// handle is passed on, have ended; also after this process is killed. The children need not know of
    /// the handle.
    ///
    /// This call does not end the children with this process: for that use [`Job`](crate::process::Job).
    ///
    /// A child inherits all inheritable handles of this process. One that another thread starts at the
    /// same time by other means may inherit the lock file as well, and keeps the lock then. A process
    /// that is killed while it starts a child may leave one that never runs, and keeps the lock.
    ///
    /// A release leaves the lock to the processes that still have the handle
    /// ([`Released::StillOpen`]). They cannot be listed.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("log");
    /// let lock = rvlf::WriterLock::try_acquire(&path)?;
    /// let mut command = std::process::Command::new("cmd");
    /// command.args(["/c", "exit"]);
    /// let mut child = lock.lend_during(|| command.spawn())?;
    /// assert!(child.wait()?.success());
    /// lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// That of `spawn`; or the lock was released or lost, and `spawn` was not called.
    #[cfg(windows)]
    pub fn lend_during<T>(&self, spawn: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.held.lend_during(spawn)
    }
}

impl Drop for WriterLock {
    fn drop(&mut self) {
        self.registration = None;
        // The keepalive thread may be refreshing this lock at this moment and keep it alive:
        // release the lock now, not when that refresh has ended.
        let _ = self.held.release(&Patience::NONE);
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

/// A stale lock that was broken to get a new one; see [`WriterLock::reclaimed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reclaimed {
    /// The dead holder's record; `None` if the lock file was torn or damaged.
    pub record: Option<Record>,
}

impl fmt::Display for Reclaimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.record {
            Some(record) => write!(f, "pid {} on {}", record.pid(), record.hostname()),
            None => f.write_str("its record was incomplete or damaged"),
        }
    }
}

/// A lock that was not released, and why.
///
/// Converts into [`io::Error`] as its [`HoldError`] does; the conversion drops the lock.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("store.rvf");
/// let lock = rvlf::WriterLock::try_acquire(&path)?;
/// std::fs::remove_file(lock.lock_path())?;
/// let error = lock.release().expect_err("another program removed the lock file");
/// assert!(matches!(error.error, rvlf::HoldError::Lost(_)));
/// assert!(error.lock.is_lost());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct ReleaseError {
    /// Why the lock was not released.
    pub error: HoldError,
    /// The lock.
    pub lock: WriterLock,
}

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for ReleaseError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

impl From<ReleaseError> for io::Error {
    fn from(error: ReleaseError) -> io::Error {
        error.error.into()
    }
}

/// Whether a record is on stable storage before the lock counts as acquired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// Record and name survive a power loss, so that the next holder learns that its predecessor
    /// crashed ([`WriterLock::reclaimed`]).
    #[default]
    Sync,
    /// Nothing is synced: faster, and after a power loss the lock may be gone, or torn and
    /// recovered.
    None,
}

/// How to acquire a lock, and how to keep it.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("log");
/// use rvlf::{Durability, LockOptions, StalePolicy};
/// use std::time::Duration;
///
/// let lock = LockOptions::new()
///     .stale_policy(StalePolicy::new().with_cross_host_age(Duration::from_secs(600)))
///     .durability(Durability::None)
///     .on_lost(|lost| eprintln!("{lost}"))
///     .acquire(&path, Duration::from_secs(5))?;
/// lock.release()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use = "options do nothing until they acquire"]
pub struct LockOptions {
    stale_policy: StalePolicy,
    keepalive: Option<Duration>,
    durability: Durability,
    mode: u32,
    on_lost: Option<OnLost>,
    refuse_aliases: bool,
    cancel_token: Option<CancelToken>,
}

impl LockOptions {
    /// The default interval of refreshes, 10 s: three refreshes fit into the 30 s after which a
    /// dead process's record is stale on its own host.
    pub const DEFAULT_KEEPALIVE: Duration = REFRESH_INTERVAL;

    /// The defaults, as each method documents them.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// use rvlf::LockOptions;
    ///
    /// let lock = LockOptions::new().try_acquire(&path)?;
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new() -> LockOptions {
        LockOptions {
            stale_policy: StalePolicy::new(),
            keepalive: Some(LockOptions::DEFAULT_KEEPALIVE),
            durability: Durability::Sync,
            mode: 0o666,
            on_lost: None,
            refuse_aliases: false,
            cancel_token: None,
        }
    }

    /// When another holder's lock counts as stale. Default: [`StalePolicy::new`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// use rvlf::{LockOptions, StalePolicy};
    ///
    /// // Never break a lock: wait for its holder, or for a person.
    /// let lock = LockOptions::new().stale_policy(StalePolicy::never()).try_acquire(&path)?;
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stale_policy(mut self, policy: StalePolicy) -> LockOptions {
        self.stale_policy = policy;
        self
    }

    /// The interval of refreshes while the lock is held; `None` for no refreshes. Default: 10 s.
    ///
    /// Without refreshes a deployed RVF client under another host name may break any lock older
    /// than 300 s, and on a file system that is not local every contender may; there the holder
    /// counts its lock as lost after 150 s. With `None`, call [`WriterLock::refresh`] at least once
    /// a minute.
    ///
    /// One thread schedules the refreshes of all locks of the process, and one more for each device
    /// writes them, from the first refresh on. The former is started by the first acquisition, also by
    /// one that waits: before it waits. A refresh may come early by a 64th of the interval, so that one
    /// wake-up serves many locks. Intervals below one millisecond count as one.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// use rvlf::LockOptions;
    /// use std::time::Duration;
    ///
    /// let lock = LockOptions::new().keepalive(Some(Duration::from_secs(5))).try_acquire(&path)?;
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn keepalive(mut self, interval: Option<Duration>) -> LockOptions {
        // An interval of zero would never let the thread sleep.
        self.keepalive = interval.map(|interval| interval.max(Duration::from_millis(1)));
        self
    }

    /// Whether the record is synced before the lock counts as acquired. Default:
    /// [`Durability::Sync`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// use rvlf::{Durability, LockOptions};
    ///
    /// let lock = LockOptions::new().durability(Durability::None).try_acquire(&path)?;
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn durability(mut self, durability: Durability) -> LockOptions {
        self.durability = durability;
        self
    }

    /// Permission bits of the lock file, before the umask. Default: 0o666, as deployed clients
    /// have. On Windows it has no effect: the file has the permissions that its directory gives to new
    /// files.
    ///
    /// A user who may not read the lock file can neither see the holder nor recover the lock. A holder
    /// who may not read it cannot lend it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// # #[cfg(unix)] {
    /// use rvlf::LockOptions;
    /// use std::os::unix::fs::PermissionsExt;
    ///
    /// // Only this user may see the holder.
    /// let lock = LockOptions::new().mode(0o600).try_acquire(&path)?;
    /// assert_eq!(lock.lock_path().metadata()?.permissions().mode() & 0o777, 0o600);
    /// # lock.release()?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn mode(mut self, mode: u32) -> LockOptions {
        self.mode = mode;
        self
    }

    /// A callback that is called when a refresh or a check finds the lock lost. It is called once, for the
    /// first loss, on a thread of its own. After [`Moved`](crate::LossReason::Moved) another loss may
    /// follow, which [`WriterLock::check`] reports.
    ///
    /// A refresh that hangs with its mount does not delay the callback: it is called within one interval of
    /// the keepalive after the 150 s without a refresh that make such a lock count as lost.
    ///
    /// The thread blocks all signals, as every thread of this library does: the program's handlers
    /// run on the program's threads. A child process that the callback starts inherits the mask.
    ///
    /// If no thread can be started at that moment, the callback is called on a thread that was
    /// started when the lock was acquired and that all locks of the process share.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("log");
    /// use std::sync::mpsc;
    ///
    /// let (sender, lost) = mpsc::channel();
    /// let lock = rvlf::LockOptions::new()
    ///     .on_lost(move |lost| drop(sender.send(lost.to_string())))
    ///     .try_acquire(&path)?;
    ///
    /// std::fs::remove_file(lock.lock_path())?;
    /// lock.check().expect_err("the lock file is gone");
    /// assert!(lost.recv()?.contains("the lock file was removed"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_lost(mut self, callback: impl Fn(&Lost) + Send + Sync + 'static) -> LockOptions {
        self.on_lost = Some(Arc::new(callback));
        self
    }

    /// Refuses a data file that is a symbolic link, has more than one hard link, or is a mount
    /// point (a bind mount of the file alone, a volume mounted as the data directory).
    /// Default: false.
    ///
    /// The lock path follows from the name, not from the file: under two names, or mounted into two
    /// containers without its lock file, a data file has two locks, and may have two writers. What
    /// is safe is to mount the *directory* of the data file, which brings the lock file along.
    ///
    /// The default permits them because most such files have one writer path: a link that every
    /// program uses, hard links of a backup, a volume in one container. Deployed clients lock them
    /// by the same rule, and a refusal would stop programs that never had two writers. Set it where
    /// a second path is always an error.
    ///
    /// The path is examined once, before the wait for the lock, and only what the path itself shows is
    /// seen: a path is not refused because a symbolic link or a bind mount elsewhere leads to its file.
    /// Before Linux 5.8 and on other systems, a bind mount of the file system that surrounds it is not
    /// seen. A directory is not refused for its number of hard links.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let (store, link) = (dir.path().join("store"), dir.path().join("link"));
    /// # std::fs::write(&store, "data")?;
    /// # #[cfg(unix)] {
    /// std::os::unix::fs::symlink(&store, &link)?;
    /// let careful = rvlf::LockOptions::new().refuse_aliases(true);
    /// assert!(careful.try_acquire(&link).is_err());
    /// careful.try_acquire(&store)?.release()?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn refuse_aliases(mut self, refuse: bool) -> LockOptions {
        self.refuse_aliases = refuse;
        self
    }

    /// A token that ends the waits of these options from another thread. Default: none.
    ///
    /// A call that is cancelled returns [`AcquireError::Cancelled`] at once, even if a network
    /// mount hangs: with a token the work is done on a thread of its own, which stays behind until
    /// the mount answers, and releases a lock that it acquires then.
    ///
    /// [`LockFile`](crate::LockFile) opens its directory, inspects and breaks without the token: on a
    /// mount that hangs these calls hang.
    ///
    /// Example: [`CancelToken`].
    pub fn cancel_token(mut self, token: &CancelToken) -> LockOptions {
        self.cancel_token = Some(token.clone());
        self
    }

    /// Acquires the lock in one attempt; see [`WriterLock::try_acquire`].
    ///
    /// # Errors
    ///
    /// See [`AcquireError`].
    pub fn try_acquire(&self, data_path: impl AsRef<Path>) -> Result<WriterLock, AcquireError> {
        self.acquire_by_path(data_path.as_ref(), None, Vec::new())
    }

    /// Acquires the lock, waiting up to `timeout` for it; see [`WriterLock::acquire`].
    ///
    /// # Errors
    ///
    /// See [`AcquireError`].
    pub fn acquire(
        &self,
        data_path: impl AsRef<Path>,
        timeout: Duration,
    ) -> Result<WriterLock, AcquireError> {
        self.acquire_by_path(data_path.as_ref(), Some(timeout), Vec::new())
    }

    /// Acquires the lock without blocking the caller; see [`WriterLock::acquire_async`].
    ///
    /// # Errors
    ///
    /// The future's: see [`AcquireError`].
    pub fn acquire_async(
        &self,
        data_path: impl AsRef<Path>,
        timeout: Duration,
    ) -> LockFuture<WriterLock, AcquireError> {
        let (options, data_path) = (self.clone(), data_path.as_ref().to_owned());
        LockFuture::new(&lock_path_for(&data_path), give_back, move |token| {
            options.acquire_by_path(&data_path, Some(timeout), vec![token])
        })
    }

    fn acquire_by_path(
        &self,
        data_path: &Path,
        timeout: Option<Duration>,
        cancel: Vec<CancelToken>,
    ) -> Result<WriterLock, AcquireError> {
        let (options, data_path) = (self.clone(), data_path.to_owned());
        let lock_path = lock_path_for(&data_path);
        task::cancellable(self.token(), cancel, &lock_path, give_back, move |cancel| {
            options.acquire_at(&open_place(&data_path)?, timeout, cancel)
        })
    }

    pub(crate) fn policy(&self) -> StalePolicy {
        self.stale_policy
    }

    pub(crate) fn token(&self) -> Option<&CancelToken> {
        self.cancel_token.as_ref()
    }

    /// Acquires the lock in one attempt, or waits up to `timeout` for it.
    pub(crate) fn acquire_at(
        &self,
        place: &Arc<Place<Host>>,
        timeout: Option<Duration>,
        cancel: Vec<CancelToken>,
    ) -> Result<WriterLock, AcquireError> {
        let lock_path = || place.lock_path().to_owned();
        // Kept until the lock is registered: the thread of the keepalive is there when the wait ends.
        let expectation = OnceCell::new();
        let before_wait = || {
            // If the thread cannot be started, the registration reports it.
            let expect = || self.keepalive.and_then(|_| keepalive::expect_lock().ok());
            expectation.get_or_init(expect);
        };
        match Held::acquire(place, self.to_protocol(timeout, cancel), &before_wait)? {
            Acquired::Held(held) => self.keep(held),
            Acquired::Refused(holder) => Err(match timeout {
                None => AcquireError::Held {
                    lock_path: lock_path(),
                    holder,
                },
                Some(timeout) => AcquireError::Timeout {
                    lock_path: lock_path(),
                    timeout,
                    holder,
                },
            }),
            Acquired::Cancelled => Err(AcquireError::Cancelled {
                lock_path: lock_path(),
            }),
            Acquired::Aliased(alias) => Err(AcquireError::Aliased {
                data_path: place.data_path().to_owned(),
                alias,
            }),
        }
    }

    fn to_protocol(&self, timeout: Option<Duration>, cancel: Vec<CancelToken>) -> AcquireOptions {
        AcquireOptions {
            policy: self.stale_policy,
            publish: PublishOptions {
                sync: self.durability == Durability::Sync,
                mode: self.mode,
            },
            refuse_aliases: self.refuse_aliases,
            timeout: timeout.unwrap_or(Duration::ZERO),
            cancel,
            on_lost: self.on_lost.clone(),
        }
    }

    fn keep(&self, held: Arc<Held<Host>>) -> Result<WriterLock, AcquireError> {
        let kept = self.keep_alive(&held);
        let registration = kept.inspect_err(|_| held.give_back())?;
        Ok(WriterLock { registration, held })
    }

    /// Starts the threads of a hold.
    fn keep_alive(&self, held: &Arc<Held<Host>>) -> Result<Option<Registration>, IoError> {
        let reserved = held.reserve_callback_thread();
        reserved.context(
            Operation::Thread("start the thread for on_lost"),
            held.place.lock_path(),
        )?;
        let [phase, ..] = *held.record().writer_id().as_bytes();
        let register = |interval| keepalive::register(held, interval, phase, held.id.dev);
        let registration = self.keepalive.map(register).transpose();
        registration.context(
            Operation::Thread("start the keepalive thread"),
            held.place.lock_path(),
        )
    }
}

/// Ends a hold that the program never sees: the wait was cancelled, or its future dropped.
pub(crate) fn give_back(acquired: Result<WriterLock, AcquireError>) {
    if let Ok(mut lock) = acquired {
        // No refresh meanwhile.
        drop(lock.registration.take());
        lock.held.give_back();
    }
}

impl Default for LockOptions {
    fn default() -> LockOptions {
        LockOptions::new()
    }
}

impl fmt::Debug for LockOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockOptions")
            .field("stale_policy", &self.stale_policy)
            .field("keepalive", &self.keepalive)
            .field("durability", &self.durability)
            .field("mode", &format_args!("{:#o}", self.mode))
            .field("on_lost", &self.on_lost.is_some())
            .field("refuse_aliases", &self.refuse_aliases)
            .field("cancel_token", &self.cancel_token)
            .finish()
    }
}

/// Opens the directory of a data file.
pub(crate) fn open_place(data_path: &Path) -> Result<Arc<Place<Host>>, IoError> {
    Place::open(Host, data_path).map(Arc::new)
}

impl From<protocol::Error> for AcquireError {
    fn from(error: protocol::Error) -> AcquireError {
        match error {
            protocol::Error::Foreign { lock_path, found } => {
                AcquireError::Foreign { lock_path, found }
            }
            protocol::Error::UnsupportedVersion { lock_path, found } => {
                AcquireError::UnsupportedVersion { lock_path, found }
            }
            protocol::Error::Io(error) => AcquireError::Io(error),
        }
    }
}
