//! [`TableGuard`]: a table that this process has locked.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use super::claim::Claim;
use super::contents::Table;
use super::entry::{Entry, EntryHolder};
use super::error::Result;
use super::liveness::Liveness;
use super::locked::LockedTable;
use super::rule::ScopeRule;
use super::witness::{LockedByte, Witness};
use crate::record::WriterId;
use crate::sys::{Host, Identity};

/// A table file, locked by this process. Until the guard is dropped no other process changes it.
///
/// The methods change the table in memory; [`save`](TableGuard::save) replaces the file. **A change
/// that is not saved is lost**: dropping the guard releases the kernel lock and forgets the change.
///
/// **Blocking**: only [`open`](TableGuard::open) waits for the lock. Hold the guard only for as
/// long as an operation takes: every other process waits. The same process waits, too: a second
/// guard, and the drop of an [`Allocation`](super::Allocation), need the same lock.
///
/// **Fork**: the guard belongs to the process that opened it. In a forked child `save` fails with
/// [`TableError::Forked`](super::TableError::Forked), and dropping the copy does not release the
/// lock.
///
/// **Crash**: the kernel releases the lock, and the table is as it was saved last.
///
/// ```
/// use std::time::Duration;
/// use rvlf::table::{Claim, ScopeRule, TableGuard, new_segment};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("table.json");
/// let mut guard = TableGuard::open(&path, Duration::from_secs(10))?;
/// guard.register(&Claim::new("a").allow(ScopeRule::write("/data/a")), &new_segment()?)?;
/// guard.register(&Claim::new("b").allow(ScopeRule::write("/data/b")), &new_segment()?)?;
/// guard.save()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct TableGuard {
    locked: LockedTable<Host>,
}

impl TableGuard {
    /// Opens, locks and reads the table at `path`. Waits up to `timeout` for the lock.
    ///
    /// Creates what is missing: directories with mode 0700, and an empty file with mode 0600, both
    /// less the umask; off local file systems also a lock file beside the table, `.NAME.rvlf-lock`, with the mode of
    /// the table. Existing modes are left alone. A symbolic link in the place of the file is
    /// not followed.
    ///
    /// Blocks the calling thread. On a local file system the thread sleeps until the kernel reports
    /// a release. On other file systems it polls, every 10 ms at first and every 500 ms in the end.
    /// There is no queue: any of several waiters may be next. [`Duration::ZERO`] makes one attempt,
    /// and [`Duration::MAX`] waits indefinitely.
    ///
    /// # Errors
    ///
    /// [`Timeout`](super::TableError::Timeout), [`Parse`](super::TableError::Parse),
    /// [`TooLarge`](super::TableError::TooLarge), [`NotRegular`](super::TableError::NotRegular) or
    /// [`Io`](super::TableError::Io).
    ///
    /// ```
    /// use std::time::Duration;
    /// use rvlf::table::{TableError, TableGuard};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// let guard = TableGuard::open(&path, Duration::from_secs(10))?;
    /// let second = TableGuard::open(&path, Duration::ZERO);
    /// assert!(matches!(second, Err(TableError::Timeout { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(path: impl AsRef<Path>, timeout: Duration) -> Result<TableGuard> {
        let locked = LockedTable::open(Host, path.as_ref(), timeout)?;
        Ok(TableGuard { locked })
    }

    /// As [`open`](TableGuard::open), for a table that is there. `None` if it is not: nothing is created.
    pub(super) fn open_existing(path: &Path, timeout: Duration) -> Result<Option<TableGuard>> {
        let locked = LockedTable::open_existing(Host, path, timeout)?;
        Ok(locked.map(|locked| TableGuard { locked }))
    }

    /// The table in memory.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use rvlf::table::TableGuard;
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// let guard = TableGuard::open(&path, Duration::from_secs(10))?;
    /// assert!(guard.table().entries.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.locked.table
    }

    /// The table in memory, to be changed by hand. The changes are not checked, neither here nor in
    /// [`save`](TableGuard::save); [`Table::problems`] checks.
    ///
    /// ```
    /// use std::time::Duration;
    /// use rvlf::table::TableGuard;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// let mut guard = TableGuard::open(&path, Duration::from_secs(10))?;
    /// guard.table_mut().entries.retain(|entry| entry.pid != 0);
    /// assert_eq!(guard.table().problems(), []);
    /// guard.save()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn table_mut(&mut self) -> &mut Table {
        &mut self.locked.table
    }

    /// The path of the table's file, as it was passed to [`open`](TableGuard::open).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use rvlf::table::TableGuard;
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// let guard = TableGuard::open(&path, Duration::from_secs(10))?;
    /// assert_eq!(guard.path(), path);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn path(&self) -> &Path {
        self.locked.path()
    }

    /// Replaces the file by the table in memory, and keeps it locked.
    ///
    /// Writes and syncs a new file, renames it over the old one, and syncs the directory. A crash,
    /// a full disk or a power loss at any moment leaves the old table or the new one. The mode and
    /// the group of the file are kept, and its user if this process is root's. Other attributes and
    /// hard links are lost.
    ///
    /// Blocks for two syncs, and for a time in proportion to the table.
    ///
    /// # Errors
    ///
    /// [`Forked`](super::TableError::Forked); [`Replaced`](super::TableError::Replaced) if the file or its directory
    /// was removed or replaced while the file was locked; [`TooLarge`](super::TableError::TooLarge);
    /// [`Io`](super::TableError::Io). The file is the old one then, with two exceptions. After a failed "sync the
    /// directory" it is the new one, and a power loss may bring the old one back. If the directory was replaced
    /// during the save, the file may be the new one, in a directory to which the path does not lead any more.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use rvlf::table::TableGuard;
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// use rvlf::table::{Claim, ScopeRule, new_segment, snapshot};
    ///
    /// let mut guard = TableGuard::open(&path, Duration::from_secs(10))?;
    /// guard.register(&Claim::new("a").allow(ScopeRule::write("/data/a")), &new_segment()?)?;
    /// assert!(snapshot(&path)?.table.find("a").is_none());
    /// guard.save()?;
    /// assert!(snapshot(&path)?.table.find("a").is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn save(&mut self) -> Result<()> {
        self.locked.save()
    }

    /// Reclaims dead entries, then adds an entry for this process, which writes `segment`. A
    /// program without segments passes the name of the entry.
    ///
    /// The process holds the entry until it ends, also after an exec. Processes that cannot see its pid
    /// (other containers) cannot see its end either, and keep the entry until a person releases it;
    /// [`Allocation`](super::Allocation) has no such limit.
    ///
    /// Returns the id of this hold of the entry.
    ///
    /// # Errors
    ///
    /// As [`Table::register`]; or [`Io`](super::TableError::Io) if this process cannot be identified.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use rvlf::table::{Claim, ScopeRule, TableGuard, new_segment};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// # let mut guard = TableGuard::open(&path, Duration::from_secs(10))?;
    /// let claim = Claim::new("indexer").allow(ScopeRule::write("/data/index"));
    /// let writer_id = guard.register(&claim, &new_segment()?)?;
    /// let entry = guard.table().find("indexer").expect("it was just registered");
    /// assert_eq!(entry.writer_id(), Some(writer_id));
    /// guard.save()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn register(&mut self, claim: &Claim, segment: &str) -> Result<WriterId> {
        self.register_witnessed(claim, segment, None)
    }

    pub(super) fn register_witnessed(
        &mut self,
        claim: &Claim,
        segment: &str,
        witness: Option<&Witness>,
    ) -> Result<WriterId> {
        let (holder, writer_id) = self.locked.this_process(witness)?;
        self.register_for(&holder, claim, segment)?;
        Ok(writer_id)
    }

    /// As [`register`](TableGuard::register), for another process: `holder`, mostly from
    /// [`EntryHolder::of_process`].
    ///
    /// # Errors
    ///
    /// As [`Table::register`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use rvlf::table::{Claim, EntryHolder, ScopeRule, TableGuard, new_segment};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// # let mut guard = TableGuard::open(&path, Duration::from_secs(10))?;
    /// # let started = std::process::id();
    /// let holder = EntryHolder::of_process(started)?;
    /// let claim = Claim::new("indexer").allow(ScopeRule::write("/data/index"));
    /// guard.register_for(&holder, &claim, &new_segment()?)?;
    /// guard.save()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn register_for(
        &mut self,
        holder: &EntryHolder,
        claim: &Claim,
        segment: &str,
    ) -> Result<()> {
        self.locked.register(holder, claim, segment)
    }

    /// Reclaims dead entries, then adds a placeholder for a part of the scope of `parent`, which a
    /// child process [adopts](TableGuard::adopt). Until then this process holds the placeholder,
    /// and it is reclaimed if this process dies.
    ///
    /// Returns the id of this hold of the placeholder.
    ///
    /// # Errors
    ///
    /// As [`Table::delegate`]; or [`Io`](super::TableError::Io) if this process cannot be identified.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use rvlf::table::{Claim, ScopeRule, TableGuard, new_segment};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// # let mut guard = TableGuard::open(&path, Duration::from_secs(10))?;
    /// # guard.register(&Claim::new("parent").allow(ScopeRule::write("/data")), &new_segment()?)?;
    /// guard.delegate("parent", &Claim::new("child").allow(ScopeRule::write("/data/a")))?;
    /// guard.save()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delegate(&mut self, parent: &str, claim: &Claim) -> Result<WriterId> {
        self.delegate_witnessed(parent, claim, None)
    }

    pub(super) fn delegate_witnessed(
        &mut self,
        parent: &str,
        claim: &Claim,
        witness: Option<&Witness>,
    ) -> Result<WriterId> {
        let (holder, writer_id) = self.locked.this_process(witness)?;
        self.reclaim_stale();
        let done = self.locked.table.delegate(parent, claim, &holder);
        self.locked.with_facts(done)?;
        Ok(writer_id)
    }

    /// As [`delegate`](TableGuard::delegate), where the parent may hand out more than it may do
    /// itself; see [`Table::delegate_within`].
    ///
    /// # Errors
    ///
    /// As [`Table::delegate_within`]; or [`Io`](super::TableError::Io) if this process cannot be identified.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use rvlf::table::{Claim, ScopeRule, TableGuard, new_segment};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// # let mut guard = TableGuard::open(&path, Duration::from_secs(10))?;
    /// # guard.register(&Claim::new("parent").allow(ScopeRule::read("/data")), &new_segment()?)?;
    /// let authority = [ScopeRule::write("/data")];
    /// let part = Claim::new("child").allow(ScopeRule::write("/data/a"));
    /// guard.delegate_within("parent", &authority, &part)?;
    /// guard.save()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delegate_within(
        &mut self,
        parent: &str,
        authority: &[ScopeRule],
        claim: &Claim,
    ) -> Result<WriterId> {
        self.delegate_within_witnessed(parent, authority, claim, None)
    }

    pub(super) fn delegate_within_witnessed(
        &mut self,
        parent: &str,
        authority: &[ScopeRule],
        claim: &Claim,
        witness: Option<&Witness>,
    ) -> Result<WriterId> {
        let (holder, writer_id) = self.locked.this_process(witness)?;
        self.reclaim_stale();
        let done = self
            .locked
            .table
            .delegate_within(parent, authority, claim, &holder);
        self.locked.with_facts(done)?;
        Ok(writer_id)
    }

    /// Reclaims dead entries, then makes this process, which writes `segment`, the holder of the
    /// placeholder `name`. The placeholder itself is not reclaimed: it can be adopted although the
    /// process that made it has died.
    ///
    /// Returns the id of this hold of the entry.
    ///
    /// # Errors
    ///
    /// As [`Table::adopt`]; or [`Io`](super::TableError::Io) if this process cannot be identified.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use rvlf::table::{Claim, ScopeRule, TableGuard, new_segment};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// # let mut guard = TableGuard::open(&path, Duration::from_secs(10))?;
    /// # guard.register(&Claim::new("parent").allow(ScopeRule::write("/data")), &new_segment()?)?;
    /// # guard.delegate("parent", &Claim::new("child").allow(ScopeRule::write("/data/a")))?;
    /// guard.adopt("child", &new_segment()?)?;
    /// guard.save()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn adopt(&mut self, name: &str, segment: &str) -> Result<WriterId> {
        self.adopt_witnessed(name, segment, None)
    }

    pub(super) fn adopt_witnessed(
        &mut self,
        name: &str,
        segment: &str,
        witness: Option<&Witness>,
    ) -> Result<WriterId> {
        let (holder, writer_id) = self.locked.this_process(witness)?;
        self.adopt_for(&holder, name, segment)?;
        Ok(writer_id)
    }

    /// As [`adopt`](TableGuard::adopt), for another process: `holder`, mostly from
    /// [`EntryHolder::of_process`].
    ///
    /// # Errors
    ///
    /// As [`Table::adopt`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use rvlf::table::{Claim, EntryHolder, ScopeRule, TableGuard, new_segment};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// # let mut guard = TableGuard::open(&path, Duration::from_secs(10))?;
    /// # guard.register(&Claim::new("parent").allow(ScopeRule::write("/data")), &new_segment()?)?;
    /// # guard.delegate("parent", &Claim::new("child").allow(ScopeRule::write("/data/a")))?;
    /// # let started = std::process::id();
    /// guard.adopt_for(&EntryHolder::of_process(started)?, "child", &new_segment()?)?;
    /// guard.save()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn adopt_for(&mut self, holder: &EntryHolder, name: &str, segment: &str) -> Result<()> {
        self.locked
            .reclaim_except(|entry| entry.is_placeholder() && entry.name == name);
        let done = self.locked.table.adopt(name, segment, holder);
        self.locked.with_facts(done)
    }

    /// Reclaims dead entries other than `name`, then changes the segment that the entry `name`
    /// writes.
    ///
    /// # Errors
    ///
    /// As [`Table::update_segment`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use rvlf::table::{Claim, ScopeRule, TableGuard, new_segment};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// # let mut guard = TableGuard::open(&path, Duration::from_secs(10))?;
    /// # guard.register(&Claim::new("indexer").allow(ScopeRule::write("/data")), &new_segment()?)?;
    /// guard.update_segment("indexer", &new_segment()?)?;
    /// guard.save()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn update_segment(&mut self, name: &str, segment: &str) -> Result<()> {
        self.locked.reclaim_except(|entry| entry.name == name);
        let done = self.locked.table.update_segment(name, segment);
        self.locked.with_facts(done)
    }

    /// Removes the entry `name`, whichever process holds it, and returns it. Its children are
    /// handed to its parent.
    ///
    /// The process of the entry is not stopped; if it is alive, it keeps writing. Its
    /// [`Allocation::check`](super::Allocation::check) reports the loss.
    ///
    /// # Errors
    ///
    /// As [`Table::release`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use rvlf::table::{Claim, ScopeRule, TableGuard, new_segment};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// # let mut guard = TableGuard::open(&path, Duration::from_secs(10))?;
    /// # guard.register(&Claim::new("indexer").allow(ScopeRule::write("/data")), &new_segment()?)?;
    /// let removed = guard.release("indexer")?;
    /// assert_eq!(removed.pid, std::process::id());
    /// guard.save()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn release(&mut self, name: &str) -> Result<Entry> {
        let done = self.locked.table.release(name);
        self.locked.with_facts(done)
    }

    /// Reclaims dead entries other than `parent`, then takes back what the entry `parent` delegated
    /// to the entry `child`; see [`Table::reclaim_delegated`].
    ///
    /// # Errors
    ///
    /// As [`Table::reclaim_delegated`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use rvlf::table::{Claim, ScopeRule, TableGuard, new_segment};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// # let mut guard = TableGuard::open(&path, Duration::from_secs(10))?;
    /// # guard.register(&Claim::new("parent").allow(ScopeRule::write("/data")), &new_segment()?)?;
    /// # guard.delegate("parent", &Claim::new("child").allow(ScopeRule::write("/data/a")))?;
    /// guard.reclaim_delegated("parent", "child", &[])?;
    /// guard.save()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reclaim_delegated(
        &mut self,
        parent: &str,
        child: &str,
        delegated: &[ScopeRule],
    ) -> Result<()> {
        // A dead grandchild would conflict with the reclaim, and has no process to stop.
        self.locked.reclaim_except(|entry| entry.name == parent);
        let done = self
            .locked
            .table
            .reclaim_delegated(parent, child, delegated);
        self.locked.with_facts(done)
    }

    /// Removes every entry whose process is dead, and returns the removed entries. Their children
    /// are handed to the nearest ancestor that is alive.
    ///
    /// Takes a few system calls for each process in the table.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use rvlf::table::TableGuard;
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// let mut guard = TableGuard::open(&path, Duration::from_secs(10))?;
    /// for dead in guard.reclaim_stale() {
    ///     println!("reclaimed {dead}");
    /// }
    /// guard.save()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reclaim_stale(&mut self) -> Vec<Entry> {
        self.locked.reclaim_except(|_| false)
    }

    /// Whether each entry's process is alive, in the order of the entries.
    ///
    /// Takes a few system calls for each process in the table.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use rvlf::table::{Claim, Liveness, ScopeRule, TableGuard, new_segment};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// # let mut guard = TableGuard::open(&path, Duration::from_secs(10))?;
    /// guard.register(&Claim::new("indexer").allow(ScopeRule::write("/data")), &new_segment()?)?;
    /// assert!(guard.liveness().iter().all(|liveness| liveness.is_alive()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn liveness(&self) -> Vec<Liveness> {
        self.locked.liveness()
    }

    /// The process that opened the guard.
    pub(super) fn process(&self) -> Identity {
        self.locked.process()
    }

    /// Locks a byte of the table's directory for an entry of this process.
    pub(super) fn lock_byte(&self) -> Result<Option<LockedByte<Host>>> {
        self.locked.lock_byte()
    }
}

impl fmt::Debug for TableGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableGuard")
            .field("path", &self.path())
            .field("entries", &self.locked.table.entries.len())
            .finish_non_exhaustive()
    }
}
