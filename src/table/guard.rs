//! [`TableGuard`]: a table that this process has locked.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::allocation::{Entry, Table};
use super::error::TableError;
use super::file::{self, TableFile};
use super::liveness::{Liveness, Witness, this_process};
use super::operations::{Claim, EntryHolder};
use super::scope::ScopeRule;
use crate::judge::FileSystem;
use crate::record::WriterId;
use crate::sys::Host;

type Outcome<T> = Result<T, TableError>;

/// A table file, locked: what is in it, until it is dropped, nobody else changes.
///
/// **What is not saved does not happen.** The methods change the table in memory;
/// [`save`](TableGuard::save) replaces the file. Dropping the guard releases the kernel lock, and
/// forgets what was not saved.
///
/// Hold it for as long as an operation takes, no longer: everybody else waits. One process waits
/// for itself, too: a second guard, and the drop of an [`Allocation`](super::Allocation), need the
/// same lock.
///
/// **Fork**: the guard stays with the process that opened it. In a forked child `save` fails with
/// [`TableError::Forked`], and dropping the copy frees nothing. **Crash**: the kernel frees the
/// lock, and the table is the one saved last.
///
/// ```
/// use std::time::Duration;
/// use rvlf::table::{Claim, ScopeRule, TableGuard};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("table.json");
/// let mut guard = TableGuard::open(&path, Duration::from_secs(10))?;
/// guard.register(&Claim::new("a").allow(ScopeRule::write("/data/a")), "segment-1")?;
/// guard.register(&Claim::new("b").allow(ScopeRule::write("/data/b")), "segment-2")?;
/// guard.save()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropped at once, the lock is released at once"]
pub struct TableGuard {
    file: TableFile<Host>,
    data: Table,
}

impl TableGuard {
    /// Opens, locks and reads the table at `path`, waiting up to `timeout` for the lock.
    ///
    /// Missing directories are made with mode 0700 and a missing file, empty, with 0600, less the
    /// umask; what exists is left alone. Links in the place of the file are not followed.
    ///
    /// Blocks the calling thread. On a local file system it sleeps until the kernel tells of a
    /// release; elsewhere it polls, every 10 ms at first and every 500 ms in the end. There is no
    /// queue: any of several waiters may be next.
    ///
    /// # Errors
    ///
    /// [`Timeout`](TableError::Timeout), [`Parse`](TableError::Parse),
    /// [`NotRegular`](TableError::NotRegular) or [`Io`](TableError::Io).
    pub fn open(path: impl AsRef<Path>, timeout: Duration) -> Outcome<TableGuard> {
        let file = TableFile::lock(Host, path.as_ref(), timeout)?;
        let data = parse(&file.read()?, file.path())?;
        Ok(TableGuard { file, data })
    }

    /// The table as it stands in memory.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.data
    }

    /// The table, to be changed by hand. Nothing checks what is done to it ([`Table::problems`]).
    #[must_use]
    pub fn table_mut(&mut self) -> &mut Table {
        &mut self.data
    }

    /// The table's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Replaces the file by the table in memory, and keeps it locked.
    ///
    /// A new file is written, synced and renamed over the old one, then the directory is synced: a
    /// crash, a full disk or a power loss at any moment leaves the old table or the new one. The
    /// file's mode and group are kept, and its user if this process is root's; other attributes and
    /// hard links are not.
    ///
    /// Takes two syncs and time in proportion to the table.
    ///
    /// # Errors
    ///
    /// [`Forked`](TableError::Forked); [`Replaced`](TableError::Replaced) if the file was removed
    /// while it was locked; [`Io`](TableError::Io). The file is the old one, except after a failed
    /// "sync the directory": then it is the new one, and a power loss may bring the old one back.
    pub fn save(&mut self) -> Outcome<()> {
        let bytes = self.data.to_json();
        let bytes =
            bytes.map_err(|error| TableError::io("write as JSON", self.path(), error.into()))?;
        self.file.replace(&bytes)
    }

    /// Reclaims what is dead, then adds an entry for this process, which writes `segment`. Whoever
    /// has no segments takes the entry's name for one.
    ///
    /// Returns the writer id that names this hold.
    ///
    /// # Errors
    ///
    /// As [`Table::register`]; or [`Io`](TableError::Io) if this process cannot be identified.
    pub fn register(&mut self, claim: &Claim, segment: &str) -> Outcome<WriterId> {
        let (process, writer_id) = self.this_process()?;
        self.reclaim_stale();
        self.data.register(claim, segment, &process)?;
        Ok(writer_id)
    }

    /// Reclaims what is dead, then adds a placeholder with a part of `parent`'s scope for a child
    /// to [`adopt`](TableGuard::adopt). Until then it is held by this process, and dies with it.
    ///
    /// # Errors
    ///
    /// As [`Table::delegate`]; or [`Io`](TableError::Io) if this process cannot be identified.
    pub fn delegate(&mut self, parent: &str, claim: &Claim) -> Outcome<WriterId> {
        let (process, writer_id) = self.this_process()?;
        self.reclaim_stale();
        self.data.delegate(parent, claim, &process)?;
        Ok(writer_id)
    }

    /// Reclaims what is dead, then makes this process the holder of the placeholder `name`, writing
    /// `segment`. A placeholder whose maker has died meanwhile can still be adopted, as long as
    /// nobody has reclaimed it.
    ///
    /// Returns the writer id that names this hold.
    ///
    /// # Errors
    ///
    /// As [`Table::adopt`]; or [`Io`](TableError::Io) if this process cannot be identified.
    pub fn adopt(&mut self, name: &str, segment: &str) -> Outcome<WriterId> {
        let (process, writer_id) = self.this_process()?;
        self.reclaim(|entry| entry.is_placeholder() && entry.name == name);
        self.data.adopt(name, segment, &process)?;
        Ok(writer_id)
    }

    /// Says that `name` writes `segment` from now on. What is dead is reclaimed first.
    ///
    /// # Errors
    ///
    /// As [`Table::update_segment`].
    pub fn update_segment(&mut self, name: &str, segment: &str) -> Outcome<()> {
        self.reclaim(|entry| entry.name == name);
        self.data.update_segment(name, segment)
    }

    /// Removes the entry `name`, whoever holds it, and hands its children to its parent.
    ///
    /// # Errors
    ///
    /// As [`Table::release`].
    pub fn release(&mut self, name: &str) -> Outcome<Entry> {
        self.data.release(name)
    }

    /// Takes back what `parent` had delegated to `child`; see [`Table::reclaim_delegated`]. What is
    /// dead is reclaimed first.
    ///
    /// # Errors
    ///
    /// As [`Table::reclaim_delegated`].
    pub fn reclaim_delegated(
        &mut self,
        parent: &str,
        child: &str,
        delegated: &[ScopeRule],
    ) -> Outcome<()> {
        // A dead grandchild would be in the way, and nobody could tell it to end.
        self.reclaim(|entry| entry.name == parent);
        self.data.reclaim_delegated(parent, child, delegated)
    }

    /// Removes every entry whose process is dead, gives those back, and hands their children to the
    /// nearest ancestor that lives. A few system calls for each process.
    pub fn reclaim_stale(&mut self) -> Vec<Entry> {
        self.reclaim(|_| false)
    }

    /// Whether each entry's process lives, in the order of the entries.
    #[must_use]
    pub fn liveness(&self) -> Vec<Liveness> {
        look(&self.data, self.file.file_system())
    }

    fn reclaim(&mut self, spare: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let mut witness = Witness::new(self.file.sys(), self.file.file_system());
        self.data
            .reclaim_stale_with(|entry| !spare(entry) && witness.look(entry).is_dead())
    }

    fn this_process(&self) -> Outcome<(EntryHolder, WriterId)> {
        let process = this_process(self.file.sys());
        let process =
            process.map_err(|error| TableError::io("identify this process", self.path(), error))?;
        let writer_id = process.id.as_ref().map(|holder| holder.writer_id);
        let writer_id = writer_id.expect("an entry of ours says whose it is");
        Ok((process, writer_id))
    }
}

impl fmt::Debug for TableGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableGuard")
            .field("path", &self.path())
            .field("entries", &self.data.entries.len())
            .finish_non_exhaustive()
    }
}

/// A table as it was at one moment, and whether the processes of its entries lived.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// The table.
    pub table: Table,
    /// Whether each entry's process lives, in the order of the entries.
    pub liveness: Vec<Liveness>,
}

/// Looks at the table at `path` without locking, creating or waiting. A table that is not there is
/// an empty one.
///
/// What is seen is a whole table, as somebody saved it; it may be another one by now.
///
/// # Errors
///
/// [`Parse`](TableError::Parse), [`NotRegular`](TableError::NotRegular) or [`Io`](TableError::Io).
pub fn snapshot(path: impl AsRef<Path>) -> Outcome<Snapshot> {
    let path = path.as_ref();
    let (table, file_system) = match file::load(Host, path)? {
        Some((bytes, file_system)) => (parse(&bytes, path)?, file_system),
        None => (Table::default(), FileSystem::NotLocal),
    };
    let liveness = look(&table, file_system);
    Ok(Snapshot { table, liveness })
}

fn look(table: &Table, file_system: FileSystem) -> Vec<Liveness> {
    let mut witness = Witness::new(&Host, file_system);
    let entries = table.entries.iter();
    entries.map(|entry| witness.look(entry)).collect()
}

fn parse(bytes: &[u8], path: &Path) -> Outcome<Table> {
    Table::parse(bytes).map_err(|source| TableError::Parse {
        path: path.to_owned(),
        line: source.line(),
        column: source.column(),
        source,
    })
}

/// Where the table is: `argument` if there is one, else `RVLF_TABLE`, else
/// `$XDG_RUNTIME_DIR/rvlf/table.json`. Empty variables count as unset, and so does a relative
/// `XDG_RUNTIME_DIR`, as its specification demands.
///
/// # Errors
///
/// [`NoPath`](TableError::NoPath).
pub fn default_path(argument: Option<&Path>) -> Outcome<PathBuf> {
    resolve(argument, |variable| {
        std::env::var_os(variable).map(PathBuf::from)
    })
}

fn resolve(
    argument: Option<&Path>,
    environment: impl Fn(&str) -> Option<PathBuf>,
) -> Outcome<PathBuf> {
    let set = |variable| environment(variable).filter(|path| !path.as_os_str().is_empty());
    let runtime = || {
        let runtime = set("XDG_RUNTIME_DIR").filter(|path| path.is_absolute())?;
        Some(runtime.join("rvlf").join("table.json"))
    };
    { argument.map(Path::to_owned) }
        .or_else(|| set("RVLF_TABLE"))
        .or_else(runtime)
        .ok_or(TableError::NoPath)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Two processes that resolve different paths have two tables, and exclude nobody.
    #[test]
    fn the_path_is_the_first_that_is_given() {
        let both = |variable: &str| match variable {
            "RVLF_TABLE" => Some(PathBuf::from("/named/table")),
            "XDG_RUNTIME_DIR" => Some(PathBuf::from("/run/user/7")),
            _ => None,
        };
        let argument = Path::new("given.json");
        let resolved = |argument, environment: &dyn Fn(&str) -> Option<PathBuf>| {
            resolve(argument, environment).ok()
        };
        assert_eq!(resolved(Some(argument), &both), Some(argument.into()));
        assert_eq!(resolved(None, &both), Some("/named/table".into()));
        let runtime = |variable: &str| both(variable).filter(|_| variable != "RVLF_TABLE");
        assert_eq!(
            resolved(None, &runtime),
            Some("/run/user/7/rvlf/table.json".into())
        );
        let empty = |variable: &str| match variable {
            "RVLF_TABLE" => Some(PathBuf::new()),
            _ => Some(PathBuf::from("relative")),
        };
        let error = resolve(None, empty).expect_err("nothing usable is set");
        assert!(error.to_string().contains("RVLF_TABLE"), "{error}");
    }
}
