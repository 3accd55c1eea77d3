//! Child processes of the process that holds the lock: that must not outlive it, and that ignore SIGPIPE.

#[cfg(unix)]
use std::process::Command;

#[cfg(unix)]
use crate::sys::child::{self, DeathSignal};
#[cfg(windows)]
pub use crate::sys::job::Job;

/// Has the kernel kill (SIGKILL) the child that `command` will spawn when the thread that spawned
/// it ends: for a child that writes the data file and does not inherit the lock
/// ([`WriterLock::lend_to`](crate::WriterLock::lend_to) does), and would write on without it.
///
/// The next holder may acquire the lock a moment before the child is dead. Processes that the child
/// started are not killed. Spawn the child from a thread that outlives it, in the process that made
/// this call. Works also after unshare(CLONE_NEWPID), from Linux 5.3 on. `command` keeps a
/// descriptor until it is dropped. On Linux (prctl(2), `PR_SET_PDEATHSIG`) and on FreeBSD, where the
/// end of the process counts and not that of a thread (procctl(2), `PROC_PDEATHSIG_CTL`). Elsewhere
/// this does nothing.
///
/// The kernel takes the signal back when the child changes its user or group in a later `pre_exec`
/// (setuid(2); [`CommandExt::uid`] comes before and does no harm), and when it executes a set-user-ID or
/// set-group-ID program, or one with capabilities: such a child is not killed.
///
/// For a child only: [`CommandExt::exec`], which replaces this process and gives up its locks, fails.
///
/// [`CommandExt::uid`]: std::os::unix::process::CommandExt::uid
/// [`CommandExt::exec`]: std::os::unix::process::CommandExt::exec
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("log");
/// let lock = rvlf::WriterLock::try_acquire(&path)?;
/// let mut command = std::process::Command::new("true");
/// rvlf::process::kill_with_parent(&mut command);
/// assert!(command.status()?.success());
/// lock.release()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg(unix)]
pub fn kill_with_parent(command: &mut Command) {
    child::die_with_parent(command, DeathSignal::Kill);
}

/// Starts the child that `command` will spawn with SIGPIPE ignored: `std::process` resets the signal to its
/// default, which kills a child that writes to a closed pipe, perhaps in the middle of a write to the data
/// file.
///
/// For a program that passes on what it was started with, as systemd starts its services. This
/// process makes no system call.
///
/// ```
/// let mut command = std::process::Command::new("grep");
/// command.args(["^SigIgn:", "/proc/self/status"]);
/// rvlf::process::ignore_sigpipe(&mut command);
/// let output = command.output()?;
/// println!("{}", String::from_utf8_lossy(&output.stdout)); // SigIgn: 0000000000001000
/// # Ok::<(), std::io::Error>(())
/// ```
#[cfg(unix)]
pub fn ignore_sigpipe(command: &mut Command) {
    child::ignore_sigpipe(command);
}
