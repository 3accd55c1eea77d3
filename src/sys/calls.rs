//! What the system calls of several modules share: calls that a signal interrupted, a rename that
//! does not replace, and mounts seen by their device.

use std::ffi::OsStr;
use std::fs::File;
use std::io;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{fstat, fstatat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

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

/// Whether `name` is on another file system than `dir`: a mount point of that file system.
pub(super) fn is_of_another_device(dir: &File, name: &OsStr) -> io::Result<bool> {
    let named = retry(|| fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW))?;
    Ok(named.st_dev != retry(|| fstat(dir))?.st_dev)
}

/// Stands in for a rename that does not replace.
pub(super) fn link_then_unlink(dir: &File, from: &OsStr, to: &OsStr) -> io::Result<()> {
    // protected_hardlinks refuses the link for another user's file: then the file keeps its name.
    retry(|| linkat(dir, from, dir, to, AtFlags::empty()))?;
    retry(|| unlinkat(dir, from, UnlinkatFlags::NoRemoveDir))
}
