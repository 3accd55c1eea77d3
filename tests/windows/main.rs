//! The lock on Windows, used by real processes. Elsewhere there is nothing in here.
#![cfg(windows)]

mod hold;
mod names;
mod processes;
mod real;
mod role;
mod spawned;

use std::path::Path;
use std::time::{Duration, Instant};

/// The limit for every operation that is not measured; an operation that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn child_role() {
    role::run();
}

/// A new directory, and the path of a data file in it.
fn scratch() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::Builder::new().prefix("rvlf-test-").tempdir();
    let directory = directory.expect("the directory for temporary files is writable");
    let data = directory.path().join("data");
    (directory, data)
}

/// Waits until `condition` holds. A condition that never holds fails the test as a hang.
#[track_caller]
fn until(promise: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never became true: {promise}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The names in a directory, sorted.
fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("the directory exists");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("the directory can be read").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
