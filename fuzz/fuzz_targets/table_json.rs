//! Parses any bytes as an allocation table, in memory and as a file. The parser either refuses the bytes and
//! names a line within them, or the table survives writing and reading without loss. Every operation on
//! the table ends, whatever the table says. A file that cannot be read stays as it is.
#![no_main]

use std::fs;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use rvlf::table::{Claim, EntryHolder, ScopeRule, Table, TableError, TableGuard, snapshot};
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    check_file(bytes);
    match Table::parse(bytes) {
        Ok(table) => {
            check_round_trip(&table, bytes);
            operate(table);
        }
        Err(error) => {
            let lines = bytes.split(|byte| *byte == b'\n').count();
            assert!((1..=lines).contains(&error.line()), "{error}");
        }
    }
});

fn check_round_trip(table: &Table, bytes: &[u8]) {
    let json = table.to_json().expect("a table from JSON converts to JSON");
    let again = Table::parse(&json).expect("a table can be read back");
    assert_eq!(again, *table);
    if let Ok(before) = serde_json::from_slice::<Value>(bytes) {
        let after = serde_json::from_slice(&json).expect("a table is JSON");
        assert_kept(&before, &after);
    }
}

/// The file holds what its bytes say; what it says of processes is looked up in this kernel.
fn check_file(bytes: &[u8]) {
    let directory = support::directory_in_memory();
    let path = directory.path().join("table.json");
    fs::write(&path, bytes).expect("the directory is ours");
    let Ok(table) = Table::parse(bytes) else {
        for error in [
            snapshot(&path).map(drop).unwrap_err(),
            TableGuard::open(&path, Duration::ZERO)
                .map(drop)
                .unwrap_err(),
        ] {
            assert!(matches!(error, TableError::Parse { .. }), "{error}");
        }
        let left = fs::read(&path).expect("the file is still there");
        assert_eq!(left, bytes, "what cannot be read is left as it is");
        return;
    };
    let found = snapshot(&path).expect("the bytes are a table");
    assert_eq!(found.table, table);
    for (entry, liveness) in found.entries() {
        let _ = format!("{entry}: {liveness}");
    }
    let mut guard = TableGuard::open(&path, Duration::ZERO).expect("no other process has it");
    guard.reclaim_stale();
    let liveness = guard.liveness();
    assert!(!liveness.iter().any(|liveness| liveness.is_dead()));
    let claim = Claim::new("\u{0}new").allow(ScopeRule::write("/a"));
    if let Err(error) = guard.register(&claim, "\u{0}new") {
        let _ = error.to_string();
    }
    guard.save().expect("the directory is ours");
    let saved = snapshot(&path).expect("a table was saved").table;
    assert_eq!(saved.entries, guard.table().entries);
}

fn operate(mut table: Table) {
    for problem in table.problems() {
        let _ = problem.to_string();
    }
    for problem in table.compatibility_problems() {
        let _ = problem.to_string();
    }
    let entries = table.entries.iter();
    let names: Vec<String> = entries.map(|entry| entry.name.clone()).collect();
    let holder = EntryHolder::from_pid(1);
    let rule = ScopeRule::write("/a");
    let conflicts = table.conflicts(&rule).len();
    let claim = Claim::new("\u{0}new").allow(rule.clone());
    let registered = table.register(&claim, "\u{0}new", &holder);
    assert!(
        registered.is_err() || conflicts == 0,
        "paths that another entry holds were registered"
    );
    for name in &names {
        let _ = table.effective_write_scope(name);
        let _ = table.delegate(name, &claim, &holder);
        let _ = table.reclaim_delegated(name, "\u{0}new", &[rule.clone()]);
    }
    table.reclaim_stale_with(|entry| entry.pid % 2 == 0);
    for name in &names {
        let _ = table.release(name);
    }
}

/// Checks that `after` has every value of `before` in the same place. It may have more.
fn assert_kept(before: &Value, after: &Value) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in before {
                let kept = after.get(key);
                // A field that is null may be left out.
                if !value.is_null() || kept.is_some() {
                    assert_kept(value, kept.expect("every field is kept"));
                }
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            assert_eq!(before.len(), after.len());
            for (before, after) in before.iter().zip(after) {
                assert_kept(before, after);
            }
        }
        // An id can be read in several spellings and is written in one.
        (Value::String(before), Value::String(after)) => {
            let digits = |text: &str| text.replace('-', "").to_ascii_lowercase();
            assert_eq!(digits(before), digits(after));
        }
        _ => assert_eq!(before, after),
    }
}
