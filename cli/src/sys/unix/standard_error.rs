//! Standard error, which may be a pipe that no process reads.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A closed pipe is writable: the write fails at once.
pub fn is_writable_within(timeout: Duration) -> bool {
    let stderr = io::stderr();
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
    // A file that poll(2) does not know is written to.
    !matches!(poll(&mut fds, timeout), Ok(0))
}
