//! Acquire: examine, break what is stale, publish; from the start again when somebody was quicker.

use super::breaking::{Broken, busy};
use super::{Asker, Displaced, Found, Outcome, Place, Published, Refusal, Terms, Torn, jittered};
use crate::judge::{Reason, StalePolicy, Verdict};
use crate::sys::Sys;

/// How often one attempt may find that the lock has changed hands before it gives up: more often
/// than any schedule seen, few enough to end.
pub(super) const ROUNDS: u32 = 32;

/// How an attempt ended that met no obstacle.
pub(crate) enum Attempt<F> {
    Held(Box<Published<F>>),
    Refused(Refusal),
}

impl<S: Sys> Place<S> {
    /// One attempt to acquire. Sleeps for 2 s at the most, and for the pauses above.
    ///
    /// `displaced` outlives the attempt: if we break a lock and another contender publishes first, it
    /// never learns of the dead holder, and whoever of us comes next should.
    pub(crate) fn attempt(
        &self,
        terms: &Terms,
        displaced: &mut Option<Displaced>,
    ) -> Outcome<Attempt<S::File>> {
        let mut torn = Torn::default();
        // A longer grace is for whoever waits with a timeout: one attempt is to answer soon.
        let grace = terms.policy.malformed_limit();
        let grace = grace.min(StalePolicy::MALFORMED_GRACE);
        let mut refusal = Refusal::contended();
        let mut doubts = self.doubts.iter().copied();
        let mut rounds = 0;
        let this = self.sys.begin_loop();
        while rounds < ROUNDS {
            // Not `rounds`: it is for more contenders than can be searched.
            let memory = (&torn, &refusal.holder, doubts.len(), &displaced);
            self.sys.begin_round(this, &(memory, &self.server_clock));
            rounds += 1;
            let examined = match self.examine(&terms.policy, &mut torn, Asker::Contender)? {
                Found::Nothing => match self.publish(terms, *displaced)? {
                    Some(published) => return Ok(Attempt::Held(published)),
                    None => continue,
                },
                Found::Unreadable(refusal) => return Ok(Attempt::Refused(refusal)),
                Found::Contended => break,
                Found::Lock(examined) => *examined,
            };
            match examined.holder.verdict {
                // Row 3 is a write of microseconds, or soon row 4: waited out here.
                Verdict::Held {
                    reason: Reason::BeingWritten,
                    stale_in: Some(left),
                } if torn.waited < grace => {
                    drop(examined);
                    self.sys.wait(None, torn.pause(left));
                    rounds = 0;
                }
                Verdict::Held { .. } => return Ok(Attempt::Refused(examined.into_refusal())),
                Verdict::Stale { .. } => {
                    let holder = examined.holder.clone();
                    let id = examined.id();
                    match self.break_lock(examined, &terms.policy, &mut torn)? {
                        Broken::Done(broken) => *displaced = Some(broken),
                        Broken::Changed => {}
                        Broken::Busy => {
                            refusal = busy(holder, id);
                            match doubts.next() {
                                Some(pause) => self.sys.wait(None, jittered(&self.sys, pause)),
                                None => break,
                            };
                        }
                    }
                }
            }
        }
        Ok(Attempt::Refused(refusal))
    }
}
