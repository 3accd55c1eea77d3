//! A process that is killed, or whose disk is full, at any system call of a save.
//!
//! The story: the table that this one grew from was truncated, then written. Killed in between, its
//! writer left an empty file, which reads as "nobody holds anything": every live holder lost its
//! scope to the next who asked. So a save is repeated under strace(1), once for each of its system
//! calls, with SIGKILL or an error at that call; the table must be the old one or the new one every
//! time.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use rvlf::table::{Allocation, Table, TableError, TableGuard, snapshot};
use support::table::{PATIENCE, arg, claim, place, role, skip};

/// What the saver looks for to mark, in the list of its calls, where the save begins and ends.
const BEGIN: &str = "/rvlf-test-begin";
const END: &str = "/rvlf-test-end";

/// More than the harness's own thread makes calls of any kind that a save makes, too.
const WARM_UP: usize = 25;

const SAVED: i32 = 10;
const FAILED: i32 = 11;
/// The last step failed: the new table is in place.
const NOT_SYNCED: i32 = 12;

/// Adds an entry to the table and saves it.
fn saver() {
    let mut guard = TableGuard::open(arg("TABLE"), PATIENCE).expect("nobody has it");
    // strace counts the calls of each thread by itself: after these saves no other thread has made
    // as many calls of a kind as this one, so that a number means one call of one thread.
    let (_dir, scratch) = place();
    for _ in 0..WARM_UP {
        let mut scratch = TableGuard::open(&scratch, PATIENCE).expect("nobody has it");
        scratch.save().expect("there is room");
    }
    guard
        .register(&claim("new", "/new"), "s-new")
        .expect("that is free");
    let _ = fs::metadata(BEGIN);
    let outcome = guard.save();
    drop(guard);
    let _ = fs::metadata(END);
    std::process::exit(match outcome {
        Ok(()) => SAVED,
        Err(TableError::Io(error)) if error.operation == "sync the directory" => NOT_SYNCED,
        Err(_) => FAILED,
    });
}

pub const ROLES: &[(&str, fn())] = &[("saver", saver), ("registrar", registrar)];

/// Registers, which fails in its last step: the sync of the directory.
fn registrar() {
    let outcome = Allocation::register(arg("TABLE"), &claim("new", "/new"), "s-new", PATIENCE);
    let error = outcome.expect_err("the second sync fails");
    assert!(
        matches!(&error, TableError::Io(error) if error.operation == "sync the directory"),
        "{error:?}"
    );
    let left = snapshot(arg("TABLE")).expect("it is a table").table;
    assert!(
        left.find("new").is_none(),
        "nobody could release it while this process lives: {left:?}"
    );
}

fn has_strace() -> bool {
    let tried = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

/// A table that says that another process, which lives, holds "/old".
fn write_old(path: &Path) {
    let _ = fs::remove_file(path);
    let mut guard = TableGuard::open(path, PATIENCE).expect("nobody has it");
    guard
        .register(&claim("old", "/old"), "s-old")
        .expect("the table is empty");
    guard.save().expect("there is room");
}

fn run_saver(path: &Path, strace: &[&str]) -> ExitStatus {
    let mut words = vec!["strace", "-f"];
    words.extend_from_slice(strace);
    let mut saver = role(&words, "saver");
    saver.env("TABLE", path).stderr(Stdio::null());
    saver.status().expect("strace was there a moment ago")
}

/// One system call of the save: its name, and how many calls of that name its thread had made.
#[derive(Clone, Debug)]
struct Call {
    name: String,
    ordinal: usize,
    line: String,
}

/// The calls of a save that nothing disturbs, up to the one after it.
fn calls(path: &Path, log: &Path) -> Vec<Call> {
    write_old(path);
    let log_path = log
        .to_str()
        .expect("temporary directories are named in ASCII");
    let status = run_saver(path, &["-o", log_path]);
    assert_eq!(status.code(), Some(SAVED), "undisturbed, it saves");
    let log = fs::read_to_string(log).expect("strace has written it");
    let marked = |mark: &str| {
        log.lines()
            .position(|line| line.contains(mark))
            .expect("the saver marks it")
    };
    let (begin, end) = (marked(BEGIN), marked(END));
    let parse = |line: &str| -> Option<(String, String)> {
        let (thread, call) = line.split_once(' ')?;
        let (name, _) = call.trim_start().split_once('(')?;
        Some((thread.to_owned(), name.to_owned()))
    };
    let all: Vec<_> = log.lines().map(parse).collect();
    let thread_of = |index: usize| all.get(index).cloned().flatten().map(|(thread, _)| thread);
    let saver = thread_of(begin).expect("a mark is a call");
    let in_save = (begin + 1..=end).filter(|index| thread_of(*index).as_ref() == Some(&saver));
    in_save
        .map(|index| {
            let (_, name) = all
                .get(index)
                .cloned()
                .flatten()
                .expect("filtered by its thread");
            let same =
                |call: &&Option<(String, String)>| **call == Some((saver.clone(), name.clone()));
            let ordinal = all.iter().take(index + 1).filter(same).count();
            let of_others = |call: &&Option<(String, String)>| {
                call.as_ref()
                    .is_some_and(|(thread, other)| *thread != saver && *other == name)
            };
            let others = all.iter().filter(of_others).count();
            assert!(
                others < ordinal,
                "{name} number {ordinal} would hit two threads"
            );
            let line = log.lines().nth(index).expect("it was parsed").to_owned();
            Call {
                name,
                ordinal,
                line,
            }
        })
        .collect()
}

/// What the table is after `call` was disturbed: whether it is the new one.
fn is_new(path: &Path, call: &Call) -> bool {
    let bytes = fs::read(path).expect("the table is there");
    assert!(
        !bytes.is_empty(),
        "an empty table would mean that nobody holds anything: {call:?}"
    );
    let table = Table::parse(&bytes).expect("the table is whole");
    let names: Vec<&str> = table
        .entries
        .iter()
        .map(|entry| entry.name.as_str())
        .collect();
    match names.as_slice() {
        ["old"] => false,
        ["old", "new"] => true,
        other => panic!("neither the old table nor the new one, but {other:?}, after {call:?}"),
    }
}

fn assert_usable(path: &Path, call: &Call) {
    let mut guard = TableGuard::open(path, PATIENCE).expect("the kernel has freed the lock");
    guard
        .register(&claim("next", "/next"), "s-next")
        .expect("that is free");
    guard.save().expect("what is left over is in nobody's way");
    let dir = path.parent().expect("it has one");
    let names: Vec<_> = fs::read_dir(dir)
        .expect("it is there")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(
        names,
        ["table.json"],
        "the next save clears up after {call:?}"
    );
}

#[test]
fn a_kill_at_any_call_of_a_save_leaves_the_old_table_or_the_new_one() {
    if !has_strace() {
        return skip("strace is missing or may not trace");
    }
    let (_dir, path) = place();
    let logs = tempfile::tempdir().expect("there is room");
    let calls = calls(&path, &logs.path().join("log"));
    let mut outcomes = Vec::new();
    for call in &calls {
        write_old(&path);
        let inject = format!("inject={}:signal=SIGKILL:when={}", call.name, call.ordinal);
        let status = run_saver(&path, &["-o", "/dev/null", "-e", &inject]);
        assert_eq!(
            status.signal(),
            Some(9),
            "killed at {call:?}, so strace ends alike: {status}"
        );
        outcomes.push(is_new(&path, call));
        assert_usable(&path, call);
    }
    let report: Vec<_> = calls
        .iter()
        .zip(&outcomes)
        .map(|(call, new)| (&call.line, new))
        .collect();
    assert!(
        outcomes.is_sorted(),
        "first the old one, then the new one: {report:#?}"
    );
    assert!(
        outcomes.contains(&false) && outcomes.contains(&true),
        "{report:#?}"
    );
    let synced = calls.iter().filter(|call| call.name == "fsync").count();
    assert_eq!(
        synced, 2,
        "the file before it gets its name, the directory after it: {report:#?}"
    );
}

#[test]
fn an_error_at_any_call_of_a_save_leaves_the_old_table_or_the_new_one() {
    if !has_strace() {
        return skip("strace is missing or may not trace");
    }
    let (_dir, path) = place();
    let logs = tempfile::tempdir().expect("there is room");
    // Memory is no part of the disk; a failed close has closed.
    let on_disk = |call: &Call| {
        !["mmap", "munmap", "mremap", "brk", "madvise", "close"].contains(&call.name.as_str())
    };
    let mut calls = calls(&path, &logs.path().join("log"));
    calls.pop();
    let mut failures = 0;
    for call in calls.iter().filter(|call| on_disk(call)) {
        for error in ["ENOSPC", "EIO"] {
            write_old(&path);
            let inject = format!("inject={}:error={error}:when={}", call.name, call.ordinal);
            let status = run_saver(&path, &["-o", "/dev/null", "-e", &inject]);
            let new = is_new(&path, call);
            match status.code() {
                Some(SAVED | NOT_SYNCED) => assert!(new, "it said so: {error} at {call:?}"),
                Some(FAILED) => assert!(!new, "what failed has not happened: {error} at {call:?}"),
                _ => panic!("it can only save or fail: {status} after {error} at {call:?}"),
            }
            if status.code() != Some(SAVED) {
                failures += 1;
                let litter = path.with_file_name(".table.json.rvlf-new");
                assert!(
                    !litter.exists(),
                    "an error leaves nothing behind: {error} at {call:?}"
                );
            }
            assert_usable(&path, call);
        }
    }
    assert!(
        failures >= 2 * 6,
        "create, lock, write, sync, rename, sync: {failures} failures"
    );
    let disk_full = snapshot(&path).expect("it is a table");
    assert_eq!(disk_full.table.problems(), []);
}

#[test]
fn what_could_not_be_registered_for_sure_is_released() {
    if !has_strace() {
        return skip("strace is missing or may not trace");
    }
    let (_dir, path) = place();
    let inject = [
        "strace",
        "-f",
        "-o",
        "/dev/null",
        "-e",
        "inject=fsync:error=EIO:when=2",
    ];
    let mut registrar = role(&inject, "registrar");
    let status = registrar.env("TABLE", &path).status();
    let status = status.expect("this binary can run again");
    assert!(status.success(), "see above: {status}");
}
