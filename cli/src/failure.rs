//! Failures of rvlf itself: each is printed, and has an exit status.

use std::ffi::OsStr;
use std::fmt::Display;
use std::io;
use std::path::Path;

use rvlf::Escaped;

use crate::{exit, messages};

/// A failure of a verb that returns the status of a command (`run`, `hold`).
pub fn failed(error: impl Display) -> u8 {
    messages::print(error);
    exit::RVLF_FAILED
}

/// A failure of any other verb.
pub fn io_failed(error: impl Display) -> u8 {
    messages::print(error);
    exit::IO
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
    let path = Path::new(program);
    let (step, status) = match (step_for_shortage(error), error.kind()) {
        // The command itself may be executable.
        (Some(step), _) => (step, exit::RVLF_FAILED),
        (None, io::ErrorKind::NotFound) => step_for_missing(path),
        (None, io::ErrorKind::PermissionDenied) => (step_for_denied(path), exit::NOT_EXECUTABLE),
        (None, io::ErrorKind::ArgumentListTooLong) => {
            ("give it fewer arguments", exit::NOT_EXECUTABLE)
        }
        (None, io::ErrorKind::ExecutableFileBusy) => (
            "try again when no process has it open for writing",
            exit::NOT_EXECUTABLE,
        ),
        _ => (
            "check that it is a program for this machine",
            exit::NOT_EXECUTABLE,
        ),
    };
    let program = match program.is_empty() {
        true => "the command".to_owned(),
        false => Escaped::path(path).to_string(),
    };
    messages::print(format_args!("cannot run {program}: {error}; {step}"));
    status
}

/// Whether PATH is not searched for it. execvp(3)
fn has_directory(program: &Path) -> bool {
    program.components().count() > 1
}

fn step_for_denied(program: &Path) -> &'static str {
    match () {
        () if program.is_dir() => "it is a directory: name a program",
        () if has_directory(program) => {
            "make it executable (chmod +x), or name the program that reads it"
        }
        // execvp(3) goes on after EACCES, and reports it if it finds nothing.
        () => "check the name, and that this user may search the directories of PATH",
    }
}

/// The step, and the exit status, as a shell has it.
fn step_for_missing(program: &Path) -> (&'static str, u8) {
    let has_blank = program.as_os_str().as_encoded_bytes().contains(&b' ');
    match () {
        // execve(2), ENOENT
        () if has_directory(program) && program.exists() => (
            "the interpreter in its first line, or its dynamic loader, does not exist",
            exit::NOT_EXECUTABLE,
        ),
        () if program.as_os_str().is_empty() => (
            "its name is empty: check the variable that it comes from",
            exit::NOT_FOUND,
        ),
        () if has_blank => (
            "give the program and its arguments as separate words; for shell syntax: sh -c '...'",
            exit::NOT_FOUND,
        ),
        () if has_directory(program) => ("check the path", exit::NOT_FOUND),
        () => (
            "check the name and PATH; a command of the shell itself runs in sh -c '...'",
            exit::NOT_FOUND,
        ),
    }
}
