//! [`Latch`]: a flag that is set once and wakes the threads that wait for it.

use std::time::Duration;

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Instant, thread};

#[cfg(all(unix, not(rvlf_unsupported)))]
use pipe::Pipe;

#[cfg(all(windows, not(rvlf_unsupported)))]
use super::windows::event::{self, Event};

/// A flag that is set once, from any thread or signal handler, and wakes every waiter.
///
/// Waiters poll a pipe that is filled when the flag is set and never drained: it stays readable, so
/// any number of waiters sees it.
#[derive(Debug)]
pub(crate) struct Latch {
    set: AtomicBool,
    #[cfg(all(unix, not(rvlf_unsupported)))]
    pipe: Option<Pipe>,
    #[cfg(all(windows, not(rvlf_unsupported)))]
    event: Option<Event>,
}

/// The longest time until a waiter without a pipe to poll notices that a latch was set.
pub(super) const SLICE: Duration = Duration::from_millis(50);

impl Latch {
    pub(crate) fn new() -> Latch {
        Latch {
            set: AtomicBool::new(false),
            #[cfg(all(unix, not(rvlf_unsupported)))]
            pipe: Pipe::new().ok(),
            #[cfg(all(windows, not(rvlf_unsupported)))]
            event: Event::new().ok(),
        }
    }

    /// Async-signal-safe: an atomic store and a write(2) of one byte to a pipe that is empty.
    pub(crate) fn set(&self) {
        let was_set = self.set.swap(true, Ordering::SeqCst);
        if !was_set {
            self.wake();
        }
    }

    /// Makes the pipe readable for those who poll it.
    fn wake(&self) {
        #[cfg(all(unix, not(rvlf_unsupported)))]
        if let Some(pipe) = &self.pipe {
            pipe.fill();
        }
        #[cfg(all(windows, not(rvlf_unsupported)))]
        if let Some(event) = &self.event {
            event.set();
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.set.load(Ordering::SeqCst)
    }

    /// A descriptor that becomes readable when the latch is set. `None` in a forked child, which
    /// shares the pipe and not the flag, and if other code has closed the descriptor.
    #[cfg(all(unix, not(rvlf_unsupported)))]
    pub(super) fn descriptor(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.pipe.as_ref()?.reader()
    }
}

#[cfg(all(windows, not(rvlf_unsupported)))]
impl Latch {
    /// A handle that is signalled when the latch is set.
    pub(super) fn handle(&self) -> Option<std::os::windows::io::BorrowedHandle<'_>> {
        self.event.as_ref().map(Event::handle)
    }
}

/// Sleeps until one of `latches` is set or `timeout` has passed. Whether one is set.
pub(crate) fn wait_any(latches: &[&Latch], timeout: Duration) -> bool {
    let start = Instant::now();
    loop {
        if latches.iter().any(|latch| latch.is_set()) {
            return true;
        }
        let left = timeout.saturating_sub(start.elapsed());
        if left.is_zero() {
            return false;
        }
        poll_any(latches, left);
    }
}

/// How long one poll takes at the most: if other code closes the pipe during the poll, no event ends
/// it.
const LONGEST_POLL: Duration = Duration::from_secs(1);

/// Sleeps for `timeout` at most; returns early if a latch may have been set.
fn poll_any(latches: &[&Latch], timeout: Duration) {
    if !has_polled(latches, timeout) {
        let longest = if latches.is_empty() { timeout } else { SLICE };
        thread::sleep(timeout.min(longest));
    }
}

/// Sleeps as [`poll_any`] does. `false` if the latches cannot be polled, and no time has passed.
#[cfg(all(unix, not(rvlf_unsupported)))]
fn has_polled(latches: &[&Latch], timeout: Duration) -> bool {
    let descriptors: Option<Vec<_>> = latches.iter().map(|latch| latch.descriptor()).collect();
    let poll = |all: Vec<_>| super::poll::poll_readable(&all, timeout.min(LONGEST_POLL));
    descriptors
        .map(poll)
        .is_some_and(|polled| has_slept(&polled))
}

/// Whether a poll slept: until a latch was set, its time was over, or a signal came, whose handler may have
/// set a latch.
#[cfg(all(unix, not(rvlf_unsupported)))]
fn has_slept<T>(polled: &nix::Result<T>) -> bool {
    matches!(polled, Ok(_) | Err(nix::errno::Errno::EINTR))
}

#[cfg(all(windows, not(rvlf_unsupported)))]
fn has_polled(latches: &[&Latch], timeout: Duration) -> bool {
    let handles: Option<Vec<_>> = latches.iter().map(|latch| latch.handle()).collect();
    let handles = handles.filter(|all| !all.is_empty() && all.len() <= event::MOST);
    handles.is_some_and(|all| event::wait(&all, timeout).is_ok())
}

#[cfg(any(not(any(unix, windows)), rvlf_unsupported))]
fn has_polled(_latches: &[&Latch], _timeout: Duration) -> bool {
    false
}

#[cfg(all(unix, not(rvlf_unsupported)))]
mod pipe {
    use std::fs::File;
    use std::io::{self, Write};
    use std::os::fd::{AsFd, BorrowedFd};

    use super::super::calls::pipe;
    use super::super::descriptor::Descriptor;
    use super::super::{Identity, platform};

    #[derive(Debug)]
    pub(super) struct Pipe {
        reader: Descriptor<File>,
        writer: Descriptor<File>,
        /// Not the pid alone: in a pid namespace of its own a forked child may have its parent's.
        process: Identity,
    }

    impl Pipe {
        pub(super) fn new() -> io::Result<Pipe> {
            let (reader, writer) = pipe()?;
            let process = platform::identity()?;
            Ok(Pipe {
                reader: Descriptor::new(reader)?,
                writer: Descriptor::new(writer)?,
                process,
            })
        }

        pub(super) fn reader(&self) -> Option<BorrowedFd<'_>> {
            let reader = self.reader.get().ok()?;
            self.is_of_this_process().then(|| reader.as_fd())
        }

        /// Does nothing in a forked child: the parent's waiters would see a pipe that is readable and
        /// a latch that is not set, and would poll without a pause.
        pub(super) fn fill(&self) {
            let writer = self.is_of_this_process().then(|| self.writer.get());
            if let Some(Ok(mut writer)) = writer {
                // The pipe is empty and its reader is open: the write neither blocks nor fails.
                let _ = writer.write(&[1]);
            }
        }

        fn is_of_this_process(&self) -> bool {
            platform::is_this_process(self.process)
        }
    }
}

#[cfg(all(test, unix, not(rvlf_unsupported)))]
mod tests {
    use super::*;
    use nix::errno::Errno;

    // A signal handler that cancels a token, or a profiler's timer, interrupts the poll. That was taken for
    // latches that cannot be polled: a slice of 50 ms was slept, in which no latch could wake the waiter.
    #[test]
    fn no_slice_is_slept_after_a_signal() {
        assert!(has_slept(&Err::<(), _>(Errno::EINTR)));
        assert!(has_slept(&Ok(())));
        for cannot_poll in [Errno::ENOMEM, Errno::EINVAL] {
            assert!(!has_slept(&Err::<(), _>(cannot_poll)), "else it would spin");
        }
    }
}
