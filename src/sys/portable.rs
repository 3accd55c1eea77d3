//! What stands in for `linux` on other Unixes: exclusive create, no stamp, polling.
//!
//! Compiled and tested on Linux with `--cfg rvlf_portable`; on other systems untested.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::kill;
use nix::sys::stat::Mode;
use nix::time::ClockId;

pub(super) use super::calls::is_of_another_device as is_mount_point;
use super::calls::link_then_unlink;
pub(super) use super::calls::sync;
#[cfg(target_os = "linux")]
use super::descriptor::Descriptor;
pub(super) use super::metadata::stat;
use super::{CancelToken, Identity, Liveness, LockingProcess, Now, WakeReason};
use crate::judge::FileSystem;
use crate::record::Pid;

pub(super) const CLOCK_SINCE_BOOT: ClockId = ClockId::CLOCK_MONOTONIC;

/// There is no portable way to know: not known to be local.
pub(super) fn file_system(_dir: &File) -> io::Result<FileSystem> {
    Ok(FileSystem::NotLocal)
}

/// O_SEARCH is not everywhere.
pub(super) const SEARCH_ONLY: Option<OFlag> = None;

pub(super) const fn varied_flags() -> OFlag {
    OFlag::empty()
}

pub(super) fn create_unnamed(_dir: &File, _mode: Mode) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(super) fn link(_file: &File, _dir: &File, _name: &OsStr) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(super) fn rename_noreplace(dir: &File, from: &OsStr, to: &OsStr) -> io::Result<()> {
    link_then_unlink(dir, from, to)
}

pub(super) fn boot_id() -> io::Result<Option<[u8; 16]>> {
    Ok(None)
}

#[cfg(feature = "table")]
pub(super) fn kernel_boot_id() -> Option<[u8; 16]> {
    None
}

pub(super) fn identity() -> io::Result<Identity> {
    let pid = Pid::new(std::process::id()).expect("pids are positive numbers below 2^31");
    Ok(Identity {
        pid,
        start_ticks: 0,
        generation: 0,
    })
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

/// Async-signal-safe.
pub(super) fn is_this_process(process: Identity) -> bool {
    std::process::id() == process.pid.get()
}

/// Only Linux has pidfds.
#[cfg(target_os = "linux")]
pub(super) fn end_of_this_process() -> Option<Descriptor<OwnedFd>> {
    None
}

/// No other system shows who shares an flock(2) lock in a file.
pub(super) fn flock_holders(_dir: &File, _name: &OsStr) -> io::Result<Vec<LockingProcess>> {
    Ok(Vec::new())
}

pub(super) fn process(pid: Pid, _now: impl FnOnce() -> Now) -> Liveness {
    match kill(nix::unistd::Pid::from_raw(pid.get() as i32), None) {
        Err(Errno::ESRCH) => Liveness::Dead,
        _ => Liveness::Unknown,
    }
}

/// There are no events: no value of this type can exist.
#[derive(Debug)]
pub(crate) enum Watch {}

pub(super) fn watch(_file: &File, _process: Option<Pid>) -> io::Result<Watch> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(super) fn watches_process(watch: &Watch) -> bool {
    match *watch {}
}

pub(crate) fn close_spare_watch() {}

/// No number of an open file description is free for a mark everywhere.
pub(super) fn mark(_descriptor: BorrowedFd<'_>) -> Option<u8> {
    None
}

pub(super) fn is_marked(_descriptor: BorrowedFd<'_>, _mark: u8) -> bool {
    false
}

pub(super) fn wait(watch: &mut Watch, _cancel: &[CancelToken], _timeout: Duration) -> WakeReason {
    match *watch {}
}
