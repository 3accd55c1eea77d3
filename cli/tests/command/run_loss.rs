//! `rvlf run` when the lock is lost while the command runs.

use std::fs;

use crate::support::{Directory, Holder, Output, STUBBORN};

fn lose_the_lock(dir: &Directory) {
    fs::remove_file(dir.join("d.rvf.lock")).expect("the lock file exists");
}

// An operator removes the lock file while the command writes. The command must not write on.
#[test]
fn the_command_is_terminated_when_the_lock_is_lost() {
    let dir = Directory::new();
    let holder = Holder::start(&dir);
    lose_the_lock(&dir);
    let ended = holder.ended();
    let message = &ended.stderr;
    assert_eq!(ended.code(), 128 + 15, "ended by SIGTERM: {message}");
    assert!(
        message.contains("lock lost: the lock file was removed"),
        "{message}"
    );
    assert!(message.contains("SIGTERM"), "{message}");
    assert_eq!(message.matches("lock lost").count(), 1, "once: {message}");
}

// A command that hangs in its clean-up after the loss still has the data file open.
#[test]
fn a_command_that_ignores_sigterm_after_the_loss_is_killed() {
    let dir = Directory::new();
    let holder = Holder::running(&dir, &[], &STUBBORN);
    lose_the_lock(&dir);
    let ended = holder.ended();
    let message = &ended.stderr;
    assert_eq!(ended.code(), 128 + 9, "ended by SIGKILL: {message}");
    assert!(message.contains("sending SIGKILL"), "{message}");
}

// The command exits with 0, and the loss was not detected before: a script would go on with data
// that two processes have written.
#[test]
fn a_command_that_succeeds_without_the_lock_is_a_failure() {
    let dir = Directory::new();
    let run = |options: &[&str]| -> Output {
        let (run, removal) = (["run", "--no-keepalive"], "rm \"$RVLF_LOCK_PATH\"");
        let command = ["d.rvf", "--", "sh", "-c", removal];
        dir.rvlf(&[&run, options, &command].concat())
    };
    let ended = run(&[]);
    assert_eq!(ended.code(), 125, "{}", ended.stderr);
    assert!(ended.stderr.contains("lock lost"), "{}", ended.stderr);
    let warned = run(&["--on-lost=warn"]);
    assert_eq!(warned.code(), 0, "only a message: {}", warned.stderr);
    assert!(warned.stderr.contains("lock lost"), "{}", warned.stderr);
}
