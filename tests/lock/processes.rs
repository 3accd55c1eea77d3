//! Real processes on one data file: nobody writes at the same time, nobody's death is waited for.
#![cfg(all(target_os = "linux", not(rvlf_portable), not(rvlf_unsupported)))]

use support as common;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{Actor, Chance, Contained, OLD, PATIENCE, Role};
use nix::sys::signal::Signal;
use rvlf::judge::Reason;
use rvlf::{AcquireError, Durability, HoldError, LossReason, WriterLock, lock_path_for};

pub const ROLES: &[(&str, fn())] = &[
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

/// What writers append: big enough to be torn, and written in pieces so that it would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// Counts the entries of the file: two writers who read the same last entry give themselves
    /// away.
    sequence: u64,
    writer: u64,
    /// Counts the entries of the writer.
    number: u64,
}

impl Entry {
    const LEN: usize = common::SEALED_LEN;

    fn encode(self) -> [u8; Entry::LEN] {
        common::sealed([self.sequence, self.writer, self.number, !self.sequence])
    }

    /// `None` if it is torn, or two writers' halves.
    fn decode(bytes: &[u8]) -> Option<Entry> {
        let [sequence, writer, number, _] = common::unsealed(bytes)?;
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

/// The data file's length without what a killed writer left torn at its end; whether there was any.
fn recover(data: &File) -> (u64, bool) {
    let len = data.metadata().expect("it is open").len();
    let torn = len % Entry::LEN as u64;
    if torn > 0 {
        data.set_len(len - torn)
            .expect("our own file can be truncated");
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
    // In pieces, by position: a second writer at the same time would leave halves of both, and one
    // of two entries in the same place would be lost.
    for (piece, bytes) in (0_u64..).zip(entry.encode().chunks(16)) {
        data.write_all_at(bytes, end + piece * 16)
            .expect("there is room for 16 bytes");
        std::thread::sleep(Duration::from_micros(20));
    }
}

/// Acquires, appends and releases; logs when it began and ended to hold, each in one write.
///
/// Stops after COUNT entries, or when the file STOP is there.
fn writer() {
    let (data, stop) = (PathBuf::from(common::arg("DATA")), common::arg("STOP"));
    let (id, count) = (common::number("ID"), common::number("COUNT"));
    let mut log = File::create_new(common::arg("LOG")).expect("each writer has a log of its own");
    let mut chance = Chance::from_seed(id);
    let mut note = |what: &str, number: u64, at: u64| {
        let line = format!("{what} {number} {at}\n");
        log.write_all(line.as_bytes())
            .expect("there is room for a line");
    };
    for number in 0..count {
        if Path::new(&stop).exists() {
            break;
        }
        let lock = WriterLock::acquire(&data, PATIENCE).expect("the others release it or die");
        note("enter", number, common::monotonic_ns());
        let file = open_data(&data);
        let (end, torn) = recover(&file);
        if torn {
            note("torn", number, 0);
        }
        if let Some(dead) = lock.reclaimed().and_then(|reclaimed| reclaimed.record) {
            note("reclaimed", number, dead.pid().get().into());
        }
        append(&file, end, id, number);
        std::thread::sleep(chance.micros(100));
        lock.check().expect("a lock that is held stays held");
        note("leave", number, common::monotonic_ns());
        lock.release().expect("a lock that is held can be released");
    }
}

/// What a writer's log says.
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
    /// `killed_at`: a hold without an end lasted at least until then.
    fn read(path: &Path, writer: u64, killed_at: Option<u64>) -> Log {
        // A writer that was killed before it began has none.
        let text = fs::read_to_string(path).unwrap_or_default();
        let mut log = Log::default();
        let mut since = None;
        // A last line without its end was not finished.
        for line in text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
        {
            let mut words = line.split_ascii_whitespace();
            let what = words.next().expect("a line has a word");
            let mut number = || {
                let word = words.next().expect("a line has two numbers");
                word.parse::<u64>().expect("it is a number")
            };
            let (number, at) = (number(), number());
            match what {
                "enter" => since = Some(at),
                "torn" => log.torn += 1,
                "reclaimed" => log.reclaimed += 1,
                _ => {
                    log.committed.push((writer, number));
                    let from = since.take().expect("whoever leaves has entered");
                    log.holds.push(Hold {
                        from,
                        until: at,
                        writer,
                    });
                }
            }
        }
        if let Some(from) = since {
            let until = killed_at.expect("only who was killed has not left");
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

fn start_writer(dir: &Path, id: u64, count: u64) -> Actor {
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

// The main job. Were two writers in at once for as long as one append, an entry would be lost (both
// read the same end of the file) or made of two halves.
#[test]
fn eight_processes_append_to_one_file_and_nothing_is_lost_or_torn() {
    const WRITERS: u64 = 8;
    const ENTRIES: u64 = 250;
    let dir = common::scratch();
    let writers: Vec<_> = (0..WRITERS)
        .map(|id| start_writer(dir.path(), id, ENTRIES))
        .collect();
    writers.into_iter().for_each(Actor::finish);

    let mut holds = Vec::new();
    for id in 0..WRITERS {
        let log = Log::read(&log_path(dir.path(), id), id, None);
        assert_eq!(
            log.holds.len() as u64,
            ENTRIES,
            "each writer did all its work"
        );
        assert_eq!(log.torn, 0, "nobody was killed, so nothing is ever torn");
        assert_eq!(
            log.reclaimed, 0,
            "nobody died, so nobody was reclaimed from"
        );
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
    assert!(common::is_absent(&lock_path_for(dir.path().join("data"))));
    println!(
        "{} entries, {hand_overs} hand-overs between processes",
        entries.len()
    );
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

// A power user's night: `kill -9` at any moment, in the middle of an append, of a release, of a
// break. Each death must be noticed at once, cost at most the dead writer's unfinished entry, and
// never let two in.
#[test]
fn writers_killed_at_random_lose_only_what_they_had_not_committed() {
    const WRITERS: usize = 4;
    const KILLS: u64 = 150;
    let dir = common::scratch();
    let mut chance = Chance::new();
    let mut killed_at = Vec::new();
    let mut running: Vec<(u64, Actor)> = Vec::new();
    for kill in 0..KILLS {
        while running.len() < WRITERS {
            let id = killed_at.len() as u64;
            running.push((id, start_writer(dir.path(), id, u64::MAX)));
            killed_at.push(None);
        }
        std::thread::sleep(chance.micros(20_000));
        let (id, mut victim) = running.swap_remove(chance.below(WRITERS as u64) as usize);
        let slot = killed_at.get_mut(id as usize).expect("ids are numbered");
        *slot = Some(common::monotonic_ns());
        if kill % 2 == 0 {
            victim.kill();
        } else {
            // The next one starts while this one is still dying.
            victim.signal_kill();
        }
    }
    File::create(dir.path().join("stop")).expect("the directory is ours");
    running.into_iter().for_each(|(_, writer)| writer.finish());

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
    let last = WriterLock::acquire(&data, PATIENCE).expect("everybody has ended");
    recover(&open_data(&data));
    last.release().expect("it is held");
    let entries = audit(&data);
    let missing: Vec<_> = committed.difference(&entries).collect();
    assert!(
        missing.is_empty(),
        "committed, and not in the file: {missing:?}"
    );
    assert!(
        entries.len() - committed.len() <= KILLS as usize,
        "each death can leave one entry that was written and not yet called committed"
    );
    assert!(reclaimed > 0, "of {KILLS} kills some met a holder");
    println!(
        "{KILLS} kills: {hold_count} holds, {} entries, {reclaimed} locks reclaimed, {torn} torn \
         entries cut off",
        entries.len()
    );
}

// ---------------------------------------------------------------- breaking

/// At each start time it is given, acquires the lock of the data file that it is given.
fn breaker() {
    say_ready();
    loop {
        let cue = common::next_cue();
        let (start, data) = cue.split_once(' ').expect("a time and a path");
        let start: u64 = start.parse().expect("a time");
        while common::monotonic_ns() < start {
            std::hint::spin_loop();
        }
        let mut options = WriterLock::options();
        options = options.durability(Durability::None);
        let lock = options
            .acquire(data, PATIENCE)
            .expect("the other releases it");
        let from = common::monotonic_ns();
        let dead = lock
            .reclaimed()
            .and_then(|reclaimed| reclaimed.record)
            .map(|record| record.writer_id().to_string());
        while common::monotonic_ns() < from + 50_000 {
            std::hint::spin_loop();
        }
        lock.check().expect("nobody may take it from a live holder");
        let until = common::monotonic_ns();
        lock.release().expect("it is held");
        common::say(format_args!(
            "{from} {until} {}",
            dead.as_deref().unwrap_or("-")
        ));
    }
}

fn say_ready() {
    common::say("ready");
}

// The classic: A and B both judge the lock stale. A breaks it and acquires. B, who has not looked
// again, breaks what it believes to be the stale lock, which is A's, and acquires too.
#[test]
fn two_breakers_of_one_stale_lock_get_it_one_after_the_other() {
    break_together(2, 400);
}

// More of them than processors: some are put to sleep between looking and breaking.
#[test]
fn eight_breakers_of_one_stale_lock_get_it_one_after_the_other() {
    break_together(8, 300);
}

fn break_together(breakers: usize, rounds: usize) {
    let dir = common::scratch();
    let mut breakers: Vec<_> = (0..breakers)
        .map(|_| Role::new("breaker").ready())
        .collect();
    for round in 0..rounds {
        let data = dir.path().join(format!("{round}"));
        let planted = common::plant_left_behind(&data).writer_id().to_string();
        // They spin on one clock: they start within a microsecond.
        let start = common::monotonic_ns() + 500_000;
        for breaker in &mut breakers {
            breaker.tell(&format!("{start} {}", data.display()));
        }
        let told: Vec<_> = breakers.iter_mut().map(Actor::hear).collect();
        let mut broke = 0;
        let mut holds = Vec::new();
        for (writer, text) in (0..).zip(&told) {
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
        assert_eq!(broke, 1, "a stale lock is broken once: {told:?}");
        assert_no_two_at_a_time(holds);
        assert!(
            common::is_absent(&lock_path_for(&data)),
            "all have released"
        );
    }
    let litter = common::names_in(dir.path());
    assert!(
        litter.is_empty(),
        "breakers leave nothing behind: {litter:?}"
    );
}

// ---------------------------------------------------------------- containers

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    Here,
    /// A container with this host's name: each of the two sees the other's pid as dead, or as
    /// somebody else's.
    SameName,
    OtherName,
}

const HOMES: [Home; 3] = [Home::Here, Home::SameName, Home::OtherName];

enum Puppet {
    Here(Actor),
    Contained(Contained),
}

impl Puppet {
    fn ready(home: Home, data: &Path) -> Puppet {
        let hostname = match home {
            Home::Here => return Puppet::Here(Role::puppet(data).ready()),
            Home::SameName => None,
            Home::OtherName => Some("rvlf-elsewhere"),
        };
        let role = Role::in_container("puppet", hostname).with("DATA", data);
        Puppet::Contained(Contained::ready(role))
    }

    fn actor(&mut self) -> &mut Actor {
        match self {
            Puppet::Here(actor) => actor,
            Puppet::Contained(contained) => &mut contained.actor,
        }
    }

    fn kill(&mut self) {
        match self {
            Puppet::Here(actor) => drop(actor.kill()),
            Puppet::Contained(contained) => contained.kill(),
        }
    }
}

// Two containers on one volume, with the same host name: the holder is pid 1 in its own, and pid 1
// of the other is alive, dead, or somebody else. Pids and host names rob the living here, and keep
// the dead alive; the kernel lock must not.
#[test]
fn holders_in_other_containers_are_never_robbed_and_recovered_at_once_when_they_die() {
    if let Some(reason) = common::no_containers() {
        return common::skip(&reason);
    }
    for holder_home in HOMES {
        for contender_home in HOMES {
            let dir = common::scratch();
            let data = dir.path().join("data");
            let mut holder = Puppet::ready(holder_home, &data);
            let mut contender = Puppet::ready(contender_home, &data);
            let writer_id = holder.actor().expect("try", "got");
            let pair = format!("holder {holder_home:?}, contender {contender_home:?}");

            for _ in 0..5 {
                let answer = contender.actor().ask("try");
                assert!(
                    answer.starts_with("held KernelLock"),
                    "{pair}: a live holder was not respected: {answer}"
                );
            }
            common::backdate(&data, common::VERY_OLD);
            let answer = contender.actor().ask("try");
            assert!(
                answer.starts_with("held KernelLock"),
                "{pair}: age robs nobody whom the kernel knows to live: {answer}"
            );
            assert_eq!(
                holder.actor().ask("check"),
                "Ok(())",
                "{pair}: the holder holds on"
            );

            holder.kill();
            let got = contender.actor().expect("try", "got");
            assert!(
                got.ends_with(&format!("from {writer_id}")),
                "{pair}: a dead holder's lock is recovered at once, and it says whose: {got}"
            );
            assert_eq!(contender.actor().ask("release"), "released", "{pair}");
        }
    }
}

// ---------------------------------------------------------------- fork

/// Holds the lock and forks; what the child does with its copy is the role's variant.
fn forker() {
    let data = PathBuf::from(common::arg("DATA"));
    let lock = WriterLock::try_acquire(&data).expect("nobody has it");
    let variant = common::arg_or("VARIANT", "");
    let mut lock = Some(lock);
    let child = common::fork(|| match (variant.as_str(), lock.take()) {
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
        // The copy stays open until the test closes the pipe that is the child's standard input.
        ("outlives", copy) => {
            common::next_cue();
            drop(copy);
            true
        }
        _ => false,
    });
    if variant == "outlives" {
        common::say(format_args!("forked {child}"));
        loop {
            std::thread::park();
        }
    }
    common::join(child, "the child's copy behaves as documented");
    let lock = lock.take().expect("the parent's own copy is untouched");
    lock.check().expect("the parent holds the lock as before");
    common::say("held");
    common::next_cue();
    lock.release().expect("the parent holds the lock as before");
    common::say("released");
}

fn child_is_refused(lock: WriterLock) -> bool {
    let Err(error) = lock.release() else {
        return false;
    };
    let lost = match &error.error {
        HoldError::Lost(lost) => lost.reason,
        _ => return false,
    };
    // The guard comes back, and is as lost as before.
    lost == LossReason::Forked && child_is_refused_again(error.lock)
}

fn child_is_refused_again(lock: WriterLock) -> bool {
    let outcome = lock.release();
    outcome.is_err_and(|error| matches!(error.error, HoldError::Lost(_)))
}

// A web server forks workers while it holds the lock. A worker that exits runs the guard's Drop:
// an unlock there would free the parent's kernel lock, an unlink its file.
#[test]
fn what_a_forked_child_does_with_its_copy_leaves_the_parent_in_possession() {
    for variant in ["drops", "releases", "checks"] {
        let dir = common::scratch();
        let data = dir.path().join("data");
        let role = Role::new("forker").with("DATA", &data);
        let mut parent = role.with("VARIANT", variant).start();
        assert_eq!(parent.hear(), "held", "child {variant}");
        let outcome = WriterLock::try_acquire(&data);
        assert!(
            common::describe(&outcome).starts_with("held KernelLock"),
            "child {variant}: the parent still holds the kernel lock, but: {outcome:?}"
        );
        assert_eq!(parent.ask("release"), "released", "child {variant}");
        let lock = WriterLock::try_acquire(&data).expect("the parent has released it");
        assert_eq!(
            lock.reclaimed().and_then(|reclaimed| reclaimed.record),
            None,
            "a release leaves nothing to reclaim"
        );
    }
}

// The parent is killed, its child still writes through the file that it inherited. Only the kernel
// knows: the recorded pid is dead.
#[test]
fn a_child_that_outlives_the_dead_parent_keeps_the_lock_until_it_ends() {
    let dir = common::scratch();
    let data = dir.path().join("data");
    let role = Role::new("forker").with("DATA", &data);
    let mut parent = role.with("VARIANT", "outlives").start();
    assert!(
        parent.hear().starts_with("forked"),
        "the child is on its way"
    );
    let writer_id = common::read_record(&data).writer_id();
    parent.kill();

    common::backdate(&data, OLD);
    let error = WriterLock::try_acquire(&data).expect_err("the child has the descriptor open");
    let holder = error.holder().expect("it is held");
    assert_eq!(
        holder.verdict().reason(),
        Reason::KernelLockOutlivesProcess,
        "it says that the recorded process is dead and something keeps the lock: {error}"
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

/// As pid 1 of one namespace it holds the lock, and forks a child that is pid 1 of the next.
fn forks_as_pid_one() {
    let data = PathBuf::from(common::arg("DATA"));
    assert_eq!(std::process::id(), 1, "we are the first of our namespace");
    let lock = WriterLock::options()
        .keepalive(None)
        .try_acquire(&data)
        .expect("nobody has it");
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWPID).expect("we are root in here");
    let mut lock = Some(lock);
    let child = common::fork(|| {
        let is_first = std::process::id() == 1;
        is_first && lock.take().is_some_and(child_is_refused)
    });
    common::join(
        child,
        "a child is told from its parent though both are pid 1",
    );
    let lock = lock.take().expect("the parent's own copy is untouched");
    lock.check().expect("the parent holds the lock as before");
    lock.release().expect("the parent holds the lock as before");
    common::say("ready");
    common::next_cue();
}

// In a container the program is pid 1; a sandboxed child that it forks into a pid namespace of its
// own is pid 1, too, and may have been forked within the same clock tick (10 ms) as its parent.
#[test]
fn a_forked_child_with_its_parents_pid_does_not_release_its_parents_lock() {
    if let Some(reason) = common::no_containers() {
        return common::skip(&reason);
    }
    let dir = common::scratch();
    for _ in 0..10 {
        let role = Role::in_container("forks as pid 1", None);
        Contained::ready(role.with("DATA", dir.path().join("data")));
    }
}

// ---------------------------------------------------------------- exec

/// Holds the lock and becomes another program.
fn executor() {
    let data = PathBuf::from(common::arg("DATA"));
    let lock = WriterLock::try_acquire(&data).expect("nobody has it");
    let next = Role::new("bystander").into_command().exec();
    panic!("the program can be executed: {next}, while holding {lock:?}");
}

fn bystander() {
    common::say("ready");
    common::next_cue();
}

// A process that acquires and executes another program has given the lock up without a word: the
// descriptor is closed on exec. Its pid lives on, so for 30 s doubt reads as held; then it is over,
// however long the other program runs.
#[test]
fn exec_gives_the_lock_up_within_thirty_seconds() {
    let dir = common::scratch();
    let data = dir.path().join("data");
    let mut executor = Role::new("executor").with("DATA", &data).ready();

    let error = WriterLock::try_acquire(&data).expect_err("its process lives, and it is young");
    let holder = error.holder().expect("it is held");
    assert_eq!(
        holder.verdict().reason(),
        Reason::DescriptorClosed,
        "{error}"
    );
    assert_eq!(
        holder.record().map(|record| record.pid().get()),
        Some(executor.pid())
    );

    common::backdate(&data, OLD);
    let lock = WriterLock::try_acquire(&data).expect("nothing has refreshed it for 30 s");
    let displaced = lock
        .reclaimed()
        .and_then(|reclaimed| reclaimed.record)
        .expect("it was never released");
    assert_eq!(displaced.pid().get(), executor.pid());
    executor.tell("end");
    executor.finish();
}

// ---------------------------------------------------------------- one process

// Two parts of one program, a library and its user, both open the data file. flock(2) on two
// descriptors excludes them, fcntl(2) locks would not; and the message must not send the user
// looking for another process.
#[test]
fn a_second_acquire_in_one_process_says_that_this_process_has_it() {
    let dir = common::scratch();
    let data = dir.path().join("data");
    let lock = WriterLock::try_acquire(&data).expect("nobody has it");
    let again = || WriterLock::try_acquire(&data).expect_err("one lock has one holder");
    let in_thread = std::thread::scope(|scope| scope.spawn(again).join());
    let timed_out = WriterLock::acquire(&data, Duration::from_millis(20)).expect_err("still held");
    for error in [again(), in_thread.expect("it does not panic"), timed_out] {
        let holder = error.holder().expect("it is held");
        assert!(holder.is_this_process());
        let text = error.to_string();
        assert!(text.contains("already held by this process"), "{text}");
        assert!(
            text.contains("release it there first"),
            "the next step is named: {text}"
        );
    }
    lock.check().expect("being asked costs the holder nothing");
    lock.release().expect("it is held");
    let lock = WriterLock::try_acquire(&data).expect("it was released");
    let error = Role::puppet(&data).ready().ask("try");
    assert!(error.starts_with("held KernelLock"), "{error}");
    drop(lock);
}

#[test]
fn a_panic_that_unwinds_releases() {
    let dir = common::scratch();
    let data = dir.path().join("data");
    let held = WriterLock::try_acquire(&data).expect("nobody has it");
    let outcome = std::thread::scope(|scope| {
        let panics = || {
            let _moved_in = held;
            // Not panic!: its message in the test's output would look like a failure.
            std::panic::resume_unwind(Box::new("a bug of the user's"));
        };
        scope.spawn(panics).join()
    });
    assert!(outcome.is_err(), "the thread panicked");
    assert!(
        common::is_absent(&lock_path_for(&data)),
        "unwinding dropped the guard"
    );
    let lock = WriterLock::try_acquire(&data).expect("nobody has it");
    assert!(
        lock.reclaimed().is_none(),
        "it was released, not left behind"
    );
}

/// The main thread ends, another one holds the lock on.
fn outlives_main() {
    let data = PathBuf::from(common::arg("DATA"));
    // The harness keeps the main thread of this process; a forked child has its own.
    let child = common::fork(|| {
        std::thread::spawn(move || hold_without_main(&data));
        // SAFETY: exit(2) ends the calling thread alone. Nothing of its stack is borrowed by the
        // other thread, and what it would have dropped is leaked.
        #[allow(unsafe_code, reason = "the only way to end the main thread alone")]
        unsafe {
            nix::libc::syscall(nix::libc::SYS_exit, 0)
        };
        false
    });
    common::join(child, "the other thread ends the process");
}

fn hold_without_main(data: &Path) {
    common::until("the main thread shows Z", || {
        let stat = fs::read_to_string("/proc/self/stat").expect("procfs is mounted");
        stat.contains(") Z ")
    });
    let lock = WriterLock::try_acquire(data).expect("nobody has it");
    common::say("ready");
    common::next_cue();
    lock.release().expect("it is held");
    common::say("released");
    std::process::exit(0);
}

// A process whose main thread has ended is a zombie to whoever reads only the state in
// /proc/pid/stat. Its other threads run, and write.
#[test]
fn a_lock_whose_main_thread_has_ended_is_held_by_a_live_process() {
    let dir = common::scratch();
    let data = dir.path().join("data");
    let mut process = Role::new("outlives main").with("DATA", &data).ready();
    let error = WriterLock::try_acquire(&data).expect_err("its other thread lives");
    let holder = error.holder().expect("it is held");
    assert_eq!(
        holder.verdict().reason(),
        Reason::KernelLock,
        "the recorded process is not taken for dead: {error}"
    );
    assert_eq!(process.ask("release"), "released");
    process.finish();
}

/// The process ends by itself while a thread of it holds the lock.
fn main_returns() {
    let data = PathBuf::from(common::arg("DATA"));
    let (sender, acquired) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _lock = WriterLock::try_acquire(&data).expect("nobody has it");
        sender.send(()).expect("main waits");
        loop {
            std::thread::park();
        }
    });
    acquired.recv().expect("the thread acquires");
}

// exit(3) runs no destructors: the lock file stays. It must cost the next writer nothing but the
// knowledge that its predecessor did not finish.
#[test]
fn a_process_that_exits_while_a_thread_holds_is_recovered_at_once() {
    let dir = common::scratch();
    let data = dir.path().join("data");
    Role::new("main returns")
        .with("DATA", &data)
        .start()
        .finish();
    let left = common::read_record(&data);
    let lock = WriterLock::try_acquire(&data).expect("its holder has ended");
    assert_eq!(
        lock.reclaimed().and_then(|reclaimed| reclaimed.record),
        Some(left)
    );
}

#[test]
fn a_signal_that_ends_the_holder_is_recovered_at_once_whatever_signal_it_is() {
    for signal in [Signal::SIGTERM, Signal::SIGABRT, Signal::SIGKILL] {
        let dir = common::scratch();
        let data = dir.path().join("data");
        let mut holder = Role::puppet(&data).ready();
        let writer_id = holder.expect("try", "got");
        let pid = i32::try_from(holder.pid()).expect("pids fit");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("it lives");
        assert!(!holder.wait().success(), "{signal} ends it");
        let lock = WriterLock::try_acquire(&data).expect("its holder is dead");
        let dead = lock
            .reclaimed()
            .and_then(|reclaimed| reclaimed.record)
            .expect("it was never released");
        assert_eq!(dead.writer_id().to_string(), writer_id, "{signal}");
    }
}

// Callers tell contention from failure by this; a message nobody matches on is for people.
#[test]
fn contention_becomes_would_block_and_timed_out() {
    let dir = common::scratch();
    let data = dir.path().join("data");
    let mut holder = Role::puppet(&data).ready();
    holder.expect("try", "got");
    let held = WriterLock::try_acquire(&data).expect_err("the child has it");
    assert!(matches!(held, AcquireError::Held { .. }) && held.is_held());
    assert_eq!(
        std::io::Error::from(held).kind(),
        std::io::ErrorKind::WouldBlock
    );
    let timeout = WriterLock::acquire(&data, Duration::from_millis(1)).expect_err("still");
    assert!(matches!(timeout, AcquireError::Timeout { .. }) && timeout.is_held());
    assert_eq!(
        std::io::Error::from(timeout).kind(),
        std::io::ErrorKind::TimedOut
    );
    let pid = holder.pid().to_string();
    let text = WriterLock::try_acquire(&data)
        .expect_err("still")
        .to_string();
    assert!(
        text.contains(&format!("held by pid {pid} on {}", common::this_host())),
        "{text}"
    );
}
