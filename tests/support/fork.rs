//! Children without exec.
#![allow(unsafe_code, reason = "fork(2)")]

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};

/// Forks a child that runs `body`. The child exits with 0 if `body` returned true, with 1 if it
/// returned false and with 2 if it panicked.
pub fn fork(body: impl FnOnce() -> bool) -> Pid {
    // SAFETY: glibc keeps malloc usable in the child of a process with several threads. What a thread
    // of the library may have locked is what these tests are about: the library must not wait for it
    // in the child. The child never returns from this function.
    match unsafe { nix::unistd::fork() }.expect("the system has room for one process") {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            let status = match outcome {
                Ok(true) => 0,
                Ok(false) => 1,
                Err(_) => 2,
            };
            // SAFETY: _exit(2) ends the child without running the exit handlers of the parent.
            unsafe { nix::libc::_exit(status) }
        }
    }
}

/// Waits for a forked child whose body must return true.
#[track_caller]
pub fn join(child: Pid, promise: &str) {
    let status = waitpid(child, None).expect("the process is a child of this one");
    assert_eq!(status, WaitStatus::Exited(child, 0), "{promise}");
}

/// Runs `body` in a forked child; whether it returned true.
pub fn succeeds_in_fork(body: impl FnOnce() -> bool) -> bool {
    let child = fork(body);
    let status = waitpid(child, None).expect("the process is a child of this one");
    status == WaitStatus::Exited(child, 0)
}
