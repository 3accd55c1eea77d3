//! From the SIGKILL of a holder to the next holder.

use rvlf_benches::{Goal, Mode, Samples};

use crate::group::{self, Group};
use crate::kind::LockKind;
use crate::{Bench, Point, draw_times, find, points, print_times};

pub fn run(bench: &Bench) {
    println!("SIGKILL of the holder to the next holder:");
    let mut all = Vec::new();
    for n in bench.counts() {
        let points = measure(bench, n);
        print_times(&points);
        if n == 2 {
            compare(bench, &points);
        }
        all.extend(points);
    }
    println!("  (rvf-runtime: the first attempt after 30 s; a dead process must be that old)");
    draw_times(
        bench,
        "recovery",
        "SIGKILL of the holder to the next holder",
        &all,
    );
}

fn measure(bench: &Bench, n: usize) -> Vec<Point<Samples>> {
    let measure = |kinds: &[LockKind], rounds| {
        group::in_turn(bench.path(), kinds, n, rounds, "recovery", Group::recovery)
    };
    let rounds = bench.scale.rounds.div_ceil(if n == 2 { 1 } else { 2 });
    let mut kinds = vec![LockKind::Rvlf, LockKind::Flock];
    let mut samples = measure(&kinds, rounds);
    for kind in bench.kinds().filter(|kind| kind.polls()) {
        // proper-lockfile goes by age: its directory must have been unchanged for ten seconds.
        let by_age = kind == LockKind::ProperLockfile;
        if by_age && (n > 2 || bench.mode == Mode::Smoke) {
            continue;
        }
        let rounds = if by_age {
            1
        } else {
            bench.scale.rounds.div_ceil(20)
        };
        samples.extend(measure(&[kind], rounds));
        kinds.push(kind);
    }
    points(&kinds, n, samples)
}

fn compare(bench: &Bench, points: &[Point<Samples>]) {
    let of = |kind| find(points, kind).expect("this kind takes part everywhere");
    bench.report_goal(
        "SIGKILL to the next holder, against flock(2)",
        Goal::AtMost(2.0),
        of(LockKind::Rvlf).ratio_to(of(LockKind::Flock)),
    );
}
