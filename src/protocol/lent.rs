//! The end of a hold whose descriptor other processes may have.
//!
//! Source: `spec/protocol.md#refresh`, P19.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::Place;
use super::examine::is_not_writable;
use super::hold::Held;
use super::keepalive::REFRESH_INTERVAL;
use super::pace::Pace;
use super::release::PathOwner;
use crate::error::HoldError;
use crate::judge::KernelLock;
use crate::loss::LossReason;
use crate::record::WriterId;
use crate::sync::{MutexGuard, lock};
use crate::sys::entry::present;
use crate::sys::hooks::sabotaged;
use crate::sys::{
    Access, CancelToken, Context, FileId, Flock, IoError, Operation, Sys, WakeReason,
};

/// How a release ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Released {
    /// The lock file is removed, and the lock is free.
    Free,
    /// Another process still has a descriptor that this lock has lent
    /// ([`lend_to`](crate::WriterLock::lend_to),
    /// [`try_clone_descriptor`](crate::WriterLock::try_clone_descriptor); on Windows `lend_during`).
    ///
    /// The lock file is left where it is. The kernel counts the lock as held until the last such process
    /// closes the descriptor or ends, and the next writer recovers the lock then. While the releasing
    /// process lives, other processes recover the lock 30 s after the release at the earliest.
    ///
    /// No process refreshes the record from now on. Deployed RVF clients take the lock 30 s after the
    /// releasing process has ended. Off local file systems every other writer takes the lock after
    /// 300 s unless the mount shares flock.
    StillOpen,
}

/// What a hold has given away of its descriptor.
#[derive(Debug)]
pub(super) struct Lent<F> {
    is_lent: bool,
    /// The descriptors that the children of commands are to inherit.
    copies: Vec<Arc<F>>,
}

impl<F> Default for Lent<F> {
    fn default() -> Self {
        Lent {
            is_lent: false,
            copies: Vec::new(),
        }
    }
}

/// How long a release waits for the processes that have the descriptor.
pub(crate) struct Patience<'a> {
    pub(crate) timeout: Duration,
    pub(crate) cancel: &'a [CancelToken],
}

impl Patience<'_> {
    pub(crate) const NONE: Patience<'static> = Patience {
        timeout: Duration::ZERO,
        cancel: &[],
    };
}

impl<S: Sys> Held<S> {
    /// Other processes may have the descriptor from now on. `copy` is closed with the hold.
    #[cfg(any(rvlf_sim, all(any(unix, windows), not(rvlf_unsupported))))]
    pub(crate) fn lend(&self, copy: Option<Arc<S::File>>) {
        let mut lent = lock(&self.lent);
        lent.is_lent = true;
        lent.copies.extend(copy);
    }

    pub(super) fn is_lent(&self) -> bool {
        lock(&self.lent).is_lent
    }

    /// Unlinks the lock file if no other process has its descriptor. Closes `file`, unless an error
    /// comes before.
    ///
    /// This process cannot ask the kernel while its own descriptor carries the lock, so it opens the
    /// file anew, closes its own descriptor, and requests a shared lock. A breaker needs the exclusive
    /// one: while this process has the shared lock, no breaker is between its last comparison and its
    /// rename. Requested exclusively, an examiner that has the shared lock at that moment would make a
    /// lock look kept that no process keeps.
    pub(super) fn release_lent(
        &self,
        mut file: MutexGuard<'_, Option<S::File>>,
        patience: &Patience<'_>,
    ) -> Result<Released, HoldError> {
        let own = file.as_ref();
        let checked = self.check_directory(own);
        let anew = self.open_own(own, patience)?;
        if let Some(file) = file.take() {
            // What is left behind stays young for deployed clients, and for other hosts.
            let _ = self.write_record(&file);
            self.close(file);
        }
        // A refresh that is due finds no file, and does not wait for the children.
        drop(file);
        lock(&self.lent).copies.clear();
        let ended = self.unlink_when_returned(&anew, patience);
        // Not before: a loss that is found meanwhile would count as one whose guard is not dropped.
        self.give_up();
        match ended.map_err(|error| self.end_by(error))? {
            Released::StillOpen => Ok(Released::StillOpen),
            Released::Free => checked
                .map(|()| Released::Free)
                .map_err(|loss| self.lost_error(loss)),
        }
    }

    fn unlink_when_returned(
        &self,
        anew: &S::File,
        patience: &Patience<'_>,
    ) -> Result<Released, HoldError> {
        if !self.await_return(anew, patience)? {
            return Ok(Released::StillOpen);
        }
        let writer_id = self.record().writer_id();
        let unlinked = self.owner_by(|place| place.unlink_returned(anew, self.id, writer_id));
        match unlinked.map_err(HoldError::Io)? {
            PathOwner::OutOfReach => Err(self.lost_error(self.lose(LossReason::DescriptorClosed))),
            // Another process has recovered the lock, or the file is unlinked.
            PathOwner::Us | PathOwner::NoFile | PathOwner::Other(_) => Ok(Released::Free),
        }
    }

    /// Opens the holder's own lock file once more.
    fn open_own(
        &self,
        own: Option<&S::File>,
        patience: &Patience<'_>,
    ) -> Result<S::File, HoldError> {
        let Some(place) = self.place_in_reach() else {
            return Err(self.lost_error(self.lose(LossReason::DescriptorClosed)));
        };
        // The record is refreshed through it while this process waits. On Windows the kernel lock of the
        // other processes refuses every other writer.
        let is_refreshed = !patience.timeout.is_zero() && !place.sys().removes_by_handle();
        let open = || match is_refreshed {
            true => place.open_to_refresh(),
            false => place.entry.open_now(Access::Read),
        };
        // Twice: a breaker that has caught the file by mistake may be putting it back.
        for _ in 0..2 {
            self.ensure_own_record(own)?;
            let anew = place.open_if_names(self.id, open);
            if let Some(anew) = anew.map_err(HoldError::Io)? {
                return Ok(anew);
            }
        }
        Err(self.lost_error(self.lose(LossReason::Replaced(None))))
    }

    /// Whether no other process has the descriptor. Waits for that as long as `patience` permits, and
    /// refreshes the record meanwhile.
    fn await_return(&self, anew: &S::File, patience: &Patience<'_>) -> Result<bool, HoldError> {
        let (place, sys) = (&self.place, self.place.sys());
        let since_boot = || sys.now().since_boot;
        let mut retry_pauses = place.retry_pauses.iter();
        let mut pace = Pace::new();
        let (began, mut refreshed) = (since_boot(), since_boot());
        loop {
            let kernel_lock = place.flock(anew, Flock::Shared).map_err(HoldError::Io)?;
            if kernel_lock != KernelLock::HeldElsewhere {
                return Ok(true);
            }
            if let Some(pause) = retry_pauses.next() {
                place.settle(*pause);
                continue;
            }
            let waited = since_boot().saturating_sub(began);
            let left = patience.timeout.saturating_sub(waited);
            let pause = pace.until_next_poll(sys).min(left);
            if left.is_zero() || sys.wait(None, patience.cancel, pause) == WakeReason::Cancelled {
                return Ok(false);
            }
            if since_boot().saturating_sub(refreshed) >= REFRESH_INTERVAL {
                refreshed = since_boot();
                match self.ensure_own_record(Some(anew)) {
                    // An I/O error may pass, and the next refresh succeed. Where kernel locks are
                    // mandatory (SMB), every refresh fails, and no contender reads the record either.
                    Ok(()) => drop(self.write_record(anew)),
                    Err(HoldError::Io(_)) => {}
                    Err(lost) => return Err(lost),
                }
            }
        }
    }
}

impl<S: Sys> Place<S> {
    /// Opens the lock file for writing; on a local file system for reading where this user may not write
    /// it.
    ///
    /// A server that has given root up may not write root's file. On a local file system the kernel lock
    /// of the other processes keeps contenders out at any age of the record: the server can wait. Elsewhere
    /// the age decides: the release fails, and the keepalive goes on refreshing the lock.
    fn open_to_refresh(&self) -> io::Result<S::File> {
        let entry = &self.entry;
        match entry.open_now(Access::ReadWrite) {
            Err(error) if entry.is_local() && is_not_writable(&error) => {
                entry.open_now(Access::Read)
            }
            outcome => outcome,
        }
    }

    /// Opens the lock file by `open`, if the path names the file `id`.
    fn open_if_names(
        &self,
        id: FileId,
        open: impl FnOnce() -> io::Result<S::File>,
    ) -> Result<Option<S::File>, IoError> {
        let opened = present(open()).context(Operation::File("open"), self.lock_path())?;
        let Some(file) = opened else {
            return Ok(None);
        };
        // Compared while the holder's own descriptor is open, which keeps the number from being reused.
        let stat = self
            .sys()
            .stat(&file)
            .context(Operation::File("stat"), self.lock_path())?;
        let is_same = !self.entry.is_local() || stat.id == id;
        Ok(is_same.then_some(file))
    }

    /// Unlinks the lock file of a hold that has ended, under a shared kernel lock of it.
    ///
    /// Between the close of the own descriptor and the shared lock, a contender in another pid
    /// namespace may have broken the lock (row 6) and published: the file at the path is its own then.
    fn unlink_returned(
        &self,
        anew: &S::File,
        id: FileId,
        writer_id: WriterId,
    ) -> Result<PathOwner, IoError> {
        if sabotaged!(self.entry.sys, LentPath) {
            let unlinked = present(self.sys().unlink(&self.entry.dir, &self.entry.name));
            return unlinked
                .context(Operation::OldName("unlink the lock file"), self.lock_path())
                .map(|_| PathOwner::Us);
        }
        self.unlink_own(Some(anew), id, writer_id)
    }
}
