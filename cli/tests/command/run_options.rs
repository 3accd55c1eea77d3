//! `rvlf run` as users of flock(1) type it.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::{Directory, Holder, LONG_AGO, RVLF};

// The status 75 of a command cannot be distinguished from the one for a held lock.
#[test]
fn the_status_for_a_held_lock_can_be_chosen() {
    let dir = Directory::new();
    let holder = Holder::start(&dir);
    for (options, status) in [
        (&["-E", "9"][..], 9),
        (&["-E9"], 9),
        (&["--conflict-exit-code", "0"], 0),
        (&["-n"], 75),
        (&["--nonblock"], 75),
        (&["-w", "0.05", "-E", "9"], 9),
    ] {
        let args = [&["run"], options, &["d.rvf", "true"]].concat();
        let refused = dir.rvlf(&args);
        assert_eq!(refused.code(), status, "{args:?}: {}", refused.stderr);
        assert!(refused.stderr.contains("held by pid"), "{args:?}");
    }
    holder.end();
    let ended = dir.rvlf(&["run", "-E", "9", "d.rvf", "sh", "-c", "exit 75"]);
    assert_eq!(ended.code(), 75, "the status of the command");
}

#[test]
fn a_quiet_run_prints_nothing_about_a_held_lock_and_everything_else() {
    let dir = Directory::new();
    let holder = Holder::start(&dir);
    let refused = dir.rvlf(&["run", "-q", "d.rvf", "true"]);
    assert_eq!((refused.code(), refused.stderr.as_str()), (75, ""));
    holder.end();
    let failed = dir.rvlf(&["run", "-q", "missing/d.rvf", "true"]);
    assert_eq!(failed.code(), 125);
    assert!(failed.stderr.contains("missing"), "{}", failed.stderr);
}

#[test]
fn a_wait_is_limited_in_each_of_the_forms_that_users_try() {
    let dir = Directory::new();
    let holder = Holder::start(&dir);
    for options in [
        &["-w", "0.05"][..],
        &["-w0.05"],
        &["--timeout", "50ms"],
        &["--wait", "50ms"],
        &["--wait=50ms"],
    ] {
        let args = [&["run"], options, &["d.rvf", "true"]].concat();
        let refused = dir.rvlf(&args);
        assert_eq!(refused.code(), 75, "{args:?}: {}", refused.stderr);
        assert!(
            refused.stderr.contains("timed out"),
            "{args:?}: {}",
            refused.stderr
        );
    }
    holder.end();
}

#[test]
fn the_command_needs_no_separator_and_keeps_its_options() {
    let dir = Directory::new();
    for args in [
        &["run", "d.rvf", "echo", "-n", "--wait", "5s"][..],
        &["run", "d.rvf", "--", "echo", "-n", "--wait", "5s"],
        &["run", "--wait", "d.rvf", "echo", "-n", "--wait", "5s"],
        &["run", "--", "d.rvf", "echo", "-n", "--wait", "5s"],
    ] {
        let output = dir.rvlf(args);
        assert_eq!(output.stdout, "--wait 5s", "{args:?}: {}", output.stderr);
    }
    let output = dir.rvlf(&["run", "d.rvf", "echo", "a", "--", "b"]);
    assert_eq!(output.stdout, "a -- b\n");
}

// The answer to a line that is wrong is the line to type.
#[test]
fn a_run_without_a_command_says_what_to_type() {
    let dir = Directory::new();
    let output = dir.rvlf(&["run", "d.rvf"]);
    assert_eq!(output.code(), 125);
    assert!(output.stderr.contains("<COMMAND>"), "{}", output.stderr);
    assert!(
        output.stderr.contains("rvlf run d.rvf COMMAND"),
        "{}",
        output.stderr
    );
}

// Taken for a data file, `d.rvf.lock` is free while d.rvf is held: an operator copies a file that is half
// written.
#[test]
fn the_lock_file_stands_for_its_data_file() {
    let dir = Directory::new();
    dir.write("d.rvf", "data");
    let free = dir.rvlf(&["status", "--json", "d.rvf.lock"]).json();
    assert_eq!(
        (&free["state"], &free["data_path"]),
        (&"free".into(), &"d.rvf".into())
    );

    let holder = Holder::start(&dir);
    for (args, status) in [
        (&["status", "d.rvf.lock"][..], 1),
        (&["wait", "--timeout", "10ms", "d.rvf.lock"], 1),
        (&["break", "d.rvf.lock"], 1),
        (&["run", "d.rvf.lock", "true"], 75),
    ] {
        let output = dir.rvlf(args);
        assert_eq!(
            output.code(),
            status,
            "{args:?}: {}{}",
            output.stdout,
            output.stderr
        );
        assert!(!dir.join("d.rvf.lock.lock").exists(), "{args:?}");
    }
    // As the shell expands `*`.
    let listed = dir
        .rvlf(&["status", "--json", "d.rvf", "d.rvf.lock"])
        .json_lines();
    let paths: Vec<_> = listed.iter().map(|lock| &lock["data_path"]).collect();
    assert_eq!(paths, ["d.rvf"], "each data file once");
    holder.end();

    dir.plant("e.rvf.lock", b"elsewhere", LONG_AGO);
    let only = dir.rvlf(&["status", "--json", "e.rvf.lock"]).json();
    assert_eq!(only["data_path"], "e.rvf", "the data file need not exist");
}

// The lock file of a free store that is a directory was taken for a data file: two commands held the store.
#[test]
fn the_lock_file_stands_for_its_directory() {
    let dir = Directory::new();
    fs::create_dir(dir.join("store")).expect("there is room");
    // A command that waits for its own lock is refused.
    let nested = dir.rvlf(&["run", "store.lock", RVLF, "run", "store", "true"]);
    assert_eq!(
        nested.code(),
        125,
        "two commands hold the store: {}",
        nested.stderr
    );
    dir.write("store.lock", "");
    dir.age("store.lock", Duration::from_secs(60));
    for args in [["status", "store"], ["status", "store.lock"]] {
        let output = dir.rvlf(&args);
        assert_eq!(
            output.code(),
            4,
            "{args:?}: {}{}",
            output.stdout,
            output.stderr
        );
    }
    let removed = dir.rvlf(&["break", "store.lock"]);
    assert_eq!(removed.code(), 0, "{}", removed.stderr);
    assert!(!dir.join("store.lock").exists(), "{}", removed.stdout);
}

// "..lock" is the lock file of no data file: "." is a directory.
#[test]
fn the_lock_file_of_no_name_stands_for_itself() {
    let dir = Directory::new();
    for name in ["..lock", "...lock", ".lock"] {
        let output = dir.rvlf(&["run", name, "ls", "-a"]);
        assert!(
            output.stdout.contains(&format!("{name}.lock")),
            "{name}: {}",
            output.stdout
        );
    }
}

// Other programs call their data .lock, too.
#[test]
fn a_data_file_whose_name_ends_in_lock_has_a_lock_of_its_own() {
    let dir = Directory::new();
    dir.write(
        "Cargo.lock",
        "# This file is automatically generated\nversion = 4\n",
    );
    dir.write("Cargo", "");
    let output = dir.rvlf(&["run", "Cargo.lock", "ls"]);
    assert!(
        output.stdout.contains("Cargo.lock.lock"),
        "{}",
        output.stdout
    );
    let output = dir.rvlf(&["run", "new.lock", "ls"]);
    assert!(output.stdout.contains("new.lock.lock"), "{}", output.stdout);
}

// A script that calls itself under its own lock waited for itself.
#[test]
fn a_nested_run_of_the_same_data_file_is_reported_at_once() {
    let dir = Directory::new();
    let inner = ["rvlf", "run", "--wait", "d.rvf", "--", "true"];
    let rvlf = crate::support::RVLF;
    for outer in [
        vec!["run", "d.rvf", "--", rvlf],
        // The inner lock hides the outer one.
        vec!["run", "d.rvf", "--", rvlf, "run", "other", "--", rvlf],
    ] {
        let args = [&outer[..], &inner[1..]].concat();
        let output = dir.rvlf(&args);
        assert_eq!(output.code(), 125, "{args:?}: {}", output.stderr);
        assert!(
            output.stderr.contains("would never end"),
            "{}",
            output.stderr
        );
    }
    let args = [
        "run", "d.rvf", "--", rvlf, "run", "other", "--", "echo", "both",
    ];
    assert_eq!(dir.rvlf(&args).stdout, "both\n", "two locks are no nesting");
    assert!(
        fs::read_dir(dir.path())
            .expect("it is there")
            .next()
            .is_none()
    );
}

// Programs give these signals a meaning: reload, rotate the log, a window that was resized.
#[test]
fn signals_with_a_meaning_of_their_own_reach_the_command() {
    let script = "for s in USR1 USR2 ALRM WINCH; do trap \"echo $s\" $s; done; \
                  echo ready; while :; do sleep 0.05; done";
    let dir = Directory::new();
    let mut holder = Holder::running(&dir, &[], &["sh", "-c", script]);
    for (signal, name) in [
        (Signal::SIGUSR1, "USR1"),
        (Signal::SIGUSR2, "USR2"),
        (Signal::SIGALRM, "ALRM"),
        (Signal::SIGWINCH, "WINCH"),
    ] {
        holder.send(signal);
        assert_eq!(holder.line(), name);
    }
    holder.send(Signal::SIGTERM);
    assert_eq!(holder.ended().code(), 128 + 15);
}
