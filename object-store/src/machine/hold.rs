//! A held lock: refreshes, commits, and the release.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use rvlf::Record;

use super::content::{Confirmed, Content};
use super::object::{Condition, Found, Version};
use super::rules::{Omission, Rule};
use super::step::{Answer, CommitId, Moment, Purpose, Request, Requests};
use super::timing::Timing;
use super::write::{Draft, Outcome, Write};

/// The lease of a tombstone.
const RELEASED: u32 = 0;

/// A lock that was acquired, until it is released.
///
/// One write is under way at a time, and a write whose outcome is not known is repeated until it is:
/// the next one waits for it. A commit is a refresh with another payload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hold {
    timing: Timing,
    omission: Omission,
    requests: Requests,
    /// What the store was last confirmed to have.
    confirmed: Confirmed,
    /// When the write of `confirmed` began.
    since: Duration,
    open: Option<Open>,
    waiting: VecDeque<(CommitId, Bytes)>,
    /// A refresh is due before its time.
    check: bool,
    stage: Stage,
}

/// A write under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Open {
    write: Write,
    content: Content,
    /// The commit that waits for it.
    commit: Option<CommitId>,
    /// Whether a caller of [`Hold::check`] waits for it.
    is_check: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage {
    Held,
    Lost(Loss),
    Releasing {
        deadline: Duration,
        /// The write that was open when the release began: it may land before the tombstone.
        late: Option<Content>,
    },
    Ended,
}

/// Why a lock was lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// Another hold, or what is no lock, has replaced the object.
    Replaced {
        /// The record that is there, if it is one.
        by: Option<Record>,
    },
    /// The object was deleted. No rvlf does that.
    Removed,
    /// The store confirmed no write for two thirds of the lease.
    Expired,
}

/// What a step of a hold led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldStep {
    /// A request to send.
    Request(Request),
    /// The store has confirmed a write that began after the last [`Hold::check`].
    Checked,
    /// The end of a commit.
    Committed {
        /// Which one.
        commit: CommitId,
        /// How it ended.
        end: CommitEnd,
    },
    /// The lock is lost. It comes once, and nothing is refreshed or committed after it.
    Lost(Loss),
    /// The release has ended.
    Released {
        /// Whether the store has confirmed that this hold is over. If not, other processes wait until the
        /// lease is over.
        confirmed: bool,
    },
}

/// How a commit ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CommitEnd {
    /// The payload is in the object.
    Done,
    /// The lock is lost, or was released. If it was sent, the payload may have been in the object, or come
    /// into it before the tombstone, and the next holder may have built on it.
    Out {
        /// Whether it was sent. Nothing shows then whether it was in. The payload of a successor does not: it
        /// may have made an equal commit of its own.
        may_be_in: bool,
    },
    /// No answer until the caller gave up. The write goes on, and the next call waits for it.
    Unsettled,
}

impl Hold {
    pub(super) fn new(
        timing: Timing,
        omission: Omission,
        confirmed: Confirmed,
        since: Duration,
        requests: Requests,
    ) -> Hold {
        Hold {
            timing,
            omission,
            requests,
            confirmed,
            since,
            open: None,
            waiting: VecDeque::new(),
            check: false,
            stage: Stage::Held,
        }
    }

    /// Whether the holder may believe, at this time, that no other process holds the lock. Without I/O.
    #[must_use]
    pub fn believes(&self, boottime: Duration) -> bool {
        let held = match self.stage {
            Stage::Held => true,
            Stage::Releasing { .. } => self.omission.is(Rule::SilentAfterRelease),
            Stage::Lost(_) | Stage::Ended => false,
        };
        held && boottime < self.expires_at()
    }

    /// When the belief ends, if the store confirms no other write before.
    #[must_use]
    pub fn expires_at(&self) -> Duration {
        self.since + self.timing.belief()
    }

    /// What the store was last confirmed to have: the record and the payload.
    #[must_use]
    pub fn content(&self) -> &Content {
        &self.confirmed.content
    }

    /// Why the lock is lost, if it is.
    #[must_use]
    pub fn loss(&self) -> Option<&Loss> {
        match &self.stage {
            Stage::Lost(loss) => Some(loss),
            Stage::Held | Stage::Releasing { .. } | Stage::Ended => None,
        }
    }

    /// When the machine wants to be [`woken`](Hold::woken) at the latest.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        let write = self.open.as_ref().map(|open| open.write.wake_at());
        match self.stage {
            Stage::Held => Some(self.expires_at().min(write.unwrap_or(self.refresh_at()))),
            Stage::Releasing { deadline, .. } => {
                Some(write.map_or(deadline, |at| at.min(deadline)))
            }
            Stage::Lost(_) | Stage::Ended => None,
        }
    }

    fn refresh_at(&self) -> Duration {
        self.since + self.timing.refresh_interval()
    }

    /// Time has passed.
    pub fn woken(&mut self, at: &Moment) -> Vec<HoldStep> {
        self.step(at, |hold, steps| {
            hold.advance(at, steps, |write, requests| write.woken(at, requests));
        })
    }

    /// The store has answered.
    pub fn answered(&mut self, at: &Moment, answer: Answer) -> Vec<HoldStep> {
        self.step(at, |hold, steps| {
            hold.advance(at, steps, |write, requests| {
                write.answered(at, answer, requests)
            });
        })
    }

    /// Lets the open write take an event. A lost lock writes nothing any more.
    fn advance(
        &mut self,
        at: &Moment,
        steps: &mut Vec<HoldStep>,
        event: impl FnOnce(&mut Write, &mut Requests) -> Outcome,
    ) {
        if let (Stage::Held | Stage::Releasing { .. }, Some(open)) = (&self.stage, &mut self.open) {
            let outcome = event(&mut open.write, &mut self.requests);
            self.written(at, outcome, steps);
        }
    }

    /// Ends the belief now: a caller has already received the answer that it is over, at a moment at which the
    /// store's answer that would have prolonged it waited to be handled.
    pub fn expire(&mut self, at: &Moment) -> Vec<HoldStep> {
        self.step(at, |hold, steps| {
            if matches!(hold.stage, Stage::Held) {
                hold.lose(Loss::Expired, steps);
            }
        })
    }

    /// Refreshes now: [`HoldStep::Checked`] or [`HoldStep::Lost`] follows, unless the lock is released
    /// first.
    pub fn check(&mut self, at: &Moment) -> Vec<HoldStep> {
        self.step(at, |hold, _| hold.check = true)
    }

    /// Commits `payload`: [`HoldStep::Committed`] follows.
    pub fn commit(&mut self, at: &Moment, commit: CommitId, payload: Bytes) -> Vec<HoldStep> {
        self.step(at, |hold, steps| match hold.stage {
            Stage::Held => hold.waiting.push_back((commit, payload)),
            Stage::Lost(_) | Stage::Releasing { .. } | Stage::Ended => {
                let end = CommitEnd::Out { may_be_in: false };
                steps.push(HoldStep::Committed { commit, end });
            }
        })
    }

    /// The caller of the commit does not wait any longer.
    pub fn give_up(&mut self, at: &Moment, commit: CommitId) -> Vec<HoldStep> {
        self.step(at, |hold, steps| {
            let open = hold
                .open
                .as_mut()
                .filter(|open| open.commit == Some(commit));
            let sent = open.map(|open| open.commit = None).is_some();
            let before = hold.waiting.len();
            hold.waiting.retain(|(waiting, _)| *waiting != commit);
            if sent || hold.waiting.len() < before {
                let end = CommitEnd::Unsettled;
                steps.push(HoldStep::Committed { commit, end });
            }
        })
    }

    /// Releases the lock, by a tombstone that keeps the payload: [`HoldStep::Released`] follows, at
    /// `deadline` at the latest. From here on the holder does not believe.
    pub fn release(&mut self, at: &Moment, deadline: Duration) -> Vec<HoldStep> {
        self.step(at, |hold, steps| match hold.stage {
            Stage::Held | Stage::Lost(Loss::Expired) => {
                hold.end_commits(steps);
                let late = hold.open.take().map(|open| open.content);
                let deadline = deadline.min(at.boottime + hold.timing.lease());
                hold.stage = Stage::Releasing { deadline, late };
                hold.bury(at, steps);
            }
            Stage::Lost(Loss::Replaced { .. } | Loss::Removed) => hold.end(true, steps),
            Stage::Releasing { .. } | Stage::Ended => {}
        })
    }

    /// The expiry comes first: a holder that was paused for longer than its belief has lost the lock,
    /// whatever answers waited for it meanwhile.
    fn step(
        &mut self,
        at: &Moment,
        event: impl FnOnce(&mut Hold, &mut Vec<HoldStep>),
    ) -> Vec<HoldStep> {
        let mut steps = Vec::new();
        if matches!(self.stage, Stage::Held) && at.boottime >= self.expires_at() {
            self.lose(Loss::Expired, &mut steps);
        }
        event(self, &mut steps);
        self.write_next(at, &mut steps);
        self.end_in_time(at, &mut steps);
        steps
    }

    fn write_next(&mut self, at: &Moment, steps: &mut Vec<HoldStep>) {
        if !matches!(self.stage, Stage::Held) || self.open.is_some() {
            return;
        }
        if let Some((commit, payload)) = self.waiting.pop_front() {
            self.write(at, Purpose::Commit, payload, Some(commit), steps);
        } else if self.check || at.boottime >= self.refresh_at() {
            let payload = self.confirmed.content.payload.clone();
            self.write(at, Purpose::Refresh, payload, None, steps);
        }
    }

    fn write(
        &mut self,
        at: &Moment,
        purpose: Purpose,
        payload: Bytes,
        commit: Option<CommitId>,
        steps: &mut Vec<HoldStep>,
    ) {
        let lease_ms = match purpose {
            Purpose::Release => RELEASED,
            // That of a takeover by force may be longer than the own one, and stays so.
            _ => self.confirmed.content.lease_ms(),
        };
        let content = self.confirmed.content.next(lease_ms, payload, at);
        let draft = Draft {
            purpose,
            bytes: content.bytes.clone(),
            base: Some(self.confirmed.content.bytes.clone()),
        };
        let (write, request) = Write::begin(
            draft,
            Condition::Version(self.confirmed.version.clone()),
            self.timing,
            self.omission,
            at,
            &mut self.requests,
        );
        self.open = Some(Open {
            write,
            content,
            commit,
            is_check: std::mem::take(&mut self.check),
        });
        steps.push(HoldStep::Request(request));
    }

    /// Writes the tombstone over what was last confirmed.
    fn bury(&mut self, at: &Moment, steps: &mut Vec<HoldStep>) {
        let payload = self.confirmed.content.payload.clone();
        self.write(at, Purpose::Release, payload, None, steps);
    }

    fn written(&mut self, at: &Moment, outcome: Outcome, steps: &mut Vec<HoldStep>) {
        let releasing = matches!(self.stage, Stage::Releasing { .. });
        match outcome {
            Outcome::Open(request) => steps.extend(request.map(HoldStep::Request)),
            // The credentials may be renewed, the bucket may come back: the holder tries until it expires.
            Outcome::Failed(_) => {}
            Outcome::Done(_) if releasing => self.end(true, steps),
            Outcome::Done(version) => self.confirm(version, steps),
            Outcome::Out(found) if releasing => self.not_buried(at, found, steps),
            Outcome::Out(found) => self.lose_to(found, steps),
            Outcome::NotIn => self.take_for_not_in(steps),
        }
    }

    fn confirm(&mut self, version: Version, steps: &mut Vec<HoldStep>) {
        let Some(open) = self.open.take() else { return };
        self.since = open.write.began();
        self.confirmed = Confirmed {
            content: open.content,
            version,
        };
        if let Some(commit) = open.commit {
            let end = CommitEnd::Done;
            steps.push(HoldStep::Committed { commit, end });
        }
        if open.is_check {
            steps.push(HoldStep::Checked);
        }
    }

    fn take_for_not_in(&mut self, steps: &mut Vec<HoldStep>) {
        let Some(open) = self.open.take() else { return };
        if let Some(commit) = open.commit {
            let end = CommitEnd::Out { may_be_in: false };
            steps.push(HoldStep::Committed { commit, end });
        }
    }

    fn lose_to(&mut self, found: Found, steps: &mut Vec<HoldStep>) {
        let loss = match found {
            Found::Absent => Loss::Removed,
            Found::Present(stored) => Loss::Replaced {
                by: Record::decode(&stored.bytes).ok(),
            },
        };
        self.lose(loss, steps);
    }

    /// Ends the hold.
    fn lose(&mut self, loss: Loss, steps: &mut Vec<HoldStep>) {
        self.end_commits(steps);
        steps.push(HoldStep::Lost(loss.clone()));
        self.stage = Stage::Lost(loss);
    }

    /// Ends the commit that is under way, which may be in or come in later, and those that were never
    /// sent.
    fn end_commits(&mut self, steps: &mut Vec<HoldStep>) {
        if let Some(open) = &mut self.open {
            if let Some(commit) = open.commit.take() {
                let end = CommitEnd::Out { may_be_in: true };
                steps.push(HoldStep::Committed { commit, end });
            }
        }
        for (commit, _) in self.waiting.drain(..) {
            let end = CommitEnd::Out { may_be_in: false };
            steps.push(HoldStep::Committed { commit, end });
        }
    }

    /// The tombstone is not in. Either a write of this hold landed late, and has to be buried in its
    /// turn, or the lock is another hold's, or nothing: released either way.
    fn not_buried(&mut self, at: &Moment, found: Found, steps: &mut Vec<HoldStep>) {
        if let (Stage::Releasing { late, .. }, Found::Present(stored)) = (&mut self.stage, found) {
            let landed = late.take().filter(|late| late.bytes == stored.bytes);
            if let Some(content) = landed {
                let version = stored.version;
                self.confirmed = Confirmed { content, version };
                return self.bury(at, steps);
            }
        }
        self.end(true, steps);
    }

    fn end_in_time(&mut self, at: &Moment, steps: &mut Vec<HoldStep>) {
        match self.stage {
            Stage::Releasing { deadline, .. } if at.boottime >= deadline => self.end(false, steps),
            _ => {}
        }
    }

    fn end(&mut self, confirmed: bool, steps: &mut Vec<HoldStep>) {
        self.stage = Stage::Ended;
        self.open = None;
        steps.push(HoldStep::Released { confirmed });
    }
}
