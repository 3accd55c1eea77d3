//! One check and one change of a table in memory, for tables whose entries share paths in different
//! ways: both must grow with the table, and not with the number of pairs.
//!
//! One change of the allocation table, from open to close, at three sizes; in memory where there is
//! a tmpfs, for a disk's syncs would hide all else.
//!
//! Each save writes a whole new file: the cost must grow with the table, and no faster.

use std::path::Path;
use std::time::Duration;

use rvlf::table::{Claim, Entry, EntryHolder, ScopeRule, Table, TableGuard};
use rvlf_benches::{Goal, Mode, directories, interleaved, report_goal, show_time};

const PATIENCE: Duration = Duration::from_secs(60);

const SIZES: [u32; 3] = [1, 1_000, 10_000];

/// A table of `size` live entries, a tenth of them delegated.
fn fill(path: &Path, size: u32) {
    let mut guard = TableGuard::open(path, PATIENCE).expect("no other process has the table");
    let claim = Claim::new("0").allow(ScopeRule::write("/data/0"));
    guard.register(&claim, "s0").expect("the scope is free");
    let first = guard.table().to_json().expect("paths are ASCII");
    let first: serde_json::Value = serde_json::from_slice(&first).expect("it is JSON");
    let first = first.pointer("/allocations/0").expect("one was registered");
    let entries = (0..size).map(|number| {
        let mut entry = first.clone();
        let (parent, is_child) = (number / 10 * 10, number % 10 == 9);
        let target = if is_child {
            format!("/data/{parent}/{number}")
        } else {
            format!("/data/{number}")
        };
        if let Some(fields) = entry.as_object_mut() {
            let parent = is_child.then(|| parent.to_string());
            fields.insert("pod_name".into(), number.to_string().into());
            fields.insert("segment_id".into(), format!("s{number}").into());
            fields.insert("delegated_from".into(), parent.into());
            let rule = serde_json::json!([{"target": target, "permission": "write"}]);
            fields.insert("scope_allow".into(), rule);
        }
        entry
    });
    let table = serde_json::json!({"allocations": entries.collect::<Vec<_>>()});
    *guard.table_mut() = serde_json::from_value(table).expect("it is a table");
    assert_eq!(guard.table().problems(), []);
    guard.save().expect("there is room");
}

/// Opens, registers, saves and closes.
fn change(path: &Path) {
    let claim = Claim::new("new").allow(ScopeRule::write("/data/new"));
    let mut guard = TableGuard::open(path, PATIENCE).expect("no other process has the table");
    // The entry of the round before: every round begins alike.
    if guard.table().find("new").is_some() {
        guard.release("new").expect("the entry was just found");
    }
    guard.register(&claim, "new").expect("the scope is free");
    guard.save().expect("there is room");
}

/// Tables that differ in who shares paths with whom.
#[derive(Clone, Copy)]
enum Shape {
    /// Each entry has delegated all that it has to the next one.
    Chain,
    /// All entries have one scope, and none delegated it to another.
    OneScope,
    /// One entry has delegated a part to each of the others.
    Parts,
    /// One entry denies itself what each of the others has: a parent that was restored after a crash.
    Denied,
}

const SHAPES: [(&str, Shape); 4] = [
    ("in one chain", Shape::Chain),
    ("with one scope", Shape::OneScope),
    ("of one parent", Shape::Parts),
    ("that one entry denies itself", Shape::Denied),
];

impl Shape {
    fn table(self, size: u32) -> Table {
        let mut table = Table::default();
        let mut first = self.entry(0);
        if matches!(self, Shape::Denied) {
            let others = (1..size).map(|number| ScopeRule::write(format!("/data/{number}")));
            first.deny.extend(others);
        }
        table.entries.push(first);
        table
            .entries
            .extend((1..size).map(|number| self.entry(number)));
        table
    }

    fn entry(self, number: u32) -> Entry {
        let mut entry = Entry::new(number.to_string(), EntryHolder::from_pid(1));
        let is_whole = number == 0 || matches!(self, Shape::Chain | Shape::OneScope);
        let target = if is_whole {
            "/data".into()
        } else {
            format!("/data/{number}")
        };
        entry.allow.push(ScopeRule::write(target));
        entry.segment = Some(format!("s{number}"));
        entry.parent = match self {
            Shape::Chain => number.checked_sub(1).map(|parent| parent.to_string()),
            Shape::Parts if number > 0 => Some("0".into()),
            _ => None,
        };
        entry
    }
}

/// Registers and releases an entry that conflicts with none, then one that conflicts with all.
fn register(table: &mut Table) {
    let holder = EntryHolder::from_pid(1);
    let free = Claim::new("new").allow(ScopeRule::write("/new"));
    table
        .register(&free, "new", &holder)
        .expect("the scope is free");
    let part = Claim::new("part").allow(ScopeRule::write("/new/part"));
    table
        .delegate("new", &part, &holder)
        .expect("the scope is its parent's");
    table.release("part").expect("it was just delegated");
    table.release("new").expect("it was just registered");
    let held = Claim::new("new").allow(ScopeRule::write("/data"));
    table
        .register(&held, "new", &holder)
        .expect_err("the scope is held");
}

/// What a check and a change of 10,000 entries cost, against reading them from JSON: work that grows
/// with the table, on as much memory.
fn measure_shapes(mode: Mode) {
    let parse = |json: &[u8]| drop(Table::parse(json).expect("it was written by the library"));
    for (name, shape) in SHAPES {
        let table = shape.table(mode.pick(10_000, 100));
        let json = table.to_json().expect("paths are ASCII");
        let mut changed = table.clone();
        let [parsed, checked, changed] = interleaved(
            mode.pick(9, 1),
            mode.pick(2, 1),
            [
                &mut || parse(&json),
                &mut || drop(table.problems()),
                &mut || register(&mut changed),
            ],
        );
        for (what, samples) in [
            ("check of", checked),
            ("register and delegate among", changed),
        ] {
            let what = format!("{what} 10,000 entries {name}, against parsing them");
            println!("{what}: {}", show_time(samples.median()));
            let ratio = samples.ratio_to(&parsed);
            report_goal(mode, &what, Goal::AtMost(3.0), "memory", ratio);
        }
    }
}

fn main() {
    let Some(mode) = Mode::from_args_of("table") else {
        return;
    };
    measure_shapes(mode);
    let directory = directories()
        .pop()
        .expect("the build directory is writable");
    let paths = SIZES.map(|size| directory.join(&format!("{size}.json")));
    for (path, size) in paths.iter().zip(SIZES) {
        fill(path, size);
    }
    let [one, thousand, ten_thousand] = &paths;
    let samples = interleaved(
        mode.pick(15, 1),
        mode.pick(5, 1),
        [&mut || change(one), &mut || change(thousand), &mut || {
            change(ten_thousand)
        }],
    );
    println!("open, register, save, close, {}:", directory.file_system);
    for (samples, size) in samples.iter().zip(SIZES) {
        println!("  {size:>6} entries  {:>10}", show_time(samples.median()));
    }
    let [_, thousand, ten_thousand] = &samples;
    report_goal(
        mode,
        "one entry of the allocation table among 10,000, against one among 1,000",
        Goal::AtMost(1.5),
        directory.file_system,
        ten_thousand.ratio_to(thousand) / 10.0,
    );
}
