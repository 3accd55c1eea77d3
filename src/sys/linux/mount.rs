//! Whether a name is a mount point.

#![allow(unsafe_code, reason = "statx(2), which nix does not have")]

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::libc;

use super::super::calls::{errno, is_of_another_device, retry};

/// A bind mount of a file of the same file system has the `st_dev` of its surroundings: only
/// STATX_ATTR_MOUNT_ROOT shows it, since Linux 5.8. Before that, and where a sandbox refuses
/// statx(2), `st_dev` shows the other mounts.
pub(in super::super) fn is_mount_point(dir: &File, name: &OsStr) -> io::Result<bool> {
    const MOUNT_ROOT: u64 = libc::STATX_ATTR_MOUNT_ROOT as u64;
    let stat = match statx(dir, name) {
        Ok(stat) if stat.stx_attributes_mask & MOUNT_ROOT != 0 => stat,
        Ok(_) => return is_of_another_device(dir, name),
        Err(error) => match errno(&error) {
            Errno::ENOSYS | Errno::EPERM => return is_of_another_device(dir, name),
            _ => return Err(error),
        },
    };
    Ok(stat.stx_attributes & MOUNT_ROOT != 0)
}

fn statx(dir: &File, name: &OsStr) -> io::Result<libc::statx> {
    let name = CString::new(name.as_bytes())?;
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT;
    let mut stat = MaybeUninit::<libc::statx>::zeroed();
    // No field is requested: attributes are reported in any case.
    retry(|| {
        // SAFETY: `name` ends with a NUL, `stat` has room for the struct, and both outlive the call.
        let result =
            unsafe { libc::statx(dir.as_raw_fd(), name.as_ptr(), flags, 0, stat.as_mut_ptr()) };
        Errno::result(result)
    })?;
    // SAFETY: zeros are a valid value of the struct, which has integers only.
    Ok(unsafe { stat.assume_init() })
}
