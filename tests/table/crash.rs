//! A process that is killed, or whose disk is full, at any system call of a save.
//!
//! The failure: the predecessor of this table was truncated, then written. A writer that was killed in
//! between left an empty file, which reads as a table without entries: every live holder lost its scope
//! to the next claim. So a save is repeated under strace(1), once for each of its system calls, with
//! SIGKILL or an error at that call. The table must be the old one or the new one every time.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use rvlf::table::{Allocation, Table, TableError, TableGuard, snapshot};
use support::table::{claim, place};
use support::{PATIENCE, Role, RoleEntry, arg, skip};

/// Paths that the saver queries to mark, in the list of its calls, where the save begins and ends.
const BEGIN: &str = "/rvlf-test-begin";
const END: &str = "/rvlf-test-end";

/// More saves than the harness's own thread makes calls of any kind that a save makes.
const WARM_UP: usize = 25;

const SAVED: i32 = 10;
const FAILED: i32 = 11;
/// The last step failed: the new table is in place.
const NOT_SYNCED: i32 = 12;
/// The path does not lead to the table, or a check of that has failed: before the rename, or after the last sync.
const REPLACED: i32 = 13;

/// Adds an entry to the table and saves it.
fn saver() {
    let mut guard = TableGuard::open(arg("TABLE"), PATIENCE).expect("the table is not locked");
    // strace counts the calls of each thread separately. After these saves no other thread has made as
    // many calls of a kind as this one, so that a number means one call of one thread.
    let (dir, scratch) = place();
    for _ in 0..WARM_UP {
        let mut scratch = TableGuard::open(&scratch, PATIENCE).expect("the table is not locked");
        scratch.save().expect("the disk has room");
    }
    // No destructor removes it: this process is killed, or exits.
    drop(dir);
    guard
        .register(&claim("new", "/new"), "s-new")
        .expect("the scope is free");
    let _ = fs::metadata(BEGIN);
    let outcome = guard.save();
    drop(guard);
    let _ = fs::metadata(END);
    std::process::exit(match outcome {
        Ok(()) => SAVED,
        Err(TableError::Io(error)) if error.operation == "sync the directory" => NOT_SYNCED,
        Err(TableError::Replaced { .. }) => REPLACED,
        Err(_) => FAILED,
    });
}

pub const ROLES: &[RoleEntry] = &[("saver", saver), ("registrar", registrar)];

/// Registers. The last step fails: the sync of the directory.
fn registrar() {
    let outcome = Allocation::register(arg("TABLE"), &claim("new", "/new"), "s-new", PATIENCE);
    let error = outcome.expect_err("the second sync fails");
    assert!(
        matches!(&error, TableError::Io(error) if error.operation == "sync the directory"),
        "{error:?}"
    );
    let left = snapshot(arg("TABLE")).expect("the file is a table").table;
    assert!(
        left.find("new").is_none(),
        "no process could release the entry while this one lives: {left:?}"
    );
}

fn has_strace() -> bool {
    let tried = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

/// A table in which a live process, another one than the saver, holds "/old".
fn write_old(path: &Path) {
    let _ = fs::remove_file(path);
    let mut guard = TableGuard::open(path, PATIENCE).expect("the table is not locked");
    guard
        .register(&claim("old", "/old"), "s-old")
        .expect("the table is empty");
    guard.save().expect("the disk has room");
}

fn run_saver(path: &Path, options: &[&str]) -> ExitStatus {
    let mut strace = Command::new("strace");
    strace.arg("-f").args(options).stderr(Stdio::null());
    // Cargo adds a directory for each library in C of the workspace, and the dynamic loader looks for each
    // of its own in all of them: one openat(2) after the other, until their numbers reach those of the save.
    strace.env_remove("LD_LIBRARY_PATH");
    let saver = Role::new("saver").with("TABLE", path).under(strace);
    saver.start().wait()
}

/// One system call of the save: its name, and its number among the calls of that name that its thread
/// made.
#[derive(Clone, Debug)]
struct Call {
    name: String,
    ordinal: usize,
    line: String,
}

/// The calls of an undisturbed save, and the one after them.
fn calls(path: &Path, log: &Path) -> Vec<Call> {
    write_old(path);
    let ascii = "the names of temporary directories are ASCII";
    let status = run_saver(path, &["-o", log.to_str().expect(ascii)]);
    assert_eq!(status.code(), Some(SAVED), "an undisturbed save succeeds");
    let log = fs::read_to_string(log).expect("strace has written the log");
    let all: Vec<_> = log.lines().filter_map(LoggedCall::parse).collect();
    let marked = |mark: &str| {
        let place = all.iter().position(|call| call.line.contains(mark));
        place.expect("the saver marks the save")
    };
    let (begin, end) = (marked(BEGIN), marked(END));
    let saver = all.get(begin).expect("the mark is a call").thread;
    let in_save = all.iter().enumerate().take(end + 1).skip(begin + 1);
    let calls = in_save.filter(|(_, call)| call.thread == saver);
    calls
        .map(|(index, call)| {
            let same = |other: &&LoggedCall| other.thread == saver && other.name == call.name;
            let ordinal = all.iter().take(index + 1).filter(same).count();
            let foreign = |other: &&LoggedCall| other.thread != saver && other.name == call.name;
            let others = all.iter().filter(foreign).count();
            let name = call.name.to_owned();
            assert!(
                others < ordinal,
                "{name} number {ordinal} would hit two threads"
            );
            Call {
                name,
                ordinal,
                line: call.line.to_owned(),
            }
        })
        .collect()
}

/// A line of strace's log: the thread, the name of its call, and the whole line.
struct LoggedCall<'a> {
    thread: &'a str,
    name: &'a str,
    line: &'a str,
}

impl<'a> LoggedCall<'a> {
    /// `None` for lines that are no calls.
    fn parse(line: &'a str) -> Option<LoggedCall<'a>> {
        let (thread, call) = line.split_once(' ')?;
        let (name, _) = call.trim_start().split_once('(')?;
        Some(LoggedCall { thread, name, line })
    }
}

/// Whether the table is the new one, after `call` was disturbed.
fn is_new(path: &Path, call: &Call) -> bool {
    let bytes = fs::read(path).expect("the table exists");
    assert!(
        !bytes.is_empty(),
        "an empty table would free every live holder's scope: {call:?}"
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
        .expect("the scope is free");
    guard.save().expect("leftovers do not hinder the next save");
    let dir = path.parent().expect("the path has a directory");
    let names: Vec<_> = fs::read_dir(dir)
        .expect("the directory exists")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(
        names,
        ["table.json"],
        "the next save removes the leftovers of {call:?}"
    );
}

#[test]
fn a_kill_at_any_call_of_a_save_leaves_the_old_table_or_the_new_one() {
    if !has_strace() {
        return skip("strace is missing or may not trace");
    }
    let (_dir, path) = place();
    let logs = tempfile::tempdir().expect("the disk has room");
    let calls = calls(&path, &logs.path().join("log"));
    let mut outcomes = Vec::new();
    for call in &calls {
        write_old(&path);
        let inject = format!("inject={}:signal=SIGKILL:when={}", call.name, call.ordinal);
        let status = run_saver(&path, &["-o", "/dev/null", "-e", &inject]);
        assert_eq!(
            status.signal(),
            Some(9),
            "killed at {call:?}, and strace ends as its command does: {status}"
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
        "first the old table, then the new one: {report:#?}"
    );
    assert!(
        outcomes.contains(&false) && outcomes.contains(&true),
        "{report:#?}"
    );
    let synced = calls.iter().filter(|call| call.name == "fsync").count();
    assert_eq!(
        synced, 2,
        "the file before the rename, the directory after it: {report:#?}"
    );
}

#[test]
fn an_error_at_any_call_of_a_save_leaves_the_old_table_or_the_new_one() {
    if !has_strace() {
        return skip("strace is missing or may not trace");
    }
    let (_dir, path) = place();
    let logs = tempfile::tempdir().expect("the disk has room");
    // Memory is not on the disk; a close that fails has closed.
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
                Some(SAVED | NOT_SYNCED) => {
                    assert!(new, "the saver reported the new table: {error} at {call:?}")
                }
                Some(FAILED) => assert!(!new, "a failed save changes nothing: {error} at {call:?}"),
                Some(REPLACED) => {}
                _ => panic!("a save succeeds or fails: {status} after {error} at {call:?}"),
            }
            if status.code() != Some(SAVED) {
                failures += 1;
                let leftover = path.with_file_name(".table.json.rvlf-new");
                assert!(
                    !leftover.exists(),
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
    let disk_full = snapshot(&path).expect("the file is a table");
    assert_eq!(disk_full.table.problems(), []);
}

// Between the look at the path and the open of the file, an operator may remove the table, and another process
// make a new one. Any other error has to be reported: a table that cannot be opened is not an absent one.
#[test]
fn a_file_that_vanishes_before_its_open_is_looked_for_again() {
    if !has_strace() {
        return skip("strace is missing or may not trace");
    }
    let saved_after = |error: &str, is_there: bool| {
        let (_dir, path) = place();
        if is_there {
            write_old(&path);
        }
        // The first open of that name is the one of this table.
        let inject = format!("inject=openat:error={error}:when=1");
        let options = ["-o", "/dev/null", "-P", "table.json", "-e", &inject];
        let status = run_saver(&path, &options);
        let table = snapshot(&path).expect("the file is a table").table;
        let has_all = table.find("new").is_some() && table.find("old").is_some() == is_there;
        (status.code() == Some(SAVED), has_all)
    };
    assert_eq!(saved_after("ENOENT", true), (true, true), "it is there");
    assert_eq!(saved_after("EIO", true), (false, false), "it is reported");
    // The open that creates the file, if there is none.
    assert_eq!(saved_after("EEXIST", false), (true, true), "not for long");
    assert_eq!(saved_after("ENOSPC", false), (false, false), "a full disk");
}

// On a network mount another process saves, which removes the file that this one has opened and is about to
// lock. The server has no lock of a removed file: that is no failure of the table.
#[test]
fn a_file_that_the_server_has_removed_before_it_is_locked_is_opened_again() {
    if !has_strace() {
        return skip("strace is missing or may not trace");
    }
    for (error, is_saved) in [("ENOENT", true), ("ESTALE", true), ("EIO", false)] {
        let (_dir, path) = place();
        write_old(&path);
        let inject = format!("inject=flock:error={error}:when=1");
        let ended = run_saver(&path, &["-o", "/dev/null", "-e", &inject]);
        assert_eq!(ended.code() == Some(SAVED), is_saved, "{error}");
    }
}

#[test]
fn a_registration_whose_last_sync_fails_is_released() {
    if !has_strace() {
        return skip("strace is missing or may not trace");
    }
    let (_dir, path) = place();
    let mut strace = Command::new("strace");
    strace.args([
        "-f",
        "-o",
        "/dev/null",
        "-e",
        "inject=fsync:error=EIO:when=2",
    ]);
    let registrar = Role::new("registrar").with("TABLE", &path).under(strace);
    registrar.start().finish();
}
