//! The end of `rvlf run`: rvlf is killed, or the command leaves processes behind.

use crate::support::{Ended, RVLF, Scratch};

// If the lock were free with rvlf's end, the command would write on beside the next writer.
#[test]
fn the_lock_of_a_killed_rvlf_is_recovered_when_its_command_has_ended() {
    let scratch = Scratch::new();
    let mut killed = scratch.hold(&[], "stay");
    killed.kill();
    let next = scratch
        .rvlf(&["run", "--wait", "d", RVLF, "--version"])
        .expect_status(0);
    assert!(next.err.contains("reclaimed from pid"), "{next:?}");
    scratch.rvlf(&["status", "d"]).expect_status(0);
    killed.await_end_of_all();
}

// The command has no descriptor of the lock, and macOS sends it no signal: rvlf is killed, the next writer recovers
// the lock, and the command writes on.
#[cfg(unix)]
#[test]
fn with_close_the_command_of_a_killed_rvlf_is_killed() {
    let scratch = Scratch::new();
    let mut killed = scratch.hold(&["--close"], "stay");
    killed.kill_rvlf();
    // Its input has not ended.
    killed.await_end_of_all();
    scratch
        .rvlf(&["run", "--wait", "d", RVLF, "--version"])
        .expect_status(0);
}

#[test]
fn rvlf_wait_and_break_know_the_lock_of_a_killed_rvlf() {
    let scratch = Scratch::new();
    let mut killed = scratch.hold(&[], "stay");
    scratch.rvlf(&["break", "d"]).expect_status(1);
    killed.kill();
    scratch.rvlf(&["wait", "d"]).expect_status(3);
    scratch.rvlf(&["status", "d"]).expect_status(3);
    let ended = scratch.rvlf(&["break", "d"]).expect_status(0);
    assert!(ended.out.contains("removed"), "{ended:?}");
    let ended = scratch.rvlf(&["break", "d"]).expect_status(0);
    assert!(ended.out.contains("already free"), "{ended:?}");
}

// The process that the command leaves behind may write the data file.
#[test]
fn the_lock_stays_with_a_process_that_the_command_leaves_behind() {
    let scratch = Scratch::new();
    let mut run = scratch.hold(&[], "leave");
    assert_eq!(run.wait().code(), Some(0));
    run.await_message("stays held after the command's end");

    scratch.rvlf(&["status", "d"]).expect_status(1);
    scratch
        .rvlf(&["run", "d", RVLF, "--version"])
        .expect_status(75);
    run.end_input();
    run.await_end_of_all();
    let next = scratch.rvlf(&["run", "--wait", "d", RVLF, "--version"]);
    next.expect_status(0);
}

#[test]
fn wait_children_keeps_the_lock_until_they_have_ended() {
    let scratch = Scratch::new();
    let mut run = scratch.hold(&["--wait-children"], "leave");
    scratch
        .rvlf(&["run", "d", RVLF, "--version"])
        .expect_status(75);
    run.end_input();
    assert_eq!(run.wait().code(), Some(0));
    assert_eq!(run.error_text(), "");
    // Released, and not left to be recovered.
    scratch.rvlf(&["status", "d"]).expect_status(0);
}

#[test]
fn the_next_run_after_many_finds_a_free_lock() {
    let scratch = Scratch::new();
    for _ in 0..10 {
        let ended = Ended::of(&mut scratch.run_role(&[], "exit 0")).expect_status(0);
        assert_eq!(ended.err, "");
    }
}
