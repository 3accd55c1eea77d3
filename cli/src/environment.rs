//! What a command finds in its environment of the lock under which it runs.

use std::ffi::OsString;

use rvlf::{WriterId, WriterLock};

/// The environment variable that lists the writer ids of all holds under which a command runs.
const HOLDS: &str = "RVLF_HOLDS";

/// The variables for a command that runs under `lock`.
pub fn under(lock: &WriterLock) -> [(&'static str, OsString); 3] {
    let lock_path = std::path::absolute(lock.lock_path());
    let lock_path = lock_path.unwrap_or_else(|_| lock.lock_path().to_owned());
    [
        ("RVLF_LOCK_PATH", lock_path.into()),
        ("RVLF_WRITER_ID", lock.writer_id().to_string().into()),
        (HOLDS, holds_with(lock.writer_id()).into()),
    ]
}

/// The value of [`HOLDS`] for a command that runs under one more hold.
fn holds_with(writer_id: WriterId) -> String {
    match std::env::var(HOLDS) {
        Ok(outer) if !outer.is_empty() => format!("{outer}:{writer_id}"),
        _ => writer_id.to_string(),
    }
}

/// The holds under which this process runs.
pub struct Holds(String);

impl Holds {
    /// `None` if the variable is not set.
    pub fn of_this_process() -> Option<Holds> {
        std::env::var(HOLDS).ok().map(Holds)
    }

    pub fn contain(&self, writer_id: WriterId) -> bool {
        let mut holds = self.0.split(':');
        holds.any(|hold| hold == writer_id.to_string())
    }
}
