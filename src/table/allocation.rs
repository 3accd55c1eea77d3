//! The table as data, and as JSON. Source: `spec/table.md#format`.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::scope::{Scope, ScopeRule};
use crate::record::WriterId;

/// The content of a table file.
///
/// Its methods change the table in memory and do no I/O. They judge nobody: entries of dead
/// processes count until they are reclaimed, which the methods of [`TableGuard`](super::TableGuard)
/// of the same names do first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// The entries, in the order in which they were made.
    #[serde(rename = "allocations", default)]
    pub entries: Vec<Entry>,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

/// One allocation: who holds which part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Names the entry within the table.
    #[serde(rename = "pod_name")]
    pub name: String,
    /// The process that holds it, numbered in its own pid namespace. 0 is no process.
    pub pid: u32,
    /// Where the holder can be reached, if anywhere; empty if not. The table attaches no meaning.
    #[serde(default)]
    pub socket: PathBuf,
    /// What the holder may do.
    #[serde(rename = "scope_allow")]
    pub allow: Vec<ScopeRule>,
    /// What it may not do all the same.
    #[serde(rename = "scope_deny", default)]
    pub deny: Vec<ScopeRule>,
    /// The entry that delegated this one. `None`: it was registered.
    #[serde(rename = "delegated_from")]
    pub parent: Option<String>,
    /// The segment that the holder writes. `None`: a placeholder that nobody has adopted yet.
    #[serde(rename = "segment_id", default)]
    pub segment: Option<String>,
    /// Which process `pid` means, exactly. Without it the pid alone is judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<HolderId>,
    #[serde(flatten)]
    pub(super) unknown: Map<String, Value>,
}

/// Tells one process from every other, here or elsewhere, now or after a reboot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderId {
    /// gethostname(2), control characters escaped.
    pub hostname: String,
    /// `/proc/sys/kernel/random/boot_id`, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// Inode number of `/proc/self/ns/pid`, where there is one: in another pid namespace the pid
    /// means another process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_namespace: Option<u64>,
    /// Inode number of `/proc/self/ns/time`, where there is one: in another time namespace the same
    /// process shows another start. time_namespaces(7)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_namespace: Option<u64>,
    /// When the process started, in clock ticks since boot; 0 where nobody knows. proc_pid_stat(5)
    pub start_ticks: u64,
    /// Names this hold of the entry: a random UUID, drawn anew when it changes hands.
    #[serde(with = "as_text")]
    pub writer_id: WriterId,
    #[serde(flatten)]
    pub(super) unknown: Map<String, Value>,
}

/// A writer id as its text.
mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::record::WriterId;

    pub(super) fn serialize<S: Serializer>(id: &WriterId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<WriterId, D::Error> {
        let text = String::deserialize(from)?;
        let wanted = || D::Error::custom(format_args!("writer_id {text:?} is not a UUID"));
        text.parse().map_err(|_| wanted())
    }
}

impl Table {
    /// Reads a table from the bytes of its file. Nothing, or white space alone, is an empty table.
    ///
    /// # Errors
    ///
    /// Not JSON, or not a table: with line and column ([`serde_json::Error::line`]).
    pub fn parse(bytes: &[u8]) -> Result<Table, serde_json::Error> {
        if bytes.trim_ascii().is_empty() {
            Ok(Table::default())
        } else {
            serde_json::from_slice(bytes)
        }
    }

    /// The bytes of the table's file: JSON, indented, unknown fields included.
    ///
    /// # Errors
    ///
    /// A path that is not UTF-8, which JSON cannot hold. The operations let none in.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec_pretty(self)
    }

    /// The entry called `name`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// The entry called `name`, to be changed.
    #[must_use]
    pub fn find_mut(&mut self, name: &str) -> Option<&mut Entry> {
        let mut entries = self.entries.iter_mut();
        entries.find(|entry| entry.name == name)
    }

    /// The entry that writes `segment`. Placeholders write none.
    #[must_use]
    pub fn find_by_segment(&self, segment: &str) -> Option<&Entry> {
        let mut entries = self.entries.iter();
        entries.find(|entry| entry.segment.as_deref() == Some(segment))
    }

    /// The entries that `name` has delegated, in their order.
    pub fn children<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Entry> {
        let is_child = move |entry: &&Entry| entry.parent.as_deref() == Some(name);
        self.entries.iter().filter(is_child)
    }

    /// What `name` may do now: its rules less its denials, and less what it has delegated. `None`
    /// if there is no such entry.
    ///
    /// What a child was given counts as delegated as a whole, also where it is denied to the child.
    #[must_use]
    pub fn effective_write_scope(&self, name: &str) -> Option<Scope<'_>> {
        let entry = self.find(name)?;
        let children = self.entries.iter();
        let children = children.filter(|child| child.parent.as_deref() == Some(name));
        Some(entry.scope_without(children))
    }

    pub(super) fn by_parent(&self) -> HashMap<&str, Vec<&Entry>> {
        let mut children: HashMap<&str, Vec<&Entry>> = HashMap::new();
        for entry in &self.entries {
            if let Some(parent) = entry.parent.as_deref() {
                children.entry(parent).or_default().push(entry);
            }
        }
        children
    }

    pub(super) fn by_name(&self) -> HashMap<&str, &Entry> {
        let entries = self.entries.iter();
        entries.map(|entry| (entry.name.as_str(), entry)).collect()
    }
}

/// `name` and those from whom it has its scope, directly or not.
pub(super) fn lineage<'a>(
    by_name: &HashMap<&'a str, &'a Entry>,
    name: &'a str,
) -> HashSet<&'a str> {
    let mut lineage = HashSet::new();
    let mut next = Some(name);
    // A table that others wrote may go round in a circle.
    while let Some(name) = next.filter(|name| lineage.insert(*name)) {
        let entry = by_name.get(name);
        next = entry.and_then(|entry| entry.parent.as_deref());
    }
    lineage
}

impl Entry {
    pub(super) fn new(name: String, pid: u32, holder: Option<HolderId>) -> Entry {
        Entry {
            name,
            pid,
            socket: PathBuf::new(),
            allow: Vec::new(),
            deny: Vec::new(),
            parent: None,
            segment: None,
            holder,
            unknown: Map::new(),
        }
    }

    /// Whether the entry waits for a child to adopt it.
    #[must_use]
    pub fn is_placeholder(&self) -> bool {
        self.segment.is_none()
    }

    /// Names the hold of this entry, if it was written with a [`HolderId`].
    #[must_use]
    pub fn writer_id(&self) -> Option<WriterId> {
        self.holder.as_ref().map(|holder| holder.writer_id)
    }

    /// The entry's own rules, whatever it has delegated.
    #[must_use]
    pub fn scope(&self) -> Scope<'_> {
        Scope {
            allow: self.allow.iter().collect(),
            deny: self.deny.iter().collect(),
        }
    }

    /// The entry's own rules less what those of `children` write.
    pub(super) fn scope_without<'a>(
        &'a self,
        children: impl IntoIterator<Item = &'a Entry>,
    ) -> Scope<'a> {
        let mut scope = self.scope();
        let given = children.into_iter().flat_map(|child| &child.allow);
        scope.deny.extend(given.filter(|rule| rule.is_write()));
        scope
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" (pid {})", self.name, self.pid)
    }
}
