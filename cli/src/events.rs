//! The events that wake the main thread: signals, and what other threads send.

use std::sync::mpsc::{self, Receiver, TryRecvError, channel};
use std::time::Instant;

use crate::loss::Loss;
use crate::sys::signals::{Received, Signal, Signals, Waker};

#[derive(Debug)]
pub enum Event {
    /// A signal for the command, if there is one.
    Signal(Received),
    /// A child process has ended or stopped.
    Child,
    /// The worker thread has ended.
    WorkDone,
    /// A look at a lock that this process waits for: the line to show.
    Seen(String),
    /// The lock was lost.
    Lost(Loss),
}

impl Event {
    /// The signal, if its default action ends a process.
    pub fn fatal_signal(&self) -> Option<Signal> {
        match self {
            Event::Signal(received) => received.fatal(),
            _ => None,
        }
    }
}

/// What a supervisor of a command waits for: events, while the lock is cared for.
pub trait EventSource {
    /// The next event, `None` if none arrives before the deadline, or if that has passed: also while events
    /// arrive all the time. Blocks.
    fn next_before(&mut self, deadline: Option<Instant>) -> Option<Event>;

    /// Where the events come from.
    fn events(&mut self) -> &mut Events;
}

/// Sends events from other threads.
#[derive(Clone, Debug)]
pub struct Sender {
    queue: mpsc::Sender<Event>,
    waker: Waker,
}

impl Sender {
    /// False if the main thread waits for no events any more.
    pub fn send(&self, event: Event) -> bool {
        // Queued first: the main thread that wakes must find it.
        let is_sent = self.queue.send(event).is_ok();
        self.waker.wake();
        is_sent
    }
}

/// What the main thread waits for. No thread reads the signals, which would cost its start.
#[derive(Debug)]
pub struct Events {
    signals: Signals,
    queue: Receiver<Event>,
    sender: Sender,
}

impl Events {
    pub fn new(signals: Signals) -> Events {
        let (queue, receiver) = channel();
        let waker = signals.waker();
        Events {
            signals,
            queue: receiver,
            sender: Sender { queue, waker },
        }
    }

    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// The next event, `None` if none arrives before the deadline. One that is there is returned in any
    /// case. Blocks.
    pub fn next_before(&mut self, deadline: Option<Instant>) -> Option<Event> {
        loop {
            if let Some(event) = self.try_next() {
                return Some(event);
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return None;
            }
            self.signals.wait(left);
        }
    }

    /// An event that has arrived. A storm of signals must not keep a loss of the lock waiting.
    pub fn try_next(&mut self) -> Option<Event> {
        // The signals first take the bytes that wake this thread: an event that is queued later writes
        // another one.
        let signal = self.signals.take();
        match self.queue.try_recv() {
            Ok(event) => {
                self.signals.put_back(signal);
                Some(event)
            }
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => signal,
        }
    }
}
