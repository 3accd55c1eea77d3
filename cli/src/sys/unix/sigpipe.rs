//! SIGPIPE as it was when this process started, for the command that it runs.
//!
//! The Rust runtime ignores the signal before main, and `std::process` resets it to its default in every
//! child. A command under systemd (`IgnoreSIGPIPE=yes`, the default) or under `trap '' PIPE` relies on
//! the ignored signal: at a closed pipe it gets EPIPE, and is not killed while it writes the data file.

use std::process::Command;

use nix::sys::signal::Signal;

use super::ignored::was_ignored;

/// Starts the child of `command` with SIGPIPE ignored, if this process was started so.
pub fn pass_on(command: &mut Command) {
    if was_ignored(Signal::SIGPIPE) {
        rvlf::process::ignore_sigpipe(command);
    }
}
