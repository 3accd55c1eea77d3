//! Signals, as messages to the main thread.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};

use nix::sys::signal::SigSet;
pub use nix::sys::signal::Signal;
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};

use crate::events::{Event, Events};
use crate::thread;

/// What ends a process that does not handle it, or means something to many that do.
const HANDLED: &[Signal] = &[
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGIO,
    #[cfg(target_os = "linux")]
    Signal::SIGPWR,
    // Has no effect on a process that does not handle it.
    Signal::SIGWINCH,
];

/// A signal that has arrived.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    pub signal: Signal,
    /// Whether a key or a hangup of the terminal caused the signal. The terminal sends it to the whole
    /// foreground process group.
    pub from_terminal: bool,
}

impl Received {
    /// The signal, if its default action ends a process.
    pub fn fatal(self) -> Option<Signal> {
        Some(self.signal).filter(|signal| *signal != Signal::SIGWINCH)
    }
}

/// Starts the thread that turns signals into events. A signal that was ignored when this process
/// started (nohup(1)) stays ignored, here and in every child.
///
/// # Errors
///
/// If no thread can be started or no signal handler can be installed.
pub fn listen() -> io::Result<Events> {
    let handled = handle();
    let mut signals =
        handled.map_err(|error| io::Error::other(format!("cannot handle signals: {error}")))?;
    if let Some(has_default) = HAS_DEFAULT.get() {
        has_default.store(false, Ordering::SeqCst);
    }
    let (sender, receiver) = channel();
    let events = sender.clone();
    thread::spawn("rvlf-signals", move || {
        for event in signals.forever().filter_map(event_for) {
            if events.send(event).is_err() {
                return;
            }
        }
    })?;
    Ok((sender, receiver))
}

/// Whether SIGTERM has its default action although it has a handler: until [`listen`] acts on it.
static HAS_DEFAULT: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Lets SIGTERM end this process, and reach [`listen`] later, although it was ignored when this process
/// started.
///
/// # Errors
///
/// No signal handler can be installed.
pub fn unignore_sigterm() -> io::Result<()> {
    let has_default = HAS_DEFAULT.get_or_init(|| Arc::new(AtomicBool::new(true)));
    // A signal that has a handler is not ignored. A handler that did nothing would swallow a signal that
    // arrives before the other one is installed.
    let sigterm = Signal::SIGTERM as i32;
    signal_hook::flag::register_conditional_default(sigterm, has_default.clone()).map(drop)
}

/// Installs the handlers.
fn handle() -> io::Result<SignalsInfo<WithOrigin>> {
    let ignored = ignored_signals();
    let mut handled: Vec<Signal> = HANDLED.to_vec();
    handled.retain(|signal| !ignored.contains(&(*signal as i32)));
    handled.push(Signal::SIGCHLD);
    // The parent may have blocked them before exec: `run` would never see its command's end.
    handled
        .iter()
        .copied()
        .collect::<SigSet>()
        .thread_unblock()?;

    let numbers = handled.iter().map(|signal| *signal as i32);
    SignalsInfo::new(numbers)
}

fn event_for(origin: Origin) -> Option<Event> {
    match Signal::try_from(origin.signal).ok()? {
        Signal::SIGCHLD => Some(Event::Child),
        signal => Some(Event::Signal(Received {
            signal,
            from_terminal: origin.cause == Cause::Kernel,
        })),
    }
}

/// The signals that this process ignores. Empty without procfs.
pub fn ignored_signals() -> BTreeSet<i32> {
    ignored_in(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())
}

/// From the text of /proc/PID/status. proc_pid_status(5)
fn ignored_in(status: &str) -> BTreeSet<i32> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Bit 0 is signal 1.
    let is_set = |signal: &i32| mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1);
    (1..=64).filter(is_set).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_counts_from_signal_1() {
        let is_ignored = |status, signal| ignored_in(status).contains(&(signal as i32));
        let status = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000001000\n";
        assert!(is_ignored(status, Signal::SIGPIPE));
        assert!(!is_ignored(status, Signal::SIGALRM));
        assert!(!is_ignored(status, Signal::SIGUSR2));
        assert!(!is_ignored("", Signal::SIGPIPE));
    }
}
