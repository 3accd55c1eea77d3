//! Child processes that must not outlive the process that holds the lock.

use std::process::Command;

use crate::sys::child::{self, DeathSignal};

/// Has the kernel kill (SIGKILL) the child that `command` will spawn when the thread that spawned
/// it ends: for a child that writes the data file and does not inherit the lock
/// ([`WriterLock::lend_to`](crate::WriterLock::lend_to) does), and would write on without it.
///
/// The next holder may acquire the lock a moment before the child is dead. Processes that the child
/// started are not killed. Spawn the child from a thread that outlives it, in the process that made
/// this call. Works also after unshare(CLONE_NEWPID), from Linux 5.3 on. `command` keeps a
/// descriptor until it is dropped. Linux only: elsewhere this does nothing. prctl(2),
/// `PR_SET_PDEATHSIG`
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
pub fn kill_with_parent(command: &mut Command) {
    child::die_with_parent(command, DeathSignal::Kill);
}
