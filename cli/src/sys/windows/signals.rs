//! Ctrl-C and Ctrl-Break, as messages to the main thread.

use std::io;
use std::sync::mpsc::channel;

use crate::events::{Event, Events};

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

/// Turns Ctrl-C into an event. Where it was ignored when this process started it stays ignored, here and in
/// every child. SetConsoleCtrlHandler
///
/// # Errors
///
/// The handler cannot be installed.
pub fn listen() -> io::Result<Events> {
    let (sender, receiver) = channel();
    let events = sender.clone();
    let handled = ctrlc::set_handler(move || {
        // Fails if the main thread does not wait for events any more.
        let _ = events.send(Event::Signal(Received));
    });
    handled.map_err(|error| io::Error::other(format!("cannot handle Ctrl-C: {error}")))?;
    Ok((sender, receiver))
}
