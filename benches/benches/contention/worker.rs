//! A process that takes part: this program itself, or a script that does the same in another
//! language. All speak one protocol: a line on stdin is an order, a line on stdout its answer.
//!
//! - `a`: acquire, waiting as long as it takes; answers CLOCK_MONOTONIC in nanoseconds right after.
//! - `r`: release; answers the clock right before, once it is done.
//! - `c NANOSECONDS SHARED`: compete for that long; answers holds, longest wait and CPU time, both in
//!   nanoseconds. Each hold notes itself in the file SHARED (see [`note`]).

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, Flock, FlockArg, OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::stat::Mode;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::linkat;
use rvlf::{Durability, WriterLock};

pub const FLAG: &str = "--contender";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Rvlf,
    RvlfSynced,
    /// What a record at a path cannot do without, made bare: publish by link, wait by inotify,
    /// release by unlink. No judgement, no check, no death noticed.
    Bare,
    Flock,
    Filelock,
    ProperLockfile,
}

impl Kind {
    pub const ALL: [Kind; 6] = [
        Kind::Rvlf,
        Kind::RvlfSynced,
        Kind::Bare,
        Kind::Flock,
        Kind::Filelock,
        Kind::ProperLockfile,
    ];

    /// Its colour in the figures' style sheet.
    pub fn colour(self) -> usize {
        self as usize
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Rvlf => "rvlf",
            Kind::RvlfSynced => "rvlf, synced",
            Kind::Bare => "bare calls",
            Kind::Flock => "flock(2)",
            Kind::Filelock => "filelock",
            Kind::ProperLockfile => "proper-lockfile",
        }
    }

    /// Whether it asks again and again instead of being told.
    pub fn polls(self) -> bool {
        matches!(self, Kind::Filelock | Kind::ProperLockfile)
    }

    fn command(self) -> Command {
        let script =
            |name: &str| format!("{}/benches/contention/{name}", env!("CARGO_MANIFEST_DIR"));
        match self {
            Kind::Filelock => {
                let mut command = Command::new(python());
                command.arg(script("filelock_worker.py"));
                command
            }
            Kind::ProperLockfile => {
                let mut command = Command::new("node");
                command.arg(script("proper_lockfile_worker.js"));
                command
            }
            kind => {
                let this = std::env::current_exe().expect("this program has a path");
                let mut command = Command::new(this);
                command.args([FLAG, kind.name()]);
                command
            }
        }
    }
}

pub fn python() -> String {
    std::env::var("RVLF_BENCH_PYTHON").unwrap_or_else(|_| "python3".into())
}

/// A worker, as the one who gives the orders sees it.
pub struct Worker {
    pub child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    pub fn start(kind: Kind, resource: &Path, id: usize) -> Worker {
        let mut child = kind
            .command()
            .arg(resource)
            .arg(id.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the worker's program was found before");
        let orders = child.stdin.take().expect("stdin is a pipe");
        let answers = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let mut worker = Worker {
            child,
            orders,
            answers,
        };
        assert_eq!(worker.answer(), [0], "the worker says when it is ready");
        worker
    }

    pub fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").expect("the worker reads its orders");
    }

    pub fn answer(&mut self) -> Vec<u64> {
        let mut line = String::new();
        self.answers
            .read_line(&mut line)
            .expect("the worker answers");
        line.split_whitespace()
            .map(|number| number.parse().expect("answers are numbers"))
            .collect()
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("the worker is our child");
        self.child.wait().expect("the worker is our child");
    }

    /// The one number that `a` and `r` answer.
    pub fn moment(&mut self) -> u64 {
        let [moment] = self.answer().try_into().expect("one number");
        moment
    }
}

/// The first of the waiting workers that has the lock, and when it had it. Nothing was ordered of
/// the others but to wait, and `except` is not waited for.
pub fn first_answer(workers: &mut [Worker], except: usize) -> (usize, u64) {
    let (at, mut ready): (Vec<usize>, Vec<PollFd>) = workers
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != except)
        .map(|(at, worker)| {
            let answers = worker.answers.get_ref().as_fd();
            (at, PollFd::new(answers, PollFlags::POLLIN))
        })
        .unzip();
    poll(&mut ready, PollTimeout::NONE).expect("the workers' answers can be waited for");
    let first = ready.iter().position(|fd| fd.any() == Some(true));
    let first = first.and_then(|first| at.get(first).copied());
    let first = first.expect("a wait without end ends with an answer");
    let worker = workers.get_mut(first).expect("it was among them");
    (first, worker.moment())
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn monotonic_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every kernel has this clock");
    Duration::from(time).as_nanos() as u64
}

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

fn acquire_bare(resource: &Path) -> nix::Result<Lock> {
    static EVENTS: OnceLock<Inotify> = OnceLock::new();
    let path = rvlf::lock_path_for(resource);
    let parent = resource.parent().expect("resources here have a parent");
    let unnamed = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    loop {
        let file: File = open(parent, unnamed, Mode::from_bits_truncate(0o666))?.into();
        file.try_lock().expect("nobody else has this file");
        file.write_all_at(&[1; 104], 0).expect("there is room");
        match linkat(&file, "", AT_FDCWD, &path, AtFlags::AT_EMPTY_PATH) {
            Err(Errno::EEXIST) => drop(file),
            outcome => return outcome.map(|()| Lock::Bare { path, _file: file }),
        }
        let events = EVENTS.get_or_init(|| {
            Inotify::init(InitFlags::IN_CLOEXEC).expect("the user has an instance left")
        });
        match events.add_watch(&path, AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_ONESHOT) {
            Ok(_) if path.exists() => drop(events.read_events()?),
            Ok(_) | Err(Errno::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
}

fn acquire(kind: &str, resource: &Path) -> Lock {
    let forever = Duration::from_secs(3600);
    if kind == Kind::Flock.name() {
        let file = File::create(resource).expect("the directory can be written to");
        let locked = Flock::lock(file, FlockArg::LockExclusive);
        let _file = locked.map_err(|(_, error)| error).expect("flock waits");
        return Lock::Flock { _file };
    }
    if kind == Kind::Bare.name() {
        return acquire_bare(resource).expect("bare calls succeed as the library's do");
    }
    let durability = if kind == Kind::Rvlf.name() {
        Durability::None
    } else {
        Durability::Sync
    };
    let options = WriterLock::options().durability(durability);
    let _lock = options.acquire(resource, forever).expect("holders release");
    Lock::Rvlf { _lock }
}

/// What a worker process does.
pub fn run(arguments: &[String]) {
    let [kind, resource, id, ..] = arguments else {
        panic!("usage: {FLAG} KIND RESOURCE ID");
    };
    let resource = PathBuf::from(resource);
    let id: u64 = id.parse().expect("ids are numbers");
    let mut held = None;
    println!("0");
    for order in std::io::stdin().lines() {
        let order = order.expect("orders are lines");
        let words: Vec<&str> = order.split_whitespace().collect();
        match words.as_slice() {
            ["a"] => {
                held = Some(acquire(kind, &resource));
                println!("{}", monotonic_ns());
            }
            ["r"] => {
                let before = monotonic_ns();
                drop(held.take());
                println!("{before}");
            }
            ["c", time, shared] => {
                let time = Duration::from_nanos(time.parse().expect("a number"));
                println!("{}", compete(kind, &resource, id, time, Path::new(shared)));
            }
            _ => panic!("unknown order: {order}"),
        }
    }
}

fn compete(kind: &str, resource: &Path, id: u64, time: Duration, shared: &Path) -> String {
    let shared = File::options()
        .read(true)
        .write(true)
        .open(shared)
        .expect("it was made before");
    let cpu_before = cpu_time();
    let start = Instant::now();
    let (mut holds, mut longest) = (0, Duration::ZERO);
    while start.elapsed() < time {
        let asked = Instant::now();
        let lock = acquire(kind, resource);
        longest = longest.max(asked.elapsed());
        note(&shared, id);
        drop(lock);
        holds += 1;
    }
    let cpu = cpu_time() - cpu_before;
    format!("{holds} {} {}", longest.as_nanos(), cpu.as_nanos())
}

/// Three numbers of eight little-endian bytes: who held last, plus one; how many holds there were;
/// how many changes. Two holders at once would lose one of the counts.
fn note(shared: &File, id: u64) {
    let mut bytes = [0; 24];
    shared
        .read_exact_at(&mut bytes, 0)
        .expect("the file has 24 bytes");
    let [last, holds, changes] = numbers(&bytes);
    let changed = u64::from(last != id + 1);
    let after = [id + 1, holds + 1, changes + changed];
    for (to, number) in bytes.chunks_exact_mut(8).zip(after) {
        to.copy_from_slice(&number.to_le_bytes());
    }
    shared
        .write_all_at(&bytes, 0)
        .expect("the file can be written");
}

pub fn numbers(bytes: &[u8; 24]) -> [u64; 3] {
    let mut numbers = [0; 3];
    for (number, bytes) in numbers.iter_mut().zip(bytes.chunks_exact(8)) {
        *number = u64::from_le_bytes(bytes.try_into().expect("chunks of eight"));
    }
    numbers
}

fn cpu_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("everybody may ask for himself");
    let micros =
        |time: nix::sys::time::TimeVal| (time.tv_sec() * 1_000_000 + time.tv_usec()) as u64;
    Duration::from_micros(micros(usage.user_time()) + micros(usage.system_time()))
}
