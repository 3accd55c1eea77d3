//! A rule: one path, what is granted or denied there, and how deep.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::region::{Region, resolve_parent_dirs};
use crate::escape::Escaped;

/// What a rule grants or denies. Write is the greater permission: a process that may write may
/// read.
///
/// Exhaustive: a third permission would be another file format.
///
/// ```
/// use rvlf::table::Permission;
///
/// assert!(Permission::Write > Permission::Read);
/// assert_eq!(Permission::Write.to_string(), "write");
/// ```
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// To read. Never conflicts with anything.
    #[default]
    Read,
    /// To write, and to read. Exclusive.
    Write,
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Permission::Read => "read",
            Permission::Write => "write",
        })
    }
}

/// A grant or a denial of a permission for a path and what is below it.
///
/// Paths are compared component by component, without access to the file system: `/a//b/.` equals
/// `/a/b`, and `..` removes the component before it. **Links are not resolved**: two names of one
/// directory are two scopes. Where links are possible, pass canonical paths
/// ([`std::fs::canonicalize`]).
///
/// ```
/// use rvlf::table::ScopeRule;
///
/// assert_eq!(ScopeRule::write("/data").to_string(), "write /data/**");
/// assert_eq!(ScopeRule::read("/data").shallow().to_string(), "read /data/*");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopeRule {
    /// The path. The operations accept absolute UTF-8 paths only.
    pub target: PathBuf,
    /// What is granted or denied.
    pub permission: Permission,
    /// Whether the rule applies to everything below the target, or to its direct children only.
    #[serde(default = "recursive_by_default")]
    pub recursive: bool,
    /// Fields that this version does not know. Kept when the table is saved.
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

const fn recursive_by_default() -> bool {
    true
}

impl ScopeRule {
    pub(super) fn region(&self) -> Region<'_> {
        Region::new(&self.target, self.recursive)
    }

    /// A rule for `target` and everything below it.
    ///
    /// ```
    /// use rvlf::table::{Permission, ScopeRule};
    ///
    /// assert_eq!(ScopeRule::new("/data", Permission::Write), ScopeRule::write("/data"));
    /// ```
    pub fn new(target: impl Into<PathBuf>, permission: Permission) -> ScopeRule {
        ScopeRule {
            target: target.into(),
            permission,
            recursive: true,
            unknown: Map::new(),
        }
    }

    /// A rule to write `target` and everything below it.
    ///
    /// ```
    /// # use rvlf::table::ScopeRule;
    /// assert_eq!(ScopeRule::write("/data").to_string(), "write /data/**");
    /// ```
    pub fn write(target: impl Into<PathBuf>) -> ScopeRule {
        ScopeRule::new(target, Permission::Write)
    }

    /// A rule to read `target` and everything below it.
    ///
    /// ```
    /// # use rvlf::table::ScopeRule;
    /// assert_eq!(ScopeRule::read("/data").to_string(), "read /data/**");
    /// ```
    pub fn read(target: impl Into<PathBuf>) -> ScopeRule {
        ScopeRule::new(target, Permission::Read)
    }

    /// The same rule for the target and its direct children only.
    ///
    /// ```
    /// use std::path::Path;
    /// use rvlf::table::ScopeRule;
    ///
    /// let rule = ScopeRule::write("/data").shallow();
    /// assert!(rule.contains(Path::new("/data/a")));
    /// assert!(!rule.contains(Path::new("/data/a/b")));
    /// ```
    #[must_use]
    pub fn shallow(mut self) -> ScopeRule {
        self.recursive = false;
        self
    }

    /// Whether the rule applies to `path`.
    ///
    /// ```
    /// use std::path::Path;
    /// use rvlf::table::ScopeRule;
    ///
    /// assert!(ScopeRule::write("/data").contains(Path::new("/data/a/b")));
    /// assert!(!ScopeRule::write("/data").contains(Path::new("/database")));
    /// ```
    #[must_use]
    pub fn contains(&self, path: &Path) -> bool {
        self.region().contains(&resolve_parent_dirs(path))
    }

    /// Whether this rule, as a grant, includes everything that `other` grants.
    ///
    /// ```
    /// use rvlf::table::ScopeRule;
    ///
    /// assert!(ScopeRule::write("/data").covers(&ScopeRule::read("/data/a")));
    /// assert!(!ScopeRule::read("/data").covers(&ScopeRule::write("/data/a")));
    /// assert!(!ScopeRule::write("/data").shallow().covers(&ScopeRule::write("/data/a")));
    /// ```
    #[must_use]
    pub fn covers(&self, other: &ScopeRule) -> bool {
        self.permission >= other.permission && self.region().covers(&other.region())
    }

    /// Whether both rules apply to some path, whatever their permissions.
    ///
    /// ```
    /// use rvlf::table::ScopeRule;
    ///
    /// let shallow = ScopeRule::write("/data").shallow();
    /// assert!(shallow.overlaps(&ScopeRule::write("/data/a")));
    /// assert!(!shallow.overlaps(&ScopeRule::write("/data/a/b")));
    /// ```
    #[must_use]
    pub fn overlaps(&self, other: &ScopeRule) -> bool {
        let other = other.region();
        self.region().intersection(&other).is_some()
    }

    /// Whether both rules grant writing to some path, which two live holders must never have.
    ///
    /// ```
    /// use rvlf::table::ScopeRule;
    ///
    /// let data = ScopeRule::write("/data");
    /// assert!(data.conflicts_with(&ScopeRule::write("/data/a")));
    /// assert!(!data.conflicts_with(&ScopeRule::read("/data/a")));
    /// ```
    #[must_use]
    pub fn conflicts_with(&self, other: &ScopeRule) -> bool {
        self.is_write() && other.is_write() && self.overlaps(other)
    }

    /// Whether both rules mean the same, however their paths are written.
    pub(super) fn is_same(&self, other: &ScopeRule) -> bool {
        self.covers(other) && other.covers(self)
    }

    pub(super) fn is_write(&self) -> bool {
        self.permission == Permission::Write
    }

    /// Whether the rule, as a denial, removes `permission`. A denial of reading denies writing,
    /// too.
    pub(super) fn denies(&self, permission: Permission) -> bool {
        self.permission <= permission
    }
}

impl fmt::Display for ScopeRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let permission = self.permission;
        let target = self.target.to_string_lossy();
        let target = Escaped::text(target.trim_end_matches('/'));
        let extent = if self.recursive { "/**" } else { "/*" };
        write!(f, "{permission} {target}{extent}")
    }
}
