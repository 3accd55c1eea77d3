//! What is so on Windows alone.

use crate::support::{Ended, Scratch};

// 0xC0000005 is an access violation: a script must see that its command has crashed.
#[test]
fn an_exit_status_of_32_bits_is_passed_on() {
    let scratch = Scratch::new();
    for status in [256, 0x1234_5678, 0xC000_0005_u32 as i32] {
        let mut run = scratch.run_role(&[], &format!("exit {status}"));
        Ended::of(&mut run).expect_status(status);
    }
}

// What the command has started writes the data file, too.
#[test]
fn all_that_the_command_has_started_ends_with_rvlf() {
    let scratch = Scratch::new();
    let mut run = scratch.hold(&[], "both");
    run.kill();
    // Their input has not ended.
    run.await_end_of_all();
}

// Where the kernel refuses that, a held lock cannot be taken from a live holder.
#[test]
fn not_even_force_removes_a_held_lock() {
    let scratch = Scratch::new();
    let mut holder = scratch.hold(&[], "stay");
    let json = scratch.rvlf(&["status", "--json", "d"]);
    let json: serde_json::Value = serde_json::from_str(&json.out).expect("it is JSON");
    let record = json.get("record").expect("the lock has a record");
    let id = record.get("writer_id").and_then(|id| id.as_str());
    let id = id.expect("the record has a writer id");
    scratch
        .rvlf(&["break", "--force", "--writer-id", id, "d"])
        .expect_status(1);
    assert!(std::fs::remove_file(scratch.path("d.lock")).is_err());
    holder.end_input();
    assert_eq!(holder.wait().code(), Some(0));
}

#[test]
fn what_windows_does_not_have_is_refused_and_what_works_is_named() {
    let scratch = Scratch::new();
    for (arguments, status, named) in [
        (
            vec!["hold", "--for", "1", "d"],
            125,
            "rvlf run DATA COMMAND",
        ),
        (vec!["run", "-o", "d", "cmd"], 125, "leave --close out"),
        (vec!["scan"], 5, "rvlf scan DIR"),
    ] {
        let ended = scratch.rvlf(&arguments).expect_status(status);
        assert!(ended.err.contains(named), "{arguments:?}: {ended:?}");
    }
}
