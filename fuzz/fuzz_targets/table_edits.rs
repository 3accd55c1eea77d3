//! Any operations on a table that other writers edit between them: they drop the holders, as `yoi` does,
//! rename a field, add fields, and add or remove entries. A refusal changes nothing, nothing unknown is lost,
//! a dead process holds nothing, and without such edits the entries never contradict each other.
//!
//! First in memory, and then in a file with allocations of this process: each knows whether its entry is
//! still its own, whatever was edited, and a table that was replaced while it was locked is not overwritten.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rvlf::table::{
    Allocation, Claim, EntryHolder, ScopeRule, Table, TableError, TableGuard, snapshot,
};
use serde_json::{Value, json};

/// More steps show nothing that these do not.
const STEPS: usize = 32;

const PATHS: [&str; 8] = [
    "/",
    "/a",
    "/a/b",
    "/a/b/c",
    "/a/c",
    "/b",
    "/b/./a/..",
    "/b/a",
];

#[derive(Arbitrary, Debug)]
struct Rule {
    path: u8,
    reads: bool,
    shallow: bool,
}

impl Rule {
    fn target(&self) -> &'static str {
        PATHS
            .get(usize::from(self.path) % PATHS.len())
            .copied()
            .unwrap_or("/")
    }

    fn rule(&self) -> ScopeRule {
        let rule = if self.reads {
            ScopeRule::read(self.target())
        } else {
            ScopeRule::write(self.target())
        };
        if self.shallow { rule.shallow() } else { rule }
    }
}

#[derive(Arbitrary, Debug)]
struct NewClaim {
    name: u8,
    allow: Vec<Rule>,
    deny: Option<Rule>,
}

impl NewClaim {
    fn claim(&self) -> Claim {
        let allow = self.allow.iter().take(3).map(Rule::rule);
        let claim = allow.fold(Claim::new(name(self.name)), Claim::allow);
        self.deny.iter().map(Rule::rule).fold(claim, Claim::deny)
    }
}

#[derive(Arbitrary, Debug)]
enum Step {
    Register(NewClaim, u8, u8),
    Delegate(u8, NewClaim, u8),
    DelegateWithin(u8, Vec<Rule>, NewClaim, u8),
    Adopt(u8, u8, u8),
    Segment(u8, u8),
    Release(u8),
    Reclaim(u8, u8, Vec<Rule>),
    Die(u8),
    Edit(Edit),
}

/// What another program writes into the file.
#[derive(Arbitrary, Debug)]
enum Edit {
    DropHolders,
    RenameField,
    UnknownField(u8),
    AddEntry(NewClaim, u8),
    RemoveEntry(u8),
    Holder(u8, HolderEdit),
}

/// What makes a process look dead, unknown, or like another one.
#[derive(Arbitrary, Debug)]
enum HolderEdit {
    Pid(u32),
    StartTicks(u64),
    PidNamespace(u64),
    BootId,
    Hostname,
    WriterId(u128),
    Remove,
}

/// What a process does with the table's file. An allocation is named by its place.
#[derive(Arbitrary, Debug)]
enum FileStep {
    Register(NewClaim, u8),
    Adopt(u8, u8),
    Delegate(u8, NewClaim),
    DelegateWithin(u8, Vec<Rule>, NewClaim),
    Reclaim(u8, u8, Vec<Rule>),
    Segment(u8, u8),
    Release(u8),
    ReleaseByHand(u8),
    ReclaimStale,
    /// Another process saves while this one has the lock of the table.
    ReplaceWhileLocked,
    Edit(Edit),
}

fn name(number: u8) -> String {
    format!("e{}", number % 8)
}

fn segment(number: u8) -> String {
    format!("s{}", number % 8)
}

fn process(number: u8) -> EntryHolder {
    EntryHolder::from_pid(1 + u32::from(number % 4))
}

/// Whether it was done; a refusal is no failure.
fn operate(step: &Step, table: &mut Table) -> Result<(), TableError> {
    match step {
        Step::Register(new, id, pid) => table.register(&new.claim(), &segment(*id), &process(*pid)),
        Step::Delegate(parent, new, pid) => {
            table.delegate(&name(*parent), &new.claim(), &process(*pid))
        }
        Step::DelegateWithin(parent, authority, new, pid) => {
            let authority: Vec<_> = authority.iter().take(3).map(Rule::rule).collect();
            table.delegate_within(&name(*parent), &authority, &new.claim(), &process(*pid))
        }
        Step::Adopt(child, id, pid) => table.adopt(&name(*child), &segment(*id), &process(*pid)),
        Step::Segment(entry, id) => table.update_segment(&name(*entry), &segment(*id)),
        Step::Release(entry) => table.release(&name(*entry)).map(drop),
        Step::Reclaim(parent, child, rules) => {
            let rules: Vec<_> = rules.iter().take(3).map(Rule::rule).collect();
            table
                .reclaim_delegated(&name(*parent), &name(*child), &rules)
                .map(drop)
        }
        Step::Die(pid) => {
            let pid = 1 + u32::from(*pid % 4);
            table.reclaim_stale_with(|entry| entry.pid == pid);
            assert!(
                table.entries.iter().all(|entry| entry.pid != pid),
                "a dead holder"
            );
            Ok(())
        }
        Step::Edit(_) => Ok(()),
    }
}

fn edit(edit: &Edit, value: &mut Value) {
    let Some(entries) = value.get_mut("allocations").and_then(Value::as_array_mut) else {
        return;
    };
    let objects = entries.iter_mut().filter_map(Value::as_object_mut);
    match edit {
        Edit::DropHolders => objects.for_each(|entry| drop(entry.remove("holder"))),
        Edit::RenameField => objects.for_each(|entry| {
            if let Some(name) = entry.remove("pod_name") {
                entry.insert("worker_name".to_owned(), name);
            }
        }),
        Edit::UnknownField(number) => objects.for_each(|entry| {
            entry.insert(format!("unknown{}", number % 4), json!([number, null]));
        }),
        Edit::AddEntry(new, pid) => entries.push(written(new, *pid)),
        Edit::RemoveEntry(at) => {
            if usize::from(*at) < entries.len() {
                entries.remove(usize::from(*at));
            }
        }
        Edit::Holder(at, change) => {
            if let Some(entry) = entries.get_mut(usize::from(*at)) {
                edit_holder(change, entry);
            }
        }
    }
}

fn edit_holder(change: &HolderEdit, entry: &mut Value) {
    let (field, value) = match change {
        HolderEdit::Pid(pid) => {
            entry["pid"] = json!(pid);
            return;
        }
        HolderEdit::Remove => {
            entry["holder"].take();
            return;
        }
        HolderEdit::StartTicks(ticks) => ("start_ticks", json!(ticks)),
        HolderEdit::PidNamespace(number) => ("pid_namespace", json!(number)),
        HolderEdit::BootId => ("boot_id", json!("another")),
        HolderEdit::Hostname => ("hostname", json!("elsewhere")),
        HolderEdit::WriterId(id) => ("writer_id", json!(format!("{id:032x}"))),
    };
    if let Some(holder) = entry.get_mut("holder").and_then(Value::as_object_mut) {
        holder.insert(field.to_owned(), value);
    }
}

/// An entry as `yoi` writes it.
fn written(new: &NewClaim, pid: u8) -> Value {
    let rule = |rule: &Rule| {
        let permission = if rule.reads { "read" } else { "write" };
        json!({ "target": rule.target(), "permission": permission, "recursive": !rule.shallow })
    };
    let allow: Vec<_> = new.allow.iter().take(3).map(rule).collect();
    json!({ "pod_name": name(new.name), "pid": pid % 5, "socket": "", "scope_allow": allow,
        "delegated_from": null, "segment_id": null })
}

/// The fields of this target in a table, which no operation may lose but with their entry.
fn unknown_fields(table: &Table) -> Vec<(String, usize)> {
    let json = table.to_json().expect("a table converts to JSON");
    let value: Value = serde_json::from_slice(&json).expect("a table is JSON");
    let entries = value.get("allocations").and_then(Value::as_array);
    let entries = entries.map_or(&[][..], Vec::as_slice);
    let count = |(entry, value): (&rvlf::table::Entry, &Value)| {
        let fields = value
            .as_object()
            .into_iter()
            .flat_map(|object| object.keys());
        let unknown = fields.filter(|key| key.starts_with("unknown"));
        (entry.name.clone(), unknown.count())
    };
    table.entries.iter().zip(entries).map(count).collect()
}

fuzz_target!(|input: (Vec<Step>, Vec<FileStep>)| {
    let (steps, file_steps) = input;
    in_memory(&steps);
    TableFile::new().follow(&file_steps);
});

fn in_memory(steps: &[Step]) {
    let mut table = Table::parse(b"").expect("an empty file is an empty table");
    let mut edited = false;
    for step in steps.iter().take(STEPS) {
        let before = table.clone();
        if let Step::Edit(change) = step {
            edited = true;
            let json = table.to_json().expect("a table converts to JSON");
            let mut value = serde_json::from_slice(&json).expect("a table is JSON");
            edit(change, &mut value);
            // What cannot be read is left as it is.
            table = Table::parse(value.to_string().as_bytes()).unwrap_or(table);
        } else if operate(step, &mut table).is_err() {
            assert_eq!(table, before, "a refusal changed the table: {step:?}");
        } else {
            let kept = unknown_fields(&table);
            for (entry, count) in unknown_fields(&before) {
                let lost = kept.iter().find(|(name, _)| *name == entry);
                let lost = lost.is_some_and(|(_, now)| *now < count);
                // Two entries of one name, which another writer made, may change places.
                let twice = before
                    .entries
                    .iter()
                    .filter(|other| other.name == entry)
                    .count()
                    > 1;
                assert!(
                    !lost || twice,
                    "unknown fields of {entry} are lost: {step:?}"
                );
            }
        }
        let problems = table.problems();
        assert!(
            edited || problems.is_empty(),
            "{problems:?} after {step:?} on {before:?}"
        );
        let json = table.to_json().expect("a table converts to JSON");
        assert_eq!(Table::parse(&json).expect("it can be read back"), table);
    }
}

/// A table's file, and what this process holds in it.
struct TableFile {
    // Before the directory, so that they are released in it.
    held: Vec<Allocation>,
    path: PathBuf,
    is_edited: bool,
    _directory: tempfile::TempDir,
}

impl TableFile {
    fn new() -> TableFile {
        let directory = support::directory_in_memory();
        TableFile {
            held: Vec::new(),
            path: directory.path().join("table.json"),
            is_edited: false,
            _directory: directory,
        }
    }

    fn follow(&mut self, steps: &[FileStep]) {
        for step in steps.iter().take(STEPS) {
            if let Err(error) = self.take(step) {
                assert!(!error.to_string().is_empty());
                assert!(
                    !matches!(error, TableError::Forked { .. } | TableError::Io(_)),
                    "{error} at {step:?}"
                );
            }
            self.check(step);
        }
    }

    fn take(&mut self, step: &FileStep) -> Result<(), TableError> {
        let rules = |rules: &[Rule]| rules.iter().take(3).map(Rule::rule).collect::<Vec<_>>();
        // No other process has the lock of the table.
        let timeout = Duration::ZERO;
        let held = |at: u8| self.held.get(usize::from(at) % self.held.len().max(1));
        match step {
            FileStep::Register(new, id) => {
                let made = Allocation::register(&self.path, &new.claim(), &segment(*id), timeout)?;
                self.held.push(made);
            }
            FileStep::Adopt(child, id) => {
                let made = Allocation::adopt(&self.path, &name(*child), &segment(*id), timeout)?;
                self.held.push(made);
            }
            FileStep::Delegate(at, new) => {
                return held(*at).map_or(Ok(()), |held| held.delegate(&new.claim(), timeout));
            }
            FileStep::DelegateWithin(at, authority, new) => {
                return held(*at).map_or(Ok(()), |held| {
                    held.delegate_within(&rules(authority), &new.claim(), timeout)
                });
            }
            FileStep::Reclaim(at, child, delegated) => {
                let reclaim =
                    |held: &Allocation| held.reclaim(&name(*child), &rules(delegated), timeout);
                let reclaimed = held(*at).map(reclaim);
                // An entry without a parent and with a scope within that of `at` counts as its child, and
                // another allocation of this process may have it.
                let is_held = self.held.iter().any(|held| held.name() == name(*child));
                self.is_edited |= is_held && matches!(reclaimed, Some(Ok(())));
                return reclaimed.unwrap_or(Ok(()));
            }
            FileStep::Segment(at, id) => {
                return held(*at)
                    .map_or(Ok(()), |held| held.update_segment(&segment(*id), timeout));
            }
            FileStep::Release(at) if !self.held.is_empty() => {
                let held = self.held.remove(usize::from(*at) % self.held.len());
                return held.release().map_err(|failed| failed.error);
            }
            FileStep::Release(_) => {}
            FileStep::ReleaseByHand(entry) => {
                let mut guard = TableGuard::open(&self.path, timeout)?;
                guard.release(&name(*entry))?;
                self.is_edited = true;
                guard.save()?;
            }
            FileStep::ReclaimStale => {
                let mut guard = TableGuard::open(&self.path, timeout)?;
                guard.reclaim_stale();
                guard.save()?;
            }
            FileStep::ReplaceWhileLocked => self.replace_while_locked()?,
            FileStep::Edit(change) => self.edit(change),
        }
        Ok(())
    }

    fn replace_while_locked(&self) -> Result<(), TableError> {
        let mut guard = TableGuard::open(&self.path, Duration::ZERO)?;
        let second = TableGuard::open(&self.path, Duration::ZERO);
        assert!(matches!(second, Err(TableError::Timeout { .. })));
        let copy = self.path.with_extension("copy");
        fs::copy(&self.path, &copy).expect("the directory is ours");
        fs::rename(&copy, &self.path).expect("the directory is ours");
        let saved = guard.save();
        assert!(matches!(saved, Err(TableError::Replaced { .. })));
        Ok(())
    }

    fn edit(&mut self, change: &Edit) {
        let Ok(bytes) = fs::read(&self.path) else {
            return;
        };
        if let Ok(mut value) = serde_json::from_slice(&bytes) {
            edit(change, &mut value);
            let edited = value.to_string();
            if Table::parse(edited.as_bytes()).is_ok() {
                self.is_edited = true;
                fs::write(&self.path, edited).expect("the directory is ours");
            }
        }
    }

    fn check(&self, step: &FileStep) {
        let found = snapshot(&self.path).expect("every writer writes tables");
        let problems = found.table.problems();
        assert!(
            self.is_edited || problems.is_empty(),
            "{problems:?} after {step:?}"
        );
        for held in &self.held {
            let entry = found.table.find(held.name());
            let is_own = entry.is_some_and(|entry| entry.writer_id() == Some(held.writer_id()));
            match held.check() {
                Ok(()) => {
                    let has_no_holder = entry.is_some_and(|entry| entry.holder.is_none());
                    assert!(is_own || has_no_holder, "{held:?} after {step:?}");
                }
                Err(TableError::Lost { .. }) => {
                    assert!(self.is_edited && !is_own, "{held:?} is lost after {step:?}");
                }
                Err(error) => panic!("{error} after {step:?}"),
            }
        }
        let own = self.held.iter().map(Allocation::name);
        let own: Vec<_> = own.collect();
        for (entry, liveness) in found.entries() {
            let is_own = own.contains(&entry.name.as_str());
            assert!(
                self.is_edited || !is_own || liveness.is_alive(),
                "{entry} is {liveness} after {step:?}"
            );
        }
    }
}
