//! macOS and the BSDs: what makes the kernel a witness there.
//!
//! `boot` names the boot, `processes` has the facts about processes, `file_system` says what is local,
//! `kqueue` has the waiting. `boot_id`, `kinfo` and `mounts` make no system call: the unit tests run them on
//! Linux.

mod boot;
mod boot_id;
mod file_system;
mod kinfo;
mod kqueue;
mod kqueue_sys;
mod layout;
mod mounts;
mod processes;
mod rename;
#[cfg(target_vendor = "apple")]
mod sync;
mod sysctl;
mod visibility;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

pub(super) use self::boot::{CLOCK_SINCE_BOOT, boot_id};
pub(super) use self::file_system::file_system;
pub(crate) use self::kqueue::{Watch, close_spare_watch};
pub(super) use self::kqueue::{wait, watch, watches_process};
pub(super) use self::processes::{identity, is_this_process, process};
pub(super) use self::rename::rename_noreplace;
#[cfg(target_vendor = "apple")]
pub(super) use self::sync::sync;
use super::LockingProcess;
pub(super) use super::calls::is_of_another_device as is_mount_point;
#[cfg(not(target_vendor = "apple"))]
pub(super) use super::calls::sync;
pub(super) use super::metadata::stat;

/// Opens a directory whose names may be used but not listed. open(2), O_SEARCH
#[cfg(any(target_vendor = "apple", target_os = "freebsd", target_os = "netbsd"))]
pub(super) const SEARCH_ONLY: Option<OFlag> = Some(OFlag::from_bits_retain(nix::libc::O_SEARCH));
#[cfg(not(any(target_vendor = "apple", target_os = "freebsd", target_os = "netbsd")))]
pub(super) const SEARCH_ONLY: Option<OFlag> = None;

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

/// No container has a boot id of its own.
#[cfg(feature = "table")]
pub(super) fn kernel_boot_id() -> Option<[u8; 16]> {
    boot_id().ok().flatten()
}

/// Only Linux has locks of bytes that belong to an open file description.
#[cfg(feature = "table")]
pub(super) fn lock_byte(_dir: &File, _offset: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(feature = "table")]
pub(super) fn is_byte_locked(_dir: &File, _offset: u64) -> io::Result<bool> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The kernel does not show which processes share an flock(2) lock.
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
