//! Linux: unnamed files and their links, and the types of file systems.
//!
//! `statx` has mount points and birth times, `rename` the rename that does not replace, and `inotify` the
//! waiting. `procfs`, `identity` and `flock_holders` have the facts about processes, `mark` the marks by which
//! a descriptor is known again, and `byte_lock` the locks of single bytes.

#[cfg(feature = "table")]
mod byte_lock;
mod flock_holders;
mod identity;
mod inotify;
mod mark;
mod procfs;
mod rename;
mod statx;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::Mode;
use nix::sys::statfs::{self, FsType};
use nix::time::ClockId;
use nix::unistd::linkat;

use super::calls::{errno, retry};
use super::wide::fstatfs_type;
use crate::judge::FileSystem;

#[cfg(feature = "table")]
pub(super) use byte_lock::{is_byte_locked, lock_byte};
pub(super) use flock_holders::flock_holders;
pub(super) use identity::{identity, is_this_process};
pub(crate) use inotify::{Watch, close_spare_watch};
pub(super) use inotify::{end_of_this_process, wait, watch, watches_process};
pub(super) use mark::{is_marked, mark};
pub(super) use procfs::process;
pub(super) use rename::rename_noreplace;
#[cfg(feature = "table")]
pub(super) use statx::stat_uncached;
pub(super) use statx::{is_mount_point, stat};

pub(super) use super::boot_id::boot_id;
#[cfg(feature = "table")]
pub(super) use super::boot_id::kernel_boot_id;
pub(super) use super::calls::sync;

/// Counts suspension, unlike CLOCK_MONOTONIC. clock_gettime(2)
pub(super) const CLOCK_SINCE_BOOT: ClockId = ClockId::CLOCK_BOOTTIME;

/// Plain file systems, by statfs(2) type: one kernel alone mounts them. The first four were tested
/// (`scripts/filesystems.sh`); the others are of the same kind. Whatever is not listed, and is no
/// overlay, is not local.
const PLAIN: [FsType; 8] = [
    statfs::EXT4_SUPER_MAGIC,
    statfs::TMPFS_MAGIC,
    FsType(0x5846_5342), // xfs, which nix has for glibc only
    statfs::BTRFS_SUPER_MAGIC,
    statfs::F2FS_SUPER_MAGIC,
    FsType(0x8584_58f6_u32 as _), // ramfs
    FsType(0x2fc1_2fc1),          // zfs
    FsType(0xca45_1a4e_u32 as _), // bcachefs
];

pub(super) fn file_system(dir: &File) -> io::Result<FileSystem> {
    let found = retry(|| fstatfs_type(dir))?;
    Ok(match found {
        _ if PLAIN.contains(&found) => FileSystem::Local { plain: true },
        statfs::OVERLAYFS_SUPER_MAGIC => FileSystem::Local { plain: false },
        _ => FileSystem::NotLocal,
    })
}

/// Opens a directory whose names may be used but not listed. open(2), O_PATH
pub(super) const SEARCH_ONLY: Option<OFlag> = Some(OFlag::O_PATH);

/// Flags that differ from one open to the next, and change nothing for a descriptor that writes
/// nothing, or syncs what it writes.
///
/// The SMB client (Linux 6.1) keeps the handle of a closed file for a second, and gives it to the next
/// open with equal flags without asking the server: contenders that poll would see a lock file that
/// another mount has removed for as long as they poll.
pub(super) fn varied_flags() -> OFlag {
    static OPENS: AtomicU32 = AtomicU32::new(0);
    let opens = OPENS.fetch_add(1, Ordering::Relaxed);
    let varied = std::process::id().wrapping_add(opens);
    let synced = match varied % 3 {
        0 => OFlag::empty(),
        1 => OFlag::O_DSYNC,
        _ => OFlag::O_SYNC,
    };
    // Has no effect in open(2).
    let signals = match varied / 3 % 2 {
        0 => OFlag::empty(),
        _ => OFlag::O_ASYNC,
    };
    synced | signals
}

pub(super) fn create_unnamed(dir: &File, mode: Mode) -> io::Result<File> {
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let created = retry(|| openat(dir, ".", flags, mode));
    created
        .map(File::from)
        .map_err(|error| match errno(&error) {
            // What kernels and file systems without O_TMPFILE were seen to answer. open(2)
            Errno::EOPNOTSUPP | Errno::EISDIR | Errno::EINVAL | Errno::ENOSYS => unsupported(),
            _ => error,
        })
}

/// By AT_EMPTY_PATH, which older kernels permit to privileged users only (ENOENT), else by the name
/// that the descriptor has in procfs. linkat(2)
pub(super) fn link(file: &File, dir: &File, name: &OsStr) -> io::Result<()> {
    let by_descriptor = retry(|| linkat(file, "", dir, name, AtFlags::AT_EMPTY_PATH));
    let linked = by_descriptor.or_else(|error| match errno(&error) {
        Errno::ENOENT | Errno::EINVAL => {
            let in_procfs = format!("/proc/self/fd/{}", file.as_raw_fd());
            let follow = AtFlags::AT_SYMLINK_FOLLOW;
            retry(|| linkat(AT_FDCWD, in_procfs.as_str(), dir, name, follow))
        }
        _ => Err(error),
    });
    linked.map_err(|error| match errno(&error) {
        // EPERM, EMLINK: no links here. EXDEV, ENOENT: no procfs, or that of another namespace.
        Errno::EPERM
        | Errno::EMLINK
        | Errno::EXDEV
        | Errno::ENOENT
        | Errno::ENOSYS
        | Errno::EINVAL
        | Errno::EOPNOTSUPP => unsupported(),
        _ => error,
    })
}

/// Makes the mount of `dir` ask its server what `name` stands for. Changes nothing; best effort.
///
/// A client of NFS looks names up again if the directory has changed at the server. A FUSE mount remembers each
/// name for a time, but asks its server for the name of a new link. The link cannot be made: EEXIST, or EXDEV, or
/// EPERM for a directory, before any file system is asked. (A rename of the name to itself reached sshfs when the
/// name was removed at that moment, and the mount hung.)
pub(super) fn forget_name(dir: &File, name: &OsStr) {
    let _ = statx::refresh(dir);
    let _ = linkat(AT_FDCWD, "/", dir, name, AtFlags::empty());
}

fn unsupported() -> io::Error {
    io::ErrorKind::Unsupported.into()
}
