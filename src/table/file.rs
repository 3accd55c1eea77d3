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
//! moment of a save. Source: `spec/table.md#save`.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::time::Duration;

use super::error::{Result, TableError};
use crate::protocol::pace::Pace;
use crate::sys::entry::{self, Entry, Opened, is_removed};
use crate::sys::hooks::sabotaged;
use crate::sys::{
    Access, Context, FileId, Flock, FlockOutcome, Identity, IoError, SyncMode, TableSys, WakeReason,
};

/// The mode of a new table. A table shows which processes run and where they write: only its user
/// may read it.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// How many replacements to follow after the timeout. Each one is another process's save, so the
/// loop ends in practice; this bounds it.
const ROUNDS: u32 = 32;

/// A table's file, locked by this process.
#[derive(Debug)]
pub(super) struct TableFile<S: TableSys> {
    entry: Entry<S>,
    /// The process that locked it. A forked child shares the kernel lock, and must neither use nor
    /// release it.
    process: Identity,
    file: S::File,
    id: FileId,
}

/// How often a reader looks for a table that is not there, and the pause between two looks.
///
/// Process A saves while reader B looks. On JuiceFS the server answers B first with the file that A removes
/// by its rename, and then that this file is gone: ENOENT, although the name was there at every moment. B
/// took the table for empty, and its own entry for removed.
const LOOKS: u32 = 10;
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The bytes of the table at `path`, and its place; `None` if there is no file. Neither locks nor
/// creates anything: a saved table is whole at every moment. Off local file systems it may sleep for 90 ms
/// before it returns `None`.
pub(super) fn load<S: TableSys>(sys: S, path: &Path) -> Result<Option<(Vec<u8>, Entry<S>)>> {
    let entry = match Entry::open(sys, path) {
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(None),
        entry => entry?,
    };
    let mut looks = 1;
    loop {
        let found = match open_existing(&entry, Access::Read)? {
            Some((file, _)) => read(&entry, &file).map(Some),
            None => Ok(None),
        };
        let is_certain = match &found {
            Ok(None) => entry.is_local(),
            Err(TableError::Io(error)) => !is_removed(&error.source),
            _ => true,
        };
        if is_certain || looks == LOOKS {
            return Ok(found?.map(|bytes| (bytes, entry)));
        }
        looks += 1;
        entry.sys.wait(None, &[], LOOK_AGAIN);
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
        // The file was removed between fstatat(2) and the open, or the fstat(2) after it.
        Err(error) if is_removed(&error.source) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether the path names the open file `id`.
///
/// Off local file systems the answer comes from the server. A saves on another mount, and B obtains the lock of
/// the file that A has replaced. B's mount may remember for a second (JuiceFS) to a minute (NFS) that the name
/// stands for that file, and that it has a name: B took the old table for its own, and its save undid A's. An
/// open asks an NFS server for the name; elsewhere a file that was removed has no link, or the server does not
/// know it.
fn is_named<S: TableSys>(entry: &Entry<S>, id: FileId) -> Result<bool> {
    if entry.is_local() {
        return Ok(entry.stat_if_names(id)?.is_some());
    }
    let Some((file, named)) = open_existing(entry, Access::Read)? else {
        return Ok(false);
    };
    match entry.on_opened(entry.sys.stat_uncached(&file)) {
        Ok(stat) => Ok(named == id && stat.id == id && stat.links > 0),
        Err(error) if is_removed(&error) => Ok(false),
        Err(error) => Ok(Err(error).context("stat", &entry.path)?),
    }
}

fn read<S: TableSys>(entry: &Entry<S>, file: &S::File) -> Result<Vec<u8>> {
    let read = entry.on_opened(entry.sys.read_all(file));
    Ok(read.context("read", &entry.path)?)
}

/// The result of the attempts to lock an opened file.
enum Locking {
    Done,
    /// The path does not name the file any more.
    Replaced,
    /// The path leads to another directory by now.
    Moved,
}

/// A wait for the kernel lock of a table.
struct LockWait<S: TableSys> {
    entry: Entry<S>,
    /// Time since boot.
    started: Duration,
    timeout: Duration,
}

impl<S: TableSys> LockWait<S> {
    /// Opens and locks the file that the path names at the end of the wait.
    fn lock(&mut self) -> Result<(S::File, FileId)> {
        let mut rounds = 0;
        loop {
            let (file, id) = self.open_or_create()?;
            match self.lock_opened(&file, id)? {
                Locking::Done => return Ok((file, id)),
                Locking::Replaced => {}
                Locking::Moved => self.entry = self.entry.open_anew()?,
            }
            rounds += 1;
            if rounds >= ROUNDS {
                self.time_left()?;
            }
        }
    }

    /// Opens the file for writing, although this process never writes to it. The close of a
    /// descriptor that is open for writing is the event that wakes waiters, and NFS locks
    /// exclusively only what is open for writing.
    fn open_or_create(&self) -> Result<(S::File, FileId)> {
        let Entry {
            sys,
            dir,
            name,
            path,
            ..
        } = &self.entry;
        loop {
            if let Some(opened) = open_existing(&self.entry, Access::ReadWrite)? {
                return Ok(opened);
            }
            match sys.create(dir, name, FILE_MODE) {
                // An empty file is an empty table.
                Ok(file) => {
                    let id = sys.stat(&file).context("stat", path)?.id;
                    return Ok((file, id));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Ok(Err(error).context("create the table", path)?),
            }
        }
    }

    /// Waits for the lock of `file`.
    fn lock_opened(&self, file: &S::File, id: FileId) -> Result<Locking> {
        if let Some(ended) = self.try_lock(file, id)? {
            return Ok(ended);
        }
        self.time_left()?;
        // The lock may have been released after that attempt and before the watch: the loop begins
        // with another attempt.
        let mut watch = self.watch(file);
        let mut pace = Pace::new();
        loop {
            match self.try_lock(file, id)? {
                Some(ended) => return Ok(ended),
                None => self.pause(&mut pace, watch.as_mut(), self.time_left()?),
            }
        }
    }

    /// One attempt. `None` if another process holds the lock.
    fn try_lock(&self, file: &S::File, id: FileId) -> Result<Option<Locking>> {
        let Entry { sys, path, .. } = &self.entry;
        let flocked = match self.entry.flock(file, Flock::Exclusive) {
            // A saves, which removes the file that B waits for: the server of a network mount has no lock
            // of a removed file (seen on JuiceFS: ENOENT).
            Err(error) if is_removed(&error) => return Ok(Some(Locking::Replaced)),
            flocked => flocked.context("lock", path)?,
        };
        if let Some(ended) = self.lost_file(id)? {
            if flocked == FlockOutcome::Done {
                // Closing is not enough: a child that was forked meanwhile has a copy.
                let _ = sys.flock(file, Flock::Unlock);
            }
            return Ok(Some(ended));
        }
        match flocked {
            FlockOutcome::Done => Ok(Some(Locking::Done)),
            FlockOutcome::WouldBlock => Ok(None),
            FlockOutcome::Unsupported => {
                let unsupported = Err(io::ErrorKind::Unsupported.into());
                Ok(unsupported.context("lock", path)?)
            }
        }
    }

    /// Why the lock of the file `id` is not the table's any more.
    ///
    /// When A has saved and closed the old file that B waited for, B gets the lock of a file that the
    /// path does not name. The check is made while the lock is busy, too: A may hold the new file for
    /// long, and B must wait for that one. The directory comes last: whatever came after it would be
    /// time in which the directory at the path may be replaced.
    fn lost_file(&self, id: FileId) -> Result<Option<Locking>> {
        if !is_named(&self.entry, id)? && !sabotaged!(self.entry.sys, TableName) {
            return Ok(Some(Locking::Replaced));
        }
        if matches!(self.entry.path_leads_here(), Ok(true)) {
            return Ok(None);
        }
        // The numbers may be made up: what the whole path names decides.
        let is_there = |anew: Entry<S>| matches!(is_named(&anew, id), Ok(true));
        let is_same = !self.entry.is_local() && self.entry.open_anew().is_ok_and(is_there);
        Ok((!is_same).then_some(Locking::Moved))
    }

    /// Sleeps until an event or the next poll, at most for `limit`.
    fn pause(&self, pace: &mut Pace, watch: Option<&mut S::Watch>, limit: Duration) {
        let sys = &self.entry.sys;
        let pause = match watch {
            Some(_) => pace.until_next_look(sys, None),
            None => pace.until_next_poll(sys),
        };
        match sys.wait(watch, &[], pause.min(limit)) {
            WakeReason::FileEvent | WakeReason::ProcessEnded => pace.event(),
            WakeReason::Timeout | WakeReason::Cancelled => {}
        }
    }

    /// Watches for the release of the lock. Not where another mount may release it, of which
    /// inotify reports nothing.
    fn watch(&self, file: &S::File) -> Option<S::Watch> {
        if self.entry.is_local() {
            self.entry.sys.watch(file, None).ok()
        } else {
            None
        }
    }

    /// The time until the timeout.
    ///
    /// # Errors
    ///
    /// The timeout has passed.
    fn time_left(&self) -> Result<Duration> {
        let waited = self.entry.sys.now().since_boot.saturating_sub(self.started);
        let left = self.timeout.saturating_sub(waited);
        if left.is_zero() {
            return Err(TableError::Timeout {
                path: self.entry.path.clone(),
                timeout: self.timeout,
            });
        }
        Ok(left)
    }
}

impl<S: TableSys> TableFile<S> {
    /// Opens and locks the table at `path`, and creates it if it does not exist. Waits up to
    /// `timeout` for the lock.
    pub(super) fn lock(sys: S, path: &Path, timeout: Duration) -> Result<TableFile<S>> {
        let process = sys.identity().context("identify this process", path)?;
        // First, so that no directory is created for a path that cannot name a file.
        entry::file_name(path)?;
        sys.create_dirs(entry::parent(path), DIR_MODE)
            .context("make the directory", path)?;
        let entry = Entry::open(sys, path)?;
        let mut wait = LockWait {
            started: entry.sys.now().since_boot,
            entry,
            timeout,
        };
        let (file, id) = wait.lock()?;
        Ok(TableFile {
            entry: wait.entry,
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

    /// Where the table is.
    pub(super) fn place(&self) -> &Entry<S> {
        &self.entry
    }

    pub(super) fn read(&self) -> Result<Vec<u8>> {
        read(&self.entry, &self.file)
    }

    /// Makes `bytes` the content of the table on stable storage, and keeps the table locked.
    ///
    /// A crash at any step leaves the old table or the new one at the path. An error leaves the old
    /// one; but after an error of the last step, the sync of the directory, it is the new one.
    pub(super) fn replace(&mut self, bytes: &[u8]) -> Result<()> {
        if self.is_forked() {
            return Err(TableError::Forked {
                path: self.entry.path.clone(),
            });
        }
        // Other code may have closed the descriptor, and with it freed the kernel lock.
        self.sys().stat(&self.file).context("stat", self.path())?;
        // If the file was removed, another process may have created and locked a new one, which the
        // rename would destroy.
        if !is_named(&self.entry, self.id)? && !sabotaged!(*self.sys(), TableNameAtSave) {
            return Err(TableError::Replaced {
                path: self.entry.path.clone(),
            });
        }
        let name = self.new_name();
        let (file, id) = self.put_new(&name, bytes)?;
        let old = std::mem::replace(&mut self.file, file);
        self.id = id;
        let Entry { sys, dir, path, .. } = &self.entry;
        // Closing is not enough: waiters must not depend on a forked child that has a copy.
        let _ = sys.flock(&old, Flock::Unlock);
        Ok(sys.sync_dir(dir).context("sync the directory", path)?)
    }

    /// The name of a table that is not complete yet. All processes use the same name: only the
    /// holder of the lock creates such a file, and so removes the one that a killed process left.
    fn new_name(&self) -> OsString {
        let mut name = OsString::from(".");
        name.push(&self.entry.name);
        name.push(".rvlf-new");
        name
    }

    /// Creates a complete new table with the name `name`, and renames it over the old one.
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
                // An error of this unlink would hide the first error, which is the one to report.
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
        // Before the file gets the table's name, so that the table is locked at every moment.
        let flocked = self.entry.flock(file, Flock::Exclusive);
        match flocked.context("lock", path)? {
            FlockOutcome::Done => {}
            FlockOutcome::WouldBlock | FlockOutcome::Unsupported => {
                let refused = Err(io::ErrorKind::WouldBlock.into());
                return refused.context("lock the new table", path);
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
        // would release the parent's lock. In the parent, closing alone would leave the lock to the
        // child.
        if !self.is_forked() {
            let _ = self.entry.sys.flock(&self.file, Flock::Unlock);
        }
    }
}
