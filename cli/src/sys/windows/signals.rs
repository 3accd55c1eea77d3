//! Ctrl-C and Ctrl-Break, as messages to the main thread.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::events::{Event, Events};
use crate::messages;

/// What a key of the console sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Signal {
    /// Ctrl-C or Ctrl-Break. The number is that of SIGINT in the C runtime.
    Interrupt = 2,
}

/// A signal that has arrived.
#[derive(Clone, Copy, Debug)]
pub struct Received;

impl Received {
    /// The signal, if its default action ends a process.
    pub fn fatal(self) -> Option<Signal> {
        Some(Signal::Interrupt)
    }
}

/// Turns Ctrl-C into an event, and has no message keep this thread from it. Where it was ignored when this
/// process started it stays ignored, here and in every child. SetConsoleCtrlHandler
///
/// # Errors
///
/// The handler cannot be installed.
pub fn listen() -> io::Result<Events> {
    let (sender, wakes) = channel();
    let waker = Waker(sender);
    let events = Events::new(Signals { wakes, waker });
    let sender = events.sender();
    let handled = ctrlc::set_handler(move || {
        // Fails if the main thread does not wait for events any more.
        sender.send(Event::Signal(Received));
    });
    handled.map_err(|error| io::Error::other(format!("cannot handle Ctrl-C: {error}")))?;
    messages::never_block();
    Ok(events)
}

/// No parent process asks what has ended this one.
pub fn die_as_interrupted(_status: u8) {}

/// No program blocks Ctrl-C in its children.
///
/// # Errors
///
/// None.
pub fn unblock() -> io::Result<()> {
    Ok(())
}

/// The sleep of the main thread. The handler runs on a thread of its own, which sends events like others.
#[derive(Debug)]
pub struct Signals {
    wakes: Receiver<()>,
    waker: Waker,
}

/// Wakes the main thread.
#[derive(Clone, Debug)]
pub struct Waker(Sender<()>);

impl Waker {
    pub fn wake(&self) {
        // Fails if the main thread does not wait for events any more.
        let _ = self.0.send(());
    }
}

impl Signals {
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Forgets the wakes so far. No signal arrives here.
    pub fn take(&mut self) -> Option<Event> {
        while self.wakes.try_recv().is_ok() {}
        None
    }

    /// There is none to put back.
    pub fn put_back(&mut self, _event: Option<Event>) {}

    /// Blocks until a [`Waker`] wakes this thread, or the time is over.
    pub fn wait(&self, timeout: Option<Duration>) {
        // Fails at the timeout: this value has a sender.
        let _ = match timeout {
            None => self.wakes.recv().ok(),
            Some(timeout) => self.wakes.recv_timeout(timeout).ok(),
        };
    }
}
