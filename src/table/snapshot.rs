//! [`Snapshot`]: a table as it was at one moment, read without its lock; and who has that lock.

use std::path::Path;

use super::contents::Table;
use super::entry::Entry;
use super::error::{Result, TableError};
use super::file;
use super::liveness::{Liveness, judge_all};
use crate::sys::{self, Host, LockingProcess, TableSys};

/// A table as it was at one moment, and whether the processes of its entries were alive.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Snapshot {
    /// The table.
    pub table: Table,
    /// Whether each entry's process was alive, in the order of the entries.
    pub liveness: Vec<Liveness>,
}

impl Snapshot {
    /// Each entry with the liveness of its process, in the order of the entries.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// for (entry, liveness) in rvlf::table::snapshot(&path)?.entries() {
    ///     println!("{entry}: {liveness}");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn entries(&self) -> impl Iterator<Item = (&Entry, Liveness)> {
        self.table.entries.iter().zip(self.liveness.iter().copied())
    }
}

/// Reads the table at `path` without locking or creating it. A file that does not exist is an empty
/// table.
///
/// Never waits for the lock: a saved table is whole at every moment. The result describes the
/// moment of the call; the table may have changed since. Reading a network file system may block
/// for as long as its server does not answer, and for 5 s if the table is not there although it was locked.
/// Takes a few system calls for each process in the table.
///
/// # Errors
///
/// [`Parse`](TableError::Parse), [`TooLarge`](TableError::TooLarge), [`NotRegular`](TableError::NotRegular) or
/// [`Io`](TableError::Io).
///
/// ```
/// use rvlf::table::snapshot;
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("table.json");
/// let snapshot = snapshot(&path)?;
/// assert!(snapshot.table.entries.is_empty());
/// assert!(!path.exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn snapshot(path: impl AsRef<Path>) -> Result<Snapshot> {
    snapshot_by(Host, path.as_ref())
}

pub(crate) fn snapshot_by<S: TableSys>(sys: S, path: &Path) -> Result<Snapshot> {
    let Some((bytes, place)) = file::load(sys, path)? else {
        return Ok(Snapshot::default());
    };
    let table = Table::parse(&bytes).map_err(|source| TableError::parse(path, source))?;
    let liveness = judge_all(&place, &table);
    Ok(Snapshot { table, liveness })
}

/// The processes that keep the table at `path` locked, sorted by pid, as far as this user can see them:
/// who is in the way after a [`Timeout`](TableError::Timeout). A process may keep it that inherited the
/// descriptor from the one that locked the table.
///
/// What can be seen, and how long it takes: see [`LockFile::locked_by`](crate::LockFile::locked_by).
///
/// # Errors
///
/// [`Io`](TableError::Io).
///
/// ```
/// use rvlf::table::{TableGuard, locked_by};
/// # use std::time::Duration;
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("table.json");
/// let guard = TableGuard::open(&path, Duration::from_secs(10))?;
/// for process in locked_by(&path)? {
///     println!("locked by {process}");
/// }
/// # drop(guard);
/// # assert!(locked_by(&path)?.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn locked_by(path: impl AsRef<Path>) -> Result<Vec<LockingProcess>> {
    let table = sys::entry::Entry::open(Host, path.as_ref())?;
    if table.is_local() {
        return Ok(table.locked_by()?);
    }
    Ok(file::lock_entry(&table)?.locked_by()?)
}
