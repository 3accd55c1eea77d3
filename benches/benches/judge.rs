//! The judgement: a pure function, which must cost nothing beside gathering the evidence.

use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use rvlf::StalePolicy;
use rvlf::judge::{
    Age, Content, Evidence, FileSystem, HostMatch, KernelLock, OwnHold, Process, Stamp, judge,
};
use rvlf_benches::{Mode, interleaved, print_row};

/// A lock that a process on this machine holds: row 2, which every waiter meets.
const HELD: Evidence = Evidence {
    content: Content::Valid,
    kernel_lock: KernelLock::HeldElsewhere,
    file_system: FileSystem::Local { plain: true },
    stamp: Stamp::Same { start_ticks: 4242 },
    host: HostMatch::Same,
    process: Process::Alive {
        start_ticks: 4242,
        started_after_timestamp: false,
    },
    timestamp_age: Age::Past(Duration::from_secs(3)),
    mtime_age: Duration::from_secs(3),
    predates_boot: false,
    own_hold: OwnHold::None,
};

/// The last rows are the ones that look at all of the evidence.
const ELSEWHERE: Evidence = Evidence {
    kernel_lock: KernelLock::Free,
    file_system: FileSystem::NotLocal,
    stamp: Stamp::Different { start_ticks: 4242 },
    host: HostMatch::Other,
    process: Process::Unknown,
    ..HELD
};

fn benchmarks(c: &mut Criterion) {
    let policy = StalePolicy::new();
    let mut group = c.benchmark_group("judge");
    group.bench_function("row 2, held here", |b| {
        b.iter(|| judge(black_box(&HELD), black_box(&policy)));
    });
    group.bench_function("row 9, stamped elsewhere", |b| {
        b.iter(|| judge(black_box(&ELSEWHERE), black_box(&policy)));
    });
    group.finish();
}

/// Calls of one turn; the loop is inside the candidate.
const CALLS: u32 = 1_000;

fn judge_often(evidence: &Evidence) {
    let policy = StalePolicy::new();
    for _ in 0..CALLS {
        black_box(judge(black_box(evidence), black_box(&policy)));
    }
}

/// One part of gathering the evidence, and not the dearest: a look at a file.
fn stat_often() {
    for _ in 0..CALLS {
        black_box(std::fs::metadata(black_box("/")).expect("every system has a root"));
    }
}

fn ratios(mode: Mode) {
    let [held, elsewhere, stat] = interleaved(
        mode.pick(300, 1),
        1,
        [
            &mut || judge_often(&HELD),
            &mut || judge_often(&ELSEWHERE),
            &mut stat_often,
        ],
    );
    println!("one judgement, {CALLS} times:");
    print_row("stat(2) of one path", &stat, &stat);
    print_row("judge, row 2", &held, &stat);
    print_row("judge, row 9", &elsewhere, &stat);
}

fn main() {
    let mode = Mode::from_args();
    mode.sample(benchmarks);
    if mode != Mode::List {
        ratios(mode);
    }
}
