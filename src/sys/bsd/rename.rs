//! A rename that replaces nothing.

#![cfg_attr(
    target_vendor = "apple",
    allow(unsafe_code, reason = "renameatx_np(2)")
)]

use std::ffi::OsStr;
use std::fs::File;
use std::io;

use crate::sys::calls::link_then_unlink;

/// In one step on APFS and HFS+, where a second link would also change how the file is stored.
#[cfg(target_vendor = "apple")]
pub(in crate::sys) fn rename_noreplace(dir: &File, from: &OsStr, to: &OsStr) -> io::Result<()> {
    use std::ffi::CString;
    use std::os::fd::AsRawFd;
    use std::os::unix::ffi::OsStrExt;

    use nix::errno::Errno;
    use nix::libc::{RENAME_EXCL, renameatx_np};

    use crate::sys::calls::{errno, retry};

    let (old, new) = (CString::new(from.as_bytes())?, CString::new(to.as_bytes())?);
    let renamed = retry(|| {
        let dir = dir.as_raw_fd();
        // SAFETY: both names end with a NUL and outlive the call, which writes to no memory.
        let outcome = unsafe { renameatx_np(dir, old.as_ptr(), dir, new.as_ptr(), RENAME_EXCL) };
        Errno::result(outcome)
    });
    match renamed {
        Ok(_) => Ok(()),
        Err(error) if matches!(errno(&error), Errno::ENOTSUP | Errno::EINVAL) => {
            link_then_unlink(dir, from, to)
        }
        Err(error) => Err(error),
    }
}

#[cfg(not(target_vendor = "apple"))]
pub(in crate::sys) fn rename_noreplace(dir: &File, from: &OsStr, to: &OsStr) -> io::Result<()> {
    link_then_unlink(dir, from, to)
}
