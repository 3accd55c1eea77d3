//! Hours in minutes: processes that acquire, append, fork, are paused and killed, on one data file.
//!
//! `RVLF_SOAK_MINUTES=15 cargo test --release --test soak -- --ignored --nocapture`
//!
//! Two things would show a second writer: the data file, whose entries are numbered and written in
//! two halves, and a POSIX record lock that every holder takes on the data file, which the kernel
//! gives to one process and takes back at its death.
#![cfg(all(target_os = "linux", not(rvlf_portable), not(rvlf_unsupported)))]

use support as common;

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{Actor, Chance, Role};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid as RawPid;
use rvlf::{LossReason, WriterLock};

const WRITERS: usize = 8;

/// Longer than the longest pause, many times: whoever waits this long waits for ever.
const STARVED: Duration = Duration::from_secs(300);

/// Longer than the age after which a dead process's record is stale on its own host.
const LONG_PAUSE: Duration = Duration::from_secs(35);

pub const ROLES: &[(&str, fn())] = &[("soaked", soaked)];

// ---------------------------------------------------------------- the data file

/// What writers append, 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    sequence: u64,
    writer: u64,
    /// Whether the lock of a dead holder was broken to write it.
    reclaimed: u64,
    /// Whether its writer had forked a child that outlived the hold.
    forked: u64,
}

impl Entry {
    const LEN: usize = common::SEALED_LEN;

    fn encode(self) -> [u8; Entry::LEN] {
        common::sealed([self.sequence, self.writer, self.reclaimed, self.forked])
    }

    /// `None` if it is torn, or two writers' halves.
    fn decode(bytes: &[u8]) -> Option<Entry> {
        let [sequence, writer, reclaimed, forked] = common::unsealed(bytes)?;
        Some(Entry {
            sequence,
            writer,
            reclaimed,
            forked,
        })
    }
}

/// The number of whole entries. What a killed writer left of another one is cut off.
fn recover(data: &File) -> u64 {
    let len = data.metadata().expect("it is open").len();
    let whole = len / Entry::LEN as u64;
    let mut last = [0; Entry::LEN];
    let end = match whole.checked_sub(1) {
        Some(at) => {
            data.read_exact_at(&mut last, at * Entry::LEN as u64)
                .expect("it is that long");
            // The second half is written last: a whole length means a whole entry, or a gap.
            at + u64::from(Entry::decode(&last).is_some())
        }
        None => 0,
    };
    data.set_len(end * Entry::LEN as u64)
        .expect("nobody else writes");
    end
}

/// Takes the POSIX lock, which no other living process may have. It dies with its process, but not in
/// one moment with the flock: a process that is ending may have it for a little longer.
fn bear_witness(data: &File) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let mut range = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        match fcntl(data, FcntlArg::F_SETLK(&range)) {
            Ok(_) => return,
            Err(Errno::EAGAIN | Errno::EACCES) => {}
            Err(error) => panic!("a local file system has record locks: {error}"),
        }
        fcntl(data, FcntlArg::F_GETLK(&mut range)).expect("a local file system has record locks");
        let gone = range.l_type == libc::F_UNLCK as libc::c_short || is_ending(range.l_pid);
        assert!(
            gone,
            "two holders at once: process {} is the other",
            range.l_pid
        );
        assert!(Instant::now() < deadline, "a process takes 10 s to end");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Whether a process has been killed, also where it has not ended yet.
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
    // An exiting process has given its memory back.
    let exiting = !status.contains("VmSize:");
    state.starts_with(['Z', 'X']) || killed || exiting
}

// ---------------------------------------------------------------- one writer

/// Acquires, appends and releases, until it is killed.
fn soaked() {
    let path = PathBuf::from(common::arg("DATA"));
    let mut chance = Chance::from_seed(common::number("SEED"));
    let data = File::options().read(true).write(true).open(&path);
    let data = data.expect("the test has made it");
    let keepalive = Some(Duration::from_millis(200));
    let options = WriterLock::options().keepalive(keepalive);
    common::say("ready");
    loop {
        let lock = options
            .acquire(&path, STARVED)
            .unwrap_or_else(|error| panic!("starved or failed: {error}"));
        bear_witness(&data);
        let sequence = recover(&data);
        let forked = chance.below(50) == 0;
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
        std::thread::sleep(chance.micros(300));
        lock.check()
            .unwrap_or_else(|lost| panic!("a live holder was robbed: {lost}"));
        data.write_all_at(second, at + first.len() as u64)
            .expect("the disk has room");
        give_up_witness(&data);
        if forked {
            leave_a_child(&lock, chance.below(20));
        }
        match chance.below(4) {
            0 => drop(lock),
            _ => lock
                .release()
                .unwrap_or_else(|error| panic!("a live holder was robbed: {error}")),
        }
        std::thread::sleep(chance.micros(2000));
    }
}

fn give_up_witness(data: &File) {
    let range = libc::flock {
        l_type: libc::F_UNLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(data, FcntlArg::F_SETLK(&range)).expect("an unlock is always granted");
}

/// A forked child that has a copy of the guard for some milliseconds, perhaps longer than its parent.
fn leave_a_child(lock: &WriterLock, millis: u64) {
    let child = common::fork(|| {
        std::thread::sleep(Duration::from_millis(millis));
        let told = lock.check();
        told.is_err_and(|lost| lost.reason == LossReason::Forked)
    });
    // The hold must not wait for it.
    std::thread::spawn(move || {
        let status = waitpid(child, None);
        if status != Ok(WaitStatus::Exited(child, 0)) {
            eprintln!("a forked child is not told that it holds nothing: {status:?}");
            std::process::exit(1);
        }
    });
}

// ---------------------------------------------------------------- what happens to them

#[derive(Debug, Default)]
struct Deeds {
    killed: u64,
    paused: u64,
    paused_long: u64,
    inspected: u64,
    break_attempts: u64,
    broken: u64,
}

struct Soak {
    dir: tempfile::TempDir,
    chance: Chance,
    writers: Vec<Actor>,
    /// Who is paused, and until when.
    paused: Vec<(RawPid, Instant)>,
    deeds: Deeds,
}

impl Soak {
    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn writer(&mut self) -> Actor {
        let seed = self.chance.below(u64::MAX);
        let role = Role::new("soaked").with("DATA", self.data());
        role.with_number("SEED", seed).ready()
    }

    /// One thing that happens to one of them.
    fn strike(&mut self) {
        let victim = self.chance.below(WRITERS as u64) as usize;
        let pid = self.writers.get(victim).map(raw_pid);
        let pid = pid.expect("the index is below their number");
        match self.chance.below(100) {
            0..50 => {
                let mut fresh = self.writer();
                let old = self.writers.get_mut(victim).expect("as above");
                std::mem::swap(old, &mut fresh);
                fresh.kill();
                self.paused.retain(|(paused, _)| *paused != pid);
                self.deeds.killed += 1;
            }
            50..80 => self.pause(pid, Duration::from_millis(5 + self.deeds.paused % 300)),
            80..99 => {
                rvlf::inspect(self.data()).expect("the directory can be read");
                self.deeds.inspected += 1;
            }
            _ => {
                self.deeds.break_attempts += 1;
                let broken = common::break_stale(self.data());
                self.deeds.broken += u64::from(matches!(broken, Ok(Some(_))));
            }
        }
    }

    fn pause(&mut self, pid: RawPid, time: Duration) {
        kill(pid, Signal::SIGSTOP).expect("it runs until it is killed");
        self.paused.push((pid, Instant::now() + time));
        self.deeds.paused += 1;
    }

    /// Pauses a holder for longer than any age by which it could be judged dead on this host.
    fn pause_holder_long(&mut self) {
        let Ok(rvlf::LockState::Held(holder)) = rvlf::inspect(self.data()) else {
            return;
        };
        let pid = holder.record().map(|record| record.pid().get());
        let of_ours = |writer: &&Actor| Some(writer.pid()) == pid;
        if let Some(writer) = self.writers.iter().find(of_ours) {
            let pid = raw_pid(writer);
            self.pause(pid, LONG_PAUSE);
            self.deeds.paused_long += 1;
        }
    }

    fn resume(&mut self, all: bool) {
        let now = Instant::now();
        self.paused.retain(|(pid, until)| {
            let over = all || *until <= now;
            if over {
                kill(*pid, Signal::SIGCONT).expect("it runs until it is killed");
            }
            !over
        });
    }

    /// Writers end by SIGKILL only: one that ended by itself has seen a promise broken.
    fn assert_all_run(&mut self) {
        for writer in &mut self.writers {
            assert!(
                writer.ended().is_none(),
                "a writer has seen a promise broken"
            );
        }
    }
}

fn raw_pid(writer: &Actor) -> RawPid {
    let pid = i32::try_from(writer.pid()).expect("pids are positive");
    RawPid::from_raw(pid)
}

// The soak that ends all excuses: whatever combination of deaths, pauses and forks a day in
// production brings, it comes here within minutes.
#[test]
#[ignore = "takes RVLF_SOAK_MINUTES (default: 1)"]
fn a_data_file_survives_whatever_happens_to_its_writers() {
    let minutes = std::env::var("RVLF_SOAK_MINUTES").ok();
    let minutes: f64 = minutes.map_or(1.0, |text| text.parse().expect("a number of minutes"));
    let dir = tempfile::Builder::new().prefix("rvlf-test-").tempdir();
    let mut soak = Soak {
        dir: dir.expect("there is a directory for temporary files"),
        chance: Chance::new(),
        writers: Vec::new(),
        paused: Vec::new(),
        deeds: Deeds::default(),
    };
    File::create_new(soak.data()).expect("the directory is ours");
    for _ in 0..WRITERS {
        let writer = soak.writer();
        soak.writers.push(writer);
    }
    let start = Instant::now();
    let mut next_long_pause = start + LONG_PAUSE;
    while start.elapsed().as_secs_f64() < minutes * 60.0 {
        soak.resume(false);
        soak.strike();
        if Instant::now() >= next_long_pause {
            soak.pause_holder_long();
            next_long_pause = Instant::now() + LONG_PAUSE * 4;
        }
        soak.assert_all_run();
        let moment = soak.chance.micros(30_000);
        std::thread::sleep(moment);
    }
    soak.resume(true);
    soak.assert_all_run();
    for writer in &mut soak.writers {
        writer.kill();
    }
    println!("{minutes} minutes, {WRITERS} writers: {:?}", soak.deeds);
    audit(&soak.data());
    let lock = WriterLock::acquire(soak.data(), common::PATIENCE);
    lock.expect("when all are dead, the lock is free or recovered")
        .release()
        .expect("nobody is left to take it");
    let litter = common::names_in(soak.dir.path()).len() - 1;
    println!("asides left, to be swept after a minute: {litter}");
    assert!(
        (litter as u64) <= soak.deeds.killed,
        "a crash leaves one aside at the most"
    );
}

/// Every entry is whole, and bears the next number.
fn audit(path: &Path) {
    let data = File::options().read(true).write(true).open(path);
    let data = data.expect("nobody removes the data file");
    let whole = recover(&data);
    let mut writers = HashSet::new();
    let (mut reclaimed, mut forked) = (0, 0);
    for sequence in 0..whole {
        let mut bytes = [0; Entry::LEN];
        data.read_exact_at(&mut bytes, sequence * Entry::LEN as u64)
            .expect("it is that long");
        let entry = Entry::decode(&bytes);
        let entry = entry.unwrap_or_else(|| panic!("entry {sequence} is two writers' work"));
        assert_eq!(entry.sequence, sequence, "nobody writes another's number");
        writers.insert(entry.writer);
        reclaimed += entry.reclaimed;
        forked += entry.forked;
    }
    assert!(whole > 0, "somebody has written something");
    println!(
        "{whole} entries by {} processes, {reclaimed} after reclaiming a dead holder's lock, {forked} \
         with a forked child left behind",
        writers.len()
    );
}
