//! A contender's process: takes one line on stdin as a request and replies with one line on stdout.
//! The scripts in other languages speak the same protocol.
//!
//! - `a`: acquire, without a timeout; replies CLOCK_MONOTONIC in nanoseconds right after.
//! - `r`: release; replies the clock right before, once the release is done.
//! - `c NANOSECONDS TALLY`: compete for that long; replies the holds, the longest wait and the CPU
//!   time, both in nanoseconds. Each hold adds itself to the file TALLY (see [`add_to_tally`]).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, Flock, FlockArg, OFlag, open};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::stat::Mode;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::linkat;
use rvlf::record::RECORD_LEN;
use rvlf::{Durability, WriterLock};
use rvlf_benches::cpu_time;

use crate::kind::LockKind;

/// Makes this program a contender; followed by the name of the kind, the data file and
/// the contender's number.
pub const FLAG: &str = "--contender";

/// A lock of any kind, held; dropping it releases it.
enum Lock {
    Rvlf { _lock: WriterLock },
    Flock { _file: Flock<File> },
    Bare { path: PathBuf, _file: File },
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Lock::Bare { path, .. } = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn acquire(kind: LockKind, data_path: &Path) -> Lock {
    match kind {
        LockKind::Rvlf => acquire_rvlf(data_path, Durability::None),
        LockKind::RvlfSynced => acquire_rvlf(data_path, Durability::Sync),
        LockKind::Bare => acquire_bare(data_path).expect("bare calls succeed as the library's do"),
        LockKind::Flock => acquire_flock(data_path),
        LockKind::Filelock | LockKind::ProperLockfile => unreachable!("scripts do this"),
    }
}

fn acquire_rvlf(data_path: &Path, durability: Durability) -> Lock {
    let options = WriterLock::options().durability(durability);
    let lock = options.acquire(data_path, Duration::from_secs(3600));
    Lock::Rvlf {
        _lock: lock.expect("each holder releases"),
    }
}

fn acquire_flock(data_path: &Path) -> Lock {
    let file = File::create(data_path).expect("the directory is writable");
    let locked = Flock::lock(file, FlockArg::LockExclusive);
    let locked = locked.map_err(|(_, error)| error);
    Lock::Flock {
        _file: locked.expect("flock waits"),
    }
}

fn acquire_bare(data_path: &Path) -> nix::Result<Lock> {
    static EVENTS: OnceLock<Inotify> = OnceLock::new();
    let path = rvlf::lock_path_for(data_path);
    let parent = data_path
        .parent()
        .expect("the data files here have a parent");
    let unnamed = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    loop {
        let file: File = open(parent, unnamed, Mode::from_bits_truncate(0o666))?.into();
        file.try_lock().expect("an unnamed file has one user");
        let written = file.write_all_at(&[1; RECORD_LEN], 0);
        written.expect("there is room");
        match linkat(&file, "", AT_FDCWD, &path, AtFlags::AT_EMPTY_PATH) {
            Err(Errno::EEXIST) => drop(file),
            outcome => return outcome.map(|()| Lock::Bare { path, _file: file }),
        }
        let events = EVENTS.get_or_init(|| {
            let instance = Inotify::init(InitFlags::IN_CLOEXEC);
            instance.expect("the user has an inotify instance left")
        });
        let removal = AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_ONESHOT;
        match events.add_watch(&path, removal) {
            Ok(_) if path.exists() => drop(events.read_events()?),
            Ok(_) | Err(Errno::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
}

pub fn run(arguments: &[String]) {
    let [name, data_path, id, ..] = arguments else {
        panic!("usage: {FLAG} KIND DATA ID");
    };
    let kind = LockKind::ALL.into_iter().find(|kind| kind.name() == name);
    let kind = kind.expect("the first argument names a kind");
    let data_path = Path::new(data_path);
    let id: u64 = id.parse().expect("ids are numbers");
    let mut held = None;
    println!("0");
    for request in std::io::stdin().lines() {
        let request = request.expect("requests are lines");
        let words: Vec<&str> = request.split_whitespace().collect();
        match words.as_slice() {
            ["a"] => {
                held = Some(acquire(kind, data_path));
                println!("{}", monotonic_ns());
            }
            ["r"] => {
                let before = monotonic_ns();
                drop(held.take());
                println!("{before}");
            }
            ["c", time, tally] => {
                let time = Duration::from_nanos(time.parse().expect("a number"));
                println!("{}", compete(kind, data_path, id, time, Path::new(tally)));
            }
            _ => panic!("unknown request: {request}"),
        }
    }
}

fn compete(kind: LockKind, data_path: &Path, id: u64, time: Duration, tally: &Path) -> String {
    let tally = File::options().read(true).write(true).open(tally);
    let tally = tally.expect("the tally exists");
    let cpu_before = cpu_time();
    let start = Instant::now();
    let (mut holds, mut longest) = (0, Duration::ZERO);
    while start.elapsed() < time {
        let started = Instant::now();
        let lock = acquire(kind, data_path);
        longest = longest.max(started.elapsed());
        add_to_tally(&tally, id);
        drop(lock);
        holds += 1;
    }
    let cpu = cpu_time() - cpu_before;
    format!("{holds} {} {}", longest.as_nanos(), cpu.as_nanos())
}

/// Three numbers of eight little-endian bytes: the last holder's id plus one, the holds, the
/// changes of the holder. Two holders at the same time would lose a hold.
fn add_to_tally(tally: &File, id: u64) {
    let mut bytes = [0; 24];
    let read = tally.read_exact_at(&mut bytes, 0);
    read.expect("the tally has 24 bytes");
    let [last, holds, changes] = read_tally(&bytes);
    let changed = u64::from(last != id + 1);
    let after = [id + 1, holds + 1, changes + changed];
    for (bytes, number) in bytes.chunks_exact_mut(8).zip(after) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    let written = tally.write_all_at(&bytes, 0);
    written.expect("the tally is writable");
}

pub fn read_tally(bytes: &[u8; 24]) -> [u64; 3] {
    let mut numbers = [0; 3];
    for (number, bytes) in numbers.iter_mut().zip(bytes.chunks_exact(8)) {
        *number = u64::from_le_bytes(bytes.try_into().expect("chunks of eight"));
    }
    numbers
}

pub fn monotonic_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every kernel has this clock");
    Duration::from(time).as_nanos() as u64
}
