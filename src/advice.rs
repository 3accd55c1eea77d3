//! The next step for somebody who reads an error.

use std::fmt;
use std::io;
use std::path::Path;

use crate::holder::Holder;

/// For somebody who was refused.
pub(crate) fn for_refused(holder: &Holder) -> &'static str {
    if holder.is_this_process() {
        "release it there first"
    } else {
        "wait for it, or ask `rvlf status`"
    }
}

/// Says of an operation of the system that it failed, and what to do.
pub(crate) fn write_failed(
    f: &mut fmt::Formatter<'_>,
    path: &Path,
    operation: &str,
    source: &io::Error,
) -> fmt::Result {
    let (path, advice) = (path.display(), for_failed(source));
    write!(f, "{path}: could not {operation}; {advice}")
}

fn for_failed(error: &io::Error) -> &'static str {
    // They have no [`io::ErrorKind`] of their own; the numbers are those of every Unix.
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    if let Some(ENFILE | EMFILE) = error.raw_os_error() {
        return "close files, or raise the limit of open files";
    }
    match error.kind() {
        io::ErrorKind::NotFound => "create the directory first",
        io::ErrorKind::NotADirectory => "its parent must be a directory",
        io::ErrorKind::PermissionDenied => "get permission for its directory",
        io::ErrorKind::ReadOnlyFilesystem => "a writer needs a file system that can be written",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space there",
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename => "name another data file",
        io::ErrorKind::Unsupported => "use a file system that has flock(2)",
        io::ErrorKind::StaleNetworkFileHandle => "look at the network mount, then try again",
        _ => "try again; if it stays so, look at the file system",
    }
}
