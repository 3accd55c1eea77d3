//! A held lock in an object store, and the events that its holder waits for.
//!
//! A thread of `rvlf-object-store` refreshes the lock. Here the time is watched: the command must have ended
//! when other processes may take the lock over. With a lease L the belief to hold it ends at D = 2L/3 after
//! the last confirmed refresh: the command gets SIGTERM at D - L/6, and SIGKILL at D.

use std::io;
use std::time::{Duration, Instant};

use rvlf::{Escaped, host};
use rvlf_object_store::{LossReason, StoreLock, block_on};

use crate::events::{Event, EventSource, Events, Sender};
use crate::loss::{GRACE, Loss};
use crate::thread;

pub struct Holding {
    lock: StoreLock,
    events: Events,
    /// When the belief ends, as far as it is known: the time since boot, which runs on while the machine is
    /// suspended. The clock of an [`Instant`] stands still: after a suspension the command would write on.
    expires_at: Duration,
    /// Whether the failing refreshes have been reported.
    is_failing: bool,
    has_lost: bool,
}

impl Holding {
    /// # Errors
    ///
    /// The thread that waits for a loss cannot be started.
    pub fn new(lock: StoreLock, events: Events) -> io::Result<Holding> {
        let (lost, sender) = (lock.lost(), events.sender());
        thread::spawn("rvlf-loss", move || report_loss(&block_on(lost), &sender))?;
        Ok(Holding {
            expires_at: host::since_boot() + lock.expires_in(),
            lock,
            events,
            is_failing: false,
            has_lost: false,
        })
    }

    pub fn lock(&self) -> &StoreLock {
        &self.lock
    }

    /// Whether the command received a signal to end, or the lock is lost.
    pub fn has_failed(&self) -> bool {
        self.is_failing || self.has_lost
    }

    /// The lock, and the events.
    pub fn into_parts(self) -> (StoreLock, Events) {
        (self.lock, self.events)
    }

    /// Updates what is known of the end of the belief. A lock that is lost has none left, and keeps the end
    /// that was known.
    fn watch(&mut self) {
        let left = self.lock.expires_in();
        if !left.is_zero() {
            self.expires_at = host::since_boot() + left;
        }
    }

    /// The moment at which so much of the belief is left, or now if less is left.
    fn with_left(&self, left: Duration) -> Instant {
        let moment = self.expires_at.saturating_sub(left);
        Instant::now() + moment.saturating_sub(host::since_boot())
    }

    /// What is left of the belief when SIGTERM is due.
    fn warning(&self) -> Duration {
        self.lock.lease() / 6
    }

    fn failing(&self) -> Event {
        let name = Escaped::path(self.lock.name().as_ref()).to_string();
        let left = self.expires_at.saturating_sub(host::since_boot());
        let confirmed = (self.lock.lease() * 2 / 3).saturating_sub(left);
        let end = match left.is_zero() {
            // The process was stopped, or the machine suspended.
            true => "the lock is lost".into(),
            false => format!("the lock is lost in {:.1} s", left.as_secs_f64()),
        };
        Event::Lost(Loss {
            message: format!(
                "{name}: the store has confirmed no refresh for {:.1} s; {end}",
                confirmed.as_secs_f64(),
            ),
            kill_at: self.with_left(Duration::ZERO),
        })
    }
}

impl EventSource for Holding {
    fn next_before(&mut self, deadline: Option<Instant>) -> Option<Event> {
        loop {
            self.watch();
            let warn_at = (!self.has_failed()).then(|| self.with_left(self.warning()));
            let now = Instant::now();
            if warn_at.is_some_and(|warn_at| warn_at <= now) {
                self.is_failing = true;
                return Some(self.failing());
            }
            if deadline.is_some_and(|deadline| deadline <= now) {
                return None;
            }
            let first = warn_at.into_iter().chain(deadline).min();
            match self.events.next_before(first) {
                // Other processes may take the lock over when its lease is over, also if a user has broken it.
                Some(Event::Lost(mut loss)) => {
                    self.has_lost = true;
                    loss.kill_at = loss.kill_at.min(self.with_left(Duration::ZERO));
                    return Some(Event::Lost(loss));
                }
                Some(event) => return Some(event),
                None => {}
            }
        }
    }

    fn events(&mut self) -> &mut Events {
        &mut self.events
    }
}

fn report_loss(lost: &rvlf_object_store::Lost, sender: &Sender) {
    if lost.reason != LossReason::Released {
        sender.send(Event::Lost(Loss {
            message: lost.to_string(),
            kill_at: Instant::now() + GRACE,
        }));
    }
}
