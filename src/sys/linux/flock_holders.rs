//! The processes that share an flock(2) lock, as procfs shows them: what fuser(1) does for open files.
//!
//! /proc/PID/fdinfo/N has a line for each lock of the open file description that descriptor N names:
//! `lock: 1: FLOCK  ADVISORY  WRITE 4121 fe:00:1048 0 EOF`. 4121 is the process that locked the file,
//! which may be dead; the processes that have such a line keep the lock. proc_pid_fdinfo(5)

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::procfs::has_own_proc;
use crate::record::Pid;
use crate::sys::calls::retry;
use crate::sys::descriptor::Descriptor;
use crate::sys::locking_process::LockingProcess;

/// The processes that share a lock of the file `name`, sorted by pid: those that /proc shows to this
/// user.
pub(in crate::sys) fn flock_holders(dir: &File, name: &OsStr) -> io::Result<Vec<LockingProcess>> {
    // O_PATH: breaks no lease, wakes no waiter, and needs no permission for the file itself.
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let opened = retry(|| openat(dir, name, flags, Mode::empty()))?;
    let opened: Descriptor<File> = Descriptor::new(opened.into())?;
    let target = Target::of(opened.get()?)?;
    // /proc of another pid namespace has pids that mean other processes here.
    if !has_own_proc() {
        return Ok(Vec::new());
    }
    let mut pids: Vec<Pid> = fs::read_dir("/proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Pid::new)
        .collect();
    pids.sort_unstable();
    let sharing = pids.into_iter().filter(|pid| target.is_locked_by(*pid));
    Ok(sharing.map(describe).collect())
}

/// The file whose lock is looked for.
struct Target {
    dev: u64,
    ino: u64,
    /// `:` and the inode number that fdinfo shows, with which the name of a file in a `lock:` line
    /// ends. On overlay it may differ from `st_ino`, and the device in that line from `st_dev`, on
    /// btrfs as well.
    suffix: String,
}

impl Target {
    fn of(file: &File) -> io::Result<Target> {
        let stat = retry(|| file.metadata())?;
        let own = format!("/proc/self/fdinfo/{}", file.as_raw_fd());
        let own = fs::read_to_string(own).unwrap_or_default();
        // Since Linux 5.14.
        let shown = own.lines().find_map(|line| line.strip_prefix("ino:"));
        let number = shown.map_or_else(|| stat.ino().to_string(), |number| number.trim().into());
        Ok(Target {
            dev: stat.dev(),
            ino: stat.ino(),
            suffix: format!(":{number}"),
        })
    }

    /// False also for a process that this user may not examine, or that has ended.
    fn is_locked_by(&self, pid: Pid) -> bool {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else {
            return false;
        };
        descriptors.flatten().any(|descriptor| {
            let info = fs::read_to_string(descriptor.path()).unwrap_or_default();
            let in_fd = Path::new("/proc").join(pid.to_string()).join("fd");
            // The stat is last: on a network mount that hangs it does not return, and the numbers of
            // the line already name this file, or one of another device.
            info.lines().any(|line| self.is_named_by(line))
                && fs::metadata(in_fd.join(descriptor.file_name()))
                    .is_ok_and(|stat| (stat.dev(), stat.ino()) == (self.dev, self.ino))
        })
    }

    fn is_named_by(&self, line: &str) -> bool {
        let mut words = line.split_ascii_whitespace();
        words.next() == Some("lock:")
            && words.nth(1) == Some("FLOCK")
            && words.any(|word| word.ends_with(&self.suffix))
    }
}

fn describe(pid: Pid) -> LockingProcess {
    let command = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    // The pid in this namespace, and then in each one below it down to the process's own.
    let nested = pids.unwrap_or_default().split_ascii_whitespace().skip(1);
    LockingProcess {
        pid,
        pid_in_container: nested
            .last()
            .and_then(|pid| pid.parse().ok())
            .and_then(Pid::new),
        command: String::from_utf8_lossy(command.trim_ascii_end()).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Each look of another lock's holder at this file would be reported as keeping it.
    #[test]
    fn only_a_line_of_an_flock_lock_of_this_inode_counts() {
        let target = Target {
            dev: 1,
            ino: 48,
            suffix: ":48".to_owned(),
        };
        for (line, expected) in [
            ("lock:\t1: FLOCK  ADVISORY  WRITE 4121 fe:00:48 0 EOF", true),
            ("lock:\t2: FLOCK  ADVISORY  READ 0 00:2b:48 0 EOF", true),
            (
                "lock:\t1: FLOCK  ADVISORY  WRITE 48 fe:00:1048 0 EOF",
                false,
            ),
            ("lock:\t1: FLOCK  ADVISORY  WRITE 4121 fe:48:7 0 EOF", false),
            (
                "lock:\t1: POSIX  ADVISORY  WRITE 4121 fe:00:48 0 EOF",
                false,
            ),
            ("lock:\t1: OFDLCK ADVISORY  WRITE -1 fe:00:48 0 EOF", false),
            ("ino:\t48", false),
            ("", false),
        ] {
            assert_eq!(target.is_named_by(line), expected, "{line}");
        }
    }
}
