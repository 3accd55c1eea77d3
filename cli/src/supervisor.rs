//! A running command: passes signals on to it, and ends it if the lock is lost.

use std::io;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgid, getpgrp};
use rvlf::Lost;

use crate::messages;
use crate::signals::Event;

/// The time that a command has between SIGTERM and SIGKILL after the lock is lost.
const GRACE: Duration = Duration::from_secs(5);

pub struct Supervisor {
    child: Child,
    /// Whether to end the command if the lock is lost.
    kills_on_loss: bool,
    /// The time of the SIGKILL, once the lock is lost.
    deadline: Option<Instant>,
}

impl Supervisor {
    pub fn new(child: Child, kills_on_loss: bool) -> Supervisor {
        Supervisor {
            child,
            kills_on_loss,
            deadline: None,
        }
    }

    /// Returns when the command has ended.
    pub fn wait(mut self, events: &Receiver<Event>) -> io::Result<ExitStatus> {
        loop {
            match self.next(events) {
                // Only this thread signals and reaps the child: no signal can reach a later process
                // with the same pid.
                Some(Event::Child) => {
                    if let Some(status) = self.child.try_wait()? {
                        return Ok(status);
                    }
                }
                Some(Event::Signal {
                    signal,
                    from_terminal,
                }) => {
                    // The terminal has sent it to the command already. Many programs skip their
                    // clean-up at the second Ctrl-C.
                    if !(from_terminal && self.is_in_own_group()) {
                        self.send(signal);
                    }
                }
                Some(Event::Lost(lost)) => self.report_loss(&lost),
                Some(Event::WorkDone | Event::Inspected(_)) => {}
                None => {
                    self.deadline = None;
                    messages::print("the command did not exit, sending SIGKILL");
                    self.send(Signal::SIGKILL);
                }
            }
        }
    }

    /// `None` if the deadline has passed.
    fn next(&self, events: &Receiver<Event>) -> Option<Event> {
        const LISTENING: &str = "the signal thread does not end";
        let Some(deadline) = self.deadline else {
            return Some(events.recv().expect(LISTENING));
        };
        match events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => unreachable!("{LISTENING}"),
        }
    }

    fn report_loss(&mut self, lost: &Lost) {
        messages::print(lost);
        if self.kills_on_loss {
            let pid = self.child.id();
            messages::print(format_args!("sending SIGTERM to the command (pid {pid})"));
            self.send(Signal::SIGTERM);
            self.deadline = Some(Instant::now() + GRACE);
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    fn is_in_own_group(&self) -> bool {
        getpgid(Some(self.pid())).is_ok_and(|group| group == getpgrp())
    }

    fn send(&self, signal: Signal) {
        // Fails if the command runs as another user: rvlf then waits for it to end.
        if let Err(error) = kill(self.pid(), signal) {
            messages::print(format_args!("cannot send {signal} to the command: {error}"));
        }
    }
}
