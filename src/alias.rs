//! [`Alias`]: why a data file may have a second lock path.

use std::fmt;

/// Why a data file may be reached by a second path, whose lock is another one.
///
/// ```
/// assert_eq!(rvlf::Alias::HardLinks(2).to_string(), "it has 2 hard links");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Alias {
    /// The path is a symbolic link.
    Symlink,
    /// The file has this number of hard links, which is more than one.
    HardLinks(u64),
    /// The path is a mount point: the file or directory is a bind mount, or the root of a file
    /// system. Another path may lead to the same data, also in another container.
    MountPoint,
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Alias::Symlink => f.write_str("it is a symbolic link"),
            Alias::HardLinks(links) => write!(f, "it has {links} hard links"),
            Alias::MountPoint => f.write_str("it is a mount point"),
        }
    }
}
