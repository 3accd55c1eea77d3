//! The only door to the operating system.
//!
//! The protocol is written once, over [`Sys`]. Its calls report facts ("alive", "held elsewhere"),
//! never verdicts. The real implementation is [`Host`]. The tests have a second one in memory (`src/sim`),
//! which runs the shipped protocol under every interleaving and crash.
//!
//! `cfg(target_os)` and `unsafe` live here and nowhere else.

#![cfg_attr(
    any(not(target_os = "linux"), rvlf_portable, rvlf_unsupported),
    allow(dead_code, reason = "not every fact can be told everywhere")
)]

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::judge::FileSystem;
use crate::record::{Hostname, Pid, RECORD_LEN};

// `--cfg rvlf_portable` and `--cfg rvlf_unsupported` build what other systems get, so that it is
// compiled, linted and (portable) tested on Linux too.
#[cfg(unix)]
pub(crate) mod child;
pub(crate) mod hooks;
#[cfg(all(target_os = "linux", not(rvlf_portable), not(rvlf_unsupported)))]
#[path = "linux.rs"]
mod platform;
#[cfg(all(
    unix,
    any(not(target_os = "linux"), rvlf_portable),
    not(rvlf_unsupported)
))]
#[path = "portable.rs"]
mod platform;
#[cfg(all(unix, not(rvlf_unsupported)))]
mod unix;
#[cfg(any(not(unix), rvlf_unsupported))]
mod unsupported;
#[cfg(feature = "table")]
mod whole_files;

#[cfg(all(unix, not(rvlf_unsupported)))]
pub(crate) use platform::close_spare_watch;
#[cfg(all(unix, not(rvlf_unsupported)))]
pub(crate) use unix::Host;
#[cfg(any(not(unix), rvlf_unsupported))]
pub(crate) use unsupported::{Host, close_spare_watch};
#[cfg(feature = "table")]
pub(crate) use whole_files::WholeFiles;

/// The longest piece of a lock file that is ever read: one byte more than a record shows whether
/// something follows it.
pub(crate) const READ_LEN: usize = RECORD_LEN + 1;

/// Names one inode of one file system while it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
}

/// What kind of thing a name stands for.
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
    pub(crate) uid: u32,
    /// Unix time in nanoseconds, by the file server's clock.
    pub(crate) mtime_ns: u64,
    /// When the inode was made, where the file system remembers it. Of open files only.
    pub(crate) born_ns: Option<u64>,
}

/// The first bytes of a file, at most [`READ_LEN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Head {
    bytes: [u8; READ_LEN],
    len: usize,
}

impl Head {
    /// The bytes that `fill` writes to the front of the buffer; it returns their number.
    pub(crate) fn read(fill: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<Head> {
        let mut bytes = [0; READ_LEN];
        let len = fill(&mut bytes)?;
        Ok(Head { bytes, len })
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
pub(crate) enum Flocked {
    Done,
    WouldBlock,
    /// The file system does not have flock at all.
    Unsupported,
}

/// What must be on stable storage when a sync returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Extent {
    /// Data and metadata; on a local file system that journals, the inode's names with them.
    All,
    /// The data.
    Data,
}

/// One process in its pid namespace: the pid alone may be reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) pid: Pid,
    /// Field 22 of /proc/self/stat; 0 where there is none.
    pub(crate) start_ticks: u64,
    /// Larger in a forked child than in its parent: as pid 1 of a new pid namespace, forked in the
    /// tick in which its parent began, the child has both other numbers of its parent. 0 where it
    /// cannot be told.
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
pub(crate) enum Woken {
    /// The lock file was unlinked, renamed, or closed by somebody who had it open for writing.
    FileEvent,
    /// The watched process has ended. It is not watched any longer.
    ProcessEnded,
    Timeout,
}

/// 27 calls: files by directory handle, facts about hosts and processes, clocks and waiting.
///
/// Calls on files fail with [`io::ErrorKind::Unsupported`] where the file system or the kernel does
/// not have them; EINTR never comes through. Dropping a file closes it.
pub(crate) trait Sys: Clone + Send + Sync + 'static {
    type Dir: Send + Sync + fmt::Debug;
    type File: Send + Sync + fmt::Debug;
    type Watch: Send;

    // Files by directory handle. `name` is one component; links are never followed.

    fn open_dir(&self, path: &Path) -> io::Result<Self::Dir>;
    fn file_system(&self, dir: &Self::Dir) -> io::Result<FileSystem>;
    fn list(&self, dir: &Self::Dir) -> io::Result<Vec<OsString>>;
    fn stat_at(&self, dir: &Self::Dir, name: &OsStr) -> io::Result<Stat>;
    /// Opens what is there; never waits for a FIFO or a lease.
    fn open(&self, dir: &Self::Dir, name: &OsStr, access: Access) -> io::Result<Self::File>;
    /// O_CREAT | O_EXCL, for reading and writing.
    fn create(&self, dir: &Self::Dir, name: &OsStr, mode: u32) -> io::Result<Self::File>;
    /// O_TMPFILE: a file without a name, for reading and writing.
    fn create_unnamed(&self, dir: &Self::Dir, mode: u32) -> io::Result<Self::File>;
    /// Gives `file` a name. AlreadyExists if the name is taken.
    fn link(&self, file: &Self::File, dir: &Self::Dir, name: &OsStr) -> io::Result<()>;
    fn rename(&self, dir: &Self::Dir, from: &OsStr, to: &OsStr) -> io::Result<()>;
    /// AlreadyExists if the new name is taken.
    fn rename_noreplace(&self, dir: &Self::Dir, from: &OsStr, to: &OsStr) -> io::Result<()>;
    fn unlink(&self, dir: &Self::Dir, name: &OsStr) -> io::Result<()>;
    fn sync_dir(&self, dir: &Self::Dir) -> io::Result<()>;
    fn stat(&self, file: &Self::File) -> io::Result<Stat>;
    fn read(&self, file: &Self::File) -> io::Result<Head>;
    /// One write of all `bytes` at `offset`.
    fn write(&self, file: &Self::File, offset: u64, bytes: &[u8]) -> io::Result<()>;
    fn flock(&self, file: &Self::File, operation: Flock) -> io::Result<Flocked>;
    fn sync(&self, file: &Self::File, extent: Extent) -> io::Result<()>;

    // Facts about hosts and processes.

    /// gethostname(2).
    fn hostname(&self) -> Hostname;
    /// Whether deployed clients may have recorded this host under `name`.
    fn is_host_alias(&self, name: &Hostname) -> bool;
    /// Names this boot of this kernel.
    fn boot_id(&self) -> Option<[u8; 16]>;
    /// This process. A forked child has another identity, also as pid 1 of a new pid namespace.
    fn identity(&self) -> io::Result<Identity>;
    fn process(&self, pid: Pid) -> Liveness;
    /// Straight from the operating system: no generator that a forked child would share.
    fn random(&self) -> io::Result<[u8; 16]>;

    // Clocks and waiting.

    fn now(&self) -> Now;
    /// Watches for the end of a hold. Unsupported where events do not exist.
    fn watch(&self, file: &Self::File, process: Option<Pid>) -> io::Result<Self::Watch>;
    /// Whether the watch reports the end of a process: not if that came before the watch, nor where
    /// processes cannot be watched.
    fn watches_process(&self, watch: &Self::Watch) -> bool;
    /// Sleeps until the watch reports or the time is over; without a watch, for the time.
    fn wait(&self, watch: Option<&mut Self::Watch>, timeout: Duration) -> Woken;

    /// The test hooks of a simulated kernel. The real one has none.
    #[cfg(rvlf_sim)]
    fn hooks(&self) -> Option<&dyn hooks::Hooks> {
        None
    }
}
