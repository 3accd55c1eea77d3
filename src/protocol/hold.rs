//! Hold: the lock after its acquisition, until it is released or lost. `WriterLock` is this on the
//! kernel that the program runs on.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::keepalive::Refresh;
use super::wait::{self, Look, Waited};
use super::{
    Attempt, Context, Displaced, Error, Place, Published, Refusal, Result, Terms, Torn, Whereabouts,
};
use crate::holder::Holder;
use crate::judge::{FileSystem, StalePolicy};
use crate::loss::{LossReason, Lost};
use crate::record::{REFRESHED, Record};
use crate::sync::{lock, try_lock};
use crate::sys::hooks::sabotaged;
use crate::sys::{Extent, FileId, Host, Identity, Sys};
use crate::trace;

/// A held lock.
pub(crate) struct Held<S: Sys> {
    pub(crate) place: Arc<Place<S>>,
    pub(crate) id: FileId,
    /// Who acquired it: a forked child that has a copy of this must not release it.
    process: Identity,
    /// As it was published, for a forked child, which must not wait for `status`.
    published: Record,
    displaced: Option<Displaced>,
    /// After how long without a refresh a lock that no kernel witnesses counts as lost.
    patience: Duration,
    on_lost: Option<OnLost>,
    /// The descriptor that carries the kernel lock; taken by whoever closes it. Held during I/O.
    file: Mutex<Option<S::File>>,
    /// Never held during I/O.
    status: Mutex<Status>,
}

pub(crate) type OnLost = Arc<dyn Fn(&Lost) + Send + Sync>;

#[derive(Clone, Copy, Debug)]
struct Status {
    record: Record,
    /// Time since boot that belongs to the record's timestamp.
    refreshed_at: Duration,
    /// Sticky: after it nothing at the path is ours.
    loss: Option<LossReason>,
}

/// How an acquisition ended without an error.
pub(crate) enum Acquisition<S: Sys> {
    Held(Arc<Held<S>>),
    Refused(Box<Holder>),
}

/// Why something that needs the lock was not done.
#[derive(Debug)]
pub(crate) enum HoldError {
    Lost(LossReason),
    Io {
        operation: &'static str,
        source: io::Error,
    },
}

impl From<Error> for HoldError {
    fn from(error: Error) -> HoldError {
        match error {
            Error::Io { operation, source } => HoldError::Io { operation, source },
            // What lies at the path now is not even a record.
            Error::Foreign(_) | Error::UnsupportedVersion(_) => {
                HoldError::Lost(LossReason::Replaced(None))
            }
        }
    }
}

impl<S: Sys> Held<S> {
    /// Attempts until `timeout` has passed; at least once.
    pub(crate) fn acquire(
        place: &Arc<Place<S>>,
        terms: &Terms,
        timeout: Duration,
        on_lost: Option<OnLost>,
    ) -> Result<Acquisition<S>> {
        let process = place.sys.identity().context("identify this process")?;
        let mut torn = Torn::default();
        let mut displaced = None;
        let waited = wait::until(place, timeout, || {
            Ok(match place.attempt(terms, &mut torn, &mut displaced)? {
                Attempt::Held(published) => Look::Done(published),
                Attempt::Refused(refusal) => Look::NotYet(refusal),
            })
        })?;
        Ok(match waited {
            Waited::TimedOut(Refusal { holder, .. }) => Acquisition::Refused(holder),
            Waited::Done(published) => {
                let held = Held::new(place.clone(), *published, process, terms, on_lost);
                Acquisition::Held(Arc::new(held))
            }
        })
    }

    fn new(
        place: Arc<Place<S>>,
        published: Published<S::File>,
        process: Identity,
        terms: &Terms,
        on_lost: Option<OnLost>,
    ) -> Held<S> {
        let Published {
            file,
            id,
            record,
            recorded_at,
            displaced,
        } = published;
        // A deployed client elsewhere goes by 300 s, whatever our policy says.
        let robbed_after = terms
            .policy
            .cross_host_age()
            .min(StalePolicy::CROSS_HOST_AGE);
        Held {
            place,
            id,
            process,
            published: record,
            displaced,
            patience: robbed_after / 2,
            on_lost,
            file: Mutex::new(Some(file)),
            status: Mutex::new(Status {
                record,
                refreshed_at: recorded_at,
                loss: None,
            }),
        }
    }

    pub(crate) fn record(&self) -> Record {
        if self.is_forked() {
            return self.published;
        }
        lock(&self.status).record
    }

    pub(crate) fn displaced(&self) -> Option<&Displaced> {
        self.displaced.as_ref()
    }

    /// What is known without I/O. In a forked child: without locks, which a thread that the child
    /// does not have may hold.
    pub(crate) fn known_loss(&self) -> Option<LossReason> {
        if self.is_forked() {
            return Some(LossReason::Forked);
        }
        let Status {
            refreshed_at, loss, ..
        } = *lock(&self.status);
        let silence = || self.place.sys.now().since_boot.saturating_sub(refreshed_at);
        let expired =
            || self.place.file_system == FileSystem::NotLocal && silence() > self.patience;
        loss.or_else(|| expired().then(|| self.lose(LossReason::RefreshFailed)))
    }

    fn is_forked(&self) -> bool {
        // It was known when the lock was acquired: what cannot tell it now (no descriptor left to
        // read procfs with) is a forked child, where it was forgotten.
        let own = self.place.sys.identity();
        !own.is_ok_and(|process| process == self.process)
    }

    /// Looks whether the lock is still ours. An I/O error alone is no loss.
    pub(crate) fn check(&self) -> Result<(), LossReason> {
        match self.known_loss() {
            Some(loss) => return Err(loss),
            None => self.check_descriptor()?,
        }
        match self.whereabouts() {
            Ok(whereabouts) => self.note(whereabouts),
            Err(_) => Ok(()),
        }
    }

    /// Foreign code may have closed our descriptor, and with it dropped the kernel lock.
    fn check_descriptor(&self) -> Result<(), LossReason> {
        // Where a refresh is under way it looks for itself, and may hang with its mount.
        let Some(file) = try_lock(&self.file) else {
            return Ok(());
        };
        match file.as_ref() {
            Some(file) if !self.is_own(file) => Err(self.lose(LossReason::DescriptorClosed)),
            _ => Ok(()),
        }
    }

    fn is_own(&self, file: &S::File) -> bool {
        // An I/O error of a network mount proves nothing; EBADF comes as one that has no other use.
        match self.place.sys.stat(file) {
            Ok(stat) => stat.id == self.id,
            Err(error) => !is_bad_descriptor(&error),
        }
    }

    fn whereabouts(&self) -> Result<Whereabouts> {
        self.place.whereabouts(self.id, self.record().writer_id())
    }

    fn note(&self, whereabouts: Whereabouts) -> Result<(), LossReason> {
        match whereabouts {
            Whereabouts::Ours => Ok(()),
            Whereabouts::Absent => Err(self.lose(LossReason::Removed)),
            Whereabouts::Replaced(record) => Err(self.lose(LossReason::Replaced(record))),
        }
    }

    /// Makes a loss sticky, and tells of it once.
    fn lose(&self, reason: LossReason) -> LossReason {
        let mut status = lock(&self.status);
        if let Some(earlier) = status.loss {
            return earlier;
        }
        status.loss = Some(reason);
        drop(status);
        trace::lost(self.place.lock_path(), &reason);
        if let Some(on_lost) = self.on_lost.clone() {
            let lost = self.lost(reason);
            // Off the scheduling thread, where a callback that blocks would stop the refreshes of
            // other locks, and never under our mutexes, which it would wait for if it drops the
            // lock. Without a thread to be had only `check` and `is_lost` tell.
            let thread = std::thread::Builder::new().name("rvlf-on-lost".into());
            let _ = thread.spawn(move || on_lost(&lost));
        }
        reason
    }

    pub(crate) fn lost(&self, reason: LossReason) -> Lost {
        Lost {
            lock_path: self.place.lock_path().to_owned(),
            reason,
        }
    }

    /// Writes the time into the record, through the descriptor: it cannot touch a successor's file.
    pub(crate) fn refresh(&self) -> Result<(), HoldError> {
        if let Some(loss) = self.known_loss() {
            return Err(HoldError::Lost(loss));
        }
        let file = lock(&self.file);
        let Some(file) = file.as_ref() else {
            return Err(HoldError::Lost(LossReason::Removed));
        };
        // The number may belong to another file by now: a blind write corrupted a database once.
        if !sabotaged!(self.place.sys, OwnDescriptor) && !self.is_own(file) {
            return Err(HoldError::Lost(self.lose(LossReason::DescriptorClosed)));
        }
        self.write_time(file)?;
        // The path, too: what is refreshed may be a file that somebody has put aside.
        let whereabouts = self.whereabouts().unwrap_or(Whereabouts::Ours);
        self.note(whereabouts).map_err(HoldError::Lost)
    }

    fn write_time(&self, file: &S::File) -> Result<(), HoldError> {
        let sys = &self.place.sys;
        // Read before the write, which may hang: others judge by the time that it carries.
        let now = sys.now();
        let record = self.record().refreshed(now.realtime_ns);
        let bytes = record.encode();
        let refreshed = bytes
            .get(REFRESHED)
            .expect("the refreshed fields lie in the record");
        sys.write(file, REFRESHED.start as u64, refreshed)
            .map_err(|source| HoldError::Io {
                operation: "refresh the record",
                source,
            })?;
        // A local page cache is coherent; a remote one must be told.
        if self.place.file_system == FileSystem::NotLocal {
            sys.sync(file, Extent::Data)
                .map_err(|source| HoldError::Io {
                    operation: "sync the record",
                    source,
                })?;
        }
        let mut status = lock(&self.status);
        status.record = record;
        status.refreshed_at = now.since_boot;
        Ok(())
    }

    /// Unlinks the lock file if it is ours, then closes it. A second call does nothing.
    ///
    /// After an I/O error the lock is still held; after a loss nothing at the path is touched.
    pub(crate) fn release(&self) -> Result<(), HoldError> {
        if self.is_forked() {
            self.close_in_child();
            return Err(HoldError::Lost(LossReason::Forked));
        }
        let mut file = lock(&self.file);
        if file.is_none() {
            return Ok(());
        }
        let outcome = match self.known_loss() {
            Some(loss) => Err(loss),
            None => self.note(self.place.unlink_own(self.id, self.record().writer_id())?),
        };
        if let Some(file) = file.take() {
            self.close(file);
        }
        outcome.map_err(HoldError::Lost)
    }

    /// A forked child shares the open file description: its close leaves the parent's kernel lock
    /// alone, an unlock would free it.
    fn close_in_child(&self) {
        // A thread of the parent may hold the mutex for ever in here: then the descriptor stays
        // open until the child ends.
        if let Some(mut file) = try_lock(&self.file)
            && let Some(file) = file.take()
        {
            self.close(file);
        }
    }

    fn close(&self, file: S::File) {
        if self.is_own(&file) {
            drop(file);
        } else {
            // The descriptor was closed behind our back: the number is somebody else's to close.
            std::mem::forget(file);
        }
    }
}

/// EBADF. It has no [`io::ErrorKind`] of its own.
fn is_bad_descriptor(error: &io::Error) -> bool {
    const EBADF: i32 = 9;
    error.raw_os_error() == Some(EBADF)
}

impl<S: Sys> Drop for Held<S> {
    fn drop(&mut self) {
        let _ = self.release();
        // An error left the file open; closing it gives the kernel lock up.
        let file = self.file.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = file.take() {
            self.close(file);
        }
    }
}

impl<S: Sys> Refresh for Held<S> {
    fn refresh_in_background(&self) -> bool {
        match self.refresh() {
            Ok(()) => true,
            Err(HoldError::Lost(_)) => false,
            Err(HoldError::Io { source, .. }) => {
                // EIO, ESTALE and their like may pass: the next tick tries again.
                trace::refresh_failed(self.place.lock_path(), &source);
                true
            }
        }
    }
}

#[cfg(all(unix, not(rvlf_unsupported)))]
impl Held<Host> {
    /// A second descriptor of the open lock file, close-on-exec.
    pub(crate) fn try_clone_descriptor(&self) -> io::Result<std::os::fd::OwnedFd> {
        let released = || io::Error::other("the lock is not held any more");
        // In a forked child the file may be locked by a thread that the child does not have.
        if self.known_loss().is_some() {
            return Err(released());
        }
        let file = lock(&self.file);
        let file = file
            .as_ref()
            .filter(|file| self.is_own(file))
            .ok_or_else(released)?;
        file.try_clone().map(Into::into)
    }
}

#[cfg(all(unix, rvlf_unsupported))]
impl Held<Host> {
    pub(crate) fn try_clone_descriptor(&self) -> io::Result<std::os::fd::OwnedFd> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
