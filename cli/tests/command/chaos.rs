//! `rvlf run` and `rvlf hold` over one data file, while they, their commands and what these have started
//! are killed, stopped and signalled at random.
//!
//! `RVLF_CHAOS_SECONDS=900 cargo test -p rvlf-cli --test command chaos -- --nocapture`
//! RVLF_SEED repeats the choices of a run, though not the moments at which the kernel schedules them.
//!
//! A second witness detects two writers at a time. Every writer has a POSIX lock on one byte of the file
//! `witness`, the byte of its hold, and asks the kernel for locks on all other bytes. The lock is on
//! descriptor 0: the kernel closes descriptors in ascending order when a process ends, so a dead writer
//! is no witness any more when its descriptor of the lock file is closed.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ::support::{PATIENCE, Rng, record_range, until};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, dup2_stdin};

use crate::support::{Directory, RVLF};

/// Runs at a time.
const CONTENDERS: u64 = 4;

/// The environment variables of a writer: how long it writes, how many writers it starts before that,
/// and, where `rvlf` gives no writer id, the number that stands for its hold.
const MILLIS: &str = "CHAOS_MILLIS";
const CHILDREN: &str = "CHAOS_CHILDREN";
const HOLD: &str = "CHAOS_HOLD";

/// The environment variables that all processes of one run have, and all processes of one test: its
/// directory.
const RUN: &str = "CHAOS_RUN";
const CHAOS: &str = "CHAOS";

// ---------------------------------------------------------------- the writer

/// Does nothing unless this process was started as a writer.
#[test]
#[expect(
    clippy::zombie_processes,
    reason = "a writer ends before the writers that it has started"
)]
fn chaos_writer() {
    let Ok(millis) = env::var(MILLIS) else { return };
    let number = |key| env::var(key).map_or(0, |text| text.parse().expect("a number"));
    let own = byte_of_hold();
    // Children first: they write on when this process is killed.
    for child in 0..number(CHILDREN) {
        let mut command = writer();
        command.env(CHILDREN, "0");
        if child % 2 == 1 {
            command.process_group(0);
        }
        command.spawn().expect("there is room for a process");
    }
    let witness = File::options().read(true).write(true).open("witness");
    // Closing a second descriptor later would give the lock up.
    dup2_stdin(witness.expect("the test has made it")).expect("the file is open");
    let lock = record_range(libc::F_RDLCK, own, 1);
    fcntl(std::io::stdin(), FcntlArg::F_SETLK(&lock)).expect("holds share no byte");
    let millis = millis.parse().expect("a number");
    let end = Instant::now() + Duration::from_millis(millis);
    append("holds", ".");
    while Instant::now() < end {
        report_other_writers(own);
        sleep(Duration::from_millis(2));
    }
    std::process::exit(0);
}

/// This program as a writer. It inherits the rest of its environment.
fn writer() -> Command {
    let program = env::current_exe().expect("procfs is mounted");
    let mut command = Command::new(program);
    command.args(["chaos::chaos_writer", "--exact", "--nocapture"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The byte of the file `witness` that stands for the hold of this process.
fn byte_of_hold() -> libc::off_t {
    // As many digits as fit: 32-bit systems count 2^31 bytes.
    const DIGITS: usize = if size_of::<libc::off_t>() == 8 { 12 } else { 7 };
    let hold = env::var("RVLF_WRITER_ID").or_else(|_| env::var(HOLD));
    let hold = hold.expect("every writer has one").replace('-', "");
    let digits = hold.get(..DIGITS).expect("a long hexadecimal number");
    libc::off_t::from_str_radix(digits, 16).expect("a hexadecimal number") + 1
}

fn report_other_writers(own: libc::off_t) {
    const TO_THE_END: libc::off_t = 0;
    for (start, len) in [(0, own), (own + 1, TO_THE_END)] {
        let mut other = record_range(libc::F_WRLCK, start, len);
        fcntl(std::io::stdin(), FcntlArg::F_GETLK(&mut other)).expect("the file is open");
        if other.l_type != libc::F_UNLCK as libc::c_short {
            let [own, other] = [std::process::id() as i32, other.l_pid].map(shown_writer);
            let line = format!("{own} beside {other}\n");
            append("overlaps", &line);
        }
    }
}

/// The pid of a writer, and those of its environment variables that say how it was started.
fn shown_writer(pid: i32) -> String {
    let environment = shown_of(Pid::from_raw(pid), "environ");
    let variables = environment.split('\0');
    let telling = variables.filter(|one| one.starts_with("CHAOS_") || one.starts_with("RVLF_"));
    format!("{pid} ({})", telling.collect::<Vec<_>>().join(" "))
}

fn append(name: &str, text: &str) {
    let log = File::options().append(true).create(true).open(name);
    let written = log.and_then(|mut log| log.write_all(text.as_bytes()));
    written.expect("the directory is writable");
}

// ---------------------------------------------------------------- one run

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Run,
    WaitChildren,
    /// With `-o` the command writes alone. The guardian is stopped and not killed: docs/command.md promises
    /// nothing if it and `rvlf` are killed.
    Close,
    /// The script writes alone. The keeper gets neither SIGKILL nor SIGTERM, for the same reason.
    Hold,
}

impl Kind {
    /// Whether the process with this command line may get the signal.
    fn permits(self, signal: Signal, command_line: &str) -> bool {
        let mut words = command_line.split('\0');
        let verb = words.next().filter(|program| *program == RVLF);
        match (self, verb.and_then(|_| words.next())) {
            (Kind::Close, Some("guard")) => signal == Signal::SIGSTOP,
            (Kind::Hold, Some("keep")) => !matches!(signal, Signal::SIGKILL | Signal::SIGTERM),
            _ => true,
        }
    }
}

/// One `rvlf`, or one script that calls it, and all that it has started.
struct Run {
    kind: Kind,
    root: Child,
    /// What the environment of each of its processes contains.
    tag: String,
}

impl Run {
    fn start(dir: &Path, rng: &mut Rng) -> Run {
        let kind = pick(
            rng,
            &[
                Kind::Run,
                Kind::Run,
                Kind::WaitChildren,
                Kind::Close,
                Kind::Hold,
            ],
        );
        let wait: &[&str] = pick(rng, &[&[], &["--wait"], &["--wait=1s"], &["-n", "-q"]]);
        let writer = writer();
        let mut command = match kind {
            Kind::Hold => script(wait),
            _ => running(kind, wait, rng),
        };
        command.arg(writer.get_program()).args(writer.get_args());
        let tag = format!("{:016x}{:016x}", rng.below(u64::MAX), rng.below(u64::MAX));
        let children = match kind {
            Kind::Run | Kind::WaitChildren => rng.below(4),
            Kind::Close | Kind::Hold => 0,
        };
        command
            .current_dir(dir)
            .env(CHAOS, dir)
            .env(MILLIS, pick(rng, &["5", "40", "150", "400"]))
            .env(CHILDREN, children.to_string())
            .env(HOLD, &tag)
            .env(RUN, &tag)
            .env("RVLF", RVLF)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        Run {
            kind,
            root: command.spawn().expect("the command starts"),
            tag: format!("{RUN}={tag}\0"),
        }
    }

    fn disturb(&self, rng: &mut Rng) {
        const SIGNALS: [Signal; 6] = [
            Signal::SIGKILL,
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
            Signal::SIGSTOP,
            Signal::SIGSTOP,
        ];
        let signal = pick(rng, &SIGNALS);
        let processes = processes_of(&self.tag);
        if processes.is_empty() {
            return;
        }
        let (pid, command_line) = pick(rng, &processes);
        // On a busy machine the list is older than the exec that makes a process a keeper.
        let is_still_that = command_line_of(pid) == command_line && !is_copy_of_its_parent(pid);
        if is_still_that && self.kind.permits(signal, &command_line) {
            // Fails if it has ended.
            let _ = kill(pid, signal);
        }
    }

    /// Lets the run go on to its end, and returns the exit status.
    fn finish(mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for (pid, _) in processes_of(&self.tag) {
                let _ = kill(pid, Signal::SIGCONT);
            }
            if let Some(status) = self.root.try_wait().expect("it is a child") {
                return status;
            }
            let left = processes_of(&self.tag);
            assert!(Instant::now() < deadline, "{:?} hangs: {left:?}", self.kind);
            sleep(Duration::from_millis(20));
        }
    }
}

/// `rvlf run`, without the writer. Every third command ends before the writer does.
fn running(kind: Kind, wait: &[&str], rng: &mut Rng) -> Command {
    let mut command = Command::new(RVLF);
    command.arg("run").args(wait);
    match kind {
        Kind::WaitChildren => drop(command.arg("--wait-children")),
        Kind::Close => drop(command.arg("--close")),
        Kind::Run | Kind::Hold => {}
    }
    command.arg("d.rvf");
    if kind != Kind::Close && rng.below(3) == 0 {
        command.args(["sh", "-c", "\"$@\" & sleep 0.05", "sh"]);
    }
    command
}

/// A script that becomes the writer while its keeper holds the lock.
fn script(wait: &[&str]) -> Command {
    let hold = wait.join(" ");
    let text = format!("keeper=$($RVLF hold --for $$ {hold} d.rvf) || exit; exec \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &text, "sh"]);
    command
}

/// What the environment of each process of the test in `dir` contains.
fn tag_of(dir: &Path) -> String {
    format!("{CHAOS}={}\0", dir.display())
}

fn pick<T: Clone>(rng: &mut Rng, choices: &[T]) -> T {
    let index = rng.below(choices.len() as u64) as usize;
    choices
        .get(index)
        .expect("an index below the length")
        .clone()
}

/// The live processes whose environment contains `tag`, and their command lines.
fn processes_of(tag: &str) -> Vec<(Pid, String)> {
    let entries = fs::read_dir("/proc").expect("procfs is mounted").flatten();
    let found = entries.filter_map(|entry| {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?);
        // A zombie has no environment.
        let is_tagged = shown_of(pid, "environ").contains(tag);
        is_tagged.then(|| (pid, command_line_of(pid)))
    });
    found.collect()
}

/// Whether this is a keeper or guardian before its exec: a signal could end it after the exec.
fn is_copy_of_its_parent(pid: Pid) -> bool {
    let status = shown_of(pid, "status");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    let parent = parent.and_then(|parent| parent.trim().parse().ok());
    parent.is_some_and(|parent| command_line_of(Pid::from_raw(parent)) == command_line_of(pid))
}

fn command_line_of(pid: Pid) -> String {
    shown_of(pid, "cmdline")
}

/// What procfs shows of a process; nothing if it has ended.
fn shown_of(pid: Pid, name: &str) -> String {
    let bytes = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

// ---------------------------------------------------------------- the tests

fn ready() -> Directory {
    let dir = Directory::new();
    dir.write("witness", "");
    dir.write("holds", "");
    dir
}

#[test]
fn no_two_holds_write_at_a_time_whatever_is_killed_or_stopped() {
    let seconds = env::var("RVLF_CHAOS_SECONDS").map_or(3, |text| text.parse().expect("a number"));
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut seeds = Rng::new();
    let dir = ready();
    let runs: Vec<_> = std::thread::scope(|scope| {
        let contend = |seed| {
            let path = dir.path();
            scope.spawn(move || contend(path, Rng::from_seed(seed), end))
        };
        let threads: Vec<_> = (0..CONTENDERS)
            .map(|_| contend(seeds.below(u64::MAX)))
            .collect();
        let rng = Rng::from_seed(seeds.below(u64::MAX));
        scope.spawn(|| break_dead_holds(&dir, rng, end));
        let runs = threads.into_iter().map(|thread| match thread.join() {
            Ok(runs) => runs,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        runs.flatten().collect()
    });
    until("every process has ended", || {
        processes_of(&tag_of(dir.path())).is_empty()
    });
    let overlaps = fs::read_to_string(dir.join("overlaps")).unwrap_or_default();
    assert_eq!(overlaps, "", "two writers at a time");
    let next = dir.rvlf(&["run", "d.rvf", "true"]);
    assert_eq!(next.code(), 0, "the lock is free: {}", next.stderr);
    assert!(!dir.join("d.rvf.lock").exists());
    let mut counted = BTreeMap::<_, usize>::new();
    for run in runs {
        *counted.entry(run).or_default() += 1;
    }
    let holds = fs::read(dir.join("holds")).expect("it exists").len();
    println!("{holds} writers, runs by their exit status: {counted:?}");
    assert!(holds > 0, "no run got the lock");
}

/// Starts one run after another. Returns the kind of each, and its exit status.
fn contend(dir: &Path, mut rng: Rng, end: Instant) -> Vec<(Kind, i32)> {
    use std::os::unix::process::ExitStatusExt;
    let mut runs = Vec::new();
    while Instant::now() < end {
        let run = Run::start(dir, &mut rng);
        for _ in 0..rng.below(4) {
            sleep(rng.micros(150_000));
            run.disturb(&mut rng);
        }
        sleep(rng.micros(150_000));
        let kind = run.kind;
        let status = run.finish();
        // As a shell reports it.
        let code = status.code().or(status.signal().map(|signal| 128 + signal));
        let code = code.expect("it has ended");
        let is_explained = matches!(code, 0 | 75 | 129 | 130 | 137 | 143);
        assert!(is_explained, "{kind:?} ended with {code}");
        runs.push((kind, code));
    }
    runs
}

/// An operator who removes what dead holders leave, while some of them have commands that write on.
fn break_dead_holds(dir: &Directory, mut rng: Rng, end: Instant) {
    while Instant::now() < end {
        sleep(rng.micros(100_000));
        let broken = dir.rvlf(&["break", "d.rvf"]);
        let is_explained = matches!(broken.code(), 0 | 1);
        assert!(is_explained, "{}: {}", broken.code(), broken.stderr);
    }
}

// The test above must be able to fail.
#[test]
fn the_second_witness_sees_two_writers() {
    let dir = ready();
    let start = |hold: &str| {
        let mut command = writer();
        let command = command.current_dir(dir.path()).env_remove("RVLF_WRITER_ID");
        let command = command.env(HOLD, hold).env(MILLIS, "60000");
        command.spawn().expect("this program starts")
    };
    let mut writers = ["1".repeat(32), "2".repeat(32)].map(|hold| start(&hold));
    until("a writer sees the other one", || {
        dir.join("overlaps").exists()
    });
    for writer in &mut writers {
        writer.kill().expect("it runs");
        writer.wait().expect("it is a child");
    }
}
