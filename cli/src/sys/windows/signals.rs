//! What the console sends, as messages to the main thread: Ctrl-C, Ctrl-Break, and the end of the console.

#![allow(unsafe_code, reason = "SetConsoleCtrlHandler")]

use std::io;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT,
    SetConsoleCtrlHandler,
};
use windows_sys::core::BOOL;

use crate::events::{self, Event, Events};
use crate::messages;

/// What a key of the console sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Signal {
    /// Ctrl-C, Ctrl-Break, or the end of the console. The number is that of SIGINT in the C runtime.
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

/// Turns what the console sends into events, and has no message keep this thread from them. Where Ctrl-C was ignored
/// when this process started it stays ignored, here and in every child.
///
/// # Errors
///
/// The handler cannot be installed, or was installed before.
pub fn listen() -> io::Result<Events> {
    let (sender, wakes) = channel();
    let waker = Waker(sender);
    let events = Events::new(Signals { wakes, waker });
    install(events.sender())
        .map_err(|error| io::Error::other(format!("cannot handle Ctrl-C: {error}")))?;
    messages::never_block();
    Ok(events)
}

/// Where the handler, to which the system passes nothing else, sends its events.
static SENDER: OnceLock<events::Sender> = OnceLock::new();

fn install(sender: events::Sender) -> io::Result<()> {
    let set = SENDER.set(sender);
    set.map_err(|_| io::Error::other("another part of rvlf does"))?;
    // SAFETY: the function is there until this process ends, and may run on any thread at any time.
    match unsafe { SetConsoleCtrlHandler(Some(handle), 1) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Runs on a thread that the system makes for it. HandlerRoutine
extern "system" fn handle(event: u32) -> BOOL {
    let answer = answer_to(event);
    if let (Answer::Interrupt | Answer::End, Some(sender)) = (answer, SENDER.get()) {
        // Fails if the main thread does not wait for events any more.
        sender.send(Event::Signal(Received));
    }
    // The system ends this process when the handler returns, and the job its command with it, which is cleaning up.
    if answer == Answer::End {
        loop {
            std::thread::park();
        }
    }
    BOOL::from(answer != Answer::Default)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// A wait ends. A command that runs has received the event as well.
    Interrupt,
    /// The same. This process has a few seconds until the system ends it: it ends when its command has ended.
    End,
    /// Goes on.
    Ignore,
    /// What the system does by default.
    Default,
}

fn answer_to(event: u32) -> Answer {
    match event {
        CTRL_C_EVENT | CTRL_BREAK_EVENT => Answer::Interrupt,
        CTRL_CLOSE_EVENT | CTRL_SHUTDOWN_EVENT => Answer::End,
        // Services alone get it, at the logoff of any user.
        CTRL_LOGOFF_EVENT => Answer::Ignore,
        _ => Answer::Default,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    // Each event was a Ctrl-C whose handler returned: the console was closed, Windows ended rvlf at once, and the job
    // ended the command before it had cleaned up. In a service the logoff of any user ended a wait for the lock.
    #[test]
    fn the_end_of_the_console_waits_for_the_command_and_a_logoff_changes_nothing() {
        let mut events = listen().expect("it is the only handler");
        assert_eq!(handle(CTRL_LOGOFF_EVENT), 1);
        assert!(events.try_next().is_none());
        assert_eq!(handle(CTRL_C_EVENT), 1);
        assert!(matches!(events.try_next(), Some(Event::Signal(_))));
        for event in [CTRL_CLOSE_EVENT, CTRL_SHUTDOWN_EVENT] {
            let handler = std::thread::spawn(move || handle(event));
            assert!(matches!(events.next_before(None), Some(Event::Signal(_))));
            assert!(!handler.is_finished(), "{event}: Windows would end rvlf");
        }
    }
}
