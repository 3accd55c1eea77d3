//! Keeps a lock: the part of its task that runs the machine [`Hold`].

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rvlf::WriterId;
use tokio::sync::oneshot;

use super::port::Port;
use super::{Commit, Event, moment};
use crate::error::CommitError;
use crate::loss::LossReason;
use crate::machine::{CommitEnd, CommitId, Hold, HoldStep, Loss, Moment, Request};
use crate::shared::Shared;

pub(super) struct Holding {
    port: Port,
    hold: Hold,
    shared: Arc<Shared>,
    id: WriterId,
    commits: Vec<Waiting>,
    checks: Checks,
    released: Option<oneshot::Sender<bool>>,
}

impl Drop for Holding {
    fn drop(&mut self) {
        // Without a task nothing refreshes the lock, and no callers that wait for its loss would see
        // it. After a release, which ends the task, this changes nothing; after a panic in the code of
        // the register it ends the belief.
        self.port.keepalive.memory().holds.end(self.id);
        self.shared.lose(LossReason::Expired);
    }
}

/// A caller that waits for its commit.
struct Waiting {
    id: CommitId,
    deadline: Duration,
    done: oneshot::Sender<Result<(), CommitError>>,
}

/// The callers of a check. A write answers only those that came before it began.
#[derive(Default)]
struct Checks {
    waiting: Vec<oneshot::Sender<()>>,
    under_way: Vec<oneshot::Sender<()>>,
    /// What was written latest: a write that is repeated is the same one.
    written: Bytes,
}

impl Checks {
    fn sent(&mut self, request: &Request) {
        if let Request::Put { bytes, .. } = request {
            if *bytes != self.written {
                self.written = bytes.clone();
                self.under_way.append(&mut self.waiting);
            }
        }
    }

    fn done(&mut self) {
        for check in mem::take(&mut self.under_way) {
            let _ = check.send(());
        }
    }
}

impl Holding {
    pub(super) fn new(port: Port, hold: Hold, shared: Arc<Shared>, id: WriterId) -> Holding {
        Holding {
            port,
            hold,
            shared,
            id,
            commits: Vec::new(),
            checks: Checks::default(),
            released: None,
        }
    }

    /// Until the lock is released, by its guard or because the guard was dropped.
    pub(super) async fn run(mut self) {
        loop {
            let event = self.port.next(self.wake_at()).await;
            let at = moment();
            let mut steps = match event {
                None => self.woken(&at),
                Some(event) => self.event(event, &at),
            };
            if !self.publish(&at) {
                steps.extend(self.hold.expire(&at));
            }
            for step in steps {
                if let HoldStep::Released { confirmed } = step {
                    self.end(confirmed);
                    return;
                }
                self.take(step);
            }
        }
    }

    fn wake_at(&self) -> Option<Duration> {
        let commits = self.commits.iter().map(|commit| commit.deadline).min();
        self.hold.wake_at().into_iter().chain(commits).min()
    }

    fn woken(&mut self, at: &Moment) -> Vec<HoldStep> {
        let over = self
            .commits
            .iter()
            .filter(|commit| commit.deadline <= at.boottime);
        let over: Vec<_> = over.map(|commit| commit.id).collect();
        let mut steps = Vec::new();
        for id in over {
            steps.extend(self.hold.give_up(at, id));
        }
        steps.extend(self.hold.woken(at));
        steps
    }

    fn event(&mut self, event: Event, at: &Moment) -> Vec<HoldStep> {
        match self.port.answer(event, at) {
            Ok(answer) => self.hold.answered(at, answer),
            Err(Event::Check(done)) => {
                // The caller began its check before it could see a loss that this task has handled since: no
                // write follows that would answer, so it gets its answer from the drop of `done`.
                if self.hold.loss().is_none() {
                    self.checks.waiting.push(done);
                }
                self.hold.check(at)
            }
            Err(Event::Commit(commit)) => self.commit(commit, at),
            Err(Event::GiveUp(id)) => self.hold.give_up(at, id),
            Err(Event::Release(deadline, done)) => {
                self.released = Some(done);
                self.release(deadline, at)
            }
            Err(Event::Dropped) => self.release(Duration::MAX, at),
            Err(Event::Cancel | Event::Got(..) | Event::Tested(_) | Event::Written(..)) => {
                Vec::new()
            }
        }
    }

    fn commit(&mut self, commit: Commit, at: &Moment) -> Vec<HoldStep> {
        let Commit {
            id,
            payload,
            deadline,
            done,
        } = commit;
        self.commits.push(Waiting { id, deadline, done });
        self.hold.commit(at, id, payload)
    }

    /// Whatever of this hold is in the store from here on, or lands later, is of a dead one.
    fn release(&mut self, deadline: Duration, at: &Moment) -> Vec<HoldStep> {
        self.port.keepalive.memory().holds.end(self.id);
        self.hold.release(at, deadline)
    }

    /// Shows the guard what is known now. `false` if the guard's belief has ended meanwhile, by the clock
    /// and for good, and the machine does not know it yet.
    fn publish(&self, at: &Moment) -> bool {
        self.shared.set_content(self.hold.content());
        let until = match self.hold.believes(at.boottime) {
            true => self.hold.expires_at(),
            false => Duration::ZERO,
        };
        self.shared.believe_until(until)
    }

    fn take(&mut self, step: HoldStep) {
        match step {
            HoldStep::Request(request) => {
                self.checks.sent(&request);
                self.port.send(request);
            }
            HoldStep::Checked => self.checks.done(),
            HoldStep::Committed { commit, end } => self.committed(commit, end),
            HoldStep::Lost(loss) => self.lost(&loss),
            // `run` ends with it.
            HoldStep::Released { .. } => {}
        }
    }

    fn committed(&mut self, id: CommitId, end: CommitEnd) {
        let Some(at) = self.commits.iter().position(|commit| commit.id == id) else {
            return;
        };
        let done = self.commits.swap_remove(at).done;
        let name = self.shared.name.clone();
        let _ = done.send(match end {
            CommitEnd::Done => Ok(()),
            CommitEnd::Unsettled => Err(CommitError::Unsettled { name }),
            CommitEnd::Out { may_be_in } => {
                let reason = self
                    .hold
                    .loss()
                    .map_or(LossReason::Released, LossReason::from);
                let lost = self.shared.lost_by(reason);
                Err(CommitError::Out { lost, may_be_in })
            }
        });
    }

    fn lost(&mut self, loss: &Loss) {
        self.port.keepalive.memory().holds.end(self.id);
        self.shared.lose(loss.into());
        // Those who wait for a check see the loss.
        self.checks = Checks::default();
    }

    fn end(&mut self, confirmed: bool) {
        self.shared.lose(LossReason::Released);
        if let Some(released) = self.released.take() {
            let _ = released.send(confirmed);
        }
    }
}
