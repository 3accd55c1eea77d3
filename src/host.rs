//! What the package rvlf-object-store and the command need of this machine. Not a public interface: it changes
//! without notice.

use std::io;
use std::time::Duration;

use crate::record::{Hostname, Pid};
use crate::sync::thread::JoinHandle;
use crate::sys::{Host, Identity, Sys, thread};

/// One process, which a forked child is not, also where the child has its pid in another pid namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process(Identity);

impl Process {
    /// This process.
    ///
    /// # Errors
    ///
    /// The operating system does not report it: on Linux no procfs, or too many open files.
    pub fn current() -> io::Result<Process> {
        Host.identity().map(Process)
    }

    /// Whether this process is the one, and no forked child of it.
    #[must_use]
    pub fn is_current(&self) -> bool {
        match Host.identity() {
            Ok(identity) => identity == self.0,
            // Too many open files do not make a child.
            Err(_) => std::process::id() == self.0.pid.get(),
        }
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.0.pid
    }
}

/// The host name.
#[must_use]
pub fn hostname() -> Hostname {
    Host.hostname()
}

/// Fresh random bytes of the operating system.
///
/// # Errors
///
/// The operating system has none.
pub fn random() -> io::Result<[u8; 16]> {
    Host.random()
}

/// Time since boot, suspension included.
#[must_use]
pub fn since_boot() -> Duration {
    Host.now().since_boot
}

/// Unix time in nanoseconds.
#[must_use]
pub fn unix_ns() -> u64 {
    Host.now().realtime_ns
}

/// Starts a thread that takes no signals from the program around it.
///
/// # Errors
///
/// No thread can be started.
pub fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    thread::spawn(name, body)
}
