//! A process that is no child of this one: its end, and signals that cannot reach a later process with
//! the same pid.

use std::io;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

#[cfg(target_os = "linux")]
pub struct OtherProcess {
    pidfd: rustix::fd::OwnedFd,
}

#[cfg(target_os = "linux")]
impl OtherProcess {
    /// # Errors
    ///
    /// The process has ended, or the kernel is older than 5.3. pidfd_open(2)
    pub fn open(pid: Pid) -> io::Result<OtherProcess> {
        use rustix::process::{PidfdFlags, pidfd_open};

        let pid =
            rustix::process::Pid::from_raw(pid.as_raw()).ok_or(io::ErrorKind::InvalidInput)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(OtherProcess { pidfd })
    }

    /// Blocks until the process has ended.
    pub fn wait(&self) {
        while !self.has_ended_within(Duration::from_secs(3600)) {}
    }

    /// Whether the process ends within `timeout`. A zombie has ended.
    pub fn has_ended_within(&self, timeout: Duration) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        use rustix::io::retry_on_intr;

        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let timeout = Timespec::try_from(timeout).ok();
        let polled = retry_on_intr(|| poll(&mut fds, timeout.as_ref()));
        matches!(polled, Ok(1..))
    }

    /// Fails silently if the process has ended, or belongs to another user.
    pub fn signal(&self, signal: Signal) {
        let signal = rustix::process::Signal::from_named_raw(signal as i32);
        if let Some(signal) = signal {
            let _ = rustix::process::pidfd_send_signal(&self.pidfd, signal);
        }
    }
}

/// Elsewhere by the pid.
#[cfg(not(target_os = "linux"))]
pub struct OtherProcess {
    pid: Pid,
}

#[cfg(not(target_os = "linux"))]
impl OtherProcess {
    /// # Errors
    ///
    /// The process has ended.
    pub fn open(pid: Pid) -> io::Result<OtherProcess> {
        nix::sys::signal::kill(pid, None)?;
        Ok(OtherProcess { pid })
    }

    /// Blocks until the process has ended.
    pub fn wait(&self) {
        while !self.has_ended_within(Duration::from_secs(3600)) {}
    }

    /// Whether the process ends within `timeout`. Polls.
    pub fn has_ended_within(&self, timeout: Duration) -> bool {
        const INTERVAL: Duration = Duration::from_millis(100);
        let deadline = std::time::Instant::now() + timeout;
        while nix::sys::signal::kill(self.pid, None).is_ok() {
            if std::time::Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(INTERVAL.min(timeout));
        }
        true
    }

    /// Fails silently if the process has ended, or belongs to another user.
    pub fn signal(&self, signal: Signal) {
        let _ = nix::sys::signal::kill(self.pid, signal);
    }
}
