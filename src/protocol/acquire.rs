//! Acquire: examine, break what is stale, publish; from the start again when another contender was
//! quicker.
//!
//! Source: `spec/protocol.md#break`.

use std::slice;
use std::time::Duration;

use super::breaking::{BreakStep, BrokenLock};
use super::evidence::Purpose;
use super::examine::{Examination, ExaminedLock, LockFileState};
use super::publish::{Publish, PublishOptions, Published};
use super::{Contention, Place, ROUNDS, Result, jittered};
use crate::judge::StalePolicy;
use crate::loss::OnLost;
use crate::sys::hooks::Rounds;
use crate::sys::{CancelToken, Sys};

/// How a lock is acquired, and how it is held.
#[derive(Clone)]
pub(crate) struct AcquireOptions {
    pub(crate) policy: StalePolicy,
    pub(crate) publish: PublishOptions,
    /// Whether a data file with other names is refused.
    pub(crate) refuse_aliases: bool,
    pub(crate) timeout: Duration,
    /// The acquisition ends when one of them is cancelled.
    pub(crate) cancel: Vec<CancelToken>,
    pub(crate) on_lost: Option<OnLost>,
}

#[cfg(all(test, any(unix, windows), not(rvlf_unsupported)))]
impl AcquireOptions {
    /// One attempt, of which nothing is synced.
    pub(super) fn one_attempt() -> AcquireOptions {
        AcquireOptions {
            policy: StalePolicy::new(),
            publish: PublishOptions {
                sync: false,
                mode: 0o644,
            },
            refuse_aliases: false,
            timeout: Duration::ZERO,
            cancel: Vec::new(),
            on_lost: None,
        }
    }
}

/// How an attempt ended without an error.
pub(super) enum Attempt<F> {
    Held(Box<Published<F>>),
    Refused(Contention),
    /// The path leads to another directory by now.
    Moved,
}

/// The attempts of one acquisition, and what outlives each of them.
pub(super) struct Attempts<'a, S: Sys> {
    place: &'a Place<S>,
    options: PublishOptions,
    examination: Examination<'a, S>,
    /// The lock that was broken last. A contender that publishes between this break and this process's
    /// publish does not learn of the dead holder: the hold in which this acquisition ends reports the
    /// death. If this process dies or gives up before that hold, no process learns of the death (C10).
    broken: Option<BrokenLock>,
}

/// What one attempt remembers from round to round.
struct Attempted {
    /// The holder that was in the way last.
    contention: Contention,
    /// The pauses that are left for a stale lock whose kernel lock another process keeps.
    retry_pauses: slice::Iter<'static, Duration>,
}

impl<'a, S: Sys> Attempts<'a, S> {
    pub(super) fn new(place: &'a Place<S>, options: &'a AcquireOptions) -> Self {
        let examination = Examination::new(place, options.policy, Purpose::Acquire);
        Attempts {
            place,
            options: options.publish,
            examination: examination.cancelled_by(&options.cancel),
            broken: None,
        }
    }

    /// One attempt. Sleeps for at most 2 s where the file is torn, for the pauses of `RETRY_PAUSES`
    /// where another process keeps the kernel lock of a stale one, and as a publish does.
    pub(super) fn attempt(&mut self) -> Result<Attempt<S::File>> {
        self.examination.gatherer.begin_attempt();
        let mut attempted = Attempted {
            contention: Contention::changed_hands(),
            retry_pauses: self.place.retry_pauses.iter(),
        };
        let rounds = Rounds::of(self.place.sys());
        // The round's number is no part of the state that the simulator compares: the last round takes more
        // contenders than it can search.
        for _ in 0..ROUNDS {
            let memory = self.examination.gatherer.memory();
            let (holder, left) = (&attempted.contention.holder, attempted.retry_pauses.len());
            let own_holds = self.place.sys().own_holds();
            rounds.begin_with(&[memory, holder, &left, &self.broken, own_holds]);
            let ended = match self.examination.examine_written()? {
                LockFileState::Absent => self.publish()?,
                LockFileState::Unreadable(contention) => Some(Attempt::Refused(contention)),
                LockFileState::Contended => break,
                LockFileState::Lock(lock) if lock.holder.verdict.is_stale() => {
                    self.break_lock(*lock, &mut attempted)?
                }
                LockFileState::Lock(lock) => Some(Attempt::Refused(lock.into_contention())),
            };
            if let Some(attempt) = ended {
                return Ok(attempt);
            }
        }
        Ok(Attempt::Refused(attempted.contention))
    }

    /// `None` if another contender was quicker: the attempt goes into another round.
    fn publish(&mut self) -> Result<Option<Attempt<S::File>>> {
        Ok(match self.place.publish(&self.options, self.broken)? {
            Publish::Done(published) => Some(Attempt::Held(published)),
            Publish::LostRace => None,
            Publish::Moved => Some(Attempt::Moved),
        })
    }

    /// `None` where the attempt goes into another round.
    fn break_lock(
        &mut self,
        lock: ExaminedLock<S>,
        attempted: &mut Attempted,
    ) -> Result<Option<Attempt<S::File>>> {
        let (holder, id) = (lock.holder.clone(), lock.id());
        match self.examination.break_lock(lock)? {
            BreakStep::Done(broken) => self.broken = Some(broken.after(self.broken)),
            BreakStep::Changed => {}
            BreakStep::Busy => {
                let contention = Contention::busy(holder, id);
                let Some(pause) = attempted.retry_pauses.next() else {
                    return Ok(Some(Attempt::Refused(contention)));
                };
                attempted.contention = contention;
                let pause = jittered(self.place.sys(), *pause);
                self.examination.pauses.sleep(pause);
            }
        }
        Ok(None)
    }
}
