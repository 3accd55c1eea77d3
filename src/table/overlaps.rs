//! Which entries of a table may write the same paths although neither delegated to the other.
//!
//! Two rules share a path only if the target of one equals the other's or lies above it. The rules
//! are visited in the order of their targets, and those whose targets equal the visited one's or lie
//! above it are on a stack. In a table without contradictions the entries on the stack are one line
//! of ancestors, so that the last one answers for all: the time grows with the table, and not with
//! the number of pairs that share paths.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::contents::Table;
use super::entry::Entry;
use super::family::{Family, Node};
use super::problems::Problem;
use super::region::{Region, normalize};
use super::rule::ScopeRule;

/// A rule to write, its normalized target and its entry.
struct WriteRule<'a> {
    target: PathBuf,
    depth: usize,
    rule: &'a ScopeRule,
    entry: &'a Entry,
    /// The place of the entry in the table.
    index: usize,
    /// The place of the entry among its ancestors.
    node: Node,
}

impl WriteRule<'_> {
    fn region(&self) -> Region<'_> {
        Region::new(&self.target, self.rule.recursive)
    }
}

/// Rules whose targets equal one path or lie above it, from the highest to the lowest.
#[derive(Default)]
struct Stack<'a> {
    rules: Vec<Stacked<'a>>,
}

struct Stacked<'a> {
    rule: &'a WriteRule<'a>,
    /// The next rule down the stack whose entry is not an ancestor of this rule's entry, nor that
    /// entry itself.
    next_unrelated: Option<usize>,
}

impl<'a> Stack<'a> {
    /// Removes the rules whose targets do not lie above `target`.
    fn leave(&mut self, target: &Path) {
        let is_above = |top: &Stacked<'_>| target.starts_with(&top.rule.target);
        while self.rules.last().is_some_and(|top| !is_above(top)) {
            self.rules.pop();
        }
    }

    fn push(&mut self, rule: &'a WriteRule<'a>) {
        let next_unrelated = match self.rules.last() {
            Some(top) if rule.node.is_within(top.rule.node) => top.next_unrelated,
            Some(_) => Some(self.rules.len() - 1),
            None => None,
        };
        self.rules.push(Stacked {
            rule,
            next_unrelated,
        });
    }
}

/// The search for overlaps, over all entries of a table.
struct Search<'a> {
    denials: Vec<Denials>,
    /// Rules that reach any depth.
    trees: Stack<'a>,
    /// Rules that reach the children of their targets. Those that end above the visited target stay
    /// on the stack until it is left, and are skipped.
    shallow: Stack<'a>,
}

impl<'a> Search<'a> {
    /// The first rule on the stacks, from the lowest up, that conflicts with `rule`.
    fn conflicting(&self, rule: &WriteRule<'_>) -> Option<&'a WriteRule<'a>> {
        let trees = self.first_conflict(rule, &self.trees, 0);
        trees.or_else(|| self.first_conflict(rule, &self.shallow, rule.depth.saturating_sub(1)))
    }

    fn first_conflict(
        &self,
        rule: &WriteRule<'_>,
        stack: &Stack<'a>,
        highest: usize,
    ) -> Option<&'a WriteRule<'a>> {
        let mut next = stack.rules.len().checked_sub(1);
        while let Some(stacked) = next.and_then(|at| stack.rules.get(at)) {
            let other = stacked.rule;
            if other.depth < highest {
                return None;
            }
            let is_related = rule.node.is_within(other.node) || other.node.is_within(rule.node);
            if !is_related && self.shares_a_path(rule, other) {
                return Some(other);
            }
            next = if is_related {
                // What is skipped are the other's ancestors: this entry is one of them, or stands
                // below all of them.
                stacked.next_unrelated
            } else {
                next.and_then(|at| at.checked_sub(1))
            };
        }
        None
    }

    /// Whether both rules, less what the entries of both deny themselves, have a path in common.
    fn shares_a_path(&self, one: &WriteRule<'_>, other: &WriteRule<'_>) -> bool {
        let shared = one.region().intersection(&other.region());
        shared.is_some_and(|part| !self.is_denied(one, &part) && !self.is_denied(other, &part))
    }

    fn is_denied(&self, rule: &WriteRule<'_>, part: &Region<'_>) -> bool {
        let denials = self.denials.get(rule.index);
        denials.is_some_and(|denials| denials.cover(part))
    }
}

/// The denials of one entry, found by their targets. Every denial counts: a path that may not be
/// read may not be written either.
#[derive(Default)]
struct Denials {
    trees: HashSet<PathBuf>,
    shallow: HashSet<PathBuf>,
}

impl Denials {
    fn of(entry: &Entry) -> Denials {
        let mut denials = Denials::default();
        for rule in &entry.deny {
            let targets = if rule.recursive {
                &mut denials.trees
            } else {
                &mut denials.shallow
            };
            targets.insert(normalize(&rule.target));
        }
        denials
    }

    /// Whether one denial covers `part`. What several cover together, one covers alone.
    fn cover(&self, part: &Region<'_>) -> bool {
        let below_a_tree = |path: &Path| {
            !self.trees.is_empty() && path.ancestors().any(|above| self.trees.contains(above))
        };
        match part {
            Region::Tree(path) => below_a_tree(path),
            Region::Shallow(path) => self.shallow.contains(path.as_ref()) || below_a_tree(path),
            Region::Point(path) => {
                let parent = path.parent();
                self.shallow.contains(path.as_ref())
                    || parent.is_some_and(|parent| self.shallow.contains(parent))
                    || below_a_tree(path)
            }
        }
    }
}

impl Table {
    /// One overlap for each entry that has a conflict with a rule whose target equals one of its own
    /// targets or lies above it: with the lowest such rule. All pairs would be too many: of a
    /// thousand entries with one scope, half a million.
    pub(super) fn overlaps(&self, family: &Family<'_>) -> Vec<Problem> {
        let rules = self.write_rules(family);
        let mut search = Search {
            denials: self.entries.iter().map(Denials::of).collect(),
            trees: Stack::default(),
            shallow: Stack::default(),
        };
        let mut found: HashMap<usize, Problem> = HashMap::new();
        for rule in &rules {
            search.trees.leave(&rule.target);
            search.shallow.leave(&rule.target);
            if search.is_denied(rule, &rule.region()) {
                continue;
            }
            if !found.contains_key(&rule.index) {
                let conflicting = search.conflicting(rule);
                let problem = conflicting.map(|other| (rule.index, overlap(other, rule)));
                found.extend(problem);
            }
            let stack = if rule.rule.recursive {
                &mut search.trees
            } else {
                &mut search.shallow
            };
            stack.push(rule);
        }
        let mut found: Vec<_> = found.into_iter().collect();
        found.sort_by_key(|(index, _)| *index);
        found.into_iter().map(|(_, problem)| problem).collect()
    }

    /// The rules to write, in the order of their targets, and of their entries where those are equal.
    fn write_rules<'a>(&'a self, family: &Family<'_>) -> Vec<WriteRule<'a>> {
        let mut rules = Vec::new();
        for (index, entry) in self.entries.iter().enumerate() {
            for rule in entry.allow.iter().filter(|rule| rule.is_write()) {
                let target = normalize(&rule.target);
                rules.push(WriteRule {
                    depth: target.components().count(),
                    target,
                    rule,
                    entry,
                    index,
                    node: family.node(&entry.name),
                });
            }
        }
        rules.sort_by(|one, other| one.target.cmp(&other.target));
        rules
    }
}

fn overlap(one: &WriteRule<'_>, other: &WriteRule<'_>) -> Problem {
    let side = |rule: &WriteRule<'_>| (rule.entry.name.clone(), rule.rule.clone());
    Problem::Overlap {
        one: side(one),
        other: side(other),
    }
}
