//! Reading a lock file without asking for its kernel lock: `dump` shows the bytes, `scan` sorts by
//! them.

use std::fs::{self, FileType};
use std::io::{self, Read};
use std::path::Path;

use rvlf::FileKind;
use rvlf::record::RECORD_LEN;

use crate::sys::regular_file;

/// What exists at a path.
pub enum Contents {
    /// The first bytes of a regular file: at most one more than a record has.
    Bytes(Vec<u8>),
    Irregular(FileKind),
}

/// Reads the beginning of a lock file. Never blocks on a FIFO and never follows a symbolic link.
pub fn read(path: &Path) -> io::Result<Contents> {
    if let Some(kind) = irregular_kind(fs::symlink_metadata(path)?.file_type()) {
        return Ok(Contents::Irregular(kind));
    }
    let file = regular_file::open(path)?;
    // A FIFO may have replaced the file between lstat(2) and open(2).
    if let Some(kind) = irregular_kind(file.metadata()?.file_type()) {
        return Ok(Contents::Irregular(kind));
    }
    let mut bytes = Vec::with_capacity(RECORD_LEN + 1);
    file.take(RECORD_LEN as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Contents::Bytes(bytes))
}

fn irregular_kind(kind: FileType) -> Option<FileKind> {
    if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some(FileKind::Directory)
    } else if kind.is_symlink() {
        Some(FileKind::Symlink)
    } else {
        Some(regular_file::special_kind(kind))
    }
}
