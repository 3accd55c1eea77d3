//! Directories and times of files.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::sys::statfs::{FUSE_SUPER_MAGIC, NFS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, statfs};

/// A new directory, which other users may read whatever the umask is. Removed when dropped.
pub fn scratch() -> tempfile::TempDir {
    let directory = tempfile::Builder::new().prefix("rvlf-test-").tempdir();
    let directory = directory.expect("the directory for temporary files is writable");
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(directory.path(), mode).expect("the directory belongs to this user");
    directory
}

/// A directory of its own whose syncs take no time, for as long as the value lives. On a disk where there
/// is no /dev/shm.
pub fn directory_in_memory() -> tempfile::TempDir {
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    directory.expect("there is a directory for temporary files")
}

/// Whether the directory is on a local file system that is no overlay: neither on FUSE nor on NFS, as
/// far as the tests run there.
pub fn is_plain(directory: &Path) -> bool {
    let found = statfs(directory).expect("the directory exists");
    let others = [OVERLAYFS_SUPER_MAGIC, FUSE_SUPER_MAGIC, NFS_SUPER_MAGIC];
    !others.contains(&found.filesystem_type())
}

/// Sets the modification time of `path` to `age` ago.
pub fn age_mtime(path: &Path, age: Duration) {
    set_mtime(path, SystemTime::now() - age);
}

pub fn set_mtime(path: &Path, time: SystemTime) {
    let file = File::options().write(true).open(path);
    file.and_then(|file| file.set_modified(time))
        .expect("the file belongs to this user");
}

pub fn is_absent(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// The names in a directory, sorted.
pub fn names_in(directory: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(directory).expect("the directory exists");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("the directory can be read").file_name())
        .collect();
    names.sort();
    names
}
