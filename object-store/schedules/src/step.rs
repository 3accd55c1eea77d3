//! One step of a schedule.

/// A client is named by its place in the world, a request by its place among those in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Every clock moves on.
    Tick,
    /// A client begins to acquire.
    Begin(u8),
    /// A client's timer is due.
    Wake(u8),
    Commit(u8),
    GiveUp(u8),
    Cancel(u8),
    Release(u8),
    Resume(u8),
    /// The store executes a request of a client.
    Land(u8, u8),
    /// The answer reaches the client.
    Deliver(u8, u8),
    /// The request is not served in this tick, nor ever if nothing serves it.
    Delay(u8),
    /// The store refuses a write without a reason, or because of its own first copy.
    Refuse(u8),
    /// The client learns that the request failed; it may be executed, or have been.
    Fail(u8),
    /// A read shows the object as it was: how many states ago.
    ReadStale(u8, u8),
    /// An administrator deletes the object.
    Delete,
    Crash(u8),
    /// A client does nothing until it is resumed. Its clock runs.
    Pause(u8),
}

impl Step {
    /// Whether random schedules take this step rarely. A release and the end of a pause are no mishaps, but
    /// would come before anything else can happen.
    pub(crate) fn is_rare(&self) -> bool {
        matches!(
            self,
            Step::Release(_)
                | Step::Resume(_)
                | Step::GiveUp(_)
                | Step::Cancel(_)
                | Step::Delay(_)
                | Step::Refuse(_)
                | Step::Fail(_)
                | Step::ReadStale(..)
                | Step::Delete
                | Step::Crash(_)
                | Step::Pause(_)
        )
    }

    /// The client that goes on by this step.
    pub(crate) fn process(&self) -> Option<usize> {
        match self {
            Step::Begin(client)
            | Step::Wake(client)
            | Step::Commit(client)
            | Step::Land(client, _)
            | Step::Deliver(client, _) => Some((*client).into()),
            _ => None,
        }
    }
}
