//! [`Place`]: the lock path of one data file.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{RETRY_PAUSES, Result};
use crate::alias::Alias;
use crate::judge::{FileSystem, KernelLock};
use crate::record::{DecodeError, Record};
use crate::sys::entry::{Entry, present};
use crate::sys::hooks::sabotaged;
use crate::sys::{
    Access, Context, FileId, FileKind, Flock, FlockOutcome, Host, IoError, LockingProcess,
    Operation, Prefix, Sys, is_io_failure, is_locked,
};

/// How often content with a wrong checksum is read again: a read may see half of a refresh.
const REREADS: u32 = 3;

/// The lock path of one data file. Opened once, it serves any number of acquisitions, also several
/// at a time.
#[derive(Debug)]
pub(crate) struct Place<S: Sys> {
    /// The lock file's name in its directory.
    pub(super) entry: Entry<S>,
    data_path: PathBuf,
    /// [`RETRY_PAUSES`]; fewer where schedules are searched exhaustively.
    pub(crate) retry_pauses: &'static [Duration],
}

impl<S: Sys> Place<S> {
    /// Opens the directory of the data file `data_path`.
    pub(crate) fn open(sys: S, data_path: &Path) -> Result<Place<S>, IoError> {
        let lock_path = lock_path_for(data_path);
        let name = data_name(data_path);
        let checked = name.and_then(|name| sys.check_data_name(name));
        checked.context(Operation::Path("name the lock file"), &lock_path)?;
        Ok(Place {
            entry: Entry::open(sys, &lock_path)?,
            data_path: data_path.to_owned(),
            retry_pauses: &RETRY_PAUSES,
        })
    }

    /// The same lock path, with the directory that it leads to now.
    pub(crate) fn open_anew(&self) -> Result<Place<S>, IoError> {
        Ok(Place {
            entry: self.entry.open_anew()?,
            data_path: self.data_path.clone(),
            retry_pauses: self.retry_pauses,
        })
    }

    /// `place`, or the same lock path opened anew if it leads to another directory by now, or if foreign
    /// code has closed the directory's descriptor.
    pub(crate) fn current(place: &Arc<Place<S>>) -> Result<Arc<Place<S>>, IoError> {
        if matches!(place.entry.path_leads_here(), Ok(true)) && place.entry.is_open() {
            Ok(Arc::clone(place))
        } else {
            place.open_anew().map(Arc::new)
        }
    }

    /// Whether a wait has to go on in another directory. Where inode numbers are made up, two of one
    /// directory may differ: then they prove nothing.
    pub(crate) fn has_moved(&self) -> bool {
        let leads_here = |entry: &Entry<S>| matches!(entry.path_leads_here(), Ok(true));
        let proves_nothing = || {
            let anew = self.entry.open_anew();
            !self.entry.is_local() && anew.is_ok_and(|anew| !leads_here(&anew))
        };
        !sabotaged!(self.entry.sys, Path) && !leads_here(&self.entry) && !proves_nothing()
    }

    pub(crate) fn sys(&self) -> &S {
        &self.entry.sys
    }

    pub(crate) fn data_path(&self) -> &Path {
        &self.data_path
    }

    pub(crate) fn lock_path(&self) -> &Path {
        &self.entry.path
    }

    /// Why the data file may have a second lock path, if its own path shows that.
    pub(super) fn alias(&self) -> Result<Option<Alias>, IoError> {
        const OPERATION: Operation = Operation::File("stat the data file");
        let name = self.data_path.file_name().unwrap_or_default();
        let stat = present(self.sys().stat_at(&self.entry.dir, name));
        let Some(stat) = stat.context(OPERATION, &self.data_path)? else {
            return Ok(None);
        };
        Ok(match stat.kind {
            FileKind::Symlink => Some(Alias::Symlink),
            // On many file systems each subdirectory is a link to its directory: stat(2), st_nlink
            kind if kind != FileKind::Directory && stat.links > 1 => {
                Some(Alias::HardLinks(stat.links))
            }
            _ => {
                let mounted = present(self.sys().is_mount_point(&self.entry.dir, name));
                let mounted = mounted.context(OPERATION, &self.data_path)?;
                mounted.unwrap_or(false).then_some(Alias::MountPoint)
            }
        })
    }

    /// What `name` holds, for a process that has the kernel lock of the file `id` by its descriptor `own`.
    ///
    /// Where kernel locks are mandatory, as on SMB, that file cannot be read through a second
    /// descriptor. If the name shows its number, what `own` reads decides: after the server has lost a
    /// session, the client opens the file at the path again, which may be a successor's, behind the old
    /// descriptor.
    pub(super) fn read_locked(
        &self,
        name: &OsStr,
        own: Option<&S::File>,
        id: FileId,
    ) -> io::Result<Option<Prefix>> {
        let (sys, dir) = (self.sys(), &self.entry.dir);
        self.entry.forget_name(name);
        // An open that this user is not permitted is no sign of a lock.
        let Some(file) = present(sys.open(dir, name, Access::Read))? else {
            return Ok(None);
        };
        match (self.read(&file), own) {
            (Err(error), Some(own)) if self.is_locked_against_reads(&error, true) => {
                let stat = present(self.entry.stat_at(name))?;
                match stat {
                    Some(stat) if stat.id == id || sabotaged!(self.entry.sys, OwnNumber) => {
                        self.read(own).map(Some)
                    }
                    Some(_) => Err(error),
                    None => Ok(None),
                }
            }
            (read, _) => read.map(Some),
        }
    }

    /// Whether a read failed because another descriptor has a mandatory kernel lock of the file. SMB on macOS
    /// reports that as any other failure of the server, which means it only if a descriptor `is_known` to have one.
    pub(super) fn is_locked_against_reads(&self, error: &io::Error, is_known: bool) -> bool {
        if is_locked(error) {
            return true;
        }
        let is_refused = error.kind() == io::ErrorKind::PermissionDenied;
        let may_be_refused = || {
            is_known
                && is_io_failure(error)
                && self.sys().reports_locks_as_io_errors(&self.entry.dir)
        };
        !self.entry.is_local() && (is_refused || may_be_refused())
    }

    /// Reads the beginning of `file`, and again if its checksum is wrong: the holder may be
    /// refreshing in place.
    pub(super) fn read(&self, file: &S::File) -> io::Result<Prefix> {
        let mut prefix = self.read_once(file)?;
        for _ in 0..REREADS {
            let record = Record::decode(prefix.bytes());
            if !matches!(record, Err(DecodeError::BadChecksum { .. })) {
                break;
            }
            self.settle(Duration::from_millis(1));
            prefix = self.read_once(file)?;
        }
        Ok(prefix)
    }

    pub(super) fn read_once(&self, file: &S::File) -> io::Result<Prefix> {
        self.entry.on_opened(self.sys().read(file))
    }

    pub(crate) fn file_system(&self) -> FileSystem {
        self.entry.file_system
    }

    pub(super) fn flock(&self, file: &S::File, operation: Flock) -> Result<KernelLock, IoError> {
        let outcome = self.entry.flock(file, operation);
        match outcome.context(
            Operation::KernelLock("take the kernel lock"),
            self.lock_path(),
        )? {
            FlockOutcome::Done => Ok(KernelLock::Free),
            FlockOutcome::WouldBlock => Ok(KernelLock::HeldElsewhere),
            // Every local file system has flock. On one that refuses it (ENOLCK) no death would
            // have a witness, and all would have to be guessed.
            FlockOutcome::Unsupported if self.entry.is_local() => {
                Err(io::ErrorKind::Unsupported.into()).context(
                    Operation::KernelLock("take the kernel lock"),
                    self.lock_path(),
                )
            }
            FlockOutcome::Unsupported => Ok(KernelLock::Unsupported),
        }
    }

    /// Sleeps for a time that the protocol prescribes, of at most 100 ms: safety depends on it,
    /// so nothing may cut it short.
    pub(super) fn settle(&self, time: Duration) {
        self.sys().wait(None, &[], time);
    }
}

impl Place<Host> {
    /// The processes that share a kernel lock of the lock file, as far as this user may see them.
    pub(crate) fn locked_by(&self) -> Result<Vec<LockingProcess>, IoError> {
        self.entry.locked_by()
    }
}

/// The lock path of a data file: its name with `.lock` appended. Lexical: links are not resolved.
///
/// ```
/// # use std::path::Path;
/// assert_eq!(rvlf::lock_path_for("data/store.rvf"), Path::new("data/store.rvf.lock"));
/// ```
#[must_use]
pub fn lock_path_for(data_path: impl AsRef<Path>) -> PathBuf {
    let data_path = data_path.as_ref();
    let mut name = data_path.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    data_path.with_file_name(name)
}

/// The name of the data file.
fn data_name(data_path: &Path) -> io::Result<&OsStr> {
    let path = data_path.as_os_str();
    let refused = |reason| io::Error::new(io::ErrorKind::InvalidInput, reason);
    match data_path.file_name() {
        _ if path.as_encoded_bytes().contains(&0) => Err(refused("the path has a NUL byte")),
        Some(name) => Ok(name),
        None if path.is_empty() => Err(refused("the path of the data file is empty")),
        None => Err(refused("the path has no file name")),
    }
}
