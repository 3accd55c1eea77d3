//! A running command: passes signals on to it, reaps it and every orphan, and ends all that it has
//! started if the lock is lost.

use std::io;
use std::process::Child;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgid, getpgrp};
use rustix::process::{WaitOptions, WaitStatus};

use super::descendants::{Ticks, Tree};
use super::ending::Ending;
use super::guardian::Guardian;
use super::signals::Received;
use crate::events::{Event, EventSource};
use crate::loss::Loss;
use crate::{exit, messages};

pub struct Supervisor {
    command: Pid,
    /// Before the command started.
    since: Ticks,
    guardian: Option<Guardian>,
    /// The exit status of the command, once it has ended.
    status: Option<u8>,
    /// Whether to end the command if the lock is lost.
    kills_on_loss: bool,
    has_reported_loss: bool,
    /// What the loss of the lock requires.
    ending: Option<Ending>,
    has_reported_kill: bool,
}

impl Supervisor {
    /// Supervises `command`, a child of this process that was started after `since`. It is reaped
    /// here: `command` does not know its status afterwards. A loss does not end the `guardian`.
    pub fn new(
        command: &Child,
        since: Ticks,
        guardian: Option<Guardian>,
        kills_on_loss: bool,
    ) -> Supervisor {
        Supervisor {
            command: Pid::from_raw(command.id() as i32),
            since,
            guardian,
            status: None,
            kills_on_loss,
            has_reported_loss: false,
            ending: None,
            has_reported_kill: false,
        }
    }

    /// Returns the exit status of the command when it has ended, and after a loss when all that it has
    /// started has ended.
    ///
    /// # Errors
    ///
    /// wait(2) fails. The command has been ended then.
    pub fn wait(&mut self, source: &mut impl EventSource) -> io::Result<i32> {
        let ended = self.await_end(source);
        if ended.is_err() && self.status.is_none() {
            self.send(Signal::SIGKILL);
            let pid = rustix::process::Pid::from_raw(self.command.as_raw());
            // The lock must not be released while the command runs.
            let _ = rustix::process::waitpid(pid, WaitOptions::empty());
        }
        ended
    }

    fn await_end(&mut self, source: &mut impl EventSource) -> io::Result<i32> {
        loop {
            if let Some(status) = self.status {
                if self.ending.as_mut().is_none_or(Ending::is_over) {
                    return Ok(status.into());
                }
            }
            match source.next_before(self.ending.as_ref().map(Ending::next)) {
                Some(Event::Child) => self.reap()?,
                Some(Event::Signal(received)) => self.pass_on(received, source)?,
                Some(Event::Lost(loss)) => self.act_on_loss(&loss),
                Some(Event::WorkDone | Event::Seen(_)) => {}
                None => self.go_on_ending(),
            }
        }
    }

    /// Ends the guardian: the command has ended, and it has nothing left to guard.
    pub fn dismiss_guardian(&mut self) {
        self.guardian = None;
    }

    /// The release after the command's end has found a loss: ends what the command has started.
    ///
    /// # Errors
    ///
    /// wait(2) fails.
    pub fn end_after_loss(&mut self, loss: &Loss, source: &mut impl EventSource) -> io::Result<()> {
        // The event of the same loss may have been first.
        if !self.has_reported_loss {
            self.act_on_loss(loss);
        }
        self.wait(source).map(drop)
    }

    /// Passes a signal on to the command. If the command has ended before, the signal is for what comes next: a
    /// wait for its children.
    fn pass_on(&mut self, received: Received, source: &mut impl EventSource) -> io::Result<()> {
        self.reap()?;
        if self.status.is_some() && self.ending.is_none() {
            source.events().sender().send(Event::Signal(received));
        }
        // The terminal has sent it to the command already. Many programs skip their clean-up at the second
        // Ctrl-C.
        if !(received.from_terminal && self.is_in_own_group()) {
            self.send(received.signal);
        }
        Ok(())
    }

    fn reap(&mut self) -> io::Result<()> {
        while let Some((pid, status)) = reap_one()? {
            if pid == self.command {
                self.status = exit_status(status);
            }
        }
        Ok(())
    }

    /// The signals come first: they must not wait for a message.
    fn act_on_loss(&mut self, loss: &Loss) {
        self.has_reported_loss = true;
        if !self.kills_on_loss || self.ending.is_some() {
            return messages::print(&loss.message);
        }
        let guardian = self.guardian.as_ref().map(Guardian::pid);
        let tree = Tree::below_this_process(self.since, guardian);
        let others = match tree.is_visible() {
            true => " and to what it has started",
            false => "; /proc does not show what it has started",
        };
        self.ending = Some(Ending::begin(tree, loss.kill_at));
        // The command itself, even if /proc cannot be read.
        self.send(Signal::SIGTERM);
        messages::print(&loss.message);
        match self.status {
            None => messages::print(format_args!(
                "sending SIGTERM to the command (pid {}){others}",
                self.command
            )),
            Some(_) => messages::print("sending SIGTERM to what the command has started"),
        }
    }

    fn go_on_ending(&mut self) {
        if !self.ending.as_mut().is_some_and(Ending::act) {
            return;
        }
        self.send(Signal::SIGKILL);
        if !std::mem::replace(&mut self.has_reported_kill, true) {
            messages::print("the command did not exit, sending SIGKILL");
        }
    }

    fn is_in_own_group(&self) -> bool {
        getpgid(Some(self.command)).is_ok_and(|group| group == getpgrp())
    }

    /// Only this thread signals and reaps the command: no signal can reach a later process with the
    /// same pid.
    fn send(&self, signal: Signal) {
        if self.status.is_some() {
            return;
        }
        // Fails if the command runs as another user: rvlf then waits for it to end.
        if let Err(error) = kill(self.command, signal) {
            messages::print(format_args!("cannot send {signal} to the command: {error}"));
        }
    }
}

/// Reaps the orphans that have ended, after the end of the command.
///
/// # Errors
///
/// wait(2) fails.
pub fn reap_orphans() -> io::Result<()> {
    while reap_one()?.is_some() {}
    Ok(())
}

/// Reaps a child that has ended: the command, or an orphan that this process has adopted, as PID 1 of a
/// container or by `adopt_orphans`. One SIGCHLD can stand for several of them.
///
/// Not by `nix`, which returns an error for a child that a real-time signal has killed.
fn reap_one() -> io::Result<Option<(Pid, WaitStatus)>> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(ended) => {
                return Ok(ended.map(|(pid, status)| (Pid::from_raw(pid.as_raw_pid()), status)));
            }
            Err(rustix::io::Errno::CHILD) => return Ok(None),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// `None` if the process has not ended.
fn exit_status(status: WaitStatus) -> Option<u8> {
    let has_ended = status.exited() || status.signaled();
    has_ended.then(|| status_for_end(status.exit_status(), status.terminating_signal()))
}

/// The status for a process that has ended with a code, or by a signal.
pub fn status_for_end(code: Option<i32>, signal: Option<i32>) -> u8 {
    match (code, signal) {
        (Some(code), _) => u8::try_from(code).unwrap_or(exit::RVLF_FAILED),
        (None, Some(signal)) => exit::status_for_signal(signal),
        (None, None) => exit::RVLF_FAILED,
    }
}
