//! One change of the allocation table, from open to close, at three sizes; in memory where there is
//! a tmpfs, for a disk's syncs would hide all else.
//!
//! Each save writes a whole new file: the cost must grow with the table, and no faster.

use std::path::Path;
use std::time::Duration;

use rvlf::table::{Claim, ScopeRule, TableGuard};
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

fn main() {
    let Some(mode) = Mode::from_args_of("table") else {
        return;
    };
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
