//! Marks on open file descriptions, by which a descriptor is known again.
//!
//! The kernel keeps a signal number with every open file description, for signal-driven I/O:
//! F_SETSIG. Without O_ASYNC, which is never set here, the number has no effect. A file that other
//! code opens has 0. fcntl(2)

#![allow(unsafe_code, reason = "F_SETSIG and F_GETSIG, which nix does not have")]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use nix::errno::Errno;
use nix::libc::{c_int, fcntl};

/// As in asm-generic/fcntl.h; the crate libc does not have them.
const F_SETSIG: c_int = 10;
const F_GETSIG: c_int = 11;

/// The marks are 1 to 28, in turn. Two descriptors of the library may have the same: the turns of their
/// number differ. Programs that use signal-driven I/O set SIGIO, which is 29 on most architectures, or a real-time
/// signal.
const MARKS: u8 = 28;

/// Marks the open file description. `None` where that cannot be done: on a descriptor that was
/// opened with O_PATH (EBADF), and in emulations of Linux.
pub(in crate::sys) fn mark(descriptor: BorrowedFd<'_>) -> Option<u8> {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    /// Whether this system has kept a mark: then it keeps the next ones, too.
    static ARE_KEPT: AtomicBool = AtomicBool::new(false);
    let mark = 1 + NEXT.fetch_add(1, Ordering::Relaxed) % MARKS;
    let number = descriptor.as_raw_fd();
    // SAFETY: the call takes three integers and touches no memory of this process.
    let set = unsafe { fcntl(number, F_SETSIG, c_int::from(mark)) };
    let is_kept = set == 0 && (ARE_KEPT.load(Ordering::Relaxed) || is_marked(descriptor, mark));
    ARE_KEPT.fetch_or(is_kept, Ordering::Relaxed);
    is_kept.then_some(mark)
}

/// Whether the open file description has this mark. Async-signal-safe; no I/O.
pub(in crate::sys) fn is_marked(descriptor: BorrowedFd<'_>, mark: u8) -> bool {
    // SAFETY: the call takes two integers and touches no memory of this process.
    let found = unsafe { fcntl(descriptor.as_raw_fd(), F_GETSIG) };
    // EBADF proves that the descriptor is closed. No other error is documented, and none proves
    // anything.
    found == c_int::from(mark) || found == -1 && Errno::last() != Errno::EBADF
}
