//! Processes that share one data file: one writes at a time, and the lock of a dead one is recovered at
//! once.
#![cfg(all(target_os = "linux", not(rvlf_portable), not(rvlf_unsupported)))]

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use rvlf::judge::Reason;
use rvlf::{AcquireError, Durability, HoldError, LockState, LossReason, WriterLock, lock_path_for};
use support::{ChildProcess, Container, OLD, PATIENCE, Rng, Role, RoleEntry};

pub const ROLES: &[RoleEntry] = &[
    ("writer", writer),
    ("breaker", breaker),
    ("forker", forker),
    ("forks as pid 1", forks_as_pid_one),
    ("executor", executor),
    ("bystander", bystander),
    ("outlives main", outlives_main),
    ("main returns", main_returns),
];

// ---------------------------------------------------------------- a data file with one writer

/// What writers append: big enough to be torn, and written in pieces, so that a kill tears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// Counts the entries of the file: two writers that read the same last entry write the same number.
    sequence: u64,
    writer: u64,
    /// Counts the entries of the writer.
    number: u64,
}

impl Entry {
    const LEN: usize = support::SEALED_LEN;

    fn encode(self) -> [u8; Entry::LEN] {
        support::sealed([self.sequence, self.writer, self.number, !self.sequence])
    }

    /// `None` if the entry is torn, or made of the halves of two writers.
    fn decode(bytes: &[u8]) -> Option<Entry> {
        let [sequence, writer, number, _] = support::unsealed(bytes)?;
        let entry = Entry {
            sequence,
            writer,
            number,
        };
        (entry.encode() == bytes).then_some(entry)
    }
}

fn open_data(path: &Path) -> File {
    let mut options = File::options();
    let options = options.read(true).write(true).create(true).truncate(false);
    options.open(path).expect("the data file can be opened")
}

/// Cuts off the torn entry of a killed writer. Returns the length of the rest, and whether there was a
/// torn entry.
fn recover(data: &File) -> (u64, bool) {
    let len = data.metadata().expect("the file is open").len();
    let torn = len % Entry::LEN as u64;
    if torn > 0 {
        data.set_len(len - torn).expect("the file is writable");
    }
    (len - torn, torn > 0)
}

fn append(data: &File, end: u64, writer: u64, number: u64) {
    let mut last = [0; Entry::LEN];
    let sequence = match end.checked_sub(Entry::LEN as u64) {
        None => 0,
        Some(at) => {
            data.read_exact_at(&mut last, at)
                .expect("the last entry can be read");
            Entry::decode(&last)
                .expect("the last entry is whole")
                .sequence
                + 1
        }
    };
    let entry = Entry {
        sequence,
        writer,
        number,
    };
    // In pieces, by position: two writers at the same time would leave halves of both entries, and one
    // of two entries in the same place would be lost.
    for (piece, bytes) in (0_u64..).zip(entry.encode().chunks(16)) {
        data.write_all_at(bytes, end + piece * 16)
            .expect("the disk has room");
        std::thread::sleep(Duration::from_micros(20));
    }
}

/// Acquires, appends and releases. Logs the begin and the end of each hold, each in one write.
///
/// Stops after COUNT entries, or when the file STOP exists.
fn writer() {
    let (data, stop) = (PathBuf::from(support::arg("DATA")), support::arg("STOP"));
    let (id, count) = (support::number("ID"), support::number("COUNT"));
    let mut log = File::create_new(support::arg("LOG")).expect("each writer has a log of its own");
    let mut rng = Rng::from_seed(id);
    let mut note = |what: &str, number: u64, at: u64| {
        let line = format!("{what} {number} {at}\n");
        log.write_all(line.as_bytes()).expect("the disk has room");
    };
    for number in 0..count {
        if Path::new(&stop).exists() {
            break;
        }
        let lock = WriterLock::acquire(&data, PATIENCE)
            .expect("the other writers release the lock or die");
        note("enter", number, support::monotonic_ns());
        let file = open_data(&data);
        let (end, torn) = recover(&file);
        if torn {
            note("torn", number, 0);
        }
        if let Some(dead) = lock.reclaimed().and_then(|reclaimed| reclaimed.record) {
            note("reclaimed", number, dead.pid().get().into());
        }
        append(&file, end, id, number);
        std::thread::sleep(rng.micros(100));
        lock.check().expect("a live holder keeps its lock");
        note("leave", number, support::monotonic_ns());
        lock.release().expect("a held lock can be released");
    }
}

/// The contents of a writer's log.
#[derive(Debug, Default)]
struct Log {
    holds: Vec<Hold>,
    committed: Vec<(u64, u64)>,
    torn: usize,
    reclaimed: usize,
}

#[derive(Clone, Copy, Debug)]
struct Hold {
    from: u64,
    until: u64,
    writer: u64,
}

impl Log {
    /// `killed_at`: a hold without an end lasted at least until this time.
    fn read(path: &Path, writer: u64, killed_at: Option<u64>) -> Log {
        // A writer that was killed before it created its log has none.
        let text = fs::read_to_string(path).unwrap_or_default();
        let mut log = Log::default();
        let mut since = None;
        // The writer was killed while it wrote a last line without a line feed.
        for line in text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
        {
            let mut words = line.split_ascii_whitespace();
            let what = words.next().expect("a line has a word");
            let mut number = || {
                let word = words.next().expect("a line has two numbers");
                word.parse::<u64>().expect("the value is a number")
            };
            let (number, at) = (number(), number());
            match what {
                "enter" => since = Some(at),
                "torn" => log.torn += 1,
                "reclaimed" => log.reclaimed += 1,
                _ => {
                    log.committed.push((writer, number));
                    let from = since.take().expect("a hold begins before it ends");
                    log.holds.push(Hold {
                        from,
                        until: at,
                        writer,
                    });
                }
            }
        }
        if let Some(from) = since {
            let until = killed_at.expect("only a killed writer's hold has no end");
            log.holds.push(Hold {
                from,
                until,
                writer,
            });
        }
        log
    }
}

fn assert_no_two_at_a_time(mut holds: Vec<Hold>) {
    holds.sort_by_key(|hold| hold.from);
    for (one, next) in holds.iter().zip(holds.iter().skip(1)) {
        assert!(
            one.until < next.from,
            "two processes held one lock at the same time: {one:?} and {next:?}"
        );
    }
}

/// The entries of the data file, every one whole and in its place.
fn audit(data: &Path) -> HashSet<(u64, u64)> {
    let bytes = fs::read(data).expect("the data file is there");
    let entries = bytes.chunks_exact(Entry::LEN);
    assert!(entries.remainder().is_empty(), "the last entry is torn");
    let mut seen = HashSet::new();
    for (place, bytes) in (0_u64..).zip(entries) {
        let entry = Entry::decode(bytes);
        let entry = entry.unwrap_or_else(|| panic!("entry {place} is torn or interleaved"));
        assert_eq!(
            entry.sequence, place,
            "an entry was lost or repeated: {entry:?}"
        );
        assert!(
            seen.insert((entry.writer, entry.number)),
            "written twice: {entry:?}"
        );
    }
    seen
}

fn start_writer(dir: &Path, id: u64, count: u64) -> ChildProcess {
    let role = Role::new("writer")
        .with("DATA", dir.join("data"))
        .with("STOP", dir.join("stop"))
        .with("LOG", log_path(dir, id))
        .with_number("ID", id)
        .with_number("COUNT", count);
    role.start()
}

fn log_path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id}.log"))
}

// The main job. If two writers held the lock at once for as long as one append takes, an entry would be
// lost (both read the same end of the file) or made of two halves.
#[test]
fn eight_processes_append_to_one_file_and_nothing_is_lost_or_torn() {
    const WRITERS: u64 = 8;
    const ENTRIES: u64 = 250;
    let dir = support::scratch();
    let writers: Vec<_> = (0..WRITERS)
        .map(|id| start_writer(dir.path(), id, ENTRIES))
        .collect();
    writers.into_iter().for_each(ChildProcess::finish);

    let mut holds = Vec::new();
    for id in 0..WRITERS {
        let log = Log::read(&log_path(dir.path(), id), id, None);
        assert_eq!(
            log.holds.len() as u64,
            ENTRIES,
            "each writer has appended all its entries"
        );
        assert_eq!(log.torn, 0, "no writer was killed, so no entry is torn");
        assert_eq!(log.reclaimed, 0, "no writer died, so no lock was reclaimed");
        holds.extend(log.holds);
    }
    let hand_overs = hand_overs(&mut holds);
    assert_no_two_at_a_time(holds);
    let entries = audit(&dir.path().join("data"));
    assert_eq!(
        entries.len() as u64,
        WRITERS * ENTRIES,
        "every append is in the file"
    );
    assert!(support::is_absent(&lock_path_for(dir.path().join("data"))));
    println!(
        "{} entries, {hand_overs} hand-overs between processes",
        entries.len()
    );
}

fn holder_of(dir: &Path) -> Option<u32> {
    let state = rvlf::inspect(dir.join("data")).expect("the directory can be read");
    match state {
        LockState::Held(holder) => Some(holder.record()?.pid().get()),
        _ => None,
    }
}

fn hand_overs(holds: &mut [Hold]) -> usize {
    holds.sort_by_key(|hold| hold.from);
    let next = holds.iter().skip(1);
    holds
        .iter()
        .zip(next)
        .filter(|(a, b)| a.writer != b.writer)
        .count()
}

// Writers get `kill -9` at any moment, in the middle of an append, of a release, of a break. Each death
// must be noticed at once, cost at most the dead writer's unfinished entry, and never let two writers
// in.
#[test]
fn writers_killed_at_random_lose_only_what_they_had_not_committed() {
    const KILLS: u64 = 150;
    let dir = support::scratch();
    let killed_at = kill_writers(dir.path(), KILLS);
    let mut holds = Vec::new();
    let mut committed = HashSet::new();
    let (mut torn, mut reclaimed) = (0, 0);
    for (id, killed_at) in (0_u64..).zip(killed_at) {
        let log = Log::read(&log_path(dir.path(), id), id, killed_at);
        holds.extend(log.holds);
        committed.extend(log.committed);
        torn += log.torn;
        reclaimed += log.reclaimed;
    }
    let hold_count = holds.len();
    assert_no_two_at_a_time(holds);
    let data = dir.path().join("data");
    let last = WriterLock::acquire(&data, PATIENCE).expect("every writer has ended");
    recover(&open_data(&data));
    last.release().expect("the lock is held");
    let entries = audit(&data);
    let missing: Vec<_> = committed.difference(&entries).collect();
    assert!(missing.is_empty(), "committed and missing: {missing:?}");
    assert!(
        entries.len() - committed.len() <= KILLS as usize,
        "each death leaves at most one entry that was written and not yet logged as committed"
    );
    assert!(reclaimed > 0, "some of {KILLS} kills hit a holder");
    println!(
        "{KILLS} kills: {hold_count} holds, {} entries, {reclaimed} locks reclaimed, {torn} torn \
         entries cut off",
        entries.len()
    );
}

/// Starts writers, kills and replaces `kills` of them, and lets the last ones end. Returns the time at
/// which each writer was killed.
fn kill_writers(dir: &Path, kills: u64) -> Vec<Option<u64>> {
    const WRITERS: usize = 4;
    let mut rng = Rng::new();
    let mut killed_at = Vec::new();
    let mut running: Vec<(u64, ChildProcess)> = Vec::new();
    for kill in 0..kills {
        while running.len() < WRITERS {
            let id = killed_at.len() as u64;
            running.push((id, start_writer(dir, id, u64::MAX)));
            killed_at.push(None);
        }
        std::thread::sleep(rng.micros(20_000));
        // Half of the time the holder: its record names it.
        let holder = (kill % 4 < 2).then(|| holder_of(dir)).flatten();
        let is_holder = |(_, writer): &(u64, ChildProcess)| Some(writer.pid()) == holder;
        let victim = running.iter().position(is_holder);
        let victim = victim.unwrap_or(rng.below(WRITERS as u64) as usize);
        let (id, mut victim) = running.swap_remove(victim);
        let slot = killed_at.get_mut(id as usize).expect("ids are numbered");
        *slot = Some(support::monotonic_ns());
        if kill % 2 == 0 {
            victim.kill();
        } else {
            // The next writer starts while this one is still ending.
            victim.kill_only();
        }
    }
    File::create(dir.join("stop")).expect("the directory is writable");
    running.into_iter().for_each(|(_, writer)| writer.finish());
    killed_at
}

// ---------------------------------------------------------------- breaking

/// Each command gives a start time and a data file: acquires the lock of that file at that time.
fn breaker() {
    support::report("ready");
    loop {
        let command = support::next_command();
        let (start, data) = command.split_once(' ').expect("a time and a path");
        let start: u64 = start.parse().expect("a time");
        while support::monotonic_ns() < start {
            std::hint::spin_loop();
        }
        let mut options = WriterLock::options();
        options = options.durability(Durability::None);
        let lock = options
            .acquire(data, PATIENCE)
            .expect("the other breaker releases the lock");
        let from = support::monotonic_ns();
        let dead = lock
            .reclaimed()
            .and_then(|reclaimed| reclaimed.record)
            .map(|record| record.writer_id().to_string());
        while support::monotonic_ns() < from + 50_000 {
            std::hint::spin_loop();
        }
        lock.check().expect("a live holder keeps its lock");
        let until = support::monotonic_ns();
        lock.release().expect("the lock is held");
        support::report(format_args!(
            "{from} {until} {}",
            dead.as_deref().unwrap_or("-")
        ));
    }
}

// A and B both judge the lock stale. A breaks it and acquires. B, which has not examined the lock again,
// breaks what it takes for the stale lock, which is A's, and acquires, too.
#[test]
fn two_breakers_of_one_stale_lock_get_it_one_after_the_other() {
    break_together(2, 400);
}

// More breakers than processors: some are preempted between the examination and the break.
#[test]
fn eight_breakers_of_one_stale_lock_get_it_one_after_the_other() {
    break_together(8, 300);
}

fn break_together(breakers: usize, rounds: usize) {
    let dir = support::scratch();
    let mut breakers: Vec<_> = (0..breakers)
        .map(|_| Role::new("breaker").ready())
        .collect();
    for round in 0..rounds {
        let data = dir.path().join(format!("{round}"));
        let planted = support::plant_left_behind(&data).writer_id().to_string();
        // The breakers spin on one clock: they start within a microsecond.
        let start = support::monotonic_ns() + 500_000;
        for breaker in &mut breakers {
            breaker.send(&format!("{start} {}", data.display()));
        }
        let reports: Vec<_> = breakers.iter_mut().map(ChildProcess::receive).collect();
        let mut broke = 0;
        let mut holds = Vec::new();
        for (writer, text) in (0..).zip(&reports) {
            let mut words = text.split(' ');
            let mut time = || words.next().and_then(|word| word.parse().ok());
            let (from, until) = (time().expect("a time"), time().expect("a time"));
            holds.push(Hold {
                from,
                until,
                writer,
            });
            let dead = words.next().expect("a writer id or a dash");
            if dead != "-" {
                assert_eq!(dead, planted, "only the stale lock is ever broken");
                broke += 1;
            }
        }
        assert_eq!(broke, 1, "a stale lock is broken once: {reports:?}");
        assert_no_two_at_a_time(holds);
        assert!(
            support::is_absent(&lock_path_for(&data)),
            "every breaker has released"
        );
    }
    let leftovers = support::names_in(dir.path());
    assert!(
        leftovers.is_empty(),
        "breakers leave nothing behind: {leftovers:?}"
    );
}

// ---------------------------------------------------------------- containers

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Here,
    /// A container with this host's name: on each side the other side's pid is dead, or another
    /// process.
    SameName,
    OtherName,
    /// A container whose name is longer than what fits beside a stamp.
    LongName,
    /// A container with a boot id of its own.
    OwnBootId,
    /// Another one, with another boot id.
    OtherBootId,
    /// A container whose procfs shows processes only.
    NoBootId,
    /// A container that sees the directory of the data file only.
    NoProcfs,
}

const SIDES: [Side; 4] = [Side::Here, Side::SameName, Side::OtherName, Side::LongName];

enum Worker {
    Here(ChildProcess),
    Container(Container),
}

impl Worker {
    fn ready(side: Side, data: &Path) -> Worker {
        let here = data.parent().expect("the data file is in a directory");
        let name = match side {
            Side::SameName => None,
            Side::LongName => Some("recommendation-index-writer-production-eu-west-0"),
            _ => Some("rvlf-elsewhere"),
        };
        let role = Role::in_container("worker", name).with("DATA", data);
        let with_boot_id = |role: Role, number: u8| {
            let file = here.join(format!("boot-id-{number}"));
            let id = format!("6f9d2a54-7c1e-4a50-9d6e-01234567890{number}\n");
            std::fs::write(&file, id).expect("the directory is writable");
            role.with("BOOT_ID", file)
        };
        Worker::Container(Container::ready(match side {
            Side::Here => return Worker::Here(Role::worker(data).ready()),
            Side::SameName | Side::OtherName | Side::LongName => role,
            Side::OwnBootId => with_boot_id(role, 1),
            Side::OtherBootId => with_boot_id(role, 2),
            Side::NoBootId => role.with("PROC_OPTIONS", "subset=pid"),
            Side::NoProcfs => role.with("CHROOT", here).with("DATA", "/data"),
        }))
    }

    fn process(&mut self) -> &mut ChildProcess {
        match self {
            Worker::Here(process) => process,
            Worker::Container(container) => &mut container.process,
        }
    }

    fn kill(&mut self) {
        match self {
            Worker::Here(process) => drop(process.kill()),
            Worker::Container(container) => container.kill(),
        }
    }
}

/// A live holder on one side is respected on the other, and recovered at once when it dies.
fn meet(holder_side: Side, contender_side: Side) {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let mut holder = Worker::ready(holder_side, &data);
    let mut contender = Worker::ready(contender_side, &data);
    let writer_id = holder.process().expect("try", "got");
    let pair = format!("holder {holder_side:?}, contender {contender_side:?}");

    for _ in 0..5 {
        let answer = contender.process().request("try");
        assert!(
            answer.starts_with("held KernelLock"),
            "{pair}: a live holder was not respected: {answer}"
        );
    }
    support::backdate(&data, support::VERY_OLD);
    let answer = contender.process().request("try");
    assert!(
        answer.starts_with("held KernelLock"),
        "{pair}: age decides nothing where the kernel lock is held: {answer}"
    );
    assert_eq!(
        holder.process().request("check"),
        "Ok(())",
        "{pair}: the holder keeps its lock"
    );

    holder.kill();
    let got = contender.process().expect("try", "got");
    assert!(
        got.ends_with(&format!("from {writer_id}")),
        "{pair}: a dead holder's lock is recovered at once, and the report names it: {got}"
    );
    assert_eq!(contender.process().request("release"), "released", "{pair}");
}

// Two containers on one volume, with the same host name: the holder is pid 1 in its own container, and
// pid 1 of the other is alive, dead, or another process. A lock that trusts pids and host names breaks
// the locks of live holders here, and keeps those of dead ones.
#[test]
fn holders_in_other_containers_keep_their_locks_and_are_recovered_at_once_when_they_die() {
    if let Some(reason) = support::no_containers() {
        return support::skip(&reason);
    }
    for holder_side in SIDES {
        for contender_side in SIDES {
            meet(holder_side, contender_side);
        }
    }
}

/// Views of one plain file system in which a process computes another stamp than [`Side::Here`] with
/// the boot id, or none.
const VIEWS: [Side; 3] = [Side::OwnBootId, Side::OtherBootId, Side::NoBootId];

// LXC, Incus and systemd-nspawn give each container a boot id, ProcSubset=pid hides it, and a process
// in a chroot has no procfs: a lock that relies on the boot id waits for 300 s there, although the
// kernel knows that the holder is dead.
#[test]
fn under_another_boot_id_or_none_live_holders_keep_their_locks_and_dead_ones_are_recovered_at_once()
{
    if let Some(reason) = support::no_containers() {
        return support::skip(&reason);
    }
    if !support::is_plain(support::scratch().path()) {
        return support::skip("temporary files are on an overlay, where the boot id decides");
    }
    for view in VIEWS {
        meet(view, Side::Here);
        meet(Side::Here, view);
        // Without procfs a process has no start ticks, and the kernel lock alone decides.
        meet(view, Side::NoProcfs);
        meet(Side::NoProcfs, view);
    }
    meet(Side::NoProcfs, Side::NoProcfs);
    meet(Side::OwnBootId, Side::OtherBootId);
    meet(Side::NoBootId, Side::OwnBootId);
}

// ---------------------------------------------------------------- fork

/// Holds the lock and forks; the role's variant is what the child does with its copy.
fn forker() {
    let data = PathBuf::from(support::arg("DATA"));
    let lock = WriterLock::try_acquire(&data).expect("the lock is free");
    let variant = support::arg_or("VARIANT", "");
    let mut lock = Some(lock);
    let child = support::fork(|| match (variant.as_str(), lock.take()) {
        ("drops", lock) => {
            drop(lock);
            true
        }
        ("releases", Some(lock)) => child_is_refused(lock),
        ("checks", Some(lock)) => {
            let forked = LossReason::Forked;
            let is_lost = lock.is_lost();
            is_lost && lock.check().is_err_and(|lost| lost.reason == forked)
        }
        // The copy stays open until the test closes the pipe of the child's standard input.
        ("outlives", copy) => {
            support::next_command();
            drop(copy);
            true
        }
        _ => false,
    });
    if variant == "outlives" {
        support::report(format_args!("forked {child}"));
        loop {
            std::thread::park();
        }
    }
    support::join(child, "the child's copy behaves as documented");
    let lock = lock.take().expect("the parent's own copy is untouched");
    lock.check().expect("the parent holds the lock as before");
    support::report("held");
    support::next_command();
    lock.release().expect("the parent holds the lock as before");
    support::report("released");
}

fn child_is_refused(lock: WriterLock) -> bool {
    let Err(error) = lock.release() else {
        return false;
    };
    let lost = match &error.error {
        HoldError::Lost(lost) => lost.reason.clone(),
        _ => return false,
    };
    // The error returns the guard, which is as lost as before.
    lost == LossReason::Forked && child_is_refused_again(error.lock)
}

fn child_is_refused_again(lock: WriterLock) -> bool {
    let outcome = lock.release();
    outcome.is_err_and(|error| matches!(error.error, HoldError::Lost(_)))
}

// A web server forks workers while it holds the lock. A worker that exits runs the guard's Drop: an
// unlock there would free the parent's kernel lock, and an unlink would remove its file.
#[test]
fn what_a_forked_child_does_with_its_copy_leaves_the_lock_to_the_parent() {
    for variant in ["drops", "releases", "checks"] {
        let dir = support::scratch();
        let data = dir.path().join("data");
        let role = Role::new("forker").with("DATA", &data);
        let mut parent = role.with("VARIANT", variant).start();
        assert_eq!(parent.receive(), "held", "child {variant}");
        let outcome = WriterLock::try_acquire(&data);
        assert!(
            support::describe(&outcome).starts_with("held KernelLock"),
            "child {variant}: the parent still holds the kernel lock, but: {outcome:?}"
        );
        assert_eq!(parent.request("release"), "released", "child {variant}");
        let lock = WriterLock::try_acquire(&data).expect("the parent has released it");
        assert_eq!(
            lock.reclaimed().and_then(|reclaimed| reclaimed.record),
            None,
            "a release leaves nothing to reclaim"
        );
    }
}

// The parent is killed, and its child still writes through the file that it inherited. The recorded pid
// is dead; only the kernel lock shows the child.
#[test]
fn a_child_that_outlives_the_dead_parent_keeps_the_lock_until_it_ends() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let role = Role::new("forker").with("DATA", &data);
    let mut parent = role.with("VARIANT", "outlives").start();
    assert!(
        parent.receive().starts_with("forked"),
        "the child is forked"
    );
    let writer_id = support::read_record(&data).writer_id();
    parent.kill();

    support::backdate(&data, OLD);
    let error = WriterLock::try_acquire(&data).expect_err("the child has the descriptor open");
    let holder = error.holder().expect("the lock is held");
    assert_eq!(
        holder.verdict().reason(),
        Reason::KernelLockOutlivesProcess,
        "the reason: the recorded process is dead and another one keeps the kernel lock: {error}"
    );
    // The child reads the end of its standard input, and ends.
    drop(parent);
    let lock = WriterLock::acquire(&data, PATIENCE).expect("the child ends");
    let dead = lock
        .reclaimed()
        .and_then(|reclaimed| reclaimed.record)
        .expect("the parent crashed");
    assert_eq!(dead.writer_id(), writer_id);
}

/// How many pipes of this process have something to read, but for the test's commands.
fn readable_pipes() -> usize {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let is_pipe = |number: &i32| {
        let link = std::fs::read_link(format!("/proc/self/fd/{number}"));
        link.is_ok_and(|link| link.display().to_string().starts_with("pipe:"))
    };
    let is_readable = |number: &i32| {
        #[allow(
            unsafe_code,
            reason = "the descriptors of the library are known by number only"
        )]
        // SAFETY: the descriptor is open, and no other thread of this role closes it.
        let pipe = unsafe { std::os::fd::BorrowedFd::borrow_raw(*number) };
        let mut polled = [PollFd::new(pipe, PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::ZERO).expect("the descriptor is open");
        let events = polled.first().and_then(PollFd::revents);
        events.is_some_and(|events| events.contains(PollFlags::POLLIN))
    };
    (3..100).filter(is_pipe).filter(is_readable).count()
}

/// Holds the lock as pid 1 of one namespace, and forks a child that is pid 1 of the next.
fn forks_as_pid_one() {
    let data = PathBuf::from(support::arg("DATA"));
    assert_eq!(
        std::process::id(),
        1,
        "this process is the first of its namespace"
    );
    let lock = WriterLock::options()
        .keepalive(None)
        .try_acquire(&data)
        .expect("the lock is free");
    let token = rvlf::CancelToken::new();
    // Those of a make that runs the tests are inherited.
    let readable_before = readable_pipes();
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWPID)
        .expect("this process is root of its namespaces");
    let mut lock = Some(lock);
    let child = support::fork(|| {
        token.cancel();
        let is_first = std::process::id() == 1;
        is_first && lock.take().is_some_and(child_is_refused)
    });
    support::join(
        child,
        "a child differs from its parent though both are pid 1",
    );
    assert!(
        !token.is_cancelled(),
        "the child has cancelled its own copy"
    );
    assert_eq!(
        readable_pipes(),
        readable_before,
        "a waiter that polls the token would be woken without end"
    );
    let lock = lock.take().expect("the parent's own copy is untouched");
    lock.check().expect("the parent holds the lock as before");
    lock.release().expect("the parent holds the lock as before");
    support::report("ready");
    support::next_command();
}

// In a container the program is pid 1. A sandboxed child that it forks into a pid namespace of its own
// is pid 1, too, and may have been forked within the same clock tick (10 ms) as its parent.
#[test]
fn a_forked_child_with_its_parents_pid_does_not_release_its_parents_lock() {
    if let Some(reason) = support::no_containers() {
        return support::skip(&reason);
    }
    let dir = support::scratch();
    for _ in 0..10 {
        let role = Role::in_container("forks as pid 1", None);
        Container::ready(role.with("DATA", dir.path().join("data")));
    }
}

// ---------------------------------------------------------------- exec

/// Holds the lock and executes another program.
fn executor() {
    let data = PathBuf::from(support::arg("DATA"));
    let lock = WriterLock::try_acquire(&data).expect("the lock is free");
    let next = Role::new("bystander").into_command().exec();
    panic!("the program can be executed: {next}, while holding {lock:?}");
}

fn bystander() {
    support::report("ready");
    support::next_command();
}

// A process that acquires and then executes another program gives the lock up: the descriptor is closed
// on exec. Its pid lives, so for 30 s doubt reads as held. Then the lock is stale, however long the
// other program runs.
#[test]
fn exec_gives_the_lock_up_within_thirty_seconds() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let mut executor = Role::new("executor").with("DATA", &data).ready();

    let error =
        WriterLock::try_acquire(&data).expect_err("the process lives, and the record is young");
    let holder = error.holder().expect("the lock is held");
    assert_eq!(
        holder.verdict().reason(),
        Reason::DescriptorClosed,
        "{error}"
    );
    // "Wait for its release" would be for as long as that program runs.
    assert!(error.to_string().contains("the lock is free"), "{error}");
    assert_eq!(
        holder.record().map(|record| record.pid().get()),
        Some(executor.pid())
    );

    support::backdate(&data, OLD);
    let lock = WriterLock::try_acquire(&data).expect("no process has refreshed the lock for 30 s");
    let displaced = lock
        .reclaimed()
        .and_then(|reclaimed| reclaimed.record)
        .expect("the dead holder never released it");
    assert_eq!(displaced.pid().get(), executor.pid());
    executor.send("end");
    executor.finish();
}

// ---------------------------------------------------------------- one process

// Two parts of one program, a library and its user, both open the data file. flock(2) on two descriptors
// excludes them; fcntl(2) locks would not. The message must not send the user in search of another
// process.
#[test]
fn a_second_acquire_in_one_process_is_refused_and_names_this_process() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let lock = WriterLock::try_acquire(&data).expect("the lock is free");
    let again = || WriterLock::try_acquire(&data).expect_err("one lock has one holder");
    let in_thread = std::thread::scope(|scope| scope.spawn(again).join());
    let timed_out =
        WriterLock::acquire(&data, Duration::from_millis(20)).expect_err("the lock is still held");
    for error in [
        again(),
        in_thread.expect("the thread does not panic"),
        timed_out,
    ] {
        let holder = error.holder().expect("the lock is held");
        assert!(holder.is_this_process());
        let text = error.to_string();
        assert!(text.contains("already held by this process"), "{text}");
        assert!(
            text.contains("release it there first"),
            "the next step is named: {text}"
        );
    }
    lock.check()
        .expect("refused attempts do not affect the holder");
    lock.release().expect("the lock is held");
    let lock = WriterLock::try_acquire(&data).expect("the lock was released");
    let error = Role::worker(&data).ready().request("try");
    assert!(error.starts_with("held KernelLock"), "{error}");
    drop(lock);
}

#[test]
fn a_panic_that_unwinds_releases() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let held = WriterLock::try_acquire(&data).expect("the lock is free");
    let outcome = std::thread::scope(|scope| {
        let panics = || {
            let _moved_in = held;
            // Not `panic!`: its message in the output would look like a failure of the test.
            std::panic::resume_unwind(Box::new("a bug in the calling program"));
        };
        scope.spawn(panics).join()
    });
    assert!(outcome.is_err(), "the thread panicked");
    assert!(
        support::is_absent(&lock_path_for(&data)),
        "unwinding dropped the guard"
    );
    let lock = WriterLock::try_acquire(&data).expect("the lock is free");
    assert!(
        lock.reclaimed().is_none(),
        "the lock was released, not left behind"
    );
}

/// The main thread ends, and another thread goes on holding the lock.
fn outlives_main() {
    let data = PathBuf::from(support::arg("DATA"));
    // The harness needs the main thread of this process; a forked child has a main thread of its own.
    let child = support::fork(|| {
        std::thread::spawn(move || hold_without_main(&data));
        // SAFETY: exit(2) ends the calling thread alone. Nothing of its stack is borrowed by the
        // other thread, and what it would have dropped is leaked.
        #[allow(unsafe_code, reason = "the only way to end the main thread alone")]
        unsafe {
            nix::libc::syscall(nix::libc::SYS_exit, 0)
        };
        false
    });
    support::join(child, "the other thread ends the process");
}

fn hold_without_main(data: &Path) {
    support::until("the main thread shows Z", || {
        let stat = fs::read_to_string("/proc/self/stat").expect("procfs is mounted");
        stat.contains(") Z ")
    });
    let lock = WriterLock::try_acquire(data).expect("the lock is free");
    support::report("ready");
    support::next_command();
    lock.release().expect("the lock is held");
    support::report("released");
    std::process::exit(0);
}

// A process whose main thread has ended is a zombie by its state in /proc/pid/stat. Its other threads
// run, and write.
#[test]
fn a_lock_whose_main_thread_has_ended_is_held_by_a_live_process() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let mut process = Role::new("outlives main").with("DATA", &data).ready();
    let error = WriterLock::try_acquire(&data).expect_err("the other thread of the process lives");
    let holder = error.holder().expect("the lock is held");
    assert_eq!(
        holder.verdict().reason(),
        Reason::KernelLock,
        "the recorded process is not taken for dead: {error}"
    );
    assert_eq!(process.request("release"), "released");
    process.finish();
}

/// The process ends by itself while one of its threads holds the lock.
fn main_returns() {
    let data = PathBuf::from(support::arg("DATA"));
    let (sender, acquired) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _lock = WriterLock::try_acquire(&data).expect("the lock is free");
        sender.send(()).expect("the main thread waits");
        loop {
            std::thread::park();
        }
    });
    acquired.recv().expect("the thread acquires");
}

// exit(3) runs no destructors: the lock file stays. The next writer must get the lock at once, and learn
// that its predecessor did not finish.
#[test]
fn a_process_that_exits_while_a_thread_holds_is_recovered_at_once() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    Role::new("main returns")
        .with("DATA", &data)
        .start()
        .finish();
    let left = support::read_record(&data);
    let lock = WriterLock::try_acquire(&data).expect("the holder has ended");
    assert_eq!(
        lock.reclaimed().and_then(|reclaimed| reclaimed.record),
        Some(left)
    );
}

#[test]
fn a_signal_that_ends_the_holder_is_recovered_at_once_whatever_signal_it_is() {
    for signal in [Signal::SIGTERM, Signal::SIGABRT, Signal::SIGKILL] {
        let dir = support::scratch();
        let data = dir.path().join("data");
        let mut holder = Role::worker(&data).ready();
        let writer_id = holder.expect("try", "got");
        let pid = i32::try_from(holder.pid()).expect("pids fit");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("the process lives");
        assert!(!holder.wait().success(), "{signal} ends it");
        let lock = WriterLock::try_acquire(&data).expect("the holder is dead");
        let dead = lock
            .reclaimed()
            .and_then(|reclaimed| reclaimed.record)
            .expect("the dead holder never released it");
        assert_eq!(dead.writer_id().to_string(), writer_id, "{signal}");
    }
}

// Callers distinguish contention from failure by these kinds.
#[test]
fn contention_becomes_would_block_and_timed_out() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let mut holder = Role::worker(&data).ready();
    holder.expect("try", "got");
    let held = WriterLock::try_acquire(&data).expect_err("the child process holds the lock");
    assert!(matches!(held, AcquireError::Held { .. }) && held.is_held());
    assert_eq!(
        std::io::Error::from(held).kind(),
        std::io::ErrorKind::WouldBlock
    );
    let timeout =
        WriterLock::acquire(&data, Duration::from_millis(1)).expect_err("the lock is still held");
    assert!(matches!(timeout, AcquireError::Timeout { .. }) && timeout.is_held());
    assert_eq!(
        std::io::Error::from(timeout).kind(),
        std::io::ErrorKind::TimedOut
    );
    let pid = holder.pid().to_string();
    let text = WriterLock::try_acquire(&data)
        .expect_err("the lock is still held")
        .to_string();
    assert!(
        text.contains(&format!(
            "held by pid {pid} on {}",
            support::this_host_beside_a_stamp()
        )),
        "{text}"
    );
}
