//! A command that stops itself before its exec, and runs once it is continued.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::Args;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rvlf::Escaped;

use crate::{exit, messages, sigpipe};

/// Stop, and execute COMMAND when continued
#[derive(Args)]
pub struct Stopped {
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl Stopped {
    /// Replaces this process. Returns the exit status if that fails.
    pub fn run(&self) -> u8 {
        let (program, arguments) = self.command.split_first().expect("clap requires a command");
        if let Err(error) = raise(Signal::SIGSTOP) {
            messages::print(format_args!("cannot stop before the command: {error}"));
            return exit::RVLF_FAILED;
        }
        let mut command = Command::new(program);
        command.args(arguments);
        sigpipe::pass_on(&mut command);
        let error = command.exec();
        report(program, &error)
    }
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

/// The command that executes `program` when it is continued.
///
/// # Errors
///
/// This program's own path cannot be found.
pub fn command(program: &OsString, arguments: &[OsString]) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["stopped", "--"]).arg(program).args(arguments);
    Ok(command)
}

/// Prints why a command cannot be executed. Returns the exit status for it.
pub fn report(program: &OsString, error: &io::Error) -> u8 {
    let program = Escaped::path(program.as_ref());
    messages::print(format_args!("cannot run {program}: {error}"));
    match error.kind() {
        io::ErrorKind::NotFound => exit::NOT_FOUND,
        // The system has no room for another process: the command itself may be executable.
        io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => exit::RVLF_FAILED,
        _ => exit::NOT_EXECUTABLE,
    }
}
