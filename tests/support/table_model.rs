//! A naive model of the allocation table: paths in place of rules, and one list of paths for each holder.
//! The operations of the table are compared with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use rvlf::table::{Claim, Entry, EntryHolder, Permission, ScopeRule, Table};

const NAMES: u8 = 8;
const SEGMENTS: u8 = 8;
const PIDS: u8 = 5;

fn process(pid: u32) -> EntryHolder {
    EntryHolder::from_pid(pid)
}

#[derive(Clone, Debug, Default)]
struct Model {
    entries: BTreeMap<String, ModelEntry>,
}

#[derive(Clone, Debug)]
struct ModelEntry {
    /// The paths that the entry may write, delegated or not.
    own: BTreeSet<PathBuf>,
    parent: Option<String>,
    segment: Option<String>,
    pid: u32,
}

impl Model {
    fn lineage(&self, name: &str) -> BTreeSet<String> {
        let mut lineage = BTreeSet::new();
        let mut next = Some(name.to_owned());
        while let Some(name) = next {
            next = self
                .entries
                .get(&name)
                .and_then(|entry| entry.parent.clone());
            lineage.insert(name);
        }
        lineage
    }

    fn is_free(&self, paths: &BTreeSet<PathBuf>, exempt: &BTreeSet<String>) -> bool {
        let mut others = self
            .entries
            .iter()
            .filter(|(name, _)| !exempt.contains(*name));
        others.all(|(_, entry)| entry.own.is_disjoint(paths))
    }

    fn segment_is_free(&self, segment: &str, asker: &str) -> bool {
        let mut others = self.entries.iter().filter(|(name, _)| *name != asker);
        others.all(|(_, entry)| entry.segment.as_deref() != Some(segment))
    }

    /// Also if it may have been one before its parent crashed, and if it does not exist.
    fn is_child(&self, child: &str, parent: &str) -> bool {
        let (Some(entry), Some(giver)) = (self.entries.get(child), self.entries.get(parent)) else {
            return true;
        };
        match &entry.parent {
            Some(from) => from == parent,
            None if child == parent => true,
            None => entry.own.is_subset(&giver.own) && !self.lineage(parent).contains(child),
        }
    }

    fn remove(&mut self, name: &str) -> bool {
        let Some(removed) = self.entries.remove(name) else {
            return false;
        };
        for entry in self.entries.values_mut() {
            if entry.parent.as_deref() == Some(name) {
                entry.parent.clone_from(&removed.parent);
            }
        }
        true
    }

    fn effective(&self, name: &str) -> BTreeSet<PathBuf> {
        let entry = self.entries.get(name);
        let mut paths = entry.map(|entry| entry.own.clone()).unwrap_or_default();
        for child in self
            .entries
            .values()
            .filter(|child| child.parent.as_deref() == Some(name))
        {
            paths = &paths - &child.own;
        }
        paths
    }
}

#[derive(Clone, Debug)]
pub enum Step {
    Register {
        name: u8,
        rules: Vec<(u8, bool)>,
        segment: u8,
        pid: u32,
    },
    Delegate {
        parent: u8,
        name: u8,
        rules: Vec<(u8, bool)>,
        pid: u32,
    },
    Adopt {
        name: u8,
        segment: u8,
        pid: u32,
    },
    Segment {
        name: u8,
        segment: u8,
    },
    Release {
        name: u8,
    },
    Reclaim {
        parent: u8,
        child: u8,
    },
    Die {
        pid: u32,
    },
}

/// The part of a rule behind its base, which is a directory of the data or the scope of the parent. The
/// trees are shallow, so that claims conflict.
const SUFFIXES: [&str; 6] = ["", "a", "b", "a/a", "a/b", "b/a"];
const DIRECTORIES: [&str; 3] = ["/a", "/b", "/c"];

/// The depth of a target at most: the universe has a child and a grandchild below it that no rule names.
const DEEPEST: usize = 3;

/// Decodes steps from bytes. Any bytes are valid steps, so that a fuzzer can choose them.
pub fn steps(bytes: &[u8]) -> Vec<Step> {
    let mut bytes = bytes.iter().copied();
    std::iter::from_fn(|| step(&mut bytes)).collect()
}

fn step(bytes: &mut impl Iterator<Item = u8>) -> Option<Step> {
    let kind = bytes.next()?;
    let mut below = |limit: u8| bytes.next().map(|byte| byte % limit);
    let name = below(u8::MAX)?;
    Some(match kind % 15 {
        0..3 => Step::Register {
            name,
            segment: below(SEGMENTS)?,
            pid: below(PIDS)?.into(),
            rules: rules(bytes)?,
        },
        3..8 => Step::Delegate {
            name,
            parent: below(u8::MAX)?,
            pid: below(PIDS)?.into(),
            rules: rules(bytes)?,
        },
        8..11 => Step::Adopt {
            name,
            segment: below(SEGMENTS)?,
            pid: below(PIDS)?.into(),
        },
        11 => Step::Segment {
            name,
            segment: below(SEGMENTS)?,
        },
        12 => Step::Release { name },
        13 => Step::Reclaim {
            parent: name,
            child: below(u8::MAX)?,
        },
        _ => Step::Die {
            pid: below(PIDS)?.into(),
        },
    })
}

/// One rule or two: the part behind the base, and whether the rule is recursive.
fn rules(bytes: &mut impl Iterator<Item = u8>) -> Option<Vec<(u8, bool)>> {
    let first = bytes.next()?;
    let second = (first % 4 == 3).then(|| bytes.next()).flatten();
    let rule = |byte: u8| (byte / 8, byte % 4 != 1);
    Some(std::iter::once(first).chain(second).map(rule).collect())
}

fn pick<T: Copy>(choices: &[T], byte: u8) -> T {
    let index = usize::from(byte) % choices.len();
    *choices.get(index).expect("a remainder is below the length")
}

fn universe() -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::from("/")];
    let mut last = paths.clone();
    for _ in 0..5 {
        last = last
            .iter()
            .flat_map(|path| ["a", "b", "c", "z"].map(|name| path.join(name)))
            .collect();
        paths.extend_from_slice(&last);
    }
    paths
}

fn to_rules(base: &Path, rules: &[(u8, bool)]) -> Vec<ScopeRule> {
    let rule = |(suffix, recursive): &(u8, bool)| {
        let target = base.join(pick(&SUFFIXES, *suffix));
        let target: PathBuf = target.components().take(DEEPEST + 1).collect();
        let rule = ScopeRule::write(target);
        if *recursive { rule } else { rule.shallow() }
    };
    rules.iter().map(rule).collect()
}

/// A name for a new entry. The name may be taken.
fn new_name(byte: u8) -> String {
    format!("e{}", byte % NAMES)
}

/// Mostly the name of an entry.
fn known_name(model: &Model, byte: u8) -> String {
    let names: Vec<&String> = model.entries.keys().collect();
    if byte < 16 || names.is_empty() {
        new_name(byte)
    } else {
        pick(&names, byte).clone()
    }
}

fn paths_of(rules: &[ScopeRule], universe: &[PathBuf]) -> BTreeSet<PathBuf> {
    let claimed = |path: &&PathBuf| {
        rules.iter().any(|rule| {
            path.starts_with(&rule.target)
                && (rule.recursive
                    || path.components().count() <= rule.target.components().count() + 1)
        })
    };
    universe.iter().filter(claimed).cloned().collect()
}

/// Applies one step to both. Returns whether each accepted the step.
fn apply(step: &Step, table: &mut Table, model: &mut Model, universe: &[PathBuf]) -> (bool, bool) {
    match step {
        Step::Register {
            name,
            rules,
            segment,
            pid,
        } => {
            let base = Path::new(pick(&DIRECTORIES, *pid as u8));
            let claim = NewClaim::new(*name, base, rules, universe);
            register(claim, format!("s{segment}"), *pid, table, model)
        }
        Step::Delegate {
            parent,
            name,
            rules,
            pid,
        } => {
            let parent = known_name(model, *parent);
            let delegating = table.find(&parent).and_then(|entry| entry.allow.first());
            let base = delegating.map_or(PathBuf::from("/a"), |rule| rule.target.clone());
            let claim = NewClaim::new(*name, &base, rules, universe);
            delegate(claim, parent, *pid, table, model)
        }
        Step::Adopt { name, segment, pid } => {
            let (name, segment) = (known_name(model, *name), format!("s{segment}"));
            adopt(&name, segment, *pid, table, model)
        }
        Step::Segment { name, segment } => {
            let (name, segment) = (known_name(model, *name), format!("s{segment}"));
            let done = table.update_segment(&name, &segment).is_ok();
            let free = model.segment_is_free(&segment, &name);
            let entry = model.entries.get_mut(&name).filter(|_| free);
            let entry = entry.map(|entry| entry.segment = Some(segment));
            (done, entry.is_some())
        }
        Step::Release { name } => {
            let name = known_name(model, *name);
            (table.release(&name).is_ok(), model.remove(&name))
        }
        Step::Reclaim { parent, child } => {
            let (parent, child) = (known_name(model, *parent), known_name(model, *child));
            let done = table.reclaim_delegated(&parent, &child, &[]).is_ok();
            let may = if model.entries.contains_key(&parent) {
                model.is_child(&child, &parent)
            } else {
                // A parent without an entry, which does not say what it had delegated.
                !model.entries.contains_key(&child)
            };
            if may && parent != child {
                model.remove(&child);
            }
            (done, may)
        }
        Step::Die { pid } => die(*pid, table, model),
    }
}

/// A claim of a new entry, and the paths of its rules.
struct NewClaim {
    name: String,
    claim: Claim,
    own: BTreeSet<PathBuf>,
}

impl NewClaim {
    fn new(name: u8, base: &Path, rules: &[(u8, bool)], universe: &[PathBuf]) -> NewClaim {
        let name = new_name(name);
        let rules = to_rules(base, rules);
        let own = paths_of(&rules, universe);
        let claim = rules.into_iter().fold(Claim::new(&name), Claim::allow);
        NewClaim { name, claim, own }
    }

    fn entry(self, parent: Option<String>, segment: Option<String>, pid: u32) -> ModelEntry {
        let own = self.own;
        ModelEntry {
            own,
            parent,
            segment,
            pid,
        }
    }
}

fn register(
    new: NewClaim,
    segment: String,
    pid: u32,
    table: &mut Table,
    model: &mut Model,
) -> (bool, bool) {
    let done = table.register(&new.claim, &segment, &process(pid)).is_ok();
    let may = !model.entries.contains_key(&new.name)
        && model.segment_is_free(&segment, &new.name)
        && model.is_free(&new.own, &BTreeSet::new());
    if may {
        let name = new.name.clone();
        let entry = new.entry(None, Some(segment), pid);
        model.entries.insert(name, entry);
    }
    (done, may)
}

fn delegate(
    new: NewClaim,
    parent: String,
    pid: u32,
    table: &mut Table,
    model: &mut Model,
) -> (bool, bool) {
    let done = table.delegate(&parent, &new.claim, &process(pid)).is_ok();
    let may = !model.entries.contains_key(&new.name)
        && model.entries.contains_key(&parent)
        && new.own.is_subset(&model.effective(&parent))
        && model.is_free(&new.own, &model.lineage(&parent));
    if may {
        let name = new.name.clone();
        let entry = new.entry(Some(parent), None, pid);
        model.entries.insert(name, entry);
    }
    (done, may)
}

fn adopt(
    name: &str,
    segment: String,
    pid: u32,
    table: &mut Table,
    model: &mut Model,
) -> (bool, bool) {
    let done = table.adopt(name, &segment, &process(pid)).is_ok();
    let free = model.segment_is_free(&segment, name);
    let entry = model.entries.get_mut(name);
    let entry = entry.filter(|entry| free && entry.segment.is_none());
    let entry = entry.map(|entry| (entry.segment, entry.pid) = (Some(segment), pid));
    (done, entry.is_some())
}

/// The process dies, and its entries are reclaimed.
fn die(pid: u32, table: &mut Table, model: &mut Model) -> (bool, bool) {
    let reclaimed = table.reclaim_stale_with(|entry| entry.pid == pid).len();
    let entries = model.entries.iter();
    let dead = entries.filter(|(_, entry)| entry.pid == pid);
    let dead: Vec<String> = dead.map(|(name, _)| name.clone()).collect();
    for name in &dead {
        model.remove(name);
    }
    (true, reclaimed == dead.len())
}

fn assert_agreement(table: &Table, model: &Model, universe: &[PathBuf]) {
    let names: BTreeSet<&str> = table
        .entries
        .iter()
        .map(|entry| entry.name.as_str())
        .collect();
    assert_eq!(
        names,
        model.entries.keys().map(String::as_str).collect(),
        "the same entries"
    );
    let mut writers: BTreeMap<&Path, &str> = BTreeMap::new();
    for entry in &table.entries {
        let expected = model.entries.get(&entry.name).expect("compared above");
        assert_eq!(entry.parent, expected.parent, "the parent of {entry}");
        assert_eq!(entry.segment, expected.segment, "the segment of {entry}");
        let scope = table
            .effective_write_scope(&entry.name)
            .expect("the entry is in the table");
        let effective = model.effective(&entry.name);
        for path in universe {
            let permits = scope.permits(path, Permission::Write);
            assert_eq!(permits, effective.contains(path), "{entry} at {path:?}");
            if permits {
                let other = writers.insert(path, &entry.name);
                assert_eq!(other, None, "two may write {path:?}: {other:?} and {entry}");
            }
        }
    }
    assert_eq!(table.problems(), [], "operations make no problems");
}

/// Applies the steps of `bytes` to a table and to the model, and compares both.
pub fn compare(bytes: &[u8]) {
    let universe = universe();
    let (mut table, mut model) = (Table::default(), Model::default());
    for step in steps(bytes) {
        let before = table.clone();
        let (done, may) = apply(&step, &mut table, &mut model, &universe);
        assert_eq!(done, may, "{step:?} on {before:?}");
        if !done {
            assert_eq!(table, before, "what is refused changes nothing: {step:?}");
        }
    }
    assert_agreement(&table, &model, &universe);
    let json = table.to_json().expect("all paths are UTF-8");
    let again = Table::parse(&json).expect("what was written can be read");
    assert_eq!(again, table);
}

/// Applies operations whose claims deny themselves parts, and that hand out more than their parent has: no path may
/// ever be two holders' to write.
pub fn keep_disjoint(bytes: &[u8]) {
    let universe = universe();
    let mut table = Table::default();
    let mut bytes = bytes.iter().copied();
    while let Some(done) = operate(&mut table, &mut bytes) {
        if done {
            assert_disjoint(&table, &universe);
        }
    }
}

/// Applies one operation. `None` at the end of the bytes, else whether it was accepted.
fn operate(table: &mut Table, bytes: &mut impl Iterator<Item = u8>) -> Option<bool> {
    let (kind, pid) = (bytes.next()?, u32::from(bytes.next()? % PIDS));
    let (name, other) = (new_name(bytes.next()?), new_name(bytes.next()?));
    let (allowed, denied) = (rules(bytes)?, rules(bytes)?);
    let base = Path::new(pick(&DIRECTORIES[..2], kind / 16));
    let (allow, deny) = (to_rules(base, &allowed), to_rules(base, &denied));
    let segment = format!("s-{name}");
    let mut claim = allow.iter().cloned().fold(Claim::new(&name), Claim::allow);
    if kind % 2 == 0 {
        claim = deny.iter().cloned().fold(claim, Claim::deny);
    }
    Some(match kind % 16 {
        0..3 => table.register(&claim, &segment, &process(pid)).is_ok(),
        3..6 => table.delegate(&other, &claim, &process(pid)).is_ok(),
        6..12 => {
            let all = [ScopeRule::write("/")];
            let delegated = table.delegate_within(&other, &all, &claim, &process(pid));
            delegated.is_ok()
        }
        12 | 13 => table.reclaim_delegated(&other, &name, &deny).is_ok(),
        14 => table.release(&name).is_ok(),
        _ => !table
            .reclaim_stale_with(|entry| entry.pid == pid)
            .is_empty(),
    })
}

fn assert_disjoint(table: &Table, universe: &[PathBuf]) {
    let mut writers: BTreeMap<&Path, &str> = BTreeMap::new();
    for entry in &table.entries {
        let scope = table.effective_write_scope(&entry.name);
        let scope = scope.expect("the entry is in the table");
        let written = |path: &&PathBuf| scope.permits(path, Permission::Write);
        for path in universe.iter().filter(written) {
            let other = writers.insert(path, &entry.name);
            assert_eq!(
                other, None,
                "two may write {path:?}: {entry} as well, in {table:?}"
            );
        }
    }
}

/// The entries that [`Table::problems`] reports for an overlap, by comparing every rule with every
/// other: those with a rule that conflicts with one of another family whose target is its own or lies
/// above it. With each entry come the names of those that it conflicts with.
pub fn overlapping(table: &Table) -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    for (index, one) in table.entries.iter().enumerate() {
        for (place, other) in table.entries.iter().enumerate() {
            let is_lower = |rule: &ScopeRule, above: &ScopeRule| {
                let (rule, above) = (plain(&rule.target), plain(&above.target));
                rule.starts_with(&above) && (rule != above || place < index)
            };
            let conflicts = one.allow.iter().any(|rule| {
                let mut others = other.allow.iter();
                others.any(|above| {
                    is_lower(rule, above)
                        && only(one, rule)
                            .scope()
                            .conflict(&only(other, above).scope())
                            .is_some()
                })
            });
            if index != place && conflicts && !is_family(table, one, other) {
                let names: &mut BTreeSet<_> = found.entry(one.name.clone()).or_default();
                names.insert(other.name.clone());
            }
        }
    }
    found
}

/// `entry` with one of its rules alone.
fn only(entry: &Entry, rule: &ScopeRule) -> Entry {
    let mut entry = entry.clone();
    entry.allow = vec![rule.clone()];
    entry
}

/// Whether one of the two is an ancestor of the other, or has its name.
fn is_family(table: &Table, one: &Entry, other: &Entry) -> bool {
    ancestors(table, &one.name).contains(&other.name)
        || ancestors(table, &other.name).contains(&one.name)
}

/// `name`, its parent, the parent's parent, and so on.
pub fn ancestors(table: &Table, name: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut next = Some(name.to_owned());
    while let Some(name) = next.filter(|name| names.insert(name.clone())) {
        // The last entry of a name counts.
        let named = table.entries.iter().rev().find(|entry| entry.name == name);
        next = named.and_then(|entry| entry.parent.clone());
    }
    names
}

/// The path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

/// Any table that a program or a person may have written: with names that repeat, parents that are
/// missing or in a cycle, and rules of any kind.
pub fn any_table(bytes: &[u8]) -> Table {
    let mut table = Table::default();
    let mut bytes = bytes.iter().copied();
    while let Some(entry) = any_entry(&mut bytes) {
        table.entries.push(entry);
    }
    table
}

fn any_entry(bytes: &mut impl Iterator<Item = u8>) -> Option<Entry> {
    let (name, parent, rules) = (bytes.next()?, bytes.next()?, bytes.next()?);
    let mut entry = Entry::new(format!("e{}", name % 24), process(1));
    entry.parent = (parent % 4 != 0).then(|| format!("e{}", parent % 25));
    for _ in 0..=rules % 3 {
        entry.allow.push(any_rule(bytes)?);
    }
    for _ in 0..rules / 64 {
        entry.deny.push(any_rule(bytes)?);
    }
    Some(entry)
}

fn any_rule(bytes: &mut impl Iterator<Item = u8>) -> Option<ScopeRule> {
    const TARGETS: [&str; 12] = [
        "/",
        "/a",
        "/b",
        "/a/a",
        "/a/b",
        "/ab",
        "/a/a/a",
        "/a/a/b",
        "/a//b/.",
        "/a/b/../a",
        "/../a",
        "/a/a/a/a",
    ];
    let byte = bytes.next()?;
    let target = pick(&TARGETS, byte / 8);
    let rule = if byte % 8 == 7 {
        ScopeRule::read(target)
    } else {
        ScopeRule::write(target)
    };
    Some(if byte % 8 < 3 { rule.shallow() } else { rule })
}
