//! What statx(2) alone reports: mount points, and when a file was made.

#![allow(unsafe_code, reason = "statx(2), which nix does not have")]

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::libc;
use nix::sys::stat::SFlag;

use super::super::calls::{errno, is_of_another_device, retry, to_kind, to_stat, unix_ns};
use super::super::wide::fstat;
use super::super::{FileId, Stat};

/// A bind mount of a file of the same file system has the `st_dev` of its surroundings: only
/// STATX_ATTR_MOUNT_ROOT shows it, since Linux 5.8. Before that, and where a sandbox refuses
/// statx(2), `st_dev` shows the other mounts.
pub(in super::super) fn is_mount_point(dir: &File, name: &OsStr) -> io::Result<bool> {
    const MOUNT_ROOT: u64 = libc::STATX_ATTR_MOUNT_ROOT as u64;
    let name = CString::new(name.as_bytes())?;
    // No field is requested: attributes are reported in any case.
    match statx(dir, &name, libc::AT_SYMLINK_NOFOLLOW, 0)? {
        Some(stat) if stat.stx_attributes_mask & MOUNT_ROOT != 0 => {
            Ok(stat.stx_attributes & MOUNT_ROOT != 0)
        }
        _ => is_of_another_device(dir, OsStr::from_bytes(name.to_bytes())),
    }
}

/// The stat of an open file, with its birth time where the file system remembers it.
pub(in super::super) fn stat(file: &File) -> io::Result<Stat> {
    stat_open(file, 0)
}

/// The stat of an open file. On a network mount it is asked of the server, whatever the mount remembers.
#[cfg(feature = "table")]
pub(in super::super) fn stat_uncached(file: &File) -> io::Result<Stat> {
    stat_open(file, libc::AT_STATX_FORCE_SYNC)
}

/// Asks the server of a network mount for the attributes of the directory.
pub(super) fn refresh(dir: &File) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_FORCE_SYNC;
    statx(dir, c"", flags, libc::STATX_BASIC_STATS).map(drop)
}

fn stat_open(file: &File, flags: libc::c_int) -> io::Result<Stat> {
    let requested = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
    let Some(stat) = statx(file, c"", libc::AT_EMPTY_PATH | flags, requested)? else {
        return Ok(to_stat(&retry(|| fstat(file))?));
    };
    let has_birth = stat.stx_mask & libc::STATX_BTIME != 0;
    Ok(Stat {
        id: FileId {
            dev: libc::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            ino: stat.stx_ino,
        },
        kind: to_kind(SFlag::from_bits_truncate(stat.stx_mode.into())),
        links: stat.stx_nlink.into(),
        uid: Some(stat.stx_uid),
        mtime_ns: to_ns(&stat.stx_mtime),
        born_ns: has_birth.then(|| to_ns(&stat.stx_btime)),
    })
}

fn to_ns(time: &libc::statx_timestamp) -> u64 {
    unix_ns(time.tv_sec, time.tv_nsec.into())
}

/// `None` where there is no statx(2): before Linux 4.11, and where a sandbox refuses it.
fn statx(
    dir: &File,
    name: &CStr,
    flags: libc::c_int,
    requested: libc::c_uint,
) -> io::Result<Option<libc::statx>> {
    let flags = flags | libc::AT_NO_AUTOMOUNT;
    let mut stat = MaybeUninit::<libc::statx>::zeroed();
    let outcome = retry(|| {
        let (dir, name, stat) = (dir.as_raw_fd(), name.as_ptr(), stat.as_mut_ptr());
        // SAFETY: `name` ends with a NUL, `stat` has room for the struct, and both outlive the call.
        Errno::result(unsafe { libc::statx(dir, name, flags, requested, stat) })
    });
    match outcome {
        // SAFETY: zeros are a valid value of the struct, which has integers only.
        Ok(_) => Ok(Some(unsafe { stat.assume_init() })),
        Err(error) if matches!(errno(&error), Errno::ENOSYS | Errno::EPERM) => Ok(None),
        Err(error) => Err(error),
    }
}
