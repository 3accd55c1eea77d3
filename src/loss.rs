//! Losing a lock: a result of its own, not an I/O error.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::escape::Escaped;
use crate::record::Record;

/// How a lock was lost.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("store.rvf");
/// use rvlf::LossReason;
///
/// let lock = rvlf::WriterLock::try_acquire(&path)?;
/// std::fs::remove_file(lock.lock_path())?;
/// match lock.check().expect_err("the lock file is gone").reason {
///     LossReason::Removed => println!("a person or a program removed the lock file"),
///     reason => println!("{reason}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LossReason {
    /// The lock file is gone.
    Removed,
    /// Another lock file is in its place; its record, if it has a valid one.
    Replaced(Option<Box<Record>>),
    /// On a file system that is not local, no refresh succeeded for so long (150 s by default) that
    /// other hosts may judge this holder dead.
    RefreshFailed,
    /// This is a forked child; its parent holds the lock.
    Forked,
    /// Other code in this process closed the lock file's descriptor, which freed the kernel lock; or that
    /// of its directory, which cannot be opened anew by the path.
    ///
    /// Also reported for a lock that a thread with a descriptor table of its own (unshare(2),
    /// `CLONE_FILES`) has acquired: the thread that refreshes does not have its descriptor.
    DescriptorClosed,
    /// The path leads to another directory now, in which contenders by this path do not see this
    /// lock. The lock file itself is intact in its own directory, which was renamed or mounted over:
    /// unlike after every other loss it is refreshed until the release, which removes it.
    ///
    /// Also reported after chroot(2) in a process that has acquired the lock by an absolute path, if the
    /// path leads to a directory below the new root as well: acquire after chroot(2).
    Moved,
    /// A release of this lock failed after it had closed the descriptor, which the lock has lent
    /// ([`HoldError::GivenUp`](crate::HoldError::GivenUp)).
    GivenUp,
}

impl LossReason {
    /// Whether nothing at the lock path is the holder's any more.
    pub(crate) fn is_final(&self) -> bool {
        !matches!(self, LossReason::Moved)
    }
}

impl fmt::Display for LossReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LossReason::Removed => f.write_str("the lock file was removed"),
            LossReason::Replaced(Some(record)) => write!(
                f,
                "pid {} on {} holds it now (writer id {})",
                record.pid(),
                record.hostname(),
                record.writer_id()
            ),
            LossReason::Replaced(None) => f.write_str("another file replaced the lock file"),
            LossReason::RefreshFailed => f.write_str("no refresh succeeded for too long"),
            LossReason::Forked => {
                f.write_str("the parent process, which forked this one, holds it")
            }
            LossReason::DescriptorClosed => {
                f.write_str("other code in this process closed a descriptor of the lock")
            }
            LossReason::Moved => f.write_str(
                "its path leads to another directory now, where other processes do not see it",
            ),
            LossReason::GivenUp => f.write_str("a release that failed has given it up"),
        }
    }
}

/// This process does not hold the lock any more: it must not commit any more data.
///
/// Example: [`WriterLock::check`](crate::WriterLock::check). Converts into an [`std::io::Error`] of
/// the kind `Other`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// The lock file.
    pub lock_path: PathBuf,
    /// How it was lost.
    pub reason: LossReason,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = Escaped::path(&self.lock_path);
        write!(
            f,
            "{path}: lock lost: {}; stop writing and acquire it again",
            self.reason
        )
    }
}

impl Error for Lost {}

/// Called when a hold finds that it has lost its lock.
pub(crate) type OnLost = Arc<dyn Fn(&Lost) + Send + Sync>;
