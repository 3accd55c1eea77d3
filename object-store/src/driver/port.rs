//! [`Port`]: what a task sends and what it receives.

use std::sync::Arc;
use std::time::Duration;

use rvlf::host;
use tokio::sync::mpsc;

use super::{Event, Events};
use crate::keepalive::Keepalive;
use crate::machine::{Answer, ErrorClass, Moment, Request};
use crate::register::{Register, RegisterError, caught};
use crate::sights::Watch;
use crate::sync::time::timeout;

/// The timers of the runtime stand still while the machine is suspended, the clock of the lock does not:
/// after a suspension a lost lock is noticed within this time.
pub(super) const LONGEST_SLEEP: Duration = Duration::from_secs(1);

pub(super) struct Port {
    pub(super) keepalive: &'static Keepalive,
    pub(super) register: Arc<dyn Register>,
    /// The latest error of the store, for messages.
    pub(super) latest_error: Option<RegisterError>,
    watch: Watch,
    sender: Events,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Port {
    pub(super) fn new(keepalive: &'static Keepalive, register: Arc<dyn Register>) -> Port {
        let (sender, events) = mpsc::unbounded_channel();
        Port {
            keepalive,
            register,
            latest_error: None,
            watch: Watch::default(),
            sender,
            events,
        }
    }

    pub(super) fn sender(&self) -> Events {
        self.sender.clone()
    }

    /// Sends a request. It is not cancelled when the machine stops waiting for it, or the lock ends: a
    /// write that is cut off may be done all the same, and a late answer proves what it says.
    pub(super) fn send(&self, request: Request) {
        let events = self.sender();
        match request {
            Request::Get { request } => {
                let get = caught(self.register.get());
                self.keepalive.handle().spawn(async move {
                    let _ = events.send(Event::Got(request, get.await));
                });
            }
            Request::Put {
                request,
                bytes,
                condition,
                ..
            } => {
                let put = caught(self.register.put_if(bytes, condition));
                self.keepalive.handle().spawn(async move {
                    let _ = events.send(Event::Written(request, put.await));
                });
            }
        }
    }

    /// The next event. `None` if there is none until the time `until`, by the clock that counts
    /// suspension.
    pub(super) async fn next(&mut self, until: Option<Duration>) -> Option<Event> {
        let Some(until) = until else {
            return self.events.recv().await;
        };
        loop {
            let left = until.saturating_sub(host::since_boot());
            // An answer that is there counts, although its time is over. One that would come while a timer
            // of zero runs does not.
            if left.is_zero() {
                return self.events.try_recv().ok();
            }
            if let Ok(event) = timeout(left.min(LONGEST_SLEEP), self.events.recv()).await {
                return event;
            }
        }
    }

    /// The event as an answer for the machine, if it is one.
    pub(super) fn answer(&mut self, event: Event, at: &Moment) -> Result<Answer, Event> {
        match event {
            Event::Got(request, answer) => {
                let first_seen = match &answer {
                    Ok(found) => self.keepalive.see(&mut self.watch, found, at.boottime),
                    Err(_) => at.boottime,
                };
                Ok(Answer::Got {
                    request,
                    answer: self.class_of(answer),
                    first_seen,
                })
            }
            Event::Written(request, answer) => Ok(Answer::Written {
                request,
                answer: self.class_of(answer),
            }),
            other => Err(other),
        }
    }

    fn class_of<T>(&mut self, answer: Result<T, RegisterError>) -> Result<T, ErrorClass> {
        answer.map_err(|error| {
            let class = error.class;
            self.latest_error = Some(error);
            class
        })
    }
}
