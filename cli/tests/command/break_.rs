//! `rvlf break`: what it removes, and what it refuses to remove.

use std::fs;

use crate::support::{Directory, Holder, LONG_AGO};

#[test]
fn break_removes_a_stale_lock() {
    let dir = Directory::new();
    dir.plant("d.rvf.lock", b"elsewhere", LONG_AGO);
    let broken = dir.rvlf(&["break", "d.rvf"]);
    assert_eq!(broken.code(), 0, "{}", broken.stderr);
    assert!(
        broken.stdout.contains("elsewhere"),
        "whose: {}",
        broken.stdout
    );
    assert!(dir.is_empty(), "removed, and no leftover");
}

// An operator breaks a lock that looks dead. By force only the lock that the operator has seen may
// go, and not the lock of its successor.
#[test]
fn break_removes_a_held_lock_only_by_force_and_by_its_writer_id() {
    let dir = Directory::new();
    // A refresh would change the bytes that are compared.
    let holder = Holder::with_options(&dir, &["--no-keepalive", "--on-lost=warn"]);
    let json = dir.rvlf(&["status", "--json", "d.rvf"]).json();
    let id = json["record"]["writer_id"]
        .as_str()
        .expect("a writer id is text");
    let before = fs::read(dir.join("d.rvf.lock")).expect("the lock file exists");
    let refused = dir.rvlf(&["break", "d.rvf"]);
    let message = &refused.stderr;
    assert_eq!(refused.code(), 1, "held");
    assert!(message.contains(id), "the writer id: {message}");
    assert!(
        message.contains("end process"),
        "the process to end first: {message}"
    );
    let wrong = "00000000-0000-4000-8000-000000000000";
    let refused = dir.rvlf(&["break", "--force", "--writer-id", wrong, "d.rvf"]);
    let message = &refused.stderr;
    assert_eq!(refused.code(), 1, "another writer id: {message}");
    assert!(message.contains(wrong), "the given id: {message}");
    assert!(message.contains(id), "and the one in the record: {message}");
    let after = fs::read(dir.join("d.rvf.lock")).expect("the lock file exists");
    assert_eq!(after, before, "the lock is unchanged");

    let broken = dir.rvlf(&["break", "--force", "--writer-id", id, "d.rvf"]);
    assert_eq!(broken.code(), 0, "{}", broken.stderr);
    assert!(dir.is_empty(), "removed, and no leftover");
    let ended = holder.end();
    assert!(
        ended.stderr.contains("lock lost"),
        "reported: {}",
        ended.stderr
    );
    assert_eq!(
        ended.code(),
        1,
        "with --on-lost=warn, the command's own status"
    );
}
