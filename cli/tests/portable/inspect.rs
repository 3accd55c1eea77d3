//! The verbs that show a lock, or wait for it.

use std::fs;

use crate::support::{RVLF, Running, Scratch};

#[test]
fn a_held_lock_is_shown_and_a_free_one() {
    let scratch = Scratch::new();
    let free = scratch.rvlf(&["status", "d"]).expect_status(0);
    assert!(free.out.starts_with("d: free"), "{free:?}");

    let holder = scratch.hold(&[], "stay");
    let held = scratch.rvlf(&["status", "d"]).expect_status(1);
    let named = format!("d: held by pid {}", holder.pid());
    assert!(held.out.starts_with(&named), "{named}: {held:?}");
    // Its lock file means the same lock.
    scratch.rvlf(&["status", "d.lock"]).expect_status(1);
    let json = scratch.rvlf(&["status", "--json", "d"]).expect_status(1);
    let json: serde_json::Value = serde_json::from_str(&json.out).expect("it is JSON");
    assert_eq!(
        json.get("state").and_then(|state| state.as_str()),
        Some("held")
    );
}

// A deployed client, an operator and `dump` read the record while it is held.
#[test]
fn the_record_of_a_held_lock_can_be_read() {
    let scratch = Scratch::new();
    let _holder = scratch.hold(&[], "stay");
    let dump = scratch.rvlf(&["dump", "d.lock"]).expect_status(0);
    assert!(dump.out.contains("pid"), "{dump:?}");
    let bytes = fs::read(scratch.path("d.lock")).expect("it can be read");
    assert_eq!(bytes.len(), 104);
}

#[test]
fn scan_lists_the_held_locks_of_a_directory() {
    let scratch = Scratch::new();
    scratch.rvlf(&["scan", "."]).expect_status(0);
    let _holder = scratch.hold(&[], "stay");
    let scan = scratch.rvlf(&["scan", "."]).expect_status(1);
    assert!(scan.out.contains("held by pid"), "{scan:?}");
}

#[test]
fn wait_returns_when_the_lock_is_free() {
    let scratch = Scratch::new();
    scratch.rvlf(&["wait", "d"]).expect_status(0);
    let mut holder = scratch.hold(&[], "stay");
    scratch
        .rvlf(&["wait", "--timeout", "100ms", "d"])
        .expect_status(1);
    let mut waiter = Running::start(&mut scratch.command(RVLF, &["wait", "d"]));
    waiter.await_message("waiting for d: held by pid");
    holder.end_input();
    assert_eq!(waiter.wait().code(), Some(0));
}

// A file of another program must survive.
#[test]
fn a_file_of_another_program_is_left_alone() {
    let scratch = Scratch::new();
    let text = "the lock file of another program";
    fs::write(scratch.path("d.lock"), text).expect("the directory is writable");
    scratch.rvlf(&["status", "d"]).expect_status(4);
    scratch
        .rvlf(&["run", "d", RVLF, "--version"])
        .expect_status(125);
    scratch.rvlf(&["break", "d"]).expect_status(4);
    let left = fs::read_to_string(scratch.path("d.lock"));
    assert_eq!(left.expect("it is still there"), text);
}
