//! What only Linux has: unnamed files and their links, and procfs. `inotify` has the waiting.

#![allow(unsafe_code, reason = "the door to the operating system")]

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, RenameFlags, openat, renameat2};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous};
use nix::sys::signal::kill;
use nix::sys::stat::Mode;
use nix::sys::statfs::{self, FsType, fstatfs};
use nix::time::ClockId;
use nix::unistd::linkat;

use super::unix::retry;
use super::{Identity, Liveness, Now, Sys, nanos};
use crate::judge::FileSystem;
use crate::record::Pid;

mod inotify;

pub(crate) use inotify::{Watch, close_spare_watch};
pub(super) use inotify::{wait, watch, watches_process};

/// Counts suspension, unlike CLOCK_MONOTONIC. clock_gettime(2)
pub(super) const CLOCK_SINCE_BOOT: ClockId = ClockId::CLOCK_BOOTTIME;

/// File systems that one kernel alone reaches, by statfs(2) type. The first five were tested
/// (`scripts/filesystems.sh`); the others are of the same kind. Whatever is not listed is not local.
const LOCAL: [FsType; 9] = [
    statfs::EXT4_SUPER_MAGIC,
    statfs::TMPFS_MAGIC,
    statfs::OVERLAYFS_SUPER_MAGIC,
    statfs::XFS_SUPER_MAGIC,
    statfs::BTRFS_SUPER_MAGIC,
    statfs::F2FS_SUPER_MAGIC,
    FsType(0x8584_58f6),          // ramfs
    FsType(0x2fc1_2fc1),          // zfs
    FsType(0xca45_1a4e_u32 as _), // bcachefs
];

pub(super) fn file_system(dir: &File) -> io::Result<FileSystem> {
    let found = retry(|| fstatfs(dir))?.filesystem_type();
    Ok(if LOCAL.contains(&found) {
        FileSystem::Local
    } else {
        FileSystem::NotLocal
    })
}

/// Opens a directory whose names may be used but not listed. open(2), O_PATH
pub(super) const SEARCH_ONLY: Option<OFlag> = Some(OFlag::O_PATH);

pub(super) fn create_unnamed(dir: &File, mode: Mode) -> io::Result<File> {
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    match retry(|| openat(dir, ".", flags, mode)) {
        Ok(file) => Ok(file.into()),
        // What kernels and file systems without O_TMPFILE were seen to answer. open(2)
        Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::EINVAL | Errno::ENOSYS) => unsupported(),
        Err(error) => Err(error.into()),
    }
}

/// By AT_EMPTY_PATH, which older kernels permit to the privileged only (ENOENT), else by the name
/// that the descriptor has in procfs. linkat(2)
pub(super) fn link(file: &File, dir: &File, name: &OsStr) -> io::Result<()> {
    let by_descriptor = || linkat(file, "", dir, name, AtFlags::AT_EMPTY_PATH);
    let by_name = || {
        let in_procfs = format!("/proc/self/fd/{}", file.as_raw_fd());
        let follow = AtFlags::AT_SYMLINK_FOLLOW;
        linkat(AT_FDCWD, in_procfs.as_str(), dir, name, follow)
    };
    let outcome = match retry(by_descriptor) {
        Err(Errno::ENOENT | Errno::EINVAL) => retry(by_name),
        outcome => outcome,
    };
    outcome.or_else(|error| match error {
        // EPERM, EMLINK: no links here. EXDEV, ENOENT: no procfs, or another's.
        Errno::EPERM
        | Errno::EMLINK
        | Errno::EXDEV
        | Errno::ENOENT
        | Errno::ENOSYS
        | Errno::EINVAL
        | Errno::EOPNOTSUPP => unsupported(),
        error => Err(error.into()),
    })
}

pub(super) fn rename_noreplace(dir: &File, from: &OsStr, to: &OsStr) -> io::Result<()> {
    match retry(|| renameat2(dir, from, dir, to, RenameFlags::RENAME_NOREPLACE)) {
        Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => {
            // protected_hardlinks refuses this for another user's file; then the aside stays.
            retry(|| linkat(dir, from, dir, to, AtFlags::empty()))?;
            let flags = nix::unistd::UnlinkatFlags::NoRemoveDir;
            Ok(retry(|| nix::unistd::unlinkat(dir, from, flags))?)
        }
        outcome => Ok(outcome?),
    }
}

fn unsupported<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The boot id cannot change while this process lives; that it could not be read may.
pub(super) fn boot_id() -> Option<[u8; 16]> {
    read_boot_id().ok().flatten()
}

/// `None` where there is no procfs.
fn read_boot_id() -> io::Result<Option<[u8; 16]>> {
    static BOOT_ID: OnceLock<[u8; 16]> = OnceLock::new();
    if let Some(known) = BOOT_ID.get() {
        return Ok(Some(*known));
    }
    let text = in_procfs(std::fs::read("/proc/sys/kernel/random/boot_id"))?;
    let text = text.and_then(|text| String::from_utf8(text).ok());
    let id: Option<crate::record::WriterId> =
        text.and_then(|text| text.trim_ascii_end().parse().ok());
    // `set`, not `get_or_init`: a child forked while another thread runs an initialiser would wait
    // for it for ever.
    Ok(id.map(|id| {
        let _ = BOOT_ID.set(*id.as_bytes());
        *id.as_bytes()
    }))
}

/// This process's identity, read once in each process: the page that remembers it is wiped in a
/// forked child, also by clone(2) called directly, and also where the child has its parent's pid in
/// a new pid namespace. madvise(2), MADV_WIPEONFORK
pub(super) fn identity() -> io::Result<Identity> {
    static PAGE: OnceLock<Option<Page>> = OnceLock::new();
    if PAGE.get().is_none() {
        // As above. A page that comes second is leaked.
        let _ = PAGE.set(Page::new().ok());
    }
    let page = PAGE.get().and_then(Option::as_ref);
    if let Some(identity) = page.and_then(Page::get) {
        return Ok(identity);
    }
    let pid = Pid::new(std::process::id()).expect("pids are positive numbers below 2^22");
    let start_ticks = own_start_ticks()?;
    // Both together make the stamp: a shortage is reported here, before anything is published.
    read_boot_id()?;
    Ok(page.map_or(
        Identity {
            pid,
            start_ticks,
            generation: 0,
        },
        |page| page.set(pid, start_ticks),
    ))
}

/// 0 where there is no procfs.
fn own_start_ticks() -> io::Result<u64> {
    let stat = in_procfs(std::fs::read("/proc/self/stat"))?;
    let stat = stat.and_then(|stat| parse_stat(&stat));
    Ok(stat.map_or(0, |stat| stat.start_ticks))
}

/// `None` if procfs is not there, or not for us. Everything else passes (too many open files): taken
/// for "no procfs" it would cost every later lock of this process its stamp.
fn in_procfs<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Ok(None),
            _ => Err(error),
        },
    }
}

/// Three numbers in memory that reads as zeros in a forked child.
struct Page(NonNull<[AtomicU64; 3]>);

// SAFETY: the pointer is to atomics in a mapping that is never unmapped.
unsafe impl Send for Page {}
// SAFETY: as above; atomics may be shared.
unsafe impl Sync for Page {}

impl Page {
    fn new() -> nix::Result<Page> {
        let len = std::num::NonZeroUsize::new(4096).expect("4096 is not zero");
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new private mapping at an address of the kernel's choice overlaps nothing.
        let page = unsafe { mmap_anonymous(None, len, protection, MapFlags::MAP_PRIVATE)? };
        // SAFETY: the advice concerns the mapping just made, which nobody else knows.
        unsafe { madvise(page, len.get(), MmapAdvise::MADV_WIPEONFORK)? };
        Ok(Page(page.cast()))
    }

    fn cells(&self) -> &[AtomicU64; 3] {
        // SAFETY: the mapping is page-aligned, longer than three atomics, zero-initialised (a valid
        // value for them), never unmapped, and only ever accessed through these atomics.
        unsafe { self.0.as_ref() }
    }

    fn get(&self) -> Option<Identity> {
        let [pid, start_ticks, generation] = self.cells();
        let pid = u32::try_from(pid.load(Ordering::Acquire))
            .ok()
            .and_then(Pid::new)?;
        Some(Identity {
            pid,
            start_ticks: start_ticks.load(Ordering::Relaxed),
            generation: generation.load(Ordering::Relaxed),
        })
    }

    /// The pid last: whoever sees it sees the others.
    fn set(&self, own_pid: Pid, own_start_ticks: u64) -> Identity {
        // Not wiped: a child counts on from its parent's last number.
        static LAST: AtomicU64 = AtomicU64::new(0);
        let [pid, start_ticks, generation] = self.cells();
        let next = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        // Another thread of this process may have been first: one process, one number.
        let known = generation.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed);
        start_ticks.store(own_start_ticks, Ordering::Relaxed);
        pid.store(own_pid.get().into(), Ordering::Release);
        Identity {
            pid: own_pid,
            start_ticks: own_start_ticks,
            generation: known.map_or_else(|earlier| earlier, |_| next),
        }
    }
}

/// What kill(2) and /proc/pid/stat together say.
pub(super) fn process(pid: Pid) -> Liveness {
    let raw = pid.get().cast_signed();
    if kill(nix::unistd::Pid::from_raw(raw), None) == Err(Errno::ESRCH) {
        return Liveness::Dead;
    }
    // EPERM says that it exists; a /proc that hides it leaves everything else unknown.
    let stat = read_stat(&format!("/proc/{raw}/stat"));
    let Some(stat) = stat.filter(|_| has_own_proc()) else {
        return Liveness::Unknown;
    };
    // A process whose main thread has exited shows Z with more than one thread, and lives.
    if matches!(stat.state, b'Z' | b'X' | b'x') && stat.num_threads <= 1 {
        return Liveness::Dead;
    }
    let now: Now = super::Host.now();
    let started = Duration::from_nanos(stat.start_ticks.saturating_mul(nanos_per_tick()));
    let started_ns = now.booted_ns().saturating_add(nanos(started));
    Liveness::Alive {
        start_ticks: stat.start_ticks,
        started_ns,
    }
}

/// Whether /proc shows the processes of our pid namespace. In a new one without a /proc of its own
/// (`unshare --pid --fork`) /proc/7 is another process than our pid 7: the living would look like
/// reused pids, or like zombies.
fn has_own_proc() -> bool {
    let itself = std::fs::read_link("/proc/self");
    itself.is_ok_and(|pid| pid.as_os_str() == &*std::process::id().to_string())
}

fn nanos_per_tick() -> u64 {
    use nix::unistd::{SysconfVar, sysconf};
    let per_second = sysconf(SysconfVar::CLK_TCK)
        .ok()
        .flatten()
        .and_then(|n| n.try_into().ok());
    // 100 is what every Linux architecture but alpha and ia64 tells user space.
    1_000_000_000 / per_second.unwrap_or(100)
}

/// The fields of /proc/pid/stat that matter here. proc_pid_stat(5)
struct ProcStat {
    state: u8,
    num_threads: u64,
    start_ticks: u64,
}

/// One read: procfs gives the line at once, and 1 KiB is three times what it takes. Every waiter
/// comes by here at every hand-over, and reading until nothing more comes takes eight calls.
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

    // A command may be called ") S 1 (": whoever takes the first parenthesis reads its pid as state.
    #[test]
    fn a_hostile_command_name_does_not_move_the_fields() {
        let stat = b"7 () Z 1 (x) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 4242 9 9\n";
        let stat = parse_stat(stat).expect("the line has all its fields");
        assert_eq!(
            (stat.state, stat.num_threads, stat.start_ticks),
            (b'S', 3, 4242)
        );
    }

    #[test]
    fn a_forked_child_has_an_identity_of_its_own() {
        let mine = identity().expect("procfs is mounted");
        assert_eq!(
            identity().expect("procfs is mounted"),
            mine,
            "it does not change"
        );
        // SAFETY: the child makes system calls and exits; it allocates only what identity() reads.
        match unsafe { nix::unistd::fork() }.expect("there is room for one process") {
            nix::unistd::ForkResult::Child => {
                // The pid may be the same in a new pid namespace; this never is.
                let differs = identity().is_ok_and(|child| child.generation > mine.generation);
                // SAFETY: _exit(2) ends the child without running the harness's handlers.
                unsafe { nix::libc::_exit(i32::from(!differs)) }
            }
            nix::unistd::ForkResult::Parent { child } => {
                let status = nix::sys::wait::waitpid(child, None).expect("the child is ours");
                assert_eq!(status, nix::sys::wait::WaitStatus::Exited(child, 0));
            }
        }
    }
}
