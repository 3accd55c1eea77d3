//! SIGPIPE as it was when this process started, for the command that it runs.
//!
//! The Rust runtime ignores the signal before main, and `std::process` resets it to its default in every
//! child. A command under systemd (`IgnoreSIGPIPE=yes`, the default) or under `trap '' PIPE` relies on
//! the ignored signal: at a closed pipe it gets EPIPE, and is not killed while it writes the data file.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;

use super::signals::ignored_signals;

static WAS_IGNORED: AtomicBool = AtomicBool::new(false);

/// Runs before the runtime, and so before main: /proc shows the signals that the parent left ignored.
#[ctor::ctor(unsafe)]
fn remember() {
    // Without procfs the command gets the default.
    let is_ignored = ignored_signals().contains(&(Signal::SIGPIPE as i32));
    WAS_IGNORED.store(is_ignored, Ordering::Relaxed);
}

/// Starts the child of `command` with SIGPIPE ignored, if this process was started so.
pub fn pass_on(command: &mut Command) {
    if WAS_IGNORED.load(Ordering::Relaxed) {
        rvlf::process::ignore_sigpipe(command);
    }
}
