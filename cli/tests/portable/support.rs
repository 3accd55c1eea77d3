//! A directory for one test, the command in it, and this program as COMMAND.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use tempfile::TempDir;

/// The environment variable that names the role of this program.
const ROLE: &str = "RVLF_TEST_ROLE";

/// What the command prints when it runs, in a line of its own.
const READY: &str = "ready";

pub const RVLF: &str = env!("CARGO_BIN_EXE_rvlf");

/// Does what the role says, and ends this process. Returns if it has no role.
pub fn play_role() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    match role.split_once(' ') {
        Some(("exit", code)) => std::process::exit(code.parse().expect("it is a number")),
        Some(("print", variable)) => say(&std::env::var(variable).unwrap_or_default()),
        _ if role == "stay" => stay(),
        _ if role == "leave" => drop(start_another("stay")),
        _ if role == "both" => {
            let mut another = start_another("stay");
            stay();
            another.wait().expect("it is a child");
        }
        _ => panic!("no role {role}"),
    }
    std::process::exit(0);
}

/// Prints that it runs, and does so until its input ends.
fn stay() {
    say(READY);
    let _ = io::stdin().read_to_end(&mut Vec::new());
}

fn say(line: &str) {
    // The test harness may be in the middle of a line.
    let text = format!("\n{line}\n");
    io::stdout()
        .write_all(text.as_bytes())
        .expect("the test reads it");
}

fn start_another(role: &str) -> Child {
    this_program(role).spawn().expect("it starts")
}

fn this_program(role: &str) -> Command {
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(program);
    command.args(ROLE_ARGUMENTS).env(ROLE, role);
    command
}

const ROLE_ARGUMENTS: [&str; 3] = ["child_role", "--exact", "--nocapture"];

/// A directory in which the data file is `d`.
pub struct Scratch {
    dir: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Scratch {
    pub fn new() -> Scratch {
        let dir = tempfile::tempdir().expect("there is room for a directory");
        Scratch { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn command(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env_remove("RVLF_HOLDS");
        command
    }

    /// Runs rvlf to its end.
    pub fn rvlf(&self, arguments: &[&str]) -> Ended {
        Ended::of(&mut self.command(RVLF, arguments))
    }

    /// `rvlf run OPTIONS d` and this program in a role.
    pub fn run_role(&self, options: &[&str], role: &str) -> Command {
        let program = std::env::current_exe().expect("this program has a path");
        let mut command = self.command(RVLF, &["run"]);
        command.args(options).arg("d").arg("--").arg(program);
        command.args(ROLE_ARGUMENTS).env(ROLE, role);
        command
    }

    /// Starts `rvlf run OPTIONS d` with a command that runs until its input ends. Returns when it runs.
    pub fn hold(&self, options: &[&str], role: &str) -> Running {
        let mut running = Running::start(&mut self.run_role(options, role));
        running.await_ready();
        running
    }
}

impl Ended {
    pub fn of(command: &mut Command) -> Ended {
        let output = command.stdin(Stdio::null()).output().expect("it starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ended {
            status: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// Checks the exit status, and shows what the command has printed if it is another one.
    #[track_caller]
    pub fn expect_status(self, status: i32) -> Ended {
        assert_eq!(self.status, Some(status), "{self:?}");
        self
    }
}

/// An rvlf that runs, and its command.
pub struct Running {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Running {
    pub fn start(command: &mut Command) -> Running {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let output = process.stdout.take().expect("it is piped");
        Running {
            input: process.stdin.take(),
            output: BufReader::new(output),
            process,
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Returns when the command has printed that it runs.
    fn await_ready(&mut self) {
        let mut lines = self.output.by_ref().lines();
        let ready = lines.any(|line| line.is_ok_and(|line| line.trim_end() == READY));
        if !ready {
            panic!("the command does not run: {}", self.error_text());
        }
    }

    /// Returns when rvlf has printed a message that contains `text`.
    pub fn await_message(&mut self, text: &str) {
        let stderr = self.process.stderr.as_mut().expect("it is piped");
        // Byte by byte: what follows the line is read later.
        let mut line = Vec::new();
        while !String::from_utf8_lossy(&line).contains(text) {
            let mut byte = [0];
            let read = stderr.read(&mut byte).expect("it can be read");
            assert_eq!(read, 1, "{}", String::from_utf8_lossy(&line));
            line.extend(byte);
        }
    }

    /// Kills rvlf. Linux and Windows end its command then; elsewhere the end of its input does.
    pub fn kill(&mut self) {
        self.kill_rvlf();
        if !cfg!(any(target_os = "linux", windows)) {
            self.end_input();
        }
    }

    /// Kills rvlf, and does nothing that ends its command.
    pub fn kill_rvlf(&mut self) {
        self.process.kill().expect("it may be killed");
        self.process.wait().expect("it is a child");
    }

    /// Returns when every process has ended that can write to the output of the command.
    pub fn await_end_of_all(&mut self) {
        let _ = self.output.read_to_end(&mut Vec::new());
    }

    /// Ends the input of the command.
    pub fn end_input(&mut self) {
        self.input = None;
    }

    /// What rvlf prints until it, and all that has its standard error, have ended.
    pub fn error_text(&mut self) -> String {
        let mut text = String::new();
        let stderr = self.process.stderr.as_mut().expect("it is piped");
        let _ = stderr.read_to_string(&mut text);
        text
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait().expect("it is a child")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end_input();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
