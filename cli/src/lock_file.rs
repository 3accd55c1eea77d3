//! Reading a lock file without a look at its kernel lock: what `dump` shows and `scan` sorts by.

use std::fs::{self, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use rvlf::{FileKind, RECORD_LEN};

/// What lies at a path.
pub enum Found {
    /// The first bytes of a regular file, at most one more than a record has.
    Bytes(Vec<u8>),
    Irregular(FileKind),
}

/// Reads the beginning of a lock file. Never waits for a FIFO, never follows a link.
pub fn read(path: &Path) -> io::Result<Found> {
    if let Some(kind) = irregular(fs::symlink_metadata(path)?.file_type()) {
        return Ok(Found::Irregular(kind));
    }
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(O_NOFOLLOW | O_NONBLOCK)
        .open(path)?;
    // A FIFO may have taken the file's place before the open.
    if let Some(kind) = irregular(file.metadata()?.file_type()) {
        return Ok(Found::Irregular(kind));
    }
    let mut bytes = Vec::with_capacity(RECORD_LEN + 1);
    file.take(RECORD_LEN as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Found::Bytes(bytes))
}

fn irregular(kind: FileType) -> Option<FileKind> {
    if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some(FileKind::Directory)
    } else if kind.is_symlink() {
        Some(FileKind::Symlink)
    } else if kind.is_fifo() {
        Some(FileKind::Fifo)
    } else if kind.is_socket() {
        Some(FileKind::Socket)
    } else {
        Some(FileKind::Device)
    }
}
