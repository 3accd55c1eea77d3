//! Many commands of both programs at one lock, some of which are killed.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rvlf::lock_path_for;
use support::{ChildProcess, Rng, Role, arg, monotonic_ns, number, scratch};

use crate::programs::{Peer, outlive_the_parent, outliving, python3, reference, rvlf};

/// Exit statuses of `run`, and of the reference's `hold`, if another process holds the lock.
const RUN_REFUSED: i32 = 75;
const HOLD_REFUSED: i32 = 1;

/// The command that the lock guards: logs its start and its end, in one write each.
pub fn section() {
    outlive_the_parent();
    let log = File::options().append(true).open(arg("LOG"));
    let mut log = log.expect("the test has created it");
    let id = std::env::var("RVLF_WRITER_ID").expect("both programs set it");
    let mut write = |word| {
        let line = format!("{word} {id} {}\n", monotonic_ns());
        log.write_all(line.as_bytes())
            .expect("the disk is not full");
    };
    write("held");
    std::thread::sleep(Duration::from_micros(number("MICROS")));
    write("released");
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
    /// The program alone: its command runs on and keeps the lock.
    Supervisor,
}

/// A time in which a process certainly held the lock.
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
    rng: Rng,
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
            rng: Rng::from_seed(seed),
            read: 0,
        }
    }

    fn work(mut self) -> Vec<Hold> {
        let holds = (0..Worker::TURNS).filter_map(|_| {
            // Without pauses the contenders that wait would leave no turn to those that do not.
            std::thread::sleep(self.rng.micros(80_000));
            self.turn()
        });
        holds.collect()
    }

    fn start(&mut self) -> ChildProcess {
        let errors = File::options().create(true).append(true).open(&self.errors);
        let errors = errors.expect("the directory is writable");
        let micros = 3_000 + self.rng.below(12_000);
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
                // It writes its log to standard output.
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
        // With this variable Python writes a line and its end in two calls, and a kill leaves half a
        // line.
        supervisor.env_remove("PYTHONUNBUFFERED");
        match self.contender {
            Contender::PythonHold => Role::from(supervisor).start(),
            _ => section().under(outliving(supervisor)).start(),
        }
    }

    fn turn(&mut self) -> Option<Hold> {
        let mut process = self.start();
        let kill = self.cut_short(&mut process);
        // Program and command have the pipe. Its end means that both have ended.
        while process.receive_or_end().is_some() {}
        let status = process.wait();
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
                assert!(status.success(), "a complete hold: {context}");
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
                    "only the reference does not wait: {context}"
                );
                None
            }
            (Some(_), [None, _]) => None,
            (Some(_), [Some(held), Some(released)]) => Some(hold(held, released)),
            // It had not released the lock right before the kill: it held the lock until then.
            (Some((about_to_kill, _)), [Some(held), None])
                if matches!(kill, Some((_, Kill::Group)))
                    || matches!(self.contender, Contender::PythonHold) =>
            {
                Some(hold(held, about_to_kill.max(held)))
            }
            (_, [Some(_), None]) => panic!("the command was not killed: {context}"),
        }
    }

    /// Kills one turn in two, at a random moment or right after the start of the hold. Returns the
    /// time before the kill, and its kind.
    fn cut_short(&mut self, process: &mut ChildProcess) -> Option<(u64, Kill)> {
        let kind = match self.rng.below(2) {
            0 => Kill::Group,
            _ => Kill::Supervisor,
        };
        match self.rng.below(4) {
            0 => std::thread::sleep(self.rng.micros(150_000)),
            1 => {
                let unread = |path| fs::metadata(path).map_or(0, |file| file.len());
                while unread(&self.log) == self.read as u64 && process.ended().is_none() {
                    std::thread::sleep(Duration::from_micros(500));
                }
            }
            _ => return None,
        }
        let now = monotonic_ns();
        if process.ended().is_some() {
            return None;
        }
        let pid = Pid::from_raw(process.pid() as i32);
        let target = match kind {
            Kill::Group => Pid::from_raw(-pid.as_raw()),
            Kill::Supervisor => pid,
        };
        kill(target, Signal::SIGKILL).expect("the process has not been reaped");
        Some((now, kind))
    }

    /// The times that the turn has logged: held and released.
    fn new_stamps(&mut self, context: &str) -> [Option<u64>; 2] {
        let log = fs::read_to_string(&self.log).expect("the log is text");
        let new = log.get(self.read..).expect("logs only grow").to_owned();
        self.read = log.len();
        assert!(
            new.is_empty() || new.ends_with('\n'),
            "complete lines: {new:?}, {context}"
        );
        let mut stamps = [None, None];
        let mut ids = Vec::new();
        for (index, line) in new.lines().enumerate() {
            let mut words = line.split(' ');
            let (word, id, time) = (words.next(), words.next(), words.next());
            let expected = ["held", "released"].get(index).copied();
            assert!(
                word == expected && words.next().is_none(),
                "first held, then released: {new:?}, {context}"
            );
            let id: Option<rvlf::WriterId> = id.and_then(|id| id.parse().ok());
            ids.push(id.expect("a writer id in the form of RFC 9562"));
            let time = time.and_then(|time| time.parse().ok());
            stamps[index] = Some(time.expect("a number of nanoseconds"));
        }
        ids.dedup();
        assert!(ids.len() <= 1, "one turn is one hold: {new:?}, {context}");
        stamps
    }
}

// Two programs that were written from one text, and not from each other, write one data file, and
// some are killed at any moment, alone or with their command. If one of them had misread a single
// step (which inode to lock, what to compare, when to rename), two commands would run at the same
// time.
#[test]
fn commands_of_both_programs_never_run_at_the_same_time() {
    let Some(program) = reference() else { return };
    let directory = scratch();
    let data = directory.path().join("data");
    let holds = contend(&program, &data);
    for pair in holds.windows(2) {
        let (before, after) = (&pair[0], &pair[1]);
        assert!(
            before.until < after.from,
            "two holds overlap: {before:?}, {after:?}"
        );
    }

    let count = |word: &str| holds.iter().filter(|hold| hold.by.contains(word)).count();
    let killed = holds.iter().filter(|hold| hold.was_killed).count();
    let (python, rust) = (count("Python"), count("Rust"));
    println!("{python} holds by Python, {rust} by Rust, {killed} of them killed");
    assert!(
        python > 0 && rust > 0 && killed > 0,
        "a contest without holds of one side, or without kills, proves nothing"
    );
    for (peer, _) in Peer::EACH {
        peer.must_run_at_once(&program, &data);
    }
    let is_free = support::is_absent(&lock_path_for(&data));
    assert!(is_free, "the last release removes the lock file");
}

/// The holds of all contenders, sorted by their start.
fn contend(program: &Path, data: &Path) -> Vec<Hold> {
    let mut rng = Rng::new();
    let contenders = [
        Contender::PythonRun,
        Contender::PythonRun,
        Contender::PythonHold,
        Contender::RustRun,
        Contender::RustRun,
    ];
    let workers = contenders.map(|contender| {
        let seed = rng.below(u64::from(u32::MAX));
        Worker::new(contender, program, data, seed)
    });
    let mut holds: Vec<Hold> = std::thread::scope(|scope| {
        let threads = workers.map(|worker| scope.spawn(|| worker.work()));
        let holds = threads.map(|thread| thread.join().expect("a worker failed, see above"));
        holds.into_iter().flatten().collect()
    });
    holds.sort_by_key(|hold| hold.from);
    holds
}
