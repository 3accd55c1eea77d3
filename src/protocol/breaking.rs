//! Break: remove what a dead holder left behind, and nothing else.
//!
//! Source: `spec/protocol.md#break`.

use std::ffi::OsStr;
use std::io;
use std::time::Duration;

use super::aside::{aside_name, is_rvlf_content};
use super::evidence::Observation;
use super::examine::{Examination, ExaminedLock};
use super::{Error, Place, Result};
use crate::judge::{Age, KernelLock, StalePolicy};
use crate::record::Record;
use crate::sys::entry::{is_replaced, present, unless_removed};
use crate::sys::hooks::sabotaged;
use crate::sys::{Access, Context, FailedPublish, Flock, IoError, Operation, Stat, Sys};
use crate::trace;

/// A deployed client calls a record on its own host stale when it is older than this.
const DEPLOYED_STALE_AGE: Duration = StalePolicy::SAME_HOST_AGE;

/// A lock that was broken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BrokenLock {
    /// `None` if its content was malformed.
    pub(crate) record: Option<Record>,
    /// False if a failed publish of this process has left it: no holder has died.
    pub(super) was_held: bool,
    /// Whether a deployed client may have judged it stale at the same time.
    pub(super) stale_for_deployed: bool,
}

/// How a break ended without an error.
pub(super) enum BreakStep {
    Done(BrokenLock),
    /// The path does not name what was judged any more, or that is no longer stale.
    Changed,
    /// Another process is examining or breaking it.
    Busy,
}

impl<S: Sys> ExaminedLock<S> {
    fn to_broken(&self) -> BrokenLock {
        let is_old = |age: Age| age.or_zero() > DEPLOYED_STALE_AGE;
        let record = self.holder.record().copied();
        BrokenLock {
            record,
            was_held: !self.is_own_leftover(record),
            // Deployed clients delete short files at once, whatever their age.
            stale_for_deployed: self.holder.timestamp_age().is_none_or(is_old),
        }
    }

    /// Whether a failed publish of this process has left the lock file.
    fn is_own_leftover(&self, record: Option<Record>) -> bool {
        let Stat { id, mtime_ns, .. } = self.opened.stat;
        let left = match record {
            Some(record) => FailedPublish::Record(record.writer_id()),
            None if self.prefix.bytes().is_empty() => FailedPublish::Empty { id, mtime_ns },
            None => return false,
        };
        self.opened.sys.own_holds().has_left(left)
    }
}

impl BrokenLock {
    /// The lock to report after `self` was broken, and before it `earlier`: a holder that has died
    /// is not forgotten.
    pub(super) fn after(self, earlier: Option<BrokenLock>) -> BrokenLock {
        match earlier {
            Some(earlier) if !self.was_held => BrokenLock {
                stale_for_deployed: self.stale_for_deployed,
                ..earlier
            },
            _ => self,
        }
    }
}

impl<S: Sys> Examination<'_, S> {
    /// Removes the examined lock if, checked again under the exclusive kernel lock, it is still the
    /// file that was judged, and still stale.
    pub(super) fn break_lock(&mut self, mut lock: ExaminedLock<S>) -> Result<BreakStep> {
        let is_local = self.place.entry.is_local();
        match self.break_examined(&mut lock) {
            // A breaker on another host was quicker.
            Err(error) if error.is_gone() => Ok(BreakStep::Changed),
            Err(Error::Io(error)) if !is_local && is_replaced(&error.source) => {
                Ok(BreakStep::Changed)
            }
            outcome => outcome,
        }
    }

    fn break_examined(&mut self, lock: &mut ExaminedLock<S>) -> Result<BreakStep> {
        let place = self.place;
        // Breakers A and B both judged it stale. A breaks it and publishes. B, without this lock or
        // the checks that follow, would rename A's live lock aside, and C could publish meanwhile.
        let kernel_lock = place.flock(&lock.opened.file, Flock::Exclusive)?;
        if kernel_lock == KernelLock::HeldElsewhere {
            return Ok(BreakStep::Busy);
        }
        lock.opened.locked = kernel_lock == KernelLock::Free;
        if !sabotaged!(place.entry.sys, Identity) && !self.is_still_stale(lock, kernel_lock)? {
            return Ok(BreakStep::Changed);
        }
        if !place.remove_examined(lock)? {
            return Ok(BreakStep::Changed);
        }
        trace::broken(place.lock_path(), &lock.holder);
        Ok(BreakStep::Done(lock.to_broken()))
    }

    /// Whether the path still names the file that was judged, with the content that was judged, and
    /// the verdict on it is still Stale.
    fn is_still_stale(&mut self, lock: &ExaminedLock<S>, kernel_lock: KernelLock) -> Result<bool> {
        let place = self.place;
        let named = place.stat_if_same(&place.entry.name, lock);
        let Some(stat) = named.context(Operation::File("read"), place.lock_path())? else {
            return Ok(false);
        };
        let prefix = place.read_once(&lock.opened.file);
        let prefix = prefix.context(Operation::File("read"), place.lock_path())?;
        if prefix != lock.prefix {
            return Ok(false);
        }
        self.gatherer.forget_server_clock();
        let holder = self.judge(&Observation {
            prefix,
            stat: lock.opened.stat_now(stat),
            kernel_lock,
        })?;
        Ok(holder.verdict.is_stale())
    }
}

impl<S: Sys> Place<S> {
    /// Removes the lock file that was judged. False if the path names another one by now.
    fn remove_examined(&self, lock: &ExaminedLock<S>) -> Result<bool, IoError> {
        if self.sys().removes_by_handle() {
            return self.remove_open(&lock.opened.file).map(|()| true);
        }
        // Still under the kernel lock: if breaker A unlocked to read a file that is locked against reads (SMB),
        // breaker B could lock it, and A could neither recognise the file nor put it back.
        self.remove_if(|aside| Ok(self.stat_if_same(aside, lock)?.is_some()))
    }

    /// The stat of `name`, if it stands for the file that was judged.
    ///
    /// On a local file system the inode number decides. Others invent numbers: sshfs has one for
    /// each name on each mount, and a successor's file has its predecessor's. There the content
    /// decides, and so does the number, compared again after the name was opened: until then a client
    /// of SMB or NFS may show what it remembers. (B had looked at a torn lock. A broke the lock, and A's own
    /// file was still empty, too: B renamed A's file aside.)
    fn stat_if_same(&self, name: &OsStr, judged: &ExaminedLock<S>) -> io::Result<Option<Stat>> {
        let id = judged.id();
        let look = || {
            let stat = unless_removed(self.entry.stat_at(name));
            stat.map(|stat| stat.filter(|stat| stat.id == id))
        };
        let stat = look()?;
        if stat.is_none() || self.entry.is_local() {
            return Ok(stat);
        }
        match self.read_locked(name, Some(&judged.opened.file), id) {
            Ok(found) if found != Some(judged.prefix) => Ok(None),
            Ok(_) if sabotaged!(self.entry.sys, NameAgain) => Ok(stat),
            Ok(_) => look(),
            // The caller could read the file that it judged. A file that it may not read is another one.
            Err(error) if self.is_locked_against_reads(&error, false) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes an open file by its handle, where that is how files are removed.
    pub(super) fn remove_open(&self, file: &S::File) -> Result<(), IoError> {
        let (sys, path) = (self.sys(), self.lock_path());
        let aside = aside_name(sys).context(Operation::Random("draw a temporary name"), path)?;
        let removed = sys.remove(&self.entry.dir, file, &aside);
        removed.context(Operation::OldName("remove the lock file"), path)
    }

    /// Renames the lock aside, and unlinks it if `recognise` accepts what was caught. Otherwise
    /// puts it back. False if nothing was removed.
    pub(super) fn remove_if(
        &self,
        recognise: impl FnOnce(&OsStr) -> io::Result<bool>,
    ) -> Result<bool, IoError> {
        let (sys, dir, path) = (self.sys(), &self.entry.dir, self.lock_path());
        let aside = aside_name(sys).context(Operation::Random("draw a temporary name"), path)?;
        let renamed = present(sys.rename(dir, &self.entry.name, &aside));
        if renamed
            .context(Operation::OldName("rename the lock file aside"), path)?
            .is_none()
        {
            return Ok(false);
        }
        let recognised = if sabotaged!(self.entry.sys, Identity) {
            Ok(true)
        } else {
            recognise(&aside)
        };
        match recognised {
            Ok(true) => {
                sys.unlink(dir, &aside)
                    .context(Operation::OldName("unlink the renamed lock file"), path)?;
                Ok(true)
            }
            Ok(false) => self.put_back(&aside).map(|()| false),
            Err(error) => {
                self.put_back(&aside)?;
                Err(error).context(Operation::File("stat the renamed lock file"), path)
            }
        }
    }

    /// Gives a lock that was caught by mistake its name again. Where another contender has
    /// published meanwhile, the one caught is lost, and its holder will notice. Where it cannot be
    /// put back the aside stays, and this is an error: to go on would be to take the lock of a live
    /// holder.
    fn put_back(&self, aside: &OsStr) -> Result<(), IoError> {
        let (sys, dir) = (self.sys(), &self.entry.dir);
        let error = match sys.rename_noreplace(dir, aside, &self.entry.name) {
            Ok(()) => return Ok(()),
            // The aside has gone.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => error,
        };
        if error.kind() == io::ErrorKind::AlreadyExists && self.discard_aside(aside) {
            return Ok(());
        }
        // Not the kind of a file that has gone, after which a contender starts again.
        Err(io::Error::other(error)).context(
            Operation::OldName("put back the lock file"),
            self.lock_path(),
        )
    }

    /// Unlinks the aside of a lock whose name another contender has taken. False for a foreign file, which a
    /// foreign program may have put there between the breaker's check and its rename: it is never removed,
    /// under whatever name.
    fn discard_aside(&self, aside: &OsStr) -> bool {
        let (sys, dir) = (self.sys(), &self.entry.dir);
        let file = match present(sys.open(dir, aside, Access::Read)) {
            Ok(Some(file)) => file,
            Ok(None) => return true,
            Err(_) => return false,
        };
        match self.read(&file) {
            Ok(prefix) if is_rvlf_content(&prefix) => {
                let _ = sys.unlink(dir, aside);
                true
            }
            // A later breaker removes it as a leftover.
            Err(error) => self.is_locked_against_reads(&error, false),
            Ok(_) => false,
        }
    }
}
