//! Names that control a terminal: of files, of hosts, of commands, and in arguments that are refused.

use crate::support::{Directory, Holder, LONG_AGO, Output, finish, now_ns};

/// Clears the screen, starts a second line, and reverses the text behind it.
const HOSTILE: &str = "a\u{1b}[2Jb\nc\u{202e}d";
const ESCAPED: &str = r"a\u{1b}[2Jb\nc\u{202e}d";

/// The name is legible as `spelling`, and nothing else of it is printed.
fn assert_harmless(output: &Output, spelling: &str, args: &[&str]) {
    let shown = format!("{}{}", output.stdout, output.stderr);
    assert!(shown.contains(spelling), "{args:?}: legible: {shown:?}");
    let hidden = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    assert!(!shown.contains(hidden), "{args:?}: {shown:?}");
    let second_line = shown.lines().any(|line| line.starts_with('c'));
    assert!(!second_line, "{args:?}: {shown:?}");
}

#[test]
fn no_file_name_controls_a_terminal() {
    let dir = Directory::new();
    let stale = format!("stale{HOSTILE}");
    let holder = Holder::of(&dir, HOSTILE.as_ref());
    dir.plant(&format!("{stale}.lock"), b"elsewhere", LONG_AGO);
    dir.write(&format!("foreign{HOSTILE}.lock"), "another program's");
    let missing = format!("{HOSTILE}/d");
    let cases: [&[&str]; 13] = [
        &["status", HOSTILE],
        &["status", &missing],
        &["status", &stale],
        &["status", &format!("foreign{HOSTILE}")],
        &["wait", "--timeout=10ms", HOSTILE],
        &["wait", &missing],
        &["run", HOSTILE, "--", "true"],
        &["run", &missing, "--", "true"],
        &["run", "--wait=300ms", HOSTILE, "--", "true"],
        &["break", HOSTILE],
        &["dump", &format!("{stale}.lock")],
        &["scan", "."],
        &["table", "--table", &missing, "list"],
    ];
    for args in cases {
        assert_harmless(&dir.rvlf(args), ESCAPED, args);
    }
    let args = ["status", "--json", HOSTILE];
    assert_harmless(&dir.rvlf(&args), r"a\u001b[2Jb\nc\u202ed", &args);
    let args = ["run", &stale, "--", "true"];
    assert_harmless(&dir.rvlf(&args), ESCAPED, &args);
    holder.end();
}

#[test]
fn no_host_name_controls_a_terminal() {
    let dir = Directory::new();
    dir.plant("held.lock", HOSTILE.as_bytes(), now_ns());
    dir.plant("stale.lock", HOSTILE.as_bytes(), LONG_AGO);
    let cases: [&[&str]; 7] = [
        &["status", "held"],
        &["status", "stale"],
        &["run", "held", "--", "true"],
        &["wait", "--timeout=10ms", "held"],
        &["dump", "held.lock"],
        &["scan", "."],
        &["run", "stale", "--", "true"],
    ];
    for args in cases {
        assert_harmless(&dir.rvlf(args), ESCAPED, args);
    }
    let args = ["status", "--json", "held"];
    assert_harmless(&dir.rvlf(&args), r"a\u001b[2Jb\nc\u202ed", &args);
}

// A script passes on what it was given: `rvlf status "$@"`.
#[test]
fn no_argument_of_a_usage_error_controls_a_terminal() {
    let dir = Directory::new();
    let option = format!("--{HOSTILE}");
    let wait = format!("--wait={HOSTILE}");
    let on_lost = format!("--on-lost={HOSTILE}");
    let cases: [&[&str]; 8] = [
        &[HOSTILE],
        &[&option],
        &["status", &option],
        &["run", &wait, "d", "--", "true"],
        &["run", &on_lost, "d", "--", "true"],
        &["break", "--force", "--writer-id", HOSTILE, "d"],
        &["man", HOSTILE],
        &["table", HOSTILE],
    ];
    for args in cases {
        let output = dir.rvlf(args);
        assert_harmless(&output, ESCAPED, args);
        assert!(output.code() == 2 || output.code() == 125, "{args:?}");
    }
    let mut command = dir.command(["status"]);
    std::os::unix::process::CommandExt::arg0(&mut command, HOSTILE);
    let usage = finish(command).stderr;
    assert!(usage.contains("\nUsage: rvlf status "), "{usage:?}");

    for args in [&["run", "d", "--", HOSTILE][..], &["run", "d", HOSTILE]] {
        assert_harmless(&dir.rvlf(args), ESCAPED, args);
    }
}

// "rvlf wait -dash" is a usage error.
#[test]
fn a_proposed_command_names_a_file_that_begins_with_a_hyphen() {
    let dir = Directory::new();
    dir.plant("-dash.lock", b"elsewhere", now_ns());
    let status = dir.rvlf(&["status", "--", "-dash"]);
    assert!(
        status.stdout.contains("rvlf wait ./-dash"),
        "{}",
        status.stdout
    );
    let waited = dir.rvlf(&["wait", "--timeout=10ms", "--", "-dash"]);
    assert!(
        waited.stderr.contains("rvlf status ./-dash"),
        "{}",
        waited.stderr
    );
    assert_eq!(dir.rvlf(&["status", "./-dash"]).code(), 1);
    let lacking = dir.rvlf(&["run", "--", "-dash"]);
    assert!(
        lacking.stderr.contains("rvlf run ./-dash COMMAND"),
        "{}",
        lacking.stderr
    );
}
