//! Looking at a lock, next to reading its file and to asking for its kernel lock alone.

mod common;
#[path = "common/sampling.rs"]
mod sampling;

use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use common::{Ground, Mode, Samples, grounds, interleaved, show};
use criterion::Criterion;
use rvlf::{Hostname, LockState, Pid, Record, WriterId, WriterLock, inspect, lock_path_for};

/// What somebody does who only wants the bytes.
fn read_file(lock_path: &Path) {
    black_box(std::fs::read(lock_path)).expect("the file is there");
}

/// What somebody does who only wants to know whether flock(2) is free.
fn ask_kernel(lock_path: &Path) {
    let file = File::open(lock_path).expect("the file is there");
    let _ = black_box(file.try_lock_shared());
}

/// A lock of a process of this host that does not exist, an hour old.
fn plant_stale(resource: &Path) {
    let host = nix::unistd::gethostname().unwrap_or_default();
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("it is later than 1970");
    let hour_ago = now.saturating_sub(Duration::from_secs(3600)).as_nanos() as u64;
    let record = Record::new(
        Pid::new(i32::MAX as u32).expect("a pid that no kernel gives"),
        &Hostname::truncated(host.as_encoded_bytes()),
        hour_ago,
        WriterId::from_random([7; 16]),
        None,
    );
    std::fs::write(lock_path_for(resource), record.encode()).expect("the directory is ours");
}

fn compare(mode: Mode, c: &mut Criterion, ground: &Ground) {
    let [free, held, stale] = ["free", "held", "stale"].map(|name| ground.resource(name));
    let _lock = WriterLock::try_acquire(&held).expect("nobody else is here");
    plant_stale(&stale);
    let look = |resource: &Path| inspect(resource).expect("it can be looked at");
    assert!(matches!(look(&free), LockState::Free));
    assert!(matches!(look(&held), LockState::Held(_)));
    assert!(matches!(look(&stale), LockState::Stale(_)));

    let mut group = c.benchmark_group(format!("inspect, {}", ground.name));
    for (name, resource) in [("free", &free), ("held", &held), ("stale", &stale)] {
        group.bench_function(name, |b| b.iter(|| look(resource)));
    }
    group.finish();
    if mode == Mode::List {
        return;
    }

    let lock_path = lock_path_for(&held);
    let [free, held, stale, read, ask] = interleaved(
        mode.pick(300, 1),
        mode.pick(100, 1),
        [
            &mut || {
                black_box(look(&free));
            },
            &mut || {
                black_box(look(&held));
            },
            &mut || {
                black_box(look(&stale));
            },
            &mut || read_file(&lock_path),
            &mut || ask_kernel(&lock_path),
        ],
    );
    println!("inspect, {}:", ground.name);
    let row = |name: &str, samples: &Samples| {
        let (time, ratio) = (show(samples.median()), samples.ratio_to(&read));
        println!("  {name:36} {time:>8}  {ratio:.2} x");
    };
    row("read the file, judge nothing", &read);
    row("open, flock(2), close", &ask);
    row("rvlf, free", &free);
    row("rvlf, held", &held);
    row("rvlf, stale", &stale);
}

fn main() {
    let mode = Mode::from_args();
    let mut c = sampling::criterion();
    for ground in grounds() {
        compare(mode, &mut c, &ground);
    }
    c.final_summary();
}
