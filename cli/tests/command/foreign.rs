//! Lock files of other programs, and FIFOs, at the path of a lock.

use std::fs;
use std::time::Duration;

use crate::support::Directory;

// Another program's lock file has the same name. Not one byte of it may change.
#[test]
fn the_file_of_another_program_is_never_changed() {
    let files: [(&str, &[u8]); 4] = [
        ("json", b"{\"pid\": 4121, \"host\": \"build7\"}\n"),
        ("pid", b"4121\n"),
        ("text", b"do not delete\n"),
        ("big-endian", b"RVLF\0\0\x10\x19"),
    ];
    let dir = Directory::new();
    for (name, bytes) in files {
        let lock = format!("{name}.lock");
        dir.write(&lock, bytes);
        dir.age(&lock, Duration::from_secs(100_000));
        let id = "00000000-0000-4000-8000-000000000000";
        let attempts: [(&[&str], i32); 6] = [
            (&["run", name, "--", "true"], 125),
            (&["run", "--wait", name, "--", "true"], 125),
            (&["status", name], 4),
            (&["wait", name], 4),
            (&["break", name], 4),
            (&["break", "--force", "--writer-id", id, name], 4),
        ];
        for (args, code) in attempts {
            let output = dir.rvlf(args);
            assert_eq!(output.code(), code, "{args:?}: {}", output.stderr);
            let shown = output.stdout + &output.stderr;
            let first = bytes.first_chunk::<4>().expect("the files are longer");
            let first = first.escape_ascii().to_string();
            assert!(
                shown.contains(&first),
                "{args:?} shows the first bytes: {shown}"
            );
        }
        let after = fs::read(dir.join(&lock)).expect("the file still exists");
        assert_eq!(after, bytes, "{name} is unchanged");
    }
    let scanned = dir.rvlf(&["scan", "--clean", "."]);
    assert_eq!(
        (scanned.code(), scanned.stdout.as_str()),
        (0, ""),
        "no RVLF lock"
    );
    assert_eq!(dir.names().len(), files.len(), "every file still exists");
}

// An open of a FIFO blocks until a process opens the other end: possibly indefinitely.
#[test]
fn a_fifo_at_the_lock_path_blocks_no_verb() {
    let dir = Directory::new();
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o644);
    nix::unistd::mkfifo(&dir.join("d.rvf.lock"), mode).expect("the file system has FIFOs");
    let attempts: [(&[&str], i32); 6] = [
        (&["run", "d.rvf", "--", "true"], 125),
        (&["run", "--wait", "d.rvf", "--", "true"], 125),
        (&["status", "d.rvf"], 4),
        (&["wait", "d.rvf"], 4),
        (&["break", "d.rvf"], 4),
        (&["dump", "d.rvf.lock"], 4),
    ];
    for (args, code) in attempts {
        let output = dir.rvlf(args);
        assert_eq!(output.code(), code, "{args:?}: {}", output.stderr);
        let shown = output.stdout + &output.stderr;
        assert!(shown.contains("a named pipe"), "{args:?}: {shown}");
    }
    assert_eq!(dir.rvlf(&["scan", "."]).code(), 0, "scan skips the FIFO");
}
