//! Volumes: which are local, and which reparse points are files all the same.

use std::fs::File;
use std::io;

use windows_sys::Wdk::System::SystemServices::FILE_REMOTE_DEVICE;
use windows_sys::Win32::Foundation::{ERROR_CALL_NOT_IMPLEMENTED, ERROR_INVALID_PARAMETER};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_OFFLINE, FILE_ATTRIBUTE_RECALL_ON_DATA_ACCESS, FILE_ATTRIBUTE_RECALL_ON_OPEN,
    FILE_ATTRIBUTE_REPARSE_POINT,
};
use windows_sys::Win32::System::SystemServices::{
    IO_REPARSE_TAG_AF_UNIX, IO_REPARSE_TAG_CLOUD, IO_REPARSE_TAG_CLOUD_MASK,
    IO_REPARSE_TAG_MOUNT_POINT, IO_REPARSE_TAG_SYMLINK,
};

use super::nt;
use crate::judge::FileSystem;
use crate::sys::FileKind;

/// Plain file systems, which one kernel alone mounts. What is not listed is not local.
const PLAIN: [&str; 2] = ["NTFS", "ReFS"];

/// Local is what no redirector reaches and no server or cloud provider stands behind, by the open handle:
/// a path may lead through a junction, DFS or a container's mount.
pub(super) fn file_system(dir: &File) -> io::Result<FileSystem> {
    let is_remote = nt::device_characteristics(dir)? & FILE_REMOTE_DEVICE != 0;
    let is_plain = || {
        let name = nt::file_system_name(dir);
        name.is_ok_and(|name| PLAIN.contains(&name.as_str()))
    };
    Ok(
        if !is_remote && has_no_redirector(dir) && !is_in_the_cloud(dir)? && is_plain() {
            FileSystem::Local { plain: true }
        } else {
            FileSystem::NotLocal
        },
    )
}

/// A local file system does not know the question. Neither does wine, whose share modes exclude the
/// processes of one prefix only: there only the tests count a volume as local (`--cfg rvlf_wine`).
fn has_no_redirector(dir: &File) -> bool {
    let Err(error) = nt::remote_protocol(dir) else {
        return false;
    };
    let code = error.raw_os_error().map(|code| code as u32);
    let is_wine = cfg!(rvlf_wine) && code == Some(ERROR_CALL_NOT_IMPLEMENTED);
    code == Some(ERROR_INVALID_PARAMETER) || is_wine
}

/// A directory whose files a provider brings here and takes elsewhere, such as OneDrive.
fn is_in_the_cloud(dir: &File) -> io::Result<bool> {
    const RECALLED: u32 = FILE_ATTRIBUTE_OFFLINE
        | FILE_ATTRIBUTE_RECALL_ON_DATA_ACCESS
        | FILE_ATTRIBUTE_RECALL_ON_OPEN;
    let attributes = nt::information(dir)?.dwFileAttributes;
    let has_tag = attributes & FILE_ATTRIBUTE_REPARSE_POINT != 0;
    Ok(attributes & RECALLED != 0 || has_tag && is_cloud(nt::reparse_tag(dir)?))
}

fn is_cloud(tag: u32) -> bool {
    tag & !IO_REPARSE_TAG_CLOUD_MASK == IO_REPARSE_TAG_CLOUD & !IO_REPARSE_TAG_CLOUD_MASK
}

/// The kind of file that a reparse point is: only what a cloud provider keeps is a regular file.
pub(super) fn kind_of_tag(tag: u32) -> FileKind {
    match tag {
        tag if is_cloud(tag) => FileKind::Regular,
        IO_REPARSE_TAG_SYMLINK | IO_REPARSE_TAG_MOUNT_POINT => FileKind::Symlink,
        IO_REPARSE_TAG_AF_UNIX => FileKind::Socket,
        _ => FileKind::Device,
    }
}
