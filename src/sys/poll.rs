//! poll(2) for descriptors that become readable.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sync::sleep_in_call;

/// Which of `descriptors` are readable within `timeout`. poll(2)
///
/// # Errors
///
/// EINTR comes through: the caller knows how much time is left.
pub(super) fn poll_readable(
    descriptors: &[BorrowedFd<'_>],
    timeout: Duration,
) -> nix::Result<Vec<bool>> {
    let mut polled: Vec<_> = descriptors
        .iter()
        .map(|descriptor| PollFd::new(*descriptor, PollFlags::POLLIN))
        .collect();
    let poll = |timeout: Duration| {
        // Up to the next millisecond: the last fraction of one would become a busy loop.
        let millis = timeout.as_nanos().div_ceil(1_000_000);
        let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
        poll(&mut polled, timeout)
    };
    sleep_in_call(timeout, poll, |ready| *ready != Ok(0))?;
    Ok(polled.iter().map(|fd| fd.any() == Some(true)).collect())
}
