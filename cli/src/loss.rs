//! The loss of a lock, as the process that runs a command under the lock has to act on it.

use std::time::{Duration, Instant};

use rvlf::Lost;

/// The time between SIGTERM and SIGKILL.
pub const GRACE: Duration = Duration::from_secs(5);

/// How long the release of a lost lock may take: its file system may have stopped answering.
pub const RELEASE: Duration = Duration::from_secs(5);

/// A lock that is lost, or that will be at a certain moment.
#[derive(Debug)]
pub struct Loss {
    /// For the user, with the name of the lock.
    pub message: String,
    /// When what has run under the lock gets SIGKILL.
    pub kill_at: Instant,
}

impl From<&Lost> for Loss {
    fn from(lost: &Lost) -> Loss {
        Loss {
            message: lost.to_string(),
            kill_at: Instant::now() + GRACE,
        }
    }
}
