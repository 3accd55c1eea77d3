//! A process that is no child of this one: its end, and signals that cannot reach a later process with
//! the same pid.

use std::io;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::retry_on_intr;

pub struct OtherProcess {
    pid: Pid,
    /// Readable from the end of the process on. `None` if the kernel does not report the end to this process.
    end: Option<OwnedFd>,
}

impl OtherProcess {
    /// # Errors
    ///
    /// The process has ended; where the kernel does not report its end, the next question shows that. Or Linux is
    /// older than 5.3. pidfd_open(2)
    pub fn open(pid: Pid) -> io::Result<OtherProcess> {
        let end = end_of(pid)?;
        Ok(OtherProcess { pid, end })
    }

    /// Blocks until the process has ended.
    pub fn wait(&self) {
        while !self.has_ended_within(Duration::from_secs(3600)) {}
    }

    /// Whether the process ends within `timeout`. A zombie has ended.
    pub fn has_ended_within(&self, timeout: Duration) -> bool {
        match &self.end {
            Some(end) => is_readable_within(end, timeout),
            None => is_gone_within(self.pid, timeout),
        }
    }

    /// Fails silently if the process has ended, or belongs to another user.
    pub fn signal(&self, signal: Signal) {
        #[cfg(target_os = "linux")]
        if let Some(pidfd) = &self.end {
            let signal = rustix::process::Signal::from_named_raw(signal as i32);
            let _ = signal.map(|signal| rustix::process::pidfd_send_signal(pidfd, signal));
            return;
        }
        // After the end another process may have the pid.
        if !self.has_ended_within(Duration::ZERO) {
            let _ = kill(self.pid, signal);
        }
    }
}

#[cfg(target_os = "linux")]
fn end_of(pid: Pid) -> io::Result<Option<OwnedFd>> {
    use rustix::process::{PidfdFlags, pidfd_open};

    let pid = rustix::process::Pid::from_raw(pid.as_raw()).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(Some(pidfd_open(pid, PidfdFlags::empty())?))
}

/// A queue whose only event is never taken: as long as it is there, poll(2) reports the queue. kqueue(2)
#[cfg(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly"
))]
fn end_of(pid: Pid) -> io::Result<Option<OwnedFd>> {
    use nix::sys::event::{EvFlags, EventFilter, FilterFlag, KEvent, Kqueue};

    let process = usize::try_from(pid.as_raw()).map_err(io::Error::other)?;
    let queue = Kqueue::new()?;
    let end = KEvent::new(
        process,
        EventFilter::EVFILT_PROC,
        EvFlags::EV_ADD,
        FilterFlag::NOTE_EXIT,
        0,
        0,
    );
    match queue.kevent(&[end], &mut [], None) {
        Ok(_) => Ok(Some(queue.into())),
        // NetBSD and OpenBSD report no ends of the processes of other users.
        Err(Errno::EACCES | Errno::EPERM) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(any(
    target_os = "linux",
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly"
)))]
fn end_of(_pid: Pid) -> io::Result<Option<OwnedFd>> {
    Ok(None)
}

fn is_readable_within(end: &OwnedFd, timeout: Duration) -> bool {
    let mut fds = [PollFd::new(end, PollFlags::IN)];
    let timeout = Timespec::try_from(timeout).ok();
    let polled = retry_on_intr(|| poll(&mut fds, timeout.as_ref()));
    matches!(polled, Ok(1..))
}

/// Asks for the pid again and again. A process has its pid until its parent has waited for it.
fn is_gone_within(pid: Pid, timeout: Duration) -> bool {
    const INTERVAL: Duration = Duration::from_millis(100);
    let deadline = Instant::now() + timeout;
    while !is_gone(kill(pid, None)) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        std::thread::sleep(INTERVAL.min(left));
    }
    true
}

/// Whether the answer to a signal says that no process has the pid. EPERM says that one does, of another user.
fn is_gone(answer: nix::Result<()>) -> bool {
    answer == Err(Errno::ESRCH)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    // The script executed sudo: the keeper took the refusal of its question for the end of the script, and let the
    // lock go while the script wrote.
    #[test]
    fn a_process_that_may_not_be_signalled_has_not_ended() {
        assert!(!is_gone(Ok(())));
        assert!(!is_gone(Err(Errno::EPERM)));
        assert!(is_gone(Err(Errno::ESRCH)));
    }

    // As on a system that reports the end of no process. The signal after the end would reach the next process with
    // the pid.
    #[test]
    fn a_process_whose_end_is_not_reported_has_ended_when_its_pid_is_free() {
        let mut child = Command::new("sleep").arg("1000").spawn().expect("sleep(1)");
        let process = OtherProcess {
            pid: Pid::from_raw(child.id() as i32),
            end: None,
        };
        assert!(!process.has_ended_within(Duration::ZERO));
        process.signal(Signal::SIGKILL);
        child.wait().expect("it is a child of this process");
        assert!(process.has_ended_within(Duration::ZERO));
        process.wait();
    }
}
