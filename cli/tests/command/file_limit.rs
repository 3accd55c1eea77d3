//! The limit of file sizes (`ulimit -f`): what rvlf does at it, and what it leaves to its command.

use nix::sys::signal::Signal;

use crate::support::{Directory, finish};

// SIGXFSZ ended rvlf without a word, and the advice to raise the limit reached no one.
#[test]
fn a_write_beyond_the_limit_of_file_sizes_is_an_error_with_a_next_step() {
    let dir = Directory::new();
    let entry = r#"{"allocations": [{"pod_name": "a", "pid": 0, "scope_allow": []}]}"#;
    dir.write("t.json", entry);
    let verbs = [
        ("run d.rvf true", 125),
        ("hold --for $$ d.rvf", 125),
        #[cfg(target_os = "linux")]
        ("table --table t.json reclaim", 5),
    ];
    for (verb, status) in verbs {
        for trap in ["", "trap '' XFSZ;"] {
            let line = format!("{trap} ulimit -f 0; rvlf {verb}");
            let ended = finish(dir.sh(&line));
            assert_eq!(ended.code(), status, "{line}: {}", ended.stderr);
            let step = "; raise the limit of file sizes (ulimit -f)\n";
            assert!(ended.stderr.ends_with(step), "{line}: {}", ended.stderr);
        }
    }
}

// A command that is to end at the limit would go on after a write that failed; and one that handles the error would
// be ended in the middle of a write.
#[test]
fn the_command_has_sigxfsz_as_it_was_when_rvlf_started() {
    const DEFAULT: (&str, i32, &str) = ("", 128 + Signal::SIGXFSZ as i32, "");
    const IGNORED: (&str, i32, &str) = ("trap '' XFSZ;", 0, "survives\n");
    for (trap, status, output) in [DEFAULT, IGNORED] {
        for option in ["", "-o", "--wait-children"] {
            let dir = Directory::new();
            let line =
                format!("{trap} rvlf run {option} d.rvf sh -c 'kill -XFSZ $$; echo survives'");
            let ended = finish(dir.sh(&line));
            let found = (ended.code(), ended.stdout.as_str());
            assert_eq!(found, (status, output), "{line}: {}", ended.stderr);
        }
    }
}
