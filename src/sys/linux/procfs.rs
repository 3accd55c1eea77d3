//! Facts from procfs: the boot, and what a process is.

#[cfg(feature = "table")]
use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
#[cfg(feature = "table")]
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::kill;
#[cfg(feature = "table")]
use nix::sys::statfs::PROC_SUPER_MAGIC;

#[cfg(feature = "table")]
use super::is_mount_point;
use crate::record::{Pid, WriterId};
use crate::sys::calls::retry;
#[cfg(feature = "table")]
use crate::sys::wide::fstatfs_type;
use crate::sys::{Liveness, Now, nanos};

const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";

#[cfg(feature = "table")]
const BOOT_ID_DIR: &str = "/proc/sys/kernel/random";

/// The boot id; `None` where there is no procfs. A value that was read once is remembered, since it
/// cannot change while this process lives. A failure is not: it may pass.
pub(in crate::sys) fn boot_id() -> io::Result<Option<[u8; 16]>> {
    static BOOT_ID: OnceLock<[u8; 16]> = OnceLock::new();
    if let Some(known) = BOOT_ID.get() {
        return Ok(Some(*known));
    }
    let text = in_procfs(std::fs::read(BOOT_ID_FILE))?;
    // `set`, not `get_or_init`: a child that is forked while another thread runs an initialiser
    // would wait for that thread indefinitely.
    Ok(text.as_deref().and_then(parse_uuid).inspect(|id| {
        let _ = BOOT_ID.set(*id);
    }))
}

fn parse_uuid(text: &[u8]) -> Option<[u8; 16]> {
    let text = std::str::from_utf8(text.trim_ascii_end()).ok()?;
    Some(*text.parse::<WriterId>().ok()?.as_bytes())
}

/// The boot id, unless another file is mounted over that of the kernel: container runtimes (LXC,
/// Incus, systemd-nspawn) do so, and each container then shows an id of its own.
///
/// Read at each call: what this process remembers may be from before it entered a container, or was
/// restored from a checkpoint.
#[cfg(feature = "table")]
pub(in crate::sys) fn kernel_boot_id() -> io::Result<Option<[u8; 16]>> {
    kernel_boot_id_in(Path::new(BOOT_ID_DIR), OsStr::new("boot_id"))
}

#[cfg(feature = "table")]
fn kernel_boot_id_in(dir: &Path, name: &OsStr) -> io::Result<Option<[u8; 16]>> {
    let opened = in_procfs(File::open(dir))?.zip(in_procfs(File::open(dir.join(name)))?);
    let Some((dir, mut file)) = opened else {
        return Ok(None);
    };
    if fstatfs_type(&file)? != PROC_SUPER_MAGIC || is_mount_point(&dir, name)? {
        return Ok(None);
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(parse_uuid(&text))
}

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

/// `None` if procfs is not mounted, or not readable for this user. Any other error (too many open
/// files) may pass: taken for "no procfs" it would cost every later lock of this process its stamp.
fn in_procfs<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Ok(None),
            _ => Err(error),
        },
    }
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

    // One failed open (ENFILE) was "no boot id": off local file systems a live process of another host of the same
    // name was taken for one of this kernel, and dead.
    #[cfg(feature = "table")]
    #[test]
    #[cfg_attr(miri, ignore = "makes system calls")]
    fn a_boot_id_that_cannot_be_read_now_is_an_error() {
        let dir = tempfile::tempdir().expect("there is room");
        let name = OsStr::new("boot_id");
        let path = dir.path().join(name);
        let found = || kernel_boot_id_in(dir.path(), name).map_err(|error| error.kind());
        assert_eq!(found(), Ok(None), "procfs without /proc/sys");
        std::fs::write(&path, "").expect("there is room");
        assert_eq!(found(), Ok(None), "another file");
        std::fs::remove_file(&path).expect("it was just made");
        // Any error other than "missing" and "denied".
        std::os::unix::fs::symlink("boot_id", &path).expect("the name is free");
        found().expect_err("the open fails");
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
