//! Standard error, which may be a pipe that no process reads.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::unistd::{getpgrp, tcgetpgrp};

/// A closed pipe is writable: the write fails at once.
pub fn is_writable_within(timeout: Duration) -> bool {
    let stderr = io::stderr();
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
    // A file that poll(2) does not know is written to.
    !matches!(poll_again(&mut fds, timeout), Ok(0))
}

/// poll(2), again if a signal interrupts it, which is neither an answer nor the end of the time.
pub fn poll_again(fds: &mut [PollFd<'_>], timeout: PollTimeout) -> nix::Result<i32> {
    loop {
        match poll(fds, timeout) {
            Err(Errno::EINTR) => {}
            polled => return polled,
        }
    }
}

/// Writes in the background as well: a terminal with `stty tostop` would stop this process, and whatever it has to
/// do next. termios(3), TOSTOP
pub fn without_stop<T>(write: impl FnOnce() -> T) -> T {
    let mut stop = SigSet::empty();
    stop.add(Signal::SIGTTOU);
    let before = stop.thread_swap_mask(SigmaskHow::SIG_BLOCK);
    let written = write();
    if let Ok(before) = before {
        let _ = before.thread_set_mask();
    }
    written
}

/// Whether this process may draw on its terminal: its process group is in the foreground.
pub fn is_in_foreground() -> bool {
    tcgetpgrp(io::stderr()) == Ok(getpgrp())
}
