//! The help, where Windows differs from Unix.

use clap::Command;

const RUN: &str = "\
Run a command while holding the lock of a data file

COMMAND inherits a handle of the lock file, and the lock stays held until COMMAND and every process that \
inherited the handle have ended. If rvlf is killed, Windows ends COMMAND and all that it has started. \
COMMAND finds the path of the lock file in RVLF_LOCK_PATH and the id of this hold in RVLF_WRITER_ID. When \
COMMAND ends, rvlf releases the lock, or leaves it to the processes that still have the handle.";

const RUN_EXAMPLES: &str = "\
EXAMPLES
  rvlf run store.rvf -- compact.exe store.rvf
  rvlf run --wait 30s store.rvf robocopy incoming store.rvf.d
  rvlf run -n -q -E 0 store.rvf cmd /c nightly-if-free.cmd

EXIT STATUS
  That of COMMAND, or
  75   another process holds the lock (with --wait: at the end of DURATION);
       -E sets another number
  125  rvlf itself failed: usage error, no usable lock file, or the lock was
       lost and COMMAND ended with 0 (with --on-lost=kill)
  126  COMMAND cannot be executed
  127  COMMAND was not found
  130  interrupted by Ctrl-C while waiting";

const WAIT_CHILDREN: &str = "\
When COMMAND has ended, wait for the processes that it has started and that still have the handle of the \
lock file

Without this option the lock is left to them. No process refreshes it in either case, and Windows lets no \
other writer take it.";

const ON_LOST: &str = "\
What to do if the lock is lost: end COMMAND and all that it has started (kill), or only print a message \
(warn)";

const SCAN: &str = "\
List every lock below a directory

Opens only regular files whose names end in .lock, and follows no symbolic links. Skips lock files of other \
programs, and empty ones, which may belong to any program. Windows does not list the files that processes \
have open: DIR cannot be left out.";

const SCAN_SUMMARY: &str = "List every lock below a directory";

pub fn adapted(command: Command) -> Command {
    command.mut_subcommands(|verb| match verb.get_name() {
        "run" => adapted_run(verb),
        "scan" => verb.about(SCAN_SUMMARY).long_about(SCAN),
        _ => verb,
    })
}

fn adapted_run(run: Command) -> Command {
    run.long_about(RUN)
        .after_help(RUN_EXAMPLES)
        .mut_arg("close", |close| close.hide(true))
        .mut_arg("wait_children", |wait| wait.long_help(WAIT_CHILDREN))
        .mut_arg("on_lost", |on_lost| {
            on_lost.help(ON_LOST).hide_possible_values(true)
        })
}
