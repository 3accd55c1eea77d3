//! The lock files that living processes have locked, which Windows does not list.

use std::path::PathBuf;

/// How the process is found that keeps a lock.
pub const WHERE_TO_LOOK: &str =
    "Windows does not name: search for the lock file in Resource Monitor, CPU, Associated Handles";

/// No value of this type exists.
pub enum OpenLocks {}

impl OpenLocks {
    /// A path of each lock file, sorted.
    pub fn paths(&self) -> &[PathBuf] {
        match *self {}
    }

    /// What is not among them.
    pub fn skipped(&self) -> Option<String> {
        match *self {}
    }
}

/// # Errors
///
/// Always.
pub fn search() -> Result<OpenLocks, String> {
    Err("Windows does not list the files that other processes have open".into())
}
