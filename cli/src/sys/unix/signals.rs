//! Signals, as events of the main thread, and the means to wake it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
pub use nix::sys::signal::Signal;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::{Pid, getpgrp, getpid, getsid, tcgetpgrp};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};

use super::ignored::was_ignored;
use crate::events::{Event, Events};
use crate::failure::with_next_step;
use crate::{exit, messages};

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

/// Turns signals into events from now on, and has no message keep this thread from them. A signal that was
/// ignored when this process started (nohup(1)) stays ignored, here and in every child.
///
/// # Errors
///
/// No signal handler can be installed.
pub fn listen() -> io::Result<Events> {
    let signals = unblock().and_then(|()| undisturbed(Signals::handle));
    let signals = signals.map_err(|error| {
        let error = with_next_step(&error);
        io::Error::other(format!("cannot handle signals: {error}"))
    })?;
    messages::never_block();
    Ok(Events::new(signals))
}

/// Installs handlers while this thread, the only one that takes signals, takes none. signal-hook installs the
/// handler of a signal before it enters what the handler is to do: a signal in between would be swallowed.
/// Seen under load: SIGTERM ended no keeper, and `rvlf hold` waited on.
fn undisturbed<T>(install: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let installed = install();
    before.thread_set_mask()?;
    installed
}

/// The signals that have arrived.
///
/// The handlers write to a socket, which the main thread polls: other threads write to it as well.
#[derive(Debug)]
pub struct Signals {
    delivery: SignalDelivery<UnixStream, WithOrigin>,
    waker: Waker,
    /// Taken, and put back.
    first: Option<Event>,
}

/// Wakes the main thread.
#[derive(Clone, Debug)]
pub struct Waker(Arc<UnixStream>);

impl Waker {
    pub fn wake(&self) {
        // Fails if the socket is full: then the main thread wakes by what is in it.
        let _ = (&*self.0).write(&[0]);
    }
}

impl Signals {
    /// Installs the handlers.
    fn handle() -> io::Result<Signals> {
        let (read, write) = UnixStream::pair()?;
        write.set_nonblocking(true)?;
        let waker = Waker(Arc::new(write.try_clone()?));
        let numbers = handled().into_iter().map(|signal| signal as i32);
        let delivery = SignalDelivery::with_pipe(read, write, WithOrigin::default(), numbers)?;
        if let Some(has_default) = HAS_DEFAULT.get() {
            has_default.store(false, Ordering::SeqCst);
        }
        Ok(Signals {
            delivery,
            waker,
            first: None,
        })
    }

    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// A signal that has arrived. Takes the bytes that have woken this thread.
    pub fn take(&mut self) -> Option<Event> {
        let mut pending = self.delivery.pending();
        let first = self.first.take();
        first.or_else(|| pending.find_map(event_for))
    }

    /// The next call of `take` returns the event.
    pub fn put_back(&mut self, event: Option<Event>) {
        self.first = event;
    }

    /// Blocks until a signal arrives, a [`Waker`] wakes this thread, or the time is over.
    pub fn wait(&self, timeout: Option<Duration>) {
        let mut fds = [PollFd::new(
            self.delivery.get_read().as_fd(),
            PollFlags::POLLIN,
        )];
        // Rounded up: a timeout of less than a millisecond must not become a busy loop.
        let timeout = timeout.map(|timeout| timeout + Duration::from_millis(1));
        let timeout = timeout.map_or(PollTimeout::NONE, |timeout| {
            PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX)
        });
        // A signal interrupts the call.
        let _ = poll(&mut fds, timeout);
    }
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
    let has_default = has_default.clone();
    undisturbed(|| signal_hook::flag::register_conditional_default(sigterm, has_default)).map(drop)
}

/// The signals to handle: those that have an effect on a process that does not, unless they are ignored.
fn handled() -> Vec<Signal> {
    let has_handler = |signal| signal == Signal::SIGTERM && HAS_DEFAULT.get().is_some();
    let mut handled: Vec<Signal> = HANDLED.to_vec();
    handled.retain(|signal| !was_ignored(*signal) || has_handler(*signal));
    handled.push(Signal::SIGCHLD);
    handled
}

/// Unblocks the signals to handle. The parent may have blocked them before exec: `run` would never see its
/// command's end, and a mount that hangs could not be interrupted.
///
/// # Errors
///
/// pthread_sigmask(3) fails.
pub fn unblock() -> io::Result<()> {
    let handled: SigSet = handled().into_iter().collect();
    Ok(handled.thread_unblock()?)
}

/// Whether a Ctrl-C has arrived.
static CTRL_C: AtomicBool = AtomicBool::new(false);

/// Ends this process by SIGINT if a Ctrl-C has given it this exit status. bash ends a script at a Ctrl-C only if the
/// process that it waits for has died of that: a loop over `rvlf run` went on.
pub fn die_as_interrupted(status: u8) {
    let is_interrupted = status == exit::status_for_signal(Signal::SIGINT as i32);
    // The kernel gives PID 1 of a container no signal that it does not handle.
    if is_interrupted && CTRL_C.load(Ordering::Relaxed) && getpid() != Pid::from_raw(1) {
        let _ = signal_hook::low_level::emulate_default_handler(Signal::SIGINT as i32);
    }
}

fn event_for(origin: Origin) -> Option<Event> {
    match Signal::try_from(origin.signal).ok()? {
        Signal::SIGCHLD => Some(Event::Child),
        signal => {
            let from_terminal = is_from_terminal(signal, origin.cause, is_in_foreground);
            if from_terminal && signal == Signal::SIGINT {
                CTRL_C.store(true, Ordering::Relaxed);
            }
            Some(Event::Signal(Received {
                signal,
                from_terminal,
            }))
        }
    }
}

/// Whether a terminal has sent the signal to the whole foreground process group. At a hangup the session leader alone
/// gets SIGHUP; the group gets it when that leader ends. The kernel itself sends others, such as SIGALRM, to this
/// process alone.
///
/// Linux and FreeBSD say which signals the kernel has sent. macOS says nothing of any signal, and NetBSD and OpenBSD
/// nothing of those of the kernel: there each signal of a key counts as the terminal's while this process is in its
/// foreground.
fn is_from_terminal(signal: Signal, cause: Cause, is_in_foreground: fn() -> bool) -> bool {
    match (signal, cause) {
        (Signal::SIGINT | Signal::SIGQUIT | Signal::SIGWINCH, Cause::Kernel) => true,
        (Signal::SIGINT | Signal::SIGQUIT | Signal::SIGWINCH, Cause::Unknown) => is_in_foreground(),
        (Signal::SIGHUP, Cause::Kernel) => getsid(None) != Ok(getpid()),
        _ => false,
    }
}

/// Whether this process is in the foreground of its terminal, which need be none of its standard streams.
fn is_in_foreground() -> bool {
    File::open("/dev/tty").is_ok_and(|terminal| tcgetpgrp(terminal) == Ok(getpgrp()))
}

#[cfg(test)]
mod tests {
    use signal_hook::low_level::siginfo::Sent;

    use super::*;

    // macOS says of no signal who has sent it: a Ctrl-C reached the command from the terminal and once more from rvlf,
    // and at the second one many programs skip their clean-up.
    #[test]
    fn a_key_is_known_also_where_the_system_does_not_say_who_sent_the_signal() {
        let foreground = || true;
        let background = || false;
        for key in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGWINCH] {
            assert!(is_from_terminal(key, Cause::Kernel, background));
            assert!(is_from_terminal(key, Cause::Unknown, foreground));
            assert!(!is_from_terminal(key, Cause::Unknown, background));
            assert!(!is_from_terminal(key, Cause::Sent(Sent::User), foreground));
        }
        for other in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGALRM] {
            assert!(!is_from_terminal(other, Cause::Unknown, foreground));
        }
    }
}
