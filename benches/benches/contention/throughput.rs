//! Contenders that acquire again as soon as they have released: how many holds, how fairly.

use std::time::Duration;

use rvlf_benches::{Goal, show_time};

use crate::figure::Axis;
use crate::group;
use crate::kind::LockKind;
use crate::outcome::Competition;
use crate::{Bench, Point, find};

pub fn run(bench: &Bench) {
    println!("contenders that acquire again at once:");
    println!(
        "  {:16} {:>4} {:>10} {:>10} {:>10} {:>15} {:>9}",
        "", "n", "holds/s", "changes/s", "longest", "fewest..most", "CPU/hold"
    );
    let mut all = Vec::new();
    for n in bench.counts() {
        let points = measure(bench, n);
        points.iter().for_each(print_row);
        if Some(n) == bench.counts().max() {
            compare(bench, n, &points);
        }
        all.extend(points);
    }
    draw(bench, &all);
}

/// The kinds take turns, round by round.
fn measure(bench: &Bench, n: usize) -> Vec<Point<Competition>> {
    let (rounds, time) = bench
        .mode
        .pick((3, Duration::from_secs(2)), (1, Duration::from_millis(200)));
    let point = |kind| Point {
        kind,
        n,
        value: Competition::default(),
    };
    let mut points: Vec<_> = bench.kinds().map(point).collect();
    for _ in 0..rounds {
        for Point { kind, value, .. } in &mut points {
            value.add(&group::competition(bench.path(), *kind, n, time));
        }
    }
    points
}

fn print_row(point: &Point<Competition>) {
    let Point { kind, n, value } = point;
    println!(
        "  {:16} {n:>4} {:>10.0} {:>10.0} {:>10} {:>15} {:>9}",
        kind.name(),
        value.holds_per_second(),
        value.changes_per_second(),
        show_time(value.longest_wait),
        format!("{}..{}", value.fewest(), value.most()),
        show_time(value.cpu_per_hold()),
    );
}

fn compare(bench: &Bench, n: usize, points: &[Point<Competition>]) {
    let of = |kind| find(points, kind).expect("this kind takes part everywhere");
    let [rvlf, bare, flock] = [LockKind::Rvlf, LockKind::Bare, LockKind::Flock].map(of);
    println!(
        "  share of the unluckiest of {n} with flock(2): {:.2}",
        flock.least_share()
    );
    bench.report_goal(
        "holds a second with 64 contenders, of the bare calls' with 64",
        Goal::AtLeast(0.75),
        rvlf.holds_per_second() / bare.holds_per_second(),
    );
    // A lock that is a file has no queue. A hundredth is not fair, but no contender starves.
    bench.report_goal(
        "holds of the unluckiest of 64 contenders, of an even share",
        Goal::AtLeast(0.01),
        rvlf.least_share(),
    );
}

fn draw(bench: &Bench, points: &[Point<Competition>]) {
    type Value = fn(&Competition) -> f64;
    #[rustfmt::skip]
    let figures: [(&str, &str, &str, f64, Value); 5] = [
        ("throughput", "Holds a second, of all contenders", "holds a second", 1.0, Competition::holds_per_second),
        ("changes", "Hand-overs to another contender", "hand-overs a second", 1.0, Competition::changes_per_second),
        ("longest-wait", "Longest wait of any contender", "milliseconds", 0.1, |c| c.longest_wait.as_secs_f64() * 1e3),
        ("fairness", "Holds of the unluckiest contender", "of an even share; 1 is fair", 0.01, Competition::least_share),
        ("cpu", "CPU time of all contenders for one hold", "microseconds", 1.0, |c| c.cpu_per_hold().as_secs_f64() * 1e6),
    ];
    for (name, title, label, floor, value) in figures {
        bench.draw(name, title, Axis { label, floor }, points, value);
    }
}
