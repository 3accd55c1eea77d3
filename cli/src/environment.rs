//! What a command finds in its environment of the lock under which it runs.

use std::ffi::OsString;
use std::process::Command;

use rvlf::{WriterId, WriterLock};

/// The environment variable that lists the writer ids of all holds under which a command runs.
const HOLDS: &str = "RVLF_HOLDS";

/// The environment variable with the generation of a hold in an object store.
const GENERATION: &str = "RVLF_GENERATION";

/// What a command is to find of the lock under which it runs.
pub struct Environment {
    lock_path: OsString,
    writer_id: WriterId,
    generation: Option<u64>,
}

impl Environment {
    pub fn of_file(lock: &WriterLock) -> Environment {
        let lock_path = std::path::absolute(lock.lock_path());
        let lock_path = lock_path.unwrap_or_else(|_| lock.lock_path().to_owned());
        Environment {
            lock_path: lock_path.into(),
            writer_id: lock.writer_id(),
            generation: None,
        }
    }

    /// The path of the lock object is its URL.
    #[cfg(feature = "object-store")]
    pub fn of_object(lock: &rvlf_object_store::StoreLock) -> Environment {
        Environment {
            lock_path: lock.name().into(),
            writer_id: lock.writer_id(),
            generation: Some(lock.generation()),
        }
    }

    /// Sets the variables for `command`. One of an outer hold that this hold does not have is removed: the
    /// variables are of one hold.
    pub fn set(&self, command: &mut Command) {
        command
            .env("RVLF_LOCK_PATH", &self.lock_path)
            .env("RVLF_WRITER_ID", self.writer_id.to_string())
            .env(HOLDS, holds_with(self.writer_id));
        match self.generation {
            Some(generation) => command.env(GENERATION, generation.to_string()),
            None => command.env_remove(GENERATION),
        };
    }
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
