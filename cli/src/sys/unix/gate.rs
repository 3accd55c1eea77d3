//! A command that does not execute before a gate is opened: what has to be ready before it writes, is.
//!
//! The standard input of the process that will be the command is a socket until then. What opens the gate is the
//! message with which that process gets the standard input of the command. It ends if the gate ends first, as it
//! does with `rvlf`. Neither a signal nor a look at /proc takes part: SIGSTOP, SIGCONT or Ctrl-Z from elsewhere can
//! start nothing early, and lose no message.

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::Args;
use nix::unistd::dup2_stdin;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::own_program::own_program;
use super::sigpipe;
use crate::failure::cannot_run;
use crate::{exit, messages};

/// Keeps one process from executing its command.
pub struct Gate(UnixStream);

impl Gate {
    /// The command that executes `program` when the gate is opened.
    ///
    /// # Errors
    ///
    /// No socket can be made, or this program's own path cannot be found.
    pub fn before(program: &OsString, arguments: &[OsString]) -> io::Result<(Command, Gate)> {
        let (outer, inner) = UnixStream::pair()?;
        let mut command = Command::new(own_program()?);
        command.arg("gated").arg("--").arg(program).args(arguments);
        command.stdin(OwnedFd::from(inner));
        Ok((command, Gate(outer)))
    }

    /// Lets the process execute its command, with the standard input of this process. Does nothing if that process
    /// has ended.
    ///
    /// # Errors
    ///
    /// The message cannot be sent. The command will not be executed.
    pub fn open(self) -> io::Result<()> {
        let input = io::stdin();
        let descriptors = [input.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut attached = SendAncillaryBuffer::new(&mut space);
        attached.push(SendAncillaryMessage::ScmRights(&descriptors));
        let message = [IoSlice::new(b"\n")];
        match sendmsg(&self.0, &message, &mut attached, SendFlags::empty()) {
            Ok(_) | Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Execute COMMAND when a gate is opened
#[derive(Args)]
pub struct Gated {
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl Gated {
    /// Replaces this process. Returns the exit status if that fails, or if the gate ends.
    pub fn run(&self) -> u8 {
        let (program, arguments) = self.command.split_first().expect("clap requires a command");
        match await_opening() {
            Ok(Some(input)) => {
                let mut command = Command::new(program);
                command.args(arguments);
                sigpipe::pass_on(&mut command);
                let replaced = dup2_stdin(input).map_err(io::Error::from);
                let error = replaced.map_or_else(|error| error, |()| command.exec());
                cannot_run(program, &error)
            }
            // rvlf was killed: this process is about to be.
            Ok(None) => exit::RVLF_FAILED,
            Err(error) => {
                messages::print(format_args!("cannot wait for rvlf run: {error}"));
                exit::RVLF_FAILED
            }
        }
    }
}

/// Blocks until the gate is opened, and returns the standard input of the command. `None` if the gate has ended.
fn await_opening() -> io::Result<Option<OwnedFd>> {
    let gate = io::stdin();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut attached = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut message = [IoSliceMut::new(&mut byte)];
    loop {
        match recvmsg(&gate, &mut message, &mut attached, RecvFlags::empty()) {
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut descriptors = attached.drain().filter_map(|attached| match attached {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    Ok(descriptors.next().and_then(|mut received| received.next()))
}
