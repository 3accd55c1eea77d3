//! Any operations on a table that other writers edit between them: they drop the holders, as `yoi` does,
//! rename a field, add fields, and add or remove entries. A refusal changes nothing, nothing unknown is lost,
//! a dead process holds nothing, and without such edits the entries never contradict each other.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rvlf::table::{Claim, EntryHolder, ScopeRule, Table, TableError};
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

fuzz_target!(|steps: Vec<Step>| {
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
});
