//! Which paths a rule is about, and which of them two rules share.
//!
//! Pure functions on paths, no I/O. A region is a path and everything below it, a path and its
//! direct children, or a single path. One fact makes the algebra of scopes exact and small:
//!
//! > What several rules cover together, one of them covers alone. A directory may always get one
//! > more child, and only a rule for the directory itself or for a path above it covers that child.
//!
//! So it is enough to check each rule by itself. (`tests/table/scope.rs` compares every
//! combination of rules with sets of paths that are written out.)

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};

/// The paths of a rule, or of the intersection of two rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Region<'a> {
    /// A path and everything below it.
    Tree(Cow<'a, Path>),
    /// A path and its direct children.
    Shallow(Cow<'a, Path>),
    /// A single path: what a shallow rule shares with a rule for one of its children.
    Point(Cow<'a, Path>),
}

impl Region<'_> {
    pub(super) fn new(target: &Path, recursive: bool) -> Region<'_> {
        let target = resolve_parent_dirs(target);
        if recursive {
            Region::Tree(target)
        } else {
            Region::Shallow(target)
        }
    }

    pub(super) fn contains(&self, path: &Path) -> bool {
        match self {
            Region::Tree(top) => path.starts_with(top),
            Region::Shallow(top) => path == top || path.parent() == Some(top),
            Region::Point(point) => path == point,
        }
    }

    pub(super) fn covers(&self, other: &Region<'_>) -> bool {
        match (self, other) {
            (_, Region::Point(point)) => self.contains(point),
            (Region::Tree(_), Region::Tree(top) | Region::Shallow(top)) => self.contains(top),
            (Region::Shallow(top), Region::Shallow(other)) => top == other,
            (Region::Shallow(_) | Region::Point(_), _) => false,
        }
    }

    /// The paths that belong to both regions.
    pub(super) fn intersection(&self, other: &Region<'_>) -> Option<Region<'static>> {
        if self.covers(other) {
            return Some(other.to_owned());
        }
        if other.covers(self) {
            return Some(self.to_owned());
        }
        match (self, other) {
            // Neither covers the other: they can share only the top of one of them, and only if the
            // other region contains that top.
            (Region::Shallow(_), Region::Tree(top) | Region::Shallow(top))
                if self.contains(top) =>
            {
                Some(Region::Point(top.clone().into_owned().into()))
            }
            (Region::Tree(top) | Region::Shallow(top), Region::Shallow(_))
                if other.contains(top) =>
            {
                Some(Region::Point(top.clone().into_owned().into()))
            }
            _ => None,
        }
    }

    fn to_owned(&self) -> Region<'static> {
        let owned = |path: &Cow<'_, Path>| Cow::Owned(path.to_path_buf());
        match self {
            Region::Tree(path) => Region::Tree(owned(path)),
            Region::Shallow(path) => Region::Shallow(owned(path)),
            Region::Point(path) => Region::Point(owned(path)),
        }
    }
}

/// The path without `..`. Doubled slashes and `.` stay: Rust's comparison of paths ignores them.
pub(super) fn resolve_parent_dirs(path: &Path) -> Cow<'_, Path> {
    if !path.components().any(|part| part == Component::ParentDir) {
        return Cow::Borrowed(path);
    }
    let mut resolved = PathBuf::new();
    for part in path.components() {
        match part {
            // The parent of the root is the root.
            Component::ParentDir => drop(resolved.pop()),
            part => resolved.push(part),
        }
    }
    Cow::Owned(resolved)
}

/// The path as the table stores it: without `.`, `..`, doubled slashes and a trailing slash.
pub(super) fn normalize(path: &Path) -> PathBuf {
    resolve_parent_dirs(path).components().collect()
}
