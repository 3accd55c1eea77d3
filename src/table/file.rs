//! The table's file: locked by one process at a time, and replaced as a whole.
//!
//! ```text
//!   holder A                         waiter B
//!   flock old inode
//!                                    open old inode, flock: would block, sleep
//!   create new inode, flock it
//!   write, fsync, rename over old
//!   fsync the directory
//!   close old inode
//!                                    flock old inode: done. But the path names the new one:
//!                                    close, open new inode, flock: would block, sleep
//!   close new inode
//!                                    flock new inode: done, and the path names it
//! ```
//!
//! Whoever holds the kernel lock of the inode that the path names has the table. The new inode is
//! locked before it has the name, so there is no moment in which nobody has it.
//! Source: `spec/table.md#save`.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::TableError;
use crate::judge::FileSystem;
use crate::protocol::wait::Pace;
use crate::sys::{
    Access, Extent, FileId, FileKind, Flock, Flocked, Identity, Stat, WholeFiles, Woken,
};

/// Who may read and write a table that did not exist: its user alone. It says which processes run
/// and where they write.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// How often the file may be another one than just before while no time is left to wait: each time
/// somebody else has saved, so this ends by itself, but not by a promise.
const ROUNDS: u32 = 32;

type Outcome<T> = Result<T, TableError>;

/// The directory of a table and its name there, so that a later chdir cannot make us miss it.
#[derive(Debug)]
struct Spot<S: WholeFiles> {
    sys: S,
    dir: S::Dir,
    name: OsString,
    path: PathBuf,
    file_system: FileSystem,
}

/// A table's file, locked by this process.
#[derive(Debug)]
pub(super) struct TableFile<S: WholeFiles> {
    spot: Spot<S>,
    /// Who locked it: a forked child shares the kernel lock and must neither use nor free it.
    process: Identity,
    file: S::File,
    id: FileId,
}

/// The bytes of the table at `path`, and what it lies on; `None` if there is none. Locks nothing
/// and creates nothing: a saved table is there as a whole at every moment.
pub(super) fn load<S: WholeFiles>(sys: S, path: &Path) -> Outcome<Option<(Vec<u8>, FileSystem)>> {
    let spot = match Spot::open(sys, path) {
        Err(TableError::Io(error)) if error.source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        spot => spot?,
    };
    match spot.open_existing(Access::Read)? {
        Some((file, _)) => Ok(Some((spot.read(&file)?, spot.file_system))),
        None => Ok(None),
    }
}

impl<S: WholeFiles> Spot<S> {
    fn open(sys: S, path: &Path) -> Outcome<Spot<S>> {
        let during = |operation| move |source| TableError::io(operation, path, source);
        let name = file_name(path)?.to_owned();
        let dir = sys
            .open_dir(parent(path))
            .map_err(during("open the directory"))?;
        let file_system = sys
            .file_system(&dir)
            .map_err(during("ask for the file system"))?;
        Ok(Spot {
            sys,
            dir,
            name,
            path: path.to_owned(),
            file_system,
        })
    }

    fn during<T>(&self, operation: &'static str, outcome: io::Result<T>) -> Outcome<T> {
        outcome.map_err(|source| TableError::io(operation, &self.path, source))
    }

    fn stat(&self) -> Outcome<Option<Stat>> {
        match self.sys.stat_at(&self.dir, &self.name) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => self.during("stat", Err(error)),
        }
    }

    fn names(&self, id: FileId) -> Outcome<bool> {
        Ok(self.stat()?.is_some_and(|stat| stat.id == id))
    }

    fn refuse_irregular(&self, kind: FileKind) -> Outcome<()> {
        match kind {
            FileKind::Regular => Ok(()),
            found => Err(TableError::NotRegular {
                path: self.path.clone(),
                found,
            }),
        }
    }

    fn open_existing(&self, access: Access) -> Outcome<Option<(S::File, FileId)>> {
        let Some(stat) = self.stat()? else {
            return Ok(None);
        };
        self.refuse_irregular(stat.kind)?;
        let file = match self.sys.open(&self.dir, &self.name, access) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return self.during("open", Err(error)),
        };
        // Something else may have taken the regular file's place before the open.
        let stat = self.during("stat", self.sys.stat(&file))?;
        self.refuse_irregular(stat.kind)?;
        Ok(Some((file, stat.id)))
    }

    /// For writing, though nobody ever writes to it: the close of such a descriptor is the event
    /// that wakes those who wait, and NFS locks exclusively only what is open for writing.
    fn open_or_create(&self) -> Outcome<(S::File, FileId)> {
        loop {
            if let Some(opened) = self.open_existing(Access::ReadWrite)? {
                return Ok(opened);
            }
            match self.sys.create(&self.dir, &self.name, FILE_MODE) {
                // Empty: an empty table.
                Ok(file) => {
                    let id = self.during("stat", self.sys.stat(&file))?.id;
                    return Ok((file, id));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return self.during("create the table", Err(error)),
            }
        }
    }

    fn read(&self, file: &S::File) -> Outcome<Vec<u8>> {
        self.during("read", self.sys.read_all(file))
    }

    /// Locks the file that the path names, whichever that is by then.
    fn lock(&self, timeout: Duration) -> Outcome<(S::File, FileId)> {
        let start = self.sys.now().since_boot;
        let mut rounds = 0;
        loop {
            let (file, id) = self.open_or_create()?;
            if self.lock_opened(&file, id, start, timeout)? {
                return Ok((file, id));
            }
            rounds += 1;
            if rounds >= ROUNDS && self.left(start, timeout).is_zero() {
                return Err(self.timed_out(timeout));
            }
        }
    }

    /// False if the path does not name this file (any more).
    fn lock_opened(
        &self,
        file: &S::File,
        id: FileId,
        start: Duration,
        timeout: Duration,
    ) -> Outcome<bool> {
        let mut pace = Pace::new();
        let mut watch = None;
        let mut looked_again = false;
        loop {
            let flocked = self.during("lock", self.sys.flock(file, Flock::Exclusive))?;
            // A has saved and closed the old file that B waited for: B has its lock now, and with
            // it nothing. Also while the lock is held: A may have the new file for long.
            if !self.names(id)? {
                if flocked == Flocked::Done {
                    // Not left to the close alone: a child forked meanwhile has a copy.
                    let _ = self.sys.flock(file, Flock::Unlock);
                }
                return Ok(false);
            }
            match flocked {
                Flocked::Done => return Ok(true),
                Flocked::Unsupported => {
                    return self.during("lock", Err(io::ErrorKind::Unsupported.into()));
                }
                Flocked::WouldBlock => {}
            }
            let left = self.left(start, timeout);
            if left.is_zero() {
                return Err(self.timed_out(timeout));
            }
            if !looked_again {
                looked_again = true;
                watch = self.watch(file);
                // It may have been unlocked after our look and before the watch: look again.
                continue;
            }
            let pause = match watch {
                Some(_) => pace.until_next_look(&self.sys, None),
                None => pace.until_next_poll(&self.sys),
            };
            match self.sys.wait(watch.as_mut(), pause.min(left)) {
                Woken::FileEvent | Woken::ProcessEnded => pace.event(),
                Woken::Timeout => {}
            }
        }
    }

    /// inotify reports nothing that another mount did.
    fn watch(&self, file: &S::File) -> Option<S::Watch> {
        let local = self.file_system == FileSystem::Local;
        local.then(|| self.sys.watch(file, None).ok()).flatten()
    }

    fn left(&self, start: Duration, timeout: Duration) -> Duration {
        timeout.saturating_sub(self.sys.now().since_boot.saturating_sub(start))
    }

    fn timed_out(&self, timeout: Duration) -> TableError {
        TableError::Timeout {
            path: self.path.clone(),
            timeout,
        }
    }

    /// The name of a table that is not complete yet. One for all who save: only one at a time holds
    /// the lock, and so removes what one before it left when it was killed.
    fn new_name(&self) -> OsString {
        let mut name = OsString::from(".");
        name.push(&self.name);
        name.push(".rvlf-new");
        name
    }

    fn create_new(&self, name: &OsStr) -> io::Result<S::File> {
        match self.sys.create(&self.dir, name, FILE_MODE) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.sys.unlink(&self.dir, name)?;
                self.sys.create(&self.dir, name, FILE_MODE)
            }
            outcome => outcome,
        }
    }
}

impl<S: WholeFiles> TableFile<S> {
    /// Opens and locks the table at `path`, which is made if it is not there; waits up to
    /// `timeout`.
    pub(super) fn lock(sys: S, path: &Path, timeout: Duration) -> Outcome<TableFile<S>> {
        let during = |operation| move |source| TableError::io(operation, path, source);
        let process = sys.identity().map_err(during("identify this process"))?;
        // Before anything is made for a path that can never be a table's.
        file_name(path)?;
        sys.create_dirs(parent(path), DIR_MODE)
            .map_err(during("make the directory"))?;
        let spot = Spot::open(sys, path)?;
        let (file, id) = spot.lock(timeout)?;
        Ok(TableFile {
            spot,
            process,
            file,
            id,
        })
    }

    pub(super) fn sys(&self) -> &S {
        &self.spot.sys
    }

    pub(super) fn path(&self) -> &Path {
        &self.spot.path
    }

    pub(super) fn file_system(&self) -> FileSystem {
        self.spot.file_system
    }

    pub(super) fn read(&self) -> Outcome<Vec<u8>> {
        self.spot.read(&self.file)
    }

    /// Makes `bytes` the table, on stable storage, and keeps it locked.
    ///
    /// A crash at any step leaves the old table or the new one at the path. So does an error; only
    /// after one of the last step, the sync of the directory, it is the new one.
    pub(super) fn replace(&mut self, bytes: &[u8]) -> Outcome<()> {
        if self.is_forked() {
            return Err(TableError::Forked {
                path: self.spot.path.clone(),
            });
        }
        // Somebody has removed the file, and perhaps another process has made and locked a new one,
        // which a rename would destroy.
        if !self.spot.names(self.id)? {
            return Err(TableError::Replaced {
                path: self.spot.path.clone(),
            });
        }
        let name = self.spot.new_name();
        let created = self.spot.create_new(&name);
        let file = self.spot.during("create the new table", created)?;
        let written = self.fill(&file, bytes).and_then(|id| {
            let Spot {
                sys,
                dir,
                name: old,
                ..
            } = &self.spot;
            let renamed = sys.rename(dir, &name, old);
            self.spot.during("rename the new table", renamed)?;
            Ok(id)
        });
        match written {
            Ok(id) => {
                let old = std::mem::replace(&mut self.file, file);
                self.id = id;
                // Not left to the close alone: waiters must not depend on a forked child's copy.
                let _ = self.spot.sys.flock(&old, Flock::Unlock);
                let synced = self.spot.sys.sync_dir(&self.spot.dir);
                self.spot.during("sync the directory", synced)
            }
            Err(error) => {
                // The error that led here is the one to report, not a second one.
                let _ = self.spot.sys.unlink(&self.spot.dir, &name);
                Err(error)
            }
        }
    }

    fn fill(&self, file: &S::File, bytes: &[u8]) -> Outcome<FileId> {
        let Spot { sys, .. } = &self.spot;
        let during = |operation, outcome| self.spot.during(operation, outcome);
        let id = self.spot.during("stat", sys.stat(file))?.id;
        // Before it has the table's name: there is no moment in which the table is not locked.
        match self
            .spot
            .during("lock", sys.flock(file, Flock::Exclusive))?
        {
            Flocked::Done => {}
            Flocked::WouldBlock | Flocked::Unsupported => {
                let locked_by_others = Err(io::ErrorKind::WouldBlock.into());
                return self.spot.during("lock the new table", locked_by_others);
            }
        }
        during("write the new table", sys.write_all(file, bytes))?;
        during(
            "keep the table's permissions",
            sys.copy_access(&self.file, file),
        )?;
        during("sync the new table", sys.sync(file, Extent::All))?;
        Ok(id)
    }

    pub(super) fn is_forked(&self) -> bool {
        let now = self.spot.sys.identity();
        now.is_ok_and(|process| process != self.process)
    }
}

impl<S: WholeFiles> Drop for TableFile<S> {
    fn drop(&mut self) {
        // The lock belongs to the open file, which a forked child shares. In the child, unlocking
        // would free its parent's lock; in the parent, closing alone would leave it to the child.
        if !self.is_forked() {
            let _ = self.spot.sys.flock(&self.file, Flock::Unlock);
        }
    }
}

fn file_name(path: &Path) -> Outcome<&OsStr> {
    path.file_name().ok_or_else(|| {
        let unnamed = io::Error::new(io::ErrorKind::InvalidInput, "the path names no file");
        TableError::io("name the table", path, unnamed)
    })
}

/// The directory of `path`.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
