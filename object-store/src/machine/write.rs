//! One logical write, until its outcome is known: the settle rule, section 4 of
//! `spec/object-store.md`.
//!
//! The answer of a conditional write proves something only if it is "stored". A refusal may be about
//! the write's own first copy (a client or a proxy below sent it twice), or about nothing at all (S3
//! answers 409 to two creates of which neither is in); a timeout says nothing, and the write may be
//! done later. So anything but "stored" is followed by a GET, and what the GET shows decides: the
//! write's bytes, done; the bytes that it replaces, open, and it is written again; other bytes, out.

use std::time::Duration;

use bytes::Bytes;

use super::object::{Condition, ErrorClass, Found, Put, Version};
use super::pause::Pause;
use super::rules::{Omission, Rule};
use super::step::{Answer, Moment, Purpose, Request, RequestId, Requests};
use super::timing::Timing;

/// What to write, over what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Draft {
    pub(super) purpose: Purpose,
    pub(super) bytes: Bytes,
    /// The bytes that the write replaces; `None` for no object.
    pub(super) base: Option<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Write {
    draft: Draft,
    began: Duration,
    attempts: Vec<RequestId>,
    /// Whether the latest attempt was refused.
    refused: bool,
    waiting: Waiting,
    pause: Pause,
    timing: Timing,
    omission: Omission,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Waiting {
    ForPut { request: RequestId, until: Duration },
    ForGet { request: RequestId, until: Duration },
    ToGet { at: Duration },
    ToPut { at: Duration, condition: Condition },
}

/// What is known of a write after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing yet. There may be a request to send.
    Open(Option<Request>),
    /// The write is in, and this is the object's version.
    Done(Version),
    /// The store has something else, by this answer of a GET.
    Out(Found),
    /// The store reported an error that time does not mend. The write stays open.
    Failed(ErrorClass),
    /// Only with [`Rule::SettleByWriting`] left out.
    NotIn,
}

impl Write {
    /// Begins the write. Its age counts from here, before the first request is sent.
    pub(super) fn begin(
        draft: Draft,
        condition: Condition,
        timing: Timing,
        omission: Omission,
        at: &Moment,
        requests: &mut Requests,
    ) -> (Write, Request) {
        let mut write = Write {
            draft,
            began: at.boottime,
            attempts: Vec::new(),
            refused: false,
            waiting: Waiting::ToGet { at: at.boottime },
            pause: Pause::up_to(timing.longest_pause()),
            timing,
            omission,
        };
        let request = write.put(condition, at, requests);
        (write, request)
    }

    /// When the first attempt began. What the holder believes is counted from here.
    pub(super) fn began(&self) -> Duration {
        self.began
    }

    pub(super) fn wake_at(&self) -> Duration {
        match self.waiting {
            Waiting::ForPut { until, .. } | Waiting::ForGet { until, .. } => until,
            Waiting::ToGet { at } | Waiting::ToPut { at, .. } => at,
        }
    }

    /// Time has passed.
    pub(super) fn woken(&mut self, at: &Moment, requests: &mut Requests) -> Outcome {
        if at.boottime < self.wake_at() {
            return Outcome::Open(None);
        }
        Outcome::Open(Some(match self.waiting.clone() {
            Waiting::ToPut { condition, .. } => self.put(condition, at, requests),
            Waiting::ForPut { .. } | Waiting::ForGet { .. } | Waiting::ToGet { .. } => {
                self.get(at, requests)
            }
        }))
    }

    /// The store has answered, this write or an earlier one.
    pub(super) fn answered(
        &mut self,
        at: &Moment,
        answer: Answer,
        requests: &mut Requests,
    ) -> Outcome {
        match answer {
            Answer::Written {
                request,
                answer: Ok(Put::Stored(version)),
            } if self.attempts.contains(&request) => {
                self.confirmed(at);
                Outcome::Done(version)
            }
            Answer::Written { request, answer } => match self.waiting {
                Waiting::ForPut { request: sent, .. } if sent == request => {
                    self.not_stored(at, answer, requests)
                }
                _ => Outcome::Open(None),
            },
            Answer::Got {
                request, answer, ..
            } => match self.waiting {
                Waiting::ForGet { request: sent, .. } if sent == request => self.got(at, answer),
                _ => Outcome::Open(None),
            },
        }
    }

    fn not_stored(
        &mut self,
        at: &Moment,
        answer: Result<Put, ErrorClass>,
        requests: &mut Requests,
    ) -> Outcome {
        match answer {
            Ok(_) => {
                self.refused = true;
                Outcome::Open(Some(self.get(at, requests)))
            }
            Err(class) => self.failed(at, class),
        }
    }

    /// A store that hides absent keys denies the GET of one: only the create can show whether it is so.
    fn got(&mut self, at: &Moment, answer: Result<Found, ErrorClass>) -> Outcome {
        let found = match answer {
            Ok(found) => found,
            Err(ErrorClass::Denied) if self.draft.base.is_none() && !self.refused => Found::Absent,
            Err(class) => return self.failed(at, class),
        };
        let (bytes, condition) = match &found {
            Found::Absent => (None, Condition::Absent),
            Found::Present(stored) if stored.bytes == self.draft.bytes => {
                let version = stored.version.clone();
                self.confirmed(at);
                return Outcome::Done(version);
            }
            Found::Present(stored) => (
                Some(&stored.bytes),
                Condition::Version(stored.version.clone()),
            ),
        };
        if bytes != self.draft.base.as_ref() {
            return Outcome::Out(found);
        }
        if self.omission.is(Rule::SettleByWriting) {
            return Outcome::NotIn;
        }
        // The version of this answer, not the first one: an administrator's copy of the object changes
        // the version under equal bytes, and the write would be refused until the lease is over.
        self.waiting = Waiting::ToPut {
            at: at.boottime + self.pause.next(at.random),
            condition,
        };
        Outcome::Open(None)
    }

    /// Nothing was learnt: the write may be in, may come later, or never.
    fn failed(&mut self, at: &Moment, class: ErrorClass) -> Outcome {
        self.waiting = Waiting::ToGet {
            at: at.boottime + self.pause.next(at.random),
        };
        match class {
            ErrorClass::Unknown => Outcome::Open(None),
            ErrorClass::Denied | ErrorClass::Permanent => Outcome::Failed(class),
        }
    }

    fn confirmed(&mut self, at: &Moment) {
        if self.omission.is(Rule::BeliefFromBeginning) {
            self.began = at.boottime;
        }
    }

    fn put(&mut self, condition: Condition, at: &Moment, requests: &mut Requests) -> Request {
        let request = requests.next();
        self.attempts.push(request);
        self.refused = false;
        self.waiting = Waiting::ForPut {
            request,
            until: at.boottime + self.timing.request_timeout(),
        };
        Request::Put {
            request,
            purpose: self.draft.purpose,
            bytes: self.draft.bytes.clone(),
            condition,
        }
    }

    fn get(&mut self, at: &Moment, requests: &mut Requests) -> Request {
        let request = requests.next();
        self.waiting = Waiting::ForGet {
            request,
            until: at.boottime + self.timing.request_timeout(),
        };
        Request::Get { request }
    }
}
