//! From a release to the next holder.

use rvlf_benches::{Goal, Samples};

use crate::group::{self, Group};
use crate::kind::LockKind;
use crate::{Bench, Point, draw_times, find, points, print_times};

pub fn run(bench: &Bench) {
    println!("release to the next holder:");
    let mut all = Vec::new();
    for n in bench.counts() {
        let points = measure(bench, n);
        print_times(&points);
        if n == 2 {
            compare(bench, &points);
        }
        all.extend(points);
    }
    draw_times(bench, "hand-over", "Release to the next holder", &all);
}

fn measure(bench: &Bench, n: usize) -> Vec<Point<Samples>> {
    let (polling, woken): (Vec<_>, Vec<_>) = bench.kinds().partition(|kind| kind.polls());
    // With two contenders the kinds take turns, for their ratio is a goal, and in more rounds. With
    // more each kind runs alone: a user may have 128 inotify instances, and each waiter takes one.
    let (in_turn, rounds) = match n {
        2 => (woken.len(), 2 * bench.scale.rounds),
        _ => (1, bench.scale.rounds),
    };
    let measure = |kinds: &[LockKind], rounds| {
        group::in_turn(
            bench.path(),
            kinds,
            n,
            rounds,
            "hand-over",
            Group::hand_over,
        )
    };
    let mut samples: Vec<Samples> = woken
        .chunks(in_turn)
        .flat_map(|kinds| measure(kinds, rounds))
        .collect();
    // These never sleep while others are measured, so each runs alone. A tenth of the rounds shows
    // a poll's time.
    for kind in &polling {
        samples.extend(measure(&[*kind], bench.scale.rounds.div_ceil(10)));
    }
    points(&[woken, polling].concat(), n, samples)
}

fn compare(bench: &Bench, points: &[Point<Samples>]) {
    let of = |kind| find(points, kind).expect("this kind takes part everywhere");
    let [rvlf, bare, flock] = [LockKind::Rvlf, LockKind::Bare, LockKind::Flock].map(of);
    println!("  rvlf, against flock(2): {:.2} x", rvlf.ratio_to(flock));
    println!(
        "  bare calls, against flock(2): {:.2} x",
        bare.ratio_to(flock)
    );
    bench.report_goal(
        "release to the next holder, against the bare calls of a lock that is a file",
        Goal::AtMost(1.1),
        rvlf.ratio_to(bare),
    );
}
