//! Publish, examine, break, hold, release: written once, over [`Sys`].
//!
//! ```text
//!             linkat / O_EXCL                    unlink, then close
//!   absent ------------------> held -----------------------------------> absent
//!     ^                          | holder dies
//!     |   rename aside, unlink   v
//!     +------------------------ left behind
//! ```
//!
//! The source is `spec/protocol.md`; section names in comments are its headings. Two facts carry
//! the exclusion: linkat(2) and O_EXCL let one of many publish; and a breaker holds the kernel lock
//! exclusively and has checked again what it is about to break.
//!
//! | file | what it holds |
//! |---|---|
//! | `place` | the lock path of one data file, opened |
//! | `examine`, `evidence`, `unchanged` | a look at the lock file, and the facts that it gathers for the judge |
//! | `contention` | the holder that was in the way |
//! | `breaking`, `by_hand` | a break, for a contender and for a user |
//! | `aside`, `leftovers` | the names of files that breakers remove, and what a dead breaker leaves |
//! | `publish`, `private_name`, `unsettled` | a record at the lock path, and what takes it back |
//! | `acquire` | one attempt: examine, break, publish |
//! | `wait`, `pace` | the pauses between attempts |
//! | `hold`, `keepalive`, `schedule` | the lock while it is held, and its refreshes |
//! | `release`, `lent` | its end, and its end where other processes have its descriptor |

mod acquire;
mod aside;
mod breaking;
mod by_hand;
mod callback;
mod contention;
mod evidence;
mod examine;
mod hold;
pub(crate) mod keepalive;
mod leftovers;
mod lent;
pub(crate) mod pace;
mod place;
mod private_name;
mod publish;
mod release;
mod schedule;
mod unchanged;
mod unsettled;
pub(crate) mod wait;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::holder::Foreign;
use crate::sys::entry::is_removed;
use crate::sys::{IoError, Sys};

pub(crate) use acquire::AcquireOptions;
pub(crate) use by_hand::BreakOutcome;
pub(crate) use contention::Contention;
pub(crate) use evidence::Purpose;
pub(crate) use examine::{Examination, LockFileState};
pub(crate) use hold::{Acquired, Held};
pub(crate) use leftovers::remove_leftovers_at;
pub(crate) use lent::Patience;
pub use lent::Released;
pub(crate) use place::Place;
pub use place::lock_path_for;
pub(crate) use publish::PublishOptions;
#[cfg(rvlf_sim)]
pub(crate) use publish::READ_BACK_DELAY;

/// How long a deployed client may take from reading a stale record to unlinking what is at the path
/// by then, and how long a breaker may take to put back what it caught by mistake.
pub(crate) const SETTLE: Duration = Duration::from_millis(10);

/// A kernel lock without a live holder belongs to a breaker or an examiner, who need microseconds;
/// pauses of 1, 2, 4 .. 32 ms outlast them on a loaded machine. After the pauses the lock counts as
/// held. Also how long a publisher by exclusive create waits for an examiner.
pub(crate) const RETRY_PAUSES: [Duration; 6] = {
    let ms = Duration::from_millis;
    [ms(1), ms(2), ms(4), ms(8), ms(16), ms(32)]
};

/// How often one attempt may find that the lock has changed hands before it gives up: more often
/// than any schedule seen, few enough to end.
const ROUNDS: u32 = 32;

/// Why an operation was not done, apart from a holder that is in the way.
#[derive(Debug)]
pub(crate) enum Error {
    /// Something that is no RVLF lock lies at the lock path.
    Foreign {
        lock_path: PathBuf,
        found: Foreign,
    },
    /// The lock file is of a version that this program does not know.
    UnsupportedVersion {
        lock_path: PathBuf,
        found: u32,
    },
    Io(IoError),
}

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    fn foreign(lock_path: &Path, found: Foreign) -> Error {
        Error::Foreign {
            lock_path: lock_path.to_owned(),
            found,
        }
    }

    fn is_gone(&self) -> bool {
        matches!(self, Error::Io(error) if is_gone(&error.source))
    }
}

impl From<IoError> for Error {
    fn from(error: IoError) -> Error {
        Error::Io(error)
    }
}

/// Whether a call on an open file, or on its name, reports that the file was removed: by another host, or on
/// Windows, where a name may stay until the last handle of the removed file is closed. There the process that
/// asks may be the one that has it open.
fn is_gone(error: &io::Error) -> bool {
    is_removed(error) || error.kind() == io::ErrorKind::WouldBlock
}

/// Between 3/4 and 5/4 of `pause`, so that many contenders do not come all at once.
fn jittered<S: Sys>(sys: &S, pause: Duration) -> Duration {
    let random = sys.random().map_or(0x80, |[byte, ..]| byte);
    spread(random, pause)
}

fn spread(random: u8, pause: Duration) -> Duration {
    pause * (192 + u32::from(random) / 2) / 256
}

#[cfg(test)]
mod tests {
    use super::*;

    // Two contenders that see each other at work and sleep equally long meet again.
    #[test]
    fn pauses_are_spread_evenly_from_three_quarters_to_five() {
        let pause = Duration::from_millis(1024);
        let spread: Vec<_> = (0..=u8::MAX).map(|random| spread(random, pause)).collect();
        assert_eq!(spread.first(), Some(&Duration::from_millis(768)));
        assert_eq!(spread.get(0x80), Some(&pause));
        assert_eq!(spread.last(), Some(&Duration::from_millis(1276)));
        assert!(spread.is_sorted());
    }
}
