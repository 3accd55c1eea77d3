//! The reference in plain Python at the other end: written from the text of `spec/` alone, it
//! shares one lock with the command, and sees in every lock file what the command sees.
#![cfg(all(target_os = "linux", not(rvlf_portable), not(rvlf_unsupported)))]
#![allow(
    clippy::indexing_slicing,
    reason = "a key that a JSON value does not have reads as null"
)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rvlf::lock_path_for;
use serde_json::Value;
use support::{
    self as common, Actor, Chance, Role, arg, monotonic_ns, next_cue, number, say, scratch,
    set_mtime,
};

#[test]
fn child_role() {
    common::play(&[("section", section), ("stay", stay)]);
}

const HOUR: Duration = Duration::from_secs(3600);

/// Exit statuses of `run`, and of the reference's `hold`, when another has the lock.
const RUN_REFUSED: i32 = 75;
const HOLD_REFUSED: i32 = 1;

fn spec() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../spec")
}

/// The reference; `None`, and the reason was told, where it cannot run.
fn reference() -> Option<PathBuf> {
    let program = spec().join("reference/rvlf.py");
    if interpreter().is_none() {
        common::skip("no python3 here");
        return None;
    }
    let directory = scratch();
    let probe = python(&program, "hold", &directory.path().join("probe"))
        .arg("0")
        .output()
        .expect("python3 has run before");
    let said = String::from_utf8_lossy(&probe.stderr);
    if said.contains("other kernels may write here") {
        common::skip("the directory for temporary files is not local: the reference refuses it");
        return None;
    }
    assert!(probe.status.success(), "it takes a free lock: {said}");
    Some(program)
}

/// The program behind the name python3, which may be a script that takes its time to find it.
fn interpreter() -> Option<&'static PathBuf> {
    static INTERPRETER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let mut command = Command::new("python3");
        let output = command
            .args(["-c", "import sys; print(sys.executable)"])
            .output();
        let output = output.ok().filter(|output| output.status.success())?;
        let path = String::from_utf8(output.stdout).ok()?;
        Some(PathBuf::from(path.trim_end()))
    };
    INTERPRETER.get_or_init(find).as_ref()
}

fn python3() -> Command {
    Command::new(interpreter().expect("tests without it were skipped"))
}

fn python(program: &Path, verb: &str, data: &Path) -> Command {
    let mut command = python3();
    command.arg(program).arg(verb).arg(data);
    command
}

fn rvlf(verb: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rvlf"));
    command.arg(verb);
    command
}

/// Either program as the one that runs a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Python,
    Rust,
}

impl Peer {
    const EACH: [(Peer, Peer); 2] = [(Peer::Python, Peer::Rust), (Peer::Rust, Peer::Python)];

    /// One attempt at the lock, for a command whose words follow. In a process group of its own.
    fn run(self, program: &Path, data: &Path) -> Command {
        let mut command = match self {
            Peer::Python => python(program, "run", data),
            Peer::Rust => rvlf("run"),
        };
        if self == Peer::Rust {
            command.arg(data);
        }
        command.arg("--").process_group(0);
        command
    }
}

/// A command that the death of whoever runs it does not end: `rvlf run` sends SIGTERM then.
fn outliving(supervisor: Command) -> Command {
    let mut command = supervisor;
    command.args(["sh", "-c", r#"trap '' TERM; exec "$0" "$@""#]);
    command
}

/// For a role that outlives its parent: takes back what every role begins with.
fn outlive_the_parent() {
    nix::sys::prctl::set_pdeathsig(None).expect("nothing is a signal, too");
}

fn stay() {
    outlive_the_parent();
    say("ready");
    next_cue();
}

// The text and the vectors are only as good as an implementation that was written from them.
#[test]
fn the_reference_passes_every_vector() {
    let Some(program) = reference() else { return };
    let mut command = python3();
    command.arg("-B").arg(program).arg("vectors");
    let output = command.arg(spec().join("vectors")).output();
    let output = output.expect("python3 has run before");
    let answer = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "it differs: {answer}");
}

// ---------------------------------------------------------------- contention

/// What the lock guards: says when it begins and ends, in one write each.
fn section() {
    outlive_the_parent();
    let log = File::options().append(true).open(arg("LOG"));
    let mut log = log.expect("the test has made it");
    let id = std::env::var("RVLF_WRITER_ID").expect("both programs tell it to the command");
    let mut stamp = |word| {
        let line = format!("{word} {id} {}\n", monotonic_ns());
        log.write_all(line.as_bytes())
            .expect("the disk is not full");
    };
    stamp("held");
    std::thread::sleep(Duration::from_micros(number("MICROS")));
    stamp("released");
}

#[derive(Clone, Copy, Debug)]
enum Contender {
    PythonRun,
    PythonHold,
    RustRun,
}

/// How a turn is cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kill {
    /// The program and its command.
    Group,
    /// The program alone: its command goes on, and with it the lock.
    Supervisor,
}

/// A part of a hold that is proven: in it somebody was inside.
#[derive(Clone, Debug)]
struct Hold {
    from: u64,
    until: u64,
    by: String,
    was_killed: bool,
}

struct Worker {
    contender: Contender,
    program: PathBuf,
    data: PathBuf,
    log: PathBuf,
    errors: PathBuf,
    chance: Chance,
    read: usize,
}

impl Worker {
    const TURNS: usize = 16;

    fn new(contender: Contender, program: &Path, data: &Path, seed: u64) -> Worker {
        let log = data.with_extension(format!("log-{seed}"));
        let errors = data.with_extension(format!("errors-{seed}"));
        File::create_new(&log).expect("the directory is new");
        Worker {
            contender,
            program: program.to_owned(),
            data: data.to_owned(),
            log,
            errors,
            chance: Chance::from_seed(seed),
            read: 0,
        }
    }

    fn work(mut self) -> Vec<Hold> {
        let holds = (0..Worker::TURNS).filter_map(|_| {
            // Without pauses the waiting ones would leave nothing to those that do not wait.
            std::thread::sleep(self.chance.micros(80_000));
            self.turn()
        });
        holds.collect()
    }

    fn start(&mut self) -> Actor {
        let errors = File::options().create(true).append(true).open(&self.errors);
        let errors = errors.expect("the directory is writable");
        let micros = 3_000 + self.chance.below(12_000);
        let section = || {
            Role::new("section")
                .with("LOG", &self.log)
                .with_number("MICROS", micros)
        };
        let mut supervisor = match self.contender {
            Contender::PythonRun => Peer::Python.run(&self.program, &self.data),
            Contender::RustRun => {
                let mut command = rvlf("run");
                command.arg("--wait=60s").arg(&self.data).arg("--");
                command
            }
            Contender::PythonHold => {
                let seconds = Duration::from_micros(micros).as_secs_f64().to_string();
                // The log is its standard output.
                let mut command = Command::new("sh");
                command
                    .args(["-c", r#"exec "$0" "$1" hold "$2" "$3" >>"$4""#])
                    .args([python3().get_program()])
                    .args([&self.program, &self.data])
                    .arg(seconds)
                    .arg(&self.log);
                command
            }
        };
        supervisor.process_group(0).stderr(Stdio::from(errors));
        match self.contender {
            Contender::PythonHold => Role::from(supervisor).start(),
            _ => section().under(outliving(supervisor)).start(),
        }
    }

    fn turn(&mut self) -> Option<Hold> {
        let mut actor = self.start();
        let kill = self.cut_short(&mut actor);
        // The command has the pipe, too: when nobody has it any more, all have ended.
        while actor.hear_or_end().is_some() {}
        let status = actor.wait();
        let context = format!(
            "{:?}, {kill:?}, {status}, {}",
            self.contender,
            fs::read_to_string(&self.errors).unwrap_or_default()
        );
        let stamps = self.new_stamps(&context);
        let hold = |from, until| Hold {
            from,
            until,
            by: format!("{:?}", self.contender),
            was_killed: kill.is_some(),
        };
        match (kill, stamps) {
            (None, [Some(held), Some(released)]) => {
                assert!(status.success(), "a hold that ended well: {context}");
                Some(hold(held, released))
            }
            (None, [None, _]) => {
                let refused = match self.contender {
                    Contender::PythonHold => Some(HOLD_REFUSED),
                    Contender::PythonRun => Some(RUN_REFUSED),
                    Contender::RustRun => None,
                };
                assert!(
                    refused.is_some() && status.code() == refused,
                    "only the reference does not wait, and says so: {context}"
                );
                None
            }
            (Some(_), [None, _]) => None,
            (Some(_), [Some(held), Some(released)]) => Some(hold(held, released)),
            // It had not released when we were about to kill it: until then it was inside.
            (Some((about_to_kill, _)), [Some(held), None])
                if matches!(kill, Some((_, Kill::Group)))
                    || matches!(self.contender, Contender::PythonHold) =>
            {
                Some(hold(held, about_to_kill.max(held)))
            }
            (_, [Some(_), None]) => panic!("nobody killed the command: {context}"),
        }
    }

    /// Kills one turn of two, at a random moment or right inside the hold. Returns the time before
    /// the kill, and its kind.
    fn cut_short(&mut self, actor: &mut Actor) -> Option<(u64, Kill)> {
        let kind = match self.chance.below(2) {
            0 => Kill::Group,
            _ => Kill::Supervisor,
        };
        match self.chance.below(4) {
            0 => std::thread::sleep(self.chance.micros(150_000)),
            1 => {
                let unread = |path| fs::metadata(path).map_or(0, |file| file.len());
                while unread(&self.log) == self.read as u64 && actor.ended().is_none() {
                    std::thread::sleep(Duration::from_micros(500));
                }
            }
            _ => return None,
        }
        let now = monotonic_ns();
        if actor.ended().is_some() {
            return None;
        }
        let pid = Pid::from_raw(actor.pid().cast_signed());
        let target = match kind {
            Kill::Group => Pid::from_raw(-pid.as_raw()),
            Kill::Supervisor => pid,
        };
        kill(target, Signal::SIGKILL).expect("it was not reaped yet");
        Some((now, kind))
    }

    /// The stamps that the turn has left in the log: held and released.
    fn new_stamps(&mut self, context: &str) -> [Option<u64>; 2] {
        let log = fs::read_to_string(&self.log).expect("the log is text");
        let new = log.get(self.read..).expect("logs only grow").to_owned();
        self.read = log.len();
        assert!(
            new.is_empty() || new.ends_with('\n'),
            "whole lines: {new:?}, {context}"
        );
        let mut stamps = [None, None];
        let mut ids = Vec::new();
        for (index, line) in new.lines().enumerate() {
            let mut words = line.split(' ');
            let (word, id, time) = (words.next(), words.next(), words.next());
            let expected = ["held", "released"].get(index).copied();
            assert!(
                word == expected && words.next().is_none(),
                "first held, then released, and nothing else: {new:?}, {context}"
            );
            let id: Option<rvlf::WriterId> = id.and_then(|id| id.parse().ok());
            ids.push(id.expect("a writer id as RFC 9562 has it"));
            let time = time.and_then(|time| time.parse().ok());
            stamps[index] = Some(time.expect("a number of nanoseconds"));
        }
        ids.dedup();
        assert!(ids.len() <= 1, "one turn is one hold: {new:?}, {context}");
        stamps
    }
}

// Two programs that were written from one text, and not from each other, write one data file; now
// and then one of them is killed anywhere, alone or with its command. If either had understood a
// single step differently (which inode to lock, what to compare, when to rename), two commands
// would once run at the same time.
#[test]
fn commands_of_both_programs_never_run_at_the_same_time() {
    let Some(program) = reference() else { return };
    let directory = scratch();
    let data = directory.path().join("data");
    let mut chance = Chance::new();
    let contenders = [
        Contender::PythonRun,
        Contender::PythonRun,
        Contender::PythonHold,
        Contender::RustRun,
        Contender::RustRun,
    ];
    let workers = contenders.map(|contender| {
        Worker::new(
            contender,
            &program,
            &data,
            chance.below(u64::from(u32::MAX)),
        )
    });
    let mut holds: Vec<Hold> = std::thread::scope(|scope| {
        let threads = workers.map(|worker| scope.spawn(|| worker.work()));
        let holds = threads.map(|thread| thread.join().expect("a worker failed, see above"));
        holds.into_iter().flatten().collect()
    });
    holds.sort_by_key(|hold| hold.from);
    for pair in holds.windows(2) {
        let [before, after] = pair else {
            unreachable!("windows of two are two")
        };
        assert!(
            before.until < after.from,
            "nobody enters before the other has left: {before:?}, {after:?}"
        );
    }

    let count = |word: &str| holds.iter().filter(|hold| hold.by.contains(word)).count();
    let killed = holds.iter().filter(|hold| hold.was_killed).count();
    let (python, rust) = (count("Python"), count("Rust"));
    println!("{python} holds by Python, {rust} by Rust, {killed} of them cut short");
    assert!(
        python > 0 && rust > 0 && killed > 0,
        "nothing is shown by a contest that one side never entered, or without deaths"
    );
    for (peer, _) in Peer::EACH {
        run_at_once(peer, &program, &data);
    }
    assert!(
        common::is_absent(&lock_path_for(&data)),
        "after the last release the path is free"
    );
}

/// Runs true(1), without waiting for the lock.
fn run_at_once(peer: Peer, program: &Path, data: &Path) {
    let output = peer.run(program, data).arg("true").output();
    let output = output.expect("the program runs");
    assert!(
        output.status.success(),
        "{peer:?} takes a lock whose holders are dead without waiting: {}, {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

// ---------------------------------------------------------------- recovery

/// A hold by `peer` for a command that stays until it is dismissed.
fn holder(peer: Peer, program: &Path, data: &Path) -> Actor {
    let supervisor = outliving(peer.run(program, data));
    Role::new("stay").under(supervisor).ready()
}

// A nightly job in one language was killed; the next one, in the other, found its lock seconds
// later and waited for 30 s, or for ever, because it did not trust the stamp that it had not
// written.
#[test]
fn each_recovers_the_lock_of_the_other_that_was_killed() {
    let Some(program) = reference() else { return };
    for (dead, heir) in Peer::EACH {
        let directory = scratch();
        let data = directory.path().join("data");
        let mut holder = holder(dead, &program, &data);
        let group = Pid::from_raw(-holder.pid().cast_signed());
        kill(group, Signal::SIGKILL).expect("it was not reaped yet");
        holder.wait();
        while holder.hear_or_end().is_some() {}

        let (status, report) = agree(&program, &data);
        assert_eq!(
            (status, report["state"].as_str(), report["row"].as_u64()),
            (3, Some("stale"), Some(6)),
            "the kernel is the witness of {dead:?}'s death"
        );
        run_at_once(heir, &program, &data);
    }
}

// `run` was killed, its command went on writing. Whoever trusted the pid in the record, which was
// dead, started a second writer.
#[test]
fn each_respects_the_command_that_outlives_the_other() {
    let Some(program) = reference() else { return };
    for (dead, heir) in Peer::EACH {
        let directory = scratch();
        let data = directory.path().join("data");
        let mut orphaned = holder(dead, &program, &data);
        orphaned.kill();

        let (status, report) = agree(&program, &data);
        assert_eq!(
            (status, report["state"].as_str(), report["row"].as_u64()),
            (1, Some("held"), Some(2)),
            "{dead:?} is dead, and its command has the kernel lock"
        );
        let refused = heir.run(&program, &data).arg("true").output();
        let refused = refused.expect("the program runs");
        assert_eq!(
            refused.status.code(),
            Some(RUN_REFUSED),
            "{heir:?} does not start a second writer: {}",
            String::from_utf8_lossy(&refused.stderr)
        );
        orphaned.tell("end");
        while orphaned.hear_or_end().is_some() {}
        run_at_once(heir, &program, &data);
    }
}

// ---------------------------------------------------------------- status

fn status(mut command: Command) -> (i32, Value) {
    let output = command.arg("--json").output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let json = serde_json::from_slice(&output.stdout);
    let json = json.unwrap_or_else(|error| panic!("{command:?}: no JSON ({error}): {said}"));
    (output.status.code().expect("no signal ended it"), json)
}

/// What the specification says of reports.
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

/// Asks both programs, which must agree.
fn agree(program: &Path, data: &Path) -> (i32, Value) {
    agree_with(status(python(program, "status", data)), program, data)
}

/// Asks the command, which must agree with what the reference has answered.
fn agree_with(mut answer: (i32, Value), program: &Path, data: &Path) -> (i32, Value) {
    let mut looks = 0;
    loop {
        let mut command = rvlf("status");
        command.arg(data);
        let (code, report) = status(command);
        let (expected, found) = (essence(answer.0, &answer.1), essence(code, &report));
        if expected == found {
            return (code, report);
        }
        // A process with the pid of a vector can start or end between two looks; not every time.
        looks += 1;
        assert!(
            looks < 3,
            "reference and command see the same:\n{expected}\n{found}\n{report}"
        );
        answer = status(python(program, "status", data));
    }
}

/// The reference's `status` of many data files, as one process: an interpreter for each would take
/// most of the test's time.
fn statuses(program: &Path, data: &[PathBuf]) -> Vec<(i32, Value)> {
    const ASK: &str = r#"
import sys
sys.path.insert(0, sys.argv[1])
import rvlf
for data in sys.argv[2:]:
    print(rvlf.main("status", data, "--json"))
"#;
    let mut command = python3();
    command
        .args(["-B", "-c", ASK])
        .arg(program.with_file_name(""));
    let output = command.args(data).output().expect("python3 runs");
    let (answers, said) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let lines: Vec<_> = answers.lines().collect();
    assert_eq!(
        lines.len(),
        2 * data.len(),
        "a report and a status each: {said}"
    );
    let report = |lines: &[&str]| {
        let json = serde_json::from_str(lines[0]).expect("a report is JSON");
        (lines[1].parse().expect("an exit status"), json)
    };
    lines.chunks(2).map(report).collect()
}

// Two tools looked at one lock file; one called it stale, the other held, and an operator believed
// the wrong one. Every vector, as a lock file that was last written an hour ago.
#[test]
fn status_agrees_on_every_vector() {
    let Some(program) = reference() else { return };
    let vectors = spec().join("vectors");
    let index = fs::read(vectors.join("index.json")).expect("the index is there");
    let index: Vec<Value> = serde_json::from_slice(&index).expect("it is an array");
    assert!(!index.is_empty(), "there are vectors");
    let directory = scratch();
    let file = |vector: &Value| {
        vector["file"]
            .as_str()
            .expect("every vector has a file")
            .to_owned()
    };
    let place = |vector: &Value| {
        let data = directory.path().join(file(vector).replace('/', "-"));
        let lock = lock_path_for(&data);
        fs::copy(vectors.join(file(vector)), &lock).expect("the vector is there");
        set_mtime(&lock, SystemTime::now() - HOUR);
        data
    };
    let all: Vec<_> = index.iter().map(place).collect();
    let reports = statuses(&program, &all);
    for ((vector, data), answer) in index.iter().zip(&all).zip(reports) {
        let (status, report) = agree_with(answer, &program, data);
        agrees_with_the_index(vector, status, &report);
    }

    let is_torn = |vector: &Value| matches!(vector["class"].as_str(), Some("short" | "corrupt"));
    let torn = index.iter().zip(all).filter(|(vector, _)| is_torn(vector));
    let torn: Vec<_> = torn.map(|(_, data)| data).collect();
    assert!(!torn.is_empty(), "there are torn ones");
    for data in &torn {
        // Ahead of the clock is as young as can be, however long the looks take.
        set_mtime(&lock_path_for(data), SystemTime::now() + HOUR);
    }
    for (data, answer) in torn.iter().zip(statuses(&program, &torn)) {
        let (status, report) = agree_with(answer, &program, data);
        assert_eq!(
            (status, report["state"].as_str(), report["row"].as_u64()),
            (1, Some("held"), Some(3)),
            "young, a process may still be writing it: {}",
            data.display()
        );
    }
}

fn agrees_with_the_index(vector: &Value, status: i32, report: &Value) {
    let state = report["state"].as_str().expect("a state is a word");
    let class = vector["class"].as_str().expect("every vector has a class");
    let expected: &[_] = match class {
        "short" | "corrupt" => &[("malformed", 4)],
        "foreign" => &[("foreign", 4)],
        "unsupported" => &[("unsupported", 4)],
        _ => &[("held", 1), ("stale", 3)],
    };
    assert!(
        expected.contains(&(state, status)),
        "{vector}: {state}, exit status {status}"
    );
    let fields = FIELDS.into_iter().filter(|field| *field != "hostname");
    for field in fields {
        assert_eq!(vector[field], report["record"][field], "{field}: {vector}");
    }
    if class == "valid" {
        let trailing = "trailing_bytes";
        assert_eq!(vector[trailing], report[trailing], "{vector}");
    }
}

// The same, for locks that somebody holds, and for what is no lock file at all: a FIFO hung one of
// the tools, and a link led the other to a file of somebody else's.
#[test]
fn status_agrees_on_live_locks_and_on_what_is_no_file() {
    let Some(program) = reference() else { return };
    let directory = scratch();
    let data = |name: &str| directory.path().join(name);
    let seen = |data: &Path| {
        let (status, report) = agree(&program, data);
        let state = report["state"].as_str().expect("a state is a word");
        (status, state.to_owned(), report["row"].as_u64())
    };
    for (peer, _) in Peer::EACH {
        let data = data(&format!("by {peer:?}"));
        let free = (0, "free".to_owned(), None);
        assert_eq!(seen(&data), free, "nobody was here yet");
        let holder = holder(peer, &program, &data);
        let held = (1, "held".to_owned(), Some(2));
        assert_eq!(seen(&data), held, "{peer:?} holds it by the kernel");
        holder.dismiss();
        assert_eq!(seen(&data), free, "{peer:?} has released it");
    }

    let lock = |name: &str| lock_path_for(data(name));
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
    nix::unistd::mkfifo(&lock("fifo"), mode).expect("the directory takes a FIFO");
    fs::create_dir(lock("directory")).expect("the directory takes a directory");
    let record = spec().join("vectors/rt-default.bin");
    std::os::unix::fs::symlink(record, lock("link")).expect("the directory takes a link");
    let nothing = directory.path().join("nothing");
    std::os::unix::fs::symlink(nothing, lock("dangling")).expect("the directory takes a link");
    for name in ["fifo", "directory", "link", "dangling"] {
        let foreign = (4, "foreign".to_owned(), Some(1));
        assert_eq!(seen(&data(name)), foreign, "a {name} is no lock file");
    }

    let odd = data("").join(OsStr::from_bytes(b"sp ace, \"quote\""));
    assert_eq!(seen(&odd).0, 0, "a path is a path");
    for mut program in [python(&program, "status", &data("no/such")), {
        let mut command = rvlf("status");
        command.arg(data("no/such"));
        command
    }] {
        let output = program.output().expect("the program runs");
        assert_eq!(
            output.status.code(),
            Some(5),
            "without a directory nothing is free"
        );
    }
}

// ---------------------------------------------------------------- dump

/// The fields as `spec/format.md` lists them, and where each begins. The parts of a field, which
/// are indented, are its end.
fn fields_of_the_text() -> Vec<(String, usize)> {
    let text = fs::read_to_string(spec().join("format.md")).expect("the text is there");
    let mut fields = Vec::new();
    let mut end = 0;
    let mut parts = 0;
    // From the end, where it is known how much the parts take of their field.
    for line in text.lines().rev() {
        let item = line.trim_start().strip_prefix("* ");
        let Some((size, rest)) = item.and_then(|item| item.split_once(" bytes: `")) else {
            continue;
        };
        let size: usize = size.parse().expect("a number of bytes");
        let name = rest.split('`').next().expect("a name in backquotes");
        if line.starts_with(' ') {
            end += size;
            parts += size;
        } else {
            end += size - parts;
            parts = 0;
        }
        fields.push((name.to_owned(), end));
    }
    assert_eq!(end, rvlf::record::RECORD_LEN, "the list makes up a record");
    let from_start = fields.into_iter().rev();
    from_start
        .map(|(name, end_to_go)| (name, end - end_to_go))
        .collect()
}

// People compare a hex dump with the text, byte by byte; a tool that has other names or offsets
// than the text sends them astray.
#[test]
fn dump_has_the_fields_of_the_text() {
    let stamped = spec().join("vectors/synthetic/stamped.bin");
    let dump = |mut command: Command| {
        let output = command.arg(&stamped).output().expect("the program runs");
        assert!(output.status.success(), "a valid record is no failure");
        String::from_utf8(output.stdout).expect("a dump is text")
    };
    let fields = fields_of_the_text();
    let text = dump(rvlf("dump"));
    for (name, offset) in &fields {
        let line = { text.lines().map(str::trim_start) }
            .find(|line| line.starts_with(&format!("{offset:#04x}  ")))
            .unwrap_or_else(|| panic!("no line for {name} at {offset:#x}:\n{text}"));
        assert!(
            line.split_whitespace().any(|word| word == name),
            "at {offset:#x} is {name}: {line}"
        );
    }
    let Some(program) = reference() else { return };
    let mut command = python3();
    command.arg(program).arg("dump");
    let text = dump(command);
    for (name, _) in &fields {
        assert!(
            text.contains(name.as_str()) || name == "stamp_tag",
            "the reference names {name}:\n{text}"
        );
    }
}
