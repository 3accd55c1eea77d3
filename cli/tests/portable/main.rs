//! The command on every system: what its verbs do with real processes. `tests/command` goes further, on
//! Unix.

mod inspect;
mod run;
mod run_end;
mod support;

#[cfg(windows)]
mod windows;

/// Not a test: what a command under `rvlf run` does.
#[test]
fn child_role() {
    support::play_role();
}
