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
    next_step: &'static str,
}

impl IoError {
    pub(crate) fn new(operation: Operation, path: &Path, source: io::Error) -> IoError {
        IoError {
            operation: operation.phrase(),
            path: path.to_owned(),
            next_step: operation.next_step(&source, System::HERE),
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
            next_step,
        } = self;
        let path = Escaped::path(path);
        write!(f, "{path}: could not {operation}: {source}; {next_step}")
    }
}

impl Error for IoError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}

/// Whose error numbers, calls and limits a next step goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum System {
    Linux,
    /// Without /proc.
    OtherUnix,
    Windows,
}

impl System {
    const HERE: System = if cfg!(windows) {
        System::Windows
    } else if cfg!(any(target_os = "linux", target_os = "android")) {
        System::Linux
    } else {
        System::OtherUnix
    };

    fn is_windows(self) -> bool {
        self == System::Windows
    }
}

/// The same number on every Unix.
const EBADF: i32 = 9;

/// What was attempted, as the verb phrase of a sentence ("open the directory"), by what it acts on: the
/// next step depends on that.
#[derive(Clone, Copy)]
pub(crate) enum Operation {
    Thread(&'static str),
    Process(&'static str),
    Random(&'static str),
    Path(&'static str),
    Directory(&'static str),
    /// What is where a directory should be.
    #[cfg_attr(
        not(feature = "table"),
        allow(dead_code, reason = "only a table makes directories")
    )]
    InPlaceOfDirectory(&'static str),
    /// A name that is created in the directory.
    NewName(&'static str),
    /// A name that is removed or changed.
    OldName(&'static str),
    KernelLock(&'static str),
    Sync(&'static str),
    /// The file: stat, open, read and write.
    File(&'static str),
    /// The user, the group and the mode of a file.
    #[cfg_attr(
        not(feature = "table"),
        allow(dead_code, reason = "only a table keeps those of another file")
    )]
    Access(&'static str),
}

impl Operation {
    fn phrase(self) -> &'static str {
        match self {
            Operation::Thread(phrase)
            | Operation::Process(phrase)
            | Operation::Random(phrase)
            | Operation::Path(phrase)
            | Operation::Directory(phrase)
            | Operation::InPlaceOfDirectory(phrase)
            | Operation::NewName(phrase)
            | Operation::OldName(phrase)
            | Operation::KernelLock(phrase)
            | Operation::Sync(phrase)
            | Operation::File(phrase)
            | Operation::Access(phrase) => phrase,
        }
    }

    /// What the user can do about `error`, with which the operation failed.
    ///
    /// It depends on both: EAGAIN of a thread is a limit of processes, EINVAL of fsync(2) is not the
    /// fault of a file name, and EDQUOT of flock(2) does not go away with a deleted file.
    fn next_step(self, error: &io::Error, system: System) -> &'static str {
        if let Some(step) = step_for_shortage(error, system) {
            return step;
        }
        match self {
            Operation::Thread(_) => step_for_thread(error, system),
            Operation::Process(_) if system == System::Linux => {
                "check that /proc is mounted and that this process may read it"
            }
            Operation::Process(_) => {
                "permit this process to query processes, in its security policy"
            }
            Operation::Random(_) if system == System::Linux => {
                "permit this process to call getrandom(2)"
            }
            Operation::Random(_) => "permit this process to draw random numbers from the system",
            Operation::Path(_) => {
                "name the file or the directory itself; from inside a directory: ../NAME"
            }
            Operation::KernelLock(_) => step_for_kernel_lock(error, system),
            _ if is_closed_on(error, system) => step_for_closed(system),
            Operation::Sync(_) => step_for_sync(error),
            Operation::Directory(_)
            | Operation::InPlaceOfDirectory(_)
            | Operation::NewName(_)
            | Operation::OldName(_)
            | Operation::File(_)
            | Operation::Access(_) => step_for_file(self, error, system),
        }
    }
}

/// What every call may lack.
fn step_for_shortage(error: &io::Error, system: System) -> Option<&'static str> {
    // They have no [`io::ErrorKind`] of their own. The numbers of Unix are those of every Unix; on Windows they
    // are errors of a disk.
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ERROR_TOO_MANY_OPEN_FILES: i32 = 4;
    match (error.raw_os_error(), error.kind()) {
        (Some(ERROR_TOO_MANY_OPEN_FILES), _) if system.is_windows() => {
            Some("close files of this process")
        }
        (Some(EMFILE), _) if !system.is_windows() => {
            Some("close files of this process, or raise its limit of open files")
        }
        (Some(ENFILE), _) if !system.is_windows() => {
            Some("close files, or raise the system's limit of open files")
        }
        (_, io::ErrorKind::OutOfMemory) => Some("free memory, then try again"),
        (_, io::ErrorKind::StaleNetworkFileHandle) => {
            Some("check the network mount, then try again")
        }
        _ => None,
    }
}

fn step_for_closed(system: System) -> &'static str {
    match system {
        System::Windows => {
            "check that its volume is still there, and that no other code of this process closes \
             handles that it has not opened"
        }
        System::Linux | System::OtherUnix => {
            "other code of this process has closed the descriptor: find what closes a number \
             that it has not opened, or that it has closed before"
        }
    }
}

fn step_for_thread(error: &io::Error, system: System) -> &'static str {
    match error.kind() {
        // clone(2), EINVAL
        io::ErrorKind::InvalidInput if system == System::Linux => {
            "this process has called unshare(CLONE_NEWPID), after which the kernel refuses threads: \
             acquire the lock before that call, or in a child process"
        }
        _ => "end processes or threads, or raise their limit",
    }
}

fn step_for_kernel_lock(error: &io::Error, system: System) -> &'static str {
    match kind_of(error) {
        // The kernel lock is an open for deletion. DELETE is refused to a user who may only read.
        io::ErrorKind::PermissionDenied if system.is_windows() => {
            "this user may not delete the lock file: act as its owner or as an administrator"
        }
        _ if system.is_windows() => "try again; if the problem persists, check the file system",
        // The descriptor is open, but not for writing. flock(2), NFS
        _ if error.raw_os_error() == Some(EBADF) => {
            "act as a user who may write to the file: NFS grants an exclusive lock to no other"
        }
        io::ErrorKind::Unsupported => {
            "use an operating system and a file system that support flock(2)"
        }
        io::ErrorKind::PermissionDenied => "permit flock(2) in the security policy of this process",
        _ => "try again; if the problem persists, check that the file system supports flock(2)",
    }
}

fn step_for_sync(error: &io::Error) -> &'static str {
    match kind_of(error) {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free space on its file system"
        }
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => {
            "its file system cannot sync it: use another one, or acquire without durability"
        }
        _ => "check the device of its file system, then try again",
    }
}

fn step_for_file(operation: Operation, error: &io::Error, system: System) -> &'static str {
    const EPERM: i32 = 1;
    match (kind_of(error), operation) {
        (io::ErrorKind::NotFound, Operation::Directory(_)) => {
            "check the path, or create the directory first"
        }
        (io::ErrorKind::NotFound, Operation::InPlaceOfDirectory(_)) => {
            "it is a link that leads nowhere: make the directory that it names, or remove the link"
        }
        (kind, Operation::InPlaceOfDirectory(_)) if kind != io::ErrorKind::PermissionDenied => {
            "move it away, or choose another path"
        }
        (io::ErrorKind::NotFound, _) => "check that its directory still exists, then try again",
        (io::ErrorKind::NotADirectory, _) => "its parent must be a directory",
        (io::ErrorKind::IsADirectory, _) => "move the directory of this name away",
        // EACCES: the directory's mode. EPERM: the sticky bit, or an attribute. unlink(2)
        (io::ErrorKind::PermissionDenied, Operation::OldName(_))
            if error.raw_os_error() == Some(EPERM) =>
        {
            "in a sticky directory (/tmp) only root and the owner of the file or of the directory may \
             do this, so try again as one of them; otherwise check the attributes of both (lsattr, \
             or ls -lo)"
        }
        // chown(2): only a member of the group, or root.
        (io::ErrorKind::PermissionDenied, Operation::Access(_)) => {
            "join that group, or change the group of the file (chgrp) to one that its users share"
        }
        (io::ErrorKind::PermissionDenied, Operation::File(_)) => {
            "check the permissions of the file and of its directory, and the security policy of \
             this process"
        }
        (io::ErrorKind::PermissionDenied, _) => {
            "check the permissions of its directory, and the security policy of this process"
        }
        (io::ErrorKind::ReadOnlyFilesystem, _) => {
            "the file system is read-only: mount it read-write, or choose another directory"
        }
        (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded, _) if system.is_windows() => {
            "free space on its file system"
        }
        (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded, _) => {
            "free space, or inodes (df -i), on its file system"
        }
        (io::ErrorKind::FileTooLarge, _) if !system.is_windows() => {
            "raise the limit of file sizes (ulimit -f)"
        }
        // rename(2), unlink(2): the name is a mount point.
        (io::ErrorKind::ResourceBusy, Operation::OldName(_) | Operation::NewName(_)) => {
            "unmount the lock file, and mount its directory in its place"
        }
        _ if is_name_too_long(error) => {
            "choose a shorter name, or a path from a directory that is nearer to the file"
        }
        // open(2), EINVAL: the file system does not accept the name.
        (io::ErrorKind::InvalidInput, Operation::NewName(_)) => "choose another file name",
        (io::ErrorKind::Unsupported, _) => {
            "choose another file system, or permit this call in the security policy of this process"
        }
        _ => "try again; if the problem persists, check the file system",
    }
}

/// The kind of the error, "not supported" included: Rust 1.85 has none for EOPNOTSUPP, and no version has one
/// for ENOTSUP, which is another number on macOS, NetBSD and OpenBSD, and the one that their file systems
/// answer.
pub(crate) fn kind_of(error: &io::Error) -> io::ErrorKind {
    #[cfg(unix)]
    {
        const NOT_SUPPORTED: [i32; 2] = [nix::libc::ENOTSUP, nix::libc::EOPNOTSUPP];
        let code = error.raw_os_error();
        if code.is_some_and(|code| NOT_SUPPORTED.contains(&code)) {
            return io::ErrorKind::Unsupported;
        }
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
    is_closed_on(error, System::HERE)
}

fn is_closed_on(error: &io::Error, system: System) -> bool {
    const UNIX: &[i32] = &[EBADF];
    /// ERROR_INVALID_HANDLE, ERROR_FILE_INVALID, ERROR_NO_SUCH_DEVICE, ERROR_DEVICE_REMOVED, ERROR_DEV_NOT_EXIST,
    /// ERROR_DEVICE_NOT_CONNECTED. Not ERROR_NOT_READY: the medium may come back.
    const WINDOWS: &[i32] = &[6, 1006, 433, 1617, 55, 1167];
    let codes = match system {
        System::Windows => WINDOWS,
        System::Linux | System::OtherUnix => UNIX,
    };
    error
        .raw_os_error()
        .is_some_and(|code| codes.contains(&code))
}

/// Whether a read failed because another process has locked the range (LockFileEx, on Windows).
pub(crate) fn is_locked(error: &io::Error) -> bool {
    const ERROR_LOCK_VIOLATION: i32 = 33;
    cfg!(windows) && error.raw_os_error() == Some(ERROR_LOCK_VIOLATION)
}

/// Whether a read failed as any other one that a disk or a server cannot do.
pub(crate) fn is_io_failure(error: &io::Error) -> bool {
    /// The same number on every Unix.
    const EIO: i32 = 5;
    cfg!(unix) && error.raw_os_error() == Some(EIO)
}

/// Adds to a failed call its operation and its path.
pub(crate) trait Context<T> {
    fn context(self, operation: Operation, path: &Path) -> Result<T, IoError>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, operation: Operation, path: &Path) -> Result<T, IoError> {
        self.map_err(|source| IoError::new(operation, path, source))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use nix::errno::Errno;

    use super::*;

    // The numbers of Unix are other errors on Windows: 23 is ERROR_CRC, and the user of a disk that fails was to
    // raise a limit. A user who may not delete a dead lock was to permit flock(2) in a security policy.
    #[test]
    fn no_step_on_windows_speaks_of_unix() {
        let operations = [
            Operation::Thread("start a thread"),
            Operation::Process("identify this process"),
            Operation::Random("draw a writer id"),
            Operation::Directory("open the directory"),
            Operation::NewName("create the lock file"),
            Operation::File("open"),
            Operation::Sync("sync the record"),
            Operation::KernelLock("take the kernel lock"),
        ];
        let kinds = [
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::StorageFull,
            io::ErrorKind::QuotaExceeded,
            io::ErrorKind::FileTooLarge,
            io::ErrorKind::InvalidInput,
            io::ErrorKind::Unsupported,
            io::ErrorKind::NotFound,
        ];
        let foreign = ["(2)", "/proc", "df -i", "ulimit", "lsattr", "CLONE_NEWPID"];
        for operation in operations {
            for kind in kinds {
                let step = operation.next_step(&kind.into(), System::Windows);
                let found = foreign.iter().find(|word| step.contains(*word));
                assert_eq!(found, None, "{}, {kind}: {step}", operation.phrase());
            }
            for (code, word) in [
                (23, "limit"),
                (24, "limit"),
                (9, "has closed the descriptor"),
            ] {
                let error = io::Error::from_raw_os_error(code);
                let step = operation.next_step(&error, System::Windows);
                let is_thread = matches!(operation, Operation::Thread(_));
                assert!(is_thread || !step.contains(word), "{code}: {step}");
            }
        }
        let step =
            |operation: Operation, error: io::Error| operation.next_step(&error, System::Windows);
        let denied = io::ErrorKind::PermissionDenied.into();
        let kernel_lock = step(Operation::KernelLock("take the kernel lock"), denied);
        assert!(
            kernel_lock.contains("may not delete the lock file"),
            "{kernel_lock}"
        );
        let too_many = step(Operation::File("open"), io::Error::from_raw_os_error(4));
        assert_eq!(too_many, "close files of this process");
        let pulled = step(
            Operation::File("write the record"),
            io::Error::from_raw_os_error(1167),
        );
        assert!(pulled.contains("its volume"), "{pulled}");
    }

    // /proc is of Linux, and getrandom(2) is not what macOS has.
    #[test]
    fn no_step_on_other_unixes_speaks_of_linux_alone() {
        for operation in [
            Operation::Thread("start a thread"),
            Operation::Process("identify this process"),
            Operation::Random("draw a writer id"),
        ] {
            for number in 1..=133 {
                let error = io::Error::from_raw_os_error(number);
                let step = operation.next_step(&error, System::OtherUnix);
                let foreign = ["/proc", "getrandom", "CLONE_NEWPID"];
                assert!(
                    !foreign.iter().any(|word| step.contains(word)),
                    "{number}: {step}"
                );
            }
        }
    }

    fn step(operation: Operation, errno: Errno) -> String {
        let error = IoError::new(operation, Path::new("d.lock"), errno.into());
        let text = error.to_string();
        let cause = std::io::Error::from(errno);
        let prefix = format!("d.lock: could not {}: {cause}; ", operation.phrase());
        text.strip_prefix(&prefix).unwrap_or(&text).to_owned()
    }

    // One number, several meanings: advice by the number alone sends the user of a machine without
    // a free process to the file system.
    #[test]
    fn the_next_step_goes_by_the_operation_and_its_error() {
        let expected: [(Operation, &[(Errno, &str)]); 12] = [
            (
                Operation::Thread("start a thread"),
                &[
                    (Errno::EAGAIN, "end processes or threads"),
                    (Errno::EINVAL, "unshare(CLONE_NEWPID)"),
                    (Errno::ENOMEM, "free memory"),
                ],
            ),
            (
                Operation::Process("identify this process"),
                &[(Errno::ENOENT, "/proc"), (Errno::ENOSYS, "/proc")],
            ),
            (
                Operation::Random("draw a writer id"),
                &[
                    (Errno::ENOSYS, "getrandom(2)"),
                    (Errno::EPERM, "getrandom(2)"),
                ],
            ),
            (
                Operation::Path("name the lock file"),
                &[(Errno::EINVAL, "../NAME")],
            ),
            (
                Operation::Directory("open the directory"),
                &[
                    (Errno::ENOENT, "create the directory first"),
                    (Errno::ENOTDIR, "must be a directory"),
                    (Errno::EACCES, "permissions of its directory"),
                    (Errno::EMFILE, "close files of this process"),
                    (Errno::ENFILE, "the system's limit of open files"),
                    (Errno::ENOSYS, "choose another file system"),
                ],
            ),
            (
                Operation::InPlaceOfDirectory("open the directory"),
                &[
                    (Errno::ENOENT, "make the directory that it names"),
                    (Errno::ENOTDIR, "move it away"),
                    (Errno::ELOOP, "move it away"),
                    (Errno::EACCES, "check the permissions"),
                ],
            ),
            (
                Operation::Access("keep the permissions"),
                &[
                    (Errno::EPERM, "join that group"),
                    (Errno::EROFS, "mount it read-write"),
                ],
            ),
            (
                Operation::NewName("create the lock file"),
                &[
                    (Errno::ENOENT, "its directory still exists"),
                    (Errno::EPERM, "permissions of its directory"),
                    (Errno::EACCES, "permissions of its directory"),
                    (Errno::EINVAL, "choose another file name"),
                    (Errno::ENAMETOOLONG, "choose a shorter name"),
                    (Errno::EROFS, "mount it read-write"),
                    (Errno::EDQUOT, "free space"),
                    (Errno::ENOSPC, "inodes"),
                    (Errno::ENOSYS, "choose another file system"),
                ],
            ),
            (
                Operation::OldName("unlink the lock file"),
                &[
                    (Errno::EBUSY, "unmount the lock file"),
                    (Errno::EISDIR, "move the directory of this name away"),
                    (Errno::EPERM, "in a sticky directory"),
                    (Errno::EACCES, "permissions of its directory"),
                ],
            ),
            (
                Operation::KernelLock("take the kernel lock"),
                &[
                    (Errno::EOPNOTSUPP, "support flock(2)"),
                    (Errno::ENOTSUP, "support flock(2)"),
                    (
                        Errno::EDQUOT,
                        "check that the file system supports flock(2)",
                    ),
                    (Errno::EIO, "check that the file system supports flock(2)"),
                    (Errno::EACCES, "security policy"),
                    (Errno::EBADF, "a user who may write to the file"),
                ],
            ),
            (
                Operation::Sync("sync the record"),
                &[
                    (Errno::EBADF, "other code of this process has closed"),
                    (Errno::EINVAL, "without durability"),
                    (Errno::ENOSYS, "without durability"),
                    (Errno::ENOSPC, "free space"),
                    (Errno::EIO, "check the device"),
                ],
            ),
            (
                Operation::File("write the record"),
                &[
                    (Errno::EINVAL, "try again"),
                    (Errno::EACCES, "permissions of the file"),
                    (Errno::EIO, "check the file system"),
                    (Errno::ESTALE, "check the network mount"),
                    (Errno::ENOSPC, "free space"),
                    (Errno::EDQUOT, "free space"),
                    (Errno::EFBIG, "ulimit -f"),
                    (Errno::EBADF, "other code of this process has closed"),
                ],
            ),
        ];
        for (operation, steps) in expected {
            for (errno, part) in steps {
                let step = step(operation, *errno);
                assert!(
                    step.contains(part),
                    "{}, {errno}: {step}",
                    operation.phrase()
                );
            }
        }
    }

    // flock(2) is named where flock failed, and a name where a name was refused.
    #[test]
    fn no_step_speaks_of_what_the_operation_did_not_do() {
        let operations = [
            Operation::Thread("start a thread"),
            Operation::Process("identify this process"),
            Operation::Random("draw a writer id"),
            Operation::Directory("open the directory"),
            Operation::NewName("create the lock file"),
            Operation::File("open"),
            Operation::Sync("sync the record"),
            Operation::KernelLock("take the kernel lock"),
        ];
        for operation in operations {
            let names_a_file = matches!(
                operation,
                Operation::NewName(_) | Operation::File(_) | Operation::Directory(_)
            );
            let names = [
                ("flock(2)", matches!(operation, Operation::KernelLock(_))),
                ("file name", names_a_file),
                (
                    "free space",
                    names_a_file || matches!(operation, Operation::Sync(_)),
                ),
                ("threads", matches!(operation, Operation::Thread(_))),
            ];
            for number in 1..=133 {
                let step = step(operation, Errno::from_raw(number));
                for (word, permitted) in names {
                    let operation = operation.phrase();
                    assert!(
                        permitted || !step.contains(word),
                        "{operation}, {number}: {step}"
                    );
                }
            }
        }
    }
}
