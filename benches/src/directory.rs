//! Temporary directories on the file systems that are measured.

use std::path::{Path, PathBuf};

use nix::sys::statfs::{self, statfs};
use tempfile::TempDir;

/// A temporary directory, and what it lies on.
pub struct Directory {
    /// The name of the file system's type.
    pub file_system: &'static str,
    dir: TempDir,
}

impl Directory {
    /// The directory itself.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A path in the directory.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

/// A directory on the build directory's file system, and one in memory where there is a tmpfs.
pub fn directories() -> Vec<Directory> {
    // The path of this program is below the build directory, whatever that is called.
    let program = std::env::current_exe().expect("the path of a running program is known");
    let build = program.parent().expect("a program lies in a directory");
    [build, Path::new("/dev/shm")]
        .into_iter()
        .filter_map(|parent| match tempfile::tempdir_in(parent) {
            Ok(dir) => Some(Directory {
                file_system: file_system_name(dir.path()),
                dir,
            }),
            Err(error) => {
                println!("skipped: no directory can be made in {parent:?}: {error}");
                None
            }
        })
        .collect()
}

fn file_system_name(path: &Path) -> &'static str {
    match statfs(path).map(|stat| stat.filesystem_type()) {
        Ok(statfs::EXT4_SUPER_MAGIC) => "ext4",
        Ok(statfs::TMPFS_MAGIC) => "tmpfs",
        Ok(statfs::XFS_SUPER_MAGIC) => "xfs",
        Ok(statfs::BTRFS_SUPER_MAGIC) => "btrfs",
        Ok(statfs::OVERLAYFS_SUPER_MAGIC) => "overlay",
        _ => "another file system",
    }
}
