//! `rvlf table`: what it shows, what it refuses, and its exit statuses.
//!
//! An entry that reads as held indefinitely blocks every other process; a command that removes it
//! too eagerly takes a scope from a process that writes. So the command reports its evidence,
//! changes nothing by default, and releases the entry of a live process only with --force.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rvlf::table::{Allocation, Claim, Liveness, ScopeRule, TableGuard};

use crate::support::{Directory, Output, finish};

/// The limit for an operation on a table. None takes more than milliseconds, and 60 s outlast a
/// loaded machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// An entry whose process is dead, with a name that must not reach a terminal.
const DEAD: &str = "de\u{1b}ad";
const DEAD_SHOWN: &str = "\"de\\u{1b}ad\" (pid 0)";

struct Table {
    dir: Directory,
    path: PathBuf,
}

impl Table {
    /// A table whose file does not exist yet.
    fn new() -> Table {
        let dir = Directory::new();
        let path = dir.join("table.json");
        Table { dir, path }
    }

    /// A live parent, a placeholder that it has delegated, and an entry whose process is dead. The
    /// parent's entry stays as long as the allocation.
    fn populated() -> (Table, Allocation) {
        let table = Table::new();
        let claim = claim("parent", "/data").socket("/run/p");
        let parent = Allocation::register(&table.path, &claim, "s1", TIMEOUT);
        table.change(|guard| {
            let other = guard.register(&self::claim(DEAD, "/other"), "s2");
            other.expect("the scope is free");
            let child = guard.delegate("parent", &self::claim("child", "/data/a"));
            child.expect("the parent has the scope");
            entry(guard, DEAD).pid = 0;
        });
        (table, parent.expect("the table is empty"))
    }

    fn change(&self, change: impl FnOnce(&mut TableGuard)) {
        let guard = TableGuard::open(&self.path, TIMEOUT);
        let mut guard = guard.expect("no process has locked the table");
        change(&mut guard);
        guard.save().expect("there is room");
    }

    /// `rvlf table`, with the table named by the environment.
    fn rvlf(&self, args: &[&str]) -> Output {
        let mut command = self.dir.command(["table"]);
        command.args(args).env("RVLF_TABLE", &self.path);
        finish(command)
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).expect("the table exists")
    }
}

fn claim(name: &str, path: &str) -> Claim {
    Claim::new(name).allow(ScopeRule::write(path))
}

fn entry<'a>(guard: &'a mut TableGuard, name: &str) -> &'a mut rvlf::table::Entry {
    guard.table_mut().find_mut(name).expect("the entry exists")
}

#[track_caller]
fn assert_prints(output: &Output, status: i32, stdout: &str) {
    let printed = (
        output.code(),
        output.stdout.as_str(),
        output.stderr.as_str(),
    );
    assert_eq!(printed, (status, stdout, ""));
}

#[test]
fn list_shows_a_tree_with_the_reason_of_each_state() {
    let (table, parent) = Table::populated();
    let (pid, alive, no_process) = (std::process::id(), Liveness::Alive, Liveness::NoProcess);
    let expected = format!(
        "parent  pid {pid}  alive: {alive}\n\
         \x20 segment s1\n\
         \x20 write /data/**\n\
         \x20 socket /run/p\n\
         \x20   child  pid {pid}  alive: {alive}\n\
         \x20     placeholder: not adopted yet\n\
         \x20     write /data/a/**\n\
         de\\u{{1b}}ad  pid 0  dead: {no_process}\n\
         \x20 segment s2\n\
         \x20 write /other/**\n"
    );
    assert_prints(&table.rvlf(&["list"]), 0, &expected);

    let output = table.rvlf(&["list", "--json"]);
    assert_eq!(output.code(), 0, "{}", output.stderr);
    let objects = output.json_lines();
    let states: Vec<_> = objects.iter().map(|object| &object["state"]).collect();
    assert_eq!(states, ["alive", "dead", "alive"]);
    let id = &objects[0]["entry"]["holder"]["writer_id"];
    assert_eq!(*id, parent.writer_id().to_string());
}

#[test]
fn no_verb_creates_a_table() {
    let table = Table::new();
    let verbs = [
        &["list"][..],
        &["check"],
        &["reclaim"],
        &["reclaim", "--dry-run"],
    ];
    // A typing error in the path looks like a table without entries.
    let reason = format!("{}: no such file, so ", table.path.display());
    for args in verbs {
        let output = table.rvlf(args);
        assert_eq!(output.code(), 0, "{args:?} of no table");
        assert!(output.stdout.starts_with(&reason), "{}", output.stdout);
    }
    let output = table.rvlf(&["list", "--json"]);
    let expected = format!("rvlf: {reason}no entries\n");
    let printed = (
        output.code(),
        output.stdout.as_str(),
        output.stderr.as_str(),
    );
    assert_eq!(printed, (0, "", expected.as_str()));
    let output = table.rvlf(&["release", "x"]);
    assert_eq!(output.code(), 2, "no such entry");
    let expected = format!("rvlf: {reason}no entry \"x\"; name the table");
    assert!(output.stderr.starts_with(&expected), "{}", output.stderr);
    assert!(!table.path.exists());
}

// The example printed `null` for a table whose writers call the name `worker_name`.
#[test]
fn the_examples_of_the_help_print_the_names_of_both_kinds_of_tables() {
    if Command::new("jq").arg("--version").output().is_err() {
        return support::skip("there is no jq here");
    }
    let (table, _parent) = Table::populated();
    let help = table.rvlf(&["--help"]).stdout;
    let example = help.lines().find(|line| line.contains("| jq"));
    let example = example.expect("the help has an example").trim();
    let names = || {
        let mut command = table.dir.sh(example);
        command.env("RVLF_TABLE", &table.path);
        finish(command).stdout
    };
    let expected = format!("{DEAD}\n");
    assert_eq!(names(), expected);
    let json = String::from_utf8(table.bytes()).expect("a table is UTF-8");
    table
        .dir
        .write("table.json", json.replace("pod_name", "worker_name"));
    assert_eq!(names(), expected);
}

// A chain of 20,000 entries in a table of 3 MB was printed with an indent of 4 bytes for each level: 2.4 GB.
#[test]
fn the_size_of_a_list_does_not_grow_with_the_square_of_its_depth() {
    const LEVELS: usize = 5000;
    let table = Table::new();
    let entry = |level: usize| {
        let parent = level.checked_sub(1).map(|above| format!("e{above}"));
        serde_json::json!({
            "pod_name": format!("e{level}"), "pid": 0, "scope_allow": [], "delegated_from": parent,
            "segment_id": format!("s{level}"),
        })
    };
    let entries: Vec<_> = (0..LEVELS).map(entry).collect();
    let json = serde_json::json!({ "allocations": entries });
    table.dir.write("table.json", json.to_string());
    let listed = table.rvlf(&["list"]).stdout;
    assert!(listed.len() < 300 * LEVELS, "{} bytes", listed.len());
    let lines: Vec<&str> = listed.lines().map(str::trim_start).collect();
    let last = lines.get(lines.len() - 3..).expect("there are entries");
    assert!(last[0].starts_with("e4999  pid 0  dead"), "{last:?}");
    assert_eq!(last[1..], ["delegated by e4998", "segment s4999"]);
}

#[test]
fn check_reports_a_dead_entry_and_reclaim_removes_it() {
    let (table, _parent) = Table::populated();
    let line = |what| format!("{DEAD_SHOWN} {what}: {}\n", Liveness::NoProcess);
    let note = |more| {
        let what = "writes segment \"s1\", which is not a UUID: yoi cannot read this table";
        format!("note: entry \"parent\" {what}{more}\n")
    };
    let expected = note(" (and 1 more)") + &line("is dead");
    assert_prints(&table.rvlf(&["check"]), 3, &expected);
    let before = table.bytes();
    let dry_run = table.rvlf(&["reclaim", "--dry-run"]);
    assert_prints(&dry_run, 0, &line("would be reclaimed"));
    assert_eq!(table.bytes(), before, "a dry run changes nothing");
    assert_prints(&table.rvlf(&["reclaim"]), 0, &line("reclaimed"));
    let path = table.path.display();
    let expected = note("") + &format!("{path}: 2 entries, no problems\n");
    assert_prints(&table.rvlf(&["check"]), 0, &expected);
    let expected = format!("{path}: nothing to reclaim\n");
    assert_prints(&table.rvlf(&["reclaim"]), 0, &expected);
}

#[test]
fn check_reports_entries_that_contradict_each_other() {
    let (table, _parent) = Table::populated();
    table.change(|guard| entry(guard, "child").parent = Some("gone".into()));
    let output = table.rvlf(&["check"]);
    let shown = &output.stdout;
    assert_eq!(output.code(), 4, "{shown}");
    assert!(
        shown.contains("was delegated by \"gone\", which is not in the table"),
        "{shown}"
    );
    assert!(shown.contains("may write the same paths"), "{shown}");
}

#[test]
fn release_removes_the_entry_of_a_live_process_only_by_force() {
    let (table, parent) = Table::populated();
    let refused = table.rvlf(&["release", "parent"]);
    let message = &refused.stderr;
    assert_eq!((refused.code(), refused.stdout.as_str()), (1, ""));
    let next = format!("{}; end the process first, or use --force", Liveness::Alive);
    assert!(message.contains(&next), "{message}");
    parent.check().expect("the entry is unchanged");
    let released = table.rvlf(&["release", "--force", "parent"]);
    assert_eq!(released.code(), 0, "{}", released.stdout);
    parent.check().expect_err("the entry was released");
    let released = table.rvlf(&["release", DEAD]);
    assert_eq!(released.code(), 0, "a dead entry needs no force");
    assert_eq!(table.rvlf(&["release", "parent"]).code(), 2, "it is gone");
}

// A person released an entry and was told to release it.
#[test]
fn an_entry_of_another_host_is_released_without_advice_to_do_so() {
    let (table, _parent) = Table::populated();
    table.change(|guard| {
        let entry = entry(guard, "child");
        let holder = entry.holder.as_mut().expect("it was made here");
        holder.hostname = "another".into();
        holder.pid_namespace = Some(1);
    });
    let listed = table.rvlf(&["list"]).stdout;
    let path = table.path.display();
    let advice = format!("is dead: rvlf table --table {path} release NAME\n");
    assert!(listed.ends_with(&advice), "{listed}");
    let released = table.rvlf(&["release", "child"]);
    let pid = std::process::id();
    let expected = format!("\"child\" (pid {pid}) released: {}\n", Liveness::Elsewhere);
    assert_prints(&released, 0, &expected);
    assert!(!expected.contains("release the"), "{expected}");
    let again = table.rvlf(&["release", "child"]);
    let expected = format!("rvlf: {path}: no entry \"child\": ");
    assert!(again.stderr.starts_with(&expected), "{}", again.stderr);
    assert!(
        again
            .stderr
            .contains(&format!("`rvlf table --table {path} list`"))
    );
}

// It was reported as an error of the operating system.
#[test]
fn a_path_that_names_no_file_is_a_usage_error() {
    let table = Table::new();
    for args in [&["list"][..], &["check"], &["reclaim"], &["release", "x"]] {
        for path in [".", "..", "/"] {
            let output = table.rvlf(&[args, &["--table", path]].concat());
            let message = &output.stderr;
            assert_eq!(output.code(), 2, "{args:?}: {message}");
            assert!(
                message.contains("names no file; name the file"),
                "{message}"
            );
        }
    }
}

#[test]
fn a_file_that_is_not_a_table_is_reported_and_left_unchanged() {
    let table = Table::new();
    let bytes = "{\n  \"allocations\": 7\n}";
    table.dir.write("table.json", bytes);
    for args in [&["list"][..], &["check"], &["reclaim"], &["release", "x"]] {
        let output = table.rvlf(args);
        assert_eq!((output.code(), output.stdout.as_str()), (4, ""), "{args:?}");
        let message = output.stderr;
        let place = "table.json:2:18: not an allocation table";
        assert!(message.contains(place), "{message}");
        assert_eq!(table.bytes(), bytes.as_bytes(), "{args:?}");
    }
}

#[test]
fn the_argument_names_the_table_before_the_environment_does() {
    let (table, _parent) = Table::populated();
    let mut command = table.dir.command(["table", "list"]);
    let output = finish({
        command.env_clear();
        command
    });
    let message = &output.stderr;
    assert_eq!(output.code(), 2, "{message}");
    assert!(
        message.contains("set RVLF_TABLE, or set XDG_STATE_HOME"),
        "{message}"
    );

    let other = Path::new("other.json");
    let mut command = table
        .dir
        .command(["table", "list", "--table", "table.json"]);
    command.env("RVLF_TABLE", other);
    let output = finish(command);
    assert_eq!(output.code(), 0, "{}", output.stderr);
    assert!(output.stdout.starts_with("parent "), "{}", output.stdout);
}

// A process that is stuck, or a child that it has left behind, keeps the table locked. The operator needs
// its pid. The test takes the 10 s for which a change waits.
#[test]
fn a_change_that_times_out_names_the_process_that_keeps_the_table_locked() {
    let (table, parent) = Table::populated();
    let guard = TableGuard::open(&table.path, TIMEOUT).expect("no process has locked the table");
    let output = table.rvlf(&["release", "child"]);
    let message = &output.stderr;
    assert_eq!(output.code(), 1, "still locked: {message}");
    let kept_open = format!("kept open by pid {} (", std::process::id());
    assert!(message.contains(&kept_open), "by whom: {message}");
    drop(guard);
    parent.release().expect("the table is not locked any more");
}
