//! Acquires the lock: look, judge, write; again until the deadline.

use std::mem;
use std::time::Duration;

use bytes::Bytes;
use rvlf::judge::{StoreContent, StoreReason, StoreVerdict};
use rvlf::record::StoreStamp;
use rvlf::{Record, WriterId};

use super::content::{Confirmed, Content, Writer};
use super::hold::Hold;
use super::look::judge;
use super::object::{Condition, ErrorClass, Found, Stored, Version};
use super::pause::Pause;
use super::rules::{Omission, Rule};
use super::step::{Answer, Moment, Purpose, Request, RequestId, Requests};
use super::timing::Timing;
use super::write::{Draft, Outcome, Write};

/// How to acquire.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AcquireSettings {
    /// The lease of the new hold. The lease of the old one stands in its record.
    pub timing: Timing,
    /// This acquisition.
    pub writer: Writer,
    /// Until when, by [`Moment::boottime`]. There is always one look, and a write that is open then is
    /// settled.
    pub deadline: Duration,
    /// The holds that this process has lost or given up: their records are stale at once.
    pub own_dead: Vec<WriterId>,
    /// Whether the first look takes a record for stale that both its timestamp and the store's modification
    /// time call old: the one place where clocks of two machines are compared.
    pub both_clocks: bool,
    /// Takes the lock from the hold with this id, whatever the judgement of it, and from no other one.
    pub forced: Option<WriterId>,
    /// Takes a stale lock only, and ends with [`AcquireEnd::Free`] if there is none to take: to break it.
    pub stale_only: bool,
    /// Nothing, but in a search.
    pub omission: Omission,
}

/// An acquisition under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Acquire {
    settings: AcquireSettings,
    requests: Requests,
    /// The writes of this call. Each may land late, and then counts from its own beginning.
    attempts: Vec<Attempt>,
    /// The lease of the records that this call writes: the own one, or a longer one of a victim by force.
    lease_ms: u32,
    stage: Stage,
    pause: Pause,
    refusal: Option<Refusal>,
    /// Whether one more look is due after the deadline, if a race was lost to a hold that was released since.
    looks_once_more: bool,
    /// The record of the dead holder over which the latest attempt writes.
    reclaimed: Option<Record>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Attempt {
    content: Content,
    began: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage {
    Looking { request: RequestId, until: Duration },
    Resting { until: Duration },
    Writing(Box<Write>),
    Ended,
}

/// Why an acquisition was refused: the object, and what was judged of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Refusal {
    /// The verdict.
    pub verdict: StoreVerdict,
    /// The record, if there is one.
    pub record: Option<Record>,
    /// For how long this process has seen the object unchanged.
    pub unchanged: Duration,
}

/// How an acquisition ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcquireEnd {
    /// The lock is held.
    Held(Box<Hold>),
    /// Another process holds it, or the object is no lock.
    Refused(Refusal),
    /// With [`AcquireSettings::stale_only`]: there is no lock to break.
    Free,
    /// The deadline came while the outcome of a write was not known. It may be in, and then the lock
    /// counts as held for one lease; this process takes it at once if it names the writer id in
    /// [`AcquireSettings::own_dead`].
    Unsettled,
    /// The store gave no answer until the deadline.
    NoAnswer,
    /// The store does not allow it, or cannot do it.
    Failed(ErrorClass),
}

/// What a step of an acquisition led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcquireStep {
    /// There is something to wait for: an answer, or [`Acquire::wake_at`].
    Continue(Option<Request>),
    /// The acquisition has ended.
    End(AcquireEnd),
}

impl Acquire {
    /// Leaves out the rule that attempts belong to one call: this one takes also the writes of `earlier`
    /// for its own.
    #[cfg(rvlf_sim)]
    pub fn inherit_attempts(&mut self, earlier: &Acquire) {
        self.attempts.extend(earlier.attempts.iter().cloned());
    }

    /// Begins, with a look.
    #[must_use]
    pub fn begin(settings: AcquireSettings, at: &Moment) -> (Acquire, Request) {
        let pause = Pause::up_to(settings.timing.longest_pause());
        let mut acquire = Acquire {
            lease_ms: settings.timing.lease_ms(),
            settings,
            requests: Requests::default(),
            attempts: Vec::new(),
            stage: Stage::Ended,
            pause,
            refusal: None,
            looks_once_more: true,
            reclaimed: None,
        };
        let request = acquire.look(at);
        (acquire, request)
    }

    /// The record of the holder from which the lock was taken: a dead one, or the one that
    /// [`AcquireSettings::forced`] names. `None` if the lock was free.
    #[must_use]
    pub fn reclaimed(&self) -> Option<&Record> {
        self.reclaimed.as_ref()
    }

    /// When the machine wants to be [`woken`](Acquire::woken) at the latest.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        match &self.stage {
            Stage::Looking { until, .. } | Stage::Resting { until } => Some(*until),
            Stage::Writing(write) => Some(write.wake_at()),
            Stage::Ended => None,
        }
    }

    /// The user does not want the lock any more: no new attempt begins. A write that is open is settled
    /// first, and the hold that comes of it has to be released.
    pub fn cancel(&mut self, at: &Moment) -> AcquireStep {
        self.settings.deadline = self.settings.deadline.min(at.boottime);
        self.looks_once_more = false;
        match self.stage {
            Stage::Looking { .. } | Stage::Resting { .. } => self.give_up(at),
            Stage::Writing(_) | Stage::Ended => AcquireStep::Continue(None),
        }
    }

    /// Time has passed.
    pub fn woken(&mut self, at: &Moment) -> AcquireStep {
        if self.wake_at().is_none_or(|wake_at| at.boottime < wake_at) {
            return AcquireStep::Continue(None);
        }
        let is_over = self.is_over(at);
        match &mut self.stage {
            Stage::Looking { .. } => self.no_answer(at),
            Stage::Resting { .. } if is_over => self.give_up(at),
            Stage::Resting { .. } => AcquireStep::Continue(Some(self.look(at))),
            Stage::Writing(write) => {
                let outcome = write.woken(at, &mut self.requests);
                self.written(at, outcome)
            }
            Stage::Ended => AcquireStep::Continue(None),
        }
    }

    /// The store has answered.
    pub fn answered(&mut self, at: &Moment, answer: Answer) -> AcquireStep {
        match (&mut self.stage, answer) {
            (Stage::Writing(write), answer) => {
                let outcome = write.answered(at, answer, &mut self.requests);
                self.written(at, outcome)
            }
            (
                Stage::Looking { request: sent, .. },
                Answer::Got {
                    request,
                    answer,
                    first_seen,
                },
            ) if *sent == request => match answer {
                Ok(found) => self.found(at, found, first_seen),
                Err(ErrorClass::Unknown) => self.no_answer(at),
                // S3 answers so for a key that does not exist, if the user may not list the bucket. To
                // break a lock, nothing is created.
                Err(ErrorClass::Denied)
                    if self.attempts.is_empty() && !self.settings.stale_only =>
                {
                    self.create(at)
                }
                Err(class) => self.end(AcquireEnd::Failed(class)),
            },
            _ => AcquireStep::Continue(None),
        }
    }

    fn is_over(&self, at: &Moment) -> bool {
        at.boottime >= self.settings.deadline
    }

    fn look(&mut self, at: &Moment) -> Request {
        let request = self.requests.next();
        let until = at.boottime + self.settings.timing.request_timeout();
        self.stage = Stage::Looking { request, until };
        Request::Get { request }
    }

    fn rest(&mut self, at: &Moment, at_most: Option<Duration>) -> AcquireStep {
        if self.is_over(at) {
            return self.give_up(at);
        }
        let mut pause = self.pause.next(at.random);
        if let Some(at_most) = at_most {
            // Stale is older than the lease, not as old.
            pause = pause.min(at_most + Duration::from_millis(1));
        }
        let until = (at.boottime + pause).min(self.settings.deadline);
        self.stage = Stage::Resting { until };
        AcquireStep::Continue(None)
    }

    fn no_answer(&mut self, at: &Moment) -> AcquireStep {
        self.rest(at, None)
    }

    /// A free lock refuses no acquisition: another contender was quicker, and has released the lock since.
    fn give_up(&mut self, at: &Moment) -> AcquireStep {
        match self.refusal.take() {
            Some(refusal) if refusal.verdict.is_free() && mem::take(&mut self.looks_once_more) => {
                AcquireStep::Continue(Some(self.look(at)))
            }
            Some(refusal) => self.end(AcquireEnd::Refused(refusal)),
            None => self.end(AcquireEnd::NoAnswer),
        }
    }

    fn end(&mut self, end: AcquireEnd) -> AcquireStep {
        self.stage = Stage::Ended;
        AcquireStep::End(end)
    }

    fn found(&mut self, at: &Moment, found: Found, first_seen: Duration) -> AcquireStep {
        let Found::Present(stored) = found else {
            return match self.settings.stale_only {
                true => self.end(AcquireEnd::Free),
                false => self.create(at),
            };
        };
        // A write of this call that an answer called lost, and that landed since.
        let own = self
            .attempts
            .iter()
            .find(|own| own.content.bytes == stored.bytes);
        if let Some(own) = own.cloned() {
            return self.confirmed(at, own, stored);
        }
        let unchanged = at.boottime.saturating_sub(first_seen);
        self.judge(at, stored, unchanged)
    }

    fn judge(&mut self, at: &Moment, stored: Stored, unchanged: Duration) -> AcquireStep {
        // Later looks see the lease pass. A wait may be long, and this machine's clock be set ahead in it: it
        // was compared with the store's before the first look alone.
        let both_clocks = mem::take(&mut self.settings.both_clocks);
        let AcquireSettings {
            own_dead,
            forced,
            stale_only,
            ..
        } = &self.settings;
        let content = StoreContent::of(&stored.bytes);
        let found = Found::Present(stored.clone());
        let look = judge(&found, unchanged, own_dead, both_clocks, at);
        let verdict = look.verdict;
        let id = look.record.map(|record| record.writer_id());
        let is_forced = id.is_some() && id == *forced;
        let (stale_only, names_another) = (*stale_only, forced.is_some() && !is_forced);
        match content {
            StoreContent::Valid(stamp)
                if !verdict.is_free() && (is_forced || verdict.is_stale() && !names_another) =>
            {
                self.reclaimed = look.record;
                if is_forced && !self.settings.omission.is(Rule::VictimsLease) {
                    // The victim believes for a part of its own lease. If the breaker dies in its wait for
                    // that, contenders wait by the record that it leaves.
                    self.lease_ms = self.lease_ms.max(stamp.lease_ms);
                }
                self.take_over(at, stored, stamp)
            }
            _ if verdict.is_free() && stale_only => self.end(AcquireEnd::Free),
            StoreContent::Valid(stamp) if verdict.is_free() => {
                self.reclaimed = None;
                self.take_over(at, stored, stamp)
            }
            _ => match verdict {
                StoreVerdict::Held {
                    stale_in: Some(stale_in),
                    ..
                } if !names_another => {
                    self.refusal = Some(look);
                    self.rest(at, Some(stale_in))
                }
                // What is no lock does not become one, and no time makes this hold the named one.
                _ => self.end(AcquireEnd::Refused(look)),
            },
        }
    }

    /// The generation of a first object is the time, so that it is higher than that of an object that
    /// an administrator deleted.
    fn create(&mut self, at: &Moment) -> AcquireStep {
        self.reclaimed = None;
        let generation = at.unix_ns / 1_000_000;
        let content = self.content(generation, Bytes::new(), at);
        self.write(at, Purpose::Create, content, None, Condition::Absent)
    }

    fn take_over(&mut self, at: &Moment, stored: Stored, stamp: StoreStamp) -> AcquireStep {
        if stamp.generation >= StoreStamp::MAX_GENERATION {
            return self.end(AcquireEnd::Refused(last_generation(&stored, at)));
        }
        let payload = Content::of(&stored.bytes).map(|content| content.payload);
        let generation = stamp.generation + 1;
        let content = self.content(generation, payload.unwrap_or_default(), at);
        let condition = Condition::Version(stored.version);
        self.write(
            at,
            Purpose::Takeover,
            content,
            Some(stored.bytes),
            condition,
        )
    }

    fn content(&self, generation: u64, payload: Bytes, at: &Moment) -> Content {
        Content::of_new_hold(
            &self.settings.writer,
            self.lease_ms,
            generation,
            payload,
            at,
        )
    }

    fn write(
        &mut self,
        at: &Moment,
        purpose: Purpose,
        content: Content,
        base: Option<Bytes>,
        condition: Condition,
    ) -> AcquireStep {
        let draft = Draft {
            purpose,
            bytes: content.bytes.clone(),
            base,
        };
        let (write, request) = Write::begin(
            draft,
            condition,
            self.settings.timing,
            self.settings.omission,
            at,
            &mut self.requests,
        );
        self.attempts.push(Attempt {
            content,
            began: at.boottime,
        });
        self.stage = Stage::Writing(Box::new(write));
        AcquireStep::Continue(Some(request))
    }

    fn written(&mut self, at: &Moment, outcome: Outcome) -> AcquireStep {
        let Stage::Writing(write) = &self.stage else {
            return AcquireStep::Continue(None);
        };
        let began = write.began();
        match outcome {
            Outcome::Done(version) => self.done(at, began, version),
            Outcome::Failed(class) => self.end(AcquireEnd::Failed(class)),
            // Another contender was quicker, or the object was changed under us.
            Outcome::Out(Found::Present(stored)) => self.lost_race(at, stored),
            Outcome::Out(Found::Absent) | Outcome::NotIn => self.rest(at, Some(Duration::ZERO)),
            // A write that is this old could not be believed when it is confirmed at last.
            Outcome::Open(_) if self.is_over(at) && self.is_too_old(at, began) => {
                self.end(AcquireEnd::Unsettled)
            }
            Outcome::Open(request) => AcquireStep::Continue(request),
        }
    }

    fn lost_race(&mut self, at: &Moment, stored: Stored) -> AcquireStep {
        let found = Found::Present(stored);
        self.refusal = Some(judge(&found, Duration::ZERO, &[], false, at));
        self.rest(at, None)
    }

    fn done(&mut self, at: &Moment, began: Duration, version: Version) -> AcquireStep {
        let Some(own) = self.attempts.last().cloned() else {
            return AcquireStep::Continue(None);
        };
        let stored = Stored {
            bytes: own.content.bytes.clone(),
            version,
            modified_ms: None,
        };
        self.confirmed(at, Attempt { began, ..own }, stored)
    }

    /// The store has a write of this call. Its age counts from its beginning: another contender may have
    /// seen it then, and may take it over one lease later.
    fn confirmed(&mut self, at: &Moment, own: Attempt, stored: Stored) -> AcquireStep {
        if self.is_too_old(at, own.began) {
            if self.settings.omission.is(Rule::OwnAge) {
                return self.held(at.boottime, own, stored);
            }
            return match own.content.record.store_stamp() {
                Some(stamp) => self.take_over(at, stored, stamp),
                None => AcquireStep::Continue(None),
            };
        }
        self.held(own.began, own, stored)
    }

    fn held(&mut self, since: Duration, own: Attempt, stored: Stored) -> AcquireStep {
        let confirmed = Confirmed {
            content: own.content,
            version: stored.version,
        };
        let hold = Hold::new(
            self.settings.timing,
            self.settings.omission,
            confirmed,
            since,
            self.requests.clone(),
        );
        self.end(AcquireEnd::Held(Box::new(hold)))
    }

    fn is_too_old(&self, at: &Moment, began: Duration) -> bool {
        let timing = self.settings.timing;
        at.boottime + timing.least_belief() > began + timing.belief()
    }
}

/// A record of the next generation would be outside of the limits: no program would write the object again.
fn last_generation(stored: &Stored, at: &Moment) -> Refusal {
    let found = Found::Present(stored.clone());
    Refusal {
        verdict: StoreVerdict::Held {
            reason: StoreReason::OtherStamp,
            stale_in: None,
        },
        ..judge(&found, Duration::ZERO, &[], false, at)
    }
}
