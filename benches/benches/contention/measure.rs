//! What is measured, over any kind of worker.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::worker::{Kind, Worker, first_answer, monotonic_ns, numbers};
use rvlf_benches::Samples;

fn resource(dir: &Path, kind: Kind, name: &str) -> std::path::PathBuf {
    dir.join(format!(
        "{name}-{}",
        kind.name().replace([',', ' ', '(', ')'], "")
    ))
}

/// One lock, one holder, and everybody else waiting for it.
struct Field {
    kind: Kind,
    resource: PathBuf,
    workers: Vec<Worker>,
    holder: usize,
    rounds: u64,
}

impl Field {
    fn start(dir: &Path, kind: Kind, n: usize, name: &str) -> Field {
        let resource = resource(dir, kind, &format!("{name}-{n}"));
        let workers = (0..n).map(|id| Worker::start(kind, &resource, id));
        let mut field = Field {
            kind,
            workers: workers.collect(),
            resource,
            holder: 0,
            rounds: 0,
        };
        field.worker(0).order("a");
        field.worker(0).answer();
        for waiter in 1..n {
            field.worker(waiter).order("a");
        }
        field
    }

    fn worker(&mut self, at: usize) -> &mut Worker {
        self.workers.get_mut(at).expect("one of those started")
    }

    /// Until all waiters sleep in the kernel and stay there. Those who poll are let down at a moment
    /// that differs from round to round, for what they wait depends on it.
    fn let_settle(&mut self) {
        self.rounds += 1;
        let pause = if self.kind.polls() {
            60 + self.rounds * 7 % 60
        } else {
            2
        };
        std::thread::sleep(Duration::from_millis(pause));
        let patience = Instant::now();
        let mut calm = 0;
        while calm < 2 && patience.elapsed() < Duration::from_secs(1) {
            calm = if self.workers.iter().all(|worker| state(worker) == Some('S')) {
                calm + 1
            } else {
                0
            };
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// From just before the release to just after somebody else has the lock.
    fn hand_over(&mut self) -> Duration {
        self.let_settle();
        let before = self.holder;
        self.worker(before).order("r");
        let (next, had) = first_answer(&mut self.workers, before);
        let released = self.worker(before).moment();
        self.worker(before).order("a");
        self.holder = next;
        Duration::from_nanos(had.saturating_sub(released))
    }

    /// From just before the kill to just after somebody else has the lock. The dead process is
    /// reaped at once, as a supervisor does: filelock takes a zombie for alive.
    fn recovery(&mut self) -> Duration {
        self.let_settle();
        let before = self.holder;
        let killed = monotonic_ns();
        self.worker(before).kill();
        let (next, had) = first_answer(&mut self.workers, before);
        let replacement = Worker::start(self.kind, &self.resource, before);
        *self.worker(before) = replacement;
        self.worker(before).order("a");
        self.holder = next;
        Duration::from_nanos(had.saturating_sub(killed))
    }
}

fn state(worker: &Worker) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", worker.child.id())).ok()?;
    stat.rsplit(')').next()?.trim_start().chars().next()
}

/// Rounds of all kinds in turn, so that what the machine does to one round it does to all.
fn in_turn(
    dir: &Path,
    kinds: &[Kind],
    n: usize,
    rounds: u32,
    name: &str,
    round: fn(&mut Field) -> Duration,
) -> Vec<Samples> {
    let start = |kind: &Kind| Field::start(dir, *kind, n, name);
    let mut fields: Vec<Field> = kinds.iter().map(start).collect();
    let mut samples = vec![Samples::default(); kinds.len()];
    for _ in 0..rounds {
        for (field, samples) in fields.iter_mut().zip(&mut samples) {
            samples.0.push(round(field));
        }
    }
    samples
}

/// Release to the next holder, with `n` contenders.
pub fn hand_over(dir: &Path, kinds: &[Kind], n: usize, rounds: u32) -> Vec<Samples> {
    in_turn(dir, kinds, n, rounds, "hand-over", Field::hand_over)
}

/// SIGKILL to the next holder, with `n` contenders.
pub fn recovery(dir: &Path, kinds: &[Kind], n: usize, rounds: u32) -> Vec<Samples> {
    in_turn(dir, kinds, n, rounds, "recovery", Field::recovery)
}

/// How a number of contenders fared.
#[derive(Clone, Copy, Debug)]
pub struct Competition {
    pub holds_per_second: f64,
    /// Holds that followed one of somebody else.
    pub changes_per_second: f64,
    pub longest_wait: Duration,
    /// Holds of the one who had the fewest, and of the one who had the most.
    pub fewest: u64,
    pub most: u64,
    /// The fewest, divided by what each would have had if all had had as many.
    pub least_share: f64,
    /// CPU time of all contenders, divided by the holds.
    pub cpu_per_hold: Duration,
}

pub fn competition(dir: &Path, kind: Kind, n: usize, time: Duration) -> Competition {
    let resource = resource(dir, kind, "compete");
    let shared = dir.join("shared");
    std::fs::write(&shared, [0; 24]).expect("the directory can be written to");
    let mut workers: Vec<_> = (0..n)
        .map(|id| Worker::start(kind, &resource, id))
        .collect();
    let start = Instant::now();
    for worker in &mut workers {
        worker.order(&format!("c {} {}", time.as_nanos(), shared.display()));
    }
    let results: Vec<[u64; 3]> = workers
        .iter_mut()
        .map(|worker| worker.answer().try_into().expect("three numbers"))
        .collect();
    let seconds = start.elapsed().as_secs_f64();
    let bytes = std::fs::read(&shared).expect("it was made above");
    let [_, holds, changes] = numbers(&bytes.try_into().expect("it has 24 bytes"));
    let wins = || results.iter().map(|[holds, ..]| *holds);
    assert_eq!(
        wins().sum::<u64>(),
        holds,
        "{}: two held the lock at once",
        kind.name()
    );
    let total = |at: usize| {
        results
            .iter()
            .filter_map(|result| result.get(at))
            .sum::<u64>()
    };
    Competition {
        holds_per_second: holds as f64 / seconds,
        changes_per_second: changes as f64 / seconds,
        longest_wait: Duration::from_nanos(
            results
                .iter()
                .map(|[_, longest, _]| *longest)
                .max()
                .unwrap_or(0),
        ),
        fewest: wins().min().unwrap_or(0),
        most: wins().max().unwrap_or(0),
        least_share: wins().min().unwrap_or(0) as f64 * n as f64 / holds.max(1) as f64,
        cpu_per_hold: Duration::from_nanos(total(2) / holds.max(1)),
    }
}

/// What waiting costs while nothing happens.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// Voluntary context switches of each waiter, a minute.
    pub wake_ups: f64,
    /// CPU time of all waiters together, a second.
    pub cpu: Duration,
}

/// All kinds at the same time, each with a holder of its own; the others wait.
pub fn idle(dir: &Path, kinds: &[Kind], n: usize, time: Duration) -> Vec<Idle> {
    let start = |kind: &Kind| Field::start(dir, *kind, n, "idle");
    let mut fields: Vec<Field> = kinds.iter().map(start).collect();
    fields.iter_mut().for_each(Field::let_settle);
    let costs = |field: &Field| {
        let waiters = field.workers.iter().skip(1);
        waiters.map(cost).fold((0, 0), |(a, b), (switches, nanos)| {
            (a + switches, b + nanos)
        })
    };
    let before: Vec<_> = fields.iter().map(costs).collect();
    let start = Instant::now();
    std::thread::sleep(time);
    let after: Vec<_> = fields.iter().map(costs).collect();
    let seconds = start.elapsed().as_secs_f64();
    let idle = before.iter().zip(after).map(|(before, after)| Idle {
        wake_ups: (after.0 - before.0) as f64 / (n - 1) as f64 / seconds * 60.0,
        cpu: Duration::from_nanos(((after.1 - before.1) as f64 / seconds) as u64),
    });
    idle.collect()
}

/// Voluntary context switches and CPU nanoseconds of all of a worker's threads so far.
fn cost(worker: &Worker) -> (u64, u64) {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", worker.child.id()));
    let tasks = tasks.expect("the worker lives").flatten();
    tasks.fold((0, 0), |(switches, nanos), task| {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let status = read("status");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        let found = line
            .and_then(|number| number.trim().parse::<u64>().ok())
            .unwrap_or(0);
        let schedstat = read("schedstat");
        let ran = schedstat
            .split(' ')
            .next()
            .and_then(|n| n.parse::<u64>().ok())
            .unwrap_or(0);
        (switches + found, nanos + ran)
    })
}
