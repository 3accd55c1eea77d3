//! What keeps the programs whose format this is from reading a table.

use std::fmt;

use super::contents::Table;
use super::segment::is_uuid;

/// Why `yoi` cannot read a table. `Display` gives a sentence.
///
/// A table that only programs of this library use may have any of these.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompatibilityProblem {
    /// A segment is not a UUID. No version of `yoi` reads the table.
    SegmentNotUuid {
        /// The name of the entry.
        name: String,
        /// Its segment.
        segment: String,
    },
    /// Some entries have their name in `pod_name`, and others in `worker_name`. Each version of
    /// `yoi` knows one of the two, and reads no table that has the other.
    TwoNameFields {
        /// The names of an entry of each kind, in the order of the entries.
        names: [String; 2],
    },
}

impl fmt::Display for CompatibilityProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CompatibilityProblem::SegmentNotUuid { name, segment } => write!(
                f,
                "entry {name:?} writes segment {segment:?}, which is not a UUID: yoi cannot read \
                 this table"
            ),
            CompatibilityProblem::TwoNameFields {
                names: [one, other],
            } => write!(
                f,
                "entries {one:?} and {other:?} have their names in different fields (pod_name, \
                 worker_name): yoi cannot read this table"
            ),
        }
    }
}

impl Table {
    /// What keeps the `yoi` orchestrator, whose format this is, from reading the table. No problem
    /// for a table that `yoi` does not use.
    ///
    /// ```
    /// use rvlf::table::{Claim, EntryHolder, ScopeRule, Table, new_segment};
    ///
    /// let mut table = Table::default();
    /// let holder = EntryHolder::from_pid(4121);
    /// let claim = Claim::new("a").allow(ScopeRule::write("/data/a"));
    /// table.register(&claim, &new_segment()?, &holder)?;
    /// assert_eq!(table.compatibility_problems(), []);
    ///
    /// let claim = Claim::new("b").allow(ScopeRule::write("/data/b"));
    /// table.register(&claim, "segment-1", &holder)?;
    /// for problem in table.compatibility_problems() {
    ///     println!("{problem}");
    /// }
    /// # assert_eq!(table.compatibility_problems().len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn compatibility_problems(&self) -> Vec<CompatibilityProblem> {
        let entries = self.entries.iter();
        let mut problems: Vec<_> = entries
            .filter_map(|entry| {
                let segment = entry.segment.as_ref().filter(|segment| !is_uuid(segment))?;
                Some(CompatibilityProblem::SegmentNotUuid {
                    name: entry.name.clone(),
                    segment: segment.clone(),
                })
            })
            .collect();
        if let Some(first) = self.entries.first() {
            let mut others = self.entries.iter();
            if let Some(other) = others.find(|entry| entry.name_field != first.name_field) {
                let names = [first.name.clone(), other.name.clone()];
                problems.push(CompatibilityProblem::TwoNameFields { names });
            }
        }
        problems
    }
}
