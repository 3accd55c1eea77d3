//! renameat2(2), the rename that does not replace.

#![allow(unsafe_code, reason = "renameat2(2), which nix has for glibc only")]

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::libc;

use super::super::calls::{errno, link_then_unlink, retry};

pub(in super::super) fn rename_noreplace(dir: &File, from: &OsStr, to: &OsStr) -> io::Result<()> {
    renameat2(dir, from, to).or_else(|error| match errno(&error) {
        Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP => link_then_unlink(dir, from, to),
        _ => Err(error),
    })
}

fn renameat2(dir: &File, from: &OsStr, to: &OsStr) -> io::Result<()> {
    const NOREPLACE: libc::c_uint = 1;
    let (from, to) = (CString::new(from.as_bytes())?, CString::new(to.as_bytes())?);
    retry(|| {
        let (dir, from, to) = (dir.as_raw_fd(), from.as_ptr(), to.as_ptr());
        // SAFETY: both names end with a NUL and outlive the call, which writes to no memory.
        let outcome = unsafe { libc::syscall(libc::SYS_renameat2, dir, from, dir, to, NOREPLACE) };
        Errno::result(outcome)
    })?;
    Ok(())
}
