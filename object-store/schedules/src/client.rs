//! A client: a process that runs the machine, with what the engine around the machine remembers.

use std::time::Duration;

use bytes::Bytes;
use rvlf::WriterId;
use rvlf::record::{Hostname, Pid, StoreStamp};

use crate::machine::{
    Acquire, AcquireEnd, AcquireSettings, AcquireStep, Answer, CommitId, Content, Found, Hold,
    HoldStep, Moment, Omission, Request, RequestId, Timing, Writer,
};
use crate::world::{LEASE, Role};

/// Unix time in nanoseconds, for all clients. It stands still: no rule may rest on it.
const UNIX_NS: u64 = 1_700_000_000_000_000_000;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Client {
    pub(crate) stage: Stage,
    /// Acquisitions begun, and those that may still begin.
    pub(crate) locks: u8,
    pub(crate) rounds: u8,
    /// Commits that may still begin.
    pub(crate) commits: u8,
    pub(crate) open_commit: Option<CommitId>,
    /// Logical writes begun, and the bytes of the latest.
    pub(crate) writes: u64,
    pub(crate) bytes: Option<Bytes>,
    /// The latest request of this lock.
    pub(crate) request: Option<RequestId>,
    /// When this process first saw these bytes.
    pub(crate) sights: Vec<(Bytes, Duration)>,
    pub(crate) own_dead: Vec<WriterId>,
    pub(crate) is_paused: bool,
    pub(crate) is_releasing: bool,
    /// The acquisition began before an administrator deleted the object.
    pub(crate) is_before_deletion: bool,
    /// Until when a breaker by force waits for its victim.
    pub(crate) victim_until: Option<Duration>,
    /// The call that has ended, where another call inherits its attempts.
    pub(crate) call: Option<Box<Acquire>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    Idle,
    Acquiring(Box<Acquire>),
    Holding(Box<Hold>),
}

/// What a step of the machine led to.
pub(crate) enum Effect {
    Request(Request),
    Acquired(AcquireEnd),
    Hold(HoldStep),
}

impl Client {
    pub(crate) fn new(role: &Role) -> Client {
        Client {
            stage: Stage::Idle,
            locks: 0,
            rounds: role.rounds,
            commits: role.commits,
            open_commit: None,
            writes: 0,
            bytes: None,
            request: None,
            sights: Vec::new(),
            own_dead: Vec::new(),
            is_paused: false,
            is_releasing: false,
            is_before_deletion: false,
            victim_until: None,
            call: None,
        }
    }

    pub(crate) fn hold(&self) -> Option<&Hold> {
        match &self.stage {
            Stage::Holding(hold) => Some(hold),
            Stage::Idle | Stage::Acquiring(_) => None,
        }
    }

    pub(crate) fn wake_at(&self) -> Option<Duration> {
        match &self.stage {
            Stage::Idle => None,
            Stage::Acquiring(acquire) => acquire.wake_at(),
            Stage::Holding(hold) => hold.wake_at(),
        }
    }

    /// The process has died. What comes later is another one.
    pub(crate) fn crash(&mut self) {
        *self = Client {
            stage: Stage::Idle,
            open_commit: None,
            request: None,
            bytes: None,
            sights: Vec::new(),
            own_dead: Vec::new(),
            is_paused: false,
            is_releasing: false,
            is_before_deletion: false,
            victim_until: None,
            call: None,
            ..self.clone()
        };
    }

    /// Begins an acquisition. A hold that was lost is given up.
    pub(crate) fn begin(
        &mut self,
        settings: AcquireSettings,
        earlier: Option<&Acquire>,
        at: &Moment,
    ) -> Vec<Effect> {
        self.give_up_hold();
        self.rounds -= 1;
        self.locks += 1;
        self.bytes = None;
        self.is_releasing = false;
        self.is_before_deletion = false;
        let settings = AcquireSettings {
            own_dead: self.own_dead.clone(),
            ..settings
        };
        let (mut acquire, request) = Acquire::begin(settings, at);
        if let Some(earlier) = earlier {
            acquire.inherit_attempts(earlier);
        }
        self.stage = Stage::Acquiring(Box::new(acquire));
        vec![Effect::Request(request)]
    }

    pub(crate) fn give_up_hold(&mut self) {
        if let Some(hold) = self.hold() {
            let id = hold.content().record.writer_id();
            self.own_dead.push(id);
            self.stage = Stage::Idle;
        }
    }

    pub(crate) fn woken(&mut self, at: &Moment) -> Vec<Effect> {
        match &mut self.stage {
            Stage::Idle => Vec::new(),
            Stage::Acquiring(acquire) => of_acquire(acquire.woken(at)),
            Stage::Holding(hold) => of_hold(hold.woken(at)),
        }
    }

    pub(crate) fn cancel(&mut self, at: &Moment) -> Vec<Effect> {
        match &mut self.stage {
            Stage::Acquiring(acquire) => of_acquire(acquire.cancel(at)),
            Stage::Idle | Stage::Holding(_) => Vec::new(),
        }
    }

    pub(crate) fn answered(&mut self, at: &Moment, answer: Answer) -> Vec<Effect> {
        match &mut self.stage {
            Stage::Idle => Vec::new(),
            Stage::Acquiring(acquire) => of_acquire(acquire.answered(at, answer)),
            Stage::Holding(hold) => of_hold(hold.answered(at, answer)),
        }
    }

    /// Commits the root that the holder knows, and the number of this commit behind it.
    pub(crate) fn commit(&mut self, at: &Moment, number: u8) -> Vec<Effect> {
        let Stage::Holding(hold) = &mut self.stage else {
            return Vec::new();
        };
        let mut payload = hold.content().payload.to_vec();
        payload.push(number);
        let commit = CommitId(number.into());
        self.open_commit = Some(commit);
        of_hold(hold.commit(at, commit, payload.into()))
    }

    pub(crate) fn give_up(&mut self, at: &Moment) -> Vec<Effect> {
        match (&mut self.stage, self.open_commit) {
            (Stage::Holding(hold), Some(commit)) => of_hold(hold.give_up(at, commit)),
            _ => Vec::new(),
        }
    }

    pub(crate) fn release(&mut self, at: &Moment) -> Vec<Effect> {
        self.is_releasing = true;
        match &mut self.stage {
            Stage::Holding(hold) => of_hold(hold.release(at, Duration::MAX)),
            Stage::Idle | Stage::Acquiring(_) => Vec::new(),
        }
    }

    /// When this process first saw the object: now, if never before.
    pub(crate) fn first_seen(&mut self, found: &Found, at: &Moment) -> Duration {
        let Found::Present(stored) = found else {
            return at.boottime;
        };
        let mut sights = self.sights.iter();
        match sights.find(|(bytes, _)| *bytes == stored.bytes) {
            Some((_, first_seen)) => *first_seen,
            None => {
                self.sights.push((stored.bytes.clone(), at.boottime));
                at.boottime
            }
        }
    }
}

fn of_acquire(step: AcquireStep) -> Vec<Effect> {
    match step {
        AcquireStep::Continue(request) => request.map(Effect::Request).into_iter().collect(),
        AcquireStep::End(end) => vec![Effect::Acquired(end)],
    }
}

fn of_hold(steps: Vec<HoldStep>) -> Vec<Effect> {
    let effect = |step| match step {
        HoldStep::Request(request) => Effect::Request(request),
        other => Effect::Hold(other),
    };
    steps.into_iter().map(effect).collect()
}

pub(crate) fn moment(boottime: Duration, random: u64) -> Moment {
    Moment {
        boottime,
        unix_ns: UNIX_NS,
        // The low bits are the jitter of pauses, of which the search tries none.
        random: random << 10,
    }
}

pub(crate) fn settings(client: u8, lock: u8, omission: Omission) -> AcquireSettings {
    let mut id = [0; 16];
    let [first, second, ..] = &mut id;
    (*first, *second) = (client, lock);
    AcquireSettings {
        timing: Timing::new(LEASE),
        writer: Writer {
            pid: Pid::new(1).expect("1 is a pid"),
            hostname: Hostname::truncated(b"sim"),
            writer_id: WriterId::from(id),
        },
        deadline: Duration::MAX,
        own_dead: Vec::new(),
        both_clocks: false,
        forced: None,
        stale_only: false,
        omission,
    }
}

/// The object of a holder that is not there any more.
pub(crate) fn dead_record() -> Bytes {
    let at = moment(Duration::ZERO, 1);
    let settings = settings(0xdd, 1, Omission::default());
    let (mut acquire, request) = Acquire::begin(settings, &at);
    let Request::Get { request } = request else {
        panic!("an acquisition begins with a look");
    };
    let absent = Answer::Got {
        request,
        answer: Ok(Found::Absent),
        first_seen: at.boottime,
    };
    match acquire.answered(&at, absent) {
        AcquireStep::Continue(Some(Request::Put { bytes, .. })) => bytes,
        step => panic!("a free lock is created, not {step:?}"),
    }
}

pub(crate) fn stamp(bytes: &Bytes) -> Option<StoreStamp> {
    Content::of(bytes)?.record.store_stamp()
}
