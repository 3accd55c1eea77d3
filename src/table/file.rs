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
//! The holder of the table is the process that holds the kernel lock of the inode that the path
//! names. The new inode is locked before it gets the name, so that the table is locked at every
//! moment of a save.
//!
//! Off local file systems that does not exclude, and the lock is that of a file beside the table, which is
//! never replaced. Two facts of mounts, each seen with eight processes on two of them:
//!
//! * A client of NFS renames an open file away before it renames another one over it. For that moment the name
//!   stands for nothing: B created an empty table, and two processes had locked a table.
//! * A mount remembers for a second (JuiceFS) to a minute (NFS) what a name stands for. A saved on one mount. B,
//!   on another one, locked the old inode, and found that the path named it.
//!
//! Source: `spec/table.md#save`.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::time::Duration;

use super::error::{Result, TableError};
use super::flocked::{
    FILE_MODE, Flocked, Found, LOOK_AGAIN, Patience, open_existing, open_uncached,
};
use crate::sys::entry::{self, Entry, is_removed};
use crate::sys::hooks::sabotaged;
use crate::sys::{Access, Context, FileId, Flock, FlockOutcome, SyncMode, Sys, TableSys};

const DIR_MODE: u32 = 0o700;

/// A table's file, locked by this process.
#[derive(Debug)]
pub(super) struct TableFile<S: TableSys> {
    lock: TableLock<S>,
}

#[derive(Debug)]
enum TableLock<S: TableSys> {
    /// The table's own file.
    Own(Flocked<S>),
    /// The file beside it. The table is not kept open: a client of NFS could not replace it in one step.
    Beside { table: Entry<S>, lock: Flocked<S> },
}

/// For how long a mount may remember what a name stood for: JuiceFS for a second by default. Mounts of NFS are made
/// to forget.
const LONGEST_MEMORY: Duration = Duration::from_secs(60);

/// For how long a reader looks for a table that is not there although processes have locked it. It may have been
/// removed by a person.
const LONGEST_SEARCH: Duration = Duration::from_secs(5);

/// The bytes of the table at `path`, and its place; `None` if there is no file. Neither locks nor
/// creates anything: a saved table is whole at every moment. Off local file systems it may sleep for 5 s.
pub(super) fn load<S: TableSys>(sys: S, path: &Path) -> Result<Option<(Vec<u8>, Entry<S>)>> {
    let entry = match Entry::open(sys, path) {
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(None),
        entry => entry?,
    };
    let bytes = if entry.is_local() {
        let found = open_existing(&entry, Access::Read)?;
        found.file().map(|file| read(&entry, &file)).transpose()?
    } else {
        search(&entry)?
    };
    Ok(bytes.map(|bytes| (bytes, entry)))
}

/// The bytes of a table that is not on a local file system.
///
/// Process A has saved on one mount. The mount of reader B remembers the file that A has replaced, and reports that
/// this file is not there: B took the table for empty, and its own entry for removed. Only if no process has ever
/// locked the table, it is not there.
fn search<S: TableSys>(entry: &Entry<S>) -> Result<Option<Vec<u8>>> {
    let started = entry.sys.now().since_boot;
    let lock = lock_entry(entry)?;
    loop {
        let found = match open_uncached(entry)?.file() {
            Some(file) => read(entry, &file).map(Some),
            None => Ok(None),
        };
        let is_certain = match &found {
            Ok(None) => lock.stat()?.is_none(),
            Err(TableError::Io(error)) => !is_removed(&error.source),
            _ => true,
        };
        let searched = entry.sys.now().since_boot.saturating_sub(started);
        if is_certain || searched > LONGEST_SEARCH {
            return found;
        }
        entry.sys.wait(None, &[], LOOK_AGAIN);
    }
}

fn read<S: TableSys>(entry: &Entry<S>, file: &S::File) -> Result<Vec<u8>> {
    let read = entry.on_opened(entry.sys.read_all(file));
    Ok(read.context("read", &entry.path)?)
}

/// `.NAME.rvlf-SUFFIX`
fn name_beside(name: &OsStr, suffix: &str) -> OsString {
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(".rvlf-");
    beside.push(suffix);
    beside
}

impl<S: TableSys> TableFile<S> {
    /// Opens and locks the table at `path`, and creates its directory if it does not exist. Waits up to
    /// `timeout` for the lock.
    pub(super) fn lock(sys: S, path: &Path, timeout: Duration) -> Result<TableFile<S>> {
        // First, so that no directory is created for a path that cannot name a file.
        entry::file_name(path)?;
        sys.create_dirs(entry::parent(path), DIR_MODE)
            .context("make the directory", path)?;
        let table = Entry::open(sys, path)?;
        let patience = Patience {
            path,
            started: table.sys.now().since_boot,
            timeout,
        };
        let lock = if table.is_local() {
            TableLock::Own(Flocked::lock(table, &patience)?)
        } else {
            lock_beside(&table, &patience)?
        };
        Ok(TableFile { lock })
    }

    pub(super) fn sys(&self) -> &S {
        &self.place().sys
    }

    pub(super) fn path(&self) -> &Path {
        &self.place().path
    }

    /// Where the table is.
    pub(super) fn place(&self) -> &Entry<S> {
        match &self.lock {
            TableLock::Own(lock) => lock.entry(),
            TableLock::Beside { table, .. } => table,
        }
    }

    fn flocked(&self) -> &Flocked<S> {
        match &self.lock {
            TableLock::Own(lock) | TableLock::Beside { lock, .. } => lock,
        }
    }

    pub(super) fn read(&self) -> Result<Vec<u8>> {
        match &self.lock {
            TableLock::Own(lock) => read(lock.entry(), lock.file()),
            TableLock::Beside { table, .. } => read(table, &open_current(table)?),
        }
    }

    /// Makes `bytes` the content of the table on stable storage, and keeps the table locked.
    ///
    /// A crash at any step leaves the old table or the new one at the path. An error leaves the old
    /// one; but after an error of the last step, the sync of the directory, it is the new one.
    pub(super) fn replace(&mut self, bytes: &[u8]) -> Result<()> {
        let path = || self.path().to_owned();
        if self.is_forked() {
            return Err(TableError::Forked { path: path() });
        }
        // If the locked file was removed, another process may have created and locked a new one, and the
        // rename would destroy its table.
        if !self.flocked().is_named()? && !sabotaged!(*self.sys(), TableNameAtSave) {
            return Err(TableError::Replaced { path: path() });
        }
        let (file, id) = self.put_new(bytes)?;
        if let TableLock::Own(lock) = &mut self.lock {
            lock.replace(file, id);
        }
        let Entry { sys, dir, path, .. } = self.place();
        Ok(sys.sync_dir(dir).context("sync the directory", path)?)
    }

    /// Creates a complete new table, and renames it over the old one.
    ///
    /// All processes use the same name for a table that is not complete yet: only the holder of the lock
    /// creates such a file, and so removes the one that a killed process left.
    fn put_new(&self, bytes: &[u8]) -> Result<(S::File, FileId)> {
        let Entry {
            sys,
            dir,
            name: old,
            path,
            ..
        } = self.place();
        let name = name_beside(old, "new");
        let created = self.create_new(&name);
        let file = created.context("create the new table", path)?;
        let renamed = self.fill(&file, bytes).and_then(|id| {
            let renamed = sys.rename(dir, &name, old);
            renamed.context("rename the new table", path)?;
            Ok(id)
        });
        match renamed {
            Ok(id) => Ok((file, id)),
            Err(error) => {
                // An error of this unlink would hide the first error, which is the one to report.
                let _ = sys.unlink(dir, &name);
                Err(error)
            }
        }
    }

    fn create_new(&self, name: &OsStr) -> io::Result<S::File> {
        let Entry { sys, dir, .. } = self.place();
        match sys.create(dir, name, FILE_MODE) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                sys.unlink(dir, name)?;
                sys.create(dir, name, FILE_MODE)
            }
            outcome => outcome,
        }
    }

    fn fill(&self, file: &S::File, bytes: &[u8]) -> Result<FileId> {
        let Entry { sys, path, .. } = self.place();
        let id = sys.stat(file).context("stat", path)?.id;
        if let TableLock::Own(_) = &self.lock {
            self.lock_new(file)?;
        }
        let written = sys.write_all(file, bytes);
        written.context("write the new table", path)?;
        self.copy_access(file)?;
        let synced = sys.sync(file, SyncMode::All);
        synced.context("sync the new table", path)?;
        Ok(id)
    }

    /// Before the file gets the table's name, so that the table is locked at every moment.
    fn lock_new(&self, file: &S::File) -> Result<()> {
        let Entry { path, .. } = self.place();
        let flocked = self.place().flock(file, Flock::Exclusive);
        match flocked.context("lock", path)? {
            FlockOutcome::Done => Ok(()),
            FlockOutcome::WouldBlock | FlockOutcome::Unsupported => {
                let refused = Err(io::ErrorKind::WouldBlock.into());
                Ok(refused.context("lock the new table", path)?)
            }
        }
    }

    /// Gives the new table the mode and the owner of the old one.
    fn copy_access(&self, file: &S::File) -> Result<()> {
        let Entry { sys, path, .. } = self.place();
        let copied = match &self.lock {
            TableLock::Own(lock) => sys.copy_access(lock.file(), file),
            TableLock::Beside { table, .. } => sys.copy_access(&open_current(table)?, file),
        };
        Ok(copied.context("keep the table's permissions", path)?)
    }

    pub(super) fn is_forked(&self) -> bool {
        self.flocked().is_forked()
    }
}

/// The file beside the table that carries its lock off local file systems.
pub(super) fn lock_entry<S: Sys>(table: &Entry<S>) -> Result<Entry<S>> {
    Ok(table.beside(&name_beside(&table.name, "lock"))?)
}

fn lock_beside<S: TableSys>(table: &Entry<S>, patience: &Patience<'_>) -> Result<TableLock<S>> {
    loop {
        let beside = lock_entry(table)?;
        let is_new = beside.stat()?.is_none();
        let lock = Flocked::lock(beside, patience)?;
        let table = lock.entry().beside(&table.name)?;
        if is_new {
            share_like(&table, &lock);
        }
        // The path led to the directory of the lock before the table's was opened, and leads there now: it is the
        // same one.
        if lock.is_at_the_path()? {
            return Ok(TableLock::Beside { table, lock });
        }
    }
}

/// Gives a new lock file the mode and the owner of the table: whoever may write the table may lock it. Best effort:
/// where it fails, the error that another user gets names the lock file.
fn share_like<S: TableSys>(table: &Entry<S>, lock: &Flocked<S>) {
    if let Ok(Found::File(table, _)) = open_uncached(table) {
        let _ = lock.entry().sys.copy_access(&table, lock.file());
    }
}

/// Opens the table for the holder of the lock beside it, and creates it empty if there is none.
///
/// No other process saves now. But this mount may remember what the name stood for before the last save, and
/// report that this file is not there: only an exclusive create finds out that there is no table. The holder
/// waits until the mount has forgotten the old file.
fn open_current<S: TableSys>(table: &Entry<S>) -> Result<S::File> {
    let Entry { sys, dir, name, .. } = table;
    let started = sys.now().since_boot;
    loop {
        let stale = match open_uncached(table)? {
            Found::File(file, _) => return Ok(file),
            Found::Removed(error) => error,
            Found::Absent => match sys.create(dir, name, FILE_MODE) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => error,
                created => return Ok(created.context("create", &table.path)?),
            },
        };
        if sys.now().since_boot.saturating_sub(started) > LONGEST_MEMORY {
            return Ok(Err(stale).context("open", &table.path)?);
        }
        sys.wait(None, &[], LOOK_AGAIN);
    }
}
