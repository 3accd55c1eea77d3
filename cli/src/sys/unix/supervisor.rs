//! A running command: passes signals on to it, reaps it and every orphan, and ends all that it has
//! started if the lock is lost.

use std::io;
use std::process::Child;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpgid, getpgrp};

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
    /// waitpid(2) fails.
    pub fn wait(&mut self, source: &mut impl EventSource) -> io::Result<i32> {
        loop {
            if let Some(status) = self.status {
                if self.ending.as_mut().is_none_or(Ending::is_over) {
                    return Ok(status.into());
                }
            }
            match source.next_before(self.ending.as_ref().map(Ending::next)) {
                Some(Event::Child) => self.reap()?,
                Some(Event::Signal(Received {
                    signal,
                    from_terminal,
                })) => {
                    // The terminal has sent it to the command already. Many programs skip their
                    // clean-up at the second Ctrl-C.
                    if !(from_terminal && self.is_in_own_group()) {
                        self.send(signal);
                    }
                }
                Some(Event::Lost(loss)) => self.act_on_loss(&loss),
                Some(Event::WorkDone | Event::Seen(_)) => {}
                None => self.go_on_ending(),
            }
        }
    }

    /// Ends the guardian: the command has ended, and it has nothing left to guard.
    pub fn dismiss_guardian(&mut self) {
        if let Some(guardian) = self.guardian.take() {
            guardian.dismiss();
        }
    }

    /// The release after the command's end has found a loss: ends what the command has started.
    ///
    /// # Errors
    ///
    /// waitpid(2) fails.
    pub fn end_after_loss(&mut self, loss: &Loss, source: &mut impl EventSource) -> io::Result<()> {
        // The event of the same loss may have been first.
        if !self.has_reported_loss {
            self.act_on_loss(loss);
        }
        self.wait(source).map(drop)
    }

    fn reap(&mut self) -> io::Result<()> {
        while let Some(status) = reap_one()? {
            if status.pid() == Some(self.command) {
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
        self.ending = Some(Ending::begin(tree, loss.kill_at));
        // Also without procfs.
        self.send(Signal::SIGTERM);
        messages::print(&loss.message);
        match self.status {
            None => messages::print(format_args!(
                "sending SIGTERM to the command (pid {}) and to what it has started",
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
/// waitpid(2) fails.
pub fn reap_orphans() -> io::Result<()> {
    while reap_one()?.is_some() {}
    Ok(())
}

/// Reaps a child that has ended: the command, or an orphan that this process has adopted, as PID 1 of a
/// container or by `adopt_orphans`. One SIGCHLD can stand for several of them.
fn reap_one() -> io::Result<Option<WaitStatus>> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(None),
            Ok(status) => return Ok(Some(status)),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// `None` if the process has not ended.
fn exit_status(status: WaitStatus) -> Option<u8> {
    match status {
        WaitStatus::Exited(_, code) => Some(status_for_end(Some(code), None)),
        WaitStatus::Signaled(_, signal, _) => Some(status_for_end(None, Some(signal as i32))),
        _ => None,
    }
}

/// The status for a process that has ended with a code, or by a signal.
pub fn status_for_end(code: Option<i32>, signal: Option<i32>) -> u8 {
    match (code, signal) {
        (Some(code), _) => u8::try_from(code).unwrap_or(exit::RVLF_FAILED),
        (None, Some(signal)) => exit::status_for_signal(signal),
        (None, None) => exit::RVLF_FAILED,
    }
}
