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
    let error = with_next_step(error);
    messages::print(format_args!("cannot {operation}: {error}"));
    exit::RVLF_FAILED
}

/// An error, and what to do where the system had no room.
pub fn with_next_step(error: &io::Error) -> String {
    match step_for_shortage(error) {
        Some(step) => format!("{error}; {step}"),
        None => error.to_string(),
    }
}

/// `None` unless the system had no room for what was requested.
fn step_for_shortage(error: &io::Error) -> Option<&'static str> {
    // They have no [`io::ErrorKind`] of their own; the numbers are those of every Unix.
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    match (error.raw_os_error(), error.kind()) {
        (Some(EMFILE), _) if cfg!(unix) => Some("raise the limit of open files (ulimit -n)"),
        (Some(ENFILE), _) if cfg!(unix) => Some("close files, or raise the system's limit"),
        (_, io::ErrorKind::WouldBlock) => Some("end processes, or raise their limit (ulimit -u)"),
        (_, io::ErrorKind::OutOfMemory) => Some("free memory, then try again"),
        _ => None,
    }
}

/// A command that cannot be started.
pub fn cannot_run(program: &OsStr, error: &io::Error) -> u8 {
    let program = Escaped::path(program.as_ref());
    let described = with_next_step(error);
    messages::print(format_args!("cannot run {program}: {described}"));
    match error.kind() {
        io::ErrorKind::NotFound => exit::NOT_FOUND,
        // The command itself may be executable.
        _ if step_for_shortage(error).is_some() => exit::RVLF_FAILED,
        _ => exit::NOT_EXECUTABLE,
    }
}
