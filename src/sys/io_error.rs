//! [`IoError`]: a failed call to the operating system, with its operation and its path.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A failed call to the operating system: the operation, the file and the error.
///
/// `Display` names the path, the operation and a next step; [`source`](Error::source) is the error
/// of the operating system.
///
/// Converts into [`io::Error`] with the kind of its source, except for kinds that mean something
/// else in this crate: `WouldBlock`, `TimedOut`, `Interrupted` and `InvalidData` become `Other`.
///
/// ```
/// use rvlf::WriterLock;
///
/// let error = WriterLock::try_acquire("no-such-directory/store.rvf").unwrap_err();
/// let text = error.to_string();
/// assert!(text.starts_with("no-such-directory/store.rvf.lock: could not open the directory"));
/// assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::NotFound);
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct IoError {
    /// The operation, as the verb phrase of a sentence: "open the directory".
    pub operation: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The error of the operating system.
    pub source: io::Error,
}

impl IoError {
    pub(crate) fn new(operation: &'static str, path: &Path, source: io::Error) -> IoError {
        IoError {
            operation,
            path: path.to_owned(),
            source,
        }
    }
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, step) = (self.path.display(), next_step(&self.source));
        write!(f, "{path}: could not {}; {step}", self.operation)
    }
}

impl Error for IoError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// What the user can do about `error`.
fn next_step(error: &io::Error) -> &'static str {
    // They have no [`io::ErrorKind`] of their own; the numbers are those of every Unix.
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    if let Some(ENFILE | EMFILE) = error.raw_os_error() {
        return "close files, or raise the limit of open files";
    }
    match error.kind() {
        io::ErrorKind::NotFound => "create the directory first",
        io::ErrorKind::NotADirectory => "its parent must be a directory",
        io::ErrorKind::PermissionDenied => "check the permissions of its directory",
        io::ErrorKind::ReadOnlyFilesystem => {
            "the file system is read-only: mount it read-write, or choose another directory"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free space on its file system"
        }
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename => "choose another file name",
        io::ErrorKind::Unsupported => "use a file system that supports flock(2)",
        io::ErrorKind::StaleNetworkFileHandle => "check the network mount, then try again",
        _ => "try again; if the problem persists, check the file system",
    }
}

/// Adds to a failed call its operation and its path.
pub(crate) trait Context<T> {
    fn context(self, operation: &'static str, path: &Path) -> Result<T, IoError>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, operation: &'static str, path: &Path) -> Result<T, IoError> {
        self.map_err(|source| IoError::new(operation, path, source))
    }
}
