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
use std::path::Path;
use std::time::Duration;

use super::error::{Result, TableError};
use crate::judge::FileSystem;
use crate::protocol::pace::Pace;
use crate::sys::entry::{self, Entry, Opened};
use crate::sys::{
    Access, Context, FileId, Flock, FlockOutcome, Identity, IoError, SyncMode, TableSys, WakeReason,
};

/// Who may read and write a table that did not exist: its user alone. It says which processes run
/// and where they write.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// How many replacements to follow after the timeout. Each one is another process's save, so the
/// loop ends in practice; this bounds it.
const ROUNDS: u32 = 32;

/// A table's file, locked by this process.
#[derive(Debug)]
pub(super) struct TableFile<S: TableSys> {
    entry: Entry<S>,
    /// The process that locked it: a forked child shares the kernel lock and must neither use nor free it.
    process: Identity,
    file: S::File,
    id: FileId,
}

/// The bytes of the table at `path`, and what it lies on; `None` if there is none. Locks nothing
/// and creates nothing: a saved table is there as a whole at every moment.
pub(super) fn load<S: TableSys>(sys: S, path: &Path) -> Result<Option<(Vec<u8>, FileSystem)>> {
    let entry = match Entry::open(sys, path) {
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(None),
        entry => entry?,
    };
    match open_existing(&entry, Access::Read)? {
        Some((file, _)) => Ok(Some((read(&entry, &file)?, entry.file_system))),
        None => Ok(None),
    }
}

fn open_existing<S: TableSys>(
    entry: &Entry<S>,
    access: Access,
) -> Result<Option<(S::File, FileId)>> {
    match entry.open_existing(|| entry.open_now(access)) {
        Ok(Opened::Absent) => Ok(None),
        Ok(Opened::Irregular(found)) => Err(TableError::NotRegular {
            path: entry.path.clone(),
            found,
        }),
        Ok(Opened::Denied { error, .. }) => Err(error.into()),
        Ok(Opened::File(file, stat)) => Ok(Some((file, stat.id))),
        // It was there before the open, and is removed now.
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn read<S: TableSys>(entry: &Entry<S>, file: &S::File) -> Result<Vec<u8>> {
    Ok(entry.sys.read_all(file).context("read", &entry.path)?)
}

/// A wait for the kernel lock of a table.
struct Locking<'a, S: TableSys> {
    entry: &'a Entry<S>,
    /// Time since boot.
    started: Duration,
    timeout: Duration,
}

impl<S: TableSys> Locking<'_, S> {
    /// For writing, though it is never written to: the close of such a descriptor is the event that
    /// wakes those who wait, and NFS locks exclusively only what is open for writing.
    fn open_or_create(&self) -> Result<(S::File, FileId)> {
        let Entry {
            sys,
            dir,
            name,
            path,
            ..
        } = self.entry;
        loop {
            if let Some(opened) = open_existing(self.entry, Access::ReadWrite)? {
                return Ok(opened);
            }
            match sys.create(dir, name, FILE_MODE) {
                // Empty: an empty table.
                Ok(file) => {
                    let id = sys.stat(&file).context("stat", path)?.id;
                    return Ok((file, id));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Ok(Err(error).context("create the table", path)?),
            }
        }
    }

    /// Locks the file that the path names, whichever that is by then.
    fn lock(&self) -> Result<(S::File, FileId)> {
        let mut rounds = 0;
        loop {
            let (file, id) = self.open_or_create()?;
            if self.lock_opened(&file, id)? {
                return Ok((file, id));
            }
            rounds += 1;
            if rounds >= ROUNDS && self.left().is_zero() {
                return Err(self.timed_out());
            }
        }
    }

    /// False if the path does not name this file (any more).
    fn lock_opened(&self, file: &S::File, id: FileId) -> Result<bool> {
        let Entry { sys, path, .. } = self.entry;
        let mut pace = Pace::new();
        let mut watch = None;
        let mut looked_again = false;
        loop {
            let flocked = sys.flock(file, Flock::Exclusive).context("lock", path)?;
            // A has saved and closed the old file that B waited for: B has its lock now, and with
            // it nothing. Also while the lock is held: A may have the new file for long.
            if self.entry.stat_if_names(id)?.is_none() {
                if flocked == FlockOutcome::Done {
                    // Not left to the close alone: a child forked meanwhile has a copy.
                    let _ = sys.flock(file, Flock::Unlock);
                }
                return Ok(false);
            }
            match flocked {
                FlockOutcome::Done => return Ok(true),
                FlockOutcome::Unsupported => {
                    let unsupported = Err(io::ErrorKind::Unsupported.into());
                    return Ok(unsupported.context("lock", path)?);
                }
                FlockOutcome::WouldBlock => {}
            }
            let left = self.left();
            if left.is_zero() {
                return Err(self.timed_out());
            }
            if !looked_again {
                looked_again = true;
                watch = self.watch(file);
                // It may have been unlocked after our look and before the watch: look again.
                continue;
            }
            let pause = match watch {
                Some(_) => pace.until_next_look(sys, None),
                None => pace.until_next_poll(sys),
            };
            match sys.wait(watch.as_mut(), &[], pause.min(left)) {
                WakeReason::FileEvent | WakeReason::ProcessEnded => pace.event(),
                WakeReason::Timeout | WakeReason::Cancelled => {}
            }
        }
    }

    /// inotify reports nothing that another mount did.
    fn watch(&self, file: &S::File) -> Option<S::Watch> {
        if self.entry.is_local() {
            self.entry.sys.watch(file, None).ok()
        } else {
            None
        }
    }

    fn left(&self) -> Duration {
        let now = self.entry.sys.now().since_boot;
        self.timeout
            .saturating_sub(now.saturating_sub(self.started))
    }

    fn timed_out(&self) -> TableError {
        TableError::Timeout {
            path: self.entry.path.clone(),
            timeout: self.timeout,
        }
    }
}

impl<S: TableSys> TableFile<S> {
    /// Opens and locks the table at `path`, which is made if it is not there; waits up to
    /// `timeout`.
    pub(super) fn lock(sys: S, path: &Path, timeout: Duration) -> Result<TableFile<S>> {
        let process = sys.identity().context("identify this process", path)?;
        // Before anything is made for a path that can never be a table's.
        entry::file_name(path)?;
        sys.create_dirs(entry::parent(path), DIR_MODE)
            .context("make the directory", path)?;
        let entry = Entry::open(sys, path)?;
        let locking = Locking {
            entry: &entry,
            started: entry.sys.now().since_boot,
            timeout,
        };
        let (file, id) = locking.lock()?;
        Ok(TableFile {
            entry,
            process,
            file,
            id,
        })
    }

    pub(super) fn sys(&self) -> &S {
        &self.entry.sys
    }

    pub(super) fn path(&self) -> &Path {
        &self.entry.path
    }

    pub(super) fn file_system(&self) -> FileSystem {
        self.entry.file_system
    }

    pub(super) fn read(&self) -> Result<Vec<u8>> {
        read(&self.entry, &self.file)
    }

    /// Makes `bytes` the table, on stable storage, and keeps it locked.
    ///
    /// A crash at any step leaves the old table or the new one at the path. So does an error; only
    /// after one of the last step, the sync of the directory, it is the new one.
    pub(super) fn replace(&mut self, bytes: &[u8]) -> Result<()> {
        if self.is_forked() {
            return Err(TableError::Forked {
                path: self.entry.path.clone(),
            });
        }
        // The file was removed, and perhaps another process has made and locked a new one, which a
        // rename would destroy.
        if self.entry.stat_if_names(self.id)?.is_none() {
            return Err(TableError::Replaced {
                path: self.entry.path.clone(),
            });
        }
        let name = self.new_name();
        let (file, id) = self.put_new(&name, bytes)?;
        let old = std::mem::replace(&mut self.file, file);
        self.id = id;
        let Entry { sys, dir, path, .. } = &self.entry;
        // Not left to the close alone: waiters must not depend on a forked child's copy.
        let _ = sys.flock(&old, Flock::Unlock);
        Ok(sys.sync_dir(dir).context("sync the directory", path)?)
    }

    /// The name of a table that is not complete yet. One for all processes: only one at a time holds
    /// the lock, and so removes what one before it left when it was killed.
    fn new_name(&self) -> OsString {
        let mut name = OsString::from(".");
        name.push(&self.entry.name);
        name.push(".rvlf-new");
        name
    }

    /// Makes a complete new table under `name`, and renames it over the old one.
    fn put_new(
        &self,
        name: &OsStr,
        bytes: &[u8],
    ) -> std::result::Result<(S::File, FileId), IoError> {
        let Entry {
            sys,
            dir,
            name: old,
            path,
            ..
        } = &self.entry;
        let created = self.create_new(name);
        let file = created.context("create the new table", path)?;
        let renamed = self.fill(&file, bytes).and_then(|id| {
            let renamed = sys.rename(dir, name, old);
            renamed.context("rename the new table", path).map(|()| id)
        });
        match renamed {
            Ok(id) => Ok((file, id)),
            Err(error) => {
                // The error that led here is the one to report, not a second one.
                let _ = sys.unlink(dir, name);
                Err(error)
            }
        }
    }

    fn create_new(&self, name: &OsStr) -> io::Result<S::File> {
        let Entry { sys, dir, .. } = &self.entry;
        match sys.create(dir, name, FILE_MODE) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                sys.unlink(dir, name)?;
                sys.create(dir, name, FILE_MODE)
            }
            outcome => outcome,
        }
    }

    fn fill(&self, file: &S::File, bytes: &[u8]) -> std::result::Result<FileId, IoError> {
        let Entry { sys, path, .. } = &self.entry;
        let id = sys.stat(file).context("stat", path)?.id;
        // Before it has the table's name: there is no moment in which the table is not locked.
        match sys.flock(file, Flock::Exclusive).context("lock", path)? {
            FlockOutcome::Done => {}
            FlockOutcome::WouldBlock | FlockOutcome::Unsupported => {
                let locked_by_others = Err(io::ErrorKind::WouldBlock.into());
                return locked_by_others.context("lock the new table", path);
            }
        }
        let written = sys.write_all(file, bytes);
        written.context("write the new table", path)?;
        let copied = sys.copy_access(&self.file, file);
        copied.context("keep the table's permissions", path)?;
        let synced = sys.sync(file, SyncMode::All);
        synced.context("sync the new table", path)?;
        Ok(id)
    }

    pub(super) fn is_forked(&self) -> bool {
        let now = self.entry.sys.identity();
        now.is_ok_and(|process| process != self.process)
    }
}

impl<S: TableSys> Drop for TableFile<S> {
    fn drop(&mut self) {
        // The lock belongs to the open file, which a forked child shares. In the child, unlocking
        // would free its parent's lock; in the parent, closing alone would leave it to the child.
        if !self.is_forked() {
            let _ = self.entry.sys.flock(&self.file, Flock::Unlock);
        }
    }
}
