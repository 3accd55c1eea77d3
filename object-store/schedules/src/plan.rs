//! A schedule that is written down as operations, each of which keeps its meaning when another one is
//! added or removed before it.

use std::slice::Iter;

use crate::chooser::Chooser;
use crate::step::Step;

/// What is to happen next. A client is named by its place in the world, and a request by its place among
/// those to which this may happen, both modulo their number. What is not possible is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Operation {
    /// The client goes on for so many steps: its timers, its requests, and the answers to them.
    Run(u8, u8),
    /// The client begins to acquire.
    Acquire(u8),
    /// The client begins a commit.
    Commit(u8),
    /// The caller of a commit waits no longer.
    GiveUp(u8),
    /// The caller of an acquisition waits no longer.
    Cancel(u8),
    /// The client begins to release.
    Release(u8),
    /// The process ends without a release.
    Crash(u8),
    /// The process does nothing, and its clock runs.
    Pause(u8),
    /// The pause ends.
    Resume(u8),
    /// So many ticks pass, until something is due.
    Wait(u8),
    /// The store executes a request, which may have been sent long ago.
    Execute(u8),
    /// An answer arrives, which may have been sent long ago.
    Answer(u8),
    /// A request or its answer is late, or lost if it is never served.
    Delay(u8),
    /// The store refuses a write without a reason.
    Refuse(u8),
    /// The client learns that a request failed, which may be executed all the same.
    Fail(u8),
    /// A read shows an earlier state.
    ReadStale(u8),
    /// An administrator deletes the object.
    Delete,
}

/// Follows a plan. After its end nothing goes wrong any more: the first common step is taken.
pub(crate) struct Plan<'p> {
    operations: Iter<'p, Operation>,
    clients: u8,
    current: Option<(Operation, u8)>,
}

impl Plan<'_> {
    pub(crate) fn new(operations: &[Operation], clients: usize) -> Plan<'_> {
        Plan {
            operations: operations.iter(),
            clients: u8::try_from(clients.max(1)).expect("worlds are small"),
            current: None,
        }
    }
}

impl Chooser for Plan<'_> {
    fn choose(&mut self, steps: &[Step]) -> Option<Step> {
        loop {
            if let Some((operation, left @ 1..)) = self.current {
                let step = operation.step(steps, self.clients);
                self.current = step.map(|_| (operation, left - 1));
                if step.is_some() {
                    return step;
                }
            }
            let Some(next) = self.operations.next() else {
                return steps.iter().find(|step| !step.is_rare()).copied();
            };
            self.current = Some((*next, next.times()));
        }
    }
}

impl Operation {
    fn times(self) -> u8 {
        match self {
            Operation::Run(_, times) | Operation::Wait(times) => times,
            _ => 1,
        }
    }

    /// The step by which it happens, if it is possible.
    fn step(self, steps: &[Step], clients: u8) -> Option<Step> {
        let matching = || steps.iter().filter(|step| self.matches(step, clients));
        let place = match self {
            Operation::Execute(request)
            | Operation::Answer(request)
            | Operation::Delay(request)
            | Operation::Refuse(request)
            | Operation::Fail(request)
            | Operation::ReadStale(request) => {
                usize::from(request).checked_rem(matching().count())?
            }
            _ => 0,
        };
        matching().nth(place).copied()
    }

    fn matches(self, step: &Step, clients: u8) -> bool {
        let is_its = |client: u8, other: u8| client % clients == other;
        match (self, *step) {
            (
                Operation::Run(client, _),
                Step::Wake(other) | Step::Land(other, _) | Step::Deliver(other, _),
            )
            | (Operation::Acquire(client), Step::Begin(other))
            | (Operation::Commit(client), Step::Commit(other))
            | (Operation::GiveUp(client), Step::GiveUp(other))
            | (Operation::Cancel(client), Step::Cancel(other))
            | (Operation::Release(client), Step::Release(other))
            | (Operation::Crash(client), Step::Crash(other))
            | (Operation::Pause(client), Step::Pause(other))
            | (Operation::Resume(client), Step::Resume(other)) => is_its(client, other),
            (Operation::Wait(_), Step::Tick)
            | (Operation::Execute(_), Step::Land(..))
            | (Operation::Answer(_), Step::Deliver(..))
            | (Operation::Delay(_), Step::Delay(_))
            | (Operation::Refuse(_), Step::Refuse(_))
            | (Operation::Fail(_), Step::Fail(_))
            | (Operation::ReadStale(_), Step::ReadStale(..))
            | (Operation::Delete, Step::Delete) => true,
            _ => false,
        }
    }
}
