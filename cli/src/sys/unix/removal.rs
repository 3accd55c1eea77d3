//! Whether this user may remove a lock file: recovering a lock removes the file of the dead holder.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat, geteuid};

/// Who may remove a lock file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// This user, as far as permissions decide.
    ThisUser,
    /// In a sticky directory: the owner of the file, the owner of the directory, and root.
    Owners { file: u32, directory: u32 },
    /// A user who may write to the directory.
    Writers,
    /// No user: the file system is read-only.
    NoUser,
}

impl Removal {
    /// Of the file at `path`. What cannot be examined counts as permitted: the attempt reports why it
    /// fails.
    pub fn of(path: &Path) -> Removal {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let change = AccessFlags::W_OK | AccessFlags::X_OK;
        match faccessat(AT_FDCWD, directory, change, AtFlags::AT_EACCESS) {
            Err(Errno::EACCES) => return Removal::Writers,
            Err(Errno::EROFS) => return Removal::NoUser,
            _ => {}
        }
        let (Ok(file), Ok(directory)) = (path.symlink_metadata(), directory.metadata()) else {
            return Removal::ThisUser;
        };
        in_sticky_directory(&file, &directory).unwrap_or(Removal::ThisUser)
    }

    /// `as root or user 1000`; `None` if this user may remove the file.
    pub fn by_whom(self) -> Option<String> {
        const ROOT: u32 = 0;
        Some(match self {
            Removal::ThisUser => return None,
            Removal::Owners { file, directory } => {
                let mut owners = vec![file, directory];
                owners.dedup();
                let users = owners.iter().filter(|uid| **uid != ROOT);
                let users: String = users.map(|uid| format!(" or user {uid}")).collect();
                format!("as root{users} (the directory is sticky, and this user owns neither)")
            }
            Removal::Writers => "as a user who may write to the directory".into(),
            Removal::NoUser => "after mounting the file system read-write".into(),
        })
    }
}

/// `None` if the sticky bit does not stop this user. unlink(2), EPERM
fn in_sticky_directory(file: &fs::Metadata, directory: &fs::Metadata) -> Option<Removal> {
    const STICKY: u32 = 0o1000;
    let own = geteuid().as_raw();
    let may = directory.mode() & STICKY == 0
        || [file.uid(), directory.uid()].contains(&own)
        || ignores_owners(file.uid());
    (!may).then_some(Removal::Owners {
        file: file.uid(),
        directory: directory.uid(),
    })
}

/// Whether this process has CAP_FOWNER for the files of user `uid`. In a user namespace that does not
/// map the user, the capability does not count. capabilities(7), user_namespaces(7)
fn ignores_owners(uid: u32) -> bool {
    const CAP_FOWNER: u32 = 3;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let Some(effective) = effective else {
        return geteuid().is_root();
    };
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    effective & (1 << CAP_FOWNER) != 0 && (map.is_empty() || is_mapped(&map, uid))
}

/// Whether a line of `map` (first uid inside, first uid outside, count) contains the inner `uid`.
fn is_mapped(map: &str, uid: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u64>);
        let (Some(Ok(first)), Some(Ok(count))) = (numbers.next(), numbers.nth(1)) else {
            return false;
        };
        (first..first.saturating_add(count)).contains(&uid.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mapped_user_is_in_the_map() {
        let whole = "         0          0 4294967295\n";
        assert!(is_mapped(whole, 0) && is_mapped(whole, 65534));
        let rootless = "0 1000 1\n1 100000 65536\n";
        for (uid, expected) in [(0, true), (1, true), (65536, true), (65537, false)] {
            assert_eq!(is_mapped(rootless, uid), expected, "{uid}");
        }
    }

    #[test]
    fn each_user_who_may_remove_the_file_is_named_once() {
        let by = |file, directory| Removal::Owners { file, directory }.by_whom();
        let note = "(the directory is sticky, and this user owns neither)";
        assert_eq!(by(0, 0), Some(format!("as root {note}")));
        assert_eq!(by(1000, 0), Some(format!("as root or user 1000 {note}")));
        assert_eq!(by(1000, 1000), Some(format!("as root or user 1000 {note}")));
        let both = format!("as root or user 1000 or user 1001 {note}");
        assert_eq!(by(1000, 1001), Some(both));
    }
}
