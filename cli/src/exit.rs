//! Exit statuses. Every help text lists those of its verb.

use rvlf::{BreakError, LockState};

use crate::messages;

/// Success; of `status`: free; of `break`: removed, or already free.
pub const SUCCESS: u8 = 0;
/// Held by another process, or timed out.
pub const HELD: u8 = 1;
/// Usage error.
pub const USAGE: u8 = 2;
/// Left behind by a dead holder.
pub const STALE: u8 = 3;
/// Malformed, of an unsupported version, or not an RVLF lock.
pub const NOT_A_LOCK: u8 = 4;
/// Operating system error.
pub const IO: u8 = 5;

/// `run`: another process holds the lock. EX_TEMPFAIL, sysexits.h
pub const TRY_AGAIN: u8 = 75;
/// `run`: rvlf itself failed. env(1) and timeout(1) use the same number.
pub const RVLF_FAILED: u8 = 125;
/// `run`: the command was found and cannot be executed. POSIX, sh
pub const NOT_EXECUTABLE: u8 = 126;
/// `run`: the command was not found. POSIX, sh
pub const NOT_FOUND: u8 = 127;

/// Reads an exit status that an option sets.
pub fn parse(text: &str) -> Result<u8, &'static str> {
    text.parse().map_err(|_| "expected a number from 0 to 255")
}

/// The number that shells report for a process that a signal has killed.
pub fn status_for_signal(signal: i32) -> u8 {
    const SHELL_OFFSET: u8 = 128;
    u8::try_from(signal).map_or(u8::MAX, |signal| SHELL_OFFSET.saturating_add(signal))
}

/// Ends this process if the status is larger than any of rvlf: that of a command, which has 32 bits on
/// Windows.
pub fn whole(status: i32) -> u8 {
    u8::try_from(status).unwrap_or_else(|_| {
        messages::flush();
        std::process::exit(status)
    })
}

pub fn status_for_state(state: &LockState) -> u8 {
    status_for_code(state.code())
}

/// By the name of the state.
pub fn status_for_code(code: &str) -> u8 {
    match code {
        "free" => SUCCESS,
        "held" => HELD,
        "stale" => STALE,
        _ => NOT_A_LOCK,
    }
}

pub fn status_for_break_error(error: &BreakError) -> u8 {
    match error {
        BreakError::Held { .. } => HELD,
        BreakError::Io { .. } => IO,
        _ => NOT_A_LOCK,
    }
}
