//! The values that [`Sys`](super::Sys) takes and reports: facts about files, processes and clocks.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::record::{Pid, RECORD_LEN};

/// How much of a lock file is read at most: one byte more than a record shows whether anything
/// follows it.
pub(crate) const READ_LEN: usize = RECORD_LEN + 1;

/// Identifies one inode of one file system while it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
}

/// The kind of file that a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file: the only kind that can be a lock.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link. Never followed.
    Symlink,
    /// A named pipe. Never opened: opening one can hang.
    Fifo,
    /// A socket.
    Socket,
    /// A character or block device.
    Device,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileKind::Regular => "a regular file",
            FileKind::Directory => "a directory",
            FileKind::Symlink => "a symbolic link",
            FileKind::Fifo => "a named pipe",
            FileKind::Socket => "a socket",
            FileKind::Device => "a device",
        })
    }
}

/// What stat(2) says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stat {
    pub(crate) id: FileId,
    pub(crate) kind: FileKind,
    pub(crate) links: u64,
    /// The user who owns the file. `None` on Windows.
    pub(crate) uid: Option<u32>,
    /// Unix time in nanoseconds, by the file server's clock.
    pub(crate) mtime_ns: u64,
    /// When the inode was made, where the file system remembers it. Of open files only.
    pub(crate) born_ns: Option<u64>,
}

/// The first bytes of a file, at most [`READ_LEN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Prefix {
    bytes: [u8; READ_LEN],
    len: usize,
}

impl Prefix {
    /// The bytes that `fill` writes to the front of the buffer; it returns their number.
    pub(crate) fn read(fill: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<Prefix> {
        let mut bytes = [0; READ_LEN];
        let len = fill(&mut bytes)?;
        Ok(Prefix { bytes, len })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes
            .get(..self.len)
            .expect("a read cannot return more than the buffer holds")
    }
}

/// How a contender or a holder opens an existing lock file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    Read,
    /// On NFS, LOCK_EX needs a descriptor that is open for writing.
    ReadWrite,
}

/// The three operations of flock(2), none of which blocks here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Flock {
    Shared,
    Exclusive,
    Unlock,
}

/// The outcome of a flock(2) that does not block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FlockOutcome {
    Done,
    WouldBlock,
    /// The file system does not have flock at all.
    Unsupported,
}

/// What must be on stable storage when a sync returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SyncMode {
    /// Data and metadata; on a local file system that journals, the inode's names with them.
    All,
    /// The data.
    Data,
}

/// One process in its pid namespace: the pid alone may be reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) pid: Pid,
    /// In the unit of the system, on Linux field 22 of /proc/PID/task/PID/stat; 0 where there is none.
    pub(crate) start_ticks: u64,
    /// Larger in a forked child than in its parent: as pid 1 of a new pid namespace, forked in the
    /// tick in which its parent began, the child has both other numbers of its parent. 0 where it
    /// is not known.
    pub(crate) generation: u64,
}

/// What is known of a process with a given pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Liveness {
    Alive { start_ticks: u64, started_ns: u64 },
    Dead,
    Unknown,
}

/// The clocks, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Now {
    /// Unix time in nanoseconds. May step.
    pub(crate) realtime_ns: u64,
    /// Time since boot, suspension included. Never steps.
    pub(crate) since_boot: Duration,
}

impl Now {
    pub(crate) fn booted_ns(&self) -> u64 {
        self.realtime_ns.saturating_sub(nanos(self.since_boot))
    }
}

/// A length of time in nanoseconds; u64 reaches for 584 years.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum WakeReason {
    /// The lock file was unlinked, renamed, or closed by a process that had it open for writing.
    FileEvent,
    /// The watched process has ended. It is not watched any longer.
    ProcessEnded,
    Cancelled,
    Timeout,
}
