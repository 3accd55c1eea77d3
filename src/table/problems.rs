//! What is wrong with a table: conflicts and gaps that foreign programs and manual edits leave.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;

use super::contents::{Table, lineage};
use super::entry::Entry;
use super::region::normalize;
use super::rule::ScopeRule;
use crate::escape::Escaped;

/// A contradiction in a table. `Display` gives a sentence.
///
/// The operations of [`Table`] create none of these. A table that another program wrote, or that
/// was edited by hand, may contain them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// Two entries may write the same paths, and neither is an ancestor of the other.
    Overlap {
        /// The name of one entry, and its rule.
        one: (String, ScopeRule),
        /// The name of the other entry, and its rule.
        other: (String, ScopeRule),
    },
    /// Two entries have the same name.
    DuplicateName {
        /// The name.
        name: String,
    },
    /// Two entries write the same segment.
    DuplicateSegment {
        /// The segment.
        segment: String,
        /// The names of the entries, in the order of the entries.
        names: [String; 2],
    },
    /// The parent of an entry is not in the table.
    DanglingParent {
        /// The name of the entry.
        name: String,
        /// The name of its parent.
        parent: String,
    },
    /// An entry is its own ancestor.
    Cycle {
        /// The name of the entry.
        name: String,
    },
    /// A rule has a relative path, which means another path to a process with another working
    /// directory.
    RelativePath {
        /// The name of the entry.
        name: String,
        /// The path.
        target: PathBuf,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Overlap { one, other } => write!(
                f,
                "entries {:?} and {:?} may write the same paths: {} and {}",
                one.0, other.0, one.1, other.1
            ),
            Problem::DuplicateName { name } => write!(f, "two entries have the name {name:?}"),
            Problem::DuplicateSegment { segment, names } => {
                let [one, other] = names;
                write!(
                    f,
                    "entries {one:?} and {other:?} both write segment {segment:?}"
                )
            }
            Problem::DanglingParent { name, parent } => write!(
                f,
                "entry {name:?} was delegated by {parent:?}, which is not in the table"
            ),
            Problem::Cycle { name } => write!(f, "entry {name:?} is its own ancestor"),
            Problem::RelativePath { name, target } => {
                write!(
                    f,
                    "entry {name:?} has a rule for a relative path: {}",
                    Escaped::path(target)
                )
            }
        }
    }
}

/// A rule to write, its normalized target and its entry.
struct WriteRule<'a> {
    target: PathBuf,
    rule: &'a ScopeRule,
    entry: &'a Entry,
}

impl Table {
    /// The contradictions in the table, whether or not the processes of its entries are alive.
    ///
    /// Takes time in proportion to the table and to the number of overlaps. The scope of a child
    /// overlaps those of all its ancestors, so that a chain of delegations takes time by the cube
    /// of its depth.
    ///
    /// ```
    /// use rvlf::table::{Entry, EntryHolder, Problem, Table};
    ///
    /// let mut table = Table::default();
    /// let mut entry = Entry::new("child", EntryHolder::from_pid(4121));
    /// entry.parent = Some("parent".to_owned());
    /// table.entries.push(entry);
    /// for problem in table.problems() {
    ///     println!("{problem}");
    /// }
    /// assert!(matches!(table.problems().as_slice(), [Problem::DanglingParent { .. }]));
    /// ```
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let by_name = self.by_name();
        let mut problems = self.duplicates();
        for entry in &self.entries {
            problems.extend(parent_problem(&by_name, entry));
            problems.extend(relative_paths(entry));
        }
        problems.extend(self.overlaps(&by_name));
        problems
    }

    fn duplicates(&self) -> Vec<Problem> {
        let mut names = HashSet::new();
        let mut segments = HashMap::new();
        let mut problems = Vec::new();
        for entry in &self.entries {
            let name = entry.name.as_str();
            if !names.insert(name) {
                problems.push(Problem::DuplicateName { name: name.into() });
            }
            let Some(segment) = entry.segment.as_deref() else {
                continue;
            };
            if let Some(earlier) = segments.insert(segment, name) {
                problems.push(Problem::DuplicateSegment {
                    segment: segment.into(),
                    names: [earlier.into(), name.into()],
                });
            }
        }
        problems
    }

    /// Two rules overlap only if the target of one equals the other's or lies above it. In the
    /// order of the targets, every rule above a rule comes before it, and is still on the stack.
    fn overlaps(&self, by_name: &HashMap<&str, &Entry>) -> Vec<Problem> {
        let rules = self.write_rules();
        let mut above: Vec<&WriteRule<'_>> = Vec::new();
        let mut problems = Vec::new();
        for one in &rules {
            let is_above = |top: &&WriteRule<'_>| one.target.starts_with(&top.target);
            while above.last().is_some_and(|top| !is_above(top)) {
                above.pop();
            }
            for other in &above {
                if one.rule.overlaps(other.rule) && both_may_write(by_name, one.entry, other.entry)
                {
                    problems.push(Problem::Overlap {
                        one: (other.entry.name.clone(), other.rule.clone()),
                        other: (one.entry.name.clone(), one.rule.clone()),
                    });
                }
            }
            above.push(one);
        }
        problems
    }

    /// The rules to write, in the order of their targets.
    fn write_rules(&self) -> Vec<WriteRule<'_>> {
        let mut rules = Vec::new();
        for entry in &self.entries {
            for rule in entry.allow.iter().filter(|rule| rule.is_write()) {
                let target = normalize(&rule.target);
                rules.push(WriteRule {
                    target,
                    rule,
                    entry,
                });
            }
        }
        rules.sort_by(|one, other| one.target.cmp(&other.target));
        rules
    }
}

fn parent_problem(by_name: &HashMap<&str, &Entry>, entry: &Entry) -> Option<Problem> {
    let parent = entry.parent.as_deref()?;
    let name = entry.name.clone();
    if !by_name.contains_key(parent) {
        let parent = parent.to_owned();
        return Some(Problem::DanglingParent { name, parent });
    }
    let is_cycle = lineage(by_name, parent).contains(name.as_str());
    is_cycle.then_some(Problem::Cycle { name })
}

fn relative_paths(entry: &Entry) -> impl Iterator<Item = Problem> + '_ {
    let rules = entry.allow.iter().chain(&entry.deny);
    let relative = rules.filter(|rule| !rule.target.is_absolute());
    relative.map(|rule| Problem::RelativePath {
        name: entry.name.clone(),
        target: rule.target.clone(),
    })
}

fn both_may_write(by_name: &HashMap<&str, &Entry>, one: &Entry, other: &Entry) -> bool {
    let descends =
        |child: &Entry, from: &Entry| lineage(by_name, &child.name).contains(from.name.as_str());
    !std::ptr::eq(one, other)
        && one.scope().conflict(&other.scope()).is_some()
        && !descends(one, other)
        && !descends(other, one)
}
