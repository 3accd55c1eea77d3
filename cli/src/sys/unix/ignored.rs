//! The signals that were ignored when this process started. They stay ignored, here and in every child: nohup(1),
//! `trap '' HUP`, and SIGPIPE under systemd (`IgnoreSIGPIPE=yes`, the default).

#![allow(unsafe_code, reason = "sigaction(2) that changes nothing")]

use std::mem::zeroed;
use std::ptr;
use std::sync::OnceLock;

use nix::libc;
use nix::sys::signal::{SigSet, Signal};

/// Runs before the Rust runtime, which ignores SIGPIPE, and before this program handles any signal.
#[ctor::ctor(unsafe)]
fn remember() {
    was_ignored(Signal::SIGPIPE);
}

/// Whether the signal was ignored when this process started: the first call asks for all signals.
pub fn was_ignored(signal: Signal) -> bool {
    static IGNORED: OnceLock<SigSet> = OnceLock::new();
    let ignored = IGNORED.get_or_init(|| Signal::iterator().filter(|s| is_ignored(*s)).collect());
    ignored.contains(signal)
}

fn is_ignored(signal: Signal) -> bool {
    // SAFETY: zeros are a valid value of the structure, which has numbers and perhaps a function that may be null.
    let mut action: libc::sigaction = unsafe { zeroed() };
    // SAFETY: no new action is given, and the present one is written to the structure, which outlives the call.
    let asked = unsafe { libc::sigaction(signal as i32, ptr::null(), &mut action) };
    asked == 0 && action.sa_sigaction == libc::SIG_IGN
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use super::*;

    // A signal with its default action, or with a handler, is not ignored: rvlf would not pass it on.
    #[test]
    fn only_an_ignored_signal_is_ignored() {
        let flag = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(Signal::SIGUSR2 as i32, flag).expect("it may have a handler");
        assert!(!is_ignored(Signal::SIGUSR2));
        assert!(!is_ignored(Signal::SIGSTOP));
        // By the Rust runtime.
        assert!(is_ignored(Signal::SIGPIPE));
    }
}
