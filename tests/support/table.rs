//! Allocation tables in directories of their own.

use std::path::{Path, PathBuf};

use rvlf::table::{Claim, ScopeRule};
use tempfile::TempDir;

/// A directory, and the path of a table in it that does not exist yet.
pub fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::Builder::new().prefix("rvlf-test-").tempdir();
    let dir = dir.expect("the directory for temporary files is writable");
    let path = dir.path().join("table.json");
    (dir, path)
}

/// A claim to write one path.
pub fn claim(name: &str, path: &str) -> Claim {
    Claim::new(name).allow(ScopeRule::write(path))
}

/// How many descriptors of this process refer to files that are or were at `path`.
pub fn descriptors_of(path: &Path) -> usize {
    let path = path.canonicalize().expect("the table exists");
    let listed = std::fs::read_dir("/proc/self/fd").expect("procfs is mounted");
    let targets = listed.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    targets.filter(|target| *target == path).count()
}
