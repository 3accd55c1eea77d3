//! Whether a process is alive, and when it started, from kill(2) and procfs.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::kill;

use crate::record::Pid;
use crate::sys::boot_id::in_procfs;
use crate::sys::calls::retry;
use crate::sys::{Liveness, Now, nanos};

/// When this process started, in clock ticks since boot; 0 where there is no procfs.
pub(super) fn own_start_ticks() -> io::Result<u64> {
    // Its pid in the namespace of this procfs, which may be another one than the process's.
    let Some(pid) = in_procfs(retry(|| std::fs::read_link("/proc/self")))? else {
        return Ok(0);
    };
    let stat = in_procfs(std::fs::read(stat_path(pid.display())))?;
    let stat = stat.and_then(|stat| parse_stat(&stat));
    Ok(stat.map_or(0, |stat| stat.start_ticks))
}

/// The first thread's file has the same fields as /proc/PID/stat, which qemu-user invents for its own
/// process, with another start in each thread: a live process looked like a reused pid.
fn stat_path(pid: impl Display) -> String {
    format!("/proc/{pid}/task/{pid}/stat")
}

/// What kill(2) and procfs together report. `now` gives the time to which start ticks are
/// added.
pub(in crate::sys) fn process(pid: Pid, now: impl FnOnce() -> Now) -> Liveness {
    let raw = pid.get() as i32;
    if kill(nix::unistd::Pid::from_raw(raw), None) == Err(Errno::ESRCH) {
        return Liveness::Dead;
    }
    // EPERM means that the process exists; a /proc that hides it leaves everything else unknown.
    let stat = read_stat(&stat_path(raw));
    let Some(stat) = stat.filter(|_| has_own_proc()) else {
        return Liveness::Unknown;
    };
    // A process whose main thread has exited shows Z with more than one thread, and lives.
    if matches!(stat.state, b'Z' | b'X' | b'x') && stat.num_threads <= 1 {
        return Liveness::Dead;
    }
    let started = Duration::from_nanos(stat.start_ticks.saturating_mul(nanos_per_tick()));
    let started_ns = now().booted_ns().saturating_add(nanos(started));
    Liveness::Alive {
        start_ticks: stat.start_ticks,
        started_ns,
    }
}

/// Whether /proc shows the processes of this pid namespace. In a new one without a /proc of its own
/// (`unshare --pid --fork`) /proc/7 is another process than pid 7 of the namespace: live processes
/// would look like reused pids, or like zombies.
pub(super) fn has_own_proc() -> bool {
    /// The generation of the process that has seen its pids, and the device of the /proc in which it
    /// saw them: the whole status is read once, and not for each process that is queried.
    static SEEN: AtomicU64 = AtomicU64::new(0);
    let proc = std::fs::metadata("/proc").map(|proc| proc.dev()).ok();
    let Some(device) = proc.and_then(|device| u32::try_from(device).ok()) else {
        return false;
    };
    let generation = super::identity().map_or(0, |own| own.generation);
    let key = generation << 32 | u64::from(device);
    if generation != 0 && SEEN.load(Ordering::Relaxed) == key {
        return true;
    }
    let is_own = std::fs::read("/proc/self/status").is_ok_and(|status| has_one_pid(&status));
    if is_own {
        SEEN.store(key, Ordering::Relaxed);
    }
    is_own
}

/// Whether the process has no other pid than that in the namespace of the procfs which shows `status`.
/// NSpid lists its pids from that namespace down to its own. Equal pids in both prove nothing.
/// proc_pid_status(5)
fn has_one_pid(status: &[u8]) -> bool {
    let mut lines = status.split(|byte| *byte == b'\n');
    let pids = lines.find_map(|line| line.strip_prefix(b"NSpid:"));
    pids.is_some_and(|pids| pids.trim_ascii().iter().all(u8::is_ascii_digit))
}

fn nanos_per_tick() -> u64 {
    use nix::unistd::{SysconfVar, sysconf};
    let per_second = sysconf(SysconfVar::CLK_TCK)
        .ok()
        .flatten()
        .and_then(|n| n.try_into().ok());
    // Every Linux architecture but alpha and ia64 reports 100 to user space.
    1_000_000_000 / per_second.unwrap_or(100)
}

/// The fields of /proc/pid/stat that matter here. proc_pid_stat(5)
struct ProcStat {
    state: u8,
    num_threads: u64,
    start_ticks: u64,
}

/// One read: procfs returns the whole line at once, and 1 KiB is three times its length. Every
/// waiter reads it at every hand-over, and reading until the end of the file takes eight calls.
fn read_stat(path: &str) -> Option<ProcStat> {
    let mut line = [0; 1024];
    let mut file = File::open(path).ok()?;
    let len = file.read(&mut line).ok()?;
    parse_stat(line.get(..len)?)
}

fn parse_stat(stat: &[u8]) -> Option<ProcStat> {
    // Field 2, the command's name, may contain spaces and parentheses: the last one ends it.
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = stat.get(name_end + 2..)?.split(|byte| *byte == b' ');
    let state = *fields.next()?.first()?;
    let mut number = |skipped| std::str::from_utf8(fields.nth(skipped)?).ok()?.parse().ok();
    let num_threads = number(20 - 4)?;
    let start_ticks = number(22 - 21)?;
    Some(ProcStat {
        state,
        num_threads,
        start_ticks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // A process in a pid namespace below that of procfs may have the same pid in both.
    #[test]
    fn two_pids_are_two_namespaces_also_if_they_are_equal() {
        assert!(has_one_pid(b"Name:\tx\nNSpid:\t7\nNSsid:\t7\n"));
        assert!(!has_one_pid(b"Name:\tx\nNSpid:\t7\t7\nNSsid:\t7\n"));
        assert!(!has_one_pid(b"Name:\tx\n"), "before Linux 4.1: not known");
    }

    // A command may be called ") S 1 (": a parser that stops at the first parenthesis takes parts
    // of the name for the state.
    #[test]
    fn a_hostile_command_name_does_not_move_the_fields() {
        let stat = b"7 () Z 1 (x) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 4242 9 9\n";
        let stat = parse_stat(stat).expect("the line has all its fields");
        assert_eq!(
            (stat.state, stat.num_threads, stat.start_ticks),
            (b'S', 3, 4242)
        );
    }
}
