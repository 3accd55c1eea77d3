//! Regular files, opened without following a link.

use std::fs::{File, FileType, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::path::Path;

use rvlf::FileKind;

/// Opens a file to read it, also while a process holds it as its lock. Never follows a symbolic link.
pub fn open(path: &Path) -> io::Result<File> {
    // CreateFileW, dwFlagsAndAttributes
    const FILE_FLAG_OPEN_REPARSE_POINT: u32 = 0x0020_0000;
    OpenOptions::new()
        .read(true)
        .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT)
        .open(path)
}

/// The kind of what is neither a file, a directory nor a symbolic link.
pub fn special_kind(_kind: FileType) -> FileKind {
    FileKind::Device
}
