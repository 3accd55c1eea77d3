//! A process that registers, delegates, adopts and releases parts of one data set at random until it is
//! killed.
//!
//! It does not trust the table: with a piece that is its own by the table it also takes a kernel lock of the
//! test. Two processes never have that lock, and it ends with its process.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rvlf::table::{Allocation, TableError, TableGuard, snapshot};

use crate::table::claim;
use crate::{PATIENCE, Rng};

/// The data set: this many directories with this many parts each, and its segments.
const DIRS: u64 = 3;
const PARTS: u64 = 3;
const SEGMENTS: u64 = 6;

/// What a worker holds, with a kernel lock for each piece.
struct Holding {
    allocation: Allocation,
    pieces: HashMap<String, File>,
}

pub struct TableWorker {
    table: PathBuf,
    /// A directory of the test, with a file for each piece.
    locks: PathBuf,
    log: File,
    rng: Rng,
    made: u64,
}

/// How many times each line is in the log of the workers: each operation, and each violation.
pub fn counts<'a>(log: impl Iterator<Item = &'a str>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in log {
        *counts.entry(line.to_owned()).or_insert(0) += 1;
    }
    counts
}

impl TableWorker {
    /// A worker that appends a line to `log`, which exists, for each operation.
    pub fn new(table: PathBuf, locks: PathBuf, log: &Path) -> TableWorker {
        let log = OpenOptions::new().append(true).open(log);
        TableWorker {
            table,
            locks,
            log: log.expect("the test has created the log"),
            rng: Rng::from_seed(std::process::id().into()),
            made: 0,
        }
    }

    /// Works until the process is killed, with pauses of up to `pause`.
    pub fn work(mut self, pause: Duration) -> ! {
        loop {
            let begun = if self.rng.below(2) == 0 {
                self.adopt()
            } else {
                self.register()
            };
            if let Some(holding) = begun {
                self.use_and_release(holding, pause);
            }
            self.rest(pause);
        }
    }

    /// Takes pieces that are not its own by the table: the other workers' locks must show it.
    pub fn steal(mut self) -> ! {
        loop {
            let (dir, part) = (self.rng.below(DIRS), self.rng.below(PARTS));
            let _taken = self.take(&format!("{dir}.{part}"));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn use_and_release(&mut self, mut holding: Holding, pause: Duration) {
        for _ in 0..self.rng.below(4) {
            self.rest(pause);
            if let Err(error) = holding.allocation.check() {
                self.note(&format!("VIOLATION: lost: {error}"));
                std::process::abort();
            }
            match self.rng.below(4) {
                0 | 1 => self.delegate(&mut holding),
                2 => self.reclaim(&holding),
                _ => {
                    TableWorker::release_segment(&mut holding);
                    self.change_segment(&mut holding);
                }
            }
        }
        self.release(holding);
    }

    fn rest(&mut self, longest: Duration) {
        let micros = u64::try_from(longest.as_micros()).expect("a short time");
        std::thread::sleep(self.rng.micros(micros.max(1)));
    }

    /// One write to a file opened for appending: the lines of several processes do not mix.
    fn note(&self, what: &str) {
        let _ = (&self.log).write_all(format!("{what}\n").as_bytes());
    }

    /// Takes the test's own lock of a piece that is this process's by the table.
    fn take(&self, piece: &str) -> File {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.locks.join(piece));
        let file = file.expect("the directory of locks exists");
        if crate::try_lock(&file).is_err() {
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
        format!("segment-{}", self.rng.below(SEGMENTS))
    }

    /// The value of an operation that succeeded. Many processes get refusals, which are no errors here.
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

    /// Registers a whole directory or one of its parts.
    fn register(&mut self) -> Option<Holding> {
        let dir = self.rng.below(DIRS);
        let first = self.rng.below(PARTS);
        let whole = self.rng.below(2) == 0;
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

    /// Delegates one part, which any other worker may adopt.
    fn delegate(&mut self, holding: &mut Holding) {
        let parts = holding.pieces.keys().filter(|piece| piece.contains('.'));
        let Some(piece) = parts.min().cloned() else {
            return;
        };
        // Before the delegation: from its save on another worker may have the part.
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
            .expect("a table is whole at every moment")
            .table;
        let placeholders: Vec<_> = table
            .entries
            .iter()
            .filter(|entry| entry.is_placeholder())
            .collect();
        let chosen = self.rng.below(placeholders.len().max(1) as u64);
        let entry = placeholders.get(usize::try_from(chosen).expect("there are few"))?;
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

    /// Takes back a part that no worker has adopted.
    fn reclaim(&mut self, holding: &Holding) {
        let name = holding.allocation.name();
        let mut guard =
            TableGuard::open(&self.table, PATIENCE).expect("no process holds the table for long");
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

    /// Before a change: from its save on another worker may have the old segment.
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
