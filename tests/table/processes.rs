//! Many processes share one table, and are killed.
//!
//! The story: each operation may be right and the whole still wrong: a scope that is handed out
//! twice because one process reclaimed what another had just adopted, a segment with two writers
//! after a kill between two saves. So eight processes register, delegate, adopt and release at
//! random while they are killed one after the other. What the table says is audited, and not
//! believed: whoever thinks that it holds something also takes a kernel lock of the test's own for
//! it, which two can never have, and which dies with its process.
#![cfg(target_os = "linux")]

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rvlf::table::{Allocation, Claim, Liveness, ScopeRule, TableError, TableGuard, snapshot};
use support::table::{PATIENCE, arg, claim, place, role, skip, until};

/// The data set: this many directories with this many parts each, and its segments.
const DIRS: u64 = 3;
const PARTS: u64 = 3;
const SEGMENTS: u64 = 6;

const WORKERS: usize = 8;
const KILLS: usize = 80;

pub const ROLES: &[(&str, fn())] = &[
    ("worker", worker),
    ("parent", parent),
    ("child", child),
    ("rival", rival),
    ("first of a namespace", first_of_a_namespace),
];

/// xorshift64, one sequence a process.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % limit
    }
}

/// What a worker holds, and a kernel lock for each piece of it.
struct Holding {
    allocation: Allocation,
    pieces: HashMap<String, File>,
}

struct Worker {
    table: PathBuf,
    arena: PathBuf,
    log: File,
    dice: Dice,
    made: u64,
}

impl Worker {
    /// One write to a file opened for appending: lines of several processes do not mix.
    fn note(&self, what: &str) {
        let _ = (&self.log).write_all(format!("{what}\n").as_bytes());
    }

    /// Takes the test's own lock of something that the table says is ours.
    fn take(&self, piece: &str) -> File {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.arena.join(piece));
        let file = file.expect("the arena is there");
        if file.try_lock().is_err() {
            self.note(&format!("VIOLATION: {piece} has two holders"));
            std::process::abort();
        }
        file
    }

    fn name(&mut self) -> String {
        self.made += 1;
        format!("{}-{}", std::process::id(), self.made)
    }

    fn segment(&mut self) -> String {
        format!("segment-{}", self.dice.below(SEGMENTS))
    }

    /// Whether an operation was done; refusals are what many processes are to get.
    fn done<T>(&self, what: &str, outcome: Result<T, TableError>) -> Option<T> {
        match outcome {
            Ok(value) => {
                self.note(what);
                Some(value)
            }
            Err(error) if is_refusal(&error) => {
                self.note("refused");
                None
            }
            Err(error) => {
                self.note(&format!("VIOLATION: {what}: {error} {error:?}"));
                std::process::abort();
            }
        }
    }

    /// A whole directory, or some of its parts.
    fn register(&mut self) -> Option<Holding> {
        let dir = self.dice.below(DIRS);
        let first = self.dice.below(PARTS);
        let whole = self.dice.below(2) == 0;
        let parts = if whole { 0..PARTS } else { first..first + 1 };
        let target = if whole {
            format!("/{dir}")
        } else {
            format!("/{dir}/{first}")
        };
        let (name, segment) = (self.name(), self.segment());
        let claim = claim(&name, &target);
        let outcome = Allocation::register(&self.table, &claim, &segment, PATIENCE);
        let allocation = self.done("register", outcome)?;
        let pieces = parts.map(|part| format!("{dir}.{part}")).chain([segment]);
        Some(self.hold(allocation, pieces))
    }

    fn hold(&self, allocation: Allocation, pieces: impl Iterator<Item = String>) -> Holding {
        let pieces = pieces.map(|piece| {
            let file = self.take(&piece);
            (piece, file)
        });
        Holding {
            allocation,
            pieces: pieces.collect(),
        }
    }

    /// Gives one part away, for any of the others to adopt.
    fn delegate(&mut self, holding: &mut Holding) {
        let parts = holding.pieces.keys().filter(|piece| piece.contains('.'));
        let Some(piece) = parts.min().cloned() else {
            return;
        };
        // From the moment of the save on it may be somebody else's.
        holding.pieces.remove(&piece);
        let claim = claim(&self.name(), &format!("/{}", piece.replace('.', "/")));
        let outcome = holding.allocation.delegate(&claim, PATIENCE);
        if self.done("delegate", outcome).is_none() {
            let file = self.take(&piece);
            holding.pieces.insert(piece, file);
        }
    }

    fn adopt(&mut self) -> Option<Holding> {
        let table = snapshot(&self.table)
            .expect("the table is whole at every moment")
            .table;
        let placeholders: Vec<_> = table
            .entries
            .iter()
            .filter(|entry| entry.is_placeholder())
            .collect();
        let chosen = self.dice.below(placeholders.len().max(1) as u64);
        let entry = placeholders.get(usize::try_from(chosen).expect("few are there"))?;
        let rule = entry.allow.first().expect("a part was delegated");
        let piece = rule
            .target
            .display()
            .to_string()
            .trim_start_matches('/')
            .replace('/', ".");
        let segment = self.segment();
        let outcome = Allocation::adopt(&self.table, &entry.name, &segment, PATIENCE);
        let allocation = self.done("adopt", outcome)?;
        Some(self.hold(allocation, [piece, segment].into_iter()))
    }

    /// Takes back what nobody has adopted.
    fn reclaim(&mut self, holding: &Holding) {
        let name = holding.allocation.name();
        let mut guard = TableGuard::open(&self.table, PATIENCE).expect("nobody holds it for long");
        let waiting = guard
            .table()
            .children(name)
            .find(|child| child.is_placeholder());
        let Some(child) = waiting.map(|child| child.name.clone()) else {
            return;
        };
        let outcome = guard
            .reclaim_delegated(name, &child, &[])
            .and_then(|()| guard.save());
        self.done("reclaim", outcome);
    }

    fn change_segment(&mut self, holding: &mut Holding) {
        let segment = self.segment();
        let outcome = holding.allocation.update_segment(&segment, PATIENCE);
        if self.done("segment", outcome).is_some() && !holding.pieces.contains_key(&segment) {
            let file = self.take(&segment);
            holding.pieces.insert(segment, file);
        }
    }

    /// Before a change: from the save on the old segment may be somebody else's.
    fn release_segment(holding: &mut Holding) {
        holding.pieces.retain(|piece, _| piece.contains('.'));
    }

    fn release(&self, holding: Holding) {
        let Holding { allocation, pieces } = holding;
        drop(pieces);
        let outcome = allocation.release().map_err(|error| error.error);
        self.done("release", outcome);
    }
}

fn is_refusal(error: &TableError) -> bool {
    error.is_contention()
        || matches!(
            error,
            TableError::NotSubset { .. }
                | TableError::NotAPlaceholder { .. }
                | TableError::UnknownName { .. }
        )
}

/// Registers, adopts, delegates and releases at random until it is killed.
fn worker() {
    let log = OpenOptions::new()
        .append(true)
        .open(arg("LOG"))
        .expect("the test has made it");
    let mut worker = Worker {
        table: PathBuf::from(arg("TABLE")),
        arena: PathBuf::from(arg("ARENA")),
        log,
        dice: Dice(u64::from(std::process::id()) * 0x9e37_79b9 + 1),
        made: 0,
    };
    loop {
        let begun = if worker.dice.below(2) == 0 {
            worker.adopt()
        } else {
            worker.register()
        };
        let Some(mut holding) = begun else { continue };
        for _ in 0..worker.dice.below(4) {
            if let Err(error) = holding.allocation.check() {
                worker.note(&format!("VIOLATION: lost: {error}"));
                std::process::abort();
            }
            match worker.dice.below(4) {
                0 | 1 => worker.delegate(&mut holding),
                2 => worker.reclaim(&holding),
                _ => {
                    Worker::release_segment(&mut holding);
                    worker.change_segment(&mut holding);
                }
            }
        }
        worker.release(holding);
    }
}

struct Crew {
    workers: Vec<Child>,
}

impl Drop for Crew {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            let _ = worker.kill();
            let _ = worker.wait();
        }
    }
}

/// Does something when it goes out of scope, in a panic, too.
struct AtEnd<F: Fn()>(F);

impl<F: Fn()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn start_worker(table: &Path, arena: &Path, log: &Path) -> Child {
    let mut command = role(&[], "worker");
    command
        .env("TABLE", table)
        .env("ARENA", arena)
        .env("LOG", log);
    command.spawn().expect("this binary can run again")
}

/// How often each thing was done, by the workers' log.
fn counts(log: &Path) -> BTreeMap<String, usize> {
    let text = fs::read_to_string(log).expect("the test has made it");
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        assert!(!line.starts_with("VIOLATION"), "{line}");
        *counts.entry(line.to_owned()).or_insert(0) += 1;
    }
    counts
}

#[test]
fn killed_workers_never_leave_two_with_one_scope_or_segment() {
    let (dir, table) = place();
    let (arena, log) = (dir.path().join("arena"), dir.path().join("log"));
    fs::create_dir(&arena).expect("there is room");
    File::create(&log).expect("there is room");
    let start = || start_worker(&table, &arena, &log);
    let mut crew = Crew {
        workers: (0..WORKERS).map(|_| start()).collect(),
    };
    let stop = AtomicBool::new(false);
    let audits = std::thread::scope(|scope| {
        let auditor = scope.spawn(|| {
            let mut audits = 0;
            while !stop.load(Ordering::Relaxed) {
                let table = snapshot(&table)
                    .expect("a table is whole at every moment")
                    .table;
                assert_eq!(
                    table.problems(),
                    [],
                    "no two have one scope, name or segment: {table:?}"
                );
                audits += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            audits
        });
        // Also when the test fails: the scope waits for the auditor.
        let stopped = AtEnd(|| stop.store(true, Ordering::Relaxed));
        let begun = Instant::now();
        let kinds = [
            "register", "delegate", "adopt", "reclaim", "segment", "release", "refused",
        ];
        let mut dice = Dice(7);
        let mut kills = 0;
        loop {
            let done = counts(&log);
            let all_kinds = kinds
                .iter()
                .all(|kind| done.get(*kind).is_some_and(|count| *count >= 20));
            if kills >= KILLS && all_kinds {
                break;
            }
            assert!(
                begun.elapsed() < 2 * PATIENCE,
                "they stand still: {done:?} after {kills} kills"
            );
            std::thread::sleep(Duration::from_millis(10 + dice.below(30)));
            let victim = usize::try_from(dice.below(WORKERS as u64)).expect("eight are few");
            let victim = crew
                .workers
                .get_mut(victim)
                .expect("a number below their number");
            victim.kill().expect("it is our child");
            victim.wait().expect("it is our child");
            *victim = start();
            kills += 1;
        }
        drop(stopped);
        auditor.join().expect("the audits found nothing")
    });
    drop(crew);
    assert!(audits > 0);
    eprintln!("{:?}, {audits} audits", counts(&log));

    let mut guard = TableGuard::open(&table, PATIENCE).expect("all who had it are dead");
    assert!(
        guard.liveness().iter().all(|liveness| liveness.is_dead()),
        "and so are all holders"
    );
    guard.reclaim_stale();
    assert!(
        guard.table().entries.is_empty(),
        "nothing is left behind: {:?}",
        guard.table()
    );
}

// ---------------------------------------------------------------- a parent and its child

fn parent() {
    let claim = claim("parent", "/data");
    let parent =
        Allocation::register(arg("TABLE"), &claim, "s-parent", PATIENCE).expect("it is free");
    parent
        .delegate(&support::table::claim("child", "/data/a"), PATIENCE)
        .expect("it is the parent's");
    std::thread::sleep(PATIENCE);
}

fn child() {
    let _child =
        Allocation::adopt(arg("TABLE"), "child", "s-child", PATIENCE).expect("it was delegated");
    std::thread::sleep(PATIENCE);
}

fn begin(name: &str, table: &Path) -> Crew {
    let mut command = role(&[], name);
    let process = command
        .env("TABLE", table)
        .spawn()
        .expect("this binary can run again");
    Crew {
        workers: vec![process],
    }
}

fn segments(path: &Path) -> Vec<Option<String>> {
    let table = snapshot(path).expect("it is a table").table;
    table
        .entries
        .into_iter()
        .map(|entry| entry.segment)
        .collect()
}

#[test]
fn a_killed_child_gives_its_scope_back_to_its_parent_at_the_next_operation() {
    let (_dir, path) = place();
    let held = |segments_now: &[Option<&str>]| {
        let now = segments(&path);
        now.iter()
            .map(Option::as_deref)
            .eq(segments_now.iter().copied())
    };
    let parent = begin("parent", &path);
    until("the parent has delegated", || {
        held(&[Some("s-parent"), None])
    });
    let child = begin("child", &path);
    until("the child has adopted", || {
        held(&[Some("s-parent"), Some("s-child")])
    });
    let looked = snapshot(&path).expect("it is a table");
    assert_eq!(looked.liveness, [Liveness::Alive, Liveness::Alive]);

    drop(child);
    let looked = snapshot(&path).expect("it is a table");
    assert_eq!(looked.liveness, [Liveness::Alive, Liveness::ProcessGone]);
    let mut guard = TableGuard::open(&path, PATIENCE).expect("nobody has it");
    let rule = ScopeRule::write("/data/a");
    let who = |guard: &TableGuard| -> Vec<String> {
        let conflicts = guard.table().conflicts(&rule).into_iter();
        conflicts
            .map(|conflict| conflict.entry.name.clone())
            .collect()
    };
    assert_eq!(who(&guard), ["child"]);
    let stranger = Claim::new("stranger").allow(rule.clone());
    let outcome = guard.register(&stranger, "s");
    assert!(
        matches!(&outcome, Err(TableError::WriteConflict { entry, .. }) if entry == "parent"),
        "the dead child's is its parent's, and not free: {outcome:?}"
    );
    assert_eq!(who(&guard), ["parent"]);
    drop(parent);
    guard.register(&stranger, "s").expect("both are dead");
}

// ---------------------------------------------------------------- namespaces

/// Asks for what somebody has who lives.
fn rival() {
    let outcome = Allocation::register(arg("TABLE"), &claim("rival", "/data"), "s-rival", PATIENCE);
    assert!(
        matches!(&outcome, Err(TableError::WriteConflict { entry, .. }) if entry == "holder"),
        "the holder lives: {outcome:?}"
    );
}

fn first_of_a_namespace() {
    let claim = claim("holder", "/data");
    let holder =
        Allocation::register(arg("TABLE"), &claim, "s-holder", PATIENCE).expect("it is free");
    let mut rival = role(&[], "rival");
    let rival = rival.status().expect("this binary can run again");
    assert!(rival.success(), "see above");
    holder.check().expect("nobody took it away");
}

fn can_run(wrapper: &[&str]) -> bool {
    let mut words = wrapper.iter().chain(&["true"]);
    let first = words.next().expect("a wrapper has a word");
    let tried = Command::new(first)
        .args(words)
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

// In a new pid namespace that still has the /proc of the old one, /proc/7 is another process than
// our pid 7: the holder looked like a reused pid, and the rival was given what it had.
#[test]
fn a_proc_of_another_pid_namespace_shows_nobody_dead() {
    let wrapper = ["unshare", "--pid", "--fork"];
    if !can_run(&wrapper) {
        return skip("this user may not make a pid namespace");
    }
    let (_dir, path) = place();
    let mut command = role(&wrapper, "first of a namespace");
    let status = command.env("TABLE", &path).status();
    let status = status.expect("this binary can run again");
    assert!(status.success(), "see above: {status}");
}

// Seen from another time namespace a process that runs has started at another time.
#[test]
fn another_time_namespace_shows_nobody_dead() {
    let wrapper = ["unshare", "--time", "--boottime", "100000", "--fork"];
    if !can_run(&wrapper) {
        return skip("this user may not make a time namespace");
    }
    let (_dir, path) = place();
    let holder = Allocation::register(&path, &claim("holder", "/data"), "s-holder", PATIENCE);
    let holder = holder.expect("the table is empty");
    let mut rival = role(&wrapper, "rival");
    let status = rival.env("TABLE", &path).status();
    let status = status.expect("this binary can run again");
    assert!(status.success(), "see above: {status}");
    holder.check().expect("nobody took it away");
}
