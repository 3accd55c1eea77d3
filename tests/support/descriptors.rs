//! flock(2) as another program takes it, and pipes. std has them since Rust 1.89 and 1.87 only.

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::fcntl::{FlockArg, OFlag};

/// Takes the exclusive lock, or fails at once.
pub fn try_lock(file: &File) -> nix::Result<()> {
    flock(file, FlockArg::LockExclusiveNonblock)
}

pub fn lock_shared(file: &File) -> nix::Result<()> {
    flock(file, FlockArg::LockShared)
}

pub fn unlock(file: &File) -> nix::Result<()> {
    flock(file, FlockArg::Unlock)
}

/// The two ends, reader first, which no child inherits.
pub fn pipe() -> nix::Result<(File, File)> {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    Ok((reader.into(), writer.into()))
}

fn flock(file: &File, operation: FlockArg) -> nix::Result<()> {
    #[allow(deprecated, reason = "nix's other call owns the file")]
    nix::fcntl::flock(file.as_raw_fd(), operation)
}
