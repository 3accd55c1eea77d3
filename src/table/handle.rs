//! [`Allocation`]: an entry that is released when its handle is dropped.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::TableError;
use super::guard::{TableGuard, snapshot};
use super::operations::Claim;
use super::scope::ScopeRule;
use crate::record::WriterId;
use crate::sys::{Host, Identity, Sys};

type Outcome<T> = Result<T, TableError>;

/// How long a drop waits for the table: operations take milliseconds, so this outlasts a queue of
/// hundreds, and a process that is stuck with the lock must not keep others from ending.
const DROP_PATIENCE: Duration = Duration::from_secs(10);

/// This process's entry in a table, until it is released or dropped. Opens the table for each
/// operation and locks it for as long as that takes, no longer.
///
/// **What it does not protect against**: programs that do not ask the table; and somebody who takes
/// the entry away while this process lives (`rvlf table release`, a parent that
/// [reclaims](Allocation::reclaim) it), which is why [`check`](Allocation::check) belongs right
/// before each commit.
///
/// Dropping it releases the entry, silently, as well as it can, and waits up to 10 s for the table;
/// [`release`](Allocation::release) reports. Do not drop it while this thread holds a
/// [`TableGuard`] of the same table. **Fork**: the entry stays with the process that made it; in a
/// forked child every method reports [`TableError::Forked`], and dropping the copy does nothing.
/// **Exec** keeps it: the process is the same. **A crash** leaves the entry, dead, to whoever
/// operates on the table next.
///
/// ```
/// use std::time::Duration;
/// use rvlf::table::{Allocation, Claim, ScopeRule};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("table.json");
/// let patience = Duration::from_secs(10);
/// let claim = Claim::new("indexer").allow(ScopeRule::write("/data"));
/// let parent = Allocation::register(&path, &claim, "segment-1", patience)?;
/// parent.delegate(&Claim::new("child").allow(ScopeRule::write("/data/a")), patience)?;
///
/// // As a rule in a child process:
/// let child = Allocation::adopt(&path, "child", "segment-2", patience)?;
/// child.check()?;
/// child.release()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropped at once, the entry is released at once"]
pub struct Allocation {
    name: String,
    path: PathBuf,
    writer_id: WriterId,
    /// Who made it: a forked child that has a copy of this must not release it.
    process: Option<Identity>,
}

impl Allocation {
    /// Registers an entry for this process, which writes `segment`; see [`TableGuard::register`].
    /// Waits up to `timeout` for the table, not for others to release what they hold.
    ///
    /// # Errors
    ///
    /// As [`TableGuard::open`], [`TableGuard::register`] and [`TableGuard::save`].
    pub fn register(
        path: impl AsRef<Path>,
        claim: &Claim,
        segment: &str,
        timeout: Duration,
    ) -> Outcome<Allocation> {
        let mut guard = TableGuard::open(path, timeout)?;
        let writer_id = guard.register(claim, segment)?;
        Allocation::saved(guard, claim.name(), writer_id)
    }

    /// Takes over the placeholder `name` that a parent has delegated, writing `segment`; see
    /// [`TableGuard::adopt`]. Waits up to `timeout` for the table.
    ///
    /// # Errors
    ///
    /// As [`TableGuard::open`], [`TableGuard::adopt`] and [`TableGuard::save`].
    pub fn adopt(
        path: impl AsRef<Path>,
        name: &str,
        segment: &str,
        timeout: Duration,
    ) -> Outcome<Allocation> {
        let mut guard = TableGuard::open(path, timeout)?;
        let writer_id = guard.adopt(name, segment)?;
        Allocation::saved(guard, name, writer_id)
    }

    fn saved(mut guard: TableGuard, name: &str, writer_id: WriterId) -> Outcome<Allocation> {
        let allocation = Allocation::new(&guard, name, writer_id);
        let saved = guard.save();
        // After a failed sync of the directory the entry is in the table, where nobody would
        // release it while this process lives: dropped, the allocation does. That needs the lock.
        drop(guard);
        saved.map(|()| allocation)
    }

    fn new(guard: &TableGuard, name: &str, writer_id: WriterId) -> Allocation {
        // A later chdir must not make us release in another table.
        let path = std::path::absolute(guard.path()).unwrap_or_else(|_| guard.path().to_owned());
        Allocation {
            name: name.to_owned(),
            path,
            writer_id,
            process: Host.identity().ok(),
        }
    }

    /// The entry's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The table's file, as an absolute path.
    #[must_use]
    pub fn table_path(&self) -> &Path {
        &self.path
    }

    /// Names this hold of the entry. Stored with the data, it shows who wrote what.
    #[must_use]
    pub fn writer_id(&self) -> WriterId {
        self.writer_id
    }

    /// Looks whether the entry is still ours: right before committing data is the time to ask.
    ///
    /// Reads the table without locking it, and never waits.
    ///
    /// # Errors
    ///
    /// [`Lost`](TableError::Lost) or [`Forked`](TableError::Forked): stop writing. Any other error
    /// means that the table could not be read, and says nothing about the entry.
    pub fn check(&self) -> Outcome<()> {
        self.refuse_fork()?;
        self.refuse_loss(&snapshot(&self.path)?.table)
    }

    /// Delegates what `claim` asks for to a child that will [`adopt`](Allocation::adopt) it; see
    /// [`TableGuard::delegate`]. Waits up to `timeout` for the table.
    ///
    /// # Errors
    ///
    /// [`Lost`](TableError::Lost), [`Forked`](TableError::Forked), or as [`TableGuard::open`],
    /// [`TableGuard::delegate`] and [`TableGuard::save`].
    pub fn delegate(&self, claim: &Claim, timeout: Duration) -> Outcome<()> {
        self.change(timeout, |guard| guard.delegate(&self.name, claim).map(drop))
    }

    /// Takes back what was delegated to `child`, which has ended or was told to, and removes the
    /// denials of `delegated`; see [`Table::reclaim_delegated`](super::Table::reclaim_delegated).
    /// Waits up to `timeout` for the table.
    ///
    /// # Errors
    ///
    /// [`Lost`](TableError::Lost), [`Forked`](TableError::Forked), or as [`TableGuard::open`],
    /// [`TableGuard::reclaim_delegated`] and [`TableGuard::save`].
    pub fn reclaim(&self, child: &str, delegated: &[ScopeRule], timeout: Duration) -> Outcome<()> {
        self.change(timeout, |guard| {
            guard.reclaim_delegated(&self.name, child, delegated)
        })
    }

    /// Says that this process writes `segment` from now on. Waits up to `timeout` for the table.
    ///
    /// # Errors
    ///
    /// [`Lost`](TableError::Lost), [`Forked`](TableError::Forked), or as [`TableGuard::open`],
    /// [`TableGuard::update_segment`] and [`TableGuard::save`].
    pub fn update_segment(&self, segment: &str, timeout: Duration) -> Outcome<()> {
        self.change(timeout, |guard| guard.update_segment(&self.name, segment))
    }

    /// Releases the entry; children that are left are handed to its parent. Waits up to 10 s for
    /// the table.
    ///
    /// # Errors
    ///
    /// [`ReleaseError`], which gives the allocation back. After [`Lost`](TableError::Lost) there is
    /// nothing left to release, and nothing was touched.
    #[expect(
        clippy::result_large_err,
        reason = "once per hold, and it carries the allocation"
    )]
    pub fn release(self) -> Result<(), ReleaseError> {
        match self.give_up() {
            Ok(()) => {
                // Released: the drop must not look for it once more.
                let mut released = self;
                released.process = None;
                Ok(())
            }
            Err(error) => Err(ReleaseError {
                error,
                allocation: self,
            }),
        }
    }

    fn give_up(&self) -> Outcome<()> {
        self.change(DROP_PATIENCE, |guard| guard.release(&self.name).map(drop))
    }

    fn change(
        &self,
        timeout: Duration,
        operation: impl FnOnce(&mut TableGuard) -> Outcome<()>,
    ) -> Outcome<()> {
        self.refuse_fork()?;
        let mut guard = TableGuard::open(&self.path, timeout)?;
        self.refuse_loss(guard.table())?;
        operation(&mut guard)?;
        guard.save()
    }

    fn refuse_fork(&self) -> Outcome<()> {
        if self.process.is_some() && Host.identity().ok() == self.process {
            Ok(())
        } else {
            Err(TableError::Forked {
                path: self.path.clone(),
            })
        }
    }

    fn refuse_loss(&self, table: &super::Table) -> Outcome<()> {
        let entry = table.find(&self.name);
        if entry.and_then(super::Entry::writer_id) == Some(self.writer_id) {
            return Ok(());
        }
        Err(TableError::Lost {
            name: self.name.clone(),
            path: self.path.clone(),
            held_by: entry.map(|entry| entry.pid),
        })
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        if self.process.is_some() {
            let _ = self.give_up();
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

/// An allocation that was not released, and why.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReleaseError {
    /// Why.
    pub error: TableError,
    /// The allocation.
    pub allocation: Allocation,
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
