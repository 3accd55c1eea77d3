//! `rvlf run`: the command, its exit status, and other writers meanwhile.

use std::fs;

use crate::support::{Ended, RVLF, Running, Scratch};

#[test]
fn the_exit_status_of_the_command_is_that_of_rvlf() {
    let scratch = Scratch::new();
    for status in [0, 1, 75, 255] {
        let mut run = scratch.run_role(&[], &format!("exit {status}"));
        let ended = Ended::of(&mut run).expect_status(status);
        assert_eq!(ended.err, "", "{status}");
    }
    scratch.rvlf(&["status", "d"]).expect_status(0);
}

// A script distinguishes "not found" from a status of its command.
#[test]
fn a_command_that_does_not_exist_is_reported_and_the_lock_is_free() {
    let scratch = Scratch::new();
    let ended = scratch
        .rvlf(&["run", "d", "no-such-command"])
        .expect_status(127);
    assert!(
        ended.err.contains("cannot run no-such-command"),
        "{ended:?}"
    );
    scratch.rvlf(&["status", "d"]).expect_status(0);
}

#[test]
fn the_command_is_found_in_path() {
    let scratch = Scratch::new();
    let bin = scratch.path("bin");
    fs::create_dir(&bin).expect("the directory is writable");
    let name = format!("found{}", std::env::consts::EXE_SUFFIX);
    // A child that another test forks has what this process writes open for a moment: a copy could not be executed.
    if fs::hard_link(RVLF, bin.join(&name)).is_err() {
        fs::copy(RVLF, bin.join(&name)).expect("there is room");
    }
    let mut run = scratch.command(RVLF, &["run", "d", "found", "--version"]);
    let ended = Ended::of(run.env("PATH", &bin)).expect_status(0);
    assert!(ended.out.starts_with("rvlf "), "{ended:?}");
}

#[test]
fn the_command_finds_the_lock_in_its_environment() {
    let scratch = Scratch::new();
    let print = |variable: &str| {
        let mut run = scratch.run_role(&[], &format!("print {variable}"));
        Ended::of(&mut run).expect_status(0).out
    };
    assert!(print("RVLF_LOCK_PATH").contains("d.lock"));
    let has_id = |text: &str| {
        text.lines()
            .any(|line| line.parse::<rvlf::WriterId>().is_ok())
    };
    for variable in ["RVLF_WRITER_ID", "RVLF_HOLDS"] {
        assert!(has_id(&print(variable)), "{variable}");
    }
}

// It would wait for itself.
#[test]
fn a_second_run_inside_the_first_is_refused() {
    let scratch = Scratch::new();
    let inner = ["run", "d", RVLF, "run", "--wait", "d", RVLF, "--version"];
    let ended = scratch.rvlf(&inner).expect_status(125);
    assert!(
        ended.err.contains("the rvlf run that started this command"),
        "{ended:?}"
    );
}

#[test]
fn another_writer_is_refused_and_the_holder_is_named() {
    let scratch = Scratch::new();
    let holder = scratch.hold(&[], "stay");

    let ended = scratch
        .rvlf(&["run", "d", RVLF, "--version"])
        .expect_status(75);
    let named = format!("pid {}", holder.pid());
    assert!(ended.err.contains(&named), "{named}: {ended:?}");
    assert_eq!(ended.out, "", "the command has not run");

    let refused = |options: &[&str], status| {
        let run = [&["run"], options, &["d", RVLF, "--version"]].concat();
        scratch.rvlf(&run).expect_status(status)
    };
    refused(&["-n", "-E", "9"], 9);
    assert_eq!(refused(&["-q"], 75).err, "");
    refused(&["--wait", "100ms"], 75);
    refused(&["-w", "0.1"], 75);
}

#[test]
fn a_waiter_runs_when_the_holder_has_ended() {
    let scratch = Scratch::new();
    let mut holder = scratch.hold(&[], "stay");
    let mut waiter = Running::start(&mut scratch.run_role(&["--wait"], "exit 7"));
    waiter.await_message("waiting for d: held by pid");
    holder.end_input();
    assert_eq!(holder.wait().code(), Some(0));
    assert_eq!(waiter.wait().code(), Some(7));
    scratch.rvlf(&["status", "d"]).expect_status(0);
}
