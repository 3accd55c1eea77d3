//! [`Allocation`]: an entry of this process that is released when its handle is dropped.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::claim::Claim;
use super::entry::{Entry, HolderId};
use super::error::{Result, TableError};
use super::guard::TableGuard;
use super::kept_bytes::KeptBytes;
use super::rule::ScopeRule;
use super::segment::is_same_segment;
use super::snapshot::snapshot;
use super::witness::{LockedByte, Witness};
use crate::record::WriterId;
use crate::sync::{Mutex, MutexGuard, lock};
use crate::sys::{Host, Identity, TableSys};

/// How long a release waits for the table. An operation takes milliseconds, so this outlasts a
/// queue of hundreds; and a process that hangs with the lock must not keep other processes from
/// ending.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(10);

/// An entry of this process in a table, until it is released or dropped. Each method opens the
/// table, locks it for as long as the operation takes, and closes it.
///
/// **What it does not protect against**: programs that do not use the table; and the removal of the
/// entry while this process lives (by `rvlf table release`, or by a parent's
/// [`reclaim`](Allocation::reclaim)). Call [`check`](Allocation::check) right before each commit to
/// detect the removal.
///
/// **Drop** releases the entry, ignores errors, and waits up to 10 s for the table.
/// [`release`](Allocation::release) reports errors. Do not drop an allocation while this thread
/// holds a [`TableGuard`] of the same table: the drop then waits 10 s and leaves the entry in the
/// table.
///
/// **Fork**: the entry belongs to the process that made it. In a forked child every method fails
/// with [`TableError::Forked`], and dropping the copy does nothing. **Exec** keeps the entry for
/// processes that see this pid; processes in other containers reclaim it, as if this process had
/// ended. A program that registers and then executes another one uses [`TableGuard::register`].
/// **Crash**: the entry stays in the table until the next operation of any process reclaims it.
///
/// **chroot, pivot_root and setuid**: each method follows the path of the table anew. In a process that has
/// changed its root, the path leads elsewhere: `check` and `release` report the entry as lost, although other
/// processes see it. A process that has given up the right to change the table cannot release its entry. In both
/// cases the entry stays until the process has ended.
///
/// **Other programs**: a save by a program that does not know the field `holder` drops it. The
/// allocation still recognises its entry, by pid, segment, socket and scope, and its next change of
/// the table restores the field. Until then other processes judge the entry by its pid alone, and
/// processes in other containers may take it for dead.
///
/// **Descriptor**: on a local file system an allocation keeps the table's directory open, by which
/// processes in other containers see whether this one is alive. If other code closes the
/// descriptor, they take this process for dead. A forked child that keeps its copy keeps the entry
/// of its dead parent there. If the allocation has delegated, the process keeps the directory open after the release
/// too: until it has changed the table through an allocation when no placeholder names the lock any more.
///
/// ```
/// use std::time::Duration;
/// use rvlf::table::{Allocation, Claim, ScopeRule, new_segment};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("table.json");
/// let timeout = Duration::from_secs(10);
/// let claim = Claim::new("indexer").allow(ScopeRule::write("/data"));
/// let parent = Allocation::register(&path, &claim, &new_segment()?, timeout)?;
/// parent.delegate(&Claim::new("child").allow(ScopeRule::write("/data/a")), timeout)?;
///
/// // As a rule in a child process:
/// let child = Allocation::adopt(&path, "child", &new_segment()?, timeout)?;
/// child.check()?;
/// child.release()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "the entry is released as soon as the allocation is dropped"]
pub struct Allocation {
    name: String,
    path: PathBuf,
    writer_id: WriterId,
    /// The entry as it was seen last, and as a change that has failed since may have left it: to recognise it
    /// after a program that does not know `holder` has saved the table.
    seen: Mutex<Vec<Entry>>,
    /// The process that made the entry: a forked child that has a copy must not release it. `None`
    /// after the release.
    process: Option<Identity>,
    /// Shows processes in other containers that this one is alive.
    byte: Option<Arc<LockedByte<Host>>>,
}

impl Allocation {
    /// Registers an entry for this process, which writes `segment`; see [`TableGuard::register`]. Any
    /// text is a segment; a program that shares the table with `yoi` passes a UUID.
    ///
    /// Waits up to `timeout` for the lock of the table, and not for other holders to release what
    /// they hold.
    ///
    /// # Errors
    ///
    /// As [`TableGuard::open`], [`TableGuard::register`] and [`TableGuard::save`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use rvlf::table::{Allocation, Claim, ScopeRule, new_segment};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// let claim = Claim::new("indexer").allow(ScopeRule::write("/data/index"));
    /// let segment = new_segment()?;
    /// let indexer = Allocation::register(&path, &claim, &segment, Duration::from_secs(10))?;
    /// assert_eq!(indexer.name(), "indexer");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn register(
        path: impl AsRef<Path>,
        claim: &Claim,
        segment: &str,
        timeout: Duration,
    ) -> Result<Allocation> {
        let mut guard = TableGuard::open(absolute(path.as_ref()), timeout)?;
        let byte = guard.lock_byte()?;
        let witness = byte.as_ref().map(|byte| &byte.witness);
        let writer_id = guard.register_witnessed(claim, segment, witness)?;
        Allocation::save(guard, claim.name(), writer_id, byte)
    }

    /// Makes this process, which writes `segment`, the holder of the placeholder `name` that a
    /// parent delegated; see [`TableGuard::adopt`]. Waits up to `timeout` for the lock of the
    /// table.
    ///
    /// The name alone decides what this process gets. If the parent has died, and another one has delegated
    /// another part by the same name, it gets that part: give each placeholder a name of its own, such as a UUID.
    ///
    /// # Errors
    ///
    /// As [`TableGuard::open`], [`TableGuard::adopt`] and [`TableGuard::save`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use rvlf::table::{Allocation, Claim, ScopeRule, new_segment};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// # let timeout = Duration::from_secs(10);
    /// # let claim = Claim::new("parent").allow(ScopeRule::write("/data"));
    /// # let parent = Allocation::register(&path, &claim, &new_segment()?, timeout)?;
    /// # parent.delegate(&Claim::new("child").allow(ScopeRule::write("/data/a")), timeout)?;
    /// // In the child process; the parent has passed the name, say as an argument:
    /// let child = Allocation::adopt(&path, "child", &new_segment()?, timeout)?;
    /// assert_ne!(child.writer_id(), parent.writer_id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn adopt(
        path: impl AsRef<Path>,
        name: &str,
        segment: &str,
        timeout: Duration,
    ) -> Result<Allocation> {
        let mut guard = TableGuard::open(absolute(path.as_ref()), timeout)?;
        let byte = guard.lock_byte()?;
        let witness = byte.as_ref().map(|byte| &byte.witness);
        let writer_id = guard.adopt_witnessed(name, segment, witness)?;
        Allocation::save(guard, name, writer_id, byte)
    }

    fn save(
        mut guard: TableGuard,
        name: &str,
        writer_id: WriterId,
        byte: Option<LockedByte<Host>>,
    ) -> Result<Allocation> {
        let allocation = Allocation {
            name: name.to_owned(),
            path: guard.path().to_owned(),
            writer_id,
            seen: Mutex::new(guard.table().find(name).cloned().into_iter().collect()),
            process: Some(guard.process()),
            byte: byte.map(Arc::new),
        };
        let saved = guard.save();
        // After a failed sync of the directory the entry is in the table, and no other process
        // would release it while this process lives. Dropping the allocation does, and needs the
        // lock.
        drop(guard);
        saved.map(|()| allocation)
    }

    /// The name of the entry.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use rvlf::table::{Allocation, Claim, ScopeRule, new_segment};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// # let claim = Claim::new("indexer").allow(ScopeRule::write("/data"));
    /// # let segment = new_segment()?;
    /// # let indexer = Allocation::register(&path, &claim, &segment, Duration::from_secs(10))?;
    /// assert_eq!(indexer.name(), "indexer");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path of the table's file, made absolute.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use rvlf::table::{Allocation, Claim, ScopeRule, new_segment};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// # let claim = Claim::new("indexer").allow(ScopeRule::write("/data"));
    /// # let segment = new_segment()?;
    /// # let indexer = Allocation::register(&path, &claim, &segment, Duration::from_secs(10))?;
    /// assert!(indexer.table_path().is_absolute());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn table_path(&self) -> &Path {
        &self.path
    }

    /// The id of this hold of the entry. Store it with the data to show later which hold wrote
    /// them.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use rvlf::table::{Allocation, Claim, ScopeRule, new_segment};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// # let claim = Claim::new("indexer").allow(ScopeRule::write("/data"));
    /// # let segment = new_segment()?;
    /// # let indexer = Allocation::register(&path, &claim, &segment, Duration::from_secs(10))?;
    /// println!("written by {}", indexer.writer_id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn writer_id(&self) -> WriterId {
        self.writer_id
    }

    /// Checks that the entry still belongs to this allocation. Call it right before each commit.
    ///
    /// Reads the table without its lock and never waits for it. On a network file system it may block as
    /// [`snapshot`] does. The result describes the moment of the call: an entry that is removed right after a
    /// check is found by the next check.
    ///
    /// # Errors
    ///
    /// [`Lost`](TableError::Lost) or [`Forked`](TableError::Forked): stop writing. Any other error
    /// means that the table could not be read, and says nothing about the entry.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use rvlf::table::{Allocation, Claim, ScopeRule, TableError, TableGuard, new_segment};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// # let timeout = Duration::from_secs(10);
    /// # let claim = Claim::new("indexer").allow(ScopeRule::write("/data"));
    /// # let indexer = Allocation::register(&path, &claim, &new_segment()?, timeout)?;
    /// indexer.check()?; // The entry is still held: commit the data now.
    ///
    /// // An operator removes the entry:
    /// let mut guard = TableGuard::open(&path, timeout)?;
    /// guard.release("indexer")?;
    /// guard.save()?;
    /// assert!(matches!(indexer.check(), Err(TableError::Lost { .. })));
    /// # drop(guard);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn check(&self) -> Result<()> {
        self.ensure_not_forked()?;
        let table = snapshot(&self.path)?.table;
        self.own_entry(table.find(&self.name)).map(drop)
    }

    /// Delegates what `claim` requests to a child that will [`adopt`](Allocation::adopt) it; see
    /// [`TableGuard::delegate`]. Waits up to `timeout` for the lock of the table.
    ///
    /// # Errors
    ///
    /// [`Lost`](TableError::Lost), [`Forked`](TableError::Forked), or as [`TableGuard::open`],
    /// [`TableGuard::delegate`] and [`TableGuard::save`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use rvlf::table::{Allocation, Claim, ScopeRule, TableError, new_segment};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// # let timeout = Duration::from_secs(10);
    /// # let claim = Claim::new("parent").allow(ScopeRule::write("/data"));
    /// # let parent = Allocation::register(&path, &claim, &new_segment()?, timeout)?;
    /// parent.delegate(&Claim::new("child").allow(ScopeRule::write("/data/a")), timeout)?;
    ///
    /// // The same part cannot be delegated twice:
    /// let twice = Claim::new("other").allow(ScopeRule::write("/data/a/b"));
    /// let refused = parent.delegate(&twice, timeout);
    /// assert!(matches!(refused, Err(TableError::WriteConflict { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delegate(&self, claim: &Claim, timeout: Duration) -> Result<()> {
        self.change(timeout, |guard| {
            let witness = self.lasting_witness();
            let delegated = guard.delegate_witnessed(&self.name, claim, witness);
            delegated.map(drop)
        })
    }

    /// As [`delegate`](Allocation::delegate), where this process may hand out more than its entry may
    /// do: anything within `authority`; see [`Table::delegate_within`](super::Table::delegate_within).
    ///
    /// # Errors
    ///
    /// [`Lost`](TableError::Lost), [`Forked`](TableError::Forked), or as [`TableGuard::open`],
    /// [`TableGuard::delegate_within`] and [`TableGuard::save`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use rvlf::table::{Allocation, Claim, ScopeRule, new_segment};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// # let timeout = Duration::from_secs(10);
    /// let claim = Claim::new("orchestrator").allow(ScopeRule::read("/work"));
    /// let orchestrator = Allocation::register(&path, &claim, &new_segment()?, timeout)?;
    /// let task = Claim::new("coder").allow(ScopeRule::write("/work/task"));
    /// orchestrator.delegate_within(&[ScopeRule::write("/work")], &task, timeout)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delegate_within(
        &self,
        authority: &[ScopeRule],
        claim: &Claim,
        timeout: Duration,
    ) -> Result<()> {
        self.change(timeout, |guard| {
            let (name, witness) = (&self.name, self.lasting_witness());
            let delegated = guard.delegate_within_witnessed(name, authority, claim, witness);
            delegated.map(drop)
        })
    }

    /// Takes back what this entry delegated to the entry `child`, and removes the deny rules that
    /// equal those of `delegated`; see [`TableGuard::reclaim_delegated`]. Waits up to `timeout` for the
    /// lock of the table.
    ///
    /// The process of the child is not stopped: call this after it has ended or stopped writing.
    ///
    /// # Errors
    ///
    /// [`Lost`](TableError::Lost), [`Forked`](TableError::Forked), or as [`TableGuard::open`],
    /// [`TableGuard::reclaim_delegated`] and [`TableGuard::save`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use rvlf::table::{Allocation, Claim, ScopeRule, new_segment};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// # let timeout = Duration::from_secs(10);
    /// # let claim = Claim::new("parent").allow(ScopeRule::write("/data"));
    /// # let parent = Allocation::register(&path, &claim, &new_segment()?, timeout)?;
    /// let part = Claim::new("child").allow(ScopeRule::write("/data/a"));
    /// parent.delegate(&part, timeout)?;
    /// parent.reclaim("child", &[], timeout)?;
    /// parent.delegate(&part, timeout)?; // The part is the parent's again.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reclaim(&self, child: &str, delegated: &[ScopeRule], timeout: Duration) -> Result<()> {
        self.change(timeout, |guard| {
            guard.reclaim_delegated(&self.name, child, delegated)
        })
    }

    /// Changes the segment that this process writes. Waits up to `timeout` for the lock of the
    /// table.
    ///
    /// # Errors
    ///
    /// [`Lost`](TableError::Lost), [`Forked`](TableError::Forked), or as [`TableGuard::open`],
    /// [`TableGuard::update_segment`] and [`TableGuard::save`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use rvlf::table::{Allocation, Claim, ScopeRule, new_segment};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// # let timeout = Duration::from_secs(10);
    /// # let claim = Claim::new("indexer").allow(ScopeRule::write("/data"));
    /// # let indexer = Allocation::register(&path, &claim, &new_segment()?, timeout)?;
    /// indexer.update_segment(&new_segment()?, timeout)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn update_segment(&self, segment: &str, timeout: Duration) -> Result<()> {
        self.change(timeout, |guard| guard.update_segment(&self.name, segment))
    }

    /// Releases the entry. Its remaining children are handed to its parent. Waits up to 10 s for
    /// the lock of the table.
    ///
    /// # Errors
    ///
    /// [`ReleaseError`], which returns the allocation. After [`Lost`](TableError::Lost) there is
    /// nothing to release, and the table is unchanged.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use rvlf::table::{Allocation, Claim, ScopeRule, new_segment};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// # let claim = Claim::new("indexer").allow(ScopeRule::write("/data"));
    /// # let segment = new_segment()?;
    /// # let indexer = Allocation::register(&path, &claim, &segment, Duration::from_secs(10))?;
    /// if let Err(failed) = indexer.release() {
    ///     eprintln!("{failed}"); // Dropping `failed` tries to release once more.
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn release(mut self) -> std::result::Result<(), ReleaseError> {
        match self.remove_entry() {
            Ok(()) => {
                // The drop must not release the entry once more.
                self.process = None;
                Ok(())
            }
            Err(error) => Err(ReleaseError {
                error,
                allocation: Box::new(self),
            }),
        }
    }

    fn remove_entry(&self) -> Result<()> {
        self.change(RELEASE_TIMEOUT, |guard| guard.release(&self.name).map(drop))
    }

    fn change(
        &self,
        timeout: Duration,
        operation: impl FnOnce(&mut TableGuard) -> Result<()>,
    ) -> Result<()> {
        self.ensure_not_forked()?;
        // A table that was removed stays removed: an entry in a new one would be no hold, and the directory may
        // be another user's by now.
        let Some(mut guard) = TableGuard::open_existing(&self.path, timeout)? else {
            return Err(self.lost(None));
        };
        let held = self.own_entry(guard.table().find(&self.name))?;
        if let Some(entry) = guard.table_mut().find_mut(&self.name) {
            entry.holder = held;
        }
        operation(&mut guard)?;
        let changed = guard.table().find(&self.name).cloned();
        // Remembered before the save: after an error, the old table is there, or the new one.
        self.seen().extend(changed.clone());
        guard.save()?;
        *self.seen() = changed.into_iter().collect();
        KeptBytes::of_this_process().forget_unnamed(&self.path, guard.table());
        Ok(())
    }

    /// The witness for a placeholder, which may stay in the table for longer than this allocation.
    ///
    /// For a caller that has locked the table. If thread A kept the byte and then waited for the table, thread B, which
    /// had it locked and read no entry that names the byte, would forget it before A saves the placeholder.
    fn lasting_witness(&self) -> Option<&Witness> {
        let byte = self.byte.as_ref()?;
        if let Some(process) = self.process {
            KeptBytes::of_this_process().keep(&self.path, process, byte);
        }
        Some(&byte.witness)
    }

    fn seen(&self) -> MutexGuard<'_, Vec<Entry>> {
        lock(&self.seen)
    }

    fn ensure_not_forked(&self) -> Result<()> {
        let is_this = |process| Host.is_this_process(process);
        if self.process.is_some_and(is_this) {
            return Ok(());
        }
        Err(TableError::Forked {
            path: self.path.clone(),
        })
    }

    /// The holder of `entry`, which has the name of this allocation's, as it shall be in the table.
    ///
    /// # Errors
    ///
    /// [`Lost`](TableError::Lost): the entry is not this allocation's.
    fn own_entry(&self, entry: Option<&Entry>) -> Result<Option<HolderId>> {
        let mut seen = self.seen();
        if let Some(entry) = entry {
            if entry.writer_id() == Some(self.writer_id) {
                *seen = vec![entry.clone()];
                return Ok(entry.holder.clone());
            }
            if let Some(same) = seen.iter().find(|seen| is_same_hold(seen, entry)).cloned() {
                *seen = vec![same.clone()];
                return Ok(same.holder);
            }
        }
        Err(self.lost(entry.map(|entry| entry.pid)))
    }

    fn lost(&self, held_by: Option<u32>) -> TableError {
        TableError::Lost {
            name: self.name.clone(),
            path: self.path.clone(),
            held_by,
        }
    }
}

/// `path` for all calls of an allocation. A chdir(2) of another thread, while the first call waits for the table or
/// later, must not make the next one look for the entry in another directory.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Whether `entry` is `seen` without its holder, which a program that does not know that field has
/// dropped. Denials are not compared: a reclaim by hand changes them.
fn is_same_hold(seen: &Entry, entry: &Entry) -> bool {
    entry.holder.is_none()
        && entry.pid == seen.pid
        && is_same_segment(entry.segment.as_deref(), seen.segment.as_deref())
        && entry.socket == seen.socket
        && entry.allow == seen.allow
}

impl Drop for Allocation {
    fn drop(&mut self) {
        let Some(process) = self.process else {
            return;
        };
        if Host.is_this_process(process) {
            let _ = self.remove_entry();
        } else if let Some(byte) = &self.byte {
            // A child's copy would show its dead parent as alive.
            KeptBytes::of_this_process().forget(byte);
        }
    }
}

impl fmt::Debug for Allocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Allocation")
            .field("name", &self.name)
            .field("table_path", &self.path)
            .field("writer_id", &self.writer_id)
            .finish_non_exhaustive()
    }
}

/// An allocation that could not be released, and the reason. From [`Allocation::release`].
///
/// Dropping it drops the allocation, which tries to release once more and waits up to 10 s for the
/// table. Converts into [`io::Error`] with the kind of its reason; the `io::Error` then owns the
/// allocation.
///
/// ```
/// # use std::time::Duration;
/// # use rvlf::table::{Allocation, Claim, ScopeRule, TableError, new_segment};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("table.json");
/// # let claim = Claim::new("indexer").allow(ScopeRule::write("/data"));
/// let mut held = Allocation::register(&path, &claim, &new_segment()?, Duration::from_secs(10))?;
/// loop {
///     match held.release() {
///         Ok(()) => break,
///         Err(failed) if failed.error.is_contention() => held = *failed.allocation,
///         Err(failed) => return Err(failed.into()),
///     }
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct ReleaseError {
    /// The reason.
    pub error: TableError,
    /// The allocation.
    pub allocation: Box<Allocation>,
}

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for ReleaseError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

impl From<ReleaseError> for io::Error {
    fn from(error: ReleaseError) -> io::Error {
        io::Error::new(error.error.io_kind(), error)
    }
}
