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

use nix::fcntl::OFlag;

pub(super) use self::boot::{CLOCK_SINCE_BOOT, boot_id};
pub(super) use self::file_system::file_system;
#[cfg(target_vendor = "apple")]
pub(super) use self::file_system::reports_locks_as_io_errors;
pub(crate) use self::kqueue::{Watch, close_spare_watch};
pub(super) use self::kqueue::{wait, watch, watches_process};
pub(super) use self::processes::{identity, is_this_process, process};
pub(super) use self::rename::rename_noreplace;
#[cfg(target_vendor = "apple")]
pub(super) use self::sync::sync;
pub(super) use super::calls::is_of_another_device as is_mount_point;
#[cfg(not(target_vendor = "apple"))]
pub(super) use super::calls::sync;
pub(super) use super::linux_only::{
    create_unnamed, flock_holders, forget_name, is_marked, link, mark, varied_flags,
};
#[cfg(feature = "table")]
pub(super) use super::linux_only::{is_byte_locked, lock_byte, stat_uncached};
pub(super) use super::metadata::stat;

/// Opens a directory whose names may be used but not listed. open(2), O_SEARCH
#[cfg(any(target_vendor = "apple", target_os = "freebsd", target_os = "netbsd"))]
pub(super) const SEARCH_ONLY: Option<OFlag> = Some(OFlag::from_bits_retain(nix::libc::O_SEARCH));
#[cfg(not(any(target_vendor = "apple", target_os = "freebsd", target_os = "netbsd")))]
pub(super) const SEARCH_ONLY: Option<OFlag> = None;

/// No container has a boot id of its own.
#[cfg(feature = "table")]
pub(super) fn kernel_boot_id() -> std::io::Result<Option<[u8; 16]>> {
    boot_id()
}
