//! The contents of a table file, as data and as JSON. Source: `spec/table.md#format`.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::entry::{Entry, NameField};
use super::scope::Scope;
use super::segment::is_same_segment;

/// The contents of a table file.
///
/// The methods work in memory: they do no I/O and never block. They do not check whether a process
/// is alive: an entry of a dead process counts until it is reclaimed. The methods of
/// [`TableGuard`](super::TableGuard) with the same names reclaim dead entries first.
///
/// ```
/// use rvlf::table::{Claim, EntryHolder, ScopeRule, Table, new_segment};
///
/// let mut table = Table::default();
/// let claim = Claim::new("indexer").allow(ScopeRule::write("/data/index"));
/// table.register(&claim, &new_segment()?, &EntryHolder::from_pid(4121))?;
/// assert_eq!(table.entries.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// The entries, in the order in which they were made.
    #[serde(rename = "allocations", default)]
    pub entries: Vec<Entry>,
    /// Fields that this version does not know. Kept when the table is saved.
    #[serde(flatten)]
    unknown: Map<String, Value>,
    /// The field for the names of entries, while there is no entry to show which one is used.
    #[serde(skip)]
    pub(super) name_field: NameField,
}

impl Table {
    /// Adds `entry`, with the field for names that the other entries have: readers of the format
    /// know one of the two.
    pub(super) fn push(&mut self, mut entry: Entry) {
        let first = self.entries.first();
        entry.name_field = first.map_or(self.name_field, |entry| entry.name_field);
        self.entries.push(entry);
    }

    /// Reads a table from the bytes of its file. No bytes, or white space alone, are an empty
    /// table.
    ///
    /// # Errors
    ///
    /// The bytes are not JSON, or not a table. [`serde_json::Error::line`] and
    /// [`column`](serde_json::Error::column) say where.
    ///
    /// ```
    /// use rvlf::table::Table;
    ///
    /// assert_eq!(Table::parse(b"")?, Table::default());
    /// let error = Table::parse(b"{\n  \"allocations\": 7\n}").expect_err("7 is not a list");
    /// assert_eq!((error.line(), error.column()), (2, 18));
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn parse(bytes: &[u8]) -> Result<Table, serde_json::Error> {
        if bytes.trim_ascii().is_empty() {
            Ok(Table::default())
        } else {
            serde_json::from_slice(bytes)
        }
    }

    /// The bytes of the table's file: indented JSON, unknown fields included.
    ///
    /// # Errors
    ///
    /// A path is not UTF-8, so JSON cannot hold it. The operations accept no such path.
    ///
    /// ```
    /// use rvlf::table::Table;
    ///
    /// assert_eq!(Table::default().to_json()?, b"{\n  \"allocations\": []\n}");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec_pretty(self)
    }

    /// The entry with the name `name`; the first if a foreign program wrote several.
    ///
    /// ```
    /// # use rvlf::table::{Claim, EntryHolder, ScopeRule, Table, new_segment};
    /// # let mut table = Table::default();
    /// # let claim = Claim::new("indexer").allow(ScopeRule::write("/data/index"));
    /// # table.register(&claim, &new_segment()?, &EntryHolder::from_pid(4121))?;
    /// assert_eq!(table.find("indexer").map(|entry| entry.pid), Some(4121));
    /// assert_eq!(table.find("compactor"), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// The entry with the name `name`, to be changed by hand. The change is not checked.
    ///
    /// ```
    /// # use rvlf::table::{Claim, EntryHolder, ScopeRule, Table, new_segment};
    /// # let mut table = Table::default();
    /// # let claim = Claim::new("indexer").allow(ScopeRule::write("/data/index"));
    /// # table.register(&claim, &new_segment()?, &EntryHolder::from_pid(4121))?;
    /// if let Some(entry) = table.find_mut("indexer") {
    ///     entry.socket = "/run/indexer.sock".into();
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn find_mut(&mut self, name: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.name == name)
    }

    /// The entry that writes `segment`. A placeholder writes no segment. A UUID is the same segment in upper and in
    /// lower case.
    ///
    /// ```
    /// # use rvlf::table::{Claim, EntryHolder, ScopeRule, Table};
    /// # let mut table = Table::default();
    /// # let claim = Claim::new("indexer").allow(ScopeRule::write("/data/index"));
    /// # table.register(&claim, "segment-1", &EntryHolder::from_pid(4121))?;
    /// let entry = table.find_by_segment("segment-1");
    /// assert_eq!(entry.map(|entry| entry.name.as_str()), Some("indexer"));
    /// # Ok::<(), rvlf::table::TableError>(())
    /// ```
    #[must_use]
    pub fn find_by_segment(&self, segment: &str) -> Option<&Entry> {
        let writes = |entry: &&Entry| is_same_segment(entry.segment.as_deref(), Some(segment));
        self.entries.iter().find(writes)
    }

    /// The entries that the entry `name` delegated, in their order.
    ///
    /// ```
    /// # use rvlf::table::{Claim, EntryHolder, ScopeRule, Table, new_segment};
    /// # let mut table = Table::default();
    /// # let holder = EntryHolder::from_pid(4121);
    /// # let claim = Claim::new("parent").allow(ScopeRule::write("/data"));
    /// # table.register(&claim, &new_segment()?, &holder)?;
    /// let part = Claim::new("child").allow(ScopeRule::write("/data/a"));
    /// table.delegate("parent", &part, &holder)?;
    /// assert!(table.children("parent").all(|child| child.name == "child"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn children<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Entry> {
        let is_child = move |entry: &&Entry| entry.parent.as_deref() == Some(name);
        self.entries.iter().filter(is_child)
    }

    /// What the entry `name` may do now: its allow rules less its deny rules and less what it
    /// delegated. `None` if there is no such entry.
    ///
    /// A child's allow rules count as delegated as a whole, including the parts that the child's
    /// own deny rules exclude.
    ///
    /// ```
    /// # use rvlf::table::{Claim, EntryHolder, ScopeRule, Table, new_segment};
    /// # let mut table = Table::default();
    /// # let holder = EntryHolder::from_pid(4121);
    /// # let claim = Claim::new("parent").allow(ScopeRule::write("/data"));
    /// # table.register(&claim, &new_segment()?, &holder)?;
    /// let part = Claim::new("child").allow(ScopeRule::write("/data/a"));
    /// table.delegate("parent", &part, &holder)?;
    /// let scope = table.effective_write_scope("parent").expect("it is registered");
    /// assert!(scope.covers(&ScopeRule::write("/data/b")));
    /// assert!(!scope.covers(&ScopeRule::write("/data/a")));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn effective_write_scope(&self, name: &str) -> Option<Scope<'_>> {
        let entry = self.find(name)?;
        let is_child = |child: &&Entry| child.parent.as_deref() == Some(name);
        let children = self.entries.iter().filter(is_child);
        Some(entry.scope_without(children))
    }

    pub(super) fn by_name(&self) -> HashMap<&str, &Entry> {
        let entries = self.entries.iter();
        entries.map(|entry| (entry.name.as_str(), entry)).collect()
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

    /// The entries below `name`: its children, their children, and so on.
    pub(super) fn descendants<'a>(&'a self, name: &'a str) -> HashSet<&'a str> {
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
}

/// `name` and the entries above it: its parent, the parent's parent, and so on.
pub(super) fn lineage<'a>(
    by_name: &HashMap<&'a str, &'a Entry>,
    name: &'a str,
) -> HashSet<&'a str> {
    let mut lineage = HashSet::new();
    let mut next = Some(name);
    // A foreign program may have written a cycle of parents: stop at the first repeated name.
    while let Some(name) = next.filter(|name| lineage.insert(*name)) {
        let entry = by_name.get(name);
        next = entry.and_then(|entry| entry.parent.as_deref());
    }
    lineage
}

#[cfg(test)]
mod tests {
    use super::*;

    // The Rust names differ from the file's. A renamed field would make every deployed reader
    // refuse the file, or drop the field.
    #[test]
    fn the_json_has_the_names_order_and_indentation_of_the_specification() {
        let json = r#"{
  "allocations": [
    {
      "pod_name": "indexer",
      "pid": 4121,
      "socket": "/run/user/1000/indexer.sock",
      "scope_allow": [
        {
          "target": "/data/index",
          "permission": "write",
          "recursive": true
        }
      ],
      "scope_deny": [
        {
          "target": "/data/index/frozen",
          "permission": "read",
          "recursive": false,
          "unknown": 7
        }
      ],
      "delegated_from": null,
      "segment_id": "0197f0c2-7d2b-7c55-9f0a-3d1f6f1f0a11",
      "holder": {
        "hostname": "build-7",
        "boot_id": "1f5cbd4e-9c1b-4b39-8a53-3d8ab6ad6f4d",
        "pid_namespace": 4026531836,
        "time_namespace": 4026531834,
        "start_ticks": 51234,
        "witness": {
          "device": 65024,
          "inode": 131074,
          "offset": 2874452364539012
        },
        "writer_id": "6ba7b810-9dad-41d1-80b4-00c04fd430c8"
      }
    }
  ]
}"#;
        let table = Table::parse(json.as_bytes()).expect("the specification's example is a table");
        let entry = table.find("indexer").expect("the table has one entry");
        assert_eq!((entry.allow.len(), entry.deny.len()), (1, 1));
        assert!(entry.segment.is_some() && entry.holder.is_some());
        let written = table.to_json().expect("all paths are UTF-8");
        assert_eq!(String::from_utf8(written).as_deref(), Ok(json));
    }
}
