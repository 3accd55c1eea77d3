//! A command that stops itself before its exec, and runs once it is continued.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::Args;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};

use super::own_program::own_program;
use super::sigpipe;
use crate::failure::cannot_run;
use crate::{exit, messages};

/// Stop, and execute COMMAND when continued
#[derive(Args)]
pub struct Stopped {
    /// The process that must have a pidfd of this one before it executes COMMAND
    #[arg(long, value_name = "PID")]
    guardian: i32,

    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl Stopped {
    /// Replaces this process. Returns the exit status if that fails.
    pub fn run(&self) -> u8 {
        let (program, arguments) = self.command.split_first().expect("clap requires a command");
        // Another program's SIGCONT may be the first, and its SIGSTOP may have stopped this process
        // before, so that rvlf's SIGCONT has been already.
        let mut has_stopped = false;
        while !self.is_guarded().unwrap_or(has_stopped) {
            has_stopped = true;
            if let Err(error) = raise(Signal::SIGSTOP) {
                messages::print(format_args!("cannot stop before the command: {error}"));
                return exit::RVLF_FAILED;
            }
        }
        let mut command = Command::new(program);
        command.args(arguments);
        sigpipe::pass_on(&mut command);
        let error = command.exec();
        cannot_run(program, &error)
    }

    /// Whether the guardian has a pidfd of this process. `None` without procfs.
    fn is_guarded(&self) -> Option<bool> {
        let fdinfo = format!("/proc/{}/fdinfo", self.guardian);
        let mut entries = match fs::read_dir(fdinfo) {
            Ok(entries) => entries,
            // rvlf was killed, the guardian has ended and with it the lock, and a SIGCONT is here before the
            // death signal: the command must not run.
            Err(_) if kill(Pid::from_raw(self.guardian), None) == Err(Errno::ESRCH) => {
                return Some(false);
            }
            Err(_) => return None,
        };
        Some(entries.any(|entry| {
            let fdinfo = entry.and_then(|entry| fs::read_to_string(entry.path()));
            fdinfo.is_ok_and(|fdinfo| is_pidfd_of(getpid(), &fdinfo))
        }))
    }
}

/// Whether the text of a /proc/PID/fdinfo/FD is that of a pidfd of `process`. pidfd_open(2)
fn is_pidfd_of(process: Pid, fdinfo: &str) -> bool {
    let pid = fdinfo.lines().find_map(|line| line.strip_prefix("Pid:"));
    pid.is_some_and(|pid| pid.trim() == process.to_string())
}

/// Waits until `command`, started by [`command`], has stopped before its exec. Returns the exit status if a
/// signal has ended it before.
///
/// # Errors
///
/// It has ended otherwise.
pub fn await_stop(pid: Pid) -> io::Result<Option<u8>> {
    loop {
        match waitpid(pid, Some(WaitPidFlag::WUNTRACED)) {
            Ok(WaitStatus::Stopped(..)) => return Ok(None),
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                return Ok(Some(exit::status_for_signal(signal as i32)));
            }
            Ok(WaitStatus::Exited(..)) => {
                return Err(io::Error::other("it has ended before the command"));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// # Errors
///
/// kill(2) fails.
pub fn resume(pid: Pid) -> io::Result<()> {
    Ok(kill(pid, Signal::SIGCONT)?)
}

/// The command that executes `program` when it is continued and `guardian` has a pidfd of it.
///
/// # Errors
///
/// This program's own path cannot be found.
pub fn command(guardian: Pid, program: &OsString, arguments: &[OsString]) -> io::Result<Command> {
    let mut command = Command::new(own_program()?);
    command
        .arg("stopped")
        .arg(format!("--guardian={guardian}"))
        .arg("--");
    command.arg(program).args(arguments);
    Ok(command)
}
