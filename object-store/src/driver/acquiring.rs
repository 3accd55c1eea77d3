//! Acquires a lock: the part of its task that runs the machine [`Acquire`].

use std::sync::Arc;
use std::time::Duration;

use rvlf::host;
use rvlf::{CancelToken, WriterId};
use tokio::sync::oneshot;

use super::holding::Holding;
use super::port::Port;
use super::testing::{self, SelfTest, Suspicion};
use super::{CANCEL_POLL, Event, Events, clock, moment};
use crate::error::{AcquireError, StoreError};
use crate::keepalive::Keepalive;
use crate::lock::StoreLock;
use crate::machine::{
    Acquire, AcquireEnd, AcquireSettings, AcquireStep, Answer, ErrorClass, Hold, Omission, Refusal,
    Timing, Writer,
};
use crate::register::Register;
use crate::report::LockReport;
use crate::self_test::SelfTestError;

/// How to acquire a lock.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) timing: Timing,
    pub(crate) timeout: Duration,
    pub(crate) both_clocks: bool,
    pub(crate) forced: Option<WriterId>,
    pub(crate) stale_only: bool,
    pub(crate) cancel: Option<CancelToken>,
    /// `None`: the server is not tested.
    pub(crate) self_test: Option<SelfTest>,
}

type Outcome = Result<Option<StoreLock>, AcquireError>;

/// Acquires the lock. `None` if only a stale one was asked for, and there is none.
///
/// If the future is dropped, a write that is open is settled by the task, which releases what comes of it.
pub(crate) async fn acquire(register: Arc<dyn Register>, order: Order) -> Outcome {
    let name = register.name();
    let host_error = |source| StoreError::Host {
        name: name.clone(),
        source,
    };
    let keepalive = Keepalive::of_this_process().map_err(host_error)?;
    let writer = Writer {
        pid: keepalive.process().pid(),
        hostname: host::hostname(),
        writer_id: WriterId::from_random(host::random().map_err(host_error)?),
    };
    let port = Port::new(keepalive, register);
    let mut dropped = CancelOnDrop {
        keepalive,
        events: Some(port.sender()),
    };
    let (reply, answer) = oneshot::channel();
    let acquiring = Acquiring {
        port,
        cancel: order.cancel.clone(),
        reply: Some(reply),
        writer,
        self_test: order.self_test.clone(),
        suspicion: Suspicion::new(!order.stale_only),
        waits: None,
    };
    let task = keepalive.begin_task();
    keepalive.handle().spawn(async move {
        let _task = task;
        acquiring.run(order).await;
    });
    let answer = answer.await;
    dropped.events = None;
    // Without an answer the task has panicked, in the code of the register.
    answer.unwrap_or_else(|_| Err(StoreError::NoAnswer { name, source: None }.into()))
}

/// Cancels the acquisition if its future is dropped before it has ended.
struct CancelOnDrop {
    keepalive: &'static Keepalive,
    events: Option<Events>,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        // In a forked child the task is the parent's.
        if let Some(events) = self.events.take() {
            if self.keepalive.is_of_this_process() {
                let _ = events.send(Event::Cancel);
            }
        }
    }
}

struct Acquiring {
    port: Port,
    cancel: Option<CancelToken>,
    /// `None` after the caller has got an answer, or has left.
    reply: Option<oneshot::Sender<Outcome>>,
    writer: Writer,
    /// The self-test, until it is made: once in an acquisition at most.
    self_test: Option<SelfTest>,
    suspicion: Suspicion,
    /// The answer that waits for the end of the self-test.
    waits: Option<Answer>,
}

/// How an acquisition ends.
enum End {
    Machine(AcquireEnd),
    /// The server is not suitable, or the self-test has failed.
    Test(SelfTestError),
}

impl Acquiring {
    async fn run(mut self, order: Order) {
        self.begin_hold(order.forced.is_some());
        let deadline = moment().boottime.saturating_add(order.timeout);
        let (keepalive, register) = (self.port.keepalive, self.port.register.clone());
        // The first look alone needs the clocks: before a record that is watched is old by them, its lease is over.
        let both_clocks = order.both_clocks && clock::may_decide(keepalive, register, &order).await;
        let at = moment();
        let settings = AcquireSettings {
            timing: order.timing,
            writer: self.writer,
            deadline,
            own_dead: self.port.keepalive.memory().holds.dead(),
            both_clocks,
            forced: order.forced,
            stale_only: order.stale_only,
            omission: Omission::default(),
        };
        let (mut acquire, request) = Acquire::begin(settings, &at);
        self.port.send(request);
        let end = self.drive(&mut acquire).await;
        let outcome = match end {
            End::Machine(AcquireEnd::Held(hold)) => {
                return self.hold(*hold, &acquire, order.timing).await;
            }
            End::Machine(other) => self.failed(other),
            End::Test(error) => Err(testing::failure(self.port.register.name(), error)),
        };
        // A write of this call that lands later belongs to no holder.
        self.port
            .keepalive
            .memory()
            .holds
            .end(self.writer.writer_id);
        self.reply(outcome);
    }

    /// From its first write on, the record in the store may be this call's: a look of this process must not
    /// report another holder.
    fn begin_hold(&self, is_break: bool) {
        let (mut memory, id) = (self.port.keepalive.memory(), self.writer.writer_id);
        if is_break {
            memory.holds.begin_break(id);
        }
        memory.holds.begin(id);
    }

    async fn drive(&mut self, acquire: &mut Acquire) -> End {
        loop {
            // The machine is not woken during the self-test: it would look again.
            let until = acquire.wake_at().filter(|_| self.waits.is_none());
            let event = self.next(until).await;
            let at = moment();
            let step = match event {
                None => acquire.woken(&at),
                Some(Event::Tested(Err(error))) => return End::Test(error),
                Some(Event::Tested(Ok(()))) => match self.waits.take() {
                    Some(answer) => acquire.answered(&at, answer),
                    None => continue,
                },
                Some(event) => match self.port.answer(event, &at) {
                    Ok(answer) if self.suspicion.is_raised_by(&answer) && self.test() => {
                        self.waits = Some(answer);
                        continue;
                    }
                    Ok(answer) => acquire.answered(&at, answer),
                    Err(_) => {
                        self.cancelled();
                        acquire.cancel(&at)
                    }
                },
            };
            match step {
                AcquireStep::Continue(Some(request)) => {
                    self.suspicion.sent(&request);
                    self.port.send(request);
                }
                AcquireStep::Continue(None) => {}
                AcquireStep::End(end) => return End::Machine(end),
            }
        }
    }

    /// Starts the self-test, if it was not made yet.
    fn test(&mut self) -> bool {
        let Some(test) = self.self_test.take() else {
            return false;
        };
        let events = self.port.sender();
        self.port.keepalive.handle().spawn(async move {
            let _ = events.send(Event::Tested(test.run().await));
        });
        true
    }

    /// The next event, which may be that the token of the caller was cancelled.
    async fn next(&mut self, until: Option<Duration>) -> Option<Event> {
        loop {
            let Some(token) = &self.cancel else {
                return self.port.next(until).await;
            };
            if token.is_cancelled() {
                return Some(Event::Cancel);
            }
            let poll = host::since_boot() + CANCEL_POLL;
            let slice = until.map_or(poll, |until| until.min(poll));
            let event = self.port.next(Some(slice)).await;
            if event.is_some() || until.is_some_and(|until| host::since_boot() >= until) {
                return event;
            }
        }
    }

    /// The caller gets its error at once. The task goes on until an open write is settled.
    fn cancelled(&mut self) {
        self.cancel = None;
        let name = self.port.register.name();
        self.reply(Err(AcquireError::Cancelled { name }));
    }

    fn reply(&mut self, outcome: Outcome) {
        if let Some(reply) = self.reply.take() {
            // A lock that its caller does not want is dropped here, and so released.
            drop(reply.send(outcome));
        }
    }

    async fn hold(mut self, hold: Hold, acquire: &Acquire, timing: Timing) {
        let id = self.writer.writer_id;
        let reclaimed = acquire.reclaimed().copied();
        let lock = StoreLock::new(
            self.port.register.name(),
            self.port.keepalive,
            self.port.sender(),
            &hold,
            timing,
            reclaimed,
        );
        let shared = lock.shared();
        match self.reply.take() {
            Some(reply) => drop(reply.send(Ok(Some(lock)))),
            None => drop(lock),
        }
        Holding::new(self.port, hold, shared, id).run().await;
    }

    fn failed(&mut self, end: AcquireEnd) -> Outcome {
        let name = self.port.register.name();
        let source = self.port.latest_error.take();
        Err(match end {
            AcquireEnd::Free | AcquireEnd::Held(_) => return Ok(None),
            AcquireEnd::Refused(refusal) => self.refused(name, refusal),
            AcquireEnd::Unsettled => AcquireError::Unsettled { name, source },
            AcquireEnd::NoAnswer | AcquireEnd::Failed(ErrorClass::Unknown) => {
                StoreError::NoAnswer { name, source }.into()
            }
            AcquireEnd::Failed(ErrorClass::Denied) => StoreError::Denied { name, source }.into(),
            AcquireEnd::Failed(ErrorClass::Permanent) => {
                StoreError::Permanent { name, source }.into()
            }
        })
    }

    fn refused(&self, name: String, refusal: Refusal) -> AcquireError {
        let holder = Box::new(LockReport::new(name, refusal, self.port.keepalive));
        match holder.verdict().stale_in() {
            Some(_) => AcquireError::Held { holder },
            None => AcquireError::NotALock { found: holder },
        }
    }
}
