//! Processes that acquire, append, fork, are paused and killed on one data file, for minutes.
//!
//! `RVLF_SOAK_MINUTES=15 cargo test --release -p rvlf-tests --test lock soak -- --ignored --nocapture`
//!
//! Two things detect a second writer: the data file, whose entries are numbered and written in two halves,
//! and a POSIX record lock on the data file. Every holder takes that lock, and the kernel grants it to one
//! process and releases it at the process's death.
#![cfg(all(target_os = "linux", not(rvlf_portable), not(rvlf_unsupported)))]

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid as RawPid;
use rvlf::{LossReason, WriterLock};
use support::{ChildProcess, Rng, Role, RoleEntry};

const WRITERS: usize = 8;

/// Many times the longest pause: a writer that waits this long starves.
const STARVED: Duration = Duration::from_secs(300);

/// Longer than the age after which a dead process's record is stale on its own host.
const LONG_PAUSE: Duration = Duration::from_secs(35);

pub const ROLES: &[RoleEntry] = &[("soak writer", writer)];

// ---------------------------------------------------------------- the data file

/// What writers append, 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    sequence: u64,
    writer: u64,
    /// Whether the writer broke the lock of a dead holder for this hold.
    reclaimed: u64,
    /// Whether the writer forked a child that outlived the hold.
    forked: u64,
}

impl Entry {
    const LEN: usize = support::SEALED_LEN;

    fn encode(self) -> [u8; Entry::LEN] {
        support::sealed([self.sequence, self.writer, self.reclaimed, self.forked])
    }

    /// `None` if the entry is torn, or made of the halves of two writers.
    fn decode(bytes: &[u8]) -> Option<Entry> {
        let [sequence, writer, reclaimed, forked] = support::unsealed(bytes)?;
        Some(Entry {
            sequence,
            writer,
            reclaimed,
            forked,
        })
    }
}

/// Cuts off the unfinished entry of a killed writer. Returns the number of whole entries.
fn recover(data: &File) -> u64 {
    let len = data.metadata().expect("the file is open").len();
    let whole = len / Entry::LEN as u64;
    let mut last = [0; Entry::LEN];
    let end = match whole.checked_sub(1) {
        Some(at) => {
            data.read_exact_at(&mut last, at * Entry::LEN as u64)
                .expect("the file is that long");
            // The second half is written last: an entry of full length is whole, or has a gap.
            at + u64::from(Entry::decode(&last).is_some())
        }
        None => 0,
    };
    data.set_len(end * Entry::LEN as u64)
        .expect("no other process writes");
    end
}

// ---------------------------------------------------------------- one writer

/// Acquires, appends and releases, until it is killed.
fn writer() {
    let path = PathBuf::from(support::arg("DATA"));
    let mut rng = Rng::from_seed(support::number("SEED"));
    let data = File::options().read(true).write(true).open(&path);
    let data = data.expect("the test has created the file");
    let keepalive = Some(Duration::from_millis(200));
    let options = WriterLock::options().keepalive(keepalive);
    support::report("ready");
    loop {
        let lock = options
            .acquire(&path, STARVED)
            .unwrap_or_else(|error| panic!("starved or failed: {error}"));
        if let Err(other) = support::take_record_lock(&data) {
            panic!("two holders at once: process {other} is the other");
        }
        let sequence = recover(&data);
        let forked = rng.below(50) == 0;
        let entry = Entry {
            sequence,
            writer: std::process::id().into(),
            reclaimed: lock.reclaimed().is_some().into(),
            forked: forked.into(),
        };
        let bytes = entry.encode();
        let (first, second) = bytes.split_at(Entry::LEN / 2);
        let at = sequence * Entry::LEN as u64;
        data.write_all_at(first, at).expect("the disk has room");
        std::thread::sleep(rng.micros(300));
        lock.check()
            .unwrap_or_else(|lost| panic!("a live holder lost its lock: {lost}"));
        data.write_all_at(second, at + first.len() as u64)
            .expect("the disk has room");
        support::release_record_lock(&data);
        if forked {
            leave_a_child(&lock, rng.below(20));
        }
        match rng.below(4) {
            0 => drop(lock),
            _ => {
                let released = lock.release();
                released.unwrap_or_else(|error| panic!("a live holder lost its lock: {error}"));
            }
        }
        std::thread::sleep(rng.micros(2000));
    }
}

/// Forks a child that keeps a copy of the guard for some milliseconds, perhaps longer than its parent
/// lives.
fn leave_a_child(lock: &WriterLock, millis: u64) {
    let child = support::fork(|| {
        std::thread::sleep(Duration::from_millis(millis));
        let checked = lock.check();
        checked.is_err_and(|lost| lost.reason == LossReason::Forked)
    });
    // The hold must not wait for the child.
    std::thread::spawn(move || {
        let status = waitpid(child, None);
        if status != Ok(WaitStatus::Exited(child, 0)) {
            eprintln!("a forked child's copy is not lost: {status:?}");
            std::process::exit(1);
        }
    });
}

// ---------------------------------------------------------------- faults

#[derive(Debug, Default)]
struct Counts {
    killed: u64,
    paused: u64,
    paused_long: u64,
    inspected: u64,
    break_attempts: u64,
    broken: u64,
}

struct Soak {
    dir: tempfile::TempDir,
    rng: Rng,
    writers: Vec<ChildProcess>,
    /// The paused writers, each with the end of its pause.
    paused: Vec<(RawPid, Instant)>,
    counts: Counts,
}

impl Soak {
    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn writer(&mut self) -> ChildProcess {
        let seed = self.rng.below(u64::MAX);
        let role = Role::new("soak writer").with("DATA", self.data());
        role.with_number("SEED", seed).ready()
    }

    /// One fault or disturbance: a kill, a pause, an inspection, a break.
    fn inject_fault(&mut self) {
        let victim = self.rng.below(WRITERS as u64) as usize;
        let pid = self.writers.get(victim).map(raw_pid);
        let pid = pid.expect("the index is below their number");
        match self.rng.below(100) {
            0..50 => {
                let mut fresh = self.writer();
                let old = self.writers.get_mut(victim).expect("see above");
                std::mem::swap(old, &mut fresh);
                fresh.kill();
                self.paused.retain(|(paused, _)| *paused != pid);
                self.counts.killed += 1;
            }
            50..80 => self.pause(pid, Duration::from_millis(5 + self.counts.paused % 300)),
            80..99 => {
                rvlf::inspect(self.data()).expect("the directory can be read");
                self.counts.inspected += 1;
            }
            _ => {
                self.counts.break_attempts += 1;
                let broken = support::break_stale(self.data());
                self.counts.broken += u64::from(matches!(broken, Ok(Some(_))));
            }
        }
    }

    fn pause(&mut self, pid: RawPid, time: Duration) {
        kill(pid, Signal::SIGSTOP).expect("a writer runs until it is killed");
        self.paused.push((pid, Instant::now() + time));
        self.counts.paused += 1;
    }

    /// Pauses a holder for longer than every age by which it could be judged dead on this host.
    fn pause_holder_long(&mut self) {
        let Ok(rvlf::LockState::Held(holder)) = rvlf::inspect(self.data()) else {
            return;
        };
        let pid = holder.record().map(|record| record.pid().get());
        let is_holder = |writer: &&ChildProcess| Some(writer.pid()) == pid;
        if let Some(writer) = self.writers.iter().find(is_holder) {
            let pid = raw_pid(writer);
            self.pause(pid, LONG_PAUSE);
            self.counts.paused_long += 1;
        }
    }

    fn resume(&mut self, all: bool) {
        let now = Instant::now();
        self.paused.retain(|(pid, until)| {
            let over = all || *until <= now;
            if over {
                kill(*pid, Signal::SIGCONT).expect("a writer runs until it is killed");
            }
            !over
        });
    }

    /// Writers end by SIGKILL only: a writer that ended by itself has detected a broken promise.
    fn assert_all_run(&mut self) {
        for writer in &mut self.writers {
            assert!(
                writer.ended().is_none(),
                "a writer has detected a broken promise"
            );
        }
    }
}

fn raw_pid(writer: &ChildProcess) -> RawPid {
    let pid = i32::try_from(writer.pid()).expect("pids are positive");
    RawPid::from_raw(pid)
}

// Deaths, pauses and forks in random combinations: a day in production within minutes.
#[test]
#[ignore = "takes RVLF_SOAK_MINUTES (default: 1)"]
fn a_data_file_survives_every_fault_of_its_writers() {
    let minutes = std::env::var("RVLF_SOAK_MINUTES").ok();
    let minutes: f64 = minutes.map_or(1.0, |text| text.parse().expect("a number of minutes"));
    let dir = tempfile::Builder::new().prefix("rvlf-test-").tempdir();
    let mut soak = Soak {
        dir: dir.expect("there is a directory for temporary files"),
        rng: Rng::new(),
        writers: Vec::new(),
        paused: Vec::new(),
        counts: Counts::default(),
    };
    File::create_new(soak.data()).expect("the directory is writable");
    for _ in 0..WRITERS {
        let writer = soak.writer();
        soak.writers.push(writer);
    }
    let start = Instant::now();
    let mut next_long_pause = start + LONG_PAUSE;
    while start.elapsed().as_secs_f64() < minutes * 60.0 {
        soak.resume(false);
        soak.inject_fault();
        if Instant::now() >= next_long_pause {
            soak.pause_holder_long();
            next_long_pause = Instant::now() + LONG_PAUSE * 4;
        }
        soak.assert_all_run();
        let pause = soak.rng.micros(30_000);
        std::thread::sleep(pause);
    }
    soak.resume(true);
    soak.assert_all_run();
    for writer in &mut soak.writers {
        writer.kill();
    }
    println!("{minutes} minutes, {WRITERS} writers: {:?}", soak.counts);
    audit(&soak.data());
    let lock = WriterLock::acquire(soak.data(), support::PATIENCE);
    lock.expect("when every writer is dead, the lock is free or recovered")
        .release()
        .expect("no other process is left");
    let leftovers = support::names_in(soak.dir.path()).len() - 1;
    println!("leftovers, which breakers remove after a minute: {leftovers}");
    assert!(
        (leftovers as u64) <= soak.counts.killed,
        "a crash leaves at most one renamed file"
    );
}

/// Every entry is whole and has the next number.
fn audit(path: &Path) {
    let data = File::options().read(true).write(true).open(path);
    let data = data.expect("no process removes the data file");
    let whole = recover(&data);
    let mut writers = HashSet::new();
    let (mut reclaimed, mut forked) = (0, 0);
    for sequence in 0..whole {
        let mut bytes = [0; Entry::LEN];
        data.read_exact_at(&mut bytes, sequence * Entry::LEN as u64)
            .expect("the file is that long");
        let entry = Entry::decode(&bytes);
        let entry = entry
            .unwrap_or_else(|| panic!("entry {sequence} is made of the halves of two writers"));
        assert_eq!(entry.sequence, sequence, "no number is written twice");
        writers.insert(entry.writer);
        reclaimed += entry.reclaimed;
        forked += entry.forked;
    }
    assert!(whole > 0, "the writers have written entries");
    println!(
        "{whole} entries by {} processes, {reclaimed} after reclaiming a dead holder's lock, {forked} \
         with a forked child left behind",
        writers.len()
    );
}
