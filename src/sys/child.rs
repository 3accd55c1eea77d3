//! What a child process does between fork and exec: a few system calls, and nothing that allocates
//! or locks a mutex, since another thread of the parent may have been in the middle of either.

#![allow(unsafe_code, reason = "pre_exec")]

#[cfg(not(rvlf_unsupported))]
use std::fs::File;
#[cfg(not(rvlf_unsupported))]
use std::io;
#[cfg(not(rvlf_unsupported))]
use std::os::unix::process::CommandExt;
use std::process::Command;
#[cfg(not(rvlf_unsupported))]
use std::sync::Weak;

#[cfg(not(rvlf_unsupported))]
use nix::errno::Errno;
#[cfg(not(rvlf_unsupported))]
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

#[cfg(not(rvlf_unsupported))]
use super::descriptor::Descriptor;
#[cfg(not(rvlf_unsupported))]
use super::{Identity, platform};

/// Refuses to do in the process that prepares a command what is for the child of that command.
///
/// std also runs it before `exec`, which replaces this process: there a lent descriptor would be
/// inherited by every later child, and this process would get the death signal.
#[cfg(not(rvlf_unsupported))]
struct OnlyInChild {
    /// `None` if this process cannot be identified: then its pid alone is known.
    process: Option<Identity>,
    pid: u32,
    /// Made in advance, since nothing may allocate after a fork.
    refusal: Option<io::Error>,
}

#[cfg(not(rvlf_unsupported))]
impl OnlyInChild {
    fn of_this_process() -> OnlyInChild {
        let refusal = "this command is for a child process: start it with spawn, status or output \
                       (exec would replace this process, and with it give up its locks)";
        OnlyInChild {
            process: platform::identity().ok(),
            pid: std::process::id(),
            refusal: Some(io::Error::new(io::ErrorKind::Unsupported, refusal)),
        }
    }

    /// Async-signal-safe.
    fn check(&mut self) -> io::Result<()> {
        // Not the pid alone: in a pid namespace of its own a child may have its parent's.
        let is_child = match self.process {
            Some(process) => !platform::is_this_process(process),
            None => std::process::id() != self.pid,
        };
        match is_child {
            true => Ok(()),
            false => Err(self.refusal.take().unwrap_or_else(|| Errno::EPERM.into())),
        }
    }
}

/// Lets the child of `command` inherit `descriptor`, and no other child: in this process it stays
/// close-on-exec. The spawn fails if the descriptor is dropped by then, or other code has closed it.
#[cfg(not(rvlf_unsupported))]
pub(crate) fn inherit(command: &mut Command, descriptor: Weak<Descriptor<File>>) {
    let mut only_in_child = OnlyInChild::of_this_process();
    let keep_on_exec = move || {
        only_in_child.check()?;
        let descriptor = descriptor.upgrade().ok_or(Errno::EBADF)?;
        fcntl(descriptor.get()?, FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok(())
    };
    // SAFETY: the closure counts atomically, and makes system calls that are async-signal-safe on a
    // descriptor that stays open as long as the closure counts it; it neither allocates nor locks.
    unsafe { command.pre_exec(keep_on_exec) };
}

/// Starts the child of `command` with SIGPIPE ignored, which std resets to its default before.
#[cfg(not(rvlf_unsupported))]
pub(crate) fn ignore_sigpipe(command: &mut Command) {
    use nix::sys::signal::{SigHandler, Signal, signal};

    let ignore = || {
        // SAFETY: no handler is installed that could run, and the call is async-signal-safe.
        unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) }?;
        Ok(())
    };
    // SAFETY: the closure makes one system call that is async-signal-safe; it neither allocates nor locks.
    unsafe { command.pre_exec(ignore) };
}

#[cfg(rvlf_unsupported)]
pub(crate) fn ignore_sigpipe(_command: &mut Command) {}

/// The signal that a child gets when the thread that spawned it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeathSignal {
    Terminate,
    Kill,
}

#[cfg(all(any(target_os = "linux", target_os = "freebsd"), not(rvlf_unsupported)))]
impl DeathSignal {
    fn of_the_system(self) -> nix::sys::signal::Signal {
        match self {
            DeathSignal::Terminate => nix::sys::signal::Signal::SIGTERM,
            DeathSignal::Kill => nix::sys::signal::Signal::SIGKILL,
        }
    }
}

/// Has the kernel signal the child of `command` when the thread that spawns it ends.
#[cfg(all(target_os = "linux", not(rvlf_unsupported)))]
pub(crate) fn die_with_parent(command: &mut Command, signal: DeathSignal) {
    use nix::sys::prctl::set_pdeathsig;

    let signal = signal.of_the_system();
    let parent = parent::Parent::this_process();
    let mut only_in_child = OnlyInChild::of_this_process();
    let request_signal = move || {
        only_in_child.check()?;
        set_pdeathsig(signal)?;
        // For a parent that died before the call above the kernel sends no signal.
        match parent.is_alive() {
            Some(true) => Ok(()),
            Some(false) => exit_without_parent(),
            None => Err(Errno::ESRCH.into()),
        }
    };
    // SAFETY: the closure makes system calls that are async-signal-safe on Linux, on a descriptor
    // that it owns, and builds its errors from a number without allocating; it takes no lock.
    unsafe { command.pre_exec(request_signal) };
}

/// The same when the process ends that spawns the child. procctl(2), PROC_PDEATHSIG_CTL
#[cfg(all(target_os = "freebsd", not(rvlf_unsupported)))]
pub(crate) fn die_with_parent(command: &mut Command, signal: DeathSignal) {
    use nix::libc::{P_PID, PROC_PDEATHSIG_CTL, c_int, procctl};
    use nix::unistd::{getpid, getppid};

    let (signal, parent) = (signal.of_the_system() as c_int, getpid());
    let mut only_in_child = OnlyInChild::of_this_process();
    let request_signal = move || {
        only_in_child.check()?;
        let mut number = signal;
        let address = (&raw mut number).cast();
        // SAFETY: the kernel reads one integer at the address, which outlives the call.
        Errno::result(unsafe { procctl(P_PID, 0, PROC_PDEATHSIG_CTL, address) })?;
        // For a parent that died before the call above the kernel sends no signal.
        match getppid() == parent {
            true => Ok(()),
            false => exit_without_parent(),
        }
    };
    // SAFETY: the closure makes system calls that are async-signal-safe, and builds its errors from a
    // number without allocating; it takes no lock.
    unsafe { command.pre_exec(request_signal) };
}

/// Ends a child whose parent has ended. An error could not be reported: std would abort the child, with
/// a message on the standard error that the user has done nothing to deserve.
#[cfg(all(any(target_os = "linux", target_os = "freebsd"), not(rvlf_unsupported)))]
fn exit_without_parent() -> ! {
    // SAFETY: _exit(2) is async-signal-safe, and runs no exit handler of the parent.
    unsafe { nix::libc::_exit(1) }
}

/// No other system has such a signal.
#[cfg(any(not(any(target_os = "linux", target_os = "freebsd")), rvlf_unsupported))]
pub(crate) fn die_with_parent(_command: &mut Command, _signal: DeathSignal) {}

#[cfg(all(target_os = "linux", not(rvlf_unsupported)))]
mod parent {
    use std::os::fd::{AsFd, OwnedFd};

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::unistd::{Pid, getpid, getppid};

    use super::super::calls::retry;
    use super::super::descriptor::Descriptor;
    use super::super::platform;

    /// The process that spawns a child, for a look from the child.
    pub(super) struct Parent {
        pid: Pid,
        /// Becomes readable when the process ends. `None` where there is no pidfd: before Linux 5.3,
        /// in a sandbox, or with too many open files.
        end: Option<Descriptor<OwnedFd>>,
    }

    impl Parent {
        pub(super) fn this_process() -> Parent {
            Parent {
                pid: getpid(),
                end: platform::end_of_this_process(),
            }
        }

        /// In the child, between fork and exec. `None` if that is not known.
        pub(super) fn is_alive(&self) -> Option<bool> {
            match getppid() {
                // After unshare(CLONE_NEWPID) in the parent the child is in another pid namespace,
                // where its parent has no pid. getppid(2)
                outside if outside.as_raw() == 0 => self.has_not_ended(),
                parent => Some(parent == self.pid),
            }
        }

        fn has_not_ended(&self) -> Option<bool> {
            let end = self.end.as_ref()?.get().ok()?;
            let mut polled = [PollFd::new(end.as_fd(), PollFlags::POLLIN)];
            // A signal would look like the end of the parent, and the child would execute nothing.
            let ended = retry(|| poll(&mut polled, PollTimeout::ZERO)).ok()?;
            Some(ended == 0)
        }
    }
}
