//! Child processes: this binary, started with an environment variable that names a role. A role reads
//! commands from its standard input, and reports in lines that begin with `@`, because the test harness
//! writes to the same stream. It ends when its input ends, or when it is killed.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use rvlf::{AcquireError, WriterLock};

use crate::{PATIENCE, processes};

const ROLE: &str = "RVLF_TEST_ROLE";

/// The body of the test `child_role`: does nothing unless this process was started for a role.
pub(crate) fn run() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    match role.as_str() {
        "worker" => worker(),
        "contender" => processes::contender(),
        "keeper" => processes::keeper(),
        "examiner" => processes::examiner(),
        "idle" => while command().is_some() {},
        role => panic!("no such role: {role}"),
    }
    std::process::exit(0);
}

/// This binary as a role.
pub(crate) fn role(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary runs"));
    command.args(["child_role", "--exact", "--nocapture"]);
    command.env(ROLE, name);
    command
}

/// An argument of a role: an environment variable.
pub(crate) fn path_of(key: &str) -> PathBuf {
    let value = std::env::var_os(key);
    value.expect("the test passes what the role needs").into()
}

/// The next command of the parent. `None` if it has closed the stream or is dead.
fn command() -> Option<String> {
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    let read = read.ok().filter(|read| *read > 0);
    read.map(|_| line.trim_end().to_owned())
}

pub(crate) fn report(text: impl std::fmt::Display) {
    // The harness may have left an unfinished line.
    let line = format!("\n@{text}\n");
    let mut out = std::io::stdout().lock();
    // If the parent is dead, this process ends with its next command.
    let _ = out.write_all(line.as_bytes());
    let _ = out.flush();
}

/// A holder or contender that does what its test commands.
fn worker() {
    let data = path_of("DATA");
    let mut held = None;
    let mut child = None;
    report("ready");
    while let Some(command) = command() {
        match command.as_str() {
            "acquire" => match WriterLock::acquire(&data, PATIENCE) {
                Ok(lock) => {
                    report(format_args!("got {}", lock.writer_id()));
                    held = Some(lock);
                }
                Err(error) => report(error),
            },
            "try" => report(match WriterLock::try_acquire(&data) {
                Ok(lock) => format!("got {}", held.insert(lock).writer_id()),
                Err(AcquireError::Held { holder, .. }) => {
                    format!("held {:?}", holder.verdict().reason())
                }
                Err(error) => error.to_string(),
            }),
            "spawn" => {
                let lock = held.as_ref().expect("the test acquires first");
                let mut command = role("idle");
                let command = command.stdin(Stdio::piped()).stdout(Stdio::null());
                let spawned = lock.lend_during(|| command.spawn());
                let spawned = spawned.expect("this binary can be started");
                report(format_args!("spawned {}", spawned.id()));
                child = Some(spawned);
            }
            "wait for it" => {
                let child = child.as_mut().expect("the test spawns first");
                drop(child.stdin.take());
                let status = child.wait().expect("it is a child");
                report(format_args!("ended {}", status.success()));
            }
            "release" => report(match held.take().map(WriterLock::release) {
                Some(Ok(released)) => format!("released {released:?}"),
                Some(Err(error)) => format!("not released: {error}"),
                None => "nothing held".to_owned(),
            }),
            command => panic!("no such command: {command}"),
        }
    }
}

/// A child process in a role. Killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    commands: Option<ChildStdin>,
    reports: Receiver<String>,
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Process {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("this binary can be started");
        let stdout = child.stdout.take().expect("the output is piped");
        let (sender, reports) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                if let Some(text) = line.trim_end().strip_prefix('@') {
                    // The test may have ended.
                    let _ = sender.send(text.to_owned());
                }
            }
        });
        Process {
            commands: child.stdin.take(),
            child,
            reports,
        }
    }

    /// A worker that is ready for commands.
    pub(crate) fn worker(data: &Path) -> Process {
        let mut command = role("worker");
        command.env("DATA", data);
        let process = Process::start(command);
        assert_eq!(process.receive(), "ready");
        process
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn send(&mut self, command: &str) {
        let commands = self.commands.as_mut().expect("the stream is open");
        writeln!(commands, "{command}").expect("the child reads");
    }

    #[track_caller]
    pub(crate) fn receive(&self) -> String {
        let report = self.reports.recv_timeout(PATIENCE);
        report.expect("the child reports in time")
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.send(command);
        self.receive()
    }

    /// TerminateProcess, and waits until the kernel has closed what the process had open.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it is a child");
        self.child.wait().expect("it is a child");
    }

    /// Whether it has ended by itself, and with success.
    pub(crate) fn ended(&mut self) -> Option<bool> {
        let status = self.child.try_wait().expect("it is a child");
        status.map(|status| status.success())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A test that fails leaves no holder behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
