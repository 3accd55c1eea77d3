//! What only Linux has, as `bsd/` and `portable.rs` answer for it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::LockingProcess;

pub(super) const fn varied_flags() -> OFlag {
    OFlag::empty()
}

/// No file is made without a name: a publish makes it under a private one.
pub(super) fn create_unnamed(_dir: &File, _mode: Mode) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(super) fn link(_file: &File, _dir: &File, _name: &OsStr) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// No other system has a call that passes the memory of a mount by.
pub(super) fn forget_name(_dir: &File, _name: &OsStr) {}

/// No other system has a stat that passes the cache of a mount by.
#[cfg(feature = "table")]
pub(super) use super::metadata::stat as stat_uncached;

/// Only Linux has locks of bytes that belong to an open file description.
#[cfg(feature = "table")]
pub(super) fn lock_byte(_dir: &File, _offset: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(feature = "table")]
pub(super) fn is_byte_locked(_dir: &File, _offset: u64) -> io::Result<bool> {
    Err(io::ErrorKind::Unsupported.into())
}

/// No other kernel shows which processes share an flock(2) lock.
pub(super) fn flock_holders(_dir: &File, _name: &OsStr) -> io::Result<Vec<LockingProcess>> {
    Ok(Vec::new())
}

/// No number of an open file description is free for a mark: a descriptor is known again by its inode.
pub(super) fn mark(_descriptor: BorrowedFd<'_>) -> Option<u8> {
    None
}

pub(super) fn is_marked(_descriptor: BorrowedFd<'_>, _mark: u8) -> bool {
    false
}
