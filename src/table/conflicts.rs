//! Which entries may already write what a new claim requests.

use std::collections::HashSet;

use super::contents::Table;
use super::entry::Entry;
use super::error::TableError;
use super::rule::ScopeRule;
use super::scope::Scope;

/// An entry that may write some of what a rule requests. From [`Table::conflicts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conflict<'a> {
    /// The entry that holds it: where scopes were delegated, the deepest.
    pub entry: &'a Entry,
    /// The rule by which that entry holds it.
    pub held: &'a ScopeRule,
    /// The requested rule.
    pub requested: &'a ScopeRule,
}

impl Conflict<'_> {
    pub(super) fn into_error(self) -> TableError {
        TableError::WriteConflict {
            entry: self.entry.name.clone(),
            pid: self.entry.pid,
            is_placeholder: self.entry.is_placeholder(),
            requested: Box::new(self.requested.clone()),
            held: Box::new(self.held.clone()),
            liveness: None,
            table: None,
        }
    }
}

impl Table {
    /// The entries that may write some of what `rule` would write. Empty for a rule to read.
    ///
    /// Where a scope was delegated, these are the entries that hold it now, and not the parent that
    /// delegated it.
    ///
    /// ```
    /// use rvlf::table::{Claim, EntryHolder, ScopeRule, Table, new_segment};
    ///
    /// let mut table = Table::default();
    /// let claim = Claim::new("indexer").allow(ScopeRule::write("/data/index"));
    /// table.register(&claim, &new_segment()?, &EntryHolder::from_pid(4121))?;
    /// let wanted = ScopeRule::write("/data");
    /// for conflict in table.conflicts(&wanted) {
    ///     println!("{} holds {}", conflict.entry, conflict.held);
    /// }
    /// # assert_eq!(table.conflicts(&wanted).len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn conflicts<'a>(&'a self, rule: &'a ScopeRule) -> Vec<Conflict<'a>> {
        let requested = Scope {
            allow: vec![rule],
            deny: Vec::new(),
        };
        self.conflicting_entries(&requested, &HashSet::new())
    }

    /// As [`conflicts`](Table::conflicts), without the entry `ignored`: who besides a caller that has
    /// an entry already, or wants to delegate, may write what `rule` would write.
    ///
    /// ```
    /// use rvlf::table::{Claim, EntryHolder, ScopeRule, Table, new_segment};
    ///
    /// let mut table = Table::default();
    /// let claim = Claim::new("indexer").allow(ScopeRule::write("/data/index"));
    /// table.register(&claim, &new_segment()?, &EntryHolder::from_pid(4121))?;
    /// let wanted = ScopeRule::write("/data");
    /// assert_eq!(table.conflicts_except(&wanted, "indexer"), []);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn conflicts_except<'a>(&'a self, rule: &'a ScopeRule, ignored: &str) -> Vec<Conflict<'a>> {
        // Not left out before the search: the parent of the ignored entry would seem to hold what it
        // has delegated.
        let mut conflicts = self.conflicts(rule);
        conflicts.retain(|conflict| conflict.entry.name != ignored);
        conflicts
    }

    /// The deepest entries, other than those in `exempt`, that may write some of what `requested`
    /// may write.
    pub(super) fn conflicting_entries<'a>(
        &'a self,
        requested: &Scope<'a>,
        exempt: &HashSet<&str>,
    ) -> Vec<Conflict<'a>> {
        let is_exempt = |entry: &Entry| exempt.contains(entry.name.as_str());
        let others = self.entries.iter().filter(|entry| !is_exempt(entry));
        let overlapping: Vec<_> = others
            .filter_map(|entry| conflict_with(entry, requested))
            .collect();
        // The usual result, one conflict or none, needs no index of the children.
        if overlapping.len() <= 1 {
            return overlapping;
        }
        let by_parent = self.by_parent();
        let holds_it = |conflict: &&Conflict<'a>| {
            let children = by_parent.get(conflict.entry.name.as_str());
            holds_by_itself(
                conflict.entry,
                children.map_or(&[], Vec::as_slice),
                requested,
            )
        };
        let deepest: Vec<_> = overlapping.iter().filter(holds_it).copied().collect();
        // In a cycle of parents every entry has delegated everything: then all of them conflict.
        if deepest.is_empty() {
            overlapping
        } else {
            deepest
        }
    }
}

fn conflict_with<'a>(entry: &'a Entry, requested: &Scope<'a>) -> Option<Conflict<'a>> {
    let (held, requested) = entry.scope().conflict(requested)?;
    Some(Conflict {
        entry,
        held,
        requested,
    })
}

/// Whether `entry`, and not only one of its `children`, may write some of what `requested` may.
fn holds_by_itself(entry: &Entry, children: &[&Entry], requested: &Scope<'_>) -> bool {
    let kept = entry.scope_without(children.iter().copied());
    let delegated = |child: &&Entry| child.scope().conflict(requested).is_some();
    // What the child that it was delegated to denies itself is still the parent's to delegate.
    kept.conflict(requested).is_some() || !children.iter().any(delegated)
}
