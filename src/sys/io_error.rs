//! [`IoError`]: a failed call to the operating system, with its operation and its path.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::escape::Escaped;

/// A failed call to the operating system: the operation, the file and the error.
///
/// `Display` names the path, the operation, the error of the operating system and a next step. Since
/// that error is in the text, it is not the [`source`](Error::source) of this one.
///
/// Converts into [`io::Error`] with the kind of its source, except for kinds that mean something
/// else in this crate: `WouldBlock`, `TimedOut`, `Interrupted` and `InvalidData` become `Other`.
///
/// ```
/// use rvlf::WriterLock;
///
/// let error = WriterLock::try_acquire("no-such-directory/store.rvf").unwrap_err();
/// let text = error.to_string();
/// assert!(text.starts_with("no-such-directory/store.rvf.lock: could not open the directory: "));
/// assert!(text.ends_with("; check the path, or create the directory first"));
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
        let IoError {
            operation,
            path,
            source,
        } = self;
        let (path, step) = (Escaped::path(path), next_step(operation, source));
        write!(f, "{path}: could not {operation}: {source}; {step}")
    }
}

impl Error for IoError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}

/// The same number on every Unix.
const EBADF: i32 = 9;

/// What an operation acts on, as far as the next step depends on it.
#[derive(Clone, Copy)]
enum Subject {
    Thread,
    Process,
    Random,
    Path,
    Directory,
    /// A name that is created in the directory.
    NewName,
    /// A name that is removed or changed.
    OldName,
    /// A file that another process has left, and that is in the way.
    Leftover,
    KernelLock,
    Sync,
    /// The file: stat, open, read and write.
    File,
}

impl Subject {
    fn of(operation: &str) -> Subject {
        let verb = operation.split(' ').next().unwrap_or_default();
        match (verb, operation) {
            ("start", _) => Subject::Thread,
            (_, "identify this process") => Subject::Process,
            ("draw", _) => Subject::Random,
            (_, "name the lock file" | "use this path") => Subject::Path,
            (_, "open the directory" | "identify the file system") => Subject::Directory,
            (_, "remove what a killed process left") => Subject::Leftover,
            ("create" | "make", _) => Subject::NewName,
            ("rename" | "unlink" | "put", _) => Subject::OldName,
            ("flock" | "lock", _) => Subject::KernelLock,
            ("sync", _) => Subject::Sync,
            _ => Subject::File,
        }
    }
}

/// What the user can do about `source`, with which `operation` failed.
///
/// It depends on both: EAGAIN of a thread is a limit of processes, EINVAL of fsync(2) is not the
/// fault of a file name, and EDQUOT of flock(2) does not go away with a deleted file.
fn next_step(operation: &str, source: &io::Error) -> &'static str {
    let (subject, kind) = (Subject::of(operation), kind_of(source));
    if let Some(step) = step_for_shortage(source) {
        return step;
    }
    match subject {
        Subject::Thread => step_for_thread(kind),
        Subject::Process => "check that /proc is mounted and that this process may read it",
        Subject::Random => "permit this process to call getrandom(2)",
        Subject::Leftover => "root, its owner, or the owner of the directory must remove it",
        Subject::Path => "name the file or the directory itself; from inside a directory: ../NAME",
        Subject::KernelLock => step_for_kernel_lock(source),
        _ if source.raw_os_error() == Some(EBADF) => {
            "other code of this process has closed the descriptor: find what closes a number that it \
             has not opened, or that it has closed before"
        }
        Subject::Sync => step_for_sync(kind),
        Subject::Directory | Subject::NewName | Subject::OldName | Subject::File => {
            step_for_file(subject, source)
        }
    }
}

/// What every call may lack.
fn step_for_shortage(error: &io::Error) -> Option<&'static str> {
    // They have no [`io::ErrorKind`] of their own; the numbers are those of every Unix.
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    match (error.raw_os_error(), error.kind()) {
        (Some(EMFILE), _) => Some("close files of this process, or raise its limit of open files"),
        (Some(ENFILE), _) => Some("close files, or raise the system's limit of open files"),
        (_, io::ErrorKind::OutOfMemory) => Some("free memory, then try again"),
        (_, io::ErrorKind::StaleNetworkFileHandle) => {
            Some("check the network mount, then try again")
        }
        _ => None,
    }
}

fn step_for_thread(kind: io::ErrorKind) -> &'static str {
    match kind {
        // clone(2), EINVAL
        io::ErrorKind::InvalidInput => {
            "this process has called unshare(CLONE_NEWPID), after which the kernel refuses threads: \
             acquire the lock before that call, or in a child process"
        }
        _ => "end processes or threads, or raise their limit",
    }
}

fn step_for_kernel_lock(source: &io::Error) -> &'static str {
    match kind_of(source) {
        // The descriptor is open, but not for writing. flock(2), NFS
        _ if source.raw_os_error() == Some(EBADF) => {
            "act as a user who may write to the file: NFS grants an exclusive lock to no other"
        }
        io::ErrorKind::Unsupported => {
            "use an operating system and a file system that support flock(2)"
        }
        io::ErrorKind::PermissionDenied => "permit flock(2) in the security policy of this process",
        _ => "try again; if the problem persists, check that the file system supports flock(2)",
    }
}

fn step_for_sync(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free space on its file system"
        }
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => {
            "its file system cannot sync it: use another one, or acquire without durability"
        }
        _ => "check the device of its file system, then try again",
    }
}

fn step_for_file(subject: Subject, source: &io::Error) -> &'static str {
    const EPERM: i32 = 1;
    match (kind_of(source), subject) {
        (io::ErrorKind::NotFound, Subject::Directory) => {
            "check the path, or create the directory first"
        }
        (io::ErrorKind::NotFound, _) => "check that its directory still exists, then try again",
        (io::ErrorKind::NotADirectory, _) => "its parent must be a directory",
        // EACCES: the directory's mode. EPERM: the sticky bit, or an attribute. unlink(2)
        (io::ErrorKind::PermissionDenied, Subject::OldName)
            if source.raw_os_error() == Some(EPERM) =>
        {
            "in a sticky directory (/tmp) only root and the owner of the file or of the directory may \
             do this, so try again as one of them; otherwise check the attributes of both (lsattr)"
        }
        (io::ErrorKind::PermissionDenied, Subject::File) => {
            "check the permissions of the file and of its directory, and the security policy of \
             this process"
        }
        (io::ErrorKind::PermissionDenied, _) => {
            "check the permissions of its directory, and the security policy of this process"
        }
        (io::ErrorKind::ReadOnlyFilesystem, _) => {
            "the file system is read-only: mount it read-write, or choose another directory"
        }
        (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded, _) => {
            "free space, or inodes (df -i), on its file system"
        }
        (io::ErrorKind::FileTooLarge, _) => "raise the limit of file sizes (ulimit -f)",
        // rename(2), unlink(2): the name is a mount point.
        (io::ErrorKind::ResourceBusy, Subject::OldName | Subject::NewName) => {
            "unmount the lock file, and mount its directory in its place"
        }
        _ if is_name_too_long(source) => "choose another file name",
        // open(2), EINVAL: the file system does not accept the name.
        (io::ErrorKind::InvalidInput, Subject::NewName) => "choose another file name",
        (io::ErrorKind::Unsupported, _) => {
            "choose another file system, or permit this call in the security policy of this process"
        }
        _ => "try again; if the problem persists, check the file system",
    }
}

/// Rust 1.85 has no kind for EOPNOTSUPP.
fn kind_of(error: &io::Error) -> io::ErrorKind {
    #[cfg(unix)]
    if error.raw_os_error() == Some(nix::libc::EOPNOTSUPP) {
        return io::ErrorKind::Unsupported;
    }
    error.kind()
}

/// Its [`io::ErrorKind`] is newer than this crate's Rust version.
fn is_name_too_long(error: &io::Error) -> bool {
    #[cfg(unix)]
    return error.raw_os_error() == Some(nix::libc::ENAMETOOLONG);
    #[cfg(not(unix))]
    {
        /// ERROR_INVALID_NAME and ERROR_FILENAME_EXCED_RANGE of Windows.
        const REFUSED: [i32; 2] = [123, 206];
        error
            .raw_os_error()
            .is_some_and(|code| REFUSED.contains(&code))
    }
}

/// Whether a call on an open file reports that it is open no more: other code has closed the descriptor
/// (EBADF), or, on Windows, the volume was taken away.
pub(crate) fn is_closed(error: &io::Error) -> bool {
    const UNIX: &[i32] = &[EBADF];
    /// ERROR_INVALID_HANDLE, ERROR_FILE_INVALID, ERROR_NO_SUCH_DEVICE, ERROR_DEVICE_REMOVED.
    const WINDOWS: &[i32] = &[6, 1006, 433, 1617];
    let codes = if cfg!(windows) { WINDOWS } else { UNIX };
    error
        .raw_os_error()
        .is_some_and(|code| codes.contains(&code))
}

/// Whether a read failed because another process has locked the range (LockFileEx, on Windows).
pub(crate) fn is_locked(error: &io::Error) -> bool {
    const ERROR_LOCK_VIOLATION: i32 = 33;
    cfg!(windows) && error.raw_os_error() == Some(ERROR_LOCK_VIOLATION)
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

#[cfg(all(test, unix))]
mod tests {
    use nix::errno::Errno;

    use super::*;

    fn step(operation: &'static str, errno: Errno) -> String {
        let error = IoError::new(operation, Path::new("d.lock"), errno.into());
        let text = error.to_string();
        let cause = std::io::Error::from(errno);
        let prefix = format!("d.lock: could not {operation}: {cause}; ");
        text.strip_prefix(&prefix).unwrap_or(&text).to_owned()
    }

    // One number, several meanings: advice by the number alone sends the user of a machine without
    // a free process to the file system.
    #[test]
    fn the_next_step_goes_by_the_operation_and_its_error() {
        let expected = [
            ("start a thread", Errno::EAGAIN, "end processes or threads"),
            (
                "start the keepalive thread",
                Errno::EAGAIN,
                "end processes or threads",
            ),
            ("start a thread", Errno::EINVAL, "unshare(CLONE_NEWPID)"),
            ("start a thread", Errno::ENOMEM, "free memory"),
            ("identify this process", Errno::ENOENT, "/proc"),
            ("identify this process", Errno::ENOSYS, "/proc"),
            ("draw a writer id", Errno::ENOSYS, "getrandom(2)"),
            ("draw a temporary name", Errno::EPERM, "getrandom(2)"),
            ("name the lock file", Errno::EINVAL, "../NAME"),
            (
                "open the directory",
                Errno::ENOENT,
                "create the directory first",
            ),
            ("open the directory", Errno::ENOTDIR, "must be a directory"),
            (
                "open the directory",
                Errno::EACCES,
                "permissions of its directory",
            ),
            (
                "open the directory",
                Errno::EMFILE,
                "close files of this process",
            ),
            (
                "open the directory",
                Errno::ENFILE,
                "the system's limit of open files",
            ),
            (
                "identify the file system",
                Errno::ENOSYS,
                "choose another file system",
            ),
            (
                "create the lock file",
                Errno::ENOENT,
                "its directory still exists",
            ),
            (
                "create the lock file",
                Errno::EPERM,
                "permissions of its directory",
            ),
            (
                "create the lock file",
                Errno::EACCES,
                "permissions of its directory",
            ),
            (
                "create the lock file",
                Errno::EINVAL,
                "choose another file name",
            ),
            (
                "create the lock file",
                Errno::ENAMETOOLONG,
                "choose another file name",
            ),
            ("create the lock file", Errno::EROFS, "mount it read-write"),
            ("create the lock file", Errno::EDQUOT, "free space"),
            ("create the lock file", Errno::ENOSPC, "inodes"),
            ("write the record", Errno::EFBIG, "ulimit -f"),
            (
                "unlink the lock file",
                Errno::EBUSY,
                "unmount the lock file",
            ),
            (
                "create the lock file",
                Errno::ENOSYS,
                "choose another file system",
            ),
            (
                "remove what a killed process left",
                Errno::EPERM,
                "its owner, or the owner of the directory must remove it",
            ),
            (
                "rename the lock file aside",
                Errno::EPERM,
                "in a sticky directory",
            ),
            (
                "unlink the lock file",
                Errno::EPERM,
                "in a sticky directory",
            ),
            (
                "unlink the lock file",
                Errno::EACCES,
                "permissions of its directory",
            ),
            ("open", Errno::EINVAL, "try again"),
            ("open", Errno::EACCES, "permissions of the file"),
            ("stat", Errno::EIO, "check the file system"),
            ("read", Errno::ESTALE, "check the network mount"),
            ("write the record", Errno::ENOSPC, "free space"),
            ("refresh the record", Errno::EDQUOT, "free space"),
            (
                "stat",
                Errno::EBADF,
                "other code of this process has closed",
            ),
            (
                "sync the record",
                Errno::EBADF,
                "other code of this process",
            ),
            ("flock", Errno::EOPNOTSUPP, "support flock(2)"),
            (
                "flock",
                Errno::EDQUOT,
                "check that the file system supports flock(2)",
            ),
            ("flock", Errno::EACCES, "security policy"),
            ("flock", Errno::EBADF, "a user who may write to the file"),
            (
                "lock the new table",
                Errno::EIO,
                "check that the file system supports flock(2)",
            ),
            ("sync the record", Errno::EINVAL, "without durability"),
            ("sync the directory", Errno::ENOSYS, "without durability"),
            ("sync the lock file", Errno::ENOSPC, "free space"),
            ("sync the lock file", Errno::EIO, "check the device"),
        ];
        for (operation, errno, part) in expected {
            let step = step(operation, errno);
            assert!(step.contains(part), "{operation}, {errno}: {step}");
        }
    }

    // flock(2) is named where flock failed, and a name where a name was refused.
    #[test]
    fn no_step_speaks_of_what_the_operation_did_not_do() {
        let operations = [
            "start a thread",
            "identify this process",
            "draw a writer id",
            "open the directory",
            "create the lock file",
            "open",
            "read",
            "sync the record",
            "flock",
        ];
        for operation in operations {
            for number in 1..=133 {
                let step = step(operation, Errno::from_raw(number));
                let names = [
                    ("flock(2)", operation == "flock"),
                    (
                        "file name",
                        matches!(
                            operation,
                            "create the lock file" | "open" | "open the directory" | "read"
                        ),
                    ),
                    (
                        "free space",
                        matches!(
                            operation,
                            "create the lock file"
                                | "open"
                                | "open the directory"
                                | "read"
                                | "sync the record"
                        ),
                    ),
                    ("threads", operation == "start a thread"),
                ];
                for (word, permitted) in names {
                    assert!(
                        permitted || !step.contains(word),
                        "{operation}, {number}: {step}"
                    );
                }
            }
        }
    }
}
