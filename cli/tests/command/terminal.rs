//! What a person at a terminal sees, and Ctrl-C.

use crate::support::{Directory, Holder, on_a_terminal, vector};

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
