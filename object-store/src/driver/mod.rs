//! Runs the machine: sends its requests, hands it the answers, wakes it, and reports the outcome to the
//! callers. One task for each lock, on the thread of [`Keepalive`](crate::keepalive::Keepalive).

mod acquiring;
mod breaking;
mod clock;
mod holding;
mod looking;
mod port;
mod testing;

use std::time::Duration;

use bytes::Bytes;
use rvlf::host;
use tokio::sync::{mpsc, oneshot};

use crate::error::{CommitError, StoreError};
use crate::keepalive::Keepalive;
use crate::machine::{CommitId, Found, Moment, Put, RequestId};
use crate::register::RegisterError;
use crate::self_test::SelfTestError;

pub(crate) use acquiring::{Order, acquire};
pub(crate) use breaking::{Victim, break_forced, break_stale};
pub(crate) use looking::{inspect, read, wait_until_free};
pub(crate) use testing::SelfTest;

/// How often a cancel token is looked at.
const CANCEL_POLL: Duration = Duration::from_millis(50);

/// What a task waits for.
pub(crate) enum Event {
    /// The answer of a GET.
    Got(RequestId, Result<Found, RegisterError>),
    /// The answer of a conditional write.
    Written(RequestId, Result<Put, RegisterError>),
    /// The end of the self-test.
    Tested(Result<(), SelfTestError>),
    /// The future of the acquisition was dropped.
    Cancel,
    /// To refresh now, and to report when the store has confirmed it.
    Check(oneshot::Sender<()>),
    /// To commit.
    Commit(Commit),
    /// The future of the commit was dropped.
    GiveUp(CommitId),
    /// To release until the deadline, and to report whether the store has confirmed it.
    Release(Duration, oneshot::Sender<bool>),
    /// The guard was dropped.
    Dropped,
}

pub(crate) struct Commit {
    pub(crate) id: CommitId,
    pub(crate) payload: Bytes,
    /// Until when the caller waits.
    pub(crate) deadline: Duration,
    pub(crate) done: oneshot::Sender<Result<(), CommitError>>,
}

pub(crate) type Events = mpsc::UnboundedSender<Event>;

/// Runs `work` on the thread of this library, whatever executor awaits it. It goes on if the future is
/// dropped.
async fn on_keepalive<T, E, F>(
    name: String,
    work: impl FnOnce(&'static Keepalive) -> F,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    let keepalive = match Keepalive::of_this_process() {
        Ok(keepalive) => keepalive,
        Err(source) => return Err(StoreError::Host { name, source }.into()),
    };
    let done = keepalive.handle().spawn(work(keepalive)).await;
    // Without a result the work has panicked, in the code of the register.
    done.unwrap_or_else(|_| Err(StoreError::NoAnswer { name, source: None }.into()))
}

/// The moment of a step that is made now.
pub(crate) fn moment() -> Moment {
    Moment {
        boottime: host::since_boot(),
        unix_ns: host::unix_ns(),
        random: random(),
    }
}

/// Randomness for pauses and nonces. Without that of the system, the time: the writer id and the rising
/// timestamp make records unequal, too.
fn random() -> u64 {
    match host::random() {
        Ok([a, b, c, d, e, f, g, h, ..]) => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        Err(_) => host::unix_ns().wrapping_mul(0x9e37_79b9_7f4a_7c15),
    }
}
