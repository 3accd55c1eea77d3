//! Failures of rvlf itself: each is printed, and has an exit status.

use std::ffi::OsStr;
use std::fmt::Display;
use std::io;

use rvlf::Escaped;

use crate::{exit, messages};

pub fn failed(error: impl Display) -> u8 {
    messages::print(error);
    exit::RVLF_FAILED
}

pub fn failed_to(operation: &str, error: &io::Error) -> u8 {
    messages::print(format_args!("cannot {operation}: {error}"));
    exit::RVLF_FAILED
}

/// A command that cannot be started.
pub fn cannot_run(program: &OsStr, error: &io::Error) -> u8 {
    let program = Escaped::path(program.as_ref());
    messages::print(format_args!("cannot run {program}: {error}"));
    match error.kind() {
        io::ErrorKind::NotFound => exit::NOT_FOUND,
        // The system has no room for another process: the command itself may be executable.
        io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => exit::RVLF_FAILED,
        _ => exit::NOT_EXECUTABLE,
    }
}
