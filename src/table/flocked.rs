//! The file that a name stands for, locked by flock(2) while other processes replace it.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::error::{Result, TableError};
use crate::protocol::pace::Pace;
use crate::sys::entry::{Entry, Opened, is_removed, is_replaced};
use crate::sys::hooks::sabotaged;
use crate::sys::{
    Access, Context, FileId, Flock, FlockOutcome, Identity, IoError, Operation, Stat, TableSys,
    WakeReason,
};

/// The mode of a new file. A table shows which processes run and where they write: only its user may read it.
pub(super) const FILE_MODE: u32 = 0o600;

/// The pause between two looks for a file that a mount says is not there.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How many replacements to follow after the timeout. Each one is another process's save, so the
/// loop ends in practice; this bounds it.
const ROUNDS: u32 = 32;

/// Which file is to be locked, and how long it is waited for.
pub(super) struct Request<'a> {
    /// The table, for the error.
    pub(super) path: &'a Path,
    /// Time since boot.
    pub(super) started: Duration,
    pub(super) timeout: Duration,
    /// Whether a file that is not there is created.
    pub(super) creates: bool,
}

/// A file that this process has locked, and that its name stood for at that moment.
#[derive(Debug)]
pub(super) struct Flocked<S: TableSys> {
    entry: Entry<S>,
    /// The process that locked it. A forked child shares the kernel lock, and must neither use nor
    /// release it.
    process: Identity,
    file: S::File,
    id: FileId,
}

impl<S: TableSys> Flocked<S> {
    /// Opens and locks the file, and creates it empty if it does not exist and may be created. `None` if there is
    /// no file.
    pub(super) fn lock(entry: Entry<S>, request: &Request<'_>) -> Result<Option<Flocked<S>>> {
        let process = entry.sys.identity();
        let process = process.context(Operation::Process("identify this process"), &entry.path)?;
        let mut wait = LockWait { entry, request };
        let locked = wait.lock()?;
        Ok(locked.map(|(file, id)| Flocked {
            entry: wait.entry,
            process,
            file,
            id,
        }))
    }

    pub(super) fn entry(&self) -> &Entry<S> {
        &self.entry
    }

    pub(super) fn file(&self) -> &S::File {
        &self.file
    }

    /// Whether the name still stands for the file.
    pub(super) fn is_named(&self) -> Result<bool> {
        // Other code may have closed the descriptor, and with it freed the kernel lock.
        let stat = self.entry.sys.stat(&self.file);
        stat.context(Operation::File("stat"), &self.entry.path)?;
        is_named(&self.entry, self.id)
    }

    /// Whether the path still leads to the directory of the file.
    pub(super) fn path_leads_here(&self) -> bool {
        path_leads_here(&self.entry, self.id)
    }

    /// Goes on with `file`, which is locked and has the name now.
    pub(super) fn replace(&mut self, file: S::File, id: FileId) {
        let old = std::mem::replace(&mut self.file, file);
        self.id = id;
        // Closing is not enough: waiters must not depend on a forked child that has a copy.
        let _ = self.entry.sys.flock(&old, Flock::Unlock);
    }

    /// The process that locked it.
    pub(super) fn process(&self) -> Identity {
        self.process
    }

    pub(super) fn is_forked(&self) -> bool {
        !self.entry.sys.is_this_process(self.process)
    }
}

impl<S: TableSys> Drop for Flocked<S> {
    fn drop(&mut self) {
        // The lock belongs to the open file, which a forked child shares. In the child, unlocking
        // would release the parent's lock. In the parent, closing alone would leave the lock to the
        // child.
        if !self.is_forked() {
            let _ = self.entry.sys.flock(&self.file, Flock::Unlock);
        }
    }
}

/// The result of the attempts to lock an opened file.
enum Locking {
    Done,
    /// The path does not name the file any more.
    Replaced,
    /// The path leads to another directory by now.
    Moved,
}

/// A wait for the kernel lock of a file.
struct LockWait<'a, S: TableSys> {
    entry: Entry<S>,
    request: &'a Request<'a>,
}

impl<S: TableSys> LockWait<'_, S> {
    /// Opens and locks the file that the path names at the end of the wait.
    fn lock(&mut self) -> Result<Option<(S::File, FileId)>> {
        let mut rounds = 0;
        loop {
            let Some((file, id)) = self.open_or_create()? else {
                return Ok(None);
            };
            match self.lock_opened(&file, id)? {
                Locking::Done => return Ok(Some((file, id))),
                Locking::Replaced => {}
                Locking::Moved => match self.entry.open_anew() {
                    Err(error) if !self.request.creates && is_missing(&error) => return Ok(None),
                    anew => self.entry = anew?,
                },
            }
            self.begin_round(&mut rounds)?;
        }
    }

    /// Counts the rounds of a loop that other processes' changes prolong.
    fn begin_round(&self, rounds: &mut u32) -> Result<()> {
        *rounds += 1;
        if *rounds >= ROUNDS {
            self.time_left()?;
        }
        if !self.entry.is_local() {
            self.entry.sys.wait(None, &[], LOOK_AGAIN);
        }
        Ok(())
    }

    /// Opens the file for writing, although this process never writes to it. The close of a
    /// descriptor that is open for writing is the event that wakes waiters, and NFS locks
    /// exclusively only what is open for writing.
    fn open_or_create(&self) -> Result<Option<(S::File, FileId)>> {
        let Entry {
            sys,
            dir,
            name,
            path,
            ..
        } = &self.entry;
        let mut rounds = 0;
        loop {
            match open_existing(&self.entry, Access::ReadWrite)? {
                Found::File(file, stat) => return Ok(Some((file, stat.id))),
                Found::Absent if !self.request.creates => return Ok(None),
                Found::Removed(_) if !self.request.creates => {
                    self.begin_round(&mut rounds)?;
                    continue;
                }
                Found::Absent | Found::Removed(_) => {}
            }
            match sys.create(dir, name, FILE_MODE) {
                // An empty file is an empty table.
                Ok(file) => {
                    let id = sys.stat(&file).context(Operation::File("stat"), path)?.id;
                    return Ok(Some((file, id)));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Ok(Err(error).context(Operation::NewName("create the file"), path)?);
                }
            }
            self.begin_round(&mut rounds)?;
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
        let flocked = self.entry.flock(file, Flock::Exclusive);
        let flocked = match self.entry.on_opened(flocked) {
            // A saves, which removes the file that B waits for: the server of a network mount has no lock
            // of a removed file (seen on JuiceFS: ENOENT).
            Err(error) if is_removed(&error) => return Ok(Some(Locking::Replaced)),
            flocked => flocked.context(Operation::KernelLock("lock"), path)?,
        };
        if let Some(ended) = lost(&self.entry, id)? {
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
                Ok(unsupported.context(Operation::KernelLock("lock"), path)?)
            }
        }
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
            let is_locked = true;
            self.entry.sys.watch(file, None, is_locked).ok()
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
        let now = self.entry.sys.now().since_boot;
        let waited = now.saturating_sub(self.request.started);
        let left = self.request.timeout.saturating_sub(waited);
        if left.is_zero() {
            return Err(TableError::Timeout {
                path: self.request.path.to_owned(),
                timeout: self.request.timeout,
            });
        }
        Ok(left)
    }
}

/// Why the lock of the file `id` is not the name's any more.
///
/// When A has replaced and closed the old file that B waited for, B gets the lock of a file that the
/// path does not name. The check is made while the lock is busy, too: A may hold the new file for
/// long, and B must wait for that one. The directory comes last: whatever came after it would be
/// time in which the directory at the path may be replaced.
fn lost<S: TableSys>(entry: &Entry<S>, id: FileId) -> Result<Option<Locking>> {
    if !is_named(entry, id)? && !sabotaged!(entry.sys, TableName) {
        return Ok(Some(Locking::Replaced));
    }
    Ok((!path_leads_here(entry, id)).then_some(Locking::Moved))
}

/// Whether the path leads to the directory that is open, in which the file `id` is.
fn path_leads_here<S: TableSys>(entry: &Entry<S>, id: FileId) -> bool {
    if matches!(entry.path_leads_here(), Ok(true)) {
        return true;
    }
    // The numbers may be made up: what the whole path names decides.
    let is_there = |anew: Entry<S>| matches!(is_named(&anew, id), Ok(true));
    !entry.is_local() && entry.open_anew().is_ok_and(is_there)
}

/// Whether the name stands for the file `id`.
fn is_named<S: TableSys>(entry: &Entry<S>, id: FileId) -> Result<bool> {
    if entry.is_local() {
        return Ok(entry.stat_if_names(id)?.is_some());
    }
    let found = open_uncached(entry)?;
    Ok(matches!(found, Found::File(_, stat) if stat.id == id))
}

/// Whether a directory could not be opened because it is not there.
pub(super) fn is_missing(error: &IoError) -> bool {
    error.source.kind() == io::ErrorKind::NotFound
}

/// What a name stands for.
pub(super) enum Found<F> {
    Absent,
    /// A file that was removed, or replaced, between two calls; or a mount remembers one.
    Removed(io::Error),
    File(F, Stat),
}

/// Opens what the name stands for at the server, whatever this mount remembers.
///
/// [`Entry::stat_at`] makes most mounts forget. For others: the server does not know the old file, or has no link
/// of it, although the mount shows one.
pub(super) fn open_uncached<S: TableSys>(entry: &Entry<S>) -> Result<Found<S::File>> {
    let (file, shown) = match open_existing(entry, Access::Read)? {
        Found::File(file, stat) => (file, stat),
        found => return Ok(found),
    };
    match entry.on_opened(entry.sys.stat_uncached(&file)) {
        Ok(stat) if stat.links == 0 && shown.links > 0 => {
            Ok(Found::Removed(io::ErrorKind::StaleNetworkFileHandle.into()))
        }
        Ok(_) => Ok(Found::File(file, shown)),
        Err(error) if is_removed(&error) => Ok(Found::Removed(error)),
        Err(error) => Ok(Err(error).context(Operation::File("stat"), &entry.path)?),
    }
}

/// Opens the file that the name stands for.
pub(super) fn open_existing<S: TableSys>(
    entry: &Entry<S>,
    access: Access,
) -> Result<Found<S::File>> {
    match entry.open_existing(|| entry.open_now(access)) {
        Ok(Opened::Absent) => Ok(Found::Absent),
        Ok(Opened::Irregular(found)) => Err(TableError::NotRegular {
            path: entry.path.clone(),
            found,
        }),
        Ok(Opened::Denied { error, .. }) => Err(error.into()),
        Ok(Opened::File(file, stat)) => Ok(Found::File(file, stat)),
        // The file was removed between fstatat(2) and the open, or the fstat(2) after it.
        Err(error) if is_removed(&error.source) => Ok(Found::Removed(error.source)),
        Err(error) if !entry.is_local() && is_replaced(&error.source) => {
            Ok(Found::Removed(error.source))
        }
        Err(error) => Err(error.into()),
    }
}
