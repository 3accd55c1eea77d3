//! SIGPIPE as it was when this process started, for the command that it runs.
//!
//! The Rust runtime ignores the signal before main, and `std::process` resets it to its default in every
//! child. A command under systemd (`IgnoreSIGPIPE=yes`, the default) or under `trap '' PIPE` relies on
//! the ignored signal: at a closed pipe it gets EPIPE, and is not killed while it writes the data file.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;

static WAS_IGNORED: AtomicBool = AtomicBool::new(false);

/// Runs before the runtime, and so before main: /proc shows the signals that the parent left ignored.
#[ctor::ctor(unsafe)]
fn remember() {
    // Without procfs the command gets the default.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    WAS_IGNORED.store(is_ignored(&status, Signal::SIGPIPE), Ordering::Relaxed);
}

/// Starts the child of `command` with SIGPIPE ignored, if this process was started so.
pub fn pass_on(command: &mut Command) {
    if WAS_IGNORED.load(Ordering::Relaxed) {
        rvlf::process::ignore_sigpipe(command);
    }
}

/// From the text of /proc/PID/status. proc_pid_status(5)
fn is_ignored(status: &str, signal: Signal) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Bit 0 is signal 1.
    mask.is_some_and(|mask| mask >> (signal as i32 - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_counts_from_signal_1() {
        let status = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000001000\n";
        assert!(is_ignored(status, Signal::SIGPIPE));
        assert!(!is_ignored(status, Signal::SIGALRM));
        assert!(!is_ignored(status, Signal::SIGUSR2));
        assert!(!is_ignored("", Signal::SIGPIPE));
    }
}
