//! The algebra of scopes: which paths a rule claims, and which of them two claims share.
//!
//! Pure functions on paths, no I/O. A rule claims its target and everything below it, or, if it is
//! not recursive, its target and the direct children. One fact makes the algebra exact and small:
//!
//! > What several rules cover together, one of them covers alone: a directory may always get one
//! > more child, of whom only a rule for the directory itself or for something above it knows.
//!
//! So it is enough to ask each rule in turn. (`tests/table_scope.rs` compares every combination
//! with sets of paths written out.)

use std::borrow::Cow;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a rule grants or denies. Write beats read: whoever may write may read.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// To read. Never in conflict with anything.
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

/// A claim to paths, or a denial of them.
///
/// Paths are compared by their components, without a look at the file system: `/a//b/.` is `/a/b`,
/// and `..` takes a component away. **Links are not resolved**: two names of one directory are two
/// scopes. Give canonical paths ([`std::fs::canonicalize`]) where links may be about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopeRule {
    /// The path that is claimed. Absolute; the operations refuse others.
    pub target: PathBuf,
    /// What is claimed there.
    pub permission: Permission,
    /// Whether everything below the target is meant, or only its direct children.
    #[serde(default = "recursive_by_default")]
    pub recursive: bool,
    /// Fields that this version does not know. Kept across a save.
    #[serde(flatten)]
    pub(super) unknown: Map<String, Value>,
}

const fn recursive_by_default() -> bool {
    true
}

impl ScopeRule {
    /// To write `target` and everything below it.
    pub fn write(target: impl Into<PathBuf>) -> ScopeRule {
        ScopeRule::new(target.into(), Permission::Write)
    }

    /// To read `target` and everything below it.
    pub fn read(target: impl Into<PathBuf>) -> ScopeRule {
        ScopeRule::new(target.into(), Permission::Read)
    }

    fn new(target: PathBuf, permission: Permission) -> ScopeRule {
        ScopeRule {
            target,
            permission,
            recursive: true,
            unknown: Map::new(),
        }
    }

    /// The same for the target and its direct children only.
    #[must_use]
    pub fn shallow(mut self) -> ScopeRule {
        self.recursive = false;
        self
    }

    /// Whether `path` is one of the paths that this rule is about.
    #[must_use]
    pub fn contains(&self, path: &Path) -> bool {
        Region::of(self).contains(&normal(path))
    }

    /// Whether this rule grants all that `other` asks for.
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
        self.permission >= other.permission && Region::of(self).covers(&Region::of(other))
    }

    /// Whether some path belongs to both rules, whatever their permissions.
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
        Region::of(self).meet(&Region::of(other)).is_some()
    }

    /// Whether both claim the right to write some path: what two live holders must never do.
    #[must_use]
    pub fn conflicts_with(&self, other: &ScopeRule) -> bool {
        self.is_write() && other.is_write() && self.overlaps(other)
    }

    pub(super) fn is_write(&self) -> bool {
        self.permission == Permission::Write
    }

    /// Whether the rule, as a denial, takes `permission` away: no reading means no writing either.
    fn denies(&self, permission: Permission) -> bool {
        self.permission <= permission
    }
}

impl fmt::Display for ScopeRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extent = if self.recursive { "/**" } else { "/*" };
        let target = self.target.to_string_lossy();
        write!(
            f,
            "{} {}{extent}",
            self.permission,
            target.trim_end_matches('/')
        )
    }
}

/// A set of paths, as rules and their meets make them.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Region<'a> {
    /// A path and all below it.
    Tree(Cow<'a, Path>),
    /// A path and its direct children.
    Shallow(Cow<'a, Path>),
    /// One path: what a shallow rule shares with a rule for one of its children.
    Point(Cow<'a, Path>),
}

impl Region<'_> {
    fn of(rule: &ScopeRule) -> Region<'_> {
        let target = normal(&rule.target);
        if rule.recursive {
            Region::Tree(target)
        } else {
            Region::Shallow(target)
        }
    }

    fn contains(&self, path: &Path) -> bool {
        match self {
            Region::Tree(top) => path.starts_with(top),
            Region::Shallow(top) => path == top || path.parent() == Some(top),
            Region::Point(point) => path == point,
        }
    }

    fn covers(&self, other: &Region<'_>) -> bool {
        match (self, other) {
            (_, Region::Point(point)) => self.contains(point),
            (Region::Tree(_), Region::Tree(top) | Region::Shallow(top)) => self.contains(top),
            (Region::Shallow(top), Region::Shallow(other)) => top == other,
            (Region::Shallow(_) | Region::Point(_), _) => false,
        }
    }

    /// The paths of both.
    fn meet(&self, other: &Region<'_>) -> Option<Region<'static>> {
        if self.covers(other) {
            return Some(other.to_owned());
        }
        if other.covers(self) {
            return Some(self.to_owned());
        }
        match (self, other) {
            // Neither covers the other: they share what one begins with, if the other reaches it.
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

/// The path without `..`; what Rust's comparison of paths leaves out by itself stays.
fn normal(path: &Path) -> Cow<'_, Path> {
    if !path.components().any(|part| part == Component::ParentDir) {
        return Cow::Borrowed(path);
    }
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            // Above the root is the root.
            Component::ParentDir => drop(normal.pop()),
            part => normal.push(part),
        }
    }
    Cow::Owned(normal)
}

/// The path as the table stores it: no `.`, no `..`, no double or trailing slash.
pub(super) fn normalize(path: &Path) -> PathBuf {
    normal(path).components().collect()
}

/// What a holder may do: its allow rules less what is denied to it.
///
/// Answers of the type hold exactly, not approximately: see the module's first paragraph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope<'a> {
    pub(super) allow: Vec<&'a ScopeRule>,
    pub(super) deny: Vec<&'a ScopeRule>,
}

impl<'a> Scope<'a> {
    /// The rules that grant something. Parts of them may be denied.
    pub fn allow(&self) -> impl Iterator<Item = &'a ScopeRule> + '_ {
        self.allow.iter().copied()
    }

    /// The rules that take something away: denials, and what was delegated to children.
    pub fn deny(&self) -> impl Iterator<Item = &'a ScopeRule> + '_ {
        self.deny.iter().copied()
    }

    /// Whether `permission` is granted at `path`.
    #[must_use]
    pub fn permits(&self, path: &Path, permission: Permission) -> bool {
        let path = normal(path);
        let at = |rule: &&&ScopeRule| Region::of(rule).contains(&path);
        let mut granted = self
            .allow
            .iter()
            .filter(|rule| rule.permission >= permission);
        let mut denied = self.deny.iter().filter(|rule| rule.denies(permission));
        granted.any(|rule| at(&rule)) && !denied.any(|rule| at(&rule))
    }

    /// Whether all that `rule` asks for is granted.
    #[must_use]
    pub fn covers(&self, rule: &ScopeRule) -> bool {
        self.covers_except(rule, &[])
    }

    /// Whether all of `rule` is granted but what `except` takes away from it.
    fn covers_except(&self, rule: &ScopeRule, except: &[&ScopeRule]) -> bool {
        // A rule to write is one to read as well, and a denial may take only the writing.
        [Permission::Read, Permission::Write]
            .into_iter()
            .filter(|permission| *permission <= rule.permission)
            .all(|permission| self.covers_at(permission, &Region::of(rule), except))
    }

    fn covers_at(
        &self,
        permission: Permission,
        region: &Region<'_>,
        except: &[&ScopeRule],
    ) -> bool {
        let is_excepted = |part: &Region<'_>| {
            let mut except = except.iter().filter(|rule| rule.denies(permission));
            except.any(|rule| Region::of(rule).covers(part))
        };
        let mut allow = self
            .allow
            .iter()
            .filter(|rule| rule.permission >= permission);
        let deny = self.deny.iter().filter(|rule| rule.denies(permission));
        let mut denied = deny.filter_map(|rule| Region::of(rule).meet(region));
        is_excepted(region)
            || allow.any(|rule| Region::of(rule).covers(region))
                && denied.all(|part| is_excepted(&part))
    }

    /// Whether this scope grants all that `other` grants.
    #[must_use]
    pub fn covers_scope(&self, other: &Scope<'_>) -> bool {
        self.first_not_covered(other).is_none()
    }

    /// The first rule of `other` that asks for more than this scope grants.
    pub(super) fn first_not_covered<'b>(&self, other: &Scope<'b>) -> Option<&'b ScopeRule> {
        let mut rules = other.allow.iter().copied();
        rules.find(|rule| !self.covers_except(rule, &other.deny))
    }

    /// The first pair of rules by which both scopes may write one path.
    #[must_use]
    pub fn conflict<'b>(&self, other: &Scope<'b>) -> Option<(&'a ScopeRule, &'b ScopeRule)> {
        let denied = |part: &Region<'_>| {
            // Whatever is denied, reading or writing, cannot be written.
            self.deny
                .iter()
                .chain(&other.deny)
                .any(|deny| Region::of(deny).covers(part))
        };
        let writes = self.allow.iter().filter(|rule| rule.is_write());
        writes.copied().find_map(|ours| {
            let region = Region::of(ours);
            let mut writes = other.allow.iter().filter(|rule| rule.is_write());
            let theirs = writes.find(|theirs| {
                let shared = region.meet(&Region::of(theirs));
                shared.is_some_and(|part| !denied(&part))
            });
            Some((ours, *theirs?))
        })
    }
}
