//! Acquires a lock: the part of its task that runs the machine [`Acquire`].

use std::sync::Arc;
use std::time::Duration;

use rvlf::host;
use rvlf::{CancelToken, WriterId};
use tokio::sync::oneshot;

use super::holding::Holding;
use super::port::Port;
use super::{CANCEL_POLL, Event, Events, moment};
use crate::error::{AcquireError, StoreError};
use crate::keepalive::Keepalive;
use crate::lock::StoreLock;
use crate::machine::{
    Acquire, AcquireEnd, AcquireSettings, AcquireStep, ErrorClass, Hold, Omission, Refusal, Timing,
    Writer,
};
use crate::register::Register;
use crate::report::LockReport;

/// How to acquire a lock.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) timing: Timing,
    pub(crate) timeout: Duration,
    pub(crate) both_clocks: bool,
    pub(crate) forced: Option<WriterId>,
    pub(crate) stale_only: bool,
    pub(crate) cancel: Option<CancelToken>,
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
    };
    keepalive.handle().spawn(acquiring.run(order));
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
}

impl Acquiring {
    async fn run(mut self, order: Order) {
        let at = moment();
        let settings = AcquireSettings {
            timing: order.timing,
            writer: self.writer,
            deadline: at.boottime.saturating_add(order.timeout),
            own_dead: self.port.keepalive.memory().holds.dead(),
            both_clocks: order.both_clocks,
            forced: order.forced,
            stale_only: order.stale_only,
            omission: Omission::default(),
        };
        let (mut acquire, request) = Acquire::begin(settings, &at);
        self.port.send(request);
        let end = self.drive(&mut acquire).await;
        match end {
            AcquireEnd::Held(hold) => self.hold(*hold, &acquire, order.timing).await,
            other => {
                // A write of this call that lands later is nobody's.
                self.port
                    .keepalive
                    .memory()
                    .holds
                    .end(self.writer.writer_id);
                let outcome = self.failed(other);
                self.reply(outcome);
            }
        }
    }

    async fn drive(&mut self, acquire: &mut Acquire) -> AcquireEnd {
        loop {
            let event = self.next(acquire.wake_at()).await;
            let at = moment();
            let step = match event {
                None => acquire.woken(&at),
                Some(event) => match self.port.answer(event, &at) {
                    Ok(answer) => acquire.answered(&at, answer),
                    Err(_) => {
                        self.cancelled();
                        acquire.cancel(&at)
                    }
                },
            };
            match step {
                AcquireStep::Continue(request) => {
                    if let Some(request) = request {
                        self.port.send(request);
                    }
                }
                AcquireStep::End(end) => return end,
            }
        }
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

    /// The caller hears of it at once. The task goes on until an open write is settled.
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
        self.port.keepalive.memory().holds.begin(id);
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
