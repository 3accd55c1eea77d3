//! What is measured, over any kind of worker.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::Samples;
use crate::worker::{Kind, Worker, monotonic_ns, numbers};

fn resource(dir: &Path, kind: Kind, name: &str) -> std::path::PathBuf {
    dir.join(format!(
        "{name}-{}",
        kind.name().replace([',', ' ', '(', ')'], "")
    ))
}

/// Until the waiter sleeps in the kernel and stays there. Those who poll are let down at a moment
/// that differs from round to round, for what they wait depends on it.
fn let_settle(waiter: &Worker, kind: Kind, round: u32) {
    let polls = matches!(kind, Kind::Filelock | Kind::ProperLockfile);
    let (pause, step) = if polls { (60, 7) } else { (2, 0) };
    std::thread::sleep(Duration::from_millis(pause + u64::from(round * step % 60)));
    let patience = Instant::now();
    while state(waiter) != Some('S') && patience.elapsed() < Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn state(worker: &Worker) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", worker.child.id())).ok()?;
    stat.rsplit(')').next()?.trim_start().chars().next()
}

pub fn hand_over(dir: &Path, kinds: &[Kind], rounds: u32) -> Vec<Samples> {
    let mut pairs: Vec<_> = kinds
        .iter()
        .map(|kind| {
            let resource = resource(dir, *kind, "hand-over");
            [0, 1].map(|id| Worker::start(*kind, &resource, id))
        })
        .collect();
    let mut samples = vec![Samples::default(); kinds.len()];
    for round in 0..rounds {
        for ((kind, [holder, waiter]), samples) in kinds.iter().zip(&mut pairs).zip(&mut samples) {
            // Those who poll take a poll's time; a tenth of the rounds shows it as well.
            let polls = matches!(kind, Kind::Filelock | Kind::ProperLockfile);
            if polls && round % 10 != 0 {
                continue;
            }
            holder.order("a");
            holder.answer();
            waiter.order("a");
            let_settle(waiter, *kind, round);
            holder.order("r");
            let had = waiter.moment();
            let released = holder.moment();
            waiter.order("r");
            waiter.answer();
            samples
                .0
                .push(Duration::from_nanos(had.saturating_sub(released)));
        }
    }
    samples
}

pub fn recovery(dir: &Path, kinds: &[Kind], rounds: u32) -> Vec<Samples> {
    let resources: Vec<_> = kinds
        .iter()
        .map(|kind| resource(dir, *kind, "recovery"))
        .collect();
    let mut samples = vec![Samples::default(); kinds.len()];
    let mut waiters: Vec<_> = kinds
        .iter()
        .zip(&resources)
        .map(|(kind, resource)| Worker::start(*kind, resource, 1))
        .collect();
    for round in 0..rounds {
        for (at, kind) in kinds.iter().enumerate() {
            let (Some(resource), Some(waiter)) = (resources.get(at), waiters.get_mut(at)) else {
                continue;
            };
            let mut holder = Worker::start(*kind, resource, 0);
            holder.order("a");
            holder.answer();
            waiter.order("a");
            let_settle(waiter, *kind, round);
            let killed = monotonic_ns();
            holder.child.kill().expect("the holder is our child");
            let had = waiter.moment();
            waiter.order("r");
            waiter.answer();
            if let Some(samples) = samples.get_mut(at) {
                samples
                    .0
                    .push(Duration::from_nanos(had.saturating_sub(killed)));
            }
        }
    }
    samples
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
    /// Voluntary context switches.
    pub wake_ups_per_waiter: f64,
    pub cpu: Duration,
}

/// All kinds at the same time, each with a holder of its own.
pub fn idle(dir: &Path, kinds: &[Kind], waiters: usize, time: Duration) -> Vec<Idle> {
    let mut groups: Vec<(Worker, Vec<Worker>)> = kinds
        .iter()
        .map(|kind| {
            let resource = resource(dir, *kind, "idle");
            let mut holder = Worker::start(*kind, &resource, 0);
            holder.order("a");
            holder.answer();
            let start = |id| {
                let mut waiter = Worker::start(*kind, &resource, id);
                waiter.order("a");
                waiter
            };
            (holder, (1..=waiters).map(start).collect())
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    let costs = |waiters: &[Worker]| -> (u64, u64) {
        let costs = waiters.iter().map(cost);
        costs.fold((0, 0), |(a, b), (switches, ticks)| {
            (a + switches, b + ticks)
        })
    };
    let before: Vec<_> = groups.iter().map(|(_, waiters)| costs(waiters)).collect();
    std::thread::sleep(time);
    let after = groups.iter().map(|(_, waiters)| costs(waiters));
    let idle = before.iter().zip(after).map(|(before, after)| Idle {
        wake_ups_per_waiter: (after.0 - before.0) as f64 / waiters as f64,
        cpu: Duration::from_nanos(after.1 - before.1),
    });
    let idle = idle.collect();
    groups.clear();
    idle
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
