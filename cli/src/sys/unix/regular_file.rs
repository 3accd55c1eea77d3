//! Regular files, opened without following a link and without waiting for a FIFO.

use std::fs::{File, FileType, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use rvlf::FileKind;

/// Opens a file to read it. Never blocks on a FIFO and never follows a symbolic link.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(O_NOFOLLOW | O_NONBLOCK)
        .open(path)
}

/// The kind of what is neither a file, a directory nor a symbolic link.
pub fn special_kind(kind: FileType) -> FileKind {
    if kind.is_fifo() {
        FileKind::Fifo
    } else if kind.is_socket() {
        FileKind::Socket
    } else {
        FileKind::Device
    }
}
