//! The parent's side of a role: start a child process, send commands, receive reports, kill.

use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::PATIENCE;
use crate::role::{ROLE, variable};

/// A role that is not started yet.
pub struct Role(Command);

impl From<Command> for Role {
    /// Another program that is started, read and killed as a role is.
    fn from(command: Command) -> Role {
        Role(command)
    }
}

impl Role {
    pub fn new(name: &str) -> Role {
        let mut command = this_binary();
        command.env(ROLE, name);
        Role(command)
    }

    /// A holder or contender that does what its test commands.
    pub fn worker(data: &Path) -> Role {
        Role::new("worker").with("DATA", data)
    }

    /// A role in namespaces of its own for pids, host name and mounts, as a container has them.
    pub fn in_container(name: &str, hostname: Option<&str>) -> Role {
        let role = Role::new("namespaced").with("INNER", name);
        match hostname {
            Some(hostname) => role.with("HOSTNAME", hostname),
            None => role,
        }
    }

    /// For a role in a container: how long ago its machine booted.
    pub fn with_uptime(self, uptime: Duration) -> Role {
        self.with_number("UPTIME", uptime.as_secs())
    }

    pub fn with(mut self, key: &str, value: impl AsRef<OsStr>) -> Role {
        self.0.env(variable(key), value);
        self
    }

    pub fn with_number(self, key: &str, value: u64) -> Role {
        self.with(key, value.to_string())
    }

    /// The role as the command that `supervisor` runs: the last of the supervisor's arguments.
    pub fn under(self, mut supervisor: Command) -> Role {
        supervisor.arg(self.0.get_program()).args(self.0.get_args());
        for (key, value) in self.0.get_envs() {
            supervisor.env(key, value.expect("roles only add variables"));
        }
        Role(supervisor)
    }

    /// The role under strace, which makes calls fail: `fault` is what its option `inject` takes.
    pub fn under_fault(self, fault: &str) -> Role {
        let calls = fault.split(':').next().unwrap_or_default();
        let mut strace = Command::new("strace");
        // -D: the role is a child of this process, and strace a grandchild.
        strace.args(["-D", "-f", "-qq", "-o", "/dev/null"]);
        strace.args([
            "-e",
            &format!("trace={calls}"),
            "-e",
            &format!("inject={fault}"),
        ]);
        self.under(strace)
    }

    pub fn in_directory(mut self, directory: &Path) -> Role {
        self.0.current_dir(directory);
        self
    }

    pub fn start(mut self) -> ChildProcess {
        let command = self.0.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program can be executed");
        let stdout = child.stdout.take().expect("the output is piped");
        let (sender, reports) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                let sent = line
                    .strip_prefix('@')
                    .map(|text| sender.send(text.to_owned()));
                if let Some(Err(_)) = sent {
                    return;
                }
            }
        });
        ChildProcess {
            commands: child.stdin.take(),
            child,
            reports,
        }
    }

    /// For execve(2) in place of the calling process.
    pub fn into_command(self) -> Command {
        self.0
    }

    /// Starts the role and waits for its first report, which is `ready`.
    pub fn ready(self) -> ChildProcess {
        let mut process = self.start();
        assert_eq!(
            process.receive(),
            "ready",
            "a role reports that it is ready"
        );
        process
    }
}

pub(crate) fn this_binary() -> Command {
    let path = env::current_exe().expect("procfs is mounted");
    let mut command = Command::new(path);
    command.args(["--exact", "child_role", "--nocapture", "--test-threads=1"]);
    command
}

/// A child process that runs a role. Killed when dropped.
pub struct ChildProcess {
    child: Child,
    commands: Option<ChildStdin>,
    reports: Receiver<String>,
}

impl ChildProcess {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next report.
    pub fn receive(&mut self) -> String {
        let report = self.receive_or_end();
        report.unwrap_or_else(|| panic!("the child process has ended: {:?}", self.child.wait()))
    }

    /// The next report; `None` if the process has ended instead.
    pub fn receive_or_end(&mut self) -> Option<String> {
        match self.reports.recv_timeout(PATIENCE) {
            Ok(text) => Some(text),
            Err(RecvTimeoutError::Timeout) => panic!("the child process hangs: no report came"),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Whether every report so far has been received.
    pub fn is_silent(&self) -> bool {
        self.reports.try_recv().is_err()
    }

    pub fn send(&mut self, command: &str) {
        let commands = self.commands.as_mut();
        let commands = commands.expect("the input is open until `close_input`");
        let written = commands.write_all(format!("{command}\n").as_bytes());
        written.expect("the child process reads commands");
    }

    /// Sends a command and returns the report that follows.
    pub fn request(&mut self, command: &str) -> String {
        self.send(command);
        self.receive()
    }

    /// Sends a command whose report must begin with `word`; returns what follows the word.
    #[track_caller]
    pub fn expect(&mut self, command: &str, word: &str) -> String {
        let report = self.request(command);
        let rest = report.strip_prefix(word);
        let rest = rest.unwrap_or_else(|| panic!("{command}: expected {word}, got: {report}"));
        rest.trim_start().to_owned()
    }

    /// Sends SIGKILL and reaps the process.
    pub fn kill(&mut self) -> ExitStatus {
        self.kill_only();
        self.child
            .wait()
            .expect("the process is a child of this one")
    }

    /// Sends SIGKILL and does not wait for the end of the process.
    pub fn kill_only(&mut self) {
        let killed = self.child.kill();
        killed.expect("the process is a child of this one");
    }

    /// The exit status, if the process has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait();
        status.expect("the process is a child of this one")
    }

    /// Waits until the process ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            let in_time = Instant::now() < deadline;
            assert!(in_time, "the child process hangs: it does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until the process ends by itself, which must be a success.
    pub fn finish(mut self) {
        let status = self.wait();
        assert!(status.success(), "the child process failed: {status}");
    }

    /// Closes the standard input, which ends a role that waits for a command.
    pub fn close_input(mut self) {
        self.commands = None;
        self.finish();
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
