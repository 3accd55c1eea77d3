//! The tasks of docs/command.md, each line typed into sh as the page has it.

use std::io::{BufRead, BufReader};
use std::process::Child;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::document::section;
use crate::support::{Directory, finish, skip};

/// The programs that the columns compare, and how each holds the lock of d.
const PROGRAMS: [(&str, &str); 3] = [
    ("flock", "flock d"),
    ("setlock", "setlock d"),
    ("rvlf", "rvlf run d"),
];

/// `line` → status, `part of the output`
struct Task {
    line: String,
    status: i32,
    output: Option<String>,
}

impl Task {
    /// `None` for a program that cannot do it.
    fn parse(cell: &str) -> Option<Task> {
        if cell == "none" {
            return None;
        }
        let (line, answer) = cell.split_once(" → ").expect("a cell has an answer");
        let (status, output) = match answer.split_once(", ") {
            Some((status, output)) => (status, Some(output.trim_matches('`').to_owned())),
            None => (answer, None),
        };
        Some(Task {
            line: line.trim_matches('`').to_owned(),
            status: status.parse().expect("the answer begins with a status"),
            output,
        })
    }
}

fn is_installed(program: &str) -> bool {
    let found = Directory::new()
        .sh(&format!("command -v {program}"))
        .status();
    found.is_ok_and(|status| status.success())
}

/// A process that holds the lock until it is killed.
fn hold(dir: &Directory, prefix: &str) -> Child {
    let line = format!("exec {prefix} sh -c 'echo ready; sleep 99'");
    let mut holder = dir.sh(&line).spawn().expect("sh starts");
    let output = holder.stdout.take().expect("standard output is piped");
    let mut ready = String::new();
    let read = BufReader::new(output).read_line(&mut ready);
    read.expect("standard output is a pipe");
    assert_eq!(ready, "ready\n", "{prefix} holds the lock");
    holder
}

fn kill(mut holder: Child) {
    let group = Pid::from_raw(holder.id() as i32);
    killpg(group, Signal::SIGKILL).expect("it runs");
    holder.wait().expect("it is a child");
}

fn check(title: &str, task: &Task, prefix: &str) {
    let dir = Directory::new();
    dir.write_program("work", "echo works");
    let mut holder = None;
    if title.starts_with("held:") {
        holder = Some(hold(&dir, prefix));
    } else if title.starts_with("killed:") {
        kill(hold(&dir, prefix));
    }
    let output = finish(dir.sh(&task.line));
    if let Some(holder) = holder {
        kill(holder);
    }
    let printed = format!("{}{}", output.stdout, output.stderr);
    assert_eq!(output.code(), task.status, "{}: {printed}", task.line);
    // What the page does not mention is not printed; ./work runs where the page shows its output.
    let part = task.output.as_deref().unwrap_or_default();
    assert!(printed.contains(part), "{}: {printed}", task.line);
    assert_eq!(
        printed.is_empty(),
        part.is_empty(),
        "{}: {printed}",
        task.line
    );
    assert_eq!(
        printed.contains("works"),
        part == "works",
        "{}: {printed}",
        task.line
    );
}

// A line of the page that does not answer as the page says misleads the operator who copies it.
#[test]
fn each_of_the_ten_tasks_answers_as_the_page_says() {
    let section = section("From flock(1)");
    let (_, rows) = section
        .split_once("| task | flock(1) | setlock(8) | `rvlf` |\n")
        .expect("the page has the table");
    let rows: Vec<&str> = rows
        .lines()
        .skip(1)
        .take_while(|line| !line.is_empty())
        .collect();
    assert_eq!(rows.len(), 10, "tasks");
    for (column, (program, prefix)) in (1..).zip(PROGRAMS) {
        if !is_installed(program) {
            skip(&format!(
                "{program} is not installed: its column is not checked"
            ));
            continue;
        }
        for row in &rows {
            let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            let (title, task) = (cells[0], Task::parse(cells[column]));
            if let Some(task) = task {
                check(title, &task, prefix);
            }
        }
    }
}
