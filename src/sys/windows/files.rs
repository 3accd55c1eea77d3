//! Directories and lock files. The kernel lock of a file is the share mode of an open handle: as long
//! as it is open, no other handle of the file can have what it does not share, and the kernel closes it
//! when the last process that has it ends.
//!
//! | handle | may | shares |
//! |---|---|---|
//! | of a holder, and of a private file | read, write, delete | read |
//! | `Flock::Exclusive`, of a breaker | read, delete | read |
//! | `Flock::Shared`, of an examiner | read, delete | read, delete |
//! | of a file that is only read | read | read, write, delete |
//!
//! So a holder refuses every other writer, and every process that would delete or rename the file; a
//! breaker refuses the same, and is refused by a holder; examiners do not refuse one another. A handle
//! that shares nothing but reading also keeps deployed clients from removing the file.
//!
//! A holder refuses an examiner twice: the holder does not share deletion, and the examiner does not share
//! the writing that the holder may do. Windows counts by the open file what handles share (\[MS-FSA\]
//! 2.1.5.1.2.2), but it can also count deletion by the name (IoCheckLinkShareAccess), and a holder has opened its
//! file under a temporary one.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::windows::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use windows_sys::Win32::Foundation::ERROR_SHARING_VIOLATION;
use windows_sys::Win32::Storage::FileSystem::{
    DELETE, FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_REPARSE_POINT, FILE_FLAG_BACKUP_SEMANTICS,
    FILE_GENERIC_READ, FILE_GENERIC_WRITE, FILE_LIST_DIRECTORY, FILE_READ_ATTRIBUTES,
    FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE, FILE_TRAVERSE, FILE_WRITE_ATTRIBUTES,
};

use super::nt::{self, Disposition, Refusal};
use super::paths::{absolute, verbatim, wide};
use super::times::{filetime_now, unix_ns};
use super::volume;
use crate::judge::FileSystem;
use crate::record::RECORD_LEN;
use crate::sys::{FileId, FileKind, Flock, FlockOutcome, Prefix, Stat};

const SHARE_ALL: u32 = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;

/// What a holder and a breaker share. `--cfg rvlf_weak_share` is for a test, which shows that without
/// this, and what an examiner shares, there are two holders at a time.
const SHARE_HELD: u32 = if cfg!(rvlf_weak_share) {
    SHARE_ALL
} else {
    FILE_SHARE_READ
};

/// What an examiner shares: what other examiners do.
const SHARE_EXAMINED: u32 = if cfg!(rvlf_weak_share) {
    SHARE_ALL
} else {
    FILE_SHARE_READ | FILE_SHARE_DELETE
};

const ACCESS_HELD: u32 = FILE_GENERIC_READ | FILE_GENERIC_WRITE | DELETE;

/// How often a name is tried again that is being removed, or that another handle keeps for a moment: a
/// scanner, an indexer, another contender. 1, 2, 4 .. 256 ms are half a second.
const RETRIES: u32 = 9;

/// Runs `call` until it succeeds, its refusal is not one that passes, or half a second is over.
fn patiently<T>(
    passes: impl Fn(Refusal) -> bool,
    mut call: impl FnMut() -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    for retry in 0..RETRIES {
        match call() {
            Err(refusal) if passes(refusal) => pause(retry),
            outcome => return outcome,
        }
    }
    call()
}

/// Between 3/4 and 5/4 of the pause, so that contenders do not meet again and again.
fn pause(retry: u32) {
    let [byte, ..] = super::random().unwrap_or([0x80; 16]);
    let pause = Duration::from_millis(1 << retry);
    std::thread::sleep(pause * (192 + u32::from(byte) / 2) / 256);
}

/// An open directory. It cannot be renamed or removed while it is open, so its path leads to it until
/// the path itself is led elsewhere (a junction, a mounted volume, a drive letter).
#[derive(Clone, Debug)]
pub(crate) struct Dir(Arc<OpenDir>);

#[derive(Debug)]
struct OpenDir {
    handle: File,
    path: PathBuf,
    file_system: FileSystem,
}

impl Dir {
    pub(super) fn open(base: Option<&Dir>, path: &Path) -> io::Result<Dir> {
        let path = absolute(base.map(Dir::path), path)?;
        let handle = open_dir_handle(&path)?;
        let file_system = volume::file_system(&handle)?;
        Ok(Dir(Arc::new(OpenDir {
            handle,
            path,
            file_system,
        })))
    }

    /// Which directory `path` leads to now; `.` is `base` itself.
    pub(super) fn id_at(base: Option<&Dir>, path: &Path) -> io::Result<FileId> {
        match base {
            Some(dir) if path == Path::new(".") => id(&dir.0.handle),
            _ => {
                let path = verbatim(&absolute(base.map(Dir::path), path)?);
                let mut options = OpenOptions::new();
                // No handle refuses another one that only asks for attributes.
                options
                    .access_mode(FILE_READ_ATTRIBUTES)
                    .share_mode(SHARE_ALL);
                id(&options
                    .custom_flags(FILE_FLAG_BACKUP_SEMANTICS)
                    .open(path)?)
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0.path
    }

    pub(super) fn file_system(&self) -> FileSystem {
        self.0.file_system
    }

    fn handle(&self) -> &File {
        &self.0.handle
    }

    /// Whether `name` stands for the file `id`. A name that cannot be seen is no sign that it does not.
    pub(super) fn names(&self, name: &[u16], id: FileId) -> bool {
        match nt::open_any(self.handle(), name) {
            Ok(found) => self::id(&found).map_or(true, |found| found == id),
            Err(refusal) => refusal != Refusal::NotFound && refusal != Refusal::DeletePending,
        }
    }

    pub(super) fn list(&self) -> io::Result<Vec<OsString>> {
        let entries = fs::read_dir(verbatim(self.path()))?;
        entries.map(|entry| Ok(entry?.file_name())).collect()
    }

    pub(super) fn stat_at(&self, name: &OsStr) -> io::Result<Stat> {
        let name = wide(name);
        let is_pending = |refusal| refusal == Refusal::DeletePending;
        let opened = patiently(is_pending, || nt::open_any(self.handle(), &name));
        stat(&opened.map_err(Refusal::into_error)?)
    }
}

fn open_dir_handle(path: &Path) -> io::Result<File> {
    let path = verbatim(path);
    let open = |access| {
        let mut options = OpenOptions::new();
        options.access_mode(access | FILE_READ_ATTRIBUTES);
        options.share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE);
        options.custom_flags(FILE_FLAG_BACKUP_SEMANTICS).open(&path)
    };
    let open_at_all = || match open(FILE_LIST_DIRECTORY | FILE_TRAVERSE) {
        // In a directory that may not be listed files can still be made and opened.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => open(FILE_TRAVERSE),
        outcome => outcome,
    };
    let mut retry = 0;
    let handle = loop {
        match open_at_all() {
            // Another process is about to rename the directory, or to remove it.
            Err(error) if is_sharing_violation(&error) && retry < RETRIES => {
                pause(retry);
                retry += 1;
            }
            outcome => break outcome?,
        }
    };
    let attributes = nt::information(&handle)?.dwFileAttributes;
    if attributes & FILE_ATTRIBUTE_DIRECTORY == 0 {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(handle)
}

fn is_sharing_violation(error: &io::Error) -> bool {
    error.raw_os_error() == Some(ERROR_SHARING_VIOLATION as i32)
}

/// A file that is open: one that this process has made, or one that it examines.
#[derive(Debug)]
pub(crate) struct OpenFile {
    handle: File,
    dir: Dir,
    role: Role,
}

#[derive(Debug)]
enum Role {
    /// Made by this process. The handle has the kernel lock from the beginning, and keeps it.
    Made {
        /// Whether the file has a temporary name and nothing else.
        is_private: AtomicBool,
    },
    /// Opened by its name.
    Found {
        name: Vec<u16>,
        /// The handle that has the kernel lock, while this process has it.
        lock: Mutex<Option<File>>,
    },
}

impl OpenFile {
    /// Opens what is there, for reading: only the process that has made a lock file writes to it, and a
    /// handle that could write would be in the way of a breaker.
    /// What no handle shares is refused as [`io::ErrorKind::WouldBlock`].
    pub(super) fn open(dir: &Dir, name: &OsStr) -> io::Result<OpenFile> {
        let name = wide(name);
        let passes = |refusal| matches!(refusal, Refusal::DeletePending | Refusal::Sharing);
        let opened = patiently(passes, || {
            nt::open(
                dir.handle(),
                &name,
                FILE_GENERIC_READ,
                SHARE_ALL,
                Disposition::Existing,
            )
        });
        Ok(OpenFile {
            handle: opened.map_err(Refusal::into_error)?,
            dir: dir.clone(),
            role: Role::Found {
                name,
                lock: Mutex::new(None),
            },
        })
    }

    /// Makes the file `name`. It has the kernel lock when the name appears.
    pub(super) fn create(dir: &Dir, name: &OsStr) -> io::Result<OpenFile> {
        OpenFile::make(dir, name, false)
    }

    /// Makes a file that is removed when it is dropped before it is linked.
    pub(super) fn create_private(dir: &Dir, name: &OsStr) -> io::Result<OpenFile> {
        OpenFile::make(dir, name, true)
    }

    fn make(dir: &Dir, name: &OsStr, is_private: bool) -> io::Result<OpenFile> {
        let name = wide(name);
        let is_pending = |refusal| refusal == Refusal::DeletePending;
        let made = patiently(is_pending, || {
            nt::open(
                dir.handle(),
                &name,
                ACCESS_HELD,
                SHARE_HELD,
                Disposition::New,
            )
        });
        let handle = made.map_err(|refusal| match refusal {
            // The name is taken for as long as a process keeps the removed file open.
            Refusal::DeletePending => io::ErrorKind::AlreadyExists.into(),
            refusal => refusal.into_error(),
        });
        Ok(OpenFile {
            handle: handle?,
            dir: dir.clone(),
            role: Role::Made {
                is_private: AtomicBool::new(is_private),
            },
        })
    }

    /// Gives the private file its name.
    pub(super) fn link(&self, dir: &Dir, name: &OsStr) -> io::Result<()> {
        let name = wide(name);
        let passes = |refusal| {
            matches!(
                refusal,
                Refusal::Sharing | Refusal::DeletePending | Refusal::AccessDenied
            )
        };
        let renamed = patiently(passes, || nt::rename(&self.handle, dir.handle(), &name));
        renamed.map_err(|refusal| match refusal {
            Refusal::DeletePending => io::ErrorKind::AlreadyExists.into(),
            refusal => refusal.into_error(),
        })?;
        if let Role::Made { is_private } = &self.role {
            is_private.store(false, Ordering::Release);
        }
        Ok(())
    }

    /// Removes the file by the handle that has its kernel lock.
    ///
    /// By way of another name: a file that is deleted keeps its name until the last handle is closed,
    /// unless the deletion has POSIX semantics, and with them, too, while a child has the handle or a
    /// reader maps the file.
    pub(super) fn remove(&self, dir: &Dir, aside: &OsStr) -> io::Result<()> {
        let aside = wide(aside);
        match &self.role {
            Role::Made { .. } => remove(&self.handle, dir, &aside),
            Role::Found { lock, .. } => match &*locked(lock) {
                Some(handle) => remove(handle, dir, &aside),
                // The name was another file's when the kernel lock was requested.
                None => Err(io::ErrorKind::NotFound.into()),
            },
        }
    }

    /// Takes the kernel lock of an examined file: opens it once more by its name, and compares.
    pub(super) fn flock(&self, operation: Flock) -> io::Result<FlockOutcome> {
        let Role::Found { name, lock } = &self.role else {
            return Ok(FlockOutcome::Done);
        };
        let mut kept = locked(lock);
        *kept = None;
        let opened = match operation {
            Flock::Unlock => return Ok(FlockOutcome::Done),
            Flock::Shared => self.open_shared(name),
            Flock::Exclusive => self.open_exclusive(name),
        };
        match opened {
            Ok(handle) => {
                // Another file's handle is no answer about this one. Its name has gone, and with it
                // every process that kept it.
                let is_same = id(&handle)? == id(&self.handle)?;
                *kept = is_same.then_some(handle);
                Ok(FlockOutcome::Done)
            }
            Err(Refusal::NotFound) => Ok(FlockOutcome::Done),
            Err(Refusal::Sharing | Refusal::DeletePending) => Ok(FlockOutcome::WouldBlock),
            Err(refusal) => Err(refusal.into_error()),
        }
    }

    /// A filter of the system, such as a scanner, may deny access for a moment.
    fn open_exclusive(&self, name: &[u16]) -> Result<File, Refusal> {
        let access = FILE_GENERIC_READ | DELETE;
        let is_denied = |refusal| refusal == Refusal::AccessDenied;
        patiently(is_denied, || self.reopen(name, access, SHARE_HELD))
    }

    /// A user who may not delete the file asks by what a holder does alone: a handle that shares neither
    /// writing nor deletion is refused beside a holder's.
    fn open_shared(&self, name: &[u16]) -> Result<File, Refusal> {
        let access = FILE_GENERIC_READ | DELETE;
        match self.reopen(name, access, SHARE_EXAMINED) {
            Err(Refusal::AccessDenied) => self.reopen(name, FILE_GENERIC_READ, FILE_SHARE_READ),
            outcome => outcome,
        }
    }

    fn reopen(&self, name: &[u16], access: u32, share: u32) -> Result<File, Refusal> {
        nt::open(
            self.dir.handle(),
            name,
            access,
            share,
            Disposition::Existing,
        )
    }

    pub(super) fn stat(&self) -> io::Result<Stat> {
        stat(&self.handle)
    }

    pub(super) fn read(&self) -> io::Result<Prefix> {
        Prefix::read(|buffer| {
            let mut len = 0;
            while len < RECORD_LEN {
                let rest = buffer.get_mut(len..).expect("a record fits the buffer");
                match self.handle.seek_read(rest, len as u64)? {
                    0 => break,
                    n => len += n,
                }
            }
            Ok(len)
        })
    }

    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let written = self.handle.seek_write(bytes, offset)?;
        if written < bytes.len() {
            // A reader could see two writes as two halves of a record.
            let text = "the record was written in part";
            return Err(io::Error::new(io::ErrorKind::WriteZero, text));
        }
        self.touch()
    }

    pub(super) fn truncate(&self) -> io::Result<()> {
        self.handle.set_len(0)?;
        self.touch()
    }

    /// NTFS may set the time of a write only when the handle is closed. A file server sets it by its own
    /// clock.
    fn touch(&self) -> io::Result<()> {
        match self.dir.file_system().is_local() {
            true => nt::set_mtime(&self.handle, filetime_now()),
            false => Ok(()),
        }
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    /// Where the file was opened, for a watch.
    pub(super) fn place(&self) -> Option<(&Dir, &[u16])> {
        match &self.role {
            Role::Found { name, .. } => Some((&self.dir, name)),
            Role::Made { .. } => None,
        }
    }

    /// A second handle of the same open file, with the same share mode.
    pub(crate) fn try_clone_handle(&self) -> io::Result<File> {
        self.handle.try_clone()
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if let Role::Made { is_private } = &self.role {
            if is_private.load(Ordering::Acquire) {
                // What stays is a leftover.
                let _ = nt::delete(&self.handle);
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// If the rename fails, the file is deleted under its own name; if the deletion fails, the aside stays.
fn remove(handle: &File, dir: &Dir, aside: &[u16]) -> io::Result<()> {
    let passes = |refusal| matches!(refusal, Refusal::Sharing | Refusal::AccessDenied);
    let renamed = patiently(passes, || nt::rename(handle, dir.handle(), aside));
    let deleted = nt::delete(handle).or_else(|_| {
        make_writable(handle, dir, aside);
        nt::delete(handle)
    });
    match renamed {
        Ok(()) => Ok(()),
        Err(_) => deleted,
    }
}

/// A file with the attribute "read-only" cannot be deleted by the classic call. A handle that may only
/// change attributes is refused by no other one.
fn make_writable(handle: &File, dir: &Dir, aside: &[u16]) {
    let access = FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES;
    let opened = nt::open(
        dir.handle(),
        aside,
        access,
        SHARE_ALL,
        Disposition::Existing,
    );
    if let Ok(opened) = opened {
        if id(&opened).ok() == id(handle).ok() {
            let _ = nt::make_writable(&opened);
        }
    }
}

/// The identity of an open file. Other files have the same numbers only when it is closed everywhere.
pub(super) fn id(file: &File) -> io::Result<FileId> {
    match nt::id(file) {
        Ok((volume, id)) => Ok(FileId {
            dev: volume,
            ino: file_number(id),
        }),
        // FAT and some servers have short ids only.
        Err(_) => {
            let info = nt::information(file)?;
            Ok(FileId {
                dev: info.dwVolumeSerialNumber.into(),
                ino: u64::from(info.nFileIndexHigh) << 32 | u64::from(info.nFileIndexLow),
            })
        }
    }
}

/// The number of a file in 64 bits. NTFS has no longer ones. The two halves of ReFS's are small numbers
/// of their own, which stay apart. `spec/format.md#kernel-stamp`
fn file_number(id: [u8; 16]) -> u64 {
    let id = u128::from_le_bytes(id);
    match u64::try_from(id) {
        Ok(number) => number,
        Err(_) => id as u64 ^ ((id >> 64) as u64).rotate_left(32),
    }
}

fn stat(file: &File) -> io::Result<Stat> {
    let info = nt::information(file)?;
    let written = info.ftLastWriteTime;
    let written = u64::from(written.dwHighDateTime) << 32 | u64::from(written.dwLowDateTime);
    Ok(Stat {
        id: id(file)?,
        kind: kind(file, info.dwFileAttributes)?,
        links: info.nNumberOfLinks.into(),
        uid: None,
        mtime_ns: unix_ns(written),
        // A file that takes the name of one that was removed less than 15 s ago takes its time of
        // creation as well.
        born_ns: None,
    })
}

fn kind(file: &File, attributes: u32) -> io::Result<FileKind> {
    if attributes & FILE_ATTRIBUTE_REPARSE_POINT != 0 {
        return Ok(volume::kind_of_tag(nt::reparse_tag(file)?));
    }
    Ok(match attributes & FILE_ATTRIBUTE_DIRECTORY {
        0 => FileKind::Regular,
        _ => FileKind::Directory,
    })
}
