//! What a person at a terminal sees, and Ctrl-C.

use std::process::{Command, Stdio};

use ::support::until;

use crate::support::{Directory, Holder, RVLF, can_run_in_container, on_a_terminal, skip, vector};

// Ctrl-C reaches the whole foreground process group. If rvlf sent it to the command once more, many
// programs would take it for a second Ctrl-C and skip their clean-up.
#[test]
fn ctrl_c_reaches_the_command_once_and_rvlf_waits_for_the_command() {
    let dir = Directory::new();
    let script = "n=0; trap 'n=$((n+1))' INT; echo ready; \
                  while [ $n = 0 ]; do sleep 0.05; done; sleep 0.5; echo \"got $n\"; exit 9";
    dir.write("script", script);
    let line = "trap : INT; \"$RVLF\" run d.rvf -- sh ./script; echo \"status $?\"";
    let shown = on_a_terminal(&dir, line, |terminal| {
        terminal.wait_for("ready");
        terminal.press_ctrl_c();
    });
    if let Some(shown) = shown {
        assert!(shown.contains("got 1"), "once: {shown}");
        assert!(shown.contains("status 9"), "the command's status: {shown}");
    }
}

// A terminal that shows no sign of life makes its user kill the command. It must say what it waits
// for, and Ctrl-C must leave a clean line.
#[test]
fn a_waiting_command_shows_the_holder() {
    let dir = Directory::new();
    let holder = Holder::start(&dir);
    for verb in ["wait d.rvf", "run --wait d.rvf -- true"] {
        let line = format!("trap : INT; \"$RVLF\" {verb}; echo \"status $?\"");
        let shown = on_a_terminal(&dir, &line, |terminal| {
            // Not for a number of seconds: on a busy machine the line skips some.
            terminal.wait_for("held by pid");
            terminal.press_ctrl_c();
        });
        let Some(shown) = shown else { break };
        let held = "waiting for d.rvf: held by pid";
        assert!(shown.contains(held), "by whom: {shown:?}");
        assert!(shown.contains("status 130"), "ended by Ctrl-C: {shown:?}");
        let last = shown.rsplit("\x1b[2K").next().unwrap_or_default();
        assert!(!last.contains("waiting"), "the line is cleared: {shown:?}");
    }
    holder.end();
}

#[test]
fn colours_appear_on_terminals_only_and_no_color_turns_them_off() {
    let dir = Directory::new();
    dir.write("x.lock", vector("rt-default.bin"));
    let piped = dir.rvlf(&["dump", "x.lock"]);
    assert!(!piped.stdout.contains('\x1b'), "not on a pipe");
    let Some(shown) = on_a_terminal(&dir, "\"$RVLF\" dump x.lock", |_| {}) else {
        return;
    };
    assert!(shown.contains("\x1b["), "coloured by field: {shown:?}");
    let line = "NO_COLOR=1 \"$RVLF\" dump x.lock";
    let shown = on_a_terminal(&dir, line, |_| {}).expect("script(1) exists");
    assert!(!shown.contains("\x1b["), "NO_COLOR is respected: {shown:?}");
}

// bash ends a script at a Ctrl-C only if the process that it waits for has died of SIGINT: a loop went on.
#[test]
fn ctrl_c_ends_a_script_of_bash() {
    let dir = Directory::new();
    let line = "bash -c '\"$RVLF\" run d.rvf sh -c \"echo ready; exec sleep 60\"; echo went on'";
    let shown = on_a_terminal(&dir, line, |terminal| {
        terminal.wait_for("ready");
        terminal.press_ctrl_c();
    });
    if let Some(shown) = shown {
        assert!(!shown.contains("went on"), "{shown:?}");
        assert!(dir.is_empty(), "the lock is released");
    }
}

// PID 1 cannot end by a signal, and would abort in the attempt.
#[test]
fn ctrl_c_is_the_status_of_the_first_process_of_a_container() {
    if !can_run_in_container() {
        return;
    }
    let dir = Directory::new();
    let line = "trap : INT; unshare --pid --fork --mount-proc \"$RVLF\" run d.rvf \
                sh -c 'echo ready; exec sleep 60'; echo \"status $?\"";
    let shown = on_a_terminal(&dir, line, |terminal| {
        terminal.wait_for("ready");
        terminal.press_ctrl_c();
    });
    if let Some(shown) = shown {
        assert!(shown.contains("status 130"), "{shown:?}");
    }
}

// A terminal that is closed sends SIGHUP to the leader of its session alone. rvlf is that where a window or ssh runs
// nothing else: it took its command for warned as well, and both ran on.
#[test]
fn a_command_ends_with_the_terminal_of_which_rvlf_is_the_session_leader() {
    let dir = Directory::new();
    let line = "\"$RVLF\" run d.rvf sh -c 'echo $$ >pid; echo ready; exec sleep 60'";
    // script(1) closes the terminal when it is killed. Its child is the leader of the session.
    let mut script = Command::new("script");
    script.args(["-qec", &format!("exec {line}"), "/dev/null"]);
    script.current_dir(dir.path()).env("RVLF", RVLF);
    script.stdin(Stdio::piped()).stdout(Stdio::null());
    let Ok(mut script) = script.spawn() else {
        return skip("there is no script(1) to make a terminal");
    };
    until("the command runs", || dir.join("pid").exists());
    script.kill().expect("it runs");
    script.wait().expect("it is a child");
    until("the lock is released", || !dir.join("d.rvf.lock").exists());
}

// With `stty tostop` a message stopped a job of the background, after a loss as well: the command was not ended.
#[test]
fn a_message_stops_no_job_of_the_background() {
    let dir = Directory::new();
    let holder = Holder::start(&dir);
    let line =
        "stty tostop; set -m; \"$RVLF\" run --wait=1s d.rvf true & wait $!; echo \"status $?\"";
    let shown = on_a_terminal(&dir, line, |_| {});
    holder.end();
    if let Some(shown) = shown {
        assert!(shown.contains("status 75"), "{shown:?}");
    }
}

// The keeper drew its line over the shell's prompt, and a terminal with `stty tostop` stopped it: the script waited on
// although the lock was free, and Ctrl-C had no effect.
#[test]
fn a_keeper_that_waits_says_so_once_and_ends_at_ctrl_c() {
    let dir = Directory::new();
    let holder = Holder::start(&dir);
    let line = "stty tostop; sh -c 'keeper=$(\"$RVLF\" hold --for $$ --wait d.rvf) || exit; echo went on'; \
                echo \"status $?\"";
    let line = format!("trap : INT; {line}");
    let shown = on_a_terminal(&dir, &line, |terminal| {
        terminal.wait_for("held by pid");
        terminal.press_ctrl_c();
    });
    holder.end();
    if let Some(shown) = shown {
        assert!(shown.contains("status 130"), "{shown:?}");
        assert!(!shown.contains("went on"), "{shown:?}");
        assert!(
            !shown.contains("\x1b[2K"),
            "a line that replaces itself: {shown:?}"
        );
    }
}
