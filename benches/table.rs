//! One change of the allocation table, from open to close, at three sizes, in memory where there is
//! a tmpfs: a disk's syncs would be all that one sees.
//!
//! What is saved is a whole new file: the cost must grow with the table, and no faster.

mod common;

use std::path::Path;
use std::time::Duration;

use common::{Mode, goal, grounds, interleaved, show};
use rvlf::table::{Claim, ScopeRule, TableGuard};

const PATIENCE: Duration = Duration::from_secs(60);

const SIZES: [u32; 3] = [1, 1_000, 10_000];

/// A table of `size` live entries, a tenth of them delegated.
fn fill(path: &Path, size: u32) {
    let mut guard = TableGuard::open(path, PATIENCE).expect("nobody has it");
    let claim = Claim::new("0").allow(ScopeRule::write("/data/0"));
    guard.register(&claim, "s0").expect("it is free");
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
    let mut guard = TableGuard::open(path, PATIENCE).expect("nobody has it");
    // So that every round begins alike.
    if guard.table().find("new").is_some() {
        guard.release("new").expect("it was just found");
    }
    guard.register(&claim, "new").expect("it is free");
    guard.save().expect("there is room");
}

fn main() {
    let mode = Mode::from_args();
    if mode == Mode::List {
        println!("table: bench");
        return;
    }
    let ground = grounds()
        .pop()
        .expect("the build directory can be written to");
    let paths = SIZES.map(|size| ground.resource(&format!("{size}.json")));
    for (path, size) in paths.iter().zip(SIZES) {
        fill(path, size);
    }
    let [one, thousand, ten_thousand] = &paths;
    let (rounds, batch) = mode.pick((15, 5), (1, 1));
    let samples = interleaved(
        rounds,
        batch,
        [&mut || change(one), &mut || change(thousand), &mut || {
            change(ten_thousand)
        }],
    );
    println!("open, register, save, close, {}:", ground.name);
    for (samples, size) in samples.iter().zip(SIZES) {
        println!("  {size:>6} entries  {:>10}", show(samples.median()));
    }
    let [_, thousand, ten_thousand] = &samples;
    goal(
        mode,
        "an entry among 10,000 to one among 1,000: linear",
        ten_thousand.ratio_to(thousand) / 10.0,
        1.5,
    );
}
