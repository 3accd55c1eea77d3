//! [`LockFile`]: the lock of one data file, opened once: inspect it, wait for it, break it, acquire
//! it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{AcquireError, BreakError, IoError, WaitError};
use crate::holder::{Holder, LockState};
use crate::judge::FileSystem;
use crate::lock::{LockOptions, WriterLock, give_back, open_place};
use crate::protocol::wait::{Look, Waited, Waiter};
use crate::protocol::{
    self, BreakOutcome, Contention, Examination, LockFileState, Place, Purpose, remove_leftovers_at,
};
use crate::record::WriterId;
use crate::sys::{CancelToken, Host, LockingProcess};
use crate::task::{self, LockFuture};

/// The lock of one data file, seen from outside: a handle to inspect it, wait for it, break it, and
/// acquire it as often as needed.
///
/// The handle stands for the path, as it was named in the working directory of the call that opened
/// it: a later chdir(2) does not change that. Opening it opens the directory, which is opened anew by
/// the first call after the path has come to lead to another one. The handle itself holds no lock; a
/// forked child may use its copy. On Windows the directory cannot be renamed or removed while the handle
/// is there.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("store.rvf");
/// use rvlf::{LockFile, LockState};
/// use std::time::Duration;
///
/// let lock_file = LockFile::open(&path)?;
/// assert_eq!(lock_file.inspect()?, LockState::Free);
/// for _ in 0..3 {
///     let lock = lock_file.acquire(Duration::from_secs(10))?;
///     // ... write store.rvf ...
///     lock.release()?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct LockFile {
    place: Arc<Place<Host>>,
    options: LockOptions,
}

impl LockFile {
    /// Opens the directory of the data file `data_path`, for the default [`LockOptions`]. Neither
    /// the data file nor its lock file need exist. On a mount that hangs this call hangs.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// use rvlf::LockFile;
    ///
    /// let file = LockFile::open(&path)?;
    /// assert!(LockFile::open("no-such-directory/store.rvf").is_err());
    /// # let _ = file;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The directory cannot be opened, or the path has no file name.
    pub fn open(data_path: impl AsRef<Path>) -> Result<LockFile, IoError> {
        LockFile::with_options(data_path, LockOptions::new())
    }

    /// Opens the directory of the data file `data_path`. Inspecting, waiting and breaking judge by
    /// the options' [`stale_policy`](LockOptions::stale_policy); acquiring uses all of them.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// use rvlf::{LockFile, LockOptions, StalePolicy};
    ///
    /// // Reports as held what only age could prove stale.
    /// let options = LockOptions::new().stale_policy(StalePolicy::never());
    /// let state = LockFile::with_options(&path, options)?.inspect()?;
    /// # assert_eq!(state, rvlf::LockState::Free);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The directory cannot be opened, or the path has no file name.
    pub fn with_options(
        data_path: impl AsRef<Path>,
        options: LockOptions,
    ) -> Result<LockFile, IoError> {
        let place = open_place(data_path.as_ref())?;
        Ok(LockFile { place, options })
    }

    /// The data file, as it was named when the handle was opened.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// let file = rvlf::LockFile::open(&path)?;
    /// assert_eq!(file.data_path(), path);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn data_path(&self) -> &Path {
        self.place.data_path()
    }

    /// The lock file.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// let file = rvlf::LockFile::open(&path)?;
    /// assert_eq!(file.lock_path(), rvlf::lock_path_for(&path));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn lock_path(&self) -> &Path {
        self.place.lock_path()
    }

    /// Whether the lock is on a local file system; see [`WriterLock::file_system`].
    ///
    /// No system call.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// use rvlf::judge::FileSystem;
    ///
    /// let file = rvlf::LockFile::open(&path)?;
    /// if file.file_system() == FileSystem::NotLocal {
    ///     eprintln!("the next calls may hang with the mount");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn file_system(&self) -> FileSystem {
        self.place.file_system()
    }

    /// Reads and judges the lock file. Creates, changes and removes nothing.
    ///
    /// The call has the kernel lock, shared, for some microseconds. The holder does not notice it. A
    /// contender that breaks a stale lock at that moment repeats its attempt after a pause of 1 ms.
    ///
    /// The result describes the moment of the call. Blocks for up to 63 ms while the kernel lock of
    /// a dead holder lingers.
    ///
    /// On a file system that is not local the age of the file is measured by this machine's clock;
    /// a contender uses the server's.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// # let lock = rvlf::WriterLock::try_acquire(&path)?;
    /// use rvlf::{LockFile, LockState};
    ///
    /// match LockFile::open(&path)?.inspect()? {
    ///     LockState::Free => println!("free"),
    ///     LockState::Held(holder) => println!("{holder}"),
    ///     LockState::Stale(holder) => println!("the next writer recovers it: {holder}"),
    ///     other => println!("{other}"),
    /// }
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The directory or the lock file cannot be examined. A file that this user may not read is no
    /// error but [`LockState::Held`].
    pub fn inspect(&self) -> Result<LockState, IoError> {
        let place = self.place()?;
        let state = self.examination(&place, &[]).examine();
        state_or_error(state.map(|state| match state {
            LockFileState::Absent => LockState::Free,
            LockFileState::Unreadable(contention) => LockState::Held(*contention.holder),
            LockFileState::Contended => LockState::Held(*Contention::changed_hands().holder),
            LockFileState::Lock(lock) => LockState::of(lock.holder),
        }))
    }

    /// The processes that have the lock file open with its kernel lock, sorted by pid, as far as this
    /// user can see them: who keeps a lock whose holder is gone
    /// ([`Reason::KernelLockOutlivesProcess`](crate::judge::Reason::KernelLockOutlivesProcess)), whose
    /// recorded pid is another process, or whose record is damaged.
    ///
    /// A live holder is among them. Empty if the file is not locked or does not exist, and if no
    /// process that has the lock can be seen from here: an ordinary user sees the user's own processes
    /// alone, a process in a container those of the container, and no machine those of another one.
    /// Processes that only examine the lock may appear; they have it for microseconds. On systems
    /// other than Linux the result is always empty.
    ///
    /// Reads what procfs shows of each descriptor of each process, which takes milliseconds for
    /// thousands of descriptors: for a message or a report, not for each attempt. Opens the lock file
    /// only in a form that can neither be read nor written (O_PATH), so that no other process notices it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// use rvlf::{LockFile, WriterLock};
    ///
    /// let file = LockFile::open(&path)?;
    /// assert!(file.locked_by()?.is_empty(), "it is free");
    /// let lock = file.try_acquire()?;
    /// for process in file.locked_by()? {
    ///     println!("kept open by {process}");
    ///     assert_eq!(process.pid.get(), std::process::id());
    /// }
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The directory or the lock file cannot be opened, or /proc cannot be listed.
    pub fn locked_by(&self) -> Result<Vec<LockingProcess>, IoError> {
        self.place()?.locked_by()
    }

    /// Waits up to `timeout` until the lock can be obtained: free, or stale. `Duration::MAX` waits
    /// indefinitely.
    ///
    /// Blocks the calling thread as [`WriterLock::acquire`] does. Read-only. When it returns,
    /// another contender may have the lock already. Returns the state of the last look:
    /// [`LockState::Held`] after the timeout.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// use rvlf::{LockFile, LockState};
    /// use std::time::Duration;
    ///
    /// let state = LockFile::open(&path)?.wait_until_free(Duration::from_secs(1))?;
    /// assert_eq!(state, LockState::Free);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`WaitError`].
    pub fn wait_until_free(&self, timeout: Duration) -> Result<LockState, WaitError> {
        self.wait_with(timeout, Vec::new())
    }

    /// Waits until the lock can be obtained without blocking the caller; see
    /// [`wait_until_free`](LockFile::wait_until_free) and [`WriterLock::acquire_async`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// # struct Unpark(std::thread::Thread);
    /// # impl std::task::Wake for Unpark {
    /// #     fn wake(self: std::sync::Arc<Self>) { self.0.unpark(); }
    /// # }
    /// # fn block_on<F: Future>(future: F) -> F::Output {
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
    /// use rvlf::{LockFile, LockState};
    /// use std::time::Duration;
    ///
    /// let file = LockFile::open(&path)?;
    /// # block_on(async {
    /// let state = file.wait_until_free_async(Duration::from_secs(1)).await?;
    /// assert_eq!(state, LockState::Free);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The future's: see [`WaitError`].
    pub fn wait_until_free_async(&self, timeout: Duration) -> LockFuture<LockState, WaitError> {
        let file = self.clone();
        LockFuture::new(self.lock_path(), drop, move |token| {
            file.wait_with(timeout, vec![token])
        })
    }

    fn wait_with(
        &self,
        timeout: Duration,
        cancel: Vec<CancelToken>,
    ) -> Result<LockState, WaitError> {
        let file = self.clone();
        task::cancellable(
            self.options.token(),
            cancel,
            self.lock_path(),
            drop,
            move |cancel| file.wait_here(timeout, &cancel),
        )
    }

    fn wait_here(&self, timeout: Duration, cancel: &[CancelToken]) -> Result<LockState, WaitError> {
        let waited = Place::wait_at_the_path(&self.place()?, timeout, |place, left| {
            // Kept between looks: a torn file from the future ages by this machine's clock alone.
            let mut examination = self.examination(place, cancel);
            Waiter::new(place, left, cancel).until(|| {
                Ok(match examination.examine()? {
                    // The last step: what is free may not be at the path any more.
                    state if state.is_obtainable() && place.has_moved() => Look::Moved,
                    LockFileState::Absent => Look::Done(LockState::Free),
                    LockFileState::Unreadable(contention) => Look::NotYet(contention),
                    LockFileState::Contended => Look::NotYet(Contention::changed_hands()),
                    LockFileState::Lock(lock) if lock.holder.verdict().is_stale() => {
                        Look::Done(LockState::of(lock.holder))
                    }
                    LockFileState::Lock(lock) => Look::NotYet(lock.into_contention()),
                })
            })
        });
        let state = match waited {
            Ok(Waited::Done(state)) => Ok(state),
            Ok(Waited::TimedOut(contention)) => Ok(LockState::of(*contention.holder)),
            Ok(Waited::Cancelled) => {
                return Err(WaitError::Cancelled {
                    lock_path: self.lock_path().to_owned(),
                });
            }
            Err(error) => Err(error),
        };
        Ok(state_or_error(state)?)
    }

    /// The place, with the directory that its path leads to now.
    fn place(&self) -> Result<Arc<Place<Host>>, IoError> {
        Place::current(&self.place)
    }

    fn examination<'a>(
        &self,
        place: &'a Place<Host>,
        cancel: &'a [CancelToken],
    ) -> Examination<'a, Host> {
        Examination::new(place, self.options.policy(), Purpose::Report).cancelled_by(cancel)
    }

    /// Acquires the lock in one attempt; see [`WriterLock::try_acquire`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// let file = rvlf::LockFile::open(&path)?;
    /// let lock = file.try_acquire()?;
    /// assert!(file.try_acquire().is_err_and(|error| error.is_held()));
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`AcquireError`].
    pub fn try_acquire(&self) -> Result<WriterLock, AcquireError> {
        self.acquire_with(None, Vec::new())
    }

    /// Acquires the lock, waiting up to `timeout` for it; see [`WriterLock::acquire`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// use std::time::Duration;
    ///
    /// let file = rvlf::LockFile::open(&path)?;
    /// let lock = file.acquire(Duration::from_secs(10))?;
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`AcquireError`].
    pub fn acquire(&self, timeout: Duration) -> Result<WriterLock, AcquireError> {
        self.acquire_with(Some(timeout), Vec::new())
    }

    /// Acquires the lock without blocking the caller; see [`WriterLock::acquire_async`].
    ///
    /// # Errors
    ///
    /// The future's: see [`AcquireError`].
    pub fn acquire_async(&self, timeout: Duration) -> LockFuture<WriterLock, AcquireError> {
        let file = self.clone();
        LockFuture::new(self.lock_path(), give_back, move |token| {
            file.acquire_with(Some(timeout), vec![token])
        })
    }

    fn acquire_with(
        &self,
        timeout: Option<Duration>,
        cancel: Vec<CancelToken>,
    ) -> Result<WriterLock, AcquireError> {
        let file = self.clone();
        task::cancellable(
            self.options.token(),
            cancel,
            self.lock_path(),
            give_back,
            move |cancel| file.options.acquire_at(&file.place()?, timeout, cancel),
        )
    }

    /// Removes the lock if its holder is dead, and files that dead breakers left in the directory.
    ///
    /// Returns the holder whose lock was removed; `None` if there was no lock. The lock is judged,
    /// and judged again under the exclusive kernel lock, so the lock of a live holder is never
    /// broken. Sleeps as long as one attempt to acquire may ([`WriterLock::try_acquire`]).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// use rvlf::{BreakError, LockFile};
    ///
    /// match LockFile::open(&path)?.break_stale() {
    ///     Ok(None) => println!("no lock"),
    ///     Ok(Some(holder)) => println!("removed: {holder}"),
    ///     Err(BreakError::Held { holder, .. }) => println!("still held: {holder}"),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`BreakError`].
    pub fn break_stale(&self) -> Result<Option<Holder>, BreakError> {
        let place = self.place()?;
        let outcome = place.break_stale(self.options.policy())?;
        place.remove_leftovers();
        self.broken_or_held(outcome)
    }

    /// Removes the lock if its record contains `writer_id`, even if its holder is alive.
    ///
    /// For a person who knows that no process writes the data file although the judgement cannot
    /// know it. The record is compared before and after the file is renamed aside, and a file with
    /// another record is put back. A live holder learns of the loss from its next refresh or
    /// [`check`](WriterLock::check); until then two processes may write. A holder that is releasing
    /// the lock at that moment may remove its successor's lock file
    /// (`spec/rationale.md#race-cases`, R19).
    ///
    /// On Windows the lock of a holder that lives is refused, also where a child has inherited it: end
    /// the processes that have the lock file open first.
    ///
    /// Returns the holder whose lock was removed; `None` if there was no lock.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("store.rvf");
    /// # let lock = rvlf::WriterLock::try_acquire(&path)?;
    /// # let writer_id = lock.writer_id();
    /// use rvlf::LockFile;
    ///
    /// let removed = LockFile::open(&path)?.force_break(writer_id)?;
    /// assert!(removed.is_some());
    /// # assert!(lock.check().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`BreakError`].
    pub fn force_break(&self, writer_id: WriterId) -> Result<Option<Holder>, BreakError> {
        self.broken_or_held(self.place()?.force_break(writer_id)?)
    }

    /// What a caller gets of a break: the holder whose lock was removed, or a refusal as an error.
    fn broken_or_held(&self, outcome: BreakOutcome) -> Result<Option<Holder>, BreakError> {
        match outcome {
            BreakOutcome::Absent => Ok(None),
            BreakOutcome::Removed(holder) => Ok(Some(*holder)),
            BreakOutcome::Refused(Contention { holder, .. }) => Err(BreakError::Held {
                lock_path: self.lock_path().to_owned(),
                holder,
            }),
        }
    }
}

/// Content that can never be a lock is a state to report, not an error.
fn state_or_error(outcome: protocol::Result<LockState>) -> Result<LockState, IoError> {
    match outcome {
        Ok(state) => Ok(state),
        Err(protocol::Error::Foreign { found, .. }) => Ok(LockState::Foreign(found)),
        Err(protocol::Error::UnsupportedVersion { found, .. }) => {
            Ok(LockState::UnsupportedVersion(found))
        }
        Err(protocol::Error::Io(error)) => Err(error),
    }
}

impl From<protocol::Error> for BreakError {
    fn from(error: protocol::Error) -> BreakError {
        match error {
            protocol::Error::Foreign { lock_path, found } => {
                BreakError::Foreign { lock_path, found }
            }
            protocol::Error::UnsupportedVersion { lock_path, found } => {
                BreakError::UnsupportedVersion { lock_path, found }
            }
            protocol::Error::Io(error) => BreakError::Io(error),
        }
    }
}

impl fmt::Debug for LockFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockFile")
            .field("lock_path", &self.lock_path())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// Reads and judges the lock of the data file `data_path`; see [`LockFile::inspect`].
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("store.rvf");
/// assert_eq!(rvlf::inspect(&path)?, rvlf::LockState::Free);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// The directory or the lock file cannot be examined.
pub fn inspect(data_path: impl AsRef<Path>) -> Result<LockState, IoError> {
    LockFile::open(data_path)?.inspect()
}

/// Removes from `directory` the files that dead breakers left: files named `.rvlf-` and 16
/// hexadecimal digits that contain a record, are older than a minute, and are locked by no process.
///
/// Returns how many files were removed. Breaking a lock does the same for its directory.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// assert_eq!(rvlf::remove_leftovers(dir.path())?, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// The directory cannot be opened.
pub fn remove_leftovers(directory: impl AsRef<Path>) -> Result<usize, IoError> {
    remove_leftovers_at(&Host, directory.as_ref())
}
