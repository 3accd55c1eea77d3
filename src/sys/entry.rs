//! One name in an opened directory: what the lock file and the allocation table's file have in
//! common.
//!
//! The directory is opened once and everything is done relative to that descriptor, so that a later
//! chdir(2) or a renamed parent cannot make a process miss its file. Whether the path still leads
//! there is a question of its own.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{
    Access, Context, FileId, FileKind, Flock, FlockOutcome, Host, IoError, LockingProcess,
    Operation, Stat, Sys, is_closed,
};
use crate::judge::FileSystem;

/// A name, and the open directory that it is in.
#[derive(Debug)]
pub(crate) struct Entry<S: Sys> {
    pub(crate) sys: S,
    /// What a relative path is relative to: the working directory when the entry was opened, by a
    /// handle. By its own path a chdir(2) of another thread, or a rename of the working directory
    /// together with the data in it, would look like another directory.
    base: Option<Arc<S::Dir>>,
    pub(crate) dir: S::Dir,
    /// The directory's number when it was opened. `None` where numbers are made up.
    id: Option<FileId>,
    pub(crate) name: OsString,
    pub(crate) path: PathBuf,
    pub(crate) file_system: FileSystem,
}

/// What [`Entry::open_existing`] found at the name.
#[derive(Debug)]
pub(crate) enum Opened<F> {
    Absent,
    /// Not a regular file. It was not opened.
    Irregular(FileKind),
    /// This user may not open it.
    Denied {
        /// The user who owns the file.
        uid: Option<u32>,
        #[cfg_attr(
            not(feature = "table"),
            allow(dead_code, reason = "the protocol needs the owner alone")
        )]
        error: IoError,
    },
    File(F, Stat),
}

impl<S: Sys> Entry<S> {
    /// Opens the directory of `path`; the file itself need not exist.
    pub(crate) fn open(sys: S, path: &Path) -> Result<Entry<S>, IoError> {
        let base = if path.is_absolute() {
            None
        } else {
            let opened = sys.open_dir(None, Path::new("."));
            let opened =
                opened.context(Operation::Directory("open the working directory"), path)?;
            Some(Arc::new(opened))
        };
        Entry::open_from(sys, base, path)
    }

    /// The same path, from the same working directory, with the directory that it leads to now.
    pub(crate) fn open_anew(&self) -> Result<Entry<S>, IoError> {
        Entry::open_from(self.sys.clone(), self.base.clone(), &self.path)
    }

    /// Another name in the same directory, wherever that is by now.
    #[cfg(feature = "table")]
    pub(crate) fn beside(&self, name: &OsStr) -> Result<Entry<S>, IoError> {
        let path = self.path.with_file_name(name);
        let dir = self.sys.open_dir(Some(&self.dir), Path::new("."));
        Ok(Entry {
            sys: self.sys.clone(),
            base: self.base.clone(),
            dir: dir.context(Operation::Directory("open the directory"), &path)?,
            id: self.id,
            name: name.to_owned(),
            path,
            file_system: self.file_system,
        })
    }

    fn open_from(sys: S, base: Option<Arc<S::Dir>>, path: &Path) -> Result<Entry<S>, IoError> {
        let name = file_name(path)?.to_owned();
        let dir = sys
            .open_dir(base.as_deref(), parent(path))
            .context(Operation::Directory("open the directory"), path)?;
        let file_system = sys
            .file_system(&dir)
            .context(Operation::Directory("identify the file system"), path)?;
        let mut entry = Entry {
            sys,
            base,
            dir,
            id: None,
            name,
            path: path.to_owned(),
            file_system,
        };
        entry.id = entry.is_local().then(|| entry.open_id()).transpose()?;
        Ok(entry)
    }

    /// The number of the directory that is open.
    fn open_id(&self) -> Result<FileId, IoError> {
        let id = self.sys.stat_dir(Some(&self.dir), Path::new("."));
        id.context(Operation::Directory("stat the directory"), &self.path)
    }

    /// Whether the directory's descriptor can be used: other code of the process may have closed it.
    pub(crate) fn is_open(&self) -> bool {
        self.sys.is_open(&self.dir)
    }

    /// Whether the path leads to the directory that is open.
    ///
    /// An open directory's number cannot be another directory's, so the number that it had decides
    /// where the path shows that number. It is read again where the path shows another one: an overlay
    /// gives a directory a new number when it copies the directory up.
    ///
    /// # Errors
    ///
    /// The path leads nowhere, or cannot be followed.
    pub(crate) fn path_leads_here(&self) -> Result<bool, IoError> {
        let led_to = self.sys.stat_dir(self.base.as_deref(), parent(&self.path));
        let led_to = led_to.context(Operation::Directory("follow the path"), &self.path)?;
        Ok(self.id == Some(led_to) || led_to == self.open_id()?)
    }

    pub(crate) fn is_local(&self) -> bool {
        self.file_system.is_local()
    }

    /// fstatat(2) of a name in the directory, as the server has it.
    ///
    /// Off local file systems a mount remembers for a second (JuiceFS) to a minute (NFS) what a name stood for,
    /// also if the file was replaced through another mount; and such a file may go to a trash, where it can still be
    /// opened. Breaker A knew a stale lock. B broke it on another mount and published. A found the lock that it
    /// knew, renamed B's aside, and took it for the stale one. A holder whose lock was removed and acquired by
    /// another process unlinked that process's lock at its release.
    pub(crate) fn stat_at(&self, name: &OsStr) -> io::Result<Stat> {
        self.forget_name(name);
        self.sys.stat_at(&self.dir, name)
    }

    /// Makes the mount ask its server what the name stands for, at the next call with that name.
    pub(crate) fn forget_name(&self, name: &OsStr) {
        if !self.is_local() {
            self.sys.forget_name(&self.dir, name);
        }
    }

    /// The stat of what the name stands for; `None` if nothing has the name.
    pub(crate) fn stat(&self) -> Result<Option<Stat>, IoError> {
        let stat = present(self.stat_at(&self.name));
        stat.context(Operation::File("stat"), &self.path)
    }

    /// The same, if the name stands for the inode `id`.
    pub(crate) fn stat_if_names(&self, id: FileId) -> Result<Option<Stat>, IoError> {
        let stat = unless_removed(self.stat_at(&self.name));
        let stat = stat.context(Operation::File("stat"), &self.path)?;
        Ok(stat.filter(|stat| stat.id == id))
    }

    /// Opens the regular file that the name stands for, by `open`.
    ///
    /// Any user who may write to the directory may put something else there. A symbolic link would
    /// lead to a foreign file, the open of a FIFO can hang, and the open of a device can have
    /// effects. So nothing is opened before fstatat(2) has called it a regular file. Something else
    /// may take its place before the open: so the open itself follows no link and does not block
    /// (O_NOFOLLOW, O_NONBLOCK; [`Sys::open`]), and what it has opened is checked again.
    pub(crate) fn open_existing(
        &self,
        open: impl FnOnce() -> io::Result<S::File>,
    ) -> Result<Opened<S::File>, IoError> {
        let Some(stat) = self.stat()? else {
            return Ok(Opened::Absent);
        };
        if stat.kind != FileKind::Regular {
            return Ok(Opened::Irregular(stat.kind));
        }
        let file = match open().context(Operation::File("open"), &self.path) {
            Ok(file) => file,
            Err(error) if error.source.kind() == io::ErrorKind::PermissionDenied => {
                let uid = stat.uid;
                return Ok(Opened::Denied { uid, error });
            }
            Err(error) => return Err(error),
        };
        let stat = self.on_opened(self.sys.stat(&file));
        let stat = stat.context(Operation::File("stat"), &self.path)?;
        match stat.kind {
            FileKind::Regular => Ok(Opened::File(file, stat)),
            kind => Ok(Opened::Irregular(kind)),
        }
    }

    /// [`Sys::flock`], with EACCES as what it means on this file system. On SMB, where flock is a
    /// mandatory lock of the server, it is contention; on a local file system a security policy has
    /// refused the call.
    pub(crate) fn flock(&self, file: &S::File, operation: Flock) -> io::Result<FlockOutcome> {
        const EACCES: i32 = 13;
        let may_contend = operation != Flock::Unlock && !self.is_local();
        match self.sys.flock(file, operation) {
            Err(error) if cfg!(unix) && may_contend && error.raw_os_error() == Some(EACCES) => {
                Ok(FlockOutcome::WouldBlock)
            }
            outcome => outcome,
        }
    }

    /// The outcome of a call on a file of this directory that the running operation has opened.
    ///
    /// Off local file systems EBADF means that another host has removed the file (JuiceFS), where NFS reports
    /// ESTALE: so it becomes ESTALE. On a local file system other code of the process has closed the descriptor.
    pub(crate) fn on_opened<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        match outcome {
            Err(error) if !self.is_local() && is_closed(&error) => {
                Err(io::ErrorKind::StaleNetworkFileHandle.into())
            }
            outcome => outcome,
        }
    }

    /// Opens what the name stands for at this moment, whatever that is.
    pub(crate) fn open_now(&self, access: Access) -> io::Result<S::File> {
        self.sys.open(&self.dir, &self.name, access)
    }
}

impl Entry<Host> {
    /// The processes that share a kernel lock of the file, as far as this user may see them; none if
    /// there is no file. A fact for people, which decides nothing: the simulated kernel does not have it.
    pub(crate) fn locked_by(&self) -> Result<Vec<LockingProcess>, IoError> {
        let found = present(self.sys.flock_holders(&self.dir, &self.name));
        let found = found.context(
            Operation::Process("find the processes that have locked the file"),
            &self.path,
        )?;
        Ok(found.unwrap_or_default())
    }
}

/// The last component of `path`.
pub(crate) fn file_name(path: &Path) -> Result<&OsStr, IoError> {
    let no_name = || io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name");
    let name = path.file_name().ok_or_else(no_name);
    name.context(Operation::Path("use this path"), path)
}

/// The directory of `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Whether a call on an open file, or on its name, reports that another host has removed the file: ESTALE on
/// NFS, ENOENT on FUSE mounts.
pub(crate) fn is_removed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::StaleNetworkFileHandle
    )
}

/// Whether open(2) reports that another mount has replaced the file which this one remembers: EINVAL on
/// SMB, for as long as processes of this mount have the replaced file open.
pub(crate) fn is_replaced(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
}

/// `None` for a name that is not there.
pub(crate) fn present<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The stat of a name that stood for a file a moment ago; `None` if it does no more. On Windows the name
/// of a file that was removed can stay until the last process closes the file, which may be this one.
pub(crate) fn unless_removed<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match present(outcome) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        outcome => outcome,
    }
}
