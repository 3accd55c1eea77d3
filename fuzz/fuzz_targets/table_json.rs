//! Any bytes as an allocation table: refused with a place in them, or read, written and read again
//! without loss; and whatever the table says, looking at it and operating on it ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rvlf::table::{Claim, EntryHolder, ScopeRule, Table};
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let mut table = match Table::parse(bytes) {
        Ok(table) => table,
        Err(error) => {
            let lines = bytes.split(|byte| *byte == b'\n').count();
            assert!((1..=lines).contains(&error.line()), "{error}");
            return;
        }
    };
    let json = table.to_json().expect("JSON in, JSON out");
    assert_eq!(Table::parse(&json).expect("it was just written"), table);
    if let Ok(before) = serde_json::from_slice::<Value>(bytes) {
        let after = serde_json::from_slice(&json).expect("it was just written");
        assert_kept(&before, &after);
    }

    for problem in table.problems() {
        let _ = problem.to_string();
    }
    let names: Vec<String> = { table.entries.iter() }
        .map(|entry| entry.name.clone())
        .collect();
    let process = EntryHolder::from_pid(1);
    let rule = ScopeRule::write("/a");
    let conflicts = table.conflicts(&rule).len();
    let claim = Claim::new("\u{0}new").allow(rule.clone());
    let registered = table.register(&claim, "\u{0}new", &process);
    assert!(
        registered.is_err() || conflicts == 0,
        "what somebody has is not given to another"
    );
    for name in &names {
        let _ = table.effective_write_scope(name);
        let _ = table.delegate(name, &claim, &process);
        let _ = table.reclaim_delegated(name, "\u{0}new", &[rule.clone()]);
    }
    table.reclaim_stale_with(|entry| entry.pid % 2 == 0);
    for name in &names {
        let _ = table.release(name);
    }
});

/// Every value that was there is there, in the same place; values may have been added.
fn assert_kept(before: &Value, after: &Value) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in before {
                let kept = after.get(key);
                // A field that is null may be left out.
                if !value.is_null() || kept.is_some() {
                    assert_kept(value, kept.expect("no field is lost"));
                }
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            assert_eq!(before.len(), after.len());
            before
                .iter()
                .zip(after)
                .for_each(|(before, after)| assert_kept(before, after));
        }
        // Ids are written in one way, and may be read in several.
        (Value::String(before), Value::String(after)) => {
            let digits = |text: &str| text.replace('-', "").to_ascii_lowercase();
            assert_eq!(digits(before), digits(after));
        }
        _ => assert_eq!(before, after),
    }
}
