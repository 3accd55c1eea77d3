//! What survives a loss of power on macOS.

use std::fs::File;
use std::io;

use nix::errno::Errno;

use crate::sys::SyncMode;
use crate::sys::calls::{errno, retry};

/// F_FULLFSYNC, by which std syncs on macOS: fsync(2) alone leaves the data in the drive's cache. File
/// systems that do not have it, such as network mounts, get fsync(2).
pub(in crate::sys) fn sync(file: &File, _mode: SyncMode) -> io::Result<()> {
    retry(|| file.sync_all()).or_else(|error| match errno(&error) {
        Errno::ENOTSUP | Errno::ENOTTY | Errno::EINVAL | Errno::ENODEV => {
            retry(|| nix::unistd::fsync(file))
        }
        _ => Err(error),
    })
}
