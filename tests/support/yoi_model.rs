//! What the operations of `yoi` do, the program whose format the allocation table is: a model, written
//! from the observed rules. The operations of the table are compared with it.
//!
//! It finds the holder of a scope from the top of each tree of delegations down, and a claim is free if
//! no tree has a holder whom the claim does not deny itself as a whole.

use std::path::Path;

use rvlf::table::{Entry, EntryHolder, Permission, ScopeRule, Table};

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Done,
    DuplicateName,
    SegmentConflict,
    WriteConflict,
    NotSubset,
    UnknownName,
    NotAPlaceholder,
    NotAChild,
}

/// One operation, with all that it needs.
#[derive(Clone, Debug)]
pub enum Operation {
    Register {
        name: String,
        allow: Vec<ScopeRule>,
        deny: Vec<ScopeRule>,
        segment: String,
    },
    Delegate {
        parent: String,
        name: String,
        allow: Vec<ScopeRule>,
        /// Whatever the parent may hand out, which need not be what it may do.
        authority: Vec<ScopeRule>,
    },
    Adopt {
        name: String,
        segment: String,
        pid: u32,
    },
    UpdateSegment {
        name: String,
        segment: String,
    },
    Release {
        name: String,
    },
    Reclaim {
        parent: String,
        child: String,
        delegated: Vec<ScopeRule>,
    },
    Die {
        pid: u32,
    },
}

/// Does `operation` as `yoi` does. A refusal changes nothing.
pub fn apply(table: &mut Table, operation: &Operation) -> Outcome {
    match operation {
        Operation::Register {
            name,
            allow,
            deny,
            segment,
        } => {
            let refusal = register_refusal(table, name, allow, deny, segment);
            let entry = || new_entry(name, allow, deny, None, Some(segment));
            add(table, refusal, entry)
        }
        Operation::Delegate {
            parent,
            name,
            allow,
            authority,
        } => {
            let refusal = delegate_refusal(table, parent, name, allow, authority);
            let entry = || new_entry(name, allow, &[], Some(parent), None);
            add(table, refusal, entry)
        }
        Operation::Adopt { name, segment, pid } => match table.find_mut(name) {
            Some(entry) => {
                entry.pid = *pid;
                entry.segment = Some(segment.clone());
                Outcome::Done
            }
            None => Outcome::UnknownName,
        },
        Operation::UpdateSegment { name, segment } => {
            let other = table.find_by_segment(segment);
            if other.is_some_and(|other| other.name != *name) {
                return Outcome::SegmentConflict;
            }
            match table.find_mut(name) {
                Some(entry) => {
                    entry.segment = Some(segment.clone());
                    Outcome::Done
                }
                None => Outcome::UnknownName,
            }
        }
        Operation::Release { name } => match remove(table, name) {
            true => Outcome::Done,
            false => Outcome::UnknownName,
        },
        Operation::Reclaim {
            parent,
            child,
            delegated,
        } => {
            for rule in delegated.iter().filter(|rule| writes(rule)) {
                let deny = table.find_mut(parent).map(|entry| &mut entry.deny);
                let place = deny
                    .as_ref()
                    .and_then(|deny| deny.iter().position(|denied| denied == rule));
                if let (Some(deny), Some(place)) = (deny, place) {
                    deny.remove(place);
                }
            }
            remove(table, child);
            Outcome::Done
        }
        Operation::Die { pid } => {
            let dead = table.entries.iter().filter(|entry| entry.pid == *pid);
            let dead: Vec<String> = dead.map(|entry| entry.name.clone()).collect();
            for name in dead {
                remove(table, &name);
            }
            Outcome::Done
        }
    }
}

fn register_refusal(
    table: &Table,
    name: &str,
    allow: &[ScopeRule],
    deny: &[ScopeRule],
    segment: &str,
) -> Option<Outcome> {
    if table.find(name).is_some() {
        return Some(Outcome::DuplicateName);
    }
    if table.find_by_segment(segment).is_some() {
        return Some(Outcome::SegmentConflict);
    }
    let is_held = |rule: &ScopeRule| {
        let mut holders = holders(table, rule).into_iter();
        holders.any(|(_, held)| !deny.iter().any(|deny| writes(deny) && covers(deny, held)))
    };
    // If one holder of a rule is not denied, the rule is held.
    allow.iter().any(is_held).then_some(Outcome::WriteConflict)
}

fn delegate_refusal(
    table: &Table,
    parent: &str,
    name: &str,
    allow: &[ScopeRule],
    authority: &[ScopeRule],
) -> Option<Outcome> {
    if table.find(name).is_some() {
        return Some(Outcome::DuplicateName);
    }
    if table.find(parent).is_none() {
        return Some(Outcome::UnknownName);
    }
    allow.iter().find_map(|rule| {
        if !authority.iter().any(|may| covers(may, rule)) {
            return Some(Outcome::NotSubset);
        }
        let is_held = holders(table, rule)
            .iter()
            .any(|(entry, _)| entry.name != parent);
        is_held.then_some(Outcome::WriteConflict)
    })
}

/// The deepest holder of what `rule` writes in each tree of delegations, and its rule.
fn holders<'a>(table: &'a Table, rule: &ScopeRule) -> Vec<(&'a Entry, &'a ScopeRule)> {
    if !writes(rule) {
        return Vec::new();
    }
    let roots = table.entries.iter().filter(|entry| entry.parent.is_none());
    roots
        .filter_map(|root| holder_below(table, root, rule))
        .collect()
}

fn holder_below<'a>(
    table: &'a Table,
    entry: &'a Entry,
    rule: &ScopeRule,
) -> Option<(&'a Entry, &'a ScopeRule)> {
    let held = entry
        .allow
        .iter()
        .find(|held| writes(held) && overlap(held, rule))?;
    if entry
        .deny
        .iter()
        .any(|deny| writes(deny) && covers(deny, rule))
    {
        return None;
    }
    let mut below = table.children(&entry.name);
    let deeper = below.find_map(|child| holder_below(table, child, rule));
    Some(deeper.unwrap_or((entry, held)))
}

fn writes(rule: &ScopeRule) -> bool {
    rule.permission == Permission::Write
}

/// Whether some path belongs to both rules.
fn overlap(one: &ScopeRule, other: &ScopeRule) -> bool {
    reaches(one, &other.target) || reaches(other, &one.target)
}

fn reaches(rule: &ScopeRule, path: &Path) -> bool {
    let target = rule.target.as_path();
    path == target || path.parent() == Some(target) || rule.recursive && path.starts_with(target)
}

fn covers(one: &ScopeRule, other: &ScopeRule) -> bool {
    one.permission >= other.permission
        && if one.recursive {
            other.target.starts_with(&one.target)
        } else {
            one.target == other.target && !other.recursive
        }
}

fn add(table: &mut Table, refusal: Option<Outcome>, entry: impl FnOnce() -> Entry) -> Outcome {
    match refusal {
        Some(refusal) => refusal,
        None => {
            table.entries.push(entry());
            Outcome::Done
        }
    }
}

/// The pid of what is registered or delegated; an adoption changes it.
pub const PID: u32 = 1;

fn new_entry(
    name: &str,
    allow: &[ScopeRule],
    deny: &[ScopeRule],
    parent: Option<&String>,
    segment: Option<&String>,
) -> Entry {
    let mut entry = Entry::new(name, EntryHolder::from_pid(PID));
    entry.allow = allow.to_vec();
    entry.deny = deny.to_vec();
    entry.parent = parent.cloned();
    entry.segment = segment.cloned();
    entry
}

/// Removes an entry and hands its children to its parent. False if there is none.
fn remove(table: &mut Table, name: &str) -> bool {
    let Some(place) = table.entries.iter().position(|entry| entry.name == name) else {
        return false;
    };
    let removed = table.entries.remove(place);
    for entry in &mut table.entries {
        if entry.parent.as_deref() == Some(name) {
            entry.parent.clone_from(&removed.parent);
        }
    }
    true
}
