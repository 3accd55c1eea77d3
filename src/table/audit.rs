//! What is wrong with a table: crashes leave dead entries, and other writers anything.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use super::allocation::{Entry, Table, lineage};
use super::scope::{ScopeRule, normalize};

/// Something that a table should not contain. `Display` gives a sentence.
///
/// [`Table`]'s own operations make none of these; a table that another program has written, or
/// somebody has edited, may contain them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// Two entries may write the same paths, and neither has its scope from the other.
    Overlap {
        /// One entry, and its rule.
        one: (String, ScopeRule),
        /// The other entry, and its rule.
        other: (String, ScopeRule),
    },
    /// Two entries bear one name.
    DuplicateName {
        /// The name.
        name: String,
    },
    /// Two entries write one segment.
    DuplicateSegment {
        /// The segment.
        segment: String,
        /// The entries, in their order.
        names: [String; 2],
    },
    /// The parent of an entry is not there.
    DanglingParent {
        /// The entry.
        name: String,
        /// Its parent's name.
        parent: String,
    },
    /// Following the parents of an entry leads in a circle.
    Cycle {
        /// The entry.
        name: String,
    },
    /// A rule's path is relative: what it claims depends on who reads it.
    RelativePath {
        /// The entry.
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
                "{:?} and {:?} may write the same paths: {} and {}",
                one.0, other.0, one.1, other.1
            ),
            Problem::DuplicateName { name } => write!(f, "two entries are called {name:?}"),
            Problem::DuplicateSegment { segment, names } => {
                let [one, other] = names;
                write!(f, "{one:?} and {other:?} both write segment {segment:?}")
            }
            Problem::DanglingParent { name, parent } => {
                write!(
                    f,
                    "{name:?} was delegated by {parent:?}, which is not there"
                )
            }
            Problem::Cycle { name } => {
                write!(
                    f,
                    "{name:?} has its scope, by way of its parents, from itself"
                )
            }
            Problem::RelativePath { name, target } => {
                write!(f, "{name:?} claims a relative path, {}", target.display())
            }
        }
    }
}

impl Table {
    /// What is wrong with the table, whoever lives or is dead.
    ///
    /// Takes time in proportion to the table and to the number of overlaps. Delegations within
    /// delegations overlap by their nature: a chain of them takes time by the cube of its depth.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = self.duplicates();
        let by_name = self.by_name();
        for entry in &self.entries {
            problems.extend(parent_problem(&by_name, entry));
            let relative = entry.allow.iter().chain(&entry.deny);
            let relative = relative.filter(|rule| !rule.target.is_absolute());
            problems.extend(relative.map(|rule| Problem::RelativePath {
                name: entry.name.clone(),
                target: rule.target.clone(),
            }));
        }
        problems.extend(self.overlaps(&by_name));
        problems
    }

    fn duplicates(&self) -> Vec<Problem> {
        let mut names = HashMap::new();
        let mut segments = HashMap::new();
        let mut problems = Vec::new();
        for entry in &self.entries {
            let name = entry.name.as_str();
            if names.insert(name, ()).is_some() {
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

    /// Two rules overlap only if the target of one is the other's or lies above it. In the order of
    /// their targets everything above a rule has come before it and is still on the stack.
    fn overlaps(&self, by_name: &HashMap<&str, &Entry>) -> Vec<Problem> {
        let mut writes: Vec<(PathBuf, &Entry, &ScopeRule)> = { self.entries.iter() }
            .flat_map(|entry| entry.allow.iter().map(move |rule| (entry, rule)))
            .filter(|(_, rule)| rule.is_write())
            .map(|(entry, rule)| (normalize(&rule.target), entry, rule))
            .collect();
        writes.sort_by(|(one, ..), (other, ..)| one.cmp(other));

        let mut above: Vec<&(PathBuf, &Entry, &ScopeRule)> = Vec::new();
        let mut problems = Vec::new();
        for write in &writes {
            let (target, entry, rule) = write;
            while above.pop_if(|(top, ..)| !target.starts_with(top)).is_some() {}
            for (_, other, other_rule) in &above {
                if rule.overlaps(other_rule) && both_may_write(by_name, entry, other) {
                    problems.push(Problem::Overlap {
                        one: (other.name.clone(), (*other_rule).clone()),
                        other: (entry.name.clone(), (*rule).clone()),
                    });
                }
            }
            above.push(write);
        }
        problems
    }
}

fn parent_problem(by_name: &HashMap<&str, &Entry>, entry: &Entry) -> Option<Problem> {
    let parent = entry.parent.as_deref()?;
    let name = entry.name.clone();
    if !by_name.contains_key(parent) {
        let parent = parent.to_owned();
        return Some(Problem::DanglingParent { name, parent });
    }
    let circular = lineage(by_name, parent).contains(name.as_str());
    circular.then_some(Problem::Cycle { name })
}

fn both_may_write(by_name: &HashMap<&str, &Entry>, one: &Entry, other: &Entry) -> bool {
    let descends =
        |child: &Entry, from: &Entry| lineage(by_name, &child.name).contains(from.name.as_str());
    !std::ptr::eq(one, other)
        && one.scope().conflict(&other.scope()).is_some()
        && !descends(one, other)
        && !descends(other, one)
}
