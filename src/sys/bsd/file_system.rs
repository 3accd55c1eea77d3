//! Whether a directory is on a local file system.

#![allow(unsafe_code, reason = "fstatfs(2) with MNT_LOCAL")]

use std::env::consts::OS;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
#[cfg(not(target_os = "netbsd"))]
use nix::libc::{fstatfs as fstat_mount, statfs as Mount};
#[cfg(target_os = "netbsd")]
use nix::libc::{fstatvfs as fstat_mount, statvfs as Mount};

use super::mounts;
use crate::judge::FileSystem;
use crate::sys::calls::retry;

#[allow(
    clippy::unnecessary_cast,
    reason = "the fields' types differ between systems"
)]
pub(in crate::sys) fn file_system(dir: &File) -> io::Result<FileSystem> {
    let mount = mount_of(dir)?;
    #[cfg(not(target_os = "netbsd"))]
    let flags = mount.f_flags as u64;
    #[cfg(target_os = "netbsd")]
    let flags = mount.f_flag as u64;
    let is_local = flags & nix::libc::MNT_LOCAL as u64 != 0;
    Ok(mounts::file_system(OS, &type_name(&mount), is_local))
}

#[cfg(target_vendor = "apple")]
pub(in crate::sys) fn reports_locks_as_io_errors(dir: &File) -> bool {
    mount_of(dir).is_ok_and(|mount| mounts::reports_locks_as_io_errors(OS, &type_name(&mount)))
}

#[allow(
    clippy::unnecessary_cast,
    reason = "the fields' types differ between systems"
)]
fn type_name(mount: &Mount) -> Vec<u8> {
    let name = mount.f_fstypename.iter();
    name.map(|byte| *byte as u8)
        .take_while(|byte| *byte != 0)
        .collect()
}

fn mount_of(dir: &File) -> io::Result<Mount> {
    let mut mount = MaybeUninit::<Mount>::zeroed();
    // SAFETY: `mount` has room for the struct and outlives the call.
    let stat = || Errno::result(unsafe { fstat_mount(dir.as_raw_fd(), mount.as_mut_ptr()) });
    retry(stat)?;
    // SAFETY: zeros are a valid value of the struct, which has integers and arrays of them only.
    Ok(unsafe { mount.assume_init() })
}
