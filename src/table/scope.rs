//! A scope: several rules that grant, less several that deny.

use std::path::Path;

use super::region::{Region, resolve_parent_dirs};
use super::rule::{Permission, ScopeRule};

/// What a holder may do: its allow rules less its deny rules. Borrows the rules of a
/// [`Table`](super::Table) or an [`Entry`](super::Entry).
///
/// The answers are exact: a scope covers another, or conflicts with another, precisely if the sets
/// of paths do.
///
/// ```
/// use std::path::Path;
/// use rvlf::table::{Entry, EntryHolder, Permission, ScopeRule};
///
/// let mut entry = Entry::new("indexer", EntryHolder::from_pid(4121));
/// entry.allow.push(ScopeRule::write("/data"));
/// entry.deny.push(ScopeRule::write("/data/frozen"));
/// let scope = entry.scope();
/// assert!(scope.permits(Path::new("/data/a"), Permission::Write));
/// assert!(!scope.permits(Path::new("/data/frozen/a"), Permission::Write));
/// assert!(scope.permits(Path::new("/data/frozen/a"), Permission::Read));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope<'a> {
    pub(super) allow: Vec<&'a ScopeRule>,
    pub(super) deny: Vec<&'a ScopeRule>,
}

impl<'a> Scope<'a> {
    /// The rules that grant. Other rules may deny parts of them.
    ///
    /// ```
    /// # use rvlf::table::{Entry, EntryHolder, ScopeRule};
    /// # let mut entry = Entry::new("indexer", EntryHolder::from_pid(4121));
    /// # entry.allow.push(ScopeRule::write("/data"));
    /// for rule in entry.scope().allow() {
    ///     println!("may {rule}");
    /// }
    /// # assert_eq!(entry.scope().allow().count(), 1);
    /// ```
    pub fn allow(&self) -> impl Iterator<Item = &'a ScopeRule> + '_ {
        self.allow.iter().copied()
    }

    /// The rules that deny: the entry's own, and, in a scope from
    /// [`Table::effective_write_scope`](super::Table::effective_write_scope), those for what was
    /// delegated to children.
    ///
    /// ```
    /// # use rvlf::table::{Entry, EntryHolder, ScopeRule};
    /// # let mut entry = Entry::new("indexer", EntryHolder::from_pid(4121));
    /// # entry.deny.push(ScopeRule::write("/data/frozen"));
    /// for rule in entry.scope().deny() {
    ///     println!("may not {rule}");
    /// }
    /// # assert_eq!(entry.scope().deny().count(), 1);
    /// ```
    pub fn deny(&self) -> impl Iterator<Item = &'a ScopeRule> + '_ {
        self.deny.iter().copied()
    }

    /// Whether `permission` is granted for `path`.
    ///
    /// ```
    /// # use std::path::Path;
    /// # use rvlf::table::{Entry, EntryHolder, Permission, ScopeRule};
    /// # let mut entry = Entry::new("indexer", EntryHolder::from_pid(4121));
    /// entry.allow.push(ScopeRule::write("/data"));
    /// assert!(entry.scope().permits(Path::new("/data/a"), Permission::Write));
    /// ```
    #[must_use]
    pub fn permits(&self, path: &Path, permission: Permission) -> bool {
        let path = resolve_parent_dirs(path);
        let applies = |rule: &&ScopeRule| rule.region().contains(&path);
        self.grants(permission).any(|rule| applies(&rule))
            && !self.denials(permission).any(|rule| applies(&rule))
    }

    /// Whether everything that `rule` grants is granted.
    ///
    /// ```
    /// # use rvlf::table::{Entry, EntryHolder, ScopeRule};
    /// # let mut entry = Entry::new("indexer", EntryHolder::from_pid(4121));
    /// entry.allow.push(ScopeRule::write("/data"));
    /// entry.deny.push(ScopeRule::write("/data/frozen"));
    /// assert!(entry.scope().covers(&ScopeRule::write("/data/a")));
    /// assert!(!entry.scope().covers(&ScopeRule::write("/data")));
    /// ```
    #[must_use]
    pub fn covers(&self, rule: &ScopeRule) -> bool {
        self.covers_except(rule, &[])
    }

    /// Whether everything that `rule` grants, less what `except` denies, is granted.
    fn covers_except(&self, rule: &ScopeRule, except: &[&ScopeRule]) -> bool {
        // A rule to write also grants reading, and a denial may remove writing alone.
        [Permission::Read, Permission::Write]
            .into_iter()
            .filter(|permission| *permission <= rule.permission)
            .all(|permission| self.covers_region(permission, &rule.region(), except))
    }

    fn covers_region(
        &self,
        permission: Permission,
        region: &Region<'_>,
        except: &[&ScopeRule],
    ) -> bool {
        let is_excepted = |part: &Region<'_>| {
            let mut except = except.iter().filter(|rule| rule.denies(permission));
            except.any(|rule| rule.region().covers(part))
        };
        let is_granted = || {
            self.grants(permission)
                .any(|rule| rule.region().covers(region))
        };
        let mut denied = self
            .denials(permission)
            .filter_map(|rule| rule.region().intersection(region));
        is_excepted(region) || is_granted() && denied.all(|part| is_excepted(&part))
    }

    /// Whether this scope grants everything that `other` grants.
    ///
    /// ```
    /// use rvlf::table::{Entry, EntryHolder, ScopeRule};
    ///
    /// let mut parent = Entry::new("parent", EntryHolder::from_pid(1));
    /// parent.allow.push(ScopeRule::write("/data"));
    /// let mut child = Entry::new("child", EntryHolder::from_pid(2));
    /// child.allow.push(ScopeRule::write("/data/a"));
    /// assert!(parent.scope().covers_scope(&child.scope()));
    /// assert!(!child.scope().covers_scope(&parent.scope()));
    /// ```
    #[must_use]
    pub fn covers_scope(&self, other: &Scope<'_>) -> bool {
        self.first_not_covered(other).is_none()
    }

    /// The first rule of `other` that grants more than this scope does.
    pub(super) fn first_not_covered<'b>(&self, other: &Scope<'b>) -> Option<&'b ScopeRule> {
        let mut rules = other.allow.iter().copied();
        rules.find(|rule| !self.covers_except(rule, &other.deny))
    }

    /// The first pair of rules by which both scopes may write the same path: this scope's rule,
    /// then the other's. `None` if the scopes do not conflict.
    ///
    /// ```
    /// use rvlf::table::{Entry, EntryHolder, ScopeRule};
    ///
    /// let mut one = Entry::new("one", EntryHolder::from_pid(1));
    /// one.allow.push(ScopeRule::write("/data"));
    /// let mut other = Entry::new("other", EntryHolder::from_pid(2));
    /// other.allow.push(ScopeRule::write("/data/a"));
    /// assert!(one.scope().conflict(&other.scope()).is_some());
    /// one.deny.push(ScopeRule::write("/data/a"));
    /// assert!(one.scope().conflict(&other.scope()).is_none());
    /// ```
    #[must_use]
    pub fn conflict<'b>(&self, other: &Scope<'b>) -> Option<(&'a ScopeRule, &'b ScopeRule)> {
        self.conflict_in(other, |_| true)
    }

    /// As [`conflict`](Scope::conflict), by paths that `giver` may not write.
    pub(super) fn conflict_beyond<'b>(
        &self,
        other: &Scope<'b>,
        giver: &Scope<'_>,
    ) -> Option<(&'a ScopeRule, &'b ScopeRule)> {
        let denied: Vec<&ScopeRule> = self.deny.iter().chain(&other.deny).copied().collect();
        self.conflict_in(other, |part| {
            !giver.covers_region(Permission::Write, part, &denied)
        })
    }

    /// A conflict in a part of the paths that `counts`.
    fn conflict_in<'b>(
        &self,
        other: &Scope<'b>,
        counts: impl Fn(&Region<'_>) -> bool,
    ) -> Option<(&'a ScopeRule, &'b ScopeRule)> {
        let is_denied = |part: &Region<'_>| {
            // Every denial counts: a path that may not be read may not be written either.
            let mut denials = self.deny.iter().chain(&other.deny);
            denials.any(|rule| rule.region().covers(part))
        };
        self.grants(Permission::Write).find_map(|ours| {
            let region = ours.region();
            let conflicts = |theirs: &&ScopeRule| {
                let shared = region.intersection(&theirs.region());
                shared.is_some_and(|part| !is_denied(&part) && counts(&part))
            };
            let theirs = other.grants(Permission::Write).find(conflicts)?;
            Some((ours, theirs))
        })
    }

    fn grants(&self, permission: Permission) -> impl Iterator<Item = &'a ScopeRule> + '_ {
        self.allow()
            .filter(move |rule| rule.permission >= permission)
    }

    fn denials(&self, permission: Permission) -> impl Iterator<Item = &'a ScopeRule> + '_ {
        self.deny().filter(move |rule| rule.denies(permission))
    }
}
