//! Does it exclude? The deployed RVF client (rvf-runtime, through its store) and rvlf, on one path:
//! plain contention without any crash, and two contenders that meet on one dead writer's lock.
//!
//! Threads are true contenders: neither keeps a list of what its process holds. What is counted is
//! luck; that it is not zero is what matters.

#[path = "../../common/mod.rs"]
mod common;

use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{Ground, Mode, goal_if, grounds};
use rvf_runtime::{RvfOptions, RvfStore};
use rvlf::{Durability, Hostname, Pid, Record, WriterId, WriterLock, lock_path_for};

const CONTENDERS: usize = 8;

/// One attempt; a guard that releases when it is dropped, if it was let in.
type Attempt = fn(&Path) -> Option<Box<dyn Send>>;

fn rvlf(resource: &Path) -> Option<Box<dyn Send>> {
    let options = WriterLock::options().durability(Durability::None);
    let lock = options.try_acquire(resource).ok()?;
    Some(Box::new(lock))
}

struct Store(Option<RvfStore>);

impl Drop for Store {
    fn drop(&mut self) {
        // One whose lock another client has deleted cannot give it back.
        let _ = self.0.take().map(RvfStore::close);
    }
}

fn rvf(resource: &Path) -> Option<Box<dyn Send>> {
    let store = RvfStore::open(resource).ok()?;
    Some(Box::new(Store(Some(store))))
}

const CLIENTS: [(&str, Attempt); 2] = [("rvlf", rvlf), ("rvf-runtime", rvf)];

fn make_store(ground: &Ground, name: &str) -> std::path::PathBuf {
    let path = ground.resource(name);
    let options = RvfOptions {
        dimension: 4,
        ..RvfOptions::default()
    };
    let store = RvfStore::create(&path, options).expect("nobody else is here");
    store.close().expect("it is open");
    path
}

/// How many were let in, and how many of them while somebody else was inside.
fn contention(resource: &Path, attempt: Attempt, time: Duration) -> (usize, usize) {
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
                    let Some(guard) = attempt(resource) else {
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

/// A lock of a process of this host that does not exist, an hour old.
fn plant_dead(resource: &Path) {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed();
    let hour_ago = now.expect("it is later than 1970") - Duration::from_secs(3600);
    let record = Record::new(
        Pid::new(i32::MAX as u32).expect("a pid that no kernel gives"),
        &Hostname::truncated(b"elsewhere"),
        hour_ago.as_nanos() as u64,
        WriterId::from_random([7; 16]),
        None,
    );
    std::fs::write(lock_path_for(resource), record.encode()).expect("the directory is ours");
}

/// In how many rounds both of two contenders were let in.
fn two_winners(resource: &Path, attempt: Attempt, rounds: u32) -> usize {
    let both = |_: &u32| {
        let _ = std::fs::remove_file(lock_path_for(resource));
        plant_dead(resource);
        let (ready, tried) = (Barrier::new(2), Barrier::new(2));
        let contend = || {
            ready.wait();
            let guard = attempt(resource);
            // Nobody lets go before both have tried.
            tried.wait();
            guard.is_some()
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(contend);
            let this = contend();
            this && other.join().expect("it ends")
        })
    };
    (0..rounds).filter(both).count()
}

fn main() {
    let mode = Mode::from_args();
    if mode == Mode::List {
        return println!("exclusion: bench");
    }
    for ground in grounds() {
        println!("does it exclude, {}:", ground.name);
        for (name, attempt) in CLIENTS {
            let resource = make_store(&ground, name);
            let time = mode.pick(Duration::from_secs(5), Duration::from_millis(100));
            let (entered, overlapped) = contention(&resource, attempt, time);
            let rounds = mode.pick(500, 5);
            let twice = two_winners(&resource, attempt, rounds);
            println!(
                "  {name:12} {overlapped:>4} of {entered} holds of {CONTENDERS} contenders \
                 overlapped; {twice:>3} of {rounds} dead locks went to two"
            );
            if name == "rvlf" {
                let what = format!("no two holders, {}", ground.name);
                let measured = format!("{}", overlapped + twice);
                goal_if(mode, what, measured, overlapped + twice == 0);
            }
        }
    }
}
