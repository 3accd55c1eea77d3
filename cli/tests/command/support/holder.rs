//! A running `rvlf run`.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Directory, Output, Watchdog, output_of};

/// Holds the lock until standard input ends.
const UNTIL_END_OF_INPUT: [&str; 3] = ["sh", "-c", "echo ready; read line"];

/// As `UNTIL_END_OF_INPUT`, and ignores SIGTERM.
pub const STUBBORN: [&str; 3] = ["sh", "-c", "trap '' TERM; echo ready; read line"];

/// A running `rvlf run` whose command has printed "ready".
pub struct Holder {
    child: Child,
    watchdog: Watchdog,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Holder {
    pub fn start(dir: &Directory) -> Holder {
        Holder::with_options(dir, &[])
    }

    pub fn with_options(dir: &Directory, options: &[&str]) -> Holder {
        Holder::running(dir, options, &UNTIL_END_OF_INPUT)
    }

    pub fn running(dir: &Directory, options: &[&str], command: &[&str]) -> Holder {
        let args = [&["run"], options, &["d.rvf", "--"], command].concat();
        Holder::spawn(dir.command(args))
    }

    /// Holds the lock of another data file.
    pub fn of(dir: &Directory, data: &std::ffi::OsStr) -> Holder {
        let mut command = dir.command(["run"]);
        command.arg(data).arg("--").args(UNTIL_END_OF_INPUT);
        Holder::spawn(command)
    }

    pub fn spawn(mut command: Command) -> Holder {
        let command = command.stdin(Stdio::piped()).spawn();
        let mut child = command.expect("the command starts");
        let watchdog = Watchdog::start(&child);
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let mut holder = Holder {
            child,
            watchdog,
            input,
            output,
        };
        let line = holder.line();
        assert_eq!(line, "ready", "the command runs while the lock is held");
        holder
    }

    pub fn rvlf_pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of the command's output.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.output.read_line(&mut line);
        read.expect("standard output is a pipe");
        line.trim_end().to_owned()
    }

    /// The next line, a pid that the command prints.
    pub fn pid_line(&mut self) -> Pid {
        let pid = self.line().parse();
        Pid::from_raw(pid.expect("the command prints a pid"))
    }

    /// Sends a signal to rvlf.
    pub fn send(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32);
        kill(pid, signal).expect("rvlf still runs");
    }

    /// Sends SIGKILL to rvlf alone, and reaps it.
    pub fn kill_rvlf(&mut self) {
        self.child.kill().expect("rvlf still runs");
        self.child.wait().expect("rvlf has not been reaped");
    }

    /// Ends the command's standard input, and with it the command.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// The command's standard input, which ends when it is dropped.
    pub fn take_input(&mut self) -> Option<ChildStdin> {
        self.input.take()
    }

    /// Ends the command, and waits for rvlf.
    pub fn end(mut self) -> Output {
        self.close_input();
        self.ended()
    }

    /// Waits for rvlf, which ends the command itself.
    pub fn ended(mut self) -> Output {
        let mut stdout = String::new();
        let read = self.output.read_to_string(&mut stdout);
        read.expect("standard output is a pipe");
        self.watchdog.stop("rvlf run");
        let output = output_of(self.child, "rvlf run");
        Output { stdout, ..output }
    }
}
