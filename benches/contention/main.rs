//! Many processes and one lock: hand-over, recovery after a kill, throughput and fairness, and what
//! waiting costs; next to blocking flock(2), and to Python filelock and npm proper-lockfile where
//! they are installed. Draws a figure of each.
//!
//! `RVLF_BENCH_PYTHON` names a Python that can import filelock (default: python3); `NODE_PATH` leads
//! node to proper-lockfile.

#[path = "../common/mod.rs"]
mod common;
mod figure;
mod measure;
mod worker;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{Ground, Mode, Samples, goal, goal_if, grounds, show};
use figure::{Curve, Figure};
use measure::{Competition, Idle};
use worker::Kind;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|arg| arg == worker::FLAG) {
        return worker::run(arguments.split_at(at + 1).1);
    }
    let mode = Mode::from_args();
    if mode == Mode::List {
        return println!("contention: bench");
    }
    let kinds = installed();
    for ground in grounds() {
        println!("on {}:", ground.name);
        if wanted("hand-over") {
            hand_over(mode, &ground, &kinds);
        }
        if wanted("recovery") {
            recovery(mode, &ground);
        }
        if wanted("throughput") {
            throughput(mode, &ground, &kinds);
        }
        if wanted("waiting") {
            waiting(mode, &ground, &kinds);
        }
    }
}

/// Whether the command line names this part, or none.
fn wanted(part: &str) -> bool {
    let mut named = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with("--"))
        .peekable();
    named.peek().is_none() || named.any(|name| part.contains(&name))
}

/// Everybody who can take part here; says who cannot.
fn installed() -> Vec<Kind> {
    let can = |kind: Kind, mut probe: Command| match probe.output() {
        Ok(output) if output.status.success() => Some(kind),
        _ => {
            println!("skipped: {}: not installed", kind.name());
            None
        }
    };
    let mut python = Command::new(worker::python());
    python.args(["-c", "import filelock"]);
    let mut node = Command::new("node");
    node.args(["-e", "require('proper-lockfile')"]);
    let ours = [Kind::Rvlf, Kind::RvlfSynced, Kind::Flock].map(Some);
    let theirs = [can(Kind::Filelock, python), can(Kind::ProperLockfile, node)];
    ours.into_iter().chain(theirs).flatten().collect()
}

fn row(name: &str, samples: &Samples) {
    let [median, p99, max] = [0.5, 0.99, 1.0].map(|q| show(samples.quantile(q)));
    println!("  {name:16} median {median:>8}  p99 {p99:>8}  longest {max:>8}");
}

/// From just before the release to just after the waiter has the lock.
fn hand_over(mode: Mode, ground: &Ground, kinds: &[Kind]) {
    println!("hand-over from a release to the one waiter:");
    let kinds: Vec<Kind> = [Kind::Bare]
        .into_iter()
        .chain(kinds.iter().copied())
        .collect();
    let samples = measure::hand_over(ground.dir.path(), &kinds, mode.pick(400, 2));
    let of = |kind| {
        kinds
            .iter()
            .position(|k| *k == kind)
            .and_then(|i| samples.get(i))
    };
    for (kind, samples) in kinds.iter().zip(&samples) {
        row(kind.name(), samples);
    }
    if let (Some(bare), Some(rvlf), Some(flock)) = (of(Kind::Bare), of(Kind::Rvlf), of(Kind::Flock))
    {
        let what = format!("hand-over against blocking flock(2), {}", ground.name);
        goal(mode, what, rvlf.ratio_to(flock), 2.0);
        let floor = bare.ratio_to(flock);
        println!("  the bare calls of a lock that is a file: {floor:.1} x flock(2)");
        println!("  rvlf against them: {:.2} x", rvlf.ratio_to(bare));
    }
    let figure = Figure {
        title: format!("Hand-over to one waiter, {}", ground.name),
        x: "percent of hand-overs that took no longer",
        y: "microseconds",
        x_doubles: false,
        curves: distribution(&kinds, &samples),
    };
    figure.draw(mode, &format!("hand-over-{}", ground.name));
}

/// How many percent took no longer than how many microseconds.
fn distribution(kinds: &[Kind], samples: &[Samples]) -> Vec<Curve> {
    let curves = kinds.iter().zip(samples).map(|(kind, samples)| Curve {
        name: kind.name(),
        points: (1..100)
            .map(|percent| {
                let time = samples.quantile(f64::from(percent) / 100.0);
                (f64::from(percent), time.as_secs_f64() * 1e6)
            })
            .collect(),
    });
    curves.collect()
}

/// From the kill of the holder to just after the waiter has the lock.
fn recovery(mode: Mode, ground: &Ground) {
    println!("recovery from SIGKILL of the holder to the one waiter:");
    let kinds = [Kind::Rvlf, Kind::Flock];
    let samples = measure::recovery(ground.dir.path(), &kinds, mode.pick(200, 2));
    for (kind, samples) in kinds.iter().zip(&samples) {
        row(kind.name(), samples);
    }
    if let [rvlf, flock] = samples.as_slice() {
        let what = format!("recovery against blocking flock(2), {}", ground.name);
        goal(mode, what, rvlf.ratio_to(flock), 3.0);
    }
    println!("  rvf-runtime      30 s and the next attempt: a dead process must also be that old");
    let figure = Figure {
        title: format!("Recovery after SIGKILL of the holder, {}", ground.name),
        x: "percent of recoveries that took no longer",
        y: "microseconds",
        x_doubles: false,
        curves: distribution(&kinds, &samples),
    };
    figure.draw(mode, &format!("recovery-{}", ground.name));
}

/// Everybody acquires, notes it in a shared file, releases, and asks again at once.
fn throughput(mode: Mode, ground: &Ground, kinds: &[Kind]) {
    let counts: &[usize] = mode.pick(&[2, 4, 8, 16, 32, 64], &[2]);
    let time = mode.pick(Duration::from_secs(5), Duration::from_millis(200));
    println!("contenders that ask again at once, {} each:", show(time));
    println!(
        "  {:16} {:>4} {:>10} {:>10} {:>10} {:>13} {:>12}",
        "", "n", "holds/s", "changes/s", "longest", "fewest..most", "CPU/hold"
    );
    let mut results: Vec<(Kind, usize, Competition)> = Vec::new();
    for n in counts {
        for kind in kinds {
            let result = measure::competition(ground.dir.path(), *kind, *n, time);
            let spread = format!("{}..{}", result.fewest, result.most);
            println!(
                "  {:16} {n:>4} {:>10.0} {:>10.0} {:>10} {spread:>13} {:>12}",
                kind.name(),
                result.holds_per_second,
                result.changes_per_second,
                show(result.longest_wait),
                show(result.cpu_per_hold),
            );
            results.push((*kind, *n, result));
        }
    }
    judge_throughput(mode, ground, &results);
    draw_throughput(mode, ground, kinds, &results);
}

fn judge_throughput(mode: Mode, ground: &Ground, results: &[(Kind, usize, Competition)]) {
    let mut rvlf = results.iter().filter(|(kind, ..)| *kind == Kind::Rvlf);
    let (Some((.., few)), Some((_, n, many))) = (rvlf.next(), rvlf.next_back()) else {
        return;
    };
    let kept = many.changes_per_second / few.changes_per_second;
    let what = format!(
        "changes of holder a second do not collapse, {}",
        ground.name
    );
    let measured = format!("{kept:.2} of those with 2 contenders left with {n}");
    goal_if(mode, what, measured, kept >= 0.5);
    let flock = results.iter().rfind(|(kind, ..)| *kind == Kind::Flock);
    let Some((_, _, flock)) = flock else { return };
    // A hundredth is no fairness, but nobody is left out: there is no queue.
    let what = format!("nobody starves among {n} contenders, {}", ground.name);
    let measured = format!(
        "{:.2} of an even share for the unluckiest (flock(2) {:.2}), longest wait {} ({})",
        many.least_share,
        flock.least_share,
        show(many.longest_wait),
        show(flock.longest_wait)
    );
    goal_if(mode, what, measured, many.least_share >= 0.01);
}

fn draw_throughput(
    mode: Mode,
    ground: &Ground,
    kinds: &[Kind],
    results: &[(Kind, usize, Competition)],
) {
    type Value = fn(&Competition) -> f64;
    let figures: [(&str, &str, &'static str, Value); 5] = [
        ("throughput", "Holds a second", "holds a second", |c| {
            c.holds_per_second
        }),
        (
            "changes",
            "Changes of holder a second",
            "changes a second",
            |c| c.changes_per_second,
        ),
        ("longest-wait", "Longest wait", "milliseconds", |c| {
            c.longest_wait.as_secs_f64() * 1e3
        }),
        (
            "unluckiest",
            "Holds of the unluckiest contender, of an even share",
            "share",
            |c| c.least_share,
        ),
        (
            "cpu",
            "CPU time of all contenders for one hold",
            "microseconds",
            |c| c.cpu_per_hold.as_secs_f64() * 1e6,
        ),
    ];
    for (file, title, y, value) in figures {
        let curves = kinds.iter().map(|kind| Curve {
            name: kind.name(),
            points: results
                .iter()
                .filter(|(of, ..)| of == kind)
                .map(|(_, n, result)| (*n as f64, value(result)))
                .collect(),
        });
        let figure = Figure {
            title: format!("{title}, {}", ground.name),
            x: "contenders",
            y,
            x_doubles: true,
            curves: curves.collect(),
        };
        figure.draw(mode, &format!("{file}-{}", ground.name));
    }
}

/// One holds, and the others have nothing to do but wait.
fn waiting(mode: Mode, ground: &Ground, kinds: &[Kind]) {
    let time = mode.pick(Duration::from_secs(10), Duration::from_millis(200));
    let waiters = mode.pick(8, 1);
    println!(
        "{waiters} waiters while the holder holds for {}:",
        show(time)
    );
    for (kind, idle) in kinds
        .iter()
        .zip(idle(ground.dir.path(), kinds, waiters, time))
    {
        println!(
            "  {:16} {:>5.1} wake-ups a waiter, {:>8} CPU in all",
            kind.name(),
            idle.wake_ups_per_waiter,
            show(idle.cpu)
        );
        if *kind == Kind::Rvlf {
            // The safety timer is jittered by a quarter: 10 s see one to two of 3.75 to 6.25 s.
            let what = format!(
                "an idle waiter wakes for its safety timer only, {}",
                ground.name
            );
            let measured = format!("{:.1} wake-ups in 10 s", idle.wake_ups_per_waiter);
            goal_if(mode, what, measured, idle.wake_ups_per_waiter <= 2.67);
        }
    }
}

fn idle(dir: &Path, kinds: &[Kind], waiters: usize, time: Duration) -> Vec<Idle> {
    measure::idle(dir, kinds, waiters, time)
}
