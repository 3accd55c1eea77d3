//! What std reports of an open file, where the system has nothing better.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::UNIX_EPOCH;

use nix::sys::stat::SFlag;

use super::calls::{retry, to_kind, unix_ns};
use super::{FileId, Stat, nanos};

/// The stat of an open file, with its birth time where the file system remembers it.
pub(super) fn stat(file: &File) -> io::Result<Stat> {
    // On a network mount any call may be interrupted, also a stat.
    let stat = retry(|| file.metadata())?;
    let born = stat.created().ok();
    let born = born.and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    Ok(Stat {
        id: FileId {
            dev: stat.dev(),
            ino: stat.ino(),
        },
        kind: to_kind(SFlag::from_bits_truncate(stat.mode() as nix::libc::mode_t)),
        links: stat.nlink(),
        uid: Some(stat.uid()),
        mtime_ns: unix_ns(stat.mtime(), stat.mtime_nsec()),
        born_ns: born.map(nanos),
    })
}
