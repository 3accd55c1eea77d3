//! A data file for each run, and what its lock shows.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rvlf_threads::{Durability, LockOptions, Record, WriterLock, host, lock_path_for};
use tempfile::TempDir;
use virtual_std::run;

/// Longer than anything takes that does not wait for a fault.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// The directory of a test.
#[derive(Clone)]
pub struct Place(Arc<TempDir>);

impl Place {
    pub fn new() -> Place {
        let directory = tempfile::tempdir().expect("there is room");
        Place(Arc::new(directory))
    }

    /// The data file `name` of this run.
    pub fn data(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("{}-{name}", run::number()))
    }
}

/// Options for a lock that is refreshed every `interval`.
pub fn every(interval: Duration) -> LockOptions {
    let options = LockOptions::new().durability(Durability::None);
    options.keepalive(Some(interval))
}

/// Options for a lock without refreshes.
pub fn plain() -> LockOptions {
    LockOptions::new()
        .durability(Durability::None)
        .keepalive(None)
}

pub fn read(data: &Path) -> Option<Record> {
    let bytes = std::fs::read(lock_path_for(data)).ok()?;
    Record::decode(&bytes).ok()
}

/// Since when the lock of `data` was not refreshed.
pub fn age(data: &Path) -> Duration {
    let record = read(data).expect("the lock is held");
    Duration::from_nanos(host::unix_ns().saturating_sub(record.timestamp_ns()))
}

/// Acquires and releases the lock when all others have given it up.
pub fn come_later(data: &Path) {
    let lock = plain().acquire(data, PATIENCE);
    let lock: WriterLock = lock.expect("no hold is left");
    lock.release().expect("the lock is held");
    assert!(!lock_path_for(data).exists(), "nothing is left");
}
