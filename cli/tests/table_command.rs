//! `rvlf table`: what it shows, what it refuses, and its exit statuses.
//!
//! The story: a table that says "held" for ever stops everybody; a command that clears it too
//! eagerly takes a scope from a process that writes. So the command tells how it knows, changes
//! nothing unasked, and releases what is alive only when it is told twice.
#![cfg(target_os = "linux")]

#[path = "../../tests/table_support/mod.rs"]
mod table_support;

use std::fs;
use std::path::Path;
use std::process::Command;

use rvlf::table::{Allocation, TableGuard};
use table_support::{PATIENCE, claim, place};

/// Exit status, output and complaints of `rvlf table WORDS`, the table named by the environment.
fn rvlf_table(path: &Path, words: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rvlf"));
    command.arg("table").args(words).env("RVLF_TABLE", path);
    let output = command.output().expect("the command was built");
    let text = |bytes| String::from_utf8(bytes).expect("the command writes UTF-8");
    let status = output.status.code().expect("nobody kills it");
    (status, text(output.stdout), text(output.stderr))
}

/// A parent that lives, a placeholder of its, and an entry whose process is dead.
fn populated(path: &Path) -> Allocation {
    let parent = Allocation::register(
        path,
        &claim("parent", "/data").socket("/run/p"),
        "s1",
        PATIENCE,
    );
    let parent = parent.expect("the table is empty");
    let mut guard = TableGuard::open(path, PATIENCE).expect("nobody has it");
    guard
        .register(&claim("de\u{1b}ad", "/other"), "s2")
        .expect("that is free");
    guard
        .delegate("parent", &claim("child", "/data/a"))
        .expect("it is the parent's");
    let dead = guard
        .table_mut()
        .find_mut("de\u{1b}ad")
        .expect("it was registered");
    dead.pid = 0;
    guard.save().expect("there is room");
    parent
}

#[test]
fn list_shows_a_tree_and_how_we_know() {
    let (_dir, path) = place();
    let parent = populated(&path);
    let pid = std::process::id();
    let (status, out, complaints) = rvlf_table(&path, &["list"]);
    let expected = format!(
        "parent  pid {pid}  alive: its process is alive\n\
         \x20 segment s1\n\
         \x20 write /data/**\n\
         \x20 socket /run/p\n\
         \x20   child  pid {pid}  alive: its process is alive\n\
         \x20     placeholder: not adopted yet\n\
         \x20     write /data/a/**\n\
         de\\u{{1b}}ad  pid 0  dead: its pid is not a process id\n\
         \x20 segment s2\n\
         \x20 write /other/**\n"
    );
    assert_eq!((status, out, complaints), (0, expected, String::new()));

    let (status, out, _) = rvlf_table(&path, &["list", "--json"]);
    let objects: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is an object"))
        .collect();
    let states: Vec<_> = objects
        .iter()
        .map(|object| object.get("state").and_then(|state| state.as_str()))
        .collect();
    assert_eq!(
        (status, states),
        (0, vec![Some("alive"), Some("dead"), Some("alive")])
    );
    let id = objects
        .first()
        .and_then(|object| object.pointer("/entry/holder/writer_id"));
    assert_eq!(
        id.and_then(|id| id.as_str()),
        Some(parent.writer_id().to_string().as_str())
    );
}

#[test]
fn looking_creates_nothing() {
    let (_dir, path) = place();
    for words in [
        &["list"][..],
        &["check"],
        &["reclaim"],
        &["reclaim", "--dry-run"],
    ] {
        let (status, ..) = rvlf_table(&path, words);
        assert_eq!(status, 0, "{words:?} of no table");
    }
    assert_eq!(
        rvlf_table(&path, &["release", "x"]).0,
        2,
        "there is no such entry"
    );
    assert!(!path.exists());
}

#[test]
fn check_and_reclaim_tell_the_dead_from_what_is_wrong() {
    let (_dir, path) = place();
    let _parent = populated(&path);
    let dead = "\"de\\u{1b}ad\" (pid 0)";
    let (status, out, _) = rvlf_table(&path, &["check"]);
    assert_eq!(
        (status, out),
        (3, format!("{dead} is dead: its pid is not a process id\n"))
    );
    let before = fs::read(&path).expect("it is there");
    let (status, out, _) = rvlf_table(&path, &["reclaim", "--dry-run"]);
    assert_eq!(
        (status, out),
        (
            0,
            format!("{dead} would be reclaimed: its pid is not a process id\n")
        )
    );
    assert_eq!(
        fs::read(&path).expect("it is there"),
        before,
        "a dry run changes nothing"
    );
    let (status, out, _) = rvlf_table(&path, &["reclaim"]);
    assert_eq!(
        (status, out),
        (
            0,
            format!("{dead} reclaimed: its pid is not a process id\n")
        )
    );
    assert_eq!(rvlf_table(&path, &["check"]).1, "2 entries, no problems\n");

    let mut guard = TableGuard::open(&path, PATIENCE).expect("nobody has it");
    guard
        .table_mut()
        .find_mut("child")
        .expect("it is there")
        .parent = Some("gone".into());
    guard.save().expect("there is room");
    drop(guard);
    let (status, out, _) = rvlf_table(&path, &["check"]);
    assert_eq!(status, 4, "{out}");
    assert!(
        out.contains("was delegated by \"gone\", which is not in the table"),
        "{out}"
    );
    assert!(out.contains("may write the same paths"), "{out}");
}

#[test]
fn release_takes_nothing_from_the_living_unless_it_is_told_twice() {
    let (_dir, path) = place();
    let parent = populated(&path);
    let (status, out, complaints) = rvlf_table(&path, &["release", "parent"]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(
        complaints.contains("its process is alive; end the process first, or use --force"),
        "{complaints}"
    );
    parent.check().expect("nothing was released");
    let (status, out, _) = rvlf_table(&path, &["release", "--force", "parent"]);
    assert_eq!(status, 0, "{out}");
    parent.check().expect_err("it was released");
    assert_eq!(
        rvlf_table(&path, &["release", "de\u{1b}ad"]).0,
        0,
        "the dead need no force"
    );
    assert_eq!(rvlf_table(&path, &["release", "parent"]).0, 2, "it is gone");
}

#[test]
fn what_is_no_table_is_told_and_left_alone() {
    let (_dir, path) = place();
    fs::write(&path, "{\n  \"allocations\": 7\n}").expect("there is room");
    for words in [&["list"][..], &["check"], &["reclaim"], &["release", "x"]] {
        let (status, out, complaints) = rvlf_table(&path, words);
        assert_eq!((status, out.as_str()), (4, ""), "{words:?}");
        assert!(
            complaints.contains("table.json:2:18: not an allocation table"),
            "{complaints}"
        );
    }
}

#[test]
fn the_table_is_named_or_the_command_says_how_to_name_it() {
    let (_dir, path) = place();
    let _parent = populated(&path);
    let mut command = Command::new(env!("CARGO_BIN_EXE_rvlf"));
    command.args(["table", "list"]).env_clear();
    let output = command.output().expect("the command was built");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    assert!(
        complaint.contains("set RVLF_TABLE, or set XDG_RUNTIME_DIR"),
        "{complaint}"
    );

    let other = path.with_file_name("other.json");
    let named = path
        .to_str()
        .expect("temporary directories are named in ASCII");
    let (status, out, _) = rvlf_table(&other, &["list", "--table", named]);
    assert_eq!(status, 0);
    assert!(
        out.starts_with("parent "),
        "the argument comes first: {out}"
    );
}
