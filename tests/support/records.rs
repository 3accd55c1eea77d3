//! Records that tests plant, and operations on the lock of a data file.

use std::fs::{self, File};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use nix::libc;
use rvlf::record::{Hostname, KernelStamp, Pid};
use rvlf::{
    BreakError, Holder, LockFile, LockOptions, LockState, Record, WaitError, WriterId,
    lock_path_for,
};

use crate::{is_plain, monotonic_ns, now_ns, ns};

/// Ages on both sides of the published thresholds, 30 s and 300 s. A record that is older stays
/// older. The younger ones are 20 s and 100 s below, which outlast the stalls of a loaded machine.
pub const YOUNG: Duration = Duration::from_secs(10);
pub const OLD: Duration = Duration::from_secs(31);
pub const MIDDLE: Duration = Duration::from_secs(200);
pub const VERY_OLD: Duration = Duration::from_secs(301);

pub fn this_host() -> Hostname {
    let name = nix::unistd::gethostname().expect("the buffer is long enough");
    Hostname::truncated(name.as_encoded_bytes())
}

/// The host name as a stamped record has it.
pub fn this_host_beside_a_stamp() -> Hostname {
    let host = this_host();
    let name = host.as_bytes();
    Hostname::truncated(name.get(..KernelStamp::MAX_HOSTNAME_LEN).unwrap_or(name))
}

pub fn this_process() -> Pid {
    Pid::new(std::process::id()).expect("pids are positive")
}

/// The pid of a process that has ended and was reaped.
pub fn dead_pid() -> Pid {
    let mut child = Command::new("true").spawn().expect("true(1) is installed");
    child.wait().expect("the process is a child of this one");
    Pid::new(child.id()).expect("pids are positive")
}

/// A record without a stamp, as deployed clients write it, `age` old.
pub fn unstamped(pid: Pid, host: &Hostname, age: Duration) -> Record {
    let timestamp = now_ns() - ns(age);
    Record::new(pid, host, timestamp, some_writer_id(), None)
}

pub fn some_writer_id() -> WriterId {
    let (a, b) = (now_ns().to_le_bytes(), monotonic_ns().to_le_bytes());
    let mut random = [0; 16];
    for (to, from) in random.iter_mut().zip(a.into_iter().chain(b)) {
        *to = from;
    }
    WriterId::from_random(random)
}

pub fn read_record(data: &Path) -> Record {
    let bytes = fs::read(lock_path_for(data)).expect("the lock file exists");
    Record::decode(&bytes).expect("the lock file holds a record")
}

/// Sets the timestamp of the record at the lock path back by `age`, in place.
pub fn backdate(data: &Path, age: Duration) {
    let record = read_record(data);
    let file = File::options().write(true).open(lock_path_for(data));
    let older = record.refreshed(record.timestamp_ns() - ns(age));
    file.and_then(|file| file.write_all_at(&older.encode(), 0))
        .expect("the lock file is writable");
}

/// Plants what a holder of this machine leaves that was just killed: a record of a dead process with
/// the kernel stamp of its own inode, which no process has locked.
pub fn plant_left_behind(data: &Path) -> Record {
    let lock_path = lock_path_for(data);
    let file = File::create_new(&lock_path).expect("the lock path is free");
    let parent = lock_path.parent().expect("a lock file is in a directory");
    let stamp = KernelStamp {
        inode_key: if is_plain(parent) {
            plain_key(&file)
        } else {
            key_of_this_boot(&file)
        },
        // No process of a user starts in the first tick after boot: if the pid is reused, the stamp
        // names another process.
        start_ticks: 1,
    };
    let (pid, host) = (dead_pid_once(), this_host());
    let record = Record::new(pid, &host, now_ns(), some_writer_id(), Some(stamp));
    let written = file.write_all_at(&record.encode(), 0);
    written.expect("the file is writable");
    record
}

/// The inode key that a holder on a plain file system writes.
pub fn plain_key(file: &File) -> u64 {
    let stat = file.metadata().expect("the file is open");
    KernelStamp::plain_key(stat.ino(), born_ns(file))
}

/// Not by std's `created`, which is not there with musl.
#[allow(unsafe_code, reason = "statx(2) has no safe wrapper")]
fn born_ns(file: &File) -> u64 {
    let mut stat = MaybeUninit::<libc::statx>::zeroed();
    let (number, flags) = (file.as_raw_fd(), libc::AT_EMPTY_PATH);
    let (requested, to) = (libc::STATX_BTIME, stat.as_mut_ptr());
    // SAFETY: the path ends with a NUL, and the struct has room for the answer.
    let outcome = unsafe { libc::statx(number, c"".as_ptr(), flags, requested, to) };
    // SAFETY: zeros are a valid value of the struct, which has integers only.
    let stat = unsafe { stat.assume_init() };
    if outcome != 0 || stat.stx_mask & requested == 0 {
        return 0;
    }
    let seconds = u64::try_from(stat.stx_btime.tv_sec).expect("it is after 1970");
    ns(Duration::new(seconds, stat.stx_btime.tv_nsec))
}

/// The inode key that a holder on an overlay writes.
fn key_of_this_boot(file: &File) -> u64 {
    let stat = file.metadata().expect("the file is open");
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("procfs is mounted");
    let boot_id: WriterId = boot_id.trim_end().parse().expect("a boot id is a UUID");
    KernelStamp::inode_key(boot_id.as_bytes(), stat.dev(), stat.ino())
}

fn dead_pid_once() -> Pid {
    static DEAD: OnceLock<Pid> = OnceLock::new();
    *DEAD.get_or_init(dead_pid)
}

/// [`LockFile::break_stale`] of the data file.
pub fn break_stale(data: impl AsRef<Path>) -> Result<Option<Holder>, BreakError> {
    break_stale_with(LockOptions::new(), data)
}

/// [`LockFile::break_stale`] of the data file, with `options`.
pub fn break_stale_with(
    options: LockOptions,
    data: impl AsRef<Path>,
) -> Result<Option<Holder>, BreakError> {
    LockFile::with_options(data, options)?.break_stale()
}

/// [`LockFile::force_break`] of the data file.
pub fn force_break(
    data: impl AsRef<Path>,
    writer_id: WriterId,
) -> Result<Option<Holder>, BreakError> {
    LockFile::open(data)?.force_break(writer_id)
}

/// [`LockFile::wait_until_free`] of the data file.
pub fn wait_until_free(data: impl AsRef<Path>, timeout: Duration) -> Result<LockState, WaitError> {
    LockFile::open(data)?.wait_until_free(timeout)
}
