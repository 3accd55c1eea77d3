//! The operating system: every system call of the crate is made here.
//!
//! The protocol is written once, over [`Sys`]. Its calls report facts ("alive", "held elsewhere"),
//! never verdicts. The real implementation is [`Host`]. The tests have a second one in memory
//! (`src/sim`), which runs the shipped protocol under every interleaving and crash.
//!
//! `cfg(target_os)` and `unsafe` live here and nowhere else.

#![cfg_attr(
    any(not(target_os = "linux"), rvlf_portable, rvlf_unsupported),
    allow(dead_code, reason = "not every fact is known everywhere")
)]

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::judge::FileSystem;
use crate::record::{Hostname, KernelStamp, Pid};

#[cfg(all(any(unix, windows), not(rvlf_unsupported)))]
mod aliases;
#[cfg(all(any(target_os = "linux", target_os = "android"), not(rvlf_unsupported)))]
mod boot_id;
#[cfg(all(unix, not(rvlf_unsupported)))]
mod calls;
pub(crate) mod cancel;
#[cfg(unix)]
pub(crate) mod child;
#[cfg(all(unix, not(rvlf_unsupported)))]
pub(crate) mod descriptor;
pub(crate) mod entry;
mod facts;
#[cfg(all(unix, not(rvlf_unsupported)))]
mod flock;
pub(crate) mod hooks;
mod io_error;
#[cfg(windows)]
pub(crate) mod job;
pub(crate) mod latch;
#[cfg(all(
    unix,
    any(not(target_os = "linux"), rvlf_portable),
    not(rvlf_unsupported)
))]
mod linux_only;
mod locking_process;
#[cfg(all(
    unix,
    any(not(target_os = "linux"), rvlf_portable),
    not(rvlf_unsupported)
))]
mod metadata;
mod own_holds;
#[cfg(all(unix, not(rvlf_unsupported)))]
mod poll;
pub(crate) mod shell;
#[cfg(feature = "table")]
mod table_sys;
pub(crate) mod thread;
#[cfg(all(unix, not(rvlf_unsupported)))]
mod turn;
#[cfg(all(unix, not(rvlf_unsupported)))]
mod wide;
#[cfg(all(windows, not(rvlf_unsupported)))]
pub(crate) mod windows;

// One module has what differs between Unixes. `--cfg rvlf_portable` and `--cfg rvlf_unsupported` build
// on Linux what other systems get, so that it is compiled, linted and (portable) tested there too.
#[cfg(all(
    any(
        target_vendor = "apple",
        target_os = "dragonfly",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "openbsd"
    ),
    not(rvlf_portable),
    not(rvlf_unsupported)
))]
#[path = "bsd/mod.rs"]
mod platform;
#[cfg(all(target_os = "linux", not(rvlf_portable), not(rvlf_unsupported)))]
#[path = "linux/mod.rs"]
mod platform;
#[cfg(all(
    unix,
    any(
        rvlf_portable,
        not(any(
            target_vendor = "apple",
            target_os = "dragonfly",
            target_os = "freebsd",
            target_os = "linux",
            target_os = "netbsd",
            target_os = "openbsd"
        ))
    ),
    not(rvlf_unsupported)
))]
#[path = "portable.rs"]
mod platform;
/// The parts of `bsd` that make no system call, for the unit tests on Linux; with `--cfg rvlf_kqueue` also
/// those that libkqueue can run there.
#[cfg(all(test, target_os = "linux", not(rvlf_unsupported)))]
#[allow(dead_code, reason = "without the callers on macOS and the BSDs")]
#[path = "bsd"]
mod bsd_on_linux {
    mod boot_id;
    mod kinfo;
    #[cfg(rvlf_kqueue)]
    mod kqueue;
    #[cfg(rvlf_kqueue)]
    mod kqueue_sys;
    mod mounts;
}
#[cfg(all(unix, not(rvlf_unsupported)))]
mod unix;
#[cfg(any(not(any(unix, windows)), rvlf_unsupported))]
mod unsupported;

pub use cancel::CancelToken;
pub use facts::FileKind;
#[cfg(rvlf_sim)]
pub(crate) use facts::READ_LEN;
pub(crate) use facts::{
    Access, FileId, Flock, FlockOutcome, Identity, Liveness, Now, Prefix, Stat, SyncMode,
    WakeReason, nanos,
};
pub use io_error::IoError;
pub(crate) use io_error::{Context, Operation, is_closed, is_io_failure, is_locked, kind_of};
pub use locking_process::LockingProcess;
pub(crate) use own_holds::{FailedPublish, OwnHolds};
#[cfg(all(unix, not(rvlf_unsupported)))]
pub(crate) use platform::close_spare_watch;
#[cfg(feature = "table")]
pub(crate) use table_sys::{PidNamespace, TableSys};
#[cfg(all(unix, not(rvlf_unsupported)))]
pub(crate) use unix::Host;
#[cfg(any(not(any(unix, windows)), rvlf_unsupported))]
pub(crate) use unsupported::{Host, close_spare_watch};
#[cfg(all(windows, not(rvlf_unsupported)))]
pub(crate) use windows::{Host, close_spare_watch};

/// The calls of the protocol: files by directory handle, facts about hosts and processes, clocks and
/// waiting.
///
/// Calls on files fail with [`io::ErrorKind::Unsupported`] where the file system or the kernel does
/// not have them; EINTR never comes through. Dropping a file closes it.
pub(crate) trait Sys: Clone + Send + Sync + 'static {
    type Dir: Send + Sync + fmt::Debug;
    type File: Send + Sync + fmt::Debug;
    type Watch: Send;

    /// An error for a name of a data file that also names another file, or a device: writers could come
    /// by two lock paths.
    fn check_data_name(&self, name: &OsStr) -> io::Result<()> {
        let _ = name;
        Ok(())
    }

    // Files by directory handle. `name` is one component; links are never followed.

    /// Opens the directory that `path` leads to, from `base` or from the working directory.
    fn open_dir(&self, base: Option<&Self::Dir>, path: &Path) -> io::Result<Self::Dir>;
    /// Which directory `path` leads to now; `.` is `base` itself. Opens nothing.
    fn stat_dir(&self, base: Option<&Self::Dir>, path: &Path) -> io::Result<FileId>;
    /// Whether the handle can be used: other code of the process may have closed it.
    fn is_open(&self, dir: &Self::Dir) -> bool {
        let stat = self.stat_dir(Some(dir), Path::new("."));
        !stat.is_err_and(|error| is_closed(&error))
    }
    fn file_system(&self, dir: &Self::Dir) -> io::Result<FileSystem>;
    /// Whether a read that another descriptor's kernel lock refuses fails with EIO in this directory.
    fn reports_locks_as_io_errors(&self, _dir: &Self::Dir) -> bool {
        false
    }
    fn list(&self, dir: &Self::Dir) -> io::Result<Vec<OsString>>;
    fn stat_at(&self, dir: &Self::Dir, name: &OsStr) -> io::Result<Stat>;
    /// Whether `name` is a mount point: where only the device shows it, a bind mount of the same
    /// file system is not seen.
    fn is_mount_point(&self, dir: &Self::Dir, name: &OsStr) -> io::Result<bool>;
    /// Opens what is there. Never waits for a FIFO; waits for a lease up to 500 ms.
    fn open(&self, dir: &Self::Dir, name: &OsStr, access: Access) -> io::Result<Self::File>;
    /// O_CREAT | O_EXCL, for reading and writing.
    fn create(&self, dir: &Self::Dir, name: &OsStr, mode: u32) -> io::Result<Self::File>;
    /// O_TMPFILE: a file without a name, for reading and writing. Where files are
    /// [removed by handle](Self::removes_by_handle): a file with a temporary name, which is removed if
    /// it is dropped before it is linked, and which has its kernel lock from the beginning.
    fn create_unnamed(&self, dir: &Self::Dir, mode: u32) -> io::Result<Self::File>;
    /// Gives `file` a name, in place of a temporary one. AlreadyExists if the name is taken.
    fn link(&self, file: &Self::File, dir: &Self::Dir, name: &OsStr) -> io::Result<()>;
    fn rename(&self, dir: &Self::Dir, from: &OsStr, to: &OsStr) -> io::Result<()>;
    /// AlreadyExists if the new name is taken.
    fn rename_noreplace(&self, dir: &Self::Dir, from: &OsStr, to: &OsStr) -> io::Result<()>;
    fn unlink(&self, dir: &Self::Dir, name: &OsStr) -> io::Result<()>;
    /// Whether an open file is removed by its handle ([`remove`](Self::remove)), and never by its name,
    /// which a process that has the file's kernel lock keeps from everyone else: as on Windows.
    fn removes_by_handle(&self) -> bool {
        false
    }
    /// Removes the open file `file`, whatever its name is by now, and no other file. The caller has
    /// created it or has its kernel lock, which it keeps until it drops the file.
    ///
    /// In two steps: renames the file to `aside`, so that its name is free at once although other
    /// processes have the file open, and deletes it. What dies in between leaves a leftover.
    fn remove(&self, dir: &Self::Dir, file: &Self::File, aside: &OsStr) -> io::Result<()> {
        let _ = (dir, file, aside);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Makes a network mount ask its server what the name stands for, at the next call with that name. Changes
    /// nothing; best effort.
    fn forget_name(&self, _dir: &Self::Dir, _name: &OsStr) {}
    fn sync_dir(&self, dir: &Self::Dir) -> io::Result<()>;
    fn stat(&self, file: &Self::File) -> io::Result<Stat>;
    fn read(&self, file: &Self::File) -> io::Result<Prefix>;
    /// One write of all `bytes` at `offset`.
    fn write(&self, file: &Self::File, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// ftruncate(2) to nothing.
    fn truncate(&self, file: &Self::File) -> io::Result<()>;
    fn flock(&self, file: &Self::File, operation: Flock) -> io::Result<FlockOutcome>;
    fn sync(&self, file: &Self::File, mode: SyncMode) -> io::Result<()>;

    /// Closes a file of a mount that may hang, and waits for that no longer than `time`.
    fn close_within(&self, file: Self::File, time: Duration) {
        let _ = time;
        drop(file);
    }

    // Facts about hosts and processes.

    /// gethostname(2).
    fn hostname(&self) -> Hostname;
    /// Whether deployed clients may have recorded this host under `name`.
    fn is_host_alias(&self, name: &Hostname) -> bool;
    /// Names this boot of this kernel.
    fn boot_id(&self) -> Option<[u8; 16]>;
    /// The key of a file that this process has made, for its stamp. On a plain file system every system
    /// that finds the file there computes the same one, after a reboot, too.
    fn own_key(&self, stat: &Stat, is_plain: bool) -> Option<u64> {
        let FileId { dev, ino } = stat.id;
        if is_plain {
            return Some(KernelStamp::plain_key(ino, stat.born_ns.unwrap_or(0)));
        }
        Some(KernelStamp::inode_key(&self.boot_id()?, dev, ino))
    }
    /// Whether this system has kernel stamps at all. `own` is this process.
    fn has_stamps(&self, own: Identity) -> bool {
        own.start_ticks > 0
    }
    /// This process. A forked child has another identity, also as pid 1 of a new pid namespace.
    fn identity(&self) -> io::Result<Identity>;
    fn process(&self, pid: Pid) -> Liveness;
    /// From the operating system itself: the state of a generator would be shared with a forked
    /// child.
    fn random(&self) -> io::Result<[u8; 16]>;

    /// What this process remembers of its own holds.
    fn own_holds(&self) -> &OwnHolds;

    // Clocks and waiting.

    fn now(&self) -> Now;
    /// Watches for the end of a hold. Unsupported where events do not exist.
    ///
    /// `is_locked` says whether another process has the file's kernel lock. Where unlocks are events, only such
    /// a watch reports them: an examination that obtains the kernel lock also unlocks.
    fn watch(
        &self,
        file: &Self::File,
        process: Option<Pid>,
        is_locked: bool,
    ) -> io::Result<Self::Watch>;
    /// Whether the watch reports the end of a process: not if that came before the watch, nor where
    /// processes cannot be watched.
    fn watches_process(&self, watch: &Self::Watch) -> bool;
    /// Sleeps until the watch reports, one of the tokens is cancelled, or the time is over. Without
    /// a watch and without tokens, for the time.
    fn wait(
        &self,
        watch: Option<&mut Self::Watch>,
        cancel: &[CancelToken],
        timeout: Duration,
    ) -> WakeReason;

    /// The test hooks of a simulated kernel. The real one has none.
    #[cfg(rvlf_sim)]
    fn hooks(&self) -> Option<&dyn hooks::Hooks> {
        None
    }
}
