//! One lock, one holder, and the other contenders waiting for it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rvlf_benches::Samples;

use crate::contender::{monotonic_ns, read_tally};
use crate::kind::LockKind;
use crate::outcome::{Competition, Idle};
use crate::worker::{Worker, first_reply};

pub struct Group {
    kind: LockKind,
    data_path: PathBuf,
    workers: Vec<Worker>,
    holder: usize,
    rounds: u64,
}

fn data_path(directory: &Path, kind: LockKind, name: &str) -> PathBuf {
    let kind = kind.name().replace([',', ' ', '(', ')'], "");
    directory.join(format!("{name}-{kind}"))
}

impl Group {
    /// The first worker holds the lock; the others wait.
    fn start(directory: &Path, kind: LockKind, n: usize, name: &str) -> Group {
        let data_path = data_path(directory, kind, &format!("{name}-{n}"));
        let workers = (0..n).map(|id| Worker::start(kind, &data_path, id));
        let mut group = Group {
            kind,
            workers: workers.collect(),
            data_path,
            holder: 0,
            rounds: 0,
        };
        group.worker(0).send("a");
        group.worker(0).reply();
        for waiter in 1..n {
            group.worker(waiter).send("a");
        }
        group
    }

    fn worker(&mut self, at: usize) -> &mut Worker {
        self.workers.get_mut(at).expect("the index is below n")
    }

    /// Waits until all workers sleep in the kernel and stay there. Waiters that poll are released
    /// at a moment of their interval that differs from round to round, because their time depends
    /// on it.
    fn let_settle(&mut self) {
        self.rounds += 1;
        let pause = if self.kind.polls() {
            60 + self.rounds * 7 % 60
        } else {
            2
        };
        std::thread::sleep(Duration::from_millis(pause));
        let start = Instant::now();
        let mut calm = 0;
        while calm < 2 && start.elapsed() < Duration::from_secs(1) {
            let asleep = self.workers.iter().all(Worker::is_asleep);
            calm = if asleep { calm + 1 } else { 0 };
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// From just before the release to just after another contender has the lock.
    pub fn hand_over(&mut self) -> Duration {
        self.let_settle();
        let before = self.holder;
        self.worker(before).send("r");
        let (next, acquired) = first_reply(&mut self.workers, before);
        let released = self.worker(before).clock_reply();
        self.worker(before).send("a");
        self.holder = next;
        Duration::from_nanos(acquired.saturating_sub(released))
    }

    /// From just before the kill to just after another contender has the lock. The dead process is
    /// reaped at once, as a supervisor does: filelock takes a zombie for alive.
    pub fn recovery(&mut self) -> Duration {
        self.let_settle();
        let before = self.holder;
        let killed = monotonic_ns();
        self.worker(before).kill();
        let (next, acquired) = first_reply(&mut self.workers, before);
        let replacement = Worker::start(self.kind, &self.data_path, before);
        *self.worker(before) = replacement;
        self.worker(before).send("a");
        self.holder = next;
        Duration::from_nanos(acquired.saturating_sub(killed))
    }

    /// Voluntary context switches and CPU nanoseconds of all waiters so far.
    fn waiters_usage(&self) -> (u64, u64) {
        let waiters = self.workers.iter().skip(1);
        waiters
            .map(Worker::usage)
            .fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    }
}

/// Rounds of all kinds in turn: what the machine does to one round it does to all kinds.
pub fn in_turn(
    directory: &Path,
    kinds: &[LockKind],
    n: usize,
    rounds: u32,
    name: &str,
    round: fn(&mut Group) -> Duration,
) -> Vec<Samples> {
    let start = |kind: &LockKind| Group::start(directory, *kind, n, name);
    let mut groups: Vec<Group> = kinds.iter().map(start).collect();
    let mut samples = vec![Samples::default(); kinds.len()];
    for _ in 0..rounds {
        for (group, samples) in groups.iter_mut().zip(&mut samples) {
            samples.0.push(round(group));
        }
    }
    samples
}

/// One round in which `n` workers acquire again as soon as they have released.
pub fn competition(directory: &Path, kind: LockKind, n: usize, time: Duration) -> Competition {
    let data_path = data_path(directory, kind, &format!("competition-{n}"));
    let shared = directory.join("tally");
    std::fs::write(&shared, [0; 24]).expect("the directory is writable");
    let mut workers: Vec<Worker> = (0..n)
        .map(|id| Worker::start(kind, &data_path, id))
        .collect();
    let start = Instant::now();
    for worker in &mut workers {
        worker.send(&format!("c {} {}", time.as_nanos(), shared.display()));
    }
    let replies: Vec<[u64; 3]> = workers
        .iter_mut()
        .map(|worker| worker.reply().try_into().expect("three numbers"))
        .collect();
    let time = start.elapsed();
    let bytes = std::fs::read(&shared).expect("the tally exists");
    let [_, total, changes] = read_tally(&bytes.try_into().expect("the tally has 24 bytes"));
    let holds: Vec<u64> = replies.iter().map(|[holds, ..]| *holds).collect();
    assert_eq!(
        holds.iter().sum::<u64>(),
        total,
        "{}: two contenders held the lock at the same time",
        kind.name()
    );
    let longest = replies.iter().map(|[_, longest, _]| *longest).max();
    Competition {
        holds,
        changes,
        longest_wait: Duration::from_nanos(longest.unwrap_or(0)),
        cpu: Duration::from_nanos(replies.iter().map(|[.., cpu]| *cpu).sum()),
        time,
    }
}

/// What waiting costs, for all kinds at the same time, each with a holder of its own.
pub fn idle(directory: &Path, kinds: &[LockKind], n: usize, time: Duration) -> Vec<Idle> {
    let start = |kind: &LockKind| Group::start(directory, *kind, n, "idle");
    let mut groups: Vec<Group> = kinds.iter().map(start).collect();
    groups.iter_mut().for_each(Group::let_settle);
    let before: Vec<_> = groups.iter().map(Group::waiters_usage).collect();
    let start = Instant::now();
    std::thread::sleep(time);
    let after: Vec<_> = groups.iter().map(Group::waiters_usage).collect();
    let seconds = start.elapsed().as_secs_f64();
    let idle = before.iter().zip(after).map(|(before, after)| Idle {
        wake_ups: (after.0 - before.0) as f64 / (n - 1) as f64 / seconds * 60.0,
        cpu: Duration::from_nanos(((after.1 - before.1) as f64 / seconds) as u64),
    });
    idle.collect()
}
