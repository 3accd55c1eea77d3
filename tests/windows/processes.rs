//! Processes that share one data file: one holds at a time, whichever is killed.
//!
//! The witness is no lock: each hold writes lines into one log, to the end of the file. Two holds that
//! are there at a time mix their lines. A hold that is killed ends with its last line.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rvlf::judge::Reason;
use rvlf::{Durability, LockFile, LockState, StalePolicy, WriterLock};

use crate::role::{Process, path_of, role};
use crate::{PATIENCE, names_in, scratch, until};

/// Stands for a hold in the lines of the examiner, which holds nothing.
const EXAMINER: &str = "examiner";

/// How many lines a hold writes at the least when it is not killed.
const LINES: u32 = 4;

/// Acquires and releases. `LEAVES=child`: its eighth hold goes to a child that inherits it; `LEAVES=lock`:
/// it dies in its sixteenth.
pub(crate) fn contender() {
    let leaves_child = std::env::var("LEAVES").is_ok_and(|what| what == "child");
    let data = path_of("DATA");
    let options = WriterLock::options().durability(Durability::None);
    let mut log = Log::open();
    for number in 1.. {
        if path_of("LOG").with_extension("stop").exists() {
            return;
        }
        let lock = options.acquire(&data, PATIENCE);
        let lock = lock.expect("the others release the lock or die");
        let hold = lock.writer_id().to_string();
        if lock.reclaimed().is_some() {
            log.note(&hold, "reclaims");
        }
        if leaves_child && number == 8 {
            // Whoever logs before the child has ended is there at the same time.
            log.note(&hold, "holds");
            let mut keeper = role("keeper");
            let keeper = keeper
                .env("HOLD", &hold)
                .stdin(Stdio::null())
                .stdout(Stdio::null());
            let spawned = lock.lend_during(|| keeper.spawn());
            spawned.expect("this binary can be started");
            // No destructor runs. The child is the holder now, and only its handle shows that.
            std::process::exit(0);
        }
        log.hold(&hold);
        if !leaves_child && number == 16 {
            std::process::exit(0);
        }
        if lock.check().is_err() | lock.release().is_err() {
            log.note(&hold, "loses");
        }
    }
}

/// Examines and breaks what is stale, and holds nothing.
pub(crate) fn examiner() {
    let file = LockFile::open(path_of("DATA")).expect("the directory exists");
    let mut log = Log::open();
    while !path_of("LOG").with_extension("stop").exists() {
        // Refused by a holder, or by another contender at that moment.
        if let Ok(Some(_)) = file.break_stale() {
            log.note(EXAMINER, "reclaims");
        }
        file.inspect()
            .expect("a process that has the lock lets others examine it");
    }
}

/// A child of a dead contender, which has inherited its hold.
pub(crate) fn keeper() {
    let hold = std::env::var("HOLD").expect("the contender passes it");
    Log::open().hold(&hold);
}

struct Log(File);

impl Log {
    fn open() -> Log {
        let file = File::options().append(true).open(path_of("LOG"));
        Log(file.expect("the test has made the log"))
    }

    fn hold(&mut self, hold: &str) {
        for _ in 0..LINES {
            self.note(hold, "holds");
            std::thread::sleep(Duration::from_micros(300));
        }
    }

    /// One write for each line: a process that is killed leaves whole lines.
    fn note(&mut self, hold: &str, what: &str) {
        let line = format!("{hold} {what}\n");
        self.0
            .write_all(line.as_bytes())
            .expect("the disk has room");
    }
}

/// What a log shows.
#[derive(Debug, Default)]
struct Audit {
    holds: usize,
    /// Holds with a line of another hold among theirs.
    overlaps: usize,
    reclaimed: usize,
    lost: usize,
    /// Holds that were killed before their last line.
    cut: usize,
}

fn audit(log: &Path) -> Audit {
    let text = fs::read_to_string(log).expect("the log is text");
    // The first and the last line of each hold, and how many say that it holds.
    let mut holds: HashMap<&str, (usize, usize, u32)> = HashMap::new();
    let mut audit = Audit::default();
    for (number, line) in text.lines().enumerate() {
        let (hold, what) = line.split_once(' ').expect("a line has two words");
        if hold == EXAMINER {
            audit.reclaimed += 1;
            continue;
        }
        let seen = holds.entry(hold).or_insert((number, number, 0));
        seen.1 = number;
        match what {
            "holds" => seen.2 += 1,
            "reclaims" => audit.reclaimed += 1,
            _ => audit.lost += 1,
        }
    }
    let mut ranges: Vec<_> = holds.into_values().collect();
    ranges.sort_unstable();
    audit.holds = ranges.len();
    audit.cut = ranges.iter().filter(|(.., lines)| *lines < LINES).count();
    let pairs = ranges.iter().zip(ranges.iter().skip(1));
    audit.overlaps = pairs.filter(|(one, next)| next.0 < one.1).count();
    audit
}

/// Contenders of one lock, each of which is replaced when it ends, and an examiner.
struct Contenders {
    directory: tempfile::TempDir,
    data: PathBuf,
    leaves: &'static str,
    examiner: Process,
    running: Vec<Process>,
    ended: usize,
}

impl Contenders {
    fn new(leaves: &'static str) -> Contenders {
        let (directory, data) = scratch();
        File::create(directory.path().join("log")).expect("there is room");
        let log = directory.path().join("log");
        Contenders {
            examiner: start("examiner", &data, &log, leaves),
            running: (0..4)
                .map(|_| start("contender", &data, &log, leaves))
                .collect(),
            directory,
            data,
            leaves,
            ended: 0,
        }
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// Waits until the log has `lines` lines.
    fn until_logged(&mut self, lines: u64) {
        let log = self.log();
        until("the log grows", || {
            for slot in &mut self.running {
                if slot.ended().is_some() {
                    self.ended += 1;
                    *slot = start("contender", &self.data, &log, self.leaves);
                }
            }
            let len = fs::metadata(&log).expect("the log is there").len();
            len > lines * "00000000-0000-0000-0000-000000000000 holds\n".len() as u64
        });
    }

    fn kill(&mut self, slot: usize) {
        let successor = start("contender", &self.data, &self.log(), self.leaves);
        let victim = self.running.get_mut(slot).expect("it is one of them");
        std::mem::replace(victim, successor).kill();
    }

    /// Ends all of them, and recovers what the last ones left.
    fn audit(self) -> Audit {
        // Not by a kill: what is killed while it starts a child may leave one that never runs, and keeps
        // the lock.
        let log = self.log();
        File::create(log.with_extension("stop")).expect("there is room");
        let mut examiner = self.examiner;
        until("it ends", || examiner.ended().is_some());
        assert_eq!(examiner.ended(), Some(true), "each look was an answer");
        for mut contender in self.running {
            until("it ends", || contender.ended().is_some());
        }
        let lock = WriterLock::acquire(&self.data, PATIENCE).expect("no contender lives");
        lock.release().expect("a held lock can be released");
        let found = audit(&log);
        println!("{} ended by themselves, {found:?}", self.ended);
        assert_eq!((found.overlaps, found.lost), (0, 0), "{found:?}");
        found
    }
}

fn start(name: &str, data: &Path, log: &Path, leaves: &str) -> Process {
    let mut command = role(name);
    command
        .env("DATA", data)
        .env("LOG", log)
        .env("LEAVES", leaves);
    Process::start(command)
}

// The promise of the whole crate. Kills come from outside at any moment: between publish and hand-over,
// in a hold, in a break, in a release; and from inside in a hold.
#[test]
fn one_process_holds_at_a_time_whoever_is_killed() {
    const KILLS: u64 = 20;
    let mut contenders = Contenders::new("lock");
    let mut random = u64::from(std::process::id()) | 1;
    for kill in 1..=KILLS {
        contenders.until_logged(kill * 60);
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        std::thread::sleep(Duration::from_micros(random >> 50));
        contenders.kill((random >> 40) as usize % 4);
    }
    let found = contenders.audit();
    assert!(found.holds > 200 && found.reclaimed > 5, "{found:?}");
}

// The holder is dead and its child writes: the share mode of the inherited handle is the only witness.
// Weakened (`--cfg rvlf_weak_share`), the next contender breaks the lock at once, and this fails.
#[test]
fn a_child_that_has_inherited_a_hold_is_its_holder() {
    let mut contenders = Contenders::new("child");
    while contenders.ended < 16 {
        let ended = contenders.ended as u64;
        contenders.until_logged(ended * 32 + 1);
        std::thread::sleep(Duration::from_millis(1));
    }
    let found = contenders.audit();
    assert!(found.reclaimed > 10, "{found:?}");
}

// The kernel closes the handles of a dead process, and that is all the proof that is needed: no age.
#[test]
fn the_lock_of_a_killed_holder_is_free_at_once() {
    let (directory, data) = scratch();
    let mut holder = Process::worker(&data);
    let got = holder.ask("acquire");
    holder.kill();
    let LockState::Stale(left) = rvlf::inspect(&data).expect("it can be examined") else {
        panic!("a dead holder's lock is stale");
    };
    assert_eq!(left.verdict().reason(), Reason::KernelWitness);
    let lock = WriterLock::try_acquire(&data).expect("the holder is dead");
    let dead = lock.reclaimed().and_then(|reclaimed| reclaimed.record);
    let dead = dead.expect("a holder has died").writer_id();
    assert_eq!(format!("got {dead}"), got);
    lock.release().expect("a held lock can be released");
    assert_eq!(names_in(directory.path()), [""; 0], "nothing is left");
}

// On a volume that is not local (FAT, a share; under wine every one, without `--cfg rvlf_wine`) no death has a
// witness. What a dead holder left is old enough at some time, and is removed by its handle there too.
#[test]
fn where_the_kernel_is_no_witness_the_lock_of_a_killed_holder_is_recovered_by_age() {
    let (directory, data) = scratch();
    let mut holder = Process::worker(&data);
    holder.ask("acquire");
    holder.kill();
    let age = Duration::from_secs(2);
    let policy = StalePolicy::new()
        .with_same_host_age(age)
        .with_cross_host_age(age);
    let options = WriterLock::options().stale_policy(policy);
    let lock = options
        .acquire(&data, PATIENCE)
        .expect("the holder is dead");
    assert!(lock.reclaimed().is_some());
    lock.check().expect("it is held");
    lock.release().expect("a held lock can be released");
    assert_eq!(names_in(directory.path()), [""; 0], "nothing is left");
}

// A waiter that was not woken would come with its next poll only; one that was never woken and does not
// poll would hang here.
#[test]
fn a_waiter_gets_the_lock_when_its_holder_releases_it_or_is_killed() {
    for how in ["release", "kill"] {
        let (_directory, data) = scratch();
        let (mut holder, mut waiter) = (Process::worker(&data), Process::worker(&data));
        holder.ask("acquire");
        assert_eq!(waiter.ask("try"), "held KernelLock");
        waiter.send("acquire");
        // Long enough for the waiter to have its watch most of the time; the promise does not
        // depend on it.
        std::thread::sleep(Duration::from_millis(200));
        match how {
            "release" => assert_eq!(holder.ask("release"), "released Free"),
            _ => holder.kill(),
        }
        let got = waiter.receive();
        assert!(got.starts_with("got "), "{how}: {got}");
    }
}

// Asserts no time. What it prints is for a person who compares it with another day's.
#[test]
fn how_long_waiters_wait() {
    for how in ["release", "kill"] {
        let mut times: Vec<Duration> = (0..5).map(|_| wake(how)).collect();
        times.sort_unstable();
        let (first, last) = (times.first(), times.last());
        println!(
            "from {how} to the next holder: {first:?} to {last:?}, median {:?}",
            times.get(2)
        );
    }
}

/// From the end of a hold to the report of the process that waited for it.
fn wake(how: &str) -> Duration {
    let (_directory, data) = scratch();
    let (mut holder, mut waiter) = (Process::worker(&data), Process::worker(&data));
    holder.ask("acquire");
    waiter.send("acquire");
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    match how {
        "release" => holder.send("release"),
        _ => holder.kill(),
    }
    assert!(waiter.receive().starts_with("got "));
    began.elapsed()
}

#[test]
fn a_holder_is_reported_as_the_process_that_it_is() {
    let (_directory, data) = scratch();
    let mut holder = Process::worker(&data);
    let got = holder.ask("acquire");
    let LockState::Held(seen) = rvlf::inspect(&data).expect("it can be examined") else {
        panic!("a live holder's lock is held");
    };
    let record = seen.record().expect("the record can be read");
    assert_eq!(record.pid().get(), holder.id());
    assert_eq!(format!("got {}", record.writer_id()), got);
    assert!(
        record.stamp().is_some(),
        "the death of the holder will have a witness"
    );
    assert!(!seen.is_this_process());
}
