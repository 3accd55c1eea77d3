//! What a child process does between fork and exec: a few system calls, and nothing that allocates
//! or locks a mutex, since another thread of the parent may have been in the middle of either.

#![allow(unsafe_code, reason = "pre_exec")]

use std::io;
#[cfg(not(rvlf_unsupported))]
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

#[cfg(not(rvlf_unsupported))]
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

#[cfg(not(rvlf_unsupported))]
use super::descriptor::Descriptor;

/// Lets the child of `command` inherit `descriptor`, and no other child: in this process it stays
/// close-on-exec. The spawn fails if other code has closed the descriptor.
#[cfg(not(rvlf_unsupported))]
pub(crate) fn inherit(command: &mut Command, descriptor: Descriptor<OwnedFd>) {
    let keep_on_exec = move || {
        fcntl(descriptor.get()?, FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok(())
    };
    // SAFETY: the closure makes system calls on a descriptor that it owns, which are
    // async-signal-safe; it neither allocates nor locks.
    unsafe { command.pre_exec(keep_on_exec) };
}

/// The signal that a child gets when the thread that spawned it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeathSignal {
    Terminate,
    Kill,
}

/// Has the kernel signal the child of `command` when the thread that spawns it ends.
#[cfg(target_os = "linux")]
pub(crate) fn die_with_parent(command: &mut Command, signal: DeathSignal) {
    use nix::errno::Errno;
    use nix::sys::prctl::set_pdeathsig;
    use nix::sys::signal::Signal;
    use nix::unistd::{getpid, getppid};

    let signal = match signal {
        DeathSignal::Terminate => Signal::SIGTERM,
        DeathSignal::Kill => Signal::SIGKILL,
    };
    let parent = getpid();
    let request_signal = move || {
        set_pdeathsig(signal)?;
        // For a parent that died before the call above the kernel sends no signal.
        if getppid() != parent {
            return Err(io::Error::from(Errno::ESRCH));
        }
        Ok(())
    };
    // SAFETY: the closure makes two system calls that are async-signal-safe on Linux, and builds
    // its errors from a number without allocating; it takes no lock.
    unsafe { command.pre_exec(request_signal) };
}

/// Only Linux (and FreeBSD, untested) has such a signal.
#[cfg(not(target_os = "linux"))]
pub(crate) fn die_with_parent(_command: &mut Command, _signal: DeathSignal) {}
