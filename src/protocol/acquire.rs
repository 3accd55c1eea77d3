//! Acquire: examine, break what is stale, publish; from the start again when somebody was quicker.

use super::breaking::{Broken, busy};
use super::{Displaced, Found, Place, Published, ROUNDS, Refusal, Result, Terms, Torn, jittered};
use crate::judge::Verdict;
use crate::sys::Sys;
use crate::sys::hooks::Rounds;

/// How an attempt ended without an error.
pub(crate) enum Attempt<F> {
    Held(Box<Published<F>>),
    Refused(Refusal),
}

impl<S: Sys> Place<S> {
    /// One attempt to acquire. Sleeps for 2 s at the most, and for the pauses above.
    ///
    /// What outlives the attempt: `torn`, for a torn file may have to be watched for longer than one;
    /// and `displaced`: if we break a lock and another contender publishes first, it never learns of
    /// the dead holder, and whoever of us comes next should.
    pub(crate) fn attempt(
        &self,
        terms: &Terms,
        torn: &mut Torn,
        displaced: &mut Option<Displaced>,
    ) -> Result<Attempt<S::File>> {
        torn.begin_attempt();
        let mut refusal = Refusal::contended();
        let mut doubts = self.doubts.iter().copied();
        let rounds = Rounds::of(&self.sys);
        // The number of the round is no memory: more contenders than can be searched reach the last.
        for _ in 0..ROUNDS {
            let clock = &self.server_clock;
            rounds.begin_with(&[&*torn, &refusal.holder, &doubts.len(), displaced, clock]);
            let examined = match self.examine_written(&terms.policy, torn)? {
                Found::Nothing => match self.publish(terms, *displaced)? {
                    Some(published) => {
                        // Not before: listing a directory takes long enough for another contender to
                        // publish, who would not know that anybody had died.
                        if published.displaced.is_some() {
                            self.sweep();
                        }
                        return Ok(Attempt::Held(published));
                    }
                    None => continue,
                },
                Found::Unreadable(refusal) => return Ok(Attempt::Refused(refusal)),
                Found::Contended => break,
                Found::Lock(examined) => *examined,
            };
            match examined.holder.verdict {
                Verdict::Held { .. } => return Ok(Attempt::Refused(examined.into_refusal())),
                Verdict::Stale { .. } => {
                    let holder = examined.holder.clone();
                    let id = examined.id();
                    match self.break_lock(examined, &terms.policy, torn)? {
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
