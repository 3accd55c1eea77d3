//! Break by hand: what a user removes without acquiring the lock.
//!
//! Source: `spec/protocol.md#break`.

use std::io;

use super::breaking::BreakStep;
use super::evidence::Purpose;
use super::examine::{Examination, ExaminedLock, LockFileState};
use super::{Contention, Place, Result, jittered};
use crate::holder::Holder;
use crate::judge::{KernelLock, StalePolicy};
use crate::record::{Record, WriterId};
use crate::sys::{Access, Context, Flock, Operation, Sys};
use crate::trace;

/// How a break by hand ended without an error.
pub(crate) enum BreakOutcome {
    /// There was no lock.
    Absent,
    Removed(Box<Holder>),
    Refused(Contention),
}

impl<S: Sys> Place<S> {
    /// Removes the lock if it is stale.
    pub(crate) fn break_stale(&self, policy: StalePolicy) -> Result<BreakOutcome> {
        let mut examination = Examination::new(self, policy, Purpose::Acquire);
        let mut contention = Contention::changed_hands();
        for pause in self.retry_pauses {
            let lock = match examination.examine_written()? {
                LockFileState::Absent => return Ok(BreakOutcome::Absent),
                LockFileState::Unreadable(contention) => {
                    return Ok(BreakOutcome::Refused(contention));
                }
                LockFileState::Contended => break,
                LockFileState::Lock(lock) => *lock,
            };
            if !lock.holder.verdict.is_stale() {
                return Ok(BreakOutcome::Refused(lock.into_contention()));
            }
            let (holder, id) = (lock.holder.clone(), lock.id());
            match examination.break_lock(lock)? {
                BreakStep::Done(_) => return Ok(BreakOutcome::Removed(Box::new(holder))),
                BreakStep::Changed => {}
                BreakStep::Busy => {
                    contention = Contention::busy(holder, id);
                    examination.pauses.sleep(jittered(self.sys(), *pause));
                }
            }
        }
        Ok(BreakOutcome::Refused(contention))
    }

    /// Removes the lock, live or not, if its record has the id `writer_id`.
    pub(crate) fn force_break(&self, writer_id: WriterId) -> Result<BreakOutcome> {
        let policy = StalePolicy::never();
        let lock = match Examination::new(self, policy, Purpose::Report).examine()? {
            LockFileState::Absent => return Ok(BreakOutcome::Absent),
            LockFileState::Unreadable(contention) => return Ok(BreakOutcome::Refused(contention)),
            LockFileState::Contended => {
                return Ok(BreakOutcome::Refused(Contention::changed_hands()));
            }
            LockFileState::Lock(lock) => *lock,
        };
        let is_named = |record: &Record| record.writer_id() == writer_id;
        if !lock.holder.record().is_some_and(is_named) {
            return Ok(BreakOutcome::Refused(lock.into_contention()));
        }
        let is_file_named = |file: &S::File| {
            let prefix = self.read_once(file)?;
            Ok(Record::decode(prefix.bytes()).as_ref().is_ok_and(is_named))
        };
        if self.sys().removes_by_handle() {
            return self.force_remove_open(lock, is_file_named);
        }
        let removed = self.remove_if(|aside| {
            is_file_named(&self.sys().open(&self.entry.dir, aside, Access::Read)?)
        })?;
        if !removed {
            return Ok(BreakOutcome::Refused(Contention::changed_hands()));
        }
        trace::broken(self.lock_path(), &lock.holder);
        Ok(BreakOutcome::Removed(Box::new(lock.holder)))
    }

    /// Where files are removed by handle, a file whose kernel lock another process has cannot be
    /// removed: its holder has to end first.
    fn force_remove_open(
        &self,
        mut lock: ExaminedLock<S>,
        is_file_named: impl FnOnce(&S::File) -> io::Result<bool>,
    ) -> Result<BreakOutcome> {
        let kernel_lock = self.flock(&lock.opened.file, Flock::Exclusive)?;
        if kernel_lock == KernelLock::HeldElsewhere {
            return Ok(BreakOutcome::Refused(lock.into_contention()));
        }
        lock.opened.locked = kernel_lock == KernelLock::Free;
        if !is_file_named(&lock.opened.file).context(Operation::File("read"), self.lock_path())? {
            return Ok(BreakOutcome::Refused(Contention::changed_hands()));
        }
        self.remove_open(&lock.opened.file)?;
        trace::broken(self.lock_path(), &lock.holder);
        let holder = lock.holder.clone();
        Ok(BreakOutcome::Removed(Box::new(holder)))
    }
}
