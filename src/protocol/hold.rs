//! Hold: the lock after its acquisition, until it is released or lost. `WriterLock` is this on the
//! kernel that the program runs on.
//!
//! Source: `spec/protocol.md#refresh`.

#[cfg(all(any(unix, windows), not(rvlf_unsupported)))]
use std::fs::File;
use std::io;
#[cfg(unix)]
use std::os::fd::OwnedFd;
#[cfg(unix)]
use std::process::Command;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::acquire::{AcquireOptions, Attempt, Attempts};
use super::breaking::BrokenLock;
use super::callback::ReservedThread;
use super::keepalive::Refresh;
use super::lent::{Lent, Patience, Released};
use super::publish::{Published, Recorded};
use super::release::PathOwner;
use super::unsettled::Unsettled;
use super::wait::{Look, Waited, Waiter};
use super::{Place, Result, SETTLE};
use crate::alias::Alias;
use crate::error::HoldError;
#[cfg(all(unix, not(rvlf_unsupported)))]
use crate::escape::Escaped;
use crate::holder::Holder;
use crate::loss::{LossReason, Lost, OnLost};
use crate::record::Record;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard, OnceLock, lock, try_lock};
#[cfg(all(unix, not(rvlf_unsupported)))]
use crate::sys::Access;
#[cfg(all(unix, not(rvlf_unsupported)))]
use crate::sys::child;
#[cfg(all(unix, not(rvlf_unsupported)))]
use crate::sys::descriptor::Descriptor;
use crate::sys::hooks::sabotaged;
#[cfg(all(windows, not(rvlf_unsupported)))]
use crate::sys::windows::child;

use crate::sys::{Context, FileId, Host, Identity, IoError, Operation, SyncMode, Sys, is_closed};
use crate::trace;

/// How long the owner of a lost lock waits for calls that may hang with the mount. They take milliseconds
/// where nothing hangs, and the owner can acquire the lock again once they are done.
const AFTER_A_LOSS: Duration = Duration::from_secs(1);

/// The pauses between attempts to lock the file: a refresh takes 0.04 ms on a local disk.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(100);

/// A held lock.
pub(crate) struct Held<S: Sys> {
    pub(crate) place: Arc<Place<S>>,
    pub(crate) id: FileId,
    /// The process that acquired it: a forked child that has a copy of this must not release it.
    process: Identity,
    /// As it was published, for a forked child, which must not wait for `status`.
    published: Record,
    broken: Option<BrokenLock>,
    /// Whether what dead breakers left in the directory is still to be removed.
    has_leftovers: AtomicBool,
    /// Whether a release has not waited for the refresh that has the file.
    has_ended: AtomicBool,
    /// The time without a refresh after which a lock that no kernel witnesses counts as lost.
    lost_after: Duration,
    on_lost: Option<OnLost>,
    /// Where `on_lost` is called if no thread can be started for it.
    reserved: OnceLock<Arc<ReservedThread>>,
    /// The descriptor that carries the kernel lock; `None` once it is closed. Locked during I/O.
    file: Mutex<Option<S::File>>,
    pub(super) lent: Mutex<Lent<S::File>>,
    /// Never locked during I/O.
    status: Mutex<Status>,
}

#[derive(Debug)]
struct Status {
    last: Recorded,
    /// Sticky; after a final one nothing at the path is this holder's.
    loss: Option<LossReason>,
}

/// How an acquisition ended without an error.
pub(crate) enum Acquired<S: Sys> {
    Held(Arc<Held<S>>),
    Refused(Box<Holder>),
    Cancelled,
    Aliased(Alias),
}

impl<S: Sys> Held<S> {
    /// Attempts until the timeout has passed; at least once. Calls `before_wait` before it waits.
    pub(crate) fn acquire(
        place: &Arc<Place<S>>,
        options: AcquireOptions,
        before_wait: &dyn Fn(),
    ) -> Result<Acquired<S>> {
        let process = place.sys().identity();
        let process = process.context(
            Operation::Process("identify this process"),
            place.lock_path(),
        )?;
        let waited = Place::wait_at_the_path(place, options.timeout, |place, left| {
            Held::acquire_there(place, left, process, &options, before_wait)
        })?;
        Ok(match waited {
            Waited::Done(acquired) => acquired,
            Waited::TimedOut(contention) => Acquired::Refused(contention.holder),
            Waited::Cancelled => Acquired::Cancelled,
        })
    }

    /// Attempts in the directory that is open. `None` if the path leads to another one by now.
    fn acquire_there(
        place: &Arc<Place<S>>,
        timeout: Duration,
        process: Identity,
        options: &AcquireOptions,
        before_wait: &dyn Fn(),
    ) -> Result<Option<Waited<Acquired<S>>>> {
        if options.refuse_aliases {
            if let Some(alias) = place.alias()? {
                return Ok(Some(Waited::Done(Acquired::Aliased(alias))));
            }
        }
        let mut attempts = Attempts::new(place, options);
        Waiter::new(place, timeout, &options.cancel).until(|| {
            Ok(match attempts.attempt()? {
                Attempt::Held(published) => {
                    let held = Held::new(place.clone(), *published, process, options);
                    Look::Done(Acquired::Held(Arc::new(held)))
                }
                Attempt::Refused(contention) => {
                    if !timeout.is_zero() {
                        before_wait();
                    }
                    Look::NotYet(contention)
                }
                Attempt::Moved => Look::Moved,
            })
        })
    }

    fn new(
        place: Arc<Place<S>>,
        published: Published<S::File>,
        process: Identity,
        options: &AcquireOptions,
    ) -> Held<S> {
        let Published {
            file,
            id,
            recorded,
            broken,
        } = published;
        Held {
            place,
            id,
            process,
            published: recorded.record,
            broken,
            has_leftovers: AtomicBool::new(broken.is_some()),
            has_ended: AtomicBool::new(false),
            lost_after: options.policy.lost_after(),
            on_lost: options.on_lost.clone(),
            reserved: OnceLock::new(),
            file: Mutex::new(Some(file)),
            lent: Mutex::default(),
            status: Mutex::new(Status {
                last: recorded,
                loss: None,
            }),
        }
    }

    pub(crate) fn record(&self) -> Record {
        if self.is_forked() {
            return self.published;
        }
        lock(&self.status).last.record
    }

    /// Makes sure that a loss can be reported to the callback, if there is one.
    ///
    /// # Errors
    ///
    /// No thread can be started.
    pub(crate) fn reserve_callback_thread(&self) -> io::Result<()> {
        if self.on_lost.is_some() {
            // A second call would keep the first thread.
            let _ = self.reserved.set(ReservedThread::of(self.process)?);
        }
        Ok(())
    }

    /// In a forked child: leaks the channel to the parent's thread. Its drop locks a mutex in the channel, which
    /// that thread may have locked at the moment of the fork.
    fn keep_reserved_thread(&self) {
        std::mem::forget(self.reserved.get().cloned());
    }

    /// The lock of a dead holder that was broken to get this one.
    pub(crate) fn broken(&self) -> Option<&BrokenLock> {
        self.broken.as_ref().filter(|broken| broken.was_held)
    }

    /// Ends a hold that the program has not seen. If a dead holder's lock was broken for it, the next holder has to
    /// learn of that death: its record is put back. Otherwise the drop releases the lock.
    pub(crate) fn give_back(&self) {
        let Some(broken) = self.broken().filter(|_| self.check().is_ok()) else {
            return;
        };
        if let Some(file) = self.lock_descriptor().ok().and_then(|mut file| file.take()) {
            let own = self.record();
            let unsettled = Unsettled::new(&self.place, file, self.id, own.writer_id());
            unsettled.put_back(broken, &own);
        }
    }

    /// The loss that is known, or that the time without a refresh has made: that one is reported here.
    ///
    /// Makes no I/O. In a forked child it locks no mutex: a thread that the child does not have may have
    /// locked it.
    pub(crate) fn loss_by_now(&self) -> Option<LossReason> {
        if self.is_forked() {
            return Some(LossReason::Forked);
        }
        let (refreshed, loss) = {
            let status = lock(&self.status);
            (status.last.since_boot, status.loss.clone())
        };
        if self.place.entry.is_local() || loss.as_ref().is_some_and(LossReason::is_final) {
            return loss;
        }
        let now = self.place.sys().now().since_boot;
        if now.saturating_sub(refreshed) > self.lost_after {
            return Some(self.lose(LossReason::RefreshFailed));
        }
        loss
    }

    /// [`loss_by_now`](Held::loss_by_now), if it is a loss after which nothing at the path is this holder's.
    fn final_loss_by_now(&self) -> Option<LossReason> {
        self.loss_by_now().filter(LossReason::is_final)
    }

    fn is_forked(&self) -> bool {
        // The identity was known when the lock was acquired. A process that cannot read it now (no
        // descriptor left for procfs) is a forked child, where it was forgotten.
        let own = self.place.sys().identity();
        !own.is_ok_and(|process| process == self.process)
    }

    /// Checks whether the lock is still held. An I/O error alone is no loss.
    pub(crate) fn check(&self) -> Result<(), LossReason> {
        match self.final_loss_by_now() {
            Some(loss) => return Err(loss),
            None => self.check_descriptor()?,
        }
        // A refresh that is under way keeps the descriptor, and may hang with its mount.
        let file = try_lock(&self.file);
        let own = file.as_ref().and_then(|file| file.as_ref());
        let owner = self.path_owner(own).unwrap_or(PathOwner::Us);
        self.note(owner)?;
        self.check_directory(own)
    }

    /// Whether contenders by this path see the lock.
    pub(super) fn check_directory(&self, own: Option<&S::File>) -> Result<(), LossReason> {
        match self.loss_by_now() {
            Some(loss) => Err(loss),
            None if self.has_moved(own) => Err(self.lose(LossReason::Moved)),
            None => Ok(()),
        }
    }

    /// Whether the path leads to another directory, in which the holder's file is not. Compared
    /// twice, since a directory is replaced in two renames. A path that leads nowhere is no sign,
    /// since no contender can acquire by it.
    fn has_moved(&self, own: Option<&S::File>) -> bool {
        let leads_elsewhere = || matches!(self.place.entry.path_leads_here(), Ok(false));
        if !leads_elsewhere() {
            return false;
        }
        self.place.settle(SETTLE);
        leads_elsewhere() && !self.is_ours_by_the_whole_path(own)
    }

    /// Whether the holder's file is at the path, opened from its beginning. It is also where the path leads
    /// to a copy of the directory made of hard links, and where inode numbers of directories are made up.
    /// A path that cannot be examined is no sign of a move.
    fn is_ours_by_the_whole_path(&self, own: Option<&S::File>) -> bool {
        let anew = self.place.open_anew();
        let writer_id = self.record().writer_id();
        let owner = anew.and_then(|place| place.path_owner(own, self.id, writer_id));
        owner.map_or(true, |owner| owner == PathOwner::Us)
    }

    /// Foreign code may have closed the holder's descriptor, and with it dropped the kernel lock.
    fn check_descriptor(&self) -> Result<(), LossReason> {
        // A refresh that is under way checks the descriptor itself, and may hang with its mount.
        let Some(file) = try_lock(&self.file) else {
            return Ok(());
        };
        match file.as_ref() {
            Some(file) if !self.is_own_file(file) => Err(self.lose(LossReason::DescriptorClosed)),
            _ => Ok(()),
        }
    }

    /// Whether the descriptor still is the holder's lock file: its number may have been given to
    /// another file.
    fn is_own_file(&self, file: &S::File) -> bool {
        match self.place.sys().stat(file) {
            // Off local file systems an inode number proves nothing: `weed mount` gives an open
            // file another one when the file has been stored.
            Ok(stat) => !self.place.entry.is_local() || stat.id == self.id,
            // An I/O error of a network mount proves nothing; EBADF proves a closed descriptor.
            Err(error) => !is_closed(&error),
        }
    }

    pub(super) fn path_owner(&self, own: Option<&S::File>) -> Result<PathOwner, IoError> {
        let writer_id = self.record().writer_id();
        self.owner_by(|place| place.path_owner(own, self.id, writer_id))
    }

    /// Whose file the path names, by `look`, which fails where the directory's descriptor is closed.
    pub(super) fn owner_by(
        &self,
        look: impl Fn(&Place<S>) -> Result<PathOwner, IoError>,
    ) -> Result<PathOwner, IoError> {
        let seen = look(&self.place);
        if seen.is_ok() || self.place.entry.is_open() {
            return seen;
        }
        let place = self.place.open_anew();
        place.map_or(Ok(PathOwner::OutOfReach), |place| look(&place))
    }

    /// The place by which the holder examines and unlinks its file.
    ///
    /// If foreign code has closed the directory's descriptor, no call shows what is at the path, for good:
    /// the file was removed, and another process acquired, while each check of the holder was an I/O error
    /// that proves nothing. So the directory is opened anew; `None` if that is not possible.
    pub(super) fn place_in_reach(&self) -> Option<Arc<Place<S>>> {
        match self.place.entry.is_open() {
            true => Some(Arc::clone(&self.place)),
            false => self.place.open_anew().map(Arc::new).ok(),
        }
    }

    pub(super) fn note(&self, owner: PathOwner) -> Result<(), LossReason> {
        match owner {
            PathOwner::Us => Ok(()),
            PathOwner::NoFile => Err(self.lose(LossReason::Removed)),
            PathOwner::Other(record) => Err(self.lose(LossReason::Replaced(record.map(Box::new)))),
            PathOwner::OutOfReach => Err(self.lose(LossReason::DescriptorClosed)),
        }
    }

    /// Makes a loss sticky. The callback is called for the first loss of a hold alone, also where a final
    /// one follows a move.
    pub(super) fn lose(&self, reason: LossReason) -> LossReason {
        let was_lost = match self.make_sticky(&reason) {
            Ok(earlier) => earlier.is_some(),
            Err(earlier) => return earlier,
        };
        let id = self.published.writer_id();
        self.place.sys().own_holds().lost(id);
        trace::lost(self.place.lock_path(), &reason);
        if was_lost {
            return reason;
        }
        // Off the scheduling thread, where a callback that blocks would stop the refreshes of other
        // locks, and never under the hold's mutexes, which a callback that drops the lock would
        // wait for.
        if let (Some(on_lost), Some(reserved)) = (&self.on_lost, self.reserved.get()) {
            reserved.call(on_lost, self.lost(reason.clone()));
        }
        reason
    }

    /// Returns the earlier loss; as an error if that stays.
    fn make_sticky(&self, reason: &LossReason) -> Result<Option<LossReason>, LossReason> {
        let loss = &mut lock(&self.status).loss;
        match loss {
            Some(earlier) if earlier.is_final() || !reason.is_final() => Err(earlier.clone()),
            _ => Ok(loss.replace(reason.clone())),
        }
    }

    /// What an error means to a release that has closed the file: the hold cannot go on, since a
    /// contender may have recovered the lock. No callback is called, since the caller of the release gets
    /// the error.
    pub(super) fn end_by(&self, error: HoldError) -> HoldError {
        match error {
            HoldError::Io(error) => {
                let _ = self.make_sticky(&LossReason::GivenUp);
                HoldError::GivenUp(error)
            }
            lost => lost,
        }
    }

    pub(crate) fn lost(&self, reason: LossReason) -> Lost {
        Lost {
            lock_path: self.place.lock_path().to_owned(),
            reason,
        }
    }

    pub(super) fn lost_error(&self, reason: LossReason) -> HoldError {
        HoldError::Lost(self.lost(reason))
    }

    /// Locks the file, which a refresh on a worker thread may have locked. On a mount without its server that
    /// refresh hangs. Off local file systems the lock is lost by its age then, and the owner waits no longer
    /// than that and [`AFTER_A_LOSS`].
    fn lock_descriptor(&self) -> Result<MutexGuard<'_, Option<S::File>>, LossReason> {
        let sys = self.place.sys();
        let mut pause = FIRST_PAUSE;
        let mut gives_up_at = None;
        loop {
            if let Some(file) = try_lock(&self.file) {
                return Ok(file);
            }
            if let Some(loss) = self.final_loss_by_now() {
                let now = sys.now().since_boot;
                if now >= *gives_up_at.get_or_insert(now.saturating_add(AFTER_A_LOSS)) {
                    return Err(loss);
                }
            }
            sys.wait(None, &[], pause);
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// Locks the file, unless the lock is lost by the time at which the file can be locked.
    fn lock_held_descriptor(&self) -> Result<MutexGuard<'_, Option<S::File>>, LossReason> {
        let file = self.lock_descriptor()?;
        match self.final_loss_by_now() {
            Some(loss) => Err(loss),
            None => Ok(file),
        }
    }

    /// Writes the record with a new time, through the descriptor: it cannot touch a successor's
    /// file.
    pub(crate) fn refresh(&self) -> Result<(), HoldError> {
        if let Some(loss) = self.final_loss_by_now() {
            return Err(self.lost_error(loss));
        }
        let file = self.lock_held_descriptor();
        let file = file.map_err(|loss| self.lost_error(loss))?;
        let Some(file) = file.as_ref() else {
            return Err(self.lost_error(LossReason::Removed));
        };
        // The number may belong to another file by now: a blind write corrupted a database once.
        if !sabotaged!(self.place.entry.sys, OwnDescriptor) && !self.is_own_file(file) {
            let loss = self.lose(LossReason::DescriptorClosed);
            return Err(self.lost_error(loss));
        }
        if !self.place.entry.is_local() && !sabotaged!(self.place.entry.sys, OwnRecord) {
            self.ensure_own_record(Some(file))?;
            // On a mount that hung until now: a lost lock is not made young again (P17).
            if let Some(loss) = self.final_loss_by_now() {
                return Err(self.lost_error(loss));
            }
        }
        self.write_record(file).map_err(HoldError::Io)?;
        // The path, too: what is refreshed may be a file that was renamed aside.
        let owner = self.path_owner(Some(file)).unwrap_or(PathOwner::Us);
        let noted = self
            .note(owner)
            .and_then(|()| self.check_directory(Some(file)));
        noted.map_err(|loss| self.lost_error(loss))
    }

    /// A mount that goes by names may send a write through an old descriptor to the file that has
    /// the name now: a whole record would make a successor's file look like this holder's.
    pub(super) fn ensure_own_record(&self, own: Option<&S::File>) -> Result<(), HoldError> {
        let owner = self.path_owner(own).map_err(HoldError::Io)?;
        self.note(owner).map_err(|loss| self.lost_error(loss))
    }

    /// Writes all 104 bytes: other programs may have truncated or overwritten the file
    /// (`: > d.lock`), and the new time alone would make something of it that no contender
    /// recovers.
    pub(super) fn write_record(&self, file: &S::File) -> Result<(), IoError> {
        let (sys, path) = (self.place.sys(), self.place.lock_path());
        // Read before the write, which may hang: others judge by the time that it carries.
        let now = sys.now();
        let record = self.record().refreshed(now.realtime_ns);
        let written = sys.write(file, 0, &record.encode());
        written.context(Operation::File("refresh the record"), path)?;
        // A local page cache is coherent; a remote server must be sent the bytes.
        if !self.place.entry.is_local() {
            let synced = sys.sync(file, SyncMode::Data);
            synced.context(Operation::Sync("sync the record"), path)?;
        }
        lock(&self.status).last = Recorded {
            record,
            since_boot: now.since_boot,
        };
        Ok(())
    }

    /// Unlinks the lock file if it is the holder's and no process keeps a descriptor that was lent,
    /// then closes it. A second call does nothing, and reports the loss if the lock is lost.
    ///
    /// After an I/O error the lock is still held; after a loss nothing at the path is touched.
    pub(crate) fn release(&self, patience: &Patience<'_>) -> Result<Released, HoldError> {
        if self.is_forked() {
            self.close_in_child();
            return Err(self.lost_error(LossReason::Forked));
        }
        let mut file = match self.lock_descriptor() {
            Ok(file) => file,
            Err(loss) => {
                self.has_ended.store(true, Ordering::SeqCst);
                self.close_if_ended();
                return Err(self.lost_error(loss));
            }
        };
        if file.is_none() {
            return match self.loss_by_now() {
                Some(loss) => Err(self.lost_error(loss)),
                None => Ok(Released::Free),
            };
        }
        let outcome = match self.loss_before_unlink(file.as_ref()) {
            Some(loss) => Err(loss),
            None if self.is_lent() && !sabotaged!(self.place.entry.sys, Lent) => {
                return self.release_lent(file, patience);
            }
            None => {
                let own = file.as_ref();
                // Before the unlink, after which the whole path shows the file no more.
                let checked = self.check_directory(own);
                let writer_id = self.record().writer_id();
                let unlinked = self.owner_by(|place| place.unlink_own(own, self.id, writer_id));
                self.note(unlinked.map_err(HoldError::Io)?).and(checked)
            }
        };
        let file = file.take();
        if outcome.is_ok() {
            // Whose descriptor it is was checked just before the unlink.
            drop(file);
            self.remove_leftovers();
        } else {
            if let Some(file) = file {
                self.close_lost(file);
            }
            self.give_up();
        }
        let released = outcome.map(|()| Released::Free);
        released.map_err(|loss| self.lost_error(loss))
    }

    /// Removes what dead breakers left, once, after a break. Not before the lock is handed out: to list
    /// a directory of 100,000 names takes 35 ms, for which the data would have no writer.
    fn remove_leftovers(&self) {
        if self.has_leftovers.swap(false, Ordering::Relaxed) {
            self.place.remove_leftovers();
        }
    }

    /// The loss that forbids to unlink whatever is at the path.
    ///
    /// Where foreign code has closed the descriptor, the kernel lock went with it: a contender may
    /// break the lock and publish between the check of the path and the unlink, and its file may
    /// even have the inode number of the holder's file, which is free.
    fn loss_before_unlink(&self, file: Option<&S::File>) -> Option<LossReason> {
        let loss = self.final_loss_by_now();
        if loss.is_some() || sabotaged!(self.place.entry.sys, UnlinkUnderLock) {
            return loss;
        }
        let is_closed = !file.is_some_and(|file| self.is_own_file(file));
        is_closed.then(|| self.lose(LossReason::DescriptorClosed))
    }

    /// A forked child shares the open file description: its close leaves the parent's kernel lock
    /// alone, an unlock would free it.
    fn close_in_child(&self) {
        // A thread of the parent may have locked the mutex, and never unlocks it in here: then the
        // descriptor stays open until the child ends.
        let file = try_lock(&self.file).and_then(|mut file| file.take());
        if let Some(file) = file {
            self.close(file);
        }
    }

    /// The owner writes under this hold no more, and its file is closed. If the record is still at
    /// the path, this process need not wait until it looks old. The record of a hold that was
    /// released has gone.
    pub(super) fn give_up(&self) {
        let id = self.published.writer_id();
        self.place.sys().own_holds().given_up(id);
    }

    /// Closes the file of a lost lock after a release that did not wait for the refresh which has it. Each
    /// of the two calls this when it has done its part, so that one of them finds the file unlocked.
    fn close_if_ended(&self) {
        if !self.has_ended.load(Ordering::SeqCst) {
            return;
        }
        if let Some(file) = try_lock(&self.file).and_then(|mut file| file.take()) {
            self.close_lost(file);
            self.give_up();
        }
    }

    /// Off local file systems a close may hang with the mount as well.
    fn close_lost(&self, file: S::File) {
        match self.place.entry.is_local() {
            true => self.close(file),
            false => self.place.sys().close_within(file, AFTER_A_LOSS),
        }
    }

    pub(super) fn close(&self, file: S::File) {
        if self.is_own_file(&file) {
            drop(file);
        } else {
            // Foreign code has closed the descriptor: the number is another file's, which stays
            // open.
            std::mem::forget(file);
        }
    }
}

impl<S: Sys> Drop for Held<S> {
    fn drop(&mut self) {
        let _ = self.release(&Patience::NONE);
        // An error left the file open; closing it gives the kernel lock up.
        let file = self.file.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = file.take() {
            self.close(file);
            // A forked child gives up nothing but its copy.
            if !self.is_forked() {
                self.give_up();
            }
        }
        if self.is_forked() {
            self.keep_reserved_thread();
        }
    }
}

impl<S: Sys> Refresh for Held<S> {
    fn refresh_in_background(&self) -> bool {
        let refreshed = self.refresh();
        self.close_if_ended();
        match refreshed {
            Ok(()) => {
                self.remove_leftovers();
                true
            }
            Err(HoldError::Lost(lost)) => !lost.reason.is_final(),
            Err(HoldError::Io(error) | HoldError::GivenUp(error)) => {
                // EIO, ESTALE and their like may pass: the next tick tries again.
                trace::refresh_failed(self.place.lock_path(), &error.source);
                true
            }
        }
    }

    fn notice_loss(&self) {
        let _ = self.loss_by_now();
    }
}

#[cfg(all(unix, not(rvlf_unsupported)))]
impl Held<Host> {
    /// Lets the child of `command` inherit the open lock file.
    pub(crate) fn lend_to(&self, command: &mut Command) -> io::Result<()> {
        let copy = Arc::new(self.clone_descriptor()?);
        child::inherit(command, Arc::downgrade(&copy));
        self.lend(Some(copy));
        Ok(())
    }

    /// A second descriptor of the open lock file, close-on-exec.
    pub(crate) fn try_clone_descriptor(&self) -> io::Result<OwnedFd> {
        let copy = self.clone_descriptor()?.into_inner()?;
        self.lend(None);
        Ok(copy.into())
    }

    fn clone_descriptor(&self) -> io::Result<Descriptor<File>> {
        let released = || io::Error::other("the lock is not held any more");
        // In a forked child the file may be locked by a thread that the child does not have.
        if self.loss_by_now().is_some() {
            return Err(released());
        }
        let file = self.lock_held_descriptor().map_err(|_| released())?;
        let file = file
            .as_ref()
            .filter(|file| self.is_own_file(file))
            .ok_or_else(released)?;
        self.ensure_may_open()?;
        file.try_clone()
    }

    /// An error if this user may not open the lock file again, as the release of a lent lock does. Lent, the
    /// lock would never be free: no release succeeds, and no process of this user recovers what is left.
    fn ensure_may_open(&self) -> io::Result<()> {
        let place = self.place_in_reach();
        match place.map(|place| place.entry.open_now(Access::Read)) {
            Some(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                let path = Escaped::path(self.place.lock_path());
                let text = format!(
                    "{path}: not lent: this user may not open the lock file again, as the release of a \
                     lent lock must: {error}; acquire it as a user who may read it, and with a mode \
                     that permits that (LockOptions::mode, reduced by the umask)"
                );
                Err(io::Error::new(error.kind(), text))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(all(windows, not(rvlf_unsupported)))]
impl Held<Host> {
    /// Lets the children that `spawn` starts inherit the open lock file.
    pub(crate) fn lend_during<T>(&self, spawn: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let handle = self.clone_handle()?;
        self.lend(None);
        child::lend_during(handle, spawn)
    }

    fn clone_handle(&self) -> io::Result<File> {
        let released = || io::Error::other("the lock is not held any more");
        if self.loss_by_now().is_some() {
            return Err(released());
        }
        let file = self.lock_held_descriptor().map_err(|_| released())?;
        let file = file.as_ref().filter(|file| self.is_own_file(file));
        file.ok_or_else(released)?.try_clone_handle()
    }
}

#[cfg(all(windows, rvlf_unsupported))]
impl Held<Host> {
    pub(crate) fn lend_during<T>(&self, _spawn: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(all(unix, rvlf_unsupported))]
impl Held<Host> {
    pub(crate) fn lend_to(&self, _command: &mut Command) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn try_clone_descriptor(&self) -> io::Result<OwnedFd> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(all(test, any(unix, windows), not(rvlf_unsupported)))]
mod tests {
    use std::sync::mpsc::{RecvTimeoutError, channel};

    use super::*;
    use crate::judge::OwnHold;
    use crate::sys::thread;

    /// Far more than any machine needs: a test that waits so long has failed.
    const PATIENCE: Duration = Duration::from_secs(60);

    // A program that had lost its lock on a mount whose server was gone could neither release nor drop
    // it before the server was back: a refresh that hung had the file.
    #[test]
    fn a_release_waits_for_a_refresh_that_hangs_until_the_lock_is_lost() {
        let dir = tempfile::tempdir().expect("there is room");
        let place = Place::open(Host, &dir.path().join("data"));
        let place = Arc::new(place.expect("the directory is there"));
        let options = AcquireOptions::one_attempt();
        let acquired = Held::acquire(&place, options, &|| {});
        let Ok(Acquired::Held(held)) = acquired else {
            panic!("the lock is free");
        };

        let refresh = lock(&held.file);
        let (sender, ended) = channel();
        let owner = Arc::clone(&held);
        let owner = thread::spawn("owner", move || {
            let _ = sender.send(owner.refresh());
            let _ = sender.send(owner.release(&Patience::NONE).map(drop));
        });
        let owner = owner.expect("a thread can be started");
        let early = ended.recv_timeout(Duration::from_millis(50));
        assert_eq!(early.err(), Some(RecvTimeoutError::Timeout), "it is held");
        held.lose(LossReason::RefreshFailed);
        for end in ["refresh", "release"] {
            let outcome = ended.recv_timeout(PATIENCE);
            let outcome = outcome.unwrap_or_else(|_| panic!("{end} waits for the mount"));
            assert!(matches!(outcome, Err(HoldError::Lost(_))), "{outcome:?}");
        }
        owner.join().expect("it has ended");
        drop(refresh);
        // The worker's refresh returns.
        assert!(!held.refresh_in_background(), "it is not refreshed again");
        assert!(lock(&held.file).is_none(), "the file is closed");
        let id = held.record().writer_id();
        let own = Host.own_holds().get(id);
        assert_eq!(own, OwnHold::GivenUp, "this process may acquire again");
    }
}
