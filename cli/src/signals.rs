//! What wakes the main thread: signals first of all, which arrive as messages like everything else.

use std::collections::BTreeSet;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use nix::sys::signal::{SigSet, Signal};
use rvlf::Lost;
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::Cause;

/// Something that the main thread has to act on.
#[derive(Debug)]
pub enum Event {
    /// A signal that would have ended this process.
    Signal {
        signal: Signal,
        /// Whether a key or the hangup of the terminal sent it: then the whole foreground process
        /// group has got it, too.
        from_terminal: bool,
    },
    /// A child process has ended or stopped.
    Child,
    /// What was being waited for has come to its end.
    WorkDone,
    /// The lock was lost.
    Lost(Lost),
}

const FATAL: [Signal; 4] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
];

/// Starts to turn signals into events. Those that this process was started to ignore (nohup(1))
/// stay ignored, here and in what it starts.
pub fn listen() -> io::Result<(Sender<Event>, Receiver<Event>)> {
    let ignored = ignored();
    let mut handled: Vec<Signal> = FATAL.to_vec();
    handled.retain(|signal| !ignored.contains(&(*signal as i32)));
    handled.push(Signal::SIGCHLD);
    // Whoever started us may have blocked them; then `run` would never hear of its command's end.
    handled
        .iter()
        .copied()
        .collect::<SigSet>()
        .thread_unblock()?;

    let numbers = handled.iter().map(|signal| *signal as i32);
    let mut signals = SignalsInfo::<WithOrigin>::new(numbers)?;
    let (sender, receiver) = channel();
    let events = sender.clone();
    thread::Builder::new()
        .name("rvlf-signals".into())
        .spawn(move || {
            for origin in signals.forever() {
                let Ok(signal) = Signal::try_from(origin.signal) else {
                    continue;
                };
                let event = match signal {
                    Signal::SIGCHLD => Event::Child,
                    signal => Event::Signal {
                        signal,
                        from_terminal: origin.cause == Cause::Kernel,
                    },
                };
                if events.send(event).is_err() {
                    return;
                }
            }
        })?;
    Ok((sender, receiver))
}

/// The signals that this process ignores. proc_pid_status(5); without procfs, none.
fn ignored() -> BTreeSet<i32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    (1..=64)
        .filter(|signal| mask >> (signal - 1) & 1 == 1)
        .collect()
}
