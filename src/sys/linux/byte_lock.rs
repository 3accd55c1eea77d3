//! Locks of single bytes of a directory, which belong to the open file description. A directory has
//! no bytes to read, but the kernel locks ranges of any inode. fcntl(2), F_OFD_SETLK

use std::fs::File;
use std::io;

use nix::libc;

use super::super::calls::retry;
use super::super::wide::ofd::{self, flock, off_t};

/// Takes a shared lock of the byte, which lasts until every copy of the descriptor is closed. It needs
/// a directory that is open for reading.
pub(in crate::sys) fn lock_byte(dir: &File, offset: u64) -> io::Result<()> {
    let lock = one_byte(offset, libc::F_RDLCK)?;
    retry(|| ofd::set_lock(dir, &lock))
}

/// Whether another open file description has a lock of the byte.
pub(in crate::sys) fn is_byte_locked(dir: &File, offset: u64) -> io::Result<bool> {
    let mut lock = one_byte(offset, libc::F_WRLCK)?;
    retry(|| ofd::get_lock(dir, &mut lock))?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

#[allow(
    clippy::unnecessary_cast,
    reason = "the fields' types differ between architectures"
)]
fn one_byte(offset: u64, kind: i32) -> io::Result<flock> {
    Ok(flock {
        l_type: kind as _,
        l_whence: libc::SEEK_SET as _,
        l_start: off_t::try_from(offset).map_err(io::Error::other)?,
        l_len: 1,
        // As F_OFD_SETLK demands.
        l_pid: 0,
    })
}
