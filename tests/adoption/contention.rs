//! Eight processes contend for one store, and some are killed while they hold it. Their journals, and
//! not the lock, show whether two of them wrote at the same time and what the store has lost.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use support::PATIENCE;

const CONTENDERS: usize = 8;
/// Ids of one contender; those of the next one begin here.
const IDS: usize = 1_000_000;

/// What a contender gets: the store, its journal, a file that ends it, and its first id.
pub struct Assignment<'a> {
    pub store: &'a Path,
    pub journal: &'a Path,
    pub stop: &'a Path,
    pub first_id: usize,
}

/// What the journals show.
#[derive(Default)]
pub struct Seen {
    pub holds: usize,
    /// Holds that began before an earlier one had ended.
    pub overlaps: usize,
    /// Contenders that were killed while they held the store.
    pub killed_holders: usize,
    pub acknowledged: BTreeSet<u64>,
    pub errors: Vec<String>,
}

impl Seen {
    /// What the store has acknowledged and does not contain.
    pub fn lost(&self, contained: &BTreeSet<u64>) -> usize {
        self.acknowledged.difference(contained).count()
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{CONTENDERS} processes, {} holds, {} holders killed, {} overlaps, {} entries acknowledged",
            self.holds,
            self.killed_holders,
            self.overlaps,
            self.acknowledged.len()
        )
    }
}

/// Lets the processes that `start` makes contend for `store`, kills holders until `kills` of them died
/// while they held it, and ends the rest when `enough` holds or the time is over.
pub fn contend(
    store: &Path,
    start: impl Fn(&Assignment<'_>) -> Command,
    kills: usize,
    enough: impl Fn(&Seen) -> bool,
) -> Seen {
    let directory = support::scratch();
    let mut crowd = Crowd {
        store: store.to_owned(),
        directory: directory.path().to_owned(),
        started: 0,
        running: Vec::new(),
    };
    (0..CONTENDERS).for_each(|_| crowd.add(&start));
    let deadline = Instant::now() + PATIENCE;
    loop {
        std::thread::sleep(Duration::from_millis(30));
        let seen = crowd.seen();
        let is_over = seen.killed_holders >= kills && enough(&seen);
        if is_over || Instant::now() > deadline {
            break;
        }
        if seen.killed_holders < kills && crowd.kill_the_holder() {
            crowd.add(&start);
        }
    }
    crowd.end();
    crowd.seen()
}

struct Crowd {
    store: PathBuf,
    directory: PathBuf,
    started: usize,
    running: Vec<(PathBuf, Child)>,
}

impl Crowd {
    fn stop_file(&self) -> PathBuf {
        self.directory.join("stop")
    }

    fn add(&mut self, start: impl Fn(&Assignment<'_>) -> Command) {
        self.started += 1;
        let journal = self.directory.join(format!("{}.journal", self.started));
        let mut command = start(&Assignment {
            store: &self.store,
            journal: &journal,
            stop: &self.stop_file(),
            first_id: self.started * IDS,
        });
        let child = command.spawn().expect("the program can be executed");
        self.running.push((journal, child));
    }

    /// Sends SIGKILL to the contender whose pid is in the lock file, if there is one.
    fn kill_the_holder(&mut self) -> bool {
        let record = fs::read(rvlf::lock_path_for(&self.store)).unwrap_or_default();
        let Some(pid) = record.get(4..8).and_then(|bytes| bytes.try_into().ok()) else {
            return false;
        };
        let pid = u32::from_le_bytes(pid);
        let Some(at) = self.running.iter().position(|(_, child)| child.id() == pid) else {
            return false;
        };
        end(self.running.swap_remove(at).1);
        true
    }

    /// Lets the contenders end by themselves.
    fn end(&mut self) {
        fs::write(self.stop_file(), "").expect("the directory is writable");
        let running = std::mem::take(&mut self.running);
        for (_, mut child) in running {
            support::until("a contender ends", || {
                child.try_wait().expect("it is a child").is_some()
            });
        }
    }

    fn seen(&self) -> Seen {
        let mut seen = Seen::default();
        let mut holds = Vec::new();
        for entry in fs::read_dir(&self.directory).expect("the directory exists") {
            let path = entry.expect("the directory can be listed").path();
            let text = fs::read_to_string(&path).expect("journals are text");
            if let Some(open) = read_journal(&text, &mut holds, &mut seen) {
                let is_running = self.running.iter().any(|(journal, _)| *journal == path);
                seen.killed_holders += usize::from(!is_running);
                holds.push(open);
            }
        }
        holds.sort_unstable();
        let mut latest_end = 0;
        for (begin, end) in &holds {
            seen.overlaps += usize::from(*begin < latest_end);
            latest_end = latest_end.max(*end);
        }
        seen.holds = holds.len();
        seen
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.running.drain(..).for_each(|(_, child)| end(child));
    }
}

/// Kills and reaps a child.
fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Begin and end of a hold, in nanoseconds.
type Hold = (i128, i128);

/// Adds what one journal shows. Returns a hold that was not left: its end is the last time in it.
fn read_journal(text: &str, holds: &mut Vec<Hold>, seen: &mut Seen) -> Option<Hold> {
    let mut open: Option<Hold> = None;
    for line in text.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let time = |word: &str| word.parse().expect("a time in nanoseconds");
        match words.as_slice() {
            ["enter", at] => open = Some((time(at), time(at))),
            ["ack", id, at] => {
                seen.acknowledged.insert(id.parse().expect("an id"));
                open = open.map(|(begin, _)| (begin, time(at)));
            }
            ["leave", at] => {
                let (begin, _) = open.take().expect("only what was entered is left");
                holds.push((begin, time(at)));
            }
            _ => seen.errors.push(line.to_owned()),
        }
    }
    open
}
