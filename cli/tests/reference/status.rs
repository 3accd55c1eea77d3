//! `status` of the command and of both references, on every vector, on live locks and on files that are not locks.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use rvlf::lock_path_for;
use serde_json::Value;
use support::{scratch, set_mtime};

use crate::programs::{Peer, javascript, node_runs, python, python3, reference, rvlf, spec};
use crate::recovery::holder;

const HOUR: Duration = Duration::from_secs(3600);

/// An exit status, and a report.
type Answer = (i32, Value);

fn status(mut command: Command) -> Answer {
    let output = command.arg("--json").output().expect("the program runs");
    let message = String::from_utf8_lossy(&output.stderr);
    let json = serde_json::from_slice(&output.stdout);
    let json = json.unwrap_or_else(|error| panic!("{command:?}: no JSON ({error}): {message}"));
    (output.status.code().expect("no signal ended it"), json)
}

/// The part of a report that the specification defines.
fn essence(status: i32, report: &Value) -> Value {
    let record = report["record"].as_object();
    let fields = FIELDS.map(|field| (field, report["record"][field].clone()));
    serde_json::json!({
        "exit status": status,
        "data_path": report["data_path"],
        "lock_path": report["lock_path"],
        "state": report["state"],
        "row": report["row"],
        "record": record.map(|_| BTreeMap::from(fields)),
        "trailing_bytes": record.map(|_| &report["trailing_bytes"]),
    })
}

const FIELDS: [&str; 7] = [
    "pid",
    "hostname",
    "hostname_hex",
    "timestamp_ns",
    "writer_id",
    "checksum",
    "stamp",
];

/// The answer of the command and both references, which must be one.
pub fn agreed_status(program: &Path, data: &Path) -> Answer {
    if node_runs() {
        let ask = || javascript("status", data);
        agree_with(status(ask()), ask, data);
    }
    let ask = || python(program, "status", data);
    agree_with(status(ask()), ask, data)
}

/// The answer of the command, which must be that of the reference that `ask` runs.
fn agree_with(mut answer: Answer, ask: impl Fn() -> Command, data: &Path) -> Answer {
    let mut attempts = 0;
    loop {
        let mut command = rvlf("status");
        command.arg(data);
        let (code, report) = status(command);
        let (expected, found) = (essence(answer.0, &answer.1), essence(code, &report));
        if expected == found {
            return (code, report);
        }
        // A process with the pid of a vector can start or end between the two inspections, but not
        // three times in a row.
        attempts += 1;
        assert!(
            attempts < 3,
            "reference and command differ:\n{expected}\n{found}\n{report}"
        );
        answer = status(ask());
    }
}

/// The reference's answers for many data files, by one process: an interpreter for each would take
/// most of the test's time.
fn statuses(program: &Path, data: &[PathBuf]) -> Vec<Answer> {
    const SCRIPT: &str = r#"
import sys
sys.path.insert(0, sys.argv[1])
import rvlf
for data in sys.argv[2:]:
    print(rvlf.main("status", data, "--json"))
"#;
    let mut command = python3();
    command.args(["-B", "-c", SCRIPT]);
    command.arg(program.with_file_name("")).args(data);
    reports(command, data.len())
}

/// The same of the reader in JavaScript.
fn statuses_in_javascript(data: &[PathBuf]) -> Vec<Answer> {
    const SCRIPT: &str = r#"
const [reader, ...all] = process.argv.slice(1);
const { main } = await import(reader);
for (const data of all) console.log(main(["status", data, "--json"]));
"#;
    let mut command = Command::new("node");
    command.args(["--input-type=module", "--eval", SCRIPT]);
    command.arg(spec().join("reference/rvlf.mjs")).args(data);
    reports(command, data.len())
}

/// For each of `count` data files a report and an exit status.
fn reports(mut command: Command, count: usize) -> Vec<Answer> {
    let output = command.output().expect("the interpreter runs");
    let answers = String::from_utf8_lossy(&output.stdout);
    let message = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = answers.lines().collect();
    let expected = 2 * count;
    let found = lines.len();
    assert_eq!(found, expected, "a report and a status each: {message}");
    let answer = |lines: &[&str]| {
        let report = serde_json::from_str(lines[0]).expect("a report is JSON");
        (lines[1].parse().expect("an exit status"), report)
    };
    lines.chunks(2).map(answer).collect()
}

fn file(vector: &Value) -> &str {
    vector["file"].as_str().expect("every vector has a file")
}

fn class(vector: &Value) -> &str {
    vector["class"].as_str().expect("every vector has a class")
}

// An operator who runs two tools on one lock file must not get two answers. Every vector, as a
// lock file that was last written an hour ago.
#[test]
fn status_agrees_on_every_vector() {
    let Some(program) = reference() else { return };
    let vectors = spec().join("vectors");
    let index = fs::read(vectors.join("index.json")).expect("the index exists");
    let index: Vec<Value> = serde_json::from_slice(&index).expect("the index is an array");
    assert!(!index.is_empty(), "there are vectors");
    let directory = scratch();
    let place = |vector: &Value| {
        let data = directory.path().join(file(vector).replace('/', "-"));
        let lock = lock_path_for(&data);
        fs::copy(vectors.join(file(vector)), &lock).expect("the vector exists");
        set_mtime(&lock, SystemTime::now() - HOUR);
        data
    };
    let all: Vec<_> = index.iter().map(place).collect();
    let answers = statuses(&program, &all);
    for ((vector, data), answer) in index.iter().zip(&all).zip(answers) {
        let ask = || python(&program, "status", data);
        let (status, report) = agree_with(answer, ask, data);
        assert_index_agrees(vector, status, &report);
    }
    if node_runs() {
        for (data, answer) in all.iter().zip(statuses_in_javascript(&all)) {
            agree_with(answer, || javascript("status", data), data);
        }
    }

    let is_torn = |vector: &Value| matches!(class(vector), "short" | "corrupt");
    let torn = index.iter().zip(all).filter(|(vector, _)| is_torn(vector));
    let torn: Vec<_> = torn.map(|(_, data)| data).collect();
    assert!(!torn.is_empty(), "some vectors are torn");
    assert_young_torn_files_are_held(&program, &torn);
}

fn assert_index_agrees(vector: &Value, status: i32, report: &Value) {
    let state = report["state"].as_str().expect("a state is text");
    let expected: &[_] = match class(vector) {
        "short" | "corrupt" => &[("malformed", 4)],
        "foreign" => &[("foreign", 4)],
        "unsupported" => &[("unsupported", 4)],
        _ => &[("held", 1), ("stale", 3)],
    };
    let found = (state, status);
    assert!(expected.contains(&found), "{vector}: {found:?}");
    let fields = FIELDS.into_iter().filter(|field| *field != "hostname");
    for field in fields {
        assert_eq!(vector[field], report["record"][field], "{field}: {vector}");
    }
    if class(vector) == "valid" {
        let trailing = "trailing_bytes";
        assert_eq!(vector[trailing], report[trailing], "{vector}");
    }
}

fn assert_young_torn_files_are_held(program: &Path, torn: &[PathBuf]) {
    for data in torn {
        // A time ahead of the clock is young, however long the inspections take.
        set_mtime(&lock_path_for(data), SystemTime::now() + HOUR);
    }
    for (data, answer) in torn.iter().zip(statuses(program, torn)) {
        let ask = || python(program, "status", data);
        let (status, report) = agree_with(answer, ask, data);
        assert_eq!(
            (status, report["state"].as_str(), report["row"].as_u64()),
            (1, Some("held"), Some(3)),
            "a process may still be writing it: {}",
            data.display()
        );
    }
}

fn agreed_state(program: &Path, data: &Path) -> (i32, String, Option<u64>) {
    let (status, report) = agreed_status(program, data);
    let state = report["state"].as_str().expect("a state is text");
    (status, state.to_owned(), report["row"].as_u64())
}

#[test]
fn status_agrees_on_live_locks() {
    let Some(program) = reference() else { return };
    let directory = scratch();
    for (peer, _) in Peer::EACH {
        let data = directory.path().join(format!("by {peer:?}"));
        let state = || agreed_state(&program, &data);
        let free = (0, "free".to_owned(), None);
        assert_eq!(state(), free, "there is no lock file");
        let holder = holder(peer, &program, &data);
        let held = (1, "held".to_owned(), Some(2));
        assert_eq!(state(), held, "{peer:?} has the kernel lock");
        holder.close_input();
        assert_eq!(state(), free, "{peer:?} has released the lock");
    }
}

// A FIFO must not block a tool, and a symbolic link must not lead it to another user's file.
#[test]
fn status_agrees_on_what_is_not_a_lock_file() {
    let Some(program) = reference() else { return };
    let directory = scratch();
    let data = |name: &str| directory.path().join(name);
    let lock = |name: &str| lock_path_for(data(name));
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
    nix::unistd::mkfifo(&lock("fifo"), mode).expect("the file system has FIFOs");
    fs::create_dir(lock("directory")).expect("the directory is writable");
    let record = spec().join("vectors/rt-default.bin");
    std::os::unix::fs::symlink(record, lock("link")).expect("links exist");
    std::os::unix::fs::symlink(data("nothing"), lock("dangling")).expect("links exist");
    for name in ["fifo", "directory", "link", "dangling"] {
        let foreign = (4, "foreign".to_owned(), Some(1));
        assert_eq!(agreed_state(&program, &data(name)), foreign, "{name}");
    }

    let odd = data("").join(OsStr::from_bytes(b"sp ace, \"quote\""));
    assert_eq!(agreed_state(&program, &odd).0, 0, "any name is accepted");
    let missing = data("no/such");
    let mut command = rvlf("status");
    command.arg(&missing);
    let mut programs = vec![python(&program, "status", &missing), command];
    if node_runs() {
        programs.push(javascript("status", &missing));
    }
    for mut program in programs {
        let output = program.output().expect("the program runs");
        let code = output.status.code();
        assert_eq!(code, Some(5), "without its directory a lock is not free");
    }
}
