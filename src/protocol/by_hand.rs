//! Break by hand: what a user removes without acquiring the lock.
//!
//! Source: `spec/protocol.md#break`.

use super::breaking::BreakStep;
use super::evidence::Purpose;
use super::examine::{Examination, LockFileState};
use super::{Contention, Place, Result, jittered};
use crate::holder::Holder;
use crate::judge::StalePolicy;
use crate::record::{Record, WriterId};
use crate::sys::{Access, Sys};
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
        for pause in self.doubts {
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
        let removed = self.remove_if(|aside| {
            let file = self.sys().open(&self.entry.dir, aside, Access::Read)?;
            let prefix = self.sys().read(&file)?;
            let record = Record::decode(prefix.bytes());
            Ok(record.as_ref().is_ok_and(is_named))
        })?;
        if !removed {
            return Ok(BreakOutcome::Refused(Contention::changed_hands()));
        }
        trace::broken(self.lock_path(), &lock.holder);
        Ok(BreakOutcome::Removed(Box::new(lock.holder)))
    }
}
