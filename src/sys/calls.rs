//! What the system calls of several modules share: calls that a signal interrupted, a rename that
//! does not replace, syncs, pipes, mounts seen by their device, and the answer of stat(2).

use std::ffi::OsStr;
use std::fs::File;
use std::io;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
#[cfg(any(target_vendor = "apple", target_os = "haiku"))]
use nix::fcntl::{FcntlArg, FdFlag};
use nix::sys::stat::SFlag;
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

use super::wide::{FileStat, fstat, fstatat};
use super::{FileId, FileKind, Stat, SyncMode};

/// The error number of a system call; 0 for an error that has none.
pub(super) fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

/// Repeats a call that a signal interrupted.
pub(super) fn retry<T, E: Into<io::Error>>(
    mut call: impl FnMut() -> Result<T, E>,
) -> io::Result<T> {
    loop {
        match call().map_err(Into::into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// The two ends of a pipe, reader first, which no child inherits.
pub(super) fn pipe() -> io::Result<(File, File)> {
    #[cfg(not(any(target_vendor = "apple", target_os = "haiku")))]
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    // Without pipe2(2): a child that another thread starts in between inherits both.
    #[cfg(any(target_vendor = "apple", target_os = "haiku"))]
    let (reader, writer) = nix::unistd::pipe()?;
    #[cfg(any(target_vendor = "apple", target_os = "haiku"))]
    for end in [&reader, &writer] {
        nix::fcntl::fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    }
    Ok((reader.into(), writer.into()))
}

/// fsync(2) and fdatasync(2).
pub(super) fn sync(file: &File, mode: SyncMode) -> io::Result<()> {
    retry(|| match mode {
        SyncMode::All => file.sync_all(),
        SyncMode::Data => file.sync_data(),
    })
}

/// Whether `name` is on another file system than `dir`: a mount point of that file system.
pub(super) fn is_of_another_device(dir: &File, name: &OsStr) -> io::Result<bool> {
    let named = retry(|| fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW))?;
    Ok(named.st_dev != retry(|| fstat(dir))?.st_dev)
}

/// Stands in for a rename that does not replace.
pub(super) fn link_then_unlink(dir: &File, from: &OsStr, to: &OsStr) -> io::Result<()> {
    // protected_hardlinks refuses the link for another user's file: then the file keeps its name.
    retry(|| linkat(dir, from, dir, to, AtFlags::empty()))?;
    // The file has its new name. If the old one stays, a later breaker removes it.
    let _: io::Result<()> = retry(|| unlinkat(dir, from, UnlinkatFlags::NoRemoveDir));
    Ok(())
}

/// Without a birth time, which stat(2) does not report.
#[allow(
    clippy::unnecessary_cast,
    reason = "the fields' types differ between Unixes"
)]
pub(super) fn to_stat(stat: &FileStat) -> Stat {
    #[cfg(not(target_os = "netbsd"))]
    let nanos = stat.st_mtime_nsec;
    #[cfg(target_os = "netbsd")]
    let nanos = stat.st_mtimensec;
    Stat {
        id: FileId {
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
        },
        kind: to_kind(SFlag::from_bits_truncate(stat.st_mode)),
        links: stat.st_nlink as u64,
        uid: Some(stat.st_uid),
        mtime_ns: unix_ns(stat.st_mtime as i64, nanos as i64),
        born_ns: None,
    }
}

pub(super) fn to_kind(mode: SFlag) -> FileKind {
    match mode & SFlag::S_IFMT {
        SFlag::S_IFREG => FileKind::Regular,
        SFlag::S_IFDIR => FileKind::Directory,
        SFlag::S_IFLNK => FileKind::Symlink,
        SFlag::S_IFIFO => FileKind::Fifo,
        SFlag::S_IFSOCK => FileKind::Socket,
        _ => FileKind::Device,
    }
}

/// Unix time in nanoseconds; what lies before 1970 counts as 1970.
pub(super) fn unix_ns(seconds: i64, nanos: i64) -> u64 {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(nanos).unwrap_or(0))
}
