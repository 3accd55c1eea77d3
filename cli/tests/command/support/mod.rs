//! A directory to lock data files in, the command to lock them with, and holders that a test ends.
//!
//! A holder prints "ready" when it holds the lock and ends with its standard input, so that no test
//! sleeps and hopes.

#[cfg(feature = "object-store")]
pub mod bucket;
mod holder;
mod terminal;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Once};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rvlf::record::Hostname;
use rvlf::{Record, WriterId};
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::flag;
use snapbox::IntoData;
use tempfile::TempDir;

pub use ::support::{now_ns, skip};
pub use holder::{Holder, STUBBORN};
pub use terminal::on_a_terminal;

/// The limit after which a command counts as hung. No test takes more than seconds. A virtual machine that
/// stood still for a minute once made two commands look hung.
const HANGS: Duration = Duration::from_secs(240);

/// The command under test.
pub const RVLF: &str = env!("CARGO_BIN_EXE_rvlf");

/// A time at which every record is stale.
pub const LONG_AGO: u64 = 1_700_000_000_000_000_000;

/// A temporary directory, in which DATA is `d.rvf` unless a test says otherwise.
pub struct Directory(TempDir);

impl Directory {
    pub fn new() -> Directory {
        let directory = tempfile::Builder::new().prefix("rvlf-test").tempdir();
        Directory(directory.expect("there is room for a directory"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    /// `rvlf` in this directory, in a process group of its own.
    pub fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        allow_signals();
        let mut command = Command::new(RVLF);
        command
            .args(args)
            .current_dir(self.path())
            .env_remove("NO_COLOR")
            .env_remove("CLICOLOR_FORCE")
            .env("TZ", "UTC")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// A line of sh in this directory, which finds `rvlf` and the programs of this directory.
    pub fn sh(&self, line: &str) -> Command {
        let programs = Path::new(RVLF).parent().expect("the program is a file");
        let (own, others) = (
            self.path().display(),
            std::env::var("PATH").unwrap_or_default(),
        );
        let mut command = Command::new("sh");
        command
            .args(["-c", line])
            .current_dir(self.path())
            .env("PATH", format!("{own}:{}:{others}", programs.display()))
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Writes a program of sh.
    pub fn write_program(&self, name: &str, script: &str) {
        self.write(name, format!("#!/bin/sh\n{script}\n"));
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.join(name), executable).expect("it was just written");
    }

    /// Runs `rvlf` until it ends.
    pub fn rvlf(&self, args: &[&str]) -> Output {
        finish(self.command(args))
    }

    /// Starts `rvlf`, which a test then signals or reads from.
    pub fn start(&self, args: &[&str]) -> Child {
        self.command(args).spawn().expect("the command starts")
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.join(name), bytes).expect("the directory is writable");
    }

    /// Writes the record of a process that has ended.
    pub fn plant(&self, name: &str, host: &[u8], timestamp_ns: u64) {
        const NEVER_GIVEN_BY_LINUX: u32 = 0x3fff_fffe;
        self.plant_of(NEVER_GIVEN_BY_LINUX, name, host, timestamp_ns);
    }

    pub fn plant_of(&self, pid: u32, name: &str, host: &[u8], timestamp_ns: u64) {
        let pid = rvlf::record::Pid::new(pid).expect("a positive number");
        let host = Hostname::new(host).expect("a short name");
        let id = WriterId::from_bytes(*b"sixteen bytes id");
        let record = Record::new(pid, &host, timestamp_ns, id, None);
        self.write(name, record.encode());
    }

    /// Sets the mtime of a file back.
    pub fn age(&self, name: &str, age: Duration) {
        let file = File::options().write(true).open(self.join(name));
        let file = file.expect("the file is writable");
        let then = SystemTime::now() - age;
        file.set_modified(then).expect("the file is writable");
    }

    /// The names in this directory, sorted.
    pub fn names(&self) -> Vec<OsString> {
        let entries = fs::read_dir(self.path()).expect("the directory is readable");
        let names = entries.map(|entry| entry.expect("the directory is readable").file_name());
        let mut names: Vec<OsString> = names.collect();
        names.sort_unstable();
        names
    }

    pub fn is_empty(&self) -> bool {
        self.names().is_empty()
    }
}

/// Lets Ctrl-C end the children of this test even if the test was started with the signal ignored
/// (a background job of a script), which exec passes on. Exec resets a caught signal to its
/// default.
fn allow_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for signal in [SIGINT, SIGQUIT, SIGTERM, SIGHUP] {
            let default_action = Arc::new(AtomicBool::new(true));
            flag::register_conditional_default(signal, default_action)
                .expect("the signal can be caught");
        }
    });
}

/// What a finished command has left.
pub struct Output {
    status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    pub fn code(&self) -> i32 {
        let signal = self.status.signal();
        self.status
            .code()
            .unwrap_or_else(|| panic!("ended by signal {signal:?}: {}", self.stderr))
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).expect("one JSON object on standard output")
    }

    pub fn json_lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).expect("one JSON object on each line");
        self.stdout.lines().map(parse).collect()
    }
}

/// Lets `command`, which runs this package's program, run as a user whom permissions bind. False, with a
/// skip that has been reported, if the tests run as root and no other user can run the program.
pub fn run_as_ordinary_user(command: &mut Command) -> bool {
    // The user `nobody` of every distribution.
    const ORDINARY: u32 = 65534;
    if !nix::unistd::geteuid().is_root() {
        return true;
    }
    command.uid(ORDINARY).gid(ORDINARY);
    let mut probe = Command::new(RVLF);
    probe.arg("--version").uid(ORDINARY).gid(ORDINARY);
    let can_run = probe.output().is_ok();
    if !can_run {
        skip("permissions do not bind root, and the user 65534 cannot run this program");
    }
    can_run
}

/// The options of unshare(1) for a pid namespace of its own.
pub const CONTAINER: [&str; 4] = ["--pid", "--fork", "--mount-proc", "--kill-child"];

/// False, with a skip that has been reported, if [`CONTAINER`] is not permitted.
pub fn can_run_in_container() -> bool {
    let tried = Command::new("unshare").args(CONTAINER).arg("true").output();
    let can = tried.is_ok_and(|ended| ended.status.success());
    if !can {
        skip("unshare(1) cannot make a pid namespace here");
    }
    can
}

/// Runs a command until it ends. A command that hangs fails the test.
pub fn finish(mut command: Command) -> Output {
    let shown = format!("{command:?}");
    output_of(command.spawn().expect("the command starts"), &shown)
}

/// Waits for a command to end. `shown` names it in the failure of a command that hangs.
pub fn output_of(child: Child, shown: &str) -> Output {
    let watchdog = Watchdog::start(&child);
    let output = child.wait_with_output();
    watchdog.stop(shown);
    let process::Output {
        status,
        stdout,
        stderr,
    } = output.expect("the child has not been reaped");
    Output {
        status,
        stdout: String::from_utf8(stdout).expect("output is UTF-8"),
        stderr: String::from_utf8(stderr).expect("messages are UTF-8"),
    }
}

/// Kills the process group of a child that hangs, so that a read from its output ends.
struct Watchdog {
    stop: Sender<()>,
    thread: JoinHandle<bool>,
}

impl Watchdog {
    fn start(child: &Child) -> Watchdog {
        let group = Pid::from_raw(child.id() as i32);
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            let hangs = stopped.recv_timeout(HANGS) == Err(RecvTimeoutError::Timeout);
            if hangs {
                let _ = killpg(group, Signal::SIGKILL);
            }
            hangs
        });
        Watchdog { stop, thread }
    }

    fn stop(self, shown: &str) {
        drop(self.stop);
        let has_hung = self.thread.join().expect("the watchdog only waits");
        assert!(!has_hung, "{shown} hangs");
    }
}

/// A file of spec/vectors.
pub fn vector(name: &str) -> Vec<u8> {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spec/vectors");
    fs::read(vectors.join(name)).expect("the vectors lie beside the source")
}

/// Compares a text with an expected one, in which `[..]` stands for what varies.
#[track_caller]
pub fn assert_reads(text: String, expected: impl IntoData) {
    // Normalization would accept a backslash for every slash.
    let assert = snapbox::Assert::new().normalize_paths(false);
    assert
        .action_env(snapbox::assert::DEFAULT_ACTION_ENV)
        .eq(text, expected);
}

/// Whether a process runs no more. The process that adopts an orphan may leave it a zombie for a while.
#[cfg(target_os = "linux")]
pub fn has_ended(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}
