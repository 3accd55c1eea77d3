//! What is wrong with a table: conflicts and gaps that foreign programs and manual edits leave.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;

use super::contents::Table;
use super::entry::Entry;
use super::family::Family;
use super::rule::ScopeRule;
use super::segment::segment_key;
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

impl Table {
    /// The contradictions in the table, whether or not the processes of its entries are alive.
    ///
    /// An entry that overlaps with several others is reported with one of them: the holder of the
    /// deepest such scope. Repeat the call after a repair.
    ///
    /// Takes time in proportion to the table, and to the number of pairs of entries that share paths
    /// only where one of the two denies them to itself.
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
        let family = Family::of(&self.entries);
        let mut problems = self.duplicates();
        for entry in &self.entries {
            problems.extend(parent_problem(&family, entry));
            problems.extend(relative_paths(entry));
        }
        problems.extend(self.overlaps(&family));
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
            if let Some(earlier) = segments.insert(segment_key(segment), name) {
                problems.push(Problem::DuplicateSegment {
                    segment: segment.into(),
                    names: [earlier.into(), name.into()],
                });
            }
        }
        problems
    }
}

fn parent_problem(family: &Family<'_>, entry: &Entry) -> Option<Problem> {
    let parent = entry.parent.as_deref()?;
    let name = entry.name.clone();
    if !family.has(parent) {
        let parent = parent.to_owned();
        return Some(Problem::DanglingParent { name, parent });
    }
    let is_cycle = family.is_within(parent, &name);
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
