//! What stands in for `linux` on other Unixes: exclusive create, no stamp, polling.
//!
//! Compiled and tested on Linux with `--cfg rvlf_portable`; on other systems untested.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::kill;
use nix::time::ClockId;

pub(super) use super::calls::is_of_another_device as is_mount_point;
use super::calls::link_then_unlink;
pub(super) use super::calls::sync;
#[cfg(target_os = "linux")]
use super::descriptor::Descriptor;
pub(super) use super::linux_only::{
    create_unnamed, flock_holders, forget_name, is_marked, link, mark, varied_flags,
};
#[cfg(feature = "table")]
pub(super) use super::linux_only::{is_byte_locked, lock_byte, stat_uncached};
pub(super) use super::metadata::stat;
use super::{CancelToken, Identity, Liveness, Now, WakeReason};
use crate::judge::FileSystem;
use crate::record::Pid;

pub(super) const CLOCK_SINCE_BOOT: ClockId = ClockId::CLOCK_MONOTONIC;

/// There is no portable way to know: not known to be local.
pub(super) fn file_system(_dir: &File) -> io::Result<FileSystem> {
    Ok(FileSystem::NotLocal)
}

/// O_SEARCH is not everywhere.
pub(super) const SEARCH_ONLY: Option<OFlag> = None;

pub(super) fn rename_noreplace(dir: &File, from: &OsStr, to: &OsStr) -> io::Result<()> {
    link_then_unlink(dir, from, to)
}

pub(super) fn boot_id() -> io::Result<Option<[u8; 16]>> {
    Ok(None)
}

/// Where processes have pid namespaces, the number of a namespace means nothing without the kernel that gave it:
/// the first one of every kernel has the same.
#[cfg(all(feature = "table", any(target_os = "linux", target_os = "android")))]
pub(super) use super::boot_id::kernel_boot_id;

#[cfg(all(
    feature = "table",
    not(any(target_os = "linux", target_os = "android"))
))]
pub(super) fn kernel_boot_id() -> io::Result<Option<[u8; 16]>> {
    Ok(None)
}

pub(super) fn identity() -> io::Result<Identity> {
    let pid = Pid::new(std::process::id()).expect("pids are positive numbers below 2^31");
    Ok(Identity {
        pid,
        start_ticks: 0,
        generation: 0,
    })
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

pub(super) fn process(pid: Pid, _now: impl FnOnce() -> Now) -> Liveness {
    match kill(nix::unistd::Pid::from_raw(pid.get() as i32), None) {
        Err(Errno::ESRCH) => Liveness::Dead,
        _ => Liveness::Unknown,
    }
}

/// There are no events: no value of this type can exist.
#[derive(Debug)]
pub(crate) enum Watch {}

pub(super) fn watch(_file: &File, _process: Option<Pid>, _is_locked: bool) -> io::Result<Watch> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(super) fn watches_process(watch: &Watch) -> bool {
    match *watch {}
}

pub(crate) fn close_spare_watch() {}

pub(super) fn wait(watch: &mut Watch, _cancel: &[CancelToken], _timeout: Duration) -> WakeReason {
    match *watch {}
}
