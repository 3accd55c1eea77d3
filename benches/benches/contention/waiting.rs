//! What waiting costs while the holder holds.

use std::time::Duration;

use rvlf_benches::{Goal, show_time};

use crate::figure::Axis;
use crate::group;
use crate::kind::LockKind;
use crate::outcome::Idle;
use crate::{Bench, Point, find};

pub fn run(bench: &Bench) {
    let (shortest, time) = (Duration::from_millis(200), Duration::from_secs(10));
    let time = bench.mode.pick(time, shortest);
    println!("waiters while the holder holds for {}:", show_time(time));
    let mut all = Vec::new();
    // One number of contenders is enough for the goal: no waiter touches a file.
    let few = if bench.scale.draw { usize::MAX } else { 1 };
    for n in bench.counts().take(few) {
        let points = measure(bench, n, time);
        points.iter().for_each(print_row);
        if n == 2 {
            compare(bench, &points);
        }
        all.extend(points);
    }
    draw(bench, &all);
}

fn measure(bench: &Bench, n: usize, time: Duration) -> Vec<Point<Idle>> {
    let waits = |kind: &LockKind| !matches!(kind, LockKind::RvlfSynced | LockKind::Bare);
    let kinds: Vec<_> = bench.kinds().filter(waits).collect();
    let idle = group::idle(bench.path(), &kinds, n, time);
    let pairs = kinds.into_iter().zip(idle);
    pairs
        .map(|(kind, value)| Point { kind, n, value })
        .collect()
}

fn print_row(point: &Point<Idle>) {
    let Point { kind, n, value } = point;
    println!(
        "  {:16} {n:>4} {:>7.0} wake-ups a minute each, {:>8} CPU a second in all",
        kind.name(),
        value.wake_ups,
        show_time(value.cpu)
    );
}

fn compare(bench: &Bench, points: &[Point<Idle>]) {
    let rvlf = find(points, LockKind::Rvlf).expect("this kind takes part everywhere");
    // The safety timer of 5 s is jittered by a quarter: at least 3.75 s.
    bench.report_goal(
        "an idle waiter: wake-ups a minute (its safety timer makes up to 16)",
        Goal::AtMost(16.0),
        rvlf.wake_ups,
    );
}

fn draw(bench: &Bench, points: &[Point<Idle>]) {
    let wake_ups = Axis {
        label: "voluntary context switches a minute, each; the lowest line is none",
        floor: 1.0,
    };
    let title = "Wake-ups of a waiter while nothing happens";
    bench.draw("idle-wake-ups", title, wake_ups, points, |idle| {
        idle.wake_ups
    });
    let cpu = Axis {
        label: "microseconds a second, all together; the lowest line is none",
        floor: 1.0,
    };
    let title = "CPU time of all waiters while nothing happens";
    bench.draw("idle-cpu", title, cpu, points, |idle| {
        idle.cpu.as_secs_f64() * 1e6
    });
}
