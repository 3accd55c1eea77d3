//! Inspecting a lock, beside reading its file and beside querying its kernel lock alone.

use std::fs::File;
use std::hint::black_box;
use std::path::{Path, PathBuf};

use criterion::Criterion;
use rvlf::{LockState, WriterLock, inspect, lock_path_for};
use rvlf_benches::{Directory, Mode, dead_record, directories, interleaved, print_row};

/// One data file of each state, below one directory.
struct DataFiles {
    free: PathBuf,
    held: PathBuf,
    stale: PathBuf,
    _lock: WriterLock,
}

impl DataFiles {
    fn make(directory: &Directory) -> DataFiles {
        let [free, held, stale] = ["free", "held", "stale"].map(|name| directory.join(name));
        let lock = WriterLock::try_acquire(&held).expect("this process is the only contender");
        let host = nix::unistd::gethostname().unwrap_or_default();
        let record = dead_record(host.as_encoded_bytes());
        std::fs::write(lock_path_for(&stale), record.encode()).expect("the directory is writable");
        assert!(matches!(look(&free), LockState::Free));
        assert!(matches!(look(&held), LockState::Held(_)));
        assert!(matches!(look(&stale), LockState::Stale(_)));
        DataFiles {
            free,
            held,
            stale,
            _lock: lock,
        }
    }
}

fn look(data_path: &Path) -> LockState {
    inspect(data_path).expect("the lock file can be read")
}

/// The bytes alone.
fn read_file(lock_path: &Path) {
    black_box(std::fs::read(lock_path)).expect("the lock file exists");
}

/// Whether flock(2) is free, alone.
fn query_kernel_lock(lock_path: &Path) {
    let file = File::open(lock_path).expect("the lock file exists");
    let _ = black_box(file.try_lock_shared());
}

fn benchmarks(c: &mut Criterion, directory: &Directory, files: &DataFiles) {
    let mut group = c.benchmark_group(format!("inspect, {}", directory.file_system));
    let states = [
        ("free", &files.free),
        ("held", &files.held),
        ("stale", &files.stale),
    ];
    for (name, data_path) in states {
        group.bench_function(name, |b| b.iter(|| look(data_path)));
    }
    group.finish();
}

fn ratios(mode: Mode, directory: &Directory, files: &DataFiles) {
    let lock_path = lock_path_for(&files.held);
    let inspect = |data_path: &Path| {
        black_box(look(data_path));
    };
    let [free, held, stale, read, query] = interleaved(
        mode.pick(300, 1),
        mode.pick(100, 1),
        [
            &mut || inspect(&files.free),
            &mut || inspect(&files.held),
            &mut || inspect(&files.stale),
            &mut || read_file(&lock_path),
            &mut || query_kernel_lock(&lock_path),
        ],
    );
    println!("inspect, {}:", directory.file_system);
    print_row("read the file, judge nothing", &read, &read);
    print_row("open, flock(2), close", &query, &read);
    print_row("rvlf, free", &free, &read);
    print_row("rvlf, held", &held, &read);
    print_row("rvlf, stale", &stale, &read);
}

fn main() {
    let mode = Mode::from_args();
    let directories = directories();
    let files: Vec<_> = directories.iter().map(DataFiles::make).collect();
    mode.sample(|c| {
        for (directory, files) in directories.iter().zip(&files) {
            benchmarks(c, directory, files);
        }
    });
    if mode == Mode::List {
        return;
    }
    for (directory, files) in directories.iter().zip(&files) {
        ratios(mode, directory, files);
    }
}
