//! The calls of a process to the simulated kernel, and their replies. Both are values, so that the
//! state of a process can be the list of the replies that it has received.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{self, Path};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use super::kernel::{DELETE_PENDING, Existing, SHARING_VIOLATION, Sharing};
use crate::judge::FileSystem;
use crate::record::{Hostname, Pid, Record};
use crate::sys::{
    Access, FileId, Flock, FlockOutcome, Identity, Liveness, Now, Prefix, Stat, SyncMode,
    WakeReason,
};

/// One component of a path. In the second directory of a world it begins with [`SECOND_DIR`].
pub(super) type Name = Arc<OsStr>;

/// One of the two directories of a world, of which the path leads to one at a time.
pub(super) type DirId = usize;

/// What the names in the second directory begin with.
pub(super) const SECOND_DIR: &str = "second/";

/// The name `name` in the directory `dir`.
pub(super) fn name_in(dir: DirId, name: &OsStr) -> Name {
    match dir {
        0 => name.into(),
        _ => {
            let mut in_second = OsString::from(SECOND_DIR);
            in_second.push(name);
            in_second.as_os_str().into()
        }
    }
}

/// A file descriptor, numbered in its process.
pub(super) type Fd = usize;

/// A watch, numbered in its process.
pub(super) type WatchId = usize;

/// One call of [`Sys`](crate::sys::Sys), or one that only the simulation has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Call {
    OpenDir,
    StatDir,
    FileSystem,
    List(DirId),
    StatAt(Name),
    ForgetName(Name),
    Open(Name, Access),
    Create(Name),
    CreateUnnamed,
    Link(Fd, Name),
    Rename(Name, Name),
    RenameNoreplace(Name, Name),
    Unlink(Name),
    // The calls of a kernel with share modes.
    OpenShared(Name, Sharing),
    CreateShared(Name, Sharing),
    RenameOpen(Fd, Name, Existing),
    DeleteOpen(Fd),
    IsSameFile(Fd, Fd),
    // The calls of every kernel.
    SyncDir,
    Stat(Fd),
    Read(Fd),
    Write(Fd, u64, Vec<u8>),
    Truncate(Fd),
    Flock(Fd, Flock),
    Sync(Fd, SyncMode),
    Close(Fd),
    Hostname,
    IsHostAlias(Hostname),
    BootId,
    Identity,
    Process(Pid),
    Random,
    Now,
    // The calls of the allocation table.
    ReadAll(Fd),
    StatUncached(Fd),
    LockByte(u64),
    IsByteLocked(u64),
    KernelBootId,
    PidNamespace,
    // Waiting.
    /// Whether another process has locked the file comes last.
    Watch(Fd, Option<Pid>, bool),
    Unwatch(WatchId),
    Wait(WatchId, Duration, Cancel),
    Sleep(Duration, Cancel),
    // Only the simulation has these.
    Fork,
    Entered,
    Left,
    TakeDescriptors(Name),
    HasName(FileId),
    BeginLoop,
    /// The loop, by the number of calls before it, and a fingerprint of the memory.
    BeginRound(usize, u128),
    /// The exit of a program that has returned.
    Exit,
}

/// Whether a wait was started with a token that may be cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Cancel {
    Never,
    AtAnyMoment,
}

/// The kernel's reply. Histories differ by their replies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reply {
    Done,
    /// An errno.
    Failed(i32),
    /// The directory that the path leads to.
    Dir(DirId),
    FileSystem(FileSystem),
    Names(Vec<Name>),
    Stat(Stat),
    File(Fd),
    Prefix(Prefix),
    Flocked(FlockOutcome),
    Hostname(Hostname),
    IsHostAlias(bool),
    BootId([u8; 16]),
    Identity(Identity),
    Process(Liveness),
    Random([u8; 16]),
    Now(Now),
    Bytes(Arc<[u8]>),
    IsByteLocked(bool),
    PidNamespace(u64),
    /// The watch, and whether it watches the process.
    Watch(WatchId, bool),
    Woken(WakeReason),
    Fork(Fork),
    HasName(bool),
    IsSameFile(bool),
}

/// The two processes after a fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fork {
    /// The process that called.
    Parent,
    /// Its copy.
    Child,
}

impl Reply {
    pub(super) fn failed(errno: Errno) -> Reply {
        Reply::Failed(errno as i32)
    }

    /// The error of a call that did not succeed.
    pub(super) fn into_error(self) -> io::Error {
        match self {
            // The real implementation reports this one without an errno.
            Reply::Failed(errno) if errno == Errno::ENOTSUP as i32 => {
                io::ErrorKind::Unsupported.into()
            }
            Reply::Failed(errno) if errno == DELETE_PENDING as i32 => {
                io::ErrorKind::WouldBlock.into()
            }
            Reply::Failed(errno) => io::Error::from_raw_os_error(errno),
            reply => unreachable!("{reply:?} is no reply to this call"),
        }
    }
}

impl Call {
    /// Whether this is a wait that may be cancelled now.
    pub(super) fn may_be_cancelled(&self) -> bool {
        let (Call::Wait(.., cancel) | Call::Sleep(_, cancel)) = self else {
            return false;
        };
        *cancel == Cancel::AtAnyMoment
    }

    /// Whether a trace is easier to read without this call.
    pub(super) fn is_quiet(&self) -> bool {
        matches!(
            self,
            Call::OpenDir
                | Call::FileSystem
                | Call::Hostname
                | Call::IsHostAlias(_)
                | Call::BootId
                | Call::KernelBootId
                | Call::PidNamespace
                | Call::Identity
                | Call::Random
                | Call::Now
                | Call::BeginLoop
                | Call::BeginRound(..)
                | Call::IsSameFile(..)
        )
    }
}

fn shown(name: &OsStr) -> path::Display<'_> {
    Path::new(name).display()
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Call::StatAt(name) => write!(f, "stat({})", shown(name)),
            Call::ForgetName(name) => write!(f, "forget({})", shown(name)),
            Call::Open(name, access) => write!(f, "open({}, {access:?})", shown(name)),
            Call::Create(name) => write!(f, "create({})", shown(name)),
            Call::Link(fd, name) => write!(f, "link(fd {fd}, {})", shown(name)),
            Call::Rename(from, to) => write!(f, "rename({}, {})", shown(from), shown(to)),
            Call::RenameNoreplace(from, to) => {
                write!(f, "rename_noreplace({}, {})", shown(from), shown(to))
            }
            Call::Unlink(name) => write!(f, "unlink({})", shown(name)),
            Call::OpenShared(name, sharing) => write!(f, "open({}, {sharing})", shown(name)),
            Call::CreateShared(name, sharing) => write!(f, "create({}, {sharing})", shown(name)),
            Call::RenameOpen(fd, name, Existing::Stays) => {
                write!(f, "rename(fd {fd}, {})", shown(name))
            }
            Call::RenameOpen(fd, name, Existing::IsReplaced) => {
                write!(f, "rename(fd {fd}, over {})", shown(name))
            }
            Call::DeleteOpen(fd) => write!(f, "delete(fd {fd})"),
            Call::IsSameFile(one, other) => write!(f, "is fd {one} the file of fd {other}?"),
            Call::Stat(fd) => write!(f, "fstat(fd {fd})"),
            Call::StatUncached(fd) => write!(f, "fstat(fd {fd}), as the server has it"),
            Call::Read(fd) | Call::ReadAll(fd) => write!(f, "read(fd {fd})"),
            Call::Write(fd, offset, bytes) => {
                write!(f, "write(fd {fd}, {} bytes at {offset})", bytes.len())
            }
            Call::Truncate(fd) => write!(f, "truncate(fd {fd})"),
            Call::Flock(fd, operation) => write!(f, "flock(fd {fd}, {operation:?})"),
            Call::Sync(fd, mode) => write!(f, "sync(fd {fd}, {mode:?})"),
            Call::Close(fd) => write!(f, "close(fd {fd})"),
            Call::Watch(fd, process, false) => write!(f, "watch(fd {fd}, {process:?})"),
            Call::Watch(fd, process, true) => write!(f, "watch(locked fd {fd}, {process:?})"),
            other => write!(f, "{other:?}"),
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Done => f.write_str("ok"),
            Reply::Failed(errno) if *errno == SHARING_VIOLATION as i32 => {
                f.write_str("sharing violation")
            }
            Reply::Failed(errno) if *errno == DELETE_PENDING as i32 => {
                f.write_str("delete pending")
            }
            Reply::Failed(errno) => write!(f, "{:?}", Errno::from_raw(*errno)),
            Reply::File(fd) => write!(f, "fd {fd}"),
            Reply::IsSameFile(same) => write!(f, "{same}"),
            Reply::Stat(stat) => {
                write!(
                    f,
                    "inode {}, {}, {} links",
                    stat.id.ino, stat.kind, stat.links
                )
            }
            Reply::Prefix(prefix) => match Record::decode(prefix.bytes()) {
                Ok(record) => {
                    write!(
                        f,
                        "record of pid {}, writer {}",
                        record.pid(),
                        record.writer_id()
                    )
                }
                Err(error) => write!(f, "{error}"),
            },
            Reply::Names(names) => write!(f, "{names:?}"),
            Reply::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            other => write!(f, "{other:?}"),
        }
    }
}
