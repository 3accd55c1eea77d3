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

use super::contents::Table;
use super::directory;
use super::error::{Result, TableError};
use super::flocked::{
    FILE_MODE, Flocked, Found, LOOK_AGAIN, Request, open_existing, open_uncached,
};
use crate::sys::entry::{self, Entry, is_removed, present};
use crate::sys::hooks::sabotaged;
use crate::sys::{
    Access, Context, FileId, Flock, FlockOutcome, Identity, Operation, SyncMode, Sys, TableSys,
};

/// The largest table, in bytes: some 100,000 entries. A process that reads a larger file, which is hardly a table,
/// could run out of memory, and a failed allocation ends it.
const MAX_LEN: usize = 64 * 1024 * 1024;

/// A table's file, locked by this process.
#[derive(Debug)]
pub(super) struct TableFile<S: TableSys> {
    lock: TableLock<S>,
}

#[derive(Debug)]
enum TableLock<S: TableSys> {
    /// The table's own file.
    Own(Flocked<S>),
    /// The file beside it. The holder does not keep the table open: a client of NFS could not replace it in one step.
    Beside {
        table: Entry<S>,
        lock: Flocked<S>,
        /// What the holder has read or saved.
        content: Vec<u8>,
    },
}

/// For how long a process looks for a table of which its mount reports that it is not there, or was removed.
const LONGEST_SEARCH: Duration = Duration::from_secs(5);

/// How long a rename of a process that was killed may be under way after the kernel has dropped its lock, on NFS.
const LATE_RENAME: Duration = Duration::from_millis(200);

/// The bytes of the table at `path`, and its place; `None` if there is no file. Neither locks nor
/// creates anything: a saved table is whole at every moment. Off local file systems it may sleep for 5 s.
pub(super) fn load<S: TableSys>(sys: S, path: &Path) -> Result<Option<(Vec<u8>, Entry<S>)>> {
    let Some(entry) = directory::open(sys, path)? else {
        return Ok(None);
    };
    let bytes = if entry.is_local() {
        let found = open_existing(&entry, Access::Read)?;
        match found {
            Found::File(file, _) => Some(read(&entry, &file)?),
            Found::Absent | Found::Removed(_) => None,
        }
    } else {
        search(&entry)?
    };
    Ok(bytes.map(|bytes| (bytes, entry)))
}

/// The bytes of a table that is not on a local file system; `None` if there is none.
///
/// Process A has saved on one mount. The mount of reader B may remember the file that A has replaced, and report that
/// this file is not there: B took the table for empty, and its own entry for removed. Without a lock file no process
/// has saved.
fn search<S: TableSys>(entry: &Entry<S>) -> Result<Option<Vec<u8>>> {
    let lock = lock_entry(entry)?;
    let mut search = Search::begin(&entry.sys);
    loop {
        let stale = match open_uncached(entry)? {
            Found::Absent if search.is_over() || lock.stat()?.is_none() => return Ok(None),
            Found::Absent => None,
            Found::Removed(error) => Some(error),
            Found::File(file, _) => match read(entry, &file) {
                Err(TableError::Io(error)) if is_removed(&error.source) => Some(error.source),
                bytes => return bytes.map(Some),
            },
        };
        search.look_again(entry, stale)?;
    }
}

/// The looks for a table, off local file systems.
struct Search {
    /// Time since boot.
    ends: Duration,
    now: Duration,
}

impl Search {
    fn begin<S: Sys>(sys: &S) -> Search {
        let now = sys.now().since_boot;
        Search {
            ends: now + LONGEST_SEARCH,
            now,
        }
    }

    fn is_over(&self) -> bool {
        self.now > self.ends
    }

    /// Sleeps until the next look.
    ///
    /// # Errors
    ///
    /// The last look has found what the mount remembers of a file that was removed.
    fn look_again<S: Sys>(&mut self, entry: &Entry<S>, stale: Option<io::Error>) -> Result<()> {
        if let Some(error) = stale.filter(|_| self.is_over()) {
            return Ok(Err(error).context(Operation::File("open"), &entry.path)?);
        }
        entry.sys.wait(None, &[], LOOK_AGAIN);
        self.now = entry.sys.now().since_boot;
        Ok(())
    }
}

fn read<S: TableSys>(entry: &Entry<S>, file: &S::File) -> Result<Vec<u8>> {
    let read = entry.on_opened(entry.sys.read_all(file, MAX_LEN + 1));
    let bytes = read.context(Operation::File("read"), &entry.path)?;
    ensure_fits(&entry.path, &bytes)?;
    Ok(bytes)
}

fn ensure_fits(path: &Path, bytes: &[u8]) -> Result<()> {
    if bytes.len() <= MAX_LEN {
        return Ok(());
    }
    Err(TableError::TooLarge {
        path: path.to_owned(),
    })
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
        directory::make(&sys, path)?;
        let locked = TableFile::lock_in(Entry::open(sys, path)?, timeout, true)?;
        Ok(locked.expect("a table that is not there is created"))
    }

    /// Locks a table that exists. `None` if there is none: nothing is created.
    pub(super) fn lock_existing(
        sys: S,
        path: &Path,
        timeout: Duration,
    ) -> Result<Option<TableFile<S>>> {
        match directory::open(sys, path)? {
            Some(table) => TableFile::lock_in(table, timeout, false),
            None => Ok(None),
        }
    }

    fn lock_in(table: Entry<S>, timeout: Duration, creates: bool) -> Result<Option<TableFile<S>>> {
        let path = table.path.clone();
        let request = Request {
            path: &path,
            started: table.sys.now().since_boot,
            timeout,
            creates,
        };
        let lock = if table.is_local() || sabotaged!(table.sys, TableBeside) {
            Flocked::lock(table, &request)?.map(TableLock::Own)
        } else {
            lock_beside(&table, &request)?
        };
        Ok(lock.map(|lock| TableFile { lock }))
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
            TableLock::Beside { content, .. } => Ok(content.clone()),
        }
    }

    /// Makes `bytes` the content of the table on stable storage, and keeps the table locked.
    ///
    /// A crash at any step leaves the old table or the new one at the path. An error leaves the old
    /// one; but after an error of the last steps, the sync of the directory and the second check of the path, it is
    /// the new one.
    pub(super) fn replace(&mut self, bytes: &[u8]) -> Result<()> {
        if self.is_forked() {
            return Err(TableError::Forked {
                path: self.path().to_owned(),
            });
        }
        ensure_fits(self.path(), bytes)?;
        if !self.is_at_the_path()? {
            return Err(replaced(self.flocked().entry()));
        }
        let (file, id) = self.put_new(bytes)?;
        match &mut self.lock {
            TableLock::Own(lock) => lock.replace(file, id),
            TableLock::Beside { content, .. } => *content = bytes.to_vec(),
        }
        let Entry { sys, dir, path, .. } = self.place();
        let synced = sys.sync_dir(dir);
        synced.context(Operation::Sync("sync the directory"), path)?;
        // The directory may have been replaced during the syncs, which may take seconds. Doubt reads as that: an
        // error after the rename would look like one before it.
        let is_here =
            sabotaged!(*self.sys(), TablePathLast) || self.is_at_the_path().is_ok_and(|is| is);
        if is_here {
            return Ok(());
        }
        Err(replaced(self.flocked().entry()))
    }

    /// Whether the path names the file that is locked here: first its name, then its directory.
    ///
    /// If that file was removed, another process may have created and locked a new one, and the rename would
    /// destroy its table. If the directory was replaced, B registers in the new one what A saves in the old one.
    fn is_at_the_path(&self) -> Result<bool> {
        let lock = self.flocked();
        let is_named = lock.is_named()? || sabotaged!(*self.sys(), TableNameAtSave);
        Ok(is_named && lock.path_leads_here())
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
        let new = path.with_file_name(&name);
        let file = self.create_new(&name, &new)?;
        let renamed = self.fill(&file, &new, bytes).and_then(|id| {
            let renamed = sys.rename(dir, &name, old);
            renamed.context(Operation::OldName("rename the new table"), path)?;
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

    fn create_new(&self, name: &OsStr, path: &Path) -> Result<S::File> {
        let Entry { sys, dir, .. } = self.place();
        let created = match sys.create(dir, name, FILE_MODE) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !self.place().is_local() {
                    // Process A was killed during its save, and its rename may be under way: it would move what
                    // this process writes to that name.
                    sys.wait(None, &[], LATE_RENAME);
                }
                let removed = present(sys.unlink(dir, name));
                removed.context(
                    Operation::OldName("remove what a killed process left"),
                    path,
                )?;
                sys.create(dir, name, FILE_MODE)
            }
            outcome => outcome,
        };
        Ok(created.context(Operation::NewName("create the new table"), path)?)
    }

    /// Makes `file`, which is at `path`, the complete new table.
    fn fill(&self, file: &S::File, path: &Path, bytes: &[u8]) -> Result<FileId> {
        let sys = self.sys();
        let id = sys.stat(file).context(Operation::File("stat"), path)?.id;
        if let TableLock::Own(_) = &self.lock {
            self.lock_new(file, path)?;
        }
        let written = sys.write_all(file, bytes);
        written.context(Operation::File("write the new table"), path)?;
        self.copy_access(file)?;
        let synced = sys.sync(file, SyncMode::All);
        synced.context(Operation::Sync("sync the new table"), path)?;
        Ok(id)
    }

    /// Before the file gets the table's name, so that the table is locked at every moment.
    fn lock_new(&self, file: &S::File, path: &Path) -> Result<()> {
        let flocked = self.place().flock(file, Flock::Exclusive);
        match flocked.context(Operation::KernelLock("lock"), path)? {
            FlockOutcome::Done => Ok(()),
            FlockOutcome::WouldBlock | FlockOutcome::Unsupported => {
                let refused = Err(io::ErrorKind::WouldBlock.into());
                Ok(refused.context(Operation::KernelLock("lock the new table"), path)?)
            }
        }
    }

    /// Gives the new table the mode and the owner of the old one.
    fn copy_access(&self, file: &S::File) -> Result<()> {
        let Entry { sys, path, .. } = self.place();
        let copied = match &self.lock {
            TableLock::Own(lock) => sys.copy_access(lock.file(), file),
            TableLock::Beside {
                table,
                lock,
                content,
            } => {
                let old = open_unchanged(table, content)?;
                share_like(&old, lock);
                sys.copy_access(&old, file)
            }
        };
        Ok(copied.context(Operation::Access("keep the table's permissions"), path)?)
    }

    /// The process that locked the table.
    pub(super) fn process(&self) -> Identity {
        self.flocked().process()
    }

    pub(super) fn is_forked(&self) -> bool {
        self.flocked().is_forked()
    }
}

fn replaced<S: Sys>(entry: &Entry<S>) -> TableError {
    TableError::Replaced {
        path: entry.path.clone(),
    }
}

/// The file beside the table that carries its lock off local file systems.
pub(super) fn lock_entry<S: Sys>(table: &Entry<S>) -> Result<Entry<S>> {
    Ok(table.beside(&name_beside(&table.name, "lock"))?)
}

fn lock_beside<S: TableSys>(
    table: &Entry<S>,
    request: &Request<'_>,
) -> Result<Option<TableLock<S>>> {
    let lock = lock_entry(table)?;
    // A table without a lock file gets one. Where neither is there, nothing is to be created.
    let request = &Request {
        creates: request.creates || lock.stat()?.is_none() && table.stat()?.is_some(),
        ..*request
    };
    let Some(lock) = Flocked::lock(lock, request)? else {
        return Ok(None);
    };
    let table = lock.entry().beside(&table.name)?;
    let Some(file) = open_or_create(&table, request.creates)? else {
        return Ok(None);
    };
    let content = read(&table, &file)?;
    share_like(&file, &lock);
    Ok(Some(TableLock::Beside {
        table,
        lock,
        content,
    }))
}

/// Gives the lock file the mode and the owner of the table: a user who may write the table may lock it. Best effort:
/// only the owner of the lock file may change it, and the error that another user gets names that file.
fn share_like<S: TableSys>(table: &S::File, lock: &Flocked<S>) {
    let _ = lock.entry().sys.copy_access(table, lock.file());
}

/// Opens the table for the holder of the lock beside it. If there is none, it is created empty, or the answer is
/// `None`.
///
/// No other process saves now. But this mount may remember what the name stood for before the last save, and
/// report that this file is not there: only an exclusive create finds out that there is no table.
fn open_or_create<S: TableSys>(table: &Entry<S>, creates: bool) -> Result<Option<S::File>> {
    let Entry { sys, dir, name, .. } = table;
    let remembered = || io::ErrorKind::StaleNetworkFileHandle.into();
    let mut search = Search::begin(sys);
    loop {
        let stale = match open_uncached(table)? {
            Found::File(file, _) => return Ok(Some(file)),
            Found::Removed(error) => error,
            Found::Absent if restore(table)? => remembered(),
            Found::Absent if !creates && search.is_over() => return Ok(None),
            Found::Absent if !creates => remembered(),
            Found::Absent => match sys.create(dir, name, FILE_MODE) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => remembered(),
                created => {
                    return Ok(Some(
                        created.context(Operation::NewName("create the table"), &table.path)?,
                    ));
                }
            },
        };
        search.look_again(table, Some(stale))?;
    }
}

/// Gives a complete new table its name, unless something has that name. False if there is no complete new table.
///
/// A client of NFS that saves while another of its processes reads renames the old table away first. If the
/// process that saves is killed then, no table has the name.
fn restore<S: TableSys>(table: &Entry<S>) -> Result<bool> {
    let new = table.beside(&name_beside(&table.name, "new"))?;
    let Found::File(file, _) = open_uncached(&new)? else {
        return Ok(false);
    };
    // One that was cut short was not to have the name yet.
    let is_whole = match read(&new, &file) {
        Err(TableError::TooLarge { .. }) => false,
        bytes => Table::parse(&bytes?).is_ok(),
    };
    if !is_whole {
        return Ok(false);
    }
    drop(file);
    let Entry { sys, dir, name, .. } = table;
    match sys.rename_noreplace(dir, &new.name, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(true),
        renamed => Ok(renamed
            .context(Operation::OldName("rename the new table"), &table.path)
            .map(|()| true)?),
    }
}

/// Opens the table, if its content still is what the holder of the lock beside it has read.
///
/// The holder may have lost its lock, with the lease of its client on NFS, and others have saved since.
fn open_unchanged<S: TableSys>(table: &Entry<S>, content: &[u8]) -> Result<S::File> {
    let Found::File(file, _) = open_uncached(table)? else {
        return Err(replaced(table));
    };
    if read(table, &file)? != content {
        return Err(replaced(table));
    }
    Ok(file)
}

// The lock beside the table excludes on local file systems as well, where it can be tried.
#[cfg(all(test, unix, not(rvlf_unsupported)))]
mod tests {
    use super::*;
    use crate::sys::Host;

    const TABLE: &[u8] = br#"{"allocations":[]}"#;

    struct Site {
        dir: tempfile::TempDir,
    }

    impl Site {
        fn new() -> Site {
            let dir = tempfile::tempdir().expect("there is room");
            Site { dir }
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.dir.path().join(name)
        }

        fn write(&self, name: &str, bytes: &[u8]) {
            std::fs::write(self.path(name), bytes).expect("there is room");
        }

        fn table(&self) -> Vec<u8> {
            std::fs::read(self.path("t.json")).expect("there is a table")
        }

        fn lock(&self) -> Result<TableFile<Host>> {
            let lock = self.lock_beside(true)?;
            Ok(TableFile {
                lock: lock.expect("it is created"),
            })
        }

        fn lock_beside(&self, creates: bool) -> Result<Option<TableLock<Host>>> {
            let path = self.path("t.json");
            let table = Entry::open(Host, &path)?;
            let request = Request {
                path: &path,
                started: Host.now().since_boot,
                timeout: Duration::ZERO,
                creates,
            };
            lock_beside(&table, &request)
        }
    }

    // Two processes that had both locked the table undid each other's saves.
    #[test]
    #[cfg_attr(miri, ignore = "makes system calls")]
    fn the_lock_beside_a_table_excludes_also_while_the_table_is_replaced() {
        let site = Site::new();
        let mut first = site.lock().expect("it is free");
        for _ in 0..2 {
            assert!(matches!(site.lock(), Err(TableError::Timeout { .. })));
            first.replace(TABLE).expect("the table is as it was read");
        }
        drop(first);
        let second = site.lock().expect("it is free");
        assert_eq!(second.read().expect("it was read"), TABLE);
    }

    // A holder whose table was removed made a new one at its release.
    #[test]
    #[cfg_attr(miri, ignore = "makes system calls")]
    fn a_holder_of_an_entry_makes_neither_the_table_nor_the_lock_beside_it() {
        let site = Site::new();
        assert!(matches!(site.lock_beside(false), Ok(None)));
        let left = std::fs::read_dir(site.dir.path()).map(|names| names.count());
        assert_eq!(left.ok(), Some(0));
        site.write("t.json", TABLE);
        assert!(
            matches!(site.lock_beside(false), Ok(Some(_))),
            "of another program"
        );
    }

    // A client of NFS was killed between the rename that takes the old table away and the one of the new table:
    // all entries were gone.
    #[test]
    #[cfg_attr(miri, ignore = "makes system calls")]
    fn a_complete_table_without_its_name_gets_the_name_back() {
        let site = Site::new();
        site.write(".t.json.rvlf-new", TABLE);
        let locked = site.lock().expect("it is free");
        assert_eq!(locked.read().expect("it was read"), TABLE);
        assert_eq!(site.table(), TABLE);
    }

    // Between the look for the table and the rename another program has made a table.
    #[test]
    #[cfg_attr(miri, ignore = "makes system calls")]
    fn a_complete_table_without_its_name_replaces_no_other_one() {
        let site = Site::new();
        site.write(".t.json.rvlf-new", TABLE);
        site.write("t.json", b"");
        let table = Entry::open(Host, &site.path("t.json")).expect("the directory is there");
        assert!(restore(&table).expect("the name is taken"));
        assert_eq!(site.table(), b"");
    }

    // A process was killed while it wrote its first table.
    #[test]
    #[cfg_attr(miri, ignore = "makes system calls")]
    fn a_table_that_was_cut_short_does_not_get_the_name() {
        let site = Site::new();
        site.write(".t.json.rvlf-new", br#"{"all"#);
        let mut locked = site.lock().expect("it is free");
        assert_eq!(locked.read().expect("it was read"), b"");
        locked.replace(TABLE).expect("what is left is removed");
        assert_eq!(site.table(), TABLE);
    }

    // The server has taken the lock away, with the lease of the holder's machine, and others have saved since.
    #[test]
    #[cfg_attr(miri, ignore = "makes system calls")]
    fn a_holder_whose_table_was_changed_by_others_saves_nothing() {
        let site = Site::new();
        let mut locked = site.lock().expect("it is free");
        let others = br#"{"allocations":[],"others":1}"#;
        site.write("t.json", others);
        let saved = locked.replace(TABLE);
        assert!(matches!(saved, Err(TableError::Replaced { .. })));
        assert_eq!(site.table(), others);
        std::fs::remove_file(site.path("t.json")).expect("it is there");
        let saved = locked.replace(TABLE);
        assert!(matches!(saved, Err(TableError::Replaced { .. })));
        assert!(!site.path("t.json").exists());
    }

    // A person has removed the lock file, and another process has locked a new one.
    #[test]
    #[cfg_attr(miri, ignore = "makes system calls")]
    fn a_holder_whose_lock_file_was_removed_saves_nothing() {
        let site = Site::new();
        let mut locked = site.lock().expect("it is free");
        std::fs::remove_file(site.path(".t.json.rvlf-lock")).expect("it is there");
        let second = site.lock().expect("there is no lock file");
        let Err(TableError::Replaced { path }) = locked.replace(TABLE) else {
            panic!("the lock was lost");
        };
        assert_eq!(path, site.path(".t.json.rvlf-lock"));
        drop(second);
    }

    // `mv d d.old; mkdir d` while A has the table locked: A saved in the old directory, beside B in the new one.
    #[test]
    #[cfg_attr(miri, ignore = "makes system calls")]
    fn a_holder_whose_directory_was_replaced_saves_nothing() {
        let outer = Site::new();
        let (inner, old) = (outer.path("d"), outer.path("d.old"));
        std::fs::create_dir(&inner).expect("the name is free");
        let path = inner.join("t.json");
        let request = Request {
            path: &path,
            started: Host.now().since_boot,
            timeout: Duration::ZERO,
            creates: true,
        };
        let table = Entry::open(Host, &path).expect("the directory is there");
        let lock = lock_beside(&table, &request).expect("it is free");
        let lock = lock.expect("it is created");
        std::fs::rename(&inner, &old).expect("the directory is writable");
        std::fs::create_dir(&inner).expect("the name is free");
        let saved = TableFile { lock }.replace(TABLE);
        assert!(matches!(saved, Err(TableError::Replaced { .. })));
        let left = std::fs::read(old.join("t.json"));
        assert_eq!(left.expect("it was created"), b"");
    }

    // Users of a group share a table: the first one's lock file kept the others out.
    #[test]
    #[cfg_attr(miri, ignore = "makes system calls")]
    fn the_lock_file_has_the_mode_of_the_table() {
        use std::os::unix::fs::PermissionsExt;
        let site = Site::new();
        site.write("t.json", TABLE);
        let mode = |name| {
            let found = std::fs::metadata(site.path(name)).expect("it is there");
            found.permissions().mode() & 0o777
        };
        let shared = std::fs::Permissions::from_mode(0o660);
        std::fs::set_permissions(site.path("t.json"), shared).expect("it is this user's");
        let mut locked = site.lock().expect("it is free");
        assert_eq!(mode(".t.json.rvlf-lock"), 0o660);
        locked.replace(TABLE).expect("the table is as it was read");
        assert_eq!(mode("t.json"), 0o660);
    }
}
