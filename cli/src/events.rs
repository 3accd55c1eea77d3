//! The events that wake the main thread.

use std::sync::mpsc::{Receiver, Sender};

use rvlf::Lost;

use crate::inspection::Inspection;
use crate::sys::signals::{Received, Signal};

#[derive(Debug)]
pub enum Event {
    /// A signal for the command, if there is one.
    Signal(Received),
    /// A child process has ended or stopped.
    Child,
    /// The worker thread has ended.
    WorkDone,
    /// A lock that another process holds.
    Inspected(Box<Inspection>),
    /// The lock was lost.
    Lost(Lost),
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

/// Both ends of the channel of events.
pub type Events = (Sender<Event>, Receiver<Event>);
