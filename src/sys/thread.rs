//! Threads that take no signals from the program around them.

use std::io;
#[cfg(all(any(unix, windows), not(rvlf_unsupported)))]
use std::time::Duration;

#[cfg(all(any(unix, windows), not(rvlf_unsupported)))]
use crate::sync::mpsc::channel;
use crate::sync::thread::{Builder, JoinHandle};

/// Starts a thread that blocks all signals but those of its own faults. Every thread of the library
/// is started here.
///
/// A program that reads SIGTERM from a signalfd, or that takes its signals on one thread, has
/// blocked them in all of its own threads. The kernel would give them to a thread of the library,
/// where their default action ends the process. A thread inherits the signal mask of the thread
/// that starts it, so the caller blocks the signals for the time of the start: the new thread never
/// runs without the mask.
///
/// # Errors
///
/// No thread can be started.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    #[cfg(all(unix, not(any(rvlf_shuttle, rvlf_unsupported))))]
    let _masked = mask::Masked::new()?;
    Builder::new().name(name.into()).spawn(body)
}

/// Drops a file on a thread of its own, if one can be started, and waits for that no longer than `time`.
#[cfg(all(any(unix, windows), not(rvlf_unsupported)))]
pub(super) fn drop_within(file: impl Send + 'static, time: Duration) {
    let (done, is_done) = channel();
    let started = spawn("rvlf-close", move || {
        drop(file);
        // The caller may wait no longer.
        let _ = done.send(());
    });
    if started.is_ok() {
        let _ = is_done.recv_timeout(time);
    }
}

#[cfg(all(unix, not(any(rvlf_shuttle, rvlf_unsupported))))]
mod mask {
    use nix::sys::signal::{SigSet, SigmaskHow, Signal};

    /// What a fault of the thread itself raises. POSIX leaves it undefined what happens if one of
    /// these is raised while it is blocked; the program's crash handler would not run.
    const FAULTS: [Signal; 4] = [
        Signal::SIGBUS,
        Signal::SIGFPE,
        Signal::SIGILL,
        Signal::SIGSEGV,
    ];

    /// The calling thread blocks all signals but [`FAULTS`] until this is dropped.
    pub(super) struct Masked {
        earlier: SigSet,
    }

    impl Masked {
        pub(super) fn new() -> nix::Result<Masked> {
            let mut blocked = SigSet::all();
            for fault in FAULTS {
                blocked.remove(fault);
            }
            let earlier = blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
            Ok(Masked { earlier })
        }
    }

    impl Drop for Masked {
        fn drop(&mut self) {
            // It fails only for an operation that does not exist.
            let _ = self.earlier.thread_set_mask();
        }
    }
}
