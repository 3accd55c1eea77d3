//! POSIX record locks, by which holders of the lock under test detect each other. The kernel grants one to
//! one process, and releases it at the process's death.

use std::fs::File;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// The range of a file from `start`, of `len` bytes or, with 0, to its end.
pub fn record_range(kind: libc::c_int, start: libc::off_t, len: libc::off_t) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: len,
        l_pid: 0,
    }
}

/// Takes the lock of the whole file, which no other live process may have. Returns the pid of a process
/// that has it.
///
/// The lock ends with its process, but not at the same moment as the flock: a process that is ending may
/// have it a little longer.
pub fn take_record_lock(file: &File) -> Result<(), i32> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let mut range = record_range(libc::F_WRLCK, 0, 0);
        match fcntl(file, FcntlArg::F_SETLK(&range)) {
            Ok(_) => return Ok(()),
            Err(Errno::EAGAIN | Errno::EACCES) => {}
            Err(error) => panic!("a local file system has record locks: {error}"),
        }
        fcntl(file, FcntlArg::F_GETLK(&mut range)).expect("a local file system has record locks");
        let dead = range.l_type == libc::F_UNLCK as libc::c_short || is_ending(range.l_pid);
        if !dead {
            return Err(range.l_pid);
        }
        assert!(Instant::now() < deadline, "a process takes 10 s to end");
        std::thread::sleep(Duration::from_micros(200));
    }
}

pub fn release_record_lock(file: &File) {
    let range = record_range(libc::F_UNLCK, 0, 0);
    fcntl(file, FcntlArg::F_SETLK(&range)).expect("an unlock is always granted");
}

/// Whether a process was killed, even if it has not ended yet.
fn is_ending(pid: i32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else {
        return true;
    };
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    let state = field("State:");
    let pending = u64::from_str_radix(&field("ShdPnd:"), 16).unwrap_or(0)
        | u64::from_str_radix(&field("SigPnd:"), 16).unwrap_or(0);
    let killed = pending & (1 << (libc::SIGKILL - 1)) != 0;
    // An exiting process has returned its memory.
    let exiting = !status.contains("VmSize:");
    state.starts_with(['Z', 'X']) || killed || exiting
}
