//! Whether the deployed RVF client (rvf-runtime, through its store) and rvlf exclude, each on one
//! path: plain contention without any crash, and two contenders that meet on one dead writer's
//! lock.
//!
//! Threads are true contenders: neither client keeps a list of what its process holds. The counts
//! depend on luck; what matters is whether a count is zero.

use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rvf_runtime::{RvfOptions, RvfStore};
use rvlf::{Durability, WriterLock, lock_path_for};
use rvlf_benches::{Directory, Mode, dead_record, directories};

const CONTENDERS: usize = 8;

/// One attempt; if it succeeds, a guard that releases when it is dropped.
type Attempt = fn(&Path) -> Option<Box<dyn Send>>;

fn rvlf(data_path: &Path) -> Option<Box<dyn Send>> {
    let options = WriterLock::options().durability(Durability::None);
    let lock = options.try_acquire(data_path).ok()?;
    Some(Box::new(lock))
}

struct Store(Option<RvfStore>);

impl Drop for Store {
    fn drop(&mut self) {
        // A client whose lock was deleted by another one cannot release it.
        let _ = self.0.take().map(RvfStore::close);
    }
}

fn rvf(data_path: &Path) -> Option<Box<dyn Send>> {
    let store = RvfStore::open(data_path).ok()?;
    Some(Box::new(Store(Some(store))))
}

const CLIENTS: [(&str, Attempt); 2] = [("rvlf", rvlf), ("rvf-runtime", rvf)];

fn make_store(directory: &Directory, name: &str) -> PathBuf {
    let path = directory.join(name);
    let options = RvfOptions {
        dimension: 4,
        ..RvfOptions::default()
    };
    let store = RvfStore::create(&path, options).expect("this process is the only contender");
    store.close().expect("the store is open");
    path
}

/// How many attempts succeeded, and how many of them while another contender held the lock.
fn contention(data_path: &Path, attempt: Attempt, time: Duration) -> (usize, usize) {
    let (inside, entered, overlapped) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CONTENDERS {
            scope.spawn(|| {
                while start.elapsed() < time {
                    let Some(guard) = attempt(data_path) else {
                        continue;
                    };
                    entered.fetch_add(1, Ordering::Relaxed);
                    if inside.fetch_add(1, Ordering::SeqCst) > 0 {
                        overlapped.fetch_add(1, Ordering::Relaxed);
                    }
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(guard);
                }
            });
        }
    });
    (entered.into_inner(), overlapped.into_inner())
}

/// In how many rounds both of two contenders got the lock.
fn two_winners(data_path: &Path, attempt: Attempt, rounds: u32) -> usize {
    let lock_path = lock_path_for(data_path);
    let both = |_: &u32| {
        // A round that ended in a mistake may have left a lock.
        let _ = std::fs::remove_file(&lock_path);
        let dead = dead_record(b"elsewhere");
        std::fs::write(&lock_path, dead.encode()).expect("the directory is writable");
        let (ready, tried) = (Barrier::new(2), Barrier::new(2));
        let contend = || {
            ready.wait();
            let guard = attempt(data_path);
            // Both have tried before one of them releases.
            tried.wait();
            guard.is_some()
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(contend);
            let this = contend();
            this && other.join().expect("the contender does not panic")
        })
    };
    (0..rounds).filter(both).count()
}

/// Panics if ours does not exclude.
fn compare(mode: Mode, directory: &Directory) {
    println!("exclusion, {}:", directory.file_system);
    for (name, attempt) in CLIENTS {
        let data_path = make_store(directory, name);
        let time = mode.pick(Duration::from_secs(5), Duration::from_millis(100));
        let (entered, overlapped) = contention(&data_path, attempt, time);
        let rounds = mode.pick(500, 5);
        let twice = two_winners(&data_path, attempt, rounds);
        println!(
            "  {name:12} {overlapped:>4} of {entered} holds of {CONTENDERS} contenders \
             overlapped; {twice:>3} of {rounds} dead locks went to two"
        );
        if name == "rvlf" {
            assert_eq!((overlapped, twice), (0, 0), "two holders at the same time");
        }
    }
}

fn main() {
    let Some(mode) = Mode::from_args_of("exclusion") else {
        return;
    };
    for directory in directories() {
        compare(mode, &directory);
    }
}
