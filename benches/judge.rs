//! The judgement: a pure function, so it must cost nothing next to gathering the evidence.

#[path = "common/sampling.rs"]
mod sampling;

use std::hint::black_box;
use std::time::Duration;

use rvlf::{
    Age, Content, Evidence, FileSystem, HostMatch, KernelLock, Process, StalePolicy, Stamp, judge,
};

/// A lock that a process on this machine holds: row 2, what every waiter meets.
const HELD: Evidence = Evidence {
    content: Content::Valid,
    kernel_lock: KernelLock::HeldElsewhere,
    file_system: FileSystem::Local,
    stamp: Stamp::Same { start_ticks: 4242 },
    host: HostMatch::Same,
    process: Process::Alive {
        start_ticks: 4242,
        started_after_timestamp: false,
    },
    timestamp_age: Age::Past(Duration::from_secs(3)),
    mtime_age: Duration::from_secs(3),
    predates_boot: false,
};

/// The last rows are the ones that look at everything.
const ELSEWHERE: Evidence = Evidence {
    kernel_lock: KernelLock::Free,
    file_system: FileSystem::NotLocal,
    stamp: Stamp::Different { start_ticks: 4242 },
    host: HostMatch::Other,
    process: Process::Unknown,
    ..HELD
};

fn main() {
    let mut c = sampling::criterion();
    let policy = StalePolicy::new();
    let mut group = c.benchmark_group("judge");
    group.bench_function("row 2, held here", |b| {
        b.iter(|| judge(black_box(&HELD), black_box(&policy)));
    });
    group.bench_function("row 9, stamped elsewhere", |b| {
        b.iter(|| judge(black_box(&ELSEWHERE), black_box(&policy)));
    });
    group.finish();
    c.final_summary();
}
