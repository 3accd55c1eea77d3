//! The limit of file sizes. setrlimit(2), RLIMIT_FSIZE

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use nix::sys::signal::Signal;

use super::ignored::was_ignored;

/// Has a write beyond the limit of file sizes fail with an error that names the file and a next step: by default
/// SIGXFSZ ends this process without a word.
///
/// By a handler, which execve(2) replaces by the default: a command, and the keeper of `rvlf hold`, start with
/// SIGXFSZ as this process did. One that was ignored stays so.
pub fn report_excess() {
    if !was_ignored(Signal::SIGXFSZ) {
        let unread = Arc::new(AtomicBool::new(false));
        // If it fails, the signal keeps its default action.
        let _ = signal_hook::flag::register(Signal::SIGXFSZ as i32, unread);
    }
}
