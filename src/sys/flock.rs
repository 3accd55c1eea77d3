//! flock(2), where its lock belongs to the open file description: the children of a holder share it,
//! and no other descriptor of the holder's process can drop it. Only then is the lock a witness of
//! its holder's life.
//!
//! The call itself, not std's `try_lock`: that one needs Rust 1.89, fails on Android, DragonFly and
//! Haiku although they have flock(2), and takes a lock of fcntl(2) on Solaris.

use std::fs::File;
use std::io;

use super::{Flock, FlockOutcome, kind_of};

#[cfg(any(
    target_os = "android",
    target_os = "dragonfly",
    target_os = "freebsd",
    target_os = "haiku",
    target_os = "illumos",
    target_os = "linux",
    target_os = "netbsd",
    target_os = "openbsd",
    target_vendor = "apple",
))]
pub(super) fn flock(file: &File, operation: Flock) -> io::Result<FlockOutcome> {
    use std::os::fd::AsRawFd;

    use nix::fcntl::FlockArg;

    use super::calls::retry;

    let operation = match operation {
        Flock::Shared => FlockArg::LockSharedNonblock,
        Flock::Exclusive => FlockArg::LockExclusiveNonblock,
        Flock::Unlock => FlockArg::Unlock,
    };
    // nix's newer call owns the file and unlocks it on drop, also a lock that a child shares.
    #[allow(
        deprecated,
        reason = "a release must close the file, and not unlock it"
    )]
    let flock = |number| nix::fcntl::flock(number, operation);
    // Not nix's errors: they have no ENOTSUPP.
    let outcome = retry(|| flock(file.as_raw_fd()).map_err(|_| io::Error::last_os_error()));
    match outcome {
        Ok(()) => Ok(FlockOutcome::Done),
        Err(error) => refused(error),
    }
}

/// What flock(2) answers where it does not lock.
#[allow(dead_code, reason = "not where there is no flock(2)")]
fn refused(error: io::Error) -> io::Result<FlockOutcome> {
    use nix::errno::Errno;

    use super::calls::errno;

    /// A number of the Linux kernel's own that some file systems let through.
    const ENOTSUPP: i32 = 524;

    match errno(&error) {
        Errno::EWOULDBLOCK => Ok(FlockOutcome::WouldBlock),
        Errno::EINVAL | Errno::ENOLCK => Ok(FlockOutcome::Unsupported),
        _ if kind_of(&error) == io::ErrorKind::Unsupported => Ok(FlockOutcome::Unsupported),
        _ if error.raw_os_error() == Some(ENOTSUPP) => Ok(FlockOutcome::Unsupported),
        _ => Err(error),
    }
}

/// Solaris has locks of fcntl(2) alone: they belong to the process, and go when it closes any
/// descriptor of the file. Of other systems it is not known. Age is no substitute: it would break the
/// lock of a process of this machine that was stopped for minutes.
#[cfg(not(any(
    target_os = "android",
    target_os = "dragonfly",
    target_os = "freebsd",
    target_os = "haiku",
    target_os = "illumos",
    target_os = "linux",
    target_os = "netbsd",
    target_os = "openbsd",
    target_vendor = "apple",
)))]
pub(super) fn flock(_file: &File, _operation: Flock) -> io::Result<FlockOutcome> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "this operating system has no kernel lock that shows whether a holder lives",
    ))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use nix::libc;

    use super::*;

    // A file system without locks answers ENOTSUP, which is not EOPNOTSUPP on macOS: every acquisition on a share
    // failed there with "try again".
    #[test]
    fn a_file_system_without_locks_is_no_error_by_whatever_number_it_says_so() {
        let numbers = [
            libc::ENOTSUP,
            libc::EOPNOTSUPP,
            libc::ENOSYS,
            libc::EINVAL,
            libc::ENOLCK,
            524,
        ];
        for number in numbers {
            let outcome = refused(io::Error::from_raw_os_error(number));
            assert!(
                matches!(outcome, Ok(FlockOutcome::Unsupported)),
                "{number}: {outcome:?}"
            );
        }
        let failed = refused(io::Error::from_raw_os_error(libc::EIO));
        assert!(failed.is_err(), "a fault of the disk is no answer");
    }
}
