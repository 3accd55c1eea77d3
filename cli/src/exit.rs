//! Exit statuses, as every help text lists them.

use rvlf::{AcquireError, BreakError, LockState, Reason};

/// Done; of `status`: free; of `break`: removed, or free already.
pub const DONE: u8 = 0;
/// Held by another, or timed out.
pub const HELD: u8 = 1;
/// The command line was not understood.
pub const USAGE: u8 = 2;
/// Left behind by a dead holder.
pub const STALE: u8 = 3;
/// Malformed, of an unsupported version, or no RVLF lock at all.
pub const NOT_A_LOCK: u8 = 4;
/// The operating system failed.
pub const IO: u8 = 5;

/// `run`: the lock is held by another. EX_TEMPFAIL, sysexits.h
pub const TRY_AGAIN: u8 = 75;
/// `run`: a failure of rvlf's own, as env(1) and timeout(1) report theirs.
pub const OWN_FAILURE: u8 = 125;
/// `run`: the command was found and cannot be executed. POSIX, sh
pub const NOT_EXECUTABLE: u8 = 126;
/// `run`: the command was not found. POSIX, sh
pub const NOT_FOUND: u8 = 127;

/// Ended by a signal, as shells report it.
pub fn by_signal(signal: i32) -> u8 {
    const SHELL_OFFSET: u8 = 128;
    u8::try_from(signal).map_or(u8::MAX, |signal| SHELL_OFFSET.saturating_add(signal))
}

pub fn of_state(state: &LockState) -> u8 {
    match state {
        LockState::Free => DONE,
        LockState::Held(_) => HELD,
        LockState::Stale(_) => STALE,
        // Incomplete and young: a writer is on its way.
        LockState::Malformed(holder) if holder.verdict().reason() == Reason::BeingWritten => HELD,
        // What a later version of the library may add is no lock to this one.
        _ => NOT_A_LOCK,
    }
}

/// Of `run`.
pub fn of_acquire_error(error: &AcquireError) -> u8 {
    if error.is_held() {
        TRY_AGAIN
    } else {
        OWN_FAILURE
    }
}

pub fn of_break_error(error: &BreakError) -> u8 {
    match error {
        BreakError::Held { .. } => HELD,
        BreakError::Io { .. } => IO,
        _ => NOT_A_LOCK,
    }
}
