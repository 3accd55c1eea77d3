//! The operations on a table: changes in memory that are refused if they would create a conflict.
//!
//! Every table that only these operations have changed satisfies two rules:
//!
//! 1. The parts that two entries may write are disjoint, unless one entry is an ancestor of the
//!    other.
//! 2. Everything that an entry may do, the entry that delegated it may do, too; or it conflicts with
//!    no entry but the one that delegated it, and ancestors of that one that hold no more of it
//!    ([`Table::delegate_within`]).
//!
//! It follows that the effective scopes (an entry's own scope less what it delegated) of any two
//! entries are disjoint. They stay disjoint when an entry is removed and its children are handed to
//! its parent.

use std::collections::{HashMap, HashSet};

use super::claim::{Claim, ensure_no_nul};
use super::conflicts::Conflict;
use super::contents::{Table, lineage};
use super::entry::{Entry, EntryHolder};
use super::error::{Result, TableError};
use super::rule::ScopeRule;
use super::scope::Scope;
use super::segment::is_same_segment;

impl Table {
    /// Adds an entry without a parent, held by `holder`, which writes `segment`.
    ///
    /// # Errors
    ///
    /// [`DuplicateName`](TableError::DuplicateName),
    /// [`SegmentConflict`](TableError::SegmentConflict),
    /// [`WriteConflict`](TableError::WriteConflict) or [`InvalidPath`](TableError::InvalidPath).
    /// The table is unchanged then.
    ///
    /// ```
    /// use rvlf::table::{Claim, EntryHolder, ScopeRule, Table, TableError, new_segment};
    ///
    /// let mut table = Table::default();
    /// let claim = Claim::new("indexer").allow(ScopeRule::write("/data/index"));
    /// table.register(&claim, &new_segment()?, &EntryHolder::from_pid(4121))?;
    ///
    /// let claim = Claim::new("compactor").allow(ScopeRule::write("/data"));
    /// let refused = table.register(&claim, &new_segment()?, &EntryHolder::from_pid(4122));
    /// assert!(matches!(refused, Err(TableError::WriteConflict { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn register(&mut self, claim: &Claim, segment: &str, holder: &EntryHolder) -> Result<()> {
        let mut entry = claim.to_entry(holder)?;
        self.ensure_free_name(&entry.name)?;
        self.ensure_free_segment(segment, None)?;
        self.ensure_no_conflict(&entry.scope(), &HashSet::new())?;
        entry.segment = Some(segment.to_owned());
        self.push(entry);
        Ok(())
    }

    /// Adds a placeholder for a part of the scope of the entry `parent`. `holder` holds the
    /// placeholder until it is adopted.
    ///
    /// # Errors
    ///
    /// [`UnknownName`](TableError::UnknownName) for the parent;
    /// [`DuplicateName`](TableError::DuplicateName); [`NotSubset`](TableError::NotSubset) if the
    /// parent does not hold what `claim` requests; [`WriteConflict`](TableError::WriteConflict) if
    /// another child or a stranger holds it; [`InvalidPath`](TableError::InvalidPath). The table is
    /// unchanged then.
    ///
    /// ```
    /// # use rvlf::table::{Claim, EntryHolder, ScopeRule, Table, new_segment};
    /// # let mut table = Table::default();
    /// # let holder = EntryHolder::from_pid(4121);
    /// # let claim = Claim::new("parent").allow(ScopeRule::write("/data"));
    /// # table.register(&claim, &new_segment()?, &holder)?;
    /// let part = Claim::new("child").allow(ScopeRule::write("/data/a"));
    /// table.delegate("parent", &part, &holder)?;
    /// assert!(table.find("child").is_some_and(|entry| entry.is_placeholder()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delegate(&mut self, parent: &str, claim: &Claim, holder: &EntryHolder) -> Result<()> {
        let mut entry = claim.to_entry(holder)?;
        self.ensure_free_name(&entry.name)?;
        ensure_subset(self.get(parent)?, &entry.scope())?;
        self.ensure_no_conflict(&entry.scope(), &lineage(&self.by_name(), parent))?;
        entry.parent = Some(parent.to_owned());
        self.push(entry);
        Ok(())
    }

    /// As [`delegate`](Table::delegate), where the parent may hand out more than it may do itself: an
    /// orchestrator that only reads a workspace, and whose children write parts of it. `authority` is
    /// what it may hand out; the table does not record it.
    ///
    /// What a child holds beyond its parent's scope becomes free when the child ends.
    ///
    /// # Errors
    ///
    /// As [`delegate`](Table::delegate), with [`NotSubset`](TableError::NotSubset) for what exceeds
    /// `authority`. [`WriteConflict`](TableError::WriteConflict) also if an ancestor of the parent
    /// holds a part that the parent does not have.
    ///
    /// ```
    /// use rvlf::table::{Claim, EntryHolder, ScopeRule, Table, new_segment};
    ///
    /// let mut table = Table::default();
    /// let holder = EntryHolder::from_pid(4121);
    /// let claim = Claim::new("orchestrator").allow(ScopeRule::read("/work"));
    /// table.register(&claim, &new_segment()?, &holder)?;
    ///
    /// let task = Claim::new("coder").allow(ScopeRule::write("/work/task"));
    /// assert!(table.delegate("orchestrator", &task, &holder).is_err());
    /// table.delegate_within("orchestrator", &[ScopeRule::write("/work")], &task, &holder)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delegate_within(
        &mut self,
        parent: &str,
        authority: &[ScopeRule],
        claim: &Claim,
        holder: &EntryHolder,
    ) -> Result<()> {
        let mut entry = claim.to_entry(holder)?;
        self.ensure_free_name(&entry.name)?;
        let giver = self.get(parent)?;
        if let Some(rule) = granting(authority).first_not_covered(&entry.scope()) {
            return Err(not_subset(parent, rule));
        }
        let family = self.ensure_given(giver, &entry)?;
        self.ensure_no_conflict(&entry.scope(), &family)?;
        entry.parent = Some(parent.to_owned());
        self.push(entry);
        Ok(())
    }

    /// Makes `holder`, which writes `segment`, the holder of the placeholder `name`.
    ///
    /// # Errors
    ///
    /// [`UnknownName`](TableError::UnknownName); [`NotAPlaceholder`](TableError::NotAPlaceholder)
    /// if another process adopted it first; [`SegmentConflict`](TableError::SegmentConflict). The
    /// table is unchanged then.
    ///
    /// ```
    /// # use rvlf::table::{Claim, EntryHolder, ScopeRule, Table, new_segment};
    /// # let mut table = Table::default();
    /// # let holder = EntryHolder::from_pid(4121);
    /// # let claim = Claim::new("parent").allow(ScopeRule::write("/data"));
    /// # table.register(&claim, &new_segment()?, &holder)?;
    /// # let part = Claim::new("child").allow(ScopeRule::write("/data/a"));
    /// # table.delegate("parent", &part, &holder)?;
    /// table.adopt("child", &new_segment()?, &EntryHolder::from_pid(4122))?;
    /// assert_eq!(table.find("child").map(|entry| entry.pid), Some(4122));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn adopt(&mut self, name: &str, segment: &str, holder: &EntryHolder) -> Result<()> {
        let entry = self.get(name)?;
        if !entry.is_placeholder() {
            return Err(TableError::NotAPlaceholder {
                name: name.to_owned(),
                pid: entry.pid,
            });
        }
        self.ensure_free_segment(segment, Some(name))?;
        let entry = self.get_mut(name)?;
        entry.pid = holder.pid;
        entry.holder.clone_from(&holder.id);
        entry.segment = Some(segment.to_owned());
        Ok(())
    }

    /// Changes the segment that the entry `name` writes.
    ///
    /// # Errors
    ///
    /// [`UnknownName`](TableError::UnknownName) or
    /// [`SegmentConflict`](TableError::SegmentConflict). The table is unchanged then.
    ///
    /// ```
    /// # use rvlf::table::{Claim, EntryHolder, ScopeRule, Table};
    /// # let mut table = Table::default();
    /// # let claim = Claim::new("indexer").allow(ScopeRule::write("/data/index"));
    /// # table.register(&claim, "segment-1", &EntryHolder::from_pid(4121))?;
    /// table.update_segment("indexer", "segment-2")?;
    /// assert!(table.find_by_segment("segment-1").is_none());
    /// # Ok::<(), rvlf::table::TableError>(())
    /// ```
    pub fn update_segment(&mut self, name: &str, segment: &str) -> Result<()> {
        self.ensure_free_segment(segment, Some(name))?;
        self.get_mut(name)?.segment = Some(segment.to_owned());
        Ok(())
    }

    /// Removes the entry `name` and returns it. Its children are handed to its parent, which gets
    /// their scopes back when they end.
    ///
    /// # Errors
    ///
    /// [`UnknownName`](TableError::UnknownName). The table is unchanged then.
    ///
    /// ```
    /// # use rvlf::table::{Claim, EntryHolder, ScopeRule, Table, new_segment};
    /// # let mut table = Table::default();
    /// # let claim = Claim::new("indexer").allow(ScopeRule::write("/data/index"));
    /// # table.register(&claim, &new_segment()?, &EntryHolder::from_pid(4121))?;
    /// let removed = table.release("indexer")?;
    /// assert_eq!(removed.pid, 4121);
    /// assert!(table.entries.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn release(&mut self, name: &str) -> Result<Entry> {
        let position = self.entries.iter().position(|entry| entry.name == name);
        let removed = self.entries.remove(position.ok_or_else(|| unknown(name))?);
        for entry in &mut self.entries {
            if entry.parent.as_deref() == Some(name) {
                entry.parent.clone_from(&removed.parent);
            }
        }
        Ok(removed)
    }

    /// Takes back what the entry `parent` delegated to the entry `child`.
    ///
    /// Removes the child's entry, if there still is one. Also removes, for every rule of
    /// `delegated` that writes, one equal rule from the parent's deny rules: a parent that denied
    /// itself one path twice reclaims it twice. A repeated reclaim changes nothing and succeeds.
    ///
    /// The deny rules are for a parent that registers again after a crash while its children live.
    /// Such a parent denies itself what the children may still hold, and reclaims it child by
    /// child. By then these children have no parent in the table. An entry without a parent passes
    /// for a child if its scope lies within the parent's scope, less the denials that do not equal
    /// a rule of `delegated`; or within `delegated`.
    ///
    /// If the parent has no entry, as in a program that shuts down and has released its own entry
    /// first, an entry without a parent passes for a child if its scope lies within `delegated`,
    /// and its removal is all that is done. If the child has no entry either, nothing is done.
    ///
    /// The process of the child is not stopped: call this after it has ended or stopped writing.
    ///
    /// # Errors
    ///
    /// [`NotAChild`](TableError::NotAChild); [`WriteConflict`](TableError::WriteConflict) or
    /// [`NotSubset`](TableError::NotSubset) if another entry holds what the parent would get back.
    /// The table is unchanged then.
    ///
    /// ```
    /// # use rvlf::table::{Claim, EntryHolder, ScopeRule, Table, new_segment};
    /// # let mut table = Table::default();
    /// # let holder = EntryHolder::from_pid(4121);
    /// # let claim = Claim::new("parent").allow(ScopeRule::write("/data"));
    /// # table.register(&claim, &new_segment()?, &holder)?;
    /// # let part = Claim::new("child").allow(ScopeRule::write("/data/a"));
    /// # table.delegate("parent", &part, &holder)?;
    /// table.reclaim_delegated("parent", "child", &[])?;
    /// assert!(table.find("child").is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reclaim_delegated(
        &mut self,
        parent: &str,
        child: &str,
        delegated: &[ScopeRule],
    ) -> Result<()> {
        if self.find(parent).is_none() {
            return self.reclaim_orphan(parent, child, delegated);
        }
        let mut after = self.clone();
        after.ensure_child(parent, child, delegated)?;
        let denials = &mut after.get_mut(parent)?.deny;
        for rule in delegated.iter().filter(|rule| rule.is_write()) {
            if let Some(position) = denials.iter().position(|denied| denied.is_same(rule)) {
                denials.remove(position);
            }
        }
        if child != parent && after.find(child).is_some() {
            after.release(child)?;
        }
        after.ensure_allowed(parent, self)?;
        *self = after;
        Ok(())
    }

    /// The reclaim of a parent that has no entry any more: a program that shuts down may have
    /// released its own entry, or lost it, before it reclaims its children.
    fn reclaim_orphan(&mut self, parent: &str, child: &str, delegated: &[ScopeRule]) -> Result<()> {
        let Some(entry) = self.find(child) else {
            return Ok(());
        };
        let is_child = match entry.parent.as_deref() {
            Some(from) => from == parent,
            // Its children lost their parent with it. A stranger that took the name has another
            // scope.
            None => is_described(entry, delegated),
        };
        if !is_child {
            return Err(not_a_child(parent, entry));
        }
        self.release(child).map(drop)
    }

    /// Removes every entry for which `is_dead` returns true, and returns the removed entries. Their
    /// children are handed to the nearest ancestor that stays.
    ///
    /// `is_dead` is called once for each entry, in the order of the entries.
    ///
    /// ```
    /// # use rvlf::table::{Claim, EntryHolder, ScopeRule, Table, new_segment};
    /// # let mut table = Table::default();
    /// # let claim = Claim::new("indexer").allow(ScopeRule::write("/data/index"));
    /// # table.register(&claim, &new_segment()?, &EntryHolder::from_pid(4121))?;
    /// let removed = table.reclaim_stale_with(|entry| entry.pid == 4121);
    /// assert_eq!(removed.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reclaim_stale_with(&mut self, is_dead: impl FnMut(&Entry) -> bool) -> Vec<Entry> {
        let entries = std::mem::take(&mut self.entries);
        let (dead, mut alive): (Vec<_>, Vec<_>) = entries.into_iter().partition(is_dead);
        if !dead.is_empty() {
            hand_to_ancestors(&mut alive, &dead);
        }
        self.entries = alive;
        dead
    }

    fn get(&self, name: &str) -> Result<&Entry> {
        self.find(name).ok_or_else(|| unknown(name))
    }

    fn get_mut(&mut self, name: &str) -> Result<&mut Entry> {
        self.find_mut(name).ok_or_else(|| unknown(name))
    }

    /// Refuses a `child` that is not the child of `parent` and never was.
    ///
    /// An entry without a parent may be a child whose parent crashed, or a stranger that took the
    /// name of a child that has ended. A stranger's scope never lies within what the parent may do
    /// once it denies itself nothing of `delegated` any more.
    fn ensure_child(&self, parent: &str, child: &str, delegated: &[ScopeRule]) -> Result<()> {
        let (Some(giver), Some(entry)) = (self.find(parent), self.find(child)) else {
            return Ok(());
        };
        let is_child = match entry.parent.as_deref() {
            Some(from) => from == parent,
            None if child == parent => true,
            None => {
                let mut scope = giver.scope();
                let is_reclaimed = |denied: &ScopeRule| {
                    let mut writes = delegated.iter().filter(|rule| rule.is_write());
                    writes.any(|rule| denied.is_same(rule))
                };
                scope.deny.retain(|denied| !is_reclaimed(denied));
                (scope.covers_scope(&entry.scope()) || is_described(entry, delegated))
                    && !lineage(&self.by_name(), parent).contains(child)
            }
        };
        if is_child {
            return Ok(());
        }
        Err(not_a_child(parent, entry))
    }

    /// Refuses an `entry` that has more of what an ancestor of `giver` holds than `giver` has: the
    /// ancestor writes that, or gets it back when an entry between the two is removed. Returns
    /// `giver` and its ancestors.
    fn ensure_given<'a>(&'a self, giver: &'a Entry, entry: &Entry) -> Result<HashSet<&'a str>> {
        let by_name = self.by_name();
        let family = lineage(&by_name, &giver.name);
        let above = family.iter().filter(|name| **name != giver.name);
        for ancestor in above.filter_map(|name| by_name.get(name)) {
            // Not the ancestor's scope less the giver's rules: what the giver denies itself is no part of its scope.
            let beyond = ancestor
                .scope()
                .conflict_beyond(&entry.scope(), &giver.scope());
            if let Some((held, requested)) = beyond {
                let conflict = Conflict {
                    entry: ancestor,
                    held,
                    requested,
                };
                return Err(conflict.into_error());
            }
        }
        Ok(family)
    }

    /// Refuses the scope that the entry `name` has now, and had not `before`, if it exceeds that of the
    /// entry's parent, or conflicts with an entry outside the family or with a descendant.
    fn ensure_allowed(&self, name: &str, before: &Table) -> Result<()> {
        let entry = self.get(name)?;
        let parent = entry.parent.as_deref();
        let mut family = HashSet::from([name]);
        if let Some(parent) = parent.and_then(|parent| self.find(parent)) {
            // An entry that exceeded its parent before was made by `delegate_within`.
            let before = before.get(name)?;
            if parent.scope().covers_scope(&before.scope()) {
                ensure_subset(parent, &entry.scope())?;
            }
            family.extend(self.ensure_given(parent, entry)?);
        }
        let descendants = self.descendants(name);
        family.extend(&descendants);
        self.ensure_no_conflict(&entry.scope(), &family)?;
        let kept = entry.scope_without(self.children(name));
        let others: HashSet<&str> = self
            .entries
            .iter()
            .map(|other| other.name.as_str())
            .filter(|other| *other == name || !descendants.contains(other))
            .collect();
        self.ensure_no_conflict(&kept, &others)
    }

    fn ensure_free_name(&self, name: &str) -> Result<()> {
        match self.find(name) {
            Some(existing) => Err(TableError::DuplicateName {
                name: existing.name.clone(),
                pid: existing.pid,
                is_placeholder: existing.is_placeholder(),
                liveness: None,
                table: None,
            }),
            None => Ok(()),
        }
    }

    /// Refuses a `segment` that an entry other than `writer` writes.
    fn ensure_free_segment(&self, segment: &str, writer: Option<&str>) -> Result<()> {
        ensure_no_nul(segment)?;
        let writes = |entry: &&Entry| is_same_segment(entry.segment.as_deref(), Some(segment));
        let mut others = self.entries.iter().filter(writes);
        match others.find(|entry| Some(entry.name.as_str()) != writer) {
            Some(other) => Err(TableError::SegmentConflict {
                segment: segment.to_owned(),
                entry: other.name.clone(),
                pid: other.pid,
                socket: other.socket.clone(),
                liveness: None,
                table: None,
            }),
            None => Ok(()),
        }
    }

    fn ensure_no_conflict(&self, requested: &Scope<'_>, exempt: &HashSet<&str>) -> Result<()> {
        let conflicts = self.conflicting_entries(requested, exempt);
        match conflicts.into_iter().next() {
            Some(conflict) => Err(conflict.into_error()),
            None => Ok(()),
        }
    }
}

/// Gives each of the `alive` entries the nearest ancestor that is not `dead` for a parent.
fn hand_to_ancestors(alive: &mut [Entry], dead: &[Entry]) {
    let mut parents_of_dead: HashMap<&str, Option<&str>> = HashMap::new();
    for entry in dead {
        parents_of_dead.insert(&entry.name, entry.parent.as_deref());
    }
    // A foreign program may have written two entries with one name, one of them alive: then the
    // name still has an entry that can be a parent.
    for entry in alive.iter() {
        parents_of_dead.remove(entry.name.as_str());
    }
    for entry in alive {
        let ancestor = surviving_ancestor(&parents_of_dead, entry.parent.as_deref());
        entry.parent = ancestor.map(str::to_owned);
    }
}

/// The first of `parent`, the parent's parent and so on that is not dead.
fn surviving_ancestor<'a>(
    parents_of_dead: &HashMap<&str, Option<&'a str>>,
    parent: Option<&'a str>,
) -> Option<&'a str> {
    let mut ancestor = parent?;
    // Not more steps than there are dead names: a foreign program may have written a cycle.
    for _ in 0..=parents_of_dead.len() {
        match parents_of_dead.get(ancestor) {
            Some(next) => ancestor = (*next)?,
            None => return Some(ancestor),
        }
    }
    None
}

fn ensure_subset(parent: &Entry, requested: &Scope<'_>) -> Result<()> {
    match parent.scope().first_not_covered(requested) {
        Some(rule) => Err(not_subset(&parent.name, rule)),
        None => Ok(()),
    }
}

/// What `rules` grant.
fn granting(rules: &[ScopeRule]) -> Scope<'_> {
    Scope {
        allow: rules.iter().collect(),
        deny: Vec::new(),
    }
}

/// Whether the scope of `entry` lies within what the caller says that it has delegated.
fn is_described(entry: &Entry, delegated: &[ScopeRule]) -> bool {
    !delegated.is_empty() && granting(delegated).covers_scope(&entry.scope())
}

fn not_subset(parent: &str, rule: &ScopeRule) -> TableError {
    TableError::NotSubset {
        parent: parent.to_owned(),
        rule: Box::new(rule.clone()),
    }
}

fn not_a_child(parent: &str, entry: &Entry) -> TableError {
    TableError::NotAChild {
        parent: parent.to_owned(),
        name: entry.name.clone(),
        delegated_from: entry.parent.clone(),
        table: None,
    }
}

fn unknown(name: &str) -> TableError {
    TableError::UnknownName {
        name: name.to_owned(),
        table: None,
    }
}
