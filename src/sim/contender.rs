//! The lock of simulated contenders: the shipped one, used as `WriterLock` and `LockOptions` use it
//! on a real kernel, but without a thread for refreshes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::process::SimSys;
use super::{DATA_FILE, LOCK};
use crate::error::{AcquireError, HoldError, IoError};
use crate::judge::StalePolicy;
use crate::loss::Lost;
use crate::protocol::{
    AcquireOptions, Acquired, BreakOutcome, Examination, Held, LockFileState, Patience, Place,
    PublishOptions, Purpose, RETRY_PAUSES, Released,
};
use crate::record::{Record, WriterId};
use crate::sys::{Access, CancelToken, Sys};

/// The shipped lock, held by a simulated process. Dropping it releases the lock.
#[must_use = "dropped at once, the lock is released at once"]
pub struct SimLock(Arc<Held<SimSys>>);

impl SimSys {
    /// As [`WriterLock::try_acquire`](crate::WriterLock::try_acquire).
    ///
    /// # Errors
    ///
    /// See [`AcquireError`].
    pub fn try_acquire(&self) -> Result<SimLock, AcquireError> {
        self.acquire(Duration::ZERO)
    }

    /// As [`WriterLock::acquire`](crate::WriterLock::acquire); always fails with
    /// [`AcquireError::Held`] when the time is over.
    ///
    /// # Errors
    ///
    /// See [`AcquireError`].
    pub fn acquire(&self, timeout: Duration) -> Result<SimLock, AcquireError> {
        self.acquire_with(timeout, Vec::new())
    }

    /// The same with a [`CancelToken`] that another thread may cancel at any moment: each of its
    /// waits may end at once.
    ///
    /// # Errors
    ///
    /// See [`AcquireError`].
    pub fn acquire_unless_cancelled(&self, timeout: Duration) -> Result<SimLock, AcquireError> {
        self.acquire_with(timeout, vec![CancelToken::new()])
    }

    fn acquire_with(
        &self,
        timeout: Duration,
        cancel: Vec<CancelToken>,
    ) -> Result<SimLock, AcquireError> {
        let place = Arc::new(self.place()?);
        let options = AcquireOptions {
            policy: self.policy(),
            publish: PublishOptions {
                sync: true,
                mode: 0o666,
            },
            refuse_aliases: false,
            timeout,
            cancel,
            on_lost: None,
        };
        match Held::acquire(&place, options, &|| {})? {
            Acquired::Held(held) => Ok(SimLock(held)),
            Acquired::Refused(holder) => Err(AcquireError::Held {
                lock_path: place.lock_path().to_owned(),
                holder,
            }),
            Acquired::Cancelled => Err(AcquireError::Cancelled {
                lock_path: place.lock_path().to_owned(),
            }),
            Acquired::Aliased(_) => unreachable!("aliases are not refused"),
        }
    }

    /// As [`remove_leftovers`](crate::remove_leftovers). Returns how many leftovers were removed.
    #[must_use]
    pub fn remove_leftovers(&self) -> usize {
        self.place().map_or(0, |place| place.remove_leftovers())
    }

    /// The record at the lock path, as `rvlf status` shows it.
    #[must_use]
    pub fn record(&self) -> Option<Record> {
        let place = self.place().ok()?;
        match Examination::new(&place, StalePolicy::new(), Purpose::Report).examine() {
            Ok(LockFileState::Lock(lock)) => lock.holder.record().copied(),
            _ => None,
        }
    }

    /// As [`LockFile::force_break`](crate::LockFile::force_break). Returns whether that lock was
    /// removed.
    #[must_use]
    pub fn force_break(&self, writer_id: WriterId) -> bool {
        let broken = self.place().map(|place| place.force_break(writer_id));
        matches!(broken, Ok(Ok(BreakOutcome::Removed(_))))
    }

    /// Overwrites the lock file in place, as `cp` does. Only its holder may, since no process of a
    /// world may write into a file that another one has made.
    ///
    /// # Panics
    ///
    /// If there is no lock file.
    pub fn overwrite_lock(&self, content: &[u8]) {
        let dir = self.open_dir(None, Path::new("."));
        let file = dir.and_then(|dir| self.open(&dir, LOCK.as_ref(), Access::ReadWrite));
        let written = file.and_then(|file| self.write(&file, 0, content));
        written.expect("the lock file is there");
    }

    /// Renames the lock file, as an operator may. False if there is none.
    #[must_use]
    pub fn move_lock(&self, to: &str) -> bool {
        let dir = self.open_dir(None, Path::new("."));
        let moved = dir.and_then(|dir| self.rename(&dir, LOCK.as_ref(), to.as_ref()));
        moved.is_ok()
    }

    /// Renames the lock file and gives it its name back, as a breaker does that has caught it by mistake.
    pub fn move_lock_and_back(&self, aside: &str) {
        let dir = self.open_dir(None, Path::new("."));
        let dir = dir.expect("the directory is there");
        if self.rename(&dir, LOCK.as_ref(), aside.as_ref()).is_ok() {
            let back = self.rename_noreplace(&dir, aside.as_ref(), LOCK.as_ref());
            // The name is taken: no process holds the lock of the file that was caught.
            let _ = back.or_else(|_| self.unlink(&dir, aside.as_ref()));
        }
    }

    fn policy(&self) -> StalePolicy {
        let policy = StalePolicy::new();
        // The clock of a coarse world stands still: a torn file stays young however often it is
        // read. Two reads are as good as forty.
        if self.rules.coarse {
            policy.with_malformed_grace(Duration::from_millis(2))
        } else {
            policy
        }
    }

    fn place(&self) -> Result<Place<SimSys>, IoError> {
        let mut place = Place::open(self.clone(), Path::new(DATA_FILE))?;
        if self.rules.coarse {
            place.retry_pauses = &RETRY_PAUSES[..1];
        }
        Ok(place)
    }

    /// Sleeps.
    pub fn sleep(&self, time: Duration) {
        self.wait(None, &[], time);
    }

    /// The names in the directory.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let dir = self.open_dir(None, Path::new("."));
        let names = dir.and_then(|dir| self.list(&dir)).unwrap_or_default();
        names
            .iter()
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }
}

impl SimLock {
    /// Whether the lock file still has a name, by the kernel's own inode table. A file that has
    /// lost its last name never gets another, so its lock is lost for good.
    #[must_use]
    pub fn has_name(&self) -> bool {
        self.0.place.sys().has_name(self.0.id)
    }

    /// As [`WriterLock::reclaimed`](crate::WriterLock::reclaimed): the record of the dead holder, or
    /// `Some(None)` if it was malformed.
    #[must_use]
    pub fn reclaimed(&self) -> Option<Option<Record>> {
        self.0.broken().map(|broken| broken.record)
    }

    /// As [`WriterLock::check`](crate::WriterLock::check).
    ///
    /// # Errors
    ///
    /// [`Lost`].
    pub fn check(&self) -> Result<(), Lost> {
        self.0.check().map_err(|reason| self.0.lost(reason))
    }

    /// As [`WriterLock::refresh`](crate::WriterLock::refresh).
    ///
    /// # Errors
    ///
    /// See [`HoldError`].
    pub fn refresh(&self) -> Result<(), HoldError> {
        self.0.refresh()
    }

    /// As [`WriterLock::release`](crate::WriterLock::release), but the lock is dropped on failure.
    ///
    /// # Errors
    ///
    /// See [`HoldError`].
    pub fn release(self) -> Result<(), HoldError> {
        self.end().map(drop)
    }

    /// The same, with what [`WriterLock::release`](crate::WriterLock::release) returns.
    ///
    /// # Errors
    ///
    /// As [`release`](SimLock::release).
    pub fn end(self) -> Result<Released, HoldError> {
        self.0.release(&Patience::NONE)
    }

    /// As [`WriterLock::lend_to`](crate::WriterLock::lend_to): a child that this process forks has the
    /// descriptor.
    pub fn lend(&self) {
        self.0.lend(None);
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let _ = self.0.release(&Patience::NONE);
    }
}

impl std::fmt::Debug for SimLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimLock")
            .field("record", &self.0.record())
            .finish_non_exhaustive()
    }
}
