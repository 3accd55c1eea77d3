//! What can be done to a table: pure changes in memory, judged by its scopes alone.
//!
//! Two rules hold of every table that only these operations have changed:
//!
//! 1. What two entries may write is disjoint, unless one has its scope from the other.
//! 2. What an entry may do, the entry that delegated it may do, too.
//!
//! So what each holder effectively has (its own less what it has delegated) is disjoint from what
//! every other has, and stays so when an entry goes and its children are handed to its parent.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::allocation::{Entry, HolderId, Table, lineage};
use super::error::{PathProblem, TableError};
use super::scope::{Scope, ScopeRule, normalize};

type Outcome<T> = Result<T, TableError>;

/// What somebody wants to hold: a name, and rules.
///
/// ```
/// use rvlf::table::{Claim, ScopeRule};
///
/// let claim = Claim::new("indexer")
///     .allow(ScopeRule::write("/data/index"))
///     .allow(ScopeRule::read("/data"))
///     .deny(ScopeRule::write("/data/index/frozen"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a claim is nothing until it is registered or delegated"]
pub struct Claim {
    name: String,
    socket: PathBuf,
    allow: Vec<ScopeRule>,
    deny: Vec<ScopeRule>,
}

impl Claim {
    /// A claim to nothing yet, under a name that no other entry of the table has.
    pub fn new(name: impl Into<String>) -> Claim {
        Claim {
            name: name.into(),
            socket: PathBuf::new(),
            allow: Vec::new(),
            deny: Vec::new(),
        }
    }

    /// Where the holder can be reached. Others read it; the table attaches no meaning to it.
    pub fn socket(mut self, path: impl Into<PathBuf>) -> Claim {
        self.socket = path.into();
        self
    }

    /// Asks for what `rule` says.
    pub fn allow(mut self, rule: ScopeRule) -> Claim {
        self.allow.push(rule);
        self
    }

    /// Leaves out what `rule` says, though other rules ask for it.
    pub fn deny(mut self, rule: ScopeRule) -> Claim {
        self.deny.push(rule);
        self
    }

    /// The claim's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The entry for this claim, its paths tidied.
    fn to_entry(&self, process: &EntryHolder) -> Outcome<Entry> {
        if self.socket.to_str().is_none() {
            return Err(invalid(&self.socket, PathProblem::NotUtf8));
        }
        let EntryHolder { pid, id: holder } = process.clone();
        Ok(Entry {
            socket: self.socket.clone(),
            allow: checked(&self.allow)?,
            deny: checked(&self.deny)?,
            ..Entry::new(self.name.clone(), pid, holder)
        })
    }
}

fn checked(rules: &[ScopeRule]) -> Outcome<Vec<ScopeRule>> {
    let check = |rule: &ScopeRule| {
        if !rule.target.is_absolute() {
            return Err(invalid(&rule.target, PathProblem::Relative));
        }
        if rule.target.to_str().is_none() {
            return Err(invalid(&rule.target, PathProblem::NotUtf8));
        }
        let target = normalize(&rule.target);
        Ok(ScopeRule {
            target,
            ..rule.clone()
        })
    };
    rules.iter().map(check).collect()
}

fn invalid(path: &Path, problem: PathProblem) -> TableError {
    TableError::InvalidPath {
        path: path.to_owned(),
        problem,
    }
}

/// A process that may hold an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryHolder {
    /// Its id in its own pid namespace.
    pub pid: u32,
    /// Which process that is, exactly.
    pub id: Option<HolderId>,
}

impl EntryHolder {
    /// A process of which the pid alone is known.
    #[must_use]
    pub fn from_pid(pid: u32) -> EntryHolder {
        EntryHolder { pid, id: None }
    }
}

/// An entry that has what somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict<'a> {
    /// The entry that really has it: where scopes were delegated, the deepest.
    pub entry: &'a Entry,
    /// Its rule that is in the way.
    pub rule: &'a ScopeRule,
    /// The rule that was asked for.
    wanted: &'a ScopeRule,
}

impl Conflict<'_> {
    fn into_error(self) -> TableError {
        TableError::WriteConflict {
            entry: self.entry.name.clone(),
            requested: Box::new(self.wanted.clone()),
            held: Box::new(self.rule.clone()),
        }
    }
}

impl Table {
    /// The entries that may write some of what `rule` would write. None for a rule to read.
    ///
    /// Where a scope was delegated, those who really have it: not the parent that gave it away.
    #[must_use]
    pub fn conflicts<'a>(&'a self, rule: &'a ScopeRule) -> Vec<Conflict<'a>> {
        let wanted = Scope {
            allow: vec![rule],
            deny: Vec::new(),
        };
        self.conflicting_entries(&wanted, &HashSet::new())
    }

    /// The deepest entries not in `exempt` that may write some of what `wanted` may write.
    fn conflicting_entries<'a>(
        &'a self,
        wanted: &Scope<'a>,
        exempt: &HashSet<&str>,
    ) -> Vec<Conflict<'a>> {
        let others = { self.entries.iter() }.filter(|entry| !exempt.contains(entry.name.as_str()));
        let overlapping: Vec<Conflict<'a>> = others
            .filter_map(|entry| {
                let (rule, wanted) = entry.scope().conflict(wanted)?;
                Some(Conflict {
                    entry,
                    rule,
                    wanted,
                })
            })
            .collect();
        // The usual answer costs no second look at the table.
        if overlapping.len() <= 1 {
            return overlapping;
        }
        let children = self.by_parent();
        let children = |entry: &Entry| children.get(entry.name.as_str()).into_iter().flatten();
        let really_has = |entry: &'a Entry| {
            let kept = entry.scope_without(children(entry).copied());
            kept.conflict(wanted).is_some()
                // Denied to the child that it was delegated to: still the parent's to give.
                || !children(entry).any(|child| child.scope().conflict(wanted).is_some())
        };
        let mut deepest = overlapping.clone();
        deepest.retain(|conflict| really_has(conflict.entry));
        // In a circle of parents everybody has given everything away: then all of them are meant.
        if deepest.is_empty() {
            overlapping
        } else {
            deepest
        }
    }

    /// Adds an entry that nobody has delegated.
    ///
    /// # Errors
    ///
    /// [`DuplicateName`](TableError::DuplicateName),
    /// [`SegmentConflict`](TableError::SegmentConflict),
    /// [`WriteConflict`](TableError::WriteConflict) or [`InvalidPath`](TableError::InvalidPath);
    /// the table is as before.
    pub fn register(&mut self, claim: &Claim, segment: &str, process: &EntryHolder) -> Outcome<()> {
        let mut entry = claim.to_entry(process)?;
        self.refuse_duplicate(&entry)?;
        self.refuse_held_segment(segment, None)?;
        self.refuse_conflict(&entry.scope(), &HashSet::new())?;
        entry.segment = Some(segment.to_owned());
        self.entries.push(entry);
        Ok(())
    }

    /// Adds a placeholder with a part of `parent`'s scope, held by `process` until it is adopted.
    ///
    /// # Errors
    ///
    /// [`UnknownName`](TableError::UnknownName) for the parent,
    /// [`DuplicateName`](TableError::DuplicateName), [`NotSubset`](TableError::NotSubset),
    /// [`WriteConflict`](TableError::WriteConflict) with another child or anybody else, or
    /// [`InvalidPath`](TableError::InvalidPath); the table is as before.
    pub fn delegate(&mut self, parent: &str, claim: &Claim, process: &EntryHolder) -> Outcome<()> {
        let mut entry = claim.to_entry(process)?;
        self.refuse_duplicate(&entry)?;
        let giver = self.find(parent).ok_or_else(|| unknown(parent))?;
        refuse_excess(giver, &entry.scope())?;
        self.refuse_conflict(&entry.scope(), &lineage(&self.by_name(), parent))?;
        entry.parent = Some(parent.to_owned());
        self.entries.push(entry);
        Ok(())
    }

    /// Gives the placeholder `name` to `process`, which writes `segment`.
    ///
    /// # Errors
    ///
    /// [`UnknownName`](TableError::UnknownName), [`NotAPlaceholder`](TableError::NotAPlaceholder)
    /// if somebody else was first, or [`SegmentConflict`](TableError::SegmentConflict); the table
    /// is as before.
    pub fn adopt(&mut self, name: &str, segment: &str, process: &EntryHolder) -> Outcome<()> {
        self.refuse_held_segment(segment, Some(name))?;
        let entry = self.find_mut(name).ok_or_else(|| unknown(name))?;
        if !entry.is_placeholder() {
            return Err(TableError::NotAPlaceholder {
                name: name.to_owned(),
                pid: entry.pid,
            });
        }
        entry.pid = process.pid;
        entry.holder.clone_from(&process.id);
        entry.segment = Some(segment.to_owned());
        Ok(())
    }

    /// Says that `name` writes `segment` from now on.
    ///
    /// # Errors
    ///
    /// [`UnknownName`](TableError::UnknownName) or
    /// [`SegmentConflict`](TableError::SegmentConflict); the table is as before.
    pub fn update_segment(&mut self, name: &str, segment: &str) -> Outcome<()> {
        self.refuse_held_segment(segment, Some(name))?;
        let entry = self.find_mut(name).ok_or_else(|| unknown(name))?;
        entry.segment = Some(segment.to_owned());
        Ok(())
    }

    /// Removes the entry `name` and gives it back. Its children are handed to its parent, to whom
    /// their scopes go back when they end.
    ///
    /// # Errors
    ///
    /// [`UnknownName`](TableError::UnknownName).
    pub fn release(&mut self, name: &str) -> Outcome<Entry> {
        let mut entries = self.entries.iter();
        let position = entries.position(|entry| entry.name == name);
        let position = position.ok_or_else(|| unknown(name))?;
        let removed = self.entries.remove(position);
        for entry in &mut self.entries {
            if entry.parent.as_deref() == Some(name) {
                entry.parent.clone_from(&removed.parent);
            }
        }
        Ok(removed)
    }

    /// Takes back what `parent` had delegated to `child`, which has ended or was told to.
    ///
    /// Removes the child's entry, if there still is one, and for every rule of `delegated` that
    /// writes, one equal rule from the parent's denials: a parent that registers anew after a crash
    /// denies itself what its old children may still hold, and reclaims it child by child. These
    /// are nobody's children by then, and known by what they have: no more than the parent with
    /// `delegated`.
    ///
    /// # Errors
    ///
    /// [`UnknownName`](TableError::UnknownName) for the parent;
    /// [`NotAChild`](TableError::NotAChild); [`WriteConflict`](TableError::WriteConflict) or
    /// [`NotSubset`](TableError::NotSubset) if the parent must not have what was denied to it,
    /// because somebody else does. The table is as before.
    pub fn reclaim_delegated(
        &mut self,
        parent: &str,
        child: &str,
        delegated: &[ScopeRule],
    ) -> Outcome<()> {
        let mut after = self.clone();
        let giver = after.find_mut(parent).ok_or_else(|| unknown(parent))?;
        for rule in delegated.iter().filter(|rule| rule.is_write()) {
            let mut denials = giver.deny.iter();
            let same = denials.position(|denied| denied.covers(rule) && rule.covers(denied));
            if let Some(position) = same {
                giver.deny.remove(position);
            }
        }
        after.refuse_foreign(parent, child)?;
        if child != parent && after.find(child).is_some() {
            after.release(child)?;
        }
        after.refuse_grown(parent)?;
        *self = after;
        Ok(())
    }

    /// Whether `child`, if there is one, is or was the child of `parent`. One that nobody has
    /// delegated may have lost its parent when that crashed, or be a stranger with the name of a
    /// child that has ended: no stranger's scope lies within the parent's.
    fn refuse_foreign(&self, parent: &str, child: &str) -> Outcome<()> {
        let (Some(giver), Some(entry)) = (self.find(parent), self.find(child)) else {
            return Ok(());
        };
        let is_ours = match entry.parent.as_deref() {
            Some(from) => from == parent,
            None if child == parent => true,
            None => {
                giver.scope().covers_scope(&entry.scope())
                    && !lineage(&self.by_name(), parent).contains(child)
            }
        };
        if is_ours {
            return Ok(());
        }
        Err(TableError::NotAChild {
            parent: parent.to_owned(),
            name: child.to_owned(),
            delegated_from: entry.parent.clone(),
        })
    }

    /// Whether `name` may have the scope that it has grown to.
    fn refuse_grown(&self, name: &str) -> Outcome<()> {
        let entry = self.find(name).ok_or_else(|| unknown(name))?;
        let giver = entry.parent.as_deref();
        if let Some(giver) = giver.and_then(|giver| self.find(giver)) {
            refuse_excess(giver, &entry.scope())?;
        }
        let mut family = lineage(&self.by_name(), name);
        family.extend(self.descendants(name));
        self.refuse_conflict(&entry.scope(), &family)
    }

    /// Removes every entry that `is_dead` says so of, and gives them back. Children are handed to
    /// the nearest ancestor that stays.
    pub fn reclaim_stale_with(&mut self, mut is_dead: impl FnMut(&Entry) -> bool) -> Vec<Entry> {
        let entries = std::mem::take(&mut self.entries);
        let (dead, mut alive): (Vec<_>, Vec<_>) = entries.into_iter().partition(&mut is_dead);
        if !dead.is_empty() {
            let mut heirs: HashMap<&str, Option<&str>> = HashMap::new();
            for entry in &dead {
                heirs.insert(&entry.name, entry.parent.as_deref());
            }
            // A name that somebody living bears, too, is still there to be a parent.
            for entry in &alive {
                heirs.remove(entry.name.as_str());
            }
            for entry in &mut alive {
                let mut parent = entry.parent.as_deref();
                // As many steps as there are dead: a table of others may go round in a circle.
                let mut steps = 0..=dead.len();
                while let Some(heir) = parent.and_then(|name| heirs.get(name)) {
                    parent = steps.next().and(*heir);
                }
                entry.parent = parent.map(str::to_owned);
            }
        }
        self.entries = alive;
        dead
    }

    fn descendants<'a>(&'a self, name: &'a str) -> HashSet<&'a str> {
        let children = self.by_parent();
        let mut found = HashSet::new();
        let mut next = vec![name];
        while let Some(parent) = next.pop() {
            for child in children.get(parent).into_iter().flatten() {
                if found.insert(child.name.as_str()) {
                    next.push(&child.name);
                }
            }
        }
        found
    }

    fn refuse_duplicate(&self, entry: &Entry) -> Outcome<()> {
        match self.find(&entry.name) {
            Some(existing) => Err(TableError::DuplicateName {
                name: existing.name.clone(),
                pid: existing.pid,
            }),
            None => Ok(()),
        }
    }

    /// Whether somebody other than `asker` writes `segment`.
    fn refuse_held_segment(&self, segment: &str, asker: Option<&str>) -> Outcome<()> {
        let mut others = self.entries.iter();
        let competitor = others.find(|entry| {
            entry.segment.as_deref() == Some(segment) && Some(entry.name.as_str()) != asker
        });
        match competitor {
            Some(competitor) => Err(TableError::SegmentConflict {
                segment: segment.to_owned(),
                entry: competitor.name.clone(),
                socket: competitor.socket.clone(),
            }),
            None => Ok(()),
        }
    }

    fn refuse_conflict(&self, wanted: &Scope<'_>, exempt: &HashSet<&str>) -> Outcome<()> {
        match self.conflicting_entries(wanted, exempt).into_iter().next() {
            Some(conflict) => Err(conflict.into_error()),
            None => Ok(()),
        }
    }
}

fn refuse_excess(giver: &Entry, wanted: &Scope<'_>) -> Outcome<()> {
    match giver.scope().first_not_covered(wanted) {
        Some(rule) => Err(TableError::NotSubset {
            parent: giver.name.clone(),
            rule: Box::new(rule.clone()),
        }),
        None => Ok(()),
    }
}

fn unknown(name: &str) -> TableError {
    TableError::UnknownName {
        name: name.to_owned(),
    }
}
