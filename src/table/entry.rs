//! One entry of a table, and the process that holds it. Source: `spec/table.md#format`.

use std::fmt;
use std::path::PathBuf;

use serde::de::Error as _;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::liveness::process_holder;
use super::rule::ScopeRule;
use super::scope::Scope;
use super::witness::Witness;
use crate::escape::Escaped;
use crate::record::WriterId;
use crate::sys::Host;

/// One entry of a table: a process and the part of the data set that it holds.
///
/// Plain data. The operations of [`TableGuard`](super::TableGuard) and [`Table`](super::Table) make
/// entries from [`Claim`](super::Claim)s and keep them free of conflicts. An entry that is made or
/// changed by hand is not checked; [`Table::problems`](super::Table::problems) finds what is wrong
/// with it. Fields that this version does not know are kept when the table is saved.
///
/// ```
/// use rvlf::table::{Entry, EntryHolder, ScopeRule};
///
/// let mut entry = Entry::new("indexer", EntryHolder::from_pid(4121));
/// entry.allow.push(ScopeRule::write("/data/index"));
/// entry.segment = Some("segment-1".to_owned());
/// assert_eq!(entry.to_string(), "\"indexer\" (pid 4121)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name of the entry, unique in its table.
    pub name: String,
    /// The process id of the holder, in the holder's own pid namespace. 0: no process.
    pub pid: u32,
    /// A path at which the holder can be reached; empty if there is none. The table attaches no
    /// meaning to it.
    pub socket: PathBuf,
    /// What the holder may do.
    pub allow: Vec<ScopeRule>,
    /// What the holder may not do, although a rule in `allow` grants it.
    pub deny: Vec<ScopeRule>,
    /// The name of the entry that delegated this one. `None`: this entry was registered.
    pub parent: Option<String>,
    /// The segment that the holder writes, unique in the table. `None`: a placeholder that no
    /// process has adopted yet.
    pub segment: Option<String>,
    /// The exact process that `pid` means. `None`: liveness is judged by the pid alone.
    pub holder: Option<HolderId>,
    /// The field of the file that has the name.
    pub(super) name_field: NameField,
    unknown: Map<String, Value>,
}

/// The field that has the name of an entry. `yoi` renamed it in June 2026.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum NameField {
    #[default]
    PodName,
    WorkerName,
}

impl NameField {
    const fn as_str(self) -> &'static str {
        match self {
            NameField::PodName => "pod_name",
            NameField::WorkerName => "worker_name",
        }
    }
}

impl Entry {
    /// An entry without rules, parent, socket or segment, held by `holder`.
    ///
    /// ```
    /// # use rvlf::table::{Entry, EntryHolder};
    /// let entry = Entry::new("indexer", EntryHolder::from_pid(4121));
    /// assert!(entry.allow.is_empty() && entry.parent.is_none() && entry.segment.is_none());
    /// ```
    pub fn new(name: impl Into<String>, holder: EntryHolder) -> Entry {
        Entry {
            name: name.into(),
            pid: holder.pid,
            socket: PathBuf::new(),
            allow: Vec::new(),
            deny: Vec::new(),
            parent: None,
            segment: None,
            holder: holder.id,
            name_field: NameField::default(),
            unknown: Map::new(),
        }
    }

    /// Whether the entry is a placeholder: delegated, and not adopted yet.
    ///
    /// ```
    /// use rvlf::table::{Entry, EntryHolder};
    ///
    /// let mut entry = Entry::new("child", EntryHolder::from_pid(4121));
    /// assert!(entry.is_placeholder());
    /// entry.segment = Some("segment-2".to_owned());
    /// assert!(!entry.is_placeholder());
    /// ```
    #[must_use]
    pub fn is_placeholder(&self) -> bool {
        self.segment.is_none()
    }

    /// The id of this hold of the entry. `None` if the entry does not identify its holder.
    ///
    /// ```
    /// use rvlf::table::{Entry, EntryHolder, HolderId};
    ///
    /// let writer_id = "6ba7b810-9dad-41d1-80b4-00c04fd430c8".parse()?;
    /// let holder = HolderId::new("build-7", 51_234, writer_id);
    /// let entry = Entry::new("indexer", EntryHolder::new(4121, holder));
    /// assert_eq!(entry.writer_id(), Some(writer_id));
    /// assert_eq!(Entry::new("other", EntryHolder::from_pid(1)).writer_id(), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn writer_id(&self) -> Option<WriterId> {
        self.holder.as_ref().map(|holder| holder.writer_id)
    }

    /// The entry's own rules. What the entry delegated still counts as its own here; see
    /// [`Table::effective_write_scope`](super::Table::effective_write_scope).
    ///
    /// ```
    /// use rvlf::table::{Entry, EntryHolder, ScopeRule};
    ///
    /// let mut entry = Entry::new("indexer", EntryHolder::from_pid(4121));
    /// entry.allow.push(ScopeRule::write("/data"));
    /// entry.deny.push(ScopeRule::write("/data/frozen"));
    /// assert!(entry.scope().covers(&ScopeRule::write("/data/index")));
    /// assert!(!entry.scope().covers(&ScopeRule::write("/data/frozen")));
    /// ```
    #[must_use]
    pub fn scope(&self) -> Scope<'_> {
        Scope {
            allow: self.allow.iter().collect(),
            deny: self.deny.iter().collect(),
        }
    }

    /// The entry's own rules less what `children` may write.
    pub(super) fn scope_without<'a>(
        &'a self,
        children: impl IntoIterator<Item = &'a Entry>,
    ) -> Scope<'a> {
        let mut scope = self.scope();
        let delegated = children.into_iter().flat_map(|child| &child.allow);
        scope.deny.extend(delegated.filter(|rule| rule.is_write()));
        scope
    }
}

/// An entry as the file has it, but for the field of its name, which has two spellings.
#[derive(Deserialize)]
struct Fields {
    pod_name: Option<String>,
    worker_name: Option<String>,
    pid: u32,
    #[serde(default)]
    socket: PathBuf,
    scope_allow: Vec<ScopeRule>,
    #[serde(default)]
    scope_deny: Vec<ScopeRule>,
    delegated_from: Option<String>,
    #[serde(default)]
    segment_id: Option<String>,
    #[serde(default)]
    holder: Option<HolderId>,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Entry, D::Error> {
        let mut fields = Fields::deserialize(from)?;
        let (name, name_field) = match (fields.worker_name, fields.pod_name) {
            (Some(name), old) => {
                // Both: the new one counts, and the old one is kept like any other field.
                let old = old.map(|name| ("pod_name".to_owned(), Value::from(name)));
                fields.unknown.extend(old);
                (name, NameField::WorkerName)
            }
            (None, Some(name)) => (name, NameField::PodName),
            (None, None) => return Err(D::Error::custom(NoName(&fields.unknown))),
        };
        Ok(Entry {
            name,
            pid: fields.pid,
            socket: fields.socket,
            allow: fields.scope_allow,
            deny: fields.scope_deny,
            parent: fields.delegated_from,
            segment: fields.segment_id,
            holder: fields.holder,
            name_field,
            unknown: fields.unknown,
        })
    }
}

/// What an entry without a name has instead.
struct NoName<'a>(&'a Map<String, Value>);

impl fmt::Display for NoName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the entry before this place has no name: neither `pod_name` nor `worker_name`",
        )?;
        let mut unknown = self.0.keys().map(String::as_str);
        match unknown.next() {
            Some(first) => unknown.try_fold(write!(f, ", but `{first}`")?, |(), key| {
                write!(f, ", `{key}`")
            }),
            None => Ok(()),
        }
    }
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry(self.name_field.as_str(), &self.name)?;
        map.serialize_entry("pid", &self.pid)?;
        map.serialize_entry("socket", &self.socket)?;
        map.serialize_entry("scope_allow", &self.allow)?;
        map.serialize_entry("scope_deny", &self.deny)?;
        map.serialize_entry("delegated_from", &self.parent)?;
        map.serialize_entry("segment_id", &self.segment)?;
        if let Some(holder) = &self.holder {
            map.serialize_entry("holder", holder)?;
        }
        for (key, value) in &self.unknown {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" (pid {})", Escaped::text(&self.name), self.pid)
    }
}

/// The process that holds an entry: its pid and, where known, which process that pid means.
///
/// The methods of [`TableGuard`](super::TableGuard) and [`Allocation`](super::Allocation) fill this
/// in for the calling process. Only the in-memory operations of [`Table`](super::Table) need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryHolder {
    /// The process id, in the process's own pid namespace.
    pub pid: u32,
    /// The exact process. `None`: liveness is judged by the pid alone.
    pub id: Option<HolderId>,
}

impl EntryHolder {
    /// A process that is known exactly.
    ///
    /// ```
    /// use rvlf::table::{EntryHolder, HolderId};
    ///
    /// let writer_id = "6ba7b810-9dad-41d1-80b4-00c04fd430c8".parse()?;
    /// let holder = EntryHolder::new(4121, HolderId::new("build-7", 51_234, writer_id));
    /// assert_eq!(holder.id.map(|id| id.start_ticks), Some(51_234));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn new(pid: u32, id: HolderId) -> EntryHolder {
        EntryHolder { pid, id: Some(id) }
    }

    /// Another process, or this one, as it is now: for a program that registers or adopts on behalf
    /// of a process that it has started. Each call draws a new writer id: use it for one entry.
    ///
    /// `pid` is the number by which this process sees the other, and the entry records it with the
    /// pid namespace of this process. Pass the pid of a child that has not been waited for: no other
    /// process can get its number. Where the system hides the start of the process (hidepid), it is
    /// known by its pid alone. The entry has no witness: processes in other containers cannot see
    /// the death of its process ([`Liveness::Elsewhere`](super::Liveness::Elsewhere)).
    ///
    /// Takes a few system calls; never blocks.
    ///
    /// # Errors
    ///
    /// [`NoProcess`](super::TableError::NoProcess); [`Io`](super::TableError::Io) if the system gives
    /// no random bytes.
    ///
    /// ```
    /// use std::time::Duration;
    /// use rvlf::table::{Claim, EntryHolder, ScopeRule, TableGuard, new_segment};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("table.json");
    /// # let started = std::process::id();
    /// let holder = EntryHolder::of_process(started)?;
    /// let mut guard = TableGuard::open(&path, Duration::from_secs(10))?;
    /// let claim = Claim::new("indexer").allow(ScopeRule::write("/data/index"));
    /// guard.register_for(&holder, &claim, &new_segment()?)?;
    /// guard.save()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of_process(pid: u32) -> super::Result<EntryHolder> {
        process_holder(&Host, pid)
    }

    /// A process of which only the pid is known. A later process with the same pid passes for it.
    ///
    /// ```
    /// use rvlf::table::EntryHolder;
    ///
    /// assert_eq!(EntryHolder::from_pid(4121).id, None);
    /// ```
    #[must_use]
    pub fn from_pid(pid: u32) -> EntryHolder {
        EntryHolder { pid, id: None }
    }
}

/// Distinguishes one process from every other, on any host, before and after a reboot.
///
/// Every change of hands draws a new [`writer_id`](HolderId::writer_id).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderId {
    /// The host name by gethostname(2), control characters escaped.
    pub hostname: String,
    /// The content of `/proc/sys/kernel/random/boot_id`. `None`: the system has none, or shows one
    /// that is not the kernel's (a container of LXC, Incus or systemd-nspawn).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// The inode number of `/proc/self/ns/pid`. `None`: the system has none. In another pid
    /// namespace the pid means another process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_namespace: Option<u64>,
    /// The inode number of `/proc/self/ns/time`. `None`: the system has none. In another time
    /// namespace the same process shows another start time. time_namespaces(7)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_namespace: Option<u64>,
    /// The start time of the process in the unit of its system, on Linux clock ticks since boot; 0 if
    /// not known. proc_pid_stat(5)
    pub start_ticks: u64,
    /// The kernel lock that the process has while it holds the entry. `None`: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) witness: Option<Witness>,
    /// The id of this hold of the entry: a random UUID.
    #[serde(with = "uuid_text")]
    pub writer_id: WriterId,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl HolderId {
    /// A holder whose boot and namespaces are not known. `start_ticks` is the start time of the
    /// process in the unit of its system, on Linux clock ticks since boot; 0 if not known.
    ///
    /// ```
    /// use rvlf::table::HolderId;
    ///
    /// let writer_id = "6ba7b810-9dad-41d1-80b4-00c04fd430c8".parse()?;
    /// let mut holder = HolderId::new("build-7", 51_234, writer_id);
    /// holder.pid_namespace = Some(4_026_531_836);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(hostname: impl Into<String>, start_ticks: u64, writer_id: WriterId) -> HolderId {
        HolderId {
            hostname: hostname.into(),
            boot_id: None,
            pid_namespace: None,
            time_namespace: None,
            start_ticks,
            witness: None,
            writer_id,
            unknown: Map::new(),
        }
    }
}

/// A writer id in JSON: its text.
mod uuid_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::record::WriterId;

    pub(super) fn serialize<S: Serializer>(id: &WriterId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<WriterId, D::Error> {
        let text = String::deserialize(from)?;
        text.parse()
            .map_err(|_| D::Error::custom(format_args!("writer_id {text:?} is not a UUID")))
    }
}
