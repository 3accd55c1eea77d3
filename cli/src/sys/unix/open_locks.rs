//! The lock files that living processes have locked, found in /proc as lslocks(8) finds them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::messages::count;

/// How the process is found that keeps a lock, and that is not shown.
pub const WHERE_TO_LOOK: &str = "cannot be seen here: look as root, and outside of containers";

/// What /proc shows to this user.
pub struct OpenLocks {
    paths: Vec<PathBuf>,
    /// How many processes this user may not examine.
    unreadable: usize,
}

impl OpenLocks {
    /// A path of each lock file, sorted.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// What is not among them.
    pub fn skipped(&self) -> Option<String> {
        let processes = count(self.unreadable, "process", "processes");
        let step = match geteuid().is_root() {
            true => "; to see all locks, scan outside of this container",
            false => "; to see all locks, scan as root",
        };
        (self.unreadable > 0)
            .then(|| format!("skipped {processes} that this user may not examine{step}"))
    }
}

/// # Errors
///
/// /proc cannot be listed.
pub fn search() -> Result<OpenLocks, String> {
    search_proc().map_err(|error| format!("/proc: cannot list processes: {error}"))
}

fn search_proc() -> io::Result<OpenLocks> {
    let mut paths = BTreeMap::new();
    let mut unreadable = 0;
    for entry in fs::read_dir("/proc")?.flatten() {
        let is_process = entry
            .file_name()
            .as_encoded_bytes()
            .iter()
            .all(u8::is_ascii_digit);
        if !is_process {
            continue;
        }
        match locks_of(&entry.path()) {
            Ok(locks) => paths.extend(locks),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => unreadable += 1,
            // It has ended.
            Err(_) => {}
        }
    }
    let mut paths: Vec<_> = paths.into_values().collect();
    paths.sort_unstable();
    Ok(OpenLocks { paths, unreadable })
}

/// Device and inode number.
type Id = (u64, u64);

/// The lock files that one process has locked.
fn locks_of(process: &Path) -> io::Result<Vec<(Id, PathBuf)>> {
    let descriptors = fs::read_dir(process.join("fdinfo"))?.flatten();
    let locked = descriptors.filter(|descriptor| {
        let info = fs::read_to_string(descriptor.path()).unwrap_or_default();
        info.lines().any(is_exclusive_flock)
    });
    let paths = locked.filter_map(|descriptor| {
        let descriptor = process.join("fd").join(descriptor.file_name());
        path_of(process, &descriptor)
    });
    Ok(paths.collect())
}

/// Whether a line of /proc/PID/fdinfo/N is `lock: 1: FLOCK ADVISORY WRITE ..`. proc_pid_fdinfo(5)
fn is_exclusive_flock(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    words.next() == Some("lock:") && words.nth(1) == Some("FLOCK") && words.nth(1) == Some("WRITE")
}

/// The path of an open lock file. One lock may be open in many processes.
///
/// The link of the descriptor is `DIR/#123 (deleted)` for a file that had no name when it was created:
/// linkat(2) does not change that. The directory in the link is right, also after a rename.
fn path_of(process: &Path, descriptor: &Path) -> Option<(Id, PathBuf)> {
    let link = fs::read_link(descriptor).ok()?;
    let directory = link.parent().filter(|directory| directory.is_absolute())?;
    let open = fs::metadata(descriptor).ok()?;
    if !open.is_file() {
        return None;
    }
    let id = (open.dev(), open.ino());
    // The link of a process in another mount namespace is a path below that process's root.
    let seen_from_it = process.join("root").join(directory.strip_prefix("/").ok()?);
    let path = lock_file_in(directory, id).or_else(|| lock_file_in(&seen_from_it, id));
    path.map(|path| (id, path))
}

fn lock_file_in(directory: &Path, id: Id) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).ok()?.flatten();
    let mut names = entries.filter(|entry| {
        entry.file_name().as_encoded_bytes().ends_with(b".lock")
            && entry
                .metadata()
                .is_ok_and(|stat| (stat.dev(), stat.ino()) == id)
    });
    names.next().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_of_an_exclusive_flock_counts() {
        for (line, expected) in [
            ("lock:\t1: FLOCK  ADVISORY  WRITE 4121 fe:00:48 0 EOF", true),
            ("lock:\t1: FLOCK  ADVISORY  READ 4121 fe:00:48 0 EOF", false),
            (
                "lock:\t1: POSIX  ADVISORY  WRITE 4121 fe:00:48 0 EOF",
                false,
            ),
            ("ino:\t48", false),
            ("", false),
        ] {
            assert_eq!(is_exclusive_flock(line), expected, "{line}");
        }
    }
}
