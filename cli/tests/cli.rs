//! The command `rvlf`, run as people and scripts run it.
//!
//! Commands that hold a lock say "ready" when they run and end when their standard input does, so
//! that no test sleeps and hopes.
#![cfg(unix)]
#![allow(
    clippy::indexing_slicing,
    reason = "a key that a JSON value does not have reads as null"
)]

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Once};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use rvlf::{Hostname, Record, WriterId};
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::flag;
use snapbox::{IntoData, str};
use tempfile::TempDir;

/// Far beyond what anything here takes: reached only by what hangs.
const HANGS: Duration = Duration::from_secs(60);

/// A command that holds the lock until its standard input ends.
const HOLD: [&str; 3] = ["sh", "-c", "echo ready; read line"];

/// As [`HOLD`], and SIGTERM does not end it.
const STUBBORN: [&str; 3] = ["sh", "-c", "trap '' TERM; echo ready; read line"];

fn dir() -> TempDir {
    tempfile::tempdir().expect("there is room for a directory")
}

/// Ctrl-C ends what is started here even if this test was started where it is ignored (a job in the
/// background of a script), and exec would hand that on: what is caught is reset by exec.
fn let_signals_through() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for signal in [SIGINT, SIGQUIT, SIGTERM, SIGHUP] {
            let as_by_default = Arc::new(AtomicBool::new(true));
            flag::register_conditional_default(signal, as_by_default).expect("it may be caught");
        }
    });
}

/// `rvlf` in `dir`, in which DATA is called `d.rvf`.
fn rvlf(dir: &Path, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let_signals_through();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rvlf"));
    command
        .args(args)
        .current_dir(dir)
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
        .env("TZ", "UTC")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What a finished command has left: its status and words.
struct Said {
    status: ExitStatus,
    out: String,
    err: String,
}

impl Said {
    fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| panic!("ended by signal {:?}: {}", self.status.signal(), self.err))
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).expect("one JSON object on standard output")
    }
}

/// Runs a command to its end, which is a test of its own: nothing may hang.
fn finish(mut command: Command) -> Said {
    let shown = format!("{command:?}");
    said(command.spawn().expect("the command starts"), &shown)
}

fn said(child: Child, shown: &str) -> Said {
    let watchdog = Watchdog::over(&child);
    let output = child.wait_with_output();
    assert!(watchdog.was_quiet(), "{shown} hangs");
    let Output {
        status,
        stdout,
        stderr,
    } = output.expect("the child is ours to wait for");
    Said {
        status,
        out: String::from_utf8(stdout).expect("output is UTF-8"),
        err: String::from_utf8(stderr).expect("messages are UTF-8"),
    }
}

/// Kills the process group of a child that hangs, so that reading from it comes to an end.
struct Watchdog {
    stop: Sender<()>,
    thread: JoinHandle<bool>,
}

impl Watchdog {
    fn over(child: &Child) -> Watchdog {
        let group = Pid::from_raw(child.id().cast_signed());
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            let hangs = stopped.recv_timeout(HANGS) == Err(RecvTimeoutError::Timeout);
            if hangs {
                let _ = killpg(group, Signal::SIGKILL);
            }
            !hangs
        });
        Watchdog { stop, thread }
    }

    fn was_quiet(self) -> bool {
        drop(self.stop);
        self.thread.join().expect("it only waits")
    }
}

fn ask(dir: &Path, args: &[&str]) -> Said {
    finish(rvlf(dir, args))
}

/// A running `rvlf run` whose command has said "ready".
struct Holder {
    child: Child,
    watchdog: Watchdog,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Holder {
    fn start(dir: &Path, options: &[&str], command: &[&str]) -> Holder {
        let args = [&["run"], options, &["d.rvf", "--"], command].concat();
        Holder::spawn(rvlf(dir, args))
    }

    fn spawn(mut command: Command) -> Holder {
        let mut child = command
            .stdin(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let watchdog = Watchdog::over(&child);
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let mut holder = Holder {
            child,
            watchdog,
            input,
            output,
        };
        assert_eq!(
            holder.line(),
            "ready",
            "the command runs once the lock is held"
        );
        holder
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output
            .read_line(&mut line)
            .expect("standard output is a pipe");
        line.trim_end().to_owned()
    }

    fn send(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("rvlf still runs");
    }

    /// SIGKILL for rvlf alone, waited for.
    fn kill_rvlf(&mut self) {
        self.child.kill().expect("rvlf still runs");
        self.child.wait().expect("rvlf is ours to wait for");
    }

    /// Ends the command's standard input, and with it the command.
    fn end(mut self) -> Said {
        self.input = None;
        let mut out = String::new();
        self.output
            .read_to_string(&mut out)
            .expect("standard output is a pipe");
        assert!(self.watchdog.was_quiet(), "rvlf run hangs");
        let said = said(self.child, "rvlf run");
        Said { out, ..said }
    }
}

/// Puts a record at the lock path, as a program that is not running (any more) would have.
fn plant(dir: &Path, name: &str, host: &[u8], timestamp_ns: u64) -> Record {
    let pid = rvlf::Pid::new(0x3fff_fffe).expect("a pid that Linux never gives");
    let host = Hostname::new(host).expect("a short name");
    let id = WriterId::from_bytes(*b"sixteen bytes id");
    let record = Record::new(pid, &host, timestamp_ns, id, None);
    fs::write(dir.join(name), record.encode()).expect("the directory is writable");
    record
}

/// Long ago: any record of that time is stale.
const LONG_AGO: u64 = 1_700_000_000_000_000_000;

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.expect("the clock is past 1970").as_nanos();
    u64::try_from(now).expect("the year is before 2554")
}

fn names(dir: &Path) -> BTreeSet<OsString> {
    let entries = fs::read_dir(dir).expect("the directory is readable");
    entries
        .map(|entry| entry.expect("the directory is readable").file_name())
        .collect()
}

fn names_of(names: &[&str]) -> BTreeSet<OsString> {
    names.iter().map(Into::into).collect()
}

/// Whether text reads as expected, `[..]` standing for what varies.
#[track_caller]
fn reads_like(text: String, expected: impl IntoData) {
    // Otherwise every backslash would pass for a slash.
    let assert = snapbox::Assert::new().normalize_paths(false);
    assert
        .action_env(snapbox::assert::DEFAULT_ACTION_ENV)
        .eq(text, expected);
}

/// Skips with a printed reason; where everything is required, fails.
fn skip(reason: &str) {
    assert!(
        std::env::var_os("RVLF_REQUIRE").is_none_or(|value| value != "all"),
        "required, but {reason}"
    );
    eprintln!("skipped: {reason}");
}

// A script asks who writes before it copies a file. If status does not say so in its exit status, the
// copy is torn.
#[test]
fn while_run_holds_the_lock_status_names_the_holder() {
    let dir = dir();
    assert_eq!(
        ask(dir.path(), &["status", "d.rvf"]).code(),
        0,
        "free at first"
    );

    let holder = Holder::start(dir.path(), &[], &HOLD);
    let status = ask(dir.path(), &["status", "--json", "d.rvf"]);
    assert_eq!(status.code(), 1, "held");
    let json = status.json();
    assert_eq!(json["state"], "held");
    assert_eq!(json["row"], 2, "the kernel is the witness");
    assert_eq!(
        json["record"]["pid"],
        holder.child.id(),
        "rvlf is the holder"
    );
    assert_eq!(json["resource_path"], "d.rvf");
    assert_eq!(json["lock_path"], "d.rvf.lock");
    assert_eq!(json["record"]["checksum"], "iso-hdlc");
    assert!(
        json["record"]["timestamp_ns"].is_string(),
        "a number that JavaScript would round"
    );

    let refused = ask(dir.path(), &["run", "d.rvf", "--", "touch", "second"]);
    assert_eq!(refused.code(), 75, "held by another");
    let pid = holder.child.id().to_string();
    assert!(refused.err.contains(&pid), "who: {}", refused.err);
    assert!(
        !dir.path().join("second").exists(),
        "the command did not run"
    );

    let ended = holder.end();
    assert_eq!(
        ended.code(),
        1,
        "read(1) fails at the end of input, and its status is ours"
    );
    assert_eq!(ended.err, "", "nothing went wrong");
    assert_eq!(names(dir.path()), names_of(&[]), "the lock file is gone");
    assert_eq!(
        ask(dir.path(), &["status", "d.rvf"]).code(),
        0,
        "free again"
    );
}

// A machine's OOM killer takes the writer and its wrapper. The next writer must neither wait 30 s nor
// miss that the file may be half written.
#[test]
fn after_both_are_killed_the_next_run_succeeds_and_says_whom_it_reclaimed_from() {
    let dir = dir();
    let mut holder = Holder::start(
        dir.path(),
        &[],
        &["sh", "-c", "echo ready; echo $$; read line"],
    );
    let command: i32 = holder.line().parse().expect("the shell prints its pid");
    let rvlf_pid = holder.child.id();
    kill(Pid::from_raw(command), Signal::SIGSTOP).expect("the command still runs");
    holder.kill_rvlf();
    kill(Pid::from_raw(command), Signal::SIGKILL).expect("a stopped command is still there");
    assert_eq!(holder.line(), "", "the command has ended");

    let status = ask(dir.path(), &["status", "d.rvf"]);
    assert_eq!(status.code(), 3, "stale: {}", status.out);

    let next = ask(dir.path(), &["run", "d.rvf", "--", "echo", "next"]);
    assert_eq!((next.code(), next.out.as_str()), (0, "next\n"));
    assert!(
        next.err.contains("reclaimed from pid") && next.err.contains(&rvlf_pid.to_string()),
        "whom it displaced: {}",
        next.err
    );
    assert_eq!(next.err.lines().count(), 1, "in one line: {}", next.err);
    assert_eq!(names(dir.path()), names_of(&[]), "nothing left");
}

// Somebody kills the wrapper. Its command goes on writing for a while: until it has ended nobody else
// may write.
#[test]
fn the_lock_outlives_a_killed_rvlf_until_its_command_has_ended() {
    let dir = dir();
    let mut holder = Holder::start(dir.path(), &[], &STUBBORN);
    holder.kill_rvlf();

    let status = ask(dir.path(), &["status", "--json", "d.rvf"]);
    assert_eq!(
        status.code(),
        1,
        "the command still has the lock: {}",
        status.out
    );
    assert_eq!(status.json()["row"], 2);
    let refused = ask(dir.path(), &["run", "d.rvf", "--", "true"]);
    assert_eq!(refused.code(), 75, "{}", refused.err);
    let refused = ask(dir.path(), &["break", "d.rvf"]);
    assert_eq!(
        refused.code(),
        1,
        "a live lock is not broken: {}",
        refused.err
    );

    let waiting = rvlf(dir.path(), ["run", "--wait", "d.rvf", "--", "echo", "mine"]).spawn();
    holder.input = None;
    let waited = said(waiting.expect("the command starts"), "rvlf run --wait");
    assert_eq!((waited.code(), waited.out.as_str()), (0, "mine\n"));
    assert!(waited.err.contains("reclaimed from"), "{}", waited.err);
}

// Without the signal a command that never looks up would write on for hours after its wrapper is gone,
// while nobody refreshes the record.
#[test]
fn a_command_is_asked_to_end_when_rvlf_is_killed() {
    let dir = dir();
    let command = [
        "sh",
        "-c",
        "trap 'echo asked; exit' TERM; echo ready; while :; do sleep 0.05; done",
    ];
    let mut holder = Holder::start(dir.path(), &[], &command);
    holder.kill_rvlf();
    assert_eq!(holder.line(), "asked", "SIGTERM has come");
}

// A service started under the lock leaves a daemon behind, which would keep the lock of its dead
// parents for ever: that is what --close is for.
#[test]
fn with_close_what_the_command_leaves_behind_does_not_keep_the_lock() {
    let dir = dir();
    let command = ["sh", "-c", "sleep 120 & echo ready; echo $!; wait"];
    for (options, outlives) in [(&["-o"][..], false), (&["--close"], false), (&[], true)] {
        let mut holder = Holder::start(dir.path(), options, &command);
        let daemon: i32 = holder
            .line()
            .parse()
            .expect("the shell prints its child's pid");
        let daemon = Pid::from_raw(daemon);
        holder.kill_rvlf();
        if outlives {
            let status = ask(dir.path(), &["status", "d.rvf"]);
            assert_eq!(
                status.code(),
                1,
                "it has inherited the lock: {}",
                status.out
            );
            kill(daemon, Signal::SIGKILL).expect("the daemon runs");
        }
        // Waits, for a killed process takes a moment to die; but not for the daemon.
        let next = ask(dir.path(), &["run", "--wait=30s", "d.rvf", "--", "true"]);
        assert_eq!(next.code(), 0, "{options:?}: {}", next.err);
        if !outlives {
            kill(daemon, Signal::SIGKILL).expect("the daemon has lived on");
        }
    }
}

// With --close nothing keeps the lock once rvlf is gone: a command that may clean up first, or does not
// listen, would write beside the next holder.
#[test]
fn with_close_the_command_itself_is_killed_with_rvlf() {
    let dir = dir();
    let script = "trap '' TERM; echo ready; for i in 1 2 3 4 5; do sleep 1; done; echo wrote on";
    for option in ["-o", "--close"] {
        let mut holder = Holder::start(dir.path(), &[option], &["sh", "-c", script]);
        holder.kill_rvlf();
        assert_eq!(holder.line(), "", "its output has ended with it");
    }
}

// `docker stop` and systemd send SIGTERM to the process they know. If rvlf died of it, its command
// would be an orphan; if it swallowed it, nothing would ever stop.
#[test]
fn signals_are_forwarded_and_the_command_decides_when_to_end() {
    let script = "for s in HUP INT QUIT TERM; do trap \"echo $s; exit 7\" $s; done; \
                  echo ready; while :; do sleep 0.05; done";
    for (signal, name) in [
        (Signal::SIGTERM, "TERM"),
        (Signal::SIGINT, "INT"),
        (Signal::SIGHUP, "HUP"),
        (Signal::SIGQUIT, "QUIT"),
    ] {
        let dir = dir();
        let mut holder = Holder::start(dir.path(), &[], &["sh", "-c", script]);
        holder.send(signal);
        assert_eq!(holder.line(), name, "the command has got the signal");
        let ended = holder.end();
        assert_eq!(ended.code(), 7, "and has ended as it likes");
        assert_eq!(names(dir.path()), names_of(&[]), "the lock was released");
    }
}

// nohup(1) promises that a hangup does nothing. A wrapper that turned it into a signal to its command
// would break that promise.
#[test]
fn a_signal_that_is_ignored_from_the_start_stays_ignored() {
    let dir = dir();
    let bin = env!("CARGO_BIN_EXE_rvlf");
    let inner = "trap 'echo TERM; exit 7' TERM; trap 'echo HUP' HUP; echo ready; \
                 while :; do sleep 0.05; done";
    let outer = "trap '' HUP; exec \"$0\" run d.rvf -- sh -c \"$1\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", outer, bin, inner])
        .process_group(0)
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut holder = Holder::spawn(command);
    holder.send(Signal::SIGHUP);
    holder.send(Signal::SIGTERM);
    assert_eq!(holder.line(), "TERM", "the hangup has reached nobody");
    assert_eq!(holder.end().code(), 7);
}

// Shell scripts branch on these numbers, which are those of the shell itself, of env(1) and of
// sysexits.h.
#[test]
fn run_exits_as_its_command_does_or_says_why_not() {
    let dir = dir();
    fs::write(dir.path().join("data"), "no program").expect("the directory is writable");
    fs::write(dir.path().join("foreign.lock"), "4121\n").expect("the directory is writable");
    fs::write(
        dir.path().join("v2.lock"),
        vector("synthetic/version-2.bin"),
    )
    .expect("writable");
    let cases: [(&[&str], i32); 12] = [
        (&["run", "d", "--", "true"], 0),
        (&["run", "d", "--", "sh", "-c", "exit 42"], 42),
        (&["run", "d", "--", "sh", "-c", "exit 255"], 255),
        (&["run", "d", "--", "sh", "-c", "kill -KILL $$"], 128 + 9),
        (&["run", "d", "--", "sh", "-c", "kill -TERM $$"], 128 + 15),
        (&["run", "d", "--", "./data"], 126),
        (&["run", "d", "--", "./no-such-program"], 127),
        (&["run", "foreign", "--", "true"], 125),
        (&["run", "v2", "--", "true"], 125),
        (&["run", "no/such/directory/d", "--", "true"], 125),
        (&["run", "d"], 125),
        (&["run", "--wait=soon", "d", "--", "true"], 125),
    ];
    for (args, expected) in cases {
        let said = ask(dir.path(), args);
        assert_eq!(said.code(), expected, "{args:?}: {}", said.err);
        assert!(
            !dir.path().join("d.lock").exists(),
            "{args:?}: the lock was released"
        );
    }
}

// Every other verb has a table of its own, and people script against it.
#[test]
fn every_exit_status_is_the_documented_one() {
    let dir = dir();
    let path = dir.path();
    plant(path, "stale.lock", b"elsewhere", LONG_AGO);
    plant(path, "held.lock", b"elsewhere", now_ns());
    fs::write(path.join("foreign.lock"), "{\"pid\": 1}").expect("writable");
    fs::write(path.join("v2.lock"), vector("synthetic/version-2.bin")).expect("writable");
    fs::write(path.join("torn.lock"), "FLVR").expect("writable");
    age(&path.join("torn.lock"), Duration::from_secs(10));
    let cases: [(&[&str], i32); 32] = [
        (&["status", "free"], 0),
        (&["status", "held"], 1),
        (&["status"], 2),
        (&["status", "stale"], 3),
        (&["status", "torn"], 4),
        (&["status", "foreign"], 4),
        (&["status", "v2"], 4),
        (&["status", "no/such/directory/d"], 5),
        (&["status", "stale", "free", "held"], 3),
        (&["wait", "free"], 0),
        (&["wait", "--timeout=50ms", "held"], 1),
        (&["wait", "--timeout=soon", "held"], 2),
        (&["wait", "stale"], 3),
        (&["wait", "foreign"], 4),
        (&["wait", "v2"], 4),
        (&["wait", "no/such/directory/d"], 5),
        (&["dump", "held.lock"], 0),
        (&["dump"], 2),
        (&["dump", "torn.lock"], 4),
        (&["dump", "foreign.lock"], 4),
        (&["dump", "v2.lock"], 4),
        (&["dump", "."], 4),
        (&["dump", "no-such.lock"], 5),
        (&["scan", "no/such/directory"], 5),
        (&["break", "free"], 0),
        (&["break", "held"], 1),
        (&["break", "--force", "held"], 2),
        (&["break", "foreign"], 4),
        (&["break", "v2"], 4),
        (&["break", "no/such/directory/d"], 5),
        (&["man", "no-such-verb"], 2),
        (&["no-such-verb"], 2),
    ];
    for (args, expected) in cases {
        let said = ask(path, args);
        assert_eq!(said.code(), expected, "{args:?}: {}{}", said.out, said.err);
        if expected == 5 {
            let why = "No such file or directory";
            assert!(said.err.starts_with("rvlf: "), "{args:?}: {}", said.err);
            assert!(
                said.err.contains(why),
                "{args:?} tells the cause: {}",
                said.err
            );
        }
    }
}

// An operator breaks the lock that looks dead to him. Only what is dead may go; by force, only the one
// lock that he has looked at, and not its successor's.
#[test]
fn break_removes_what_is_stale_and_by_force_only_the_lock_that_was_named() {
    let dir = dir();
    let path = dir.path();

    plant(path, "d.rvf.lock", b"elsewhere", LONG_AGO);
    let broken = ask(path, &["break", "d.rvf"]);
    assert_eq!(broken.code(), 0, "{}", broken.err);
    assert!(
        broken.out.contains("elsewhere"),
        "whose it was: {}",
        broken.out
    );
    assert_eq!(
        names(path),
        names_of(&[]),
        "removed, and nothing left aside"
    );

    // A refresh would change the bytes that are compared.
    let options = ["--no-keepalive", "--on-lost=warn"];
    let holder = Holder::start(path, &options, &HOLD);
    let id = ask(path, &["status", "--json", "d.rvf"]).json()["record"]["writer_id"].clone();
    let id = id.as_str().expect("a writer id is text");
    let before = fs::read(path.join("d.rvf.lock")).expect("the lock file is there");
    let refused = ask(path, &["break", "d.rvf"]);
    assert_eq!(refused.code(), 1, "held");
    assert!(
        refused.err.contains(id),
        "says which id to name: {}",
        refused.err
    );
    assert!(
        refused.err.contains("end process"),
        "and that there is somebody to end first: {}",
        refused.err
    );
    let wrong = "00000000-0000-4000-8000-000000000000";
    let refused = ask(path, &["break", "--force", "--writer-id", wrong, "d.rvf"]);
    assert_eq!(refused.code(), 1, "another's: {}", refused.err);
    assert!(
        refused.err.contains(wrong),
        "says what was asked for: {}",
        refused.err
    );
    let after = fs::read(path.join("d.rvf.lock")).expect("the lock file is there");
    assert_eq!(after, before, "nothing was touched");

    let broken = ask(path, &["break", "--force", "--writer-id", id, "d.rvf"]);
    assert_eq!(broken.code(), 0, "{}", broken.err);
    assert_eq!(
        names(path),
        names_of(&[]),
        "removed, and nothing left aside"
    );
    let ended = holder.end();
    assert!(
        ended.err.contains("lock lost"),
        "the holder learns it: {}",
        ended.err
    );
    assert_eq!(ended.code(), 1, "and warns only: the command's own status");
}

// The lock is taken away while the command writes. It must not go on as if nothing had happened.
#[test]
fn on_loss_the_command_is_ended_and_rvlf_says_so() {
    let dir = dir();
    let holder = Holder::start(dir.path(), &[], &HOLD);
    fs::remove_file(dir.path().join("d.rvf.lock")).expect("the lock file is there");
    let Holder { child, input, .. } = holder;
    let ended = said(child, "rvlf run");
    drop(input);
    assert_eq!(ended.code(), 128 + 15, "ended by SIGTERM: {}", ended.err);
    assert!(
        ended.err.contains("lock lost: the lock file was removed"),
        "{}",
        ended.err
    );
    assert!(ended.err.contains("SIGTERM"), "{}", ended.err);
}

// A command that hangs in its clean-up after the loss still has the data file open.
#[test]
fn on_loss_a_command_that_does_not_end_is_killed() {
    let dir = dir();
    let holder = Holder::start(dir.path(), &[], &STUBBORN);
    fs::remove_file(dir.path().join("d.rvf.lock")).expect("the lock file is there");
    let Holder { child, input, .. } = holder;
    let ended = said(child, "rvlf run");
    drop(input);
    assert_eq!(ended.code(), 128 + 9, "ended by SIGKILL: {}", ended.err);
    assert!(ended.err.contains("sending SIGKILL"), "{}", ended.err);
}

// The command ends well, and nobody has noticed that the lock was gone before: a script would go on
// with data that two have written.
#[test]
fn a_command_that_succeeded_without_the_lock_is_no_success() {
    let dir = dir();
    let removal = ["sh", "-c", "rm \"$RVLF_LOCK_PATH\""];
    let run = |options: &[&str]| {
        let args = [
            &["run", "--no-keepalive"],
            options,
            &["d.rvf", "--"],
            &removal,
        ]
        .concat();
        ask(dir.path(), &args)
    };
    let ended = run(&[]);
    assert_eq!(ended.code(), 125, "{}", ended.err);
    assert!(ended.err.contains("lock lost"), "{}", ended.err);
    let warned = run(&["--on-lost=warn"]);
    assert_eq!(warned.code(), 0, "only warned: {}", warned.err);
    assert!(warned.err.contains("lock lost"), "{}", warned.err);
}

// A command that changes its directory, or stores who wrote what, needs both.
#[test]
fn the_command_learns_lock_path_and_writer_id() {
    let dir = dir();
    let script = "cd /; echo \"$RVLF_WRITER_ID\"; head -c 4 \"$RVLF_LOCK_PATH\"";
    let said = ask(dir.path(), &["run", "d.rvf", "--", "sh", "-c", script]);
    let (id, magic) = said.out.split_once('\n').expect("two lines");
    assert!(id.parse::<WriterId>().is_ok(), "{id} is a writer id");
    assert_eq!(magic, "FLVR", "the path leads to the lock from everywhere");
}

// A nightly job waits for the writer of the day to finish.
#[test]
fn a_waiting_run_gets_the_lock_when_it_is_released_and_says_once_whom_it_waits_for() {
    let dir = dir();
    let holder = Holder::start(dir.path(), &[], &HOLD);
    let pid = holder.child.id().to_string();
    let mut waiting = rvlf(
        dir.path(),
        ["run", "--wait=1h", "d.rvf", "--", "echo", "mine"],
    )
    .spawn()
    .expect("the command starts");
    let mut err = BufReader::new(waiting.stderr.take().expect("standard error is piped"));
    let mut line = String::new();
    err.read_line(&mut line).expect("standard error is a pipe");
    assert!(
        line.starts_with("rvlf: waiting for d.rvf: held by pid "),
        "{line}"
    );
    assert!(
        line.contains(&pid) && line.contains("the kernel reports"),
        "who, and how we know: {line}"
    );
    holder.end();
    let waited = said(waiting, "rvlf run --wait");
    assert_eq!((waited.code(), waited.out.as_str()), (0, "mine\n"));
    let mut rest = String::new();
    err.read_to_string(&mut rest)
        .expect("standard error is a pipe");
    assert_eq!(rest, "", "one line on a pipe");
}

#[test]
fn a_run_that_waited_in_vain_exits_with_75() {
    let dir = dir();
    let holder = Holder::start(dir.path(), &[], &HOLD);
    let waited = ask(
        dir.path(),
        &["run", "--wait=50ms", "d.rvf", "--", "touch", "never"],
    );
    assert_eq!(waited.code(), 75, "{}", waited.err);
    assert!(
        waited.err.contains("timed out after 0.05 s"),
        "{}",
        waited.err
    );
    assert!(
        !dir.path().join("never").exists(),
        "the command did not run"
    );
    holder.end();
}

#[test]
fn wait_returns_when_the_lock_is_free() {
    let dir = dir();
    let holder = Holder::start(dir.path(), &[], &HOLD);
    let mut waiting = rvlf(dir.path(), ["wait", "d.rvf"])
        .spawn()
        .expect("the command starts");
    let mut err = BufReader::new(waiting.stderr.take().expect("standard error is piped"));
    let mut line = String::new();
    err.read_line(&mut line).expect("standard error is a pipe");
    assert!(
        line.starts_with("rvlf: waiting for d.rvf: held by pid "),
        "{line}"
    );
    assert_eq!(waiting.try_wait().expect("ours"), None, "it waits");
    holder.end();
    let waited = said(waiting, "rvlf wait");
    assert_eq!((waited.code(), waited.out.as_str()), (0, ""));
}

// Somebody loses patience. What is left must be the holder's lock and nothing else.
#[test]
fn ctrl_c_while_waiting_leaves_nothing_behind() {
    let dir = dir();
    // A refresh would change the bytes that are compared.
    let holder = Holder::start(dir.path(), &["--no-keepalive"], &HOLD);
    let before = fs::read(dir.path().join("d.rvf.lock")).expect("the lock file is there");
    let waits: [&[&str]; 2] = [
        &["run", "--wait", "d.rvf", "--", "touch", "never"],
        &["wait", "d.rvf"],
    ];
    for args in waits {
        for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
            let mut waiting = rvlf(dir.path(), args).spawn().expect("the command starts");
            let mut err = BufReader::new(waiting.stderr.take().expect("standard error is piped"));
            err.read_line(&mut String::new())
                .expect("standard error is a pipe");
            kill(Pid::from_raw(waiting.id().cast_signed()), signal).expect("it waits");
            assert_eq!(said(waiting, "rvlf").code(), code, "{args:?}");
            assert_eq!(names(dir.path()), names_of(&["d.rvf.lock"]), "{args:?}");
        }
    }
    let after = fs::read(dir.path().join("d.rvf.lock")).expect("the lock file is there");
    assert_eq!(after, before, "the holder's lock was not touched");
    holder.end();
}

// File names are bytes. A lock whose name is not UTF-8 must be found under that very name.
#[test]
fn paths_need_not_be_utf_8() {
    let dir = dir();
    let data = OsStr::from_bytes(b"caf\xe9.rvf");
    let lock_name = OsStr::from_bytes(b"caf\xe9.rvf.lock");
    if File::create(dir.path().join(data)).is_err() {
        return skip("this file system wants names in UTF-8");
    }
    fs::remove_file(dir.path().join(data)).expect("just created");
    let args: [&OsStr; 4] = ["run".as_ref(), data, "--".as_ref(), "ls".as_ref()];
    let ran = finish_raw(rvlf(dir.path(), args));
    assert_eq!(
        ran, b"caf\xe9.rvf.lock\n",
        "the lock file has the data file's name"
    );

    let args = ["run".as_ref(), data, "--".as_ref()].into_iter();
    let holder = Holder::spawn(rvlf(dir.path(), args.chain(HOLD.map(OsStr::new))));
    let args: [&OsStr; 3] = ["status".as_ref(), "--json".as_ref(), data];
    let json = finish(rvlf(dir.path(), args)).json();
    assert_eq!(json["state"], "held");
    assert_eq!(json["resource_path"], "caf\u{fffd}.rvf", "for people");
    assert_eq!(
        json["resource_path_bytes"], "636166e92e727666",
        "for programs"
    );
    assert_eq!(json["lock_path_bytes"], "636166e92e7276662e6c6f636b");
    let scanned = ask(dir.path(), &["scan", "--json", "."]).json();
    assert_eq!(scanned["lock_path_bytes"], "2e2f636166e92e7276662e6c6f636b");
    assert_eq!(names(dir.path()), BTreeSet::from([lock_name.to_owned()]));
    holder.end();
}

fn finish_raw(mut command: Command) -> Vec<u8> {
    command.output().expect("the command starts").stdout
}

// Another program's lock file has the same name. It is its own business, byte for byte.
#[test]
fn what_is_not_ours_is_never_touched() {
    let files: [(&str, &[u8]); 4] = [
        ("json", b"{\"pid\": 4121, \"host\": \"build7\"}\n"),
        ("pid", b"4121\n"),
        ("text", b"do not delete\n"),
        ("big-endian", b"RVLF\0\0\x10\x19"),
    ];
    let dir = dir();
    let path = dir.path();
    for (name, bytes) in files {
        let lock = path.join(format!("{name}.lock"));
        fs::write(&lock, bytes).expect("the directory is writable");
        age(&lock, Duration::from_secs(100_000));
        let id = "00000000-0000-4000-8000-000000000000";
        let attempts: [(&[&str], i32); 6] = [
            (&["run", name, "--", "true"], 125),
            (&["run", "--wait", name, "--", "true"], 125),
            (&["status", name], 4),
            (&["wait", name], 4),
            (&["break", name], 4),
            (&["break", "--force", "--writer-id", id, name], 4),
        ];
        for (args, code) in attempts {
            let said = ask(path, args);
            assert_eq!(said.code(), code, "{args:?}: {}", said.err);
            let words = said.out + &said.err;
            let first = bytes.first_chunk::<4>().expect("the files are longer");
            let first = first.escape_ascii().to_string();
            assert!(
                words.contains(&first),
                "{args:?} shows how it begins: {words}"
            );
        }
        assert_eq!(
            fs::read(&lock).expect("still there"),
            bytes,
            "{name} is as it was"
        );
    }
    let scanned = ask(path, &["scan", "--clean", "."]);
    assert_eq!(
        (scanned.code(), scanned.out.as_str()),
        (0, ""),
        "none of them is a lock of ours"
    );
    assert_eq!(
        names(path).len(),
        files.len(),
        "and all of them are still there"
    );
}

// Opening a FIFO waits for somebody at the other end: for ever.
#[test]
fn a_fifo_at_the_lock_path_hangs_nobody() {
    let dir = dir();
    let lock = dir.path().join("d.rvf.lock");
    nix::unistd::mkfifo(&lock, nix::sys::stat::Mode::from_bits_truncate(0o644))
        .expect("the file system has FIFOs");
    let attempts: [(&[&str], i32); 6] = [
        (&["run", "d.rvf", "--", "true"], 125),
        (&["run", "--wait", "d.rvf", "--", "true"], 125),
        (&["status", "d.rvf"], 4),
        (&["wait", "d.rvf"], 4),
        (&["break", "d.rvf"], 4),
        (&["dump", "d.rvf.lock"], 4),
    ];
    for (args, code) in attempts {
        let said = ask(dir.path(), args);
        assert_eq!(said.code(), code, "{args:?}: {}", said.err);
        assert!(
            (said.out + &said.err).contains("a named pipe"),
            "{args:?} says what it is"
        );
    }
    assert_eq!(
        ask(dir.path(), &["scan", "."]).code(),
        0,
        "scan passes it over"
    );
}

// /dev/zero, a sparse file of a terabyte: nothing that dump is pointed at may be read to its end.
#[test]
fn dump_reads_no_more_than_a_record() {
    let dir = dir();
    let lock = dir.path().join("big.lock");
    let file = File::create(&lock).expect("the directory is writable");
    if file.set_len(1 << 40).is_err() {
        return skip("this file system has no files of a terabyte");
    }
    let said = ask(dir.path(), &["dump", "big.lock"]);
    assert_eq!(said.code(), 4);
    let last = said.out.lines().last().expect("there are lines");
    assert!(
        last.trim_start().starts_with("0x68  00 "),
        "105 bytes: {last}"
    );
    let said = ask(dir.path(), &["dump", "/dev/zero"]);
    assert_eq!(said.code(), 4, "{}", said.err);
    assert!(said.err.contains("a device"), "{}", said.err);
    std::os::unix::fs::symlink("big.lock", dir.path().join("link.lock")).expect("links exist");
    let said = ask(dir.path(), &["dump", "link.lock"]);
    assert_eq!(said.code(), 4, "no link is followed");
}

// Somebody sends us a lock file that makes trouble, and we look at it over the telephone.
#[test]
fn dump_shows_every_field_also_of_damaged_records() {
    let dir = dir();
    let path = dir.path();
    fs::write(path.join("client.lock"), vector("rt-default.bin")).expect("writable");
    let said = ask(path, &["dump", "client.lock"]);
    reads_like(
        said.out,
        str![[r#"
client.lock: a valid record
  0x00  46 4c 56 52              magic         0x52564c46, RVLF
  0x04  71 5d 00 00              pid           23921
  0x08  76 6d 00 00 00 00 00 00  hostname      "vm"
  0x10  00 00 00 00 00 00 00 00
  0x18  00 00 00 00 00 00 00 00
  0x20  00 00 00 00 00 00 00 00
  0x28  00 00 00 00 00 00 00 00
  0x30  00 00 00 00 00 00 00 00
  0x38  00 00 00 00 00 00 00 00
  0x40  00 00 00 00 00 00 00 00
  0x48  55 65 9c 9c 98 30 ea 18  timestamp_ns  1795300833481221461, 2026-11-21 22:40:33 +00:00
  0x50  1a 3a 8f fc 4f 5d e7 7b  writer_id     1a3a8ffc-4f5d-e77b-ddb9-93b83de332ce
  0x58  dd b9 93 b8 3d e3 32 ce
  0x60  01 00 00 00              lock_version  1
  0x64  39 17 33 dd              checksum      0xdd331739, correct CRC-32/ISO-HDLC

"#]],
    );
    let mut bytes = vector("rt-default.bin");
    bytes.truncate(86);
    fs::write(path.join("torn.lock"), &bytes).expect("writable");
    let said = ask(path, &["dump", "torn.lock"]);
    assert!(
        said.out.contains("torn record: 86 of 104 bytes"),
        "{}",
        said.out
    );
    assert!(said.out.contains("writer_id     (torn)"), "{}", said.out);
    assert!(
        !said.out.contains("lock_version"),
        "nothing is invented: {}",
        said.out
    );

    fs::write(path.join("bad.lock"), vector("synthetic/bad-crc.bin")).expect("writable");
    let said = ask(path, &["dump", "bad.lock"]);
    assert!(
        said.out
            .contains("0xdeadbeef, wrong: CRC-32/ISO-HDLC is 0x"),
        "{}",
        said.out
    );

    let holder = Holder::start(path, &[], &HOLD);
    let said = ask(path, &["dump", "d.rvf.lock"]);
    assert_eq!(said.code(), 0);
    assert!(
        said.out.contains("kernel stamp \"RVK1\""),
        "our own is stamped: {}",
        said.out
    );
    holder.end();
}

// Years of crashes have left locks all over a disk. Whoever cleans up must see ours, and must not
// remove what is not litter.
#[test]
fn scan_finds_every_lock_and_cleans_only_asides() {
    let dir = dir();
    let path = dir.path();
    let deep = path.join("a/b");
    fs::create_dir_all(&deep).expect("the directory is writable");
    fs::create_dir(path.join("other")).expect("the directory is writable");
    plant(&deep, "stale.rvf.lock", b"elsewhere", LONG_AGO);
    fs::write(path.join("a/yarn.lock"), "# yarn lockfile v1\n").expect("writable");
    fs::write(path.join("a/empty.lock"), "").expect("writable");
    fs::write(path.join("a/..lock"), "FLVR").expect("writable");
    std::os::unix::fs::symlink(&deep, path.join("other/link")).expect("links exist");

    let old = "a/.rvlf-0123456789abcdef";
    let young = "a/.rvlf-1123456789abcdef";
    let foreign = "a/.rvlf-2123456789abcdef";
    plant(path, old, b"elsewhere", LONG_AGO);
    plant(path, young, b"elsewhere", LONG_AGO);
    fs::write(path.join(foreign), "not a record").expect("writable");
    age(&path.join(old), Duration::from_secs(120));
    age(&path.join(foreign), Duration::from_secs(120));

    let holder = Holder::start(path, &[], &HOLD);
    let scanned = ask(path, &["scan", "."]);
    assert_eq!(
        scanned.code(),
        3,
        "one is stale, one is held: {}",
        scanned.err
    );
    reads_like(
        scanned.out,
        str![[r#"
./d.rvf: held by pid [..] on [..] for [..] s: the kernel reports that a process on this machine holds it
./a/b/stale.rvf: left behind by pid 1073741822 on elsewhere, last refreshed [..] ago: it names another host: only its age decides

"#]],
    );
    assert!(
        scanned.err.contains("skipped 1 empty *.lock file"),
        "{}",
        scanned.err
    );
    assert!(
        path.join(old).exists(),
        "without --clean nothing is removed"
    );

    let before = names(&path.join("a"));
    let scanned = ask(path, &["scan", "--json", "--clean", "."]);
    let states: Vec<Value> = scanned
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("one object per line"))
        .collect();
    assert_eq!(states.len(), 2, "{}", scanned.out);
    assert!(
        scanned.err.contains("removed 1 leftover .rvlf-* file"),
        "{}",
        scanned.err
    );
    let mut expected = before;
    expected.remove(OsStr::new(".rvlf-0123456789abcdef"));
    assert_eq!(
        names(&path.join("a")),
        expected,
        "the old aside alone is gone"
    );
    assert!(
        deep.join("stale.rvf.lock").exists(),
        "stale locks are not litter"
    );
    holder.end();
}

// One directory of another user's must not end the search for all.
#[test]
fn scan_goes_on_after_a_directory_that_it_may_not_read() {
    let dir = dir();
    let path = dir.path();
    fs::create_dir(path.join("closed")).expect("the directory is writable");
    fs::create_dir(path.join("open")).expect("the directory is writable");
    plant(&path.join("open"), "d.lock", b"elsewhere", LONG_AGO);
    let set_mode = |name: &str, mode| {
        fs::set_permissions(path.join(name), fs::Permissions::from_mode(mode)).expect("ours");
    };
    set_mode("", 0o755);
    set_mode("closed", 0);
    let mut command = rvlf(path, ["scan", "."]);
    if nix::unistd::geteuid().is_root() {
        const NOBODY: u32 = 65534;
        command.uid(NOBODY).gid(NOBODY);
        let mut reached = Command::new(env!("CARGO_BIN_EXE_rvlf"));
        reached.arg("--version").uid(NOBODY).gid(NOBODY);
        if reached.output().is_err() {
            return skip("root may read everything, and nobody may not run this program");
        }
    }
    let scanned = finish(command);
    set_mode("closed", 0o755);
    assert_eq!(scanned.code(), 5, "{}", scanned.err);
    assert!(
        scanned
            .err
            .contains("./closed: cannot inspect: Permission denied"),
        "{}",
        scanned.err
    );
    assert!(
        scanned.out.contains("./open/d: left behind"),
        "the others are found: {}",
        scanned.out
    );
}

// Packages install these; a script that does not parse breaks every new shell.
#[test]
fn completions_parse() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = ask(Path::new("/"), &["completions", shell]);
        assert_eq!(said.code(), 0, "{shell}: {}", said.err);
        assert!(
            said.out.contains("no-keepalive"),
            "{shell} knows the options"
        );
        if !["bash", "zsh", "fish"].contains(&shell) {
            continue;
        }
        let mut parser = Command::new(shell);
        parser
            .arg("-n")
            .stdin(Stdio::piped())
            .stderr(Stdio::piped());
        let Ok(mut parser) = parser.spawn() else {
            eprintln!("not parsed: there is no {shell} here");
            continue;
        };
        let mut input = parser.stdin.take().expect("standard input is piped");
        input
            .write_all(said.out.as_bytes())
            .expect("the shell reads");
        drop(input);
        let parsed = parser.wait_with_output().expect("ours");
        let complaints = String::from_utf8_lossy(&parsed.stderr);
        assert!(
            parsed.status.success() && complaints.is_empty(),
            "{shell}: {complaints}"
        );
    }
}

// Whoever reads `man rvlf-run` at three in the morning wants the exit statuses.
#[test]
fn manual_pages_are_well_formed() {
    let verbs = [
        "run",
        "status",
        "wait",
        "break",
        "dump",
        "scan",
        "completions",
        "man",
    ];
    for verb in std::iter::once(None).chain(verbs.map(Some)) {
        let args: Vec<&str> = std::iter::once("man").chain(verb).collect();
        let page = ask(Path::new("/"), &args);
        assert_eq!(page.code(), 0, "{verb:?}: {}", page.err);
        let name = verb.map_or("rvlf".to_owned(), |verb| format!("rvlf-{verb}"));
        assert!(
            page.out.contains(&format!(".TH {name} 1")),
            "{verb:?}: {}",
            page.out
        );
        for section in ["NAME", "SYNOPSIS", "EXAMPLES", "\"EXIT STATUS\""] {
            assert!(
                page.out.contains(&format!(".SH {section}")),
                "{verb:?} has {section}"
            );
        }
        let mut formatter = Command::new("groff");
        formatter.args(["-man", "-Tutf8", "-ww"]);
        formatter
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let Ok(mut formatter) = formatter.spawn() else {
            eprintln!("not formatted: there is no groff here");
            continue;
        };
        let mut input = formatter.stdin.take().expect("standard input is piped");
        input.write_all(page.out.as_bytes()).expect("groff reads");
        drop(input);
        let formatted = formatter.wait_with_output().expect("ours");
        let complaints = String::from_utf8_lossy(&formatted.stderr);
        assert!(complaints.is_empty(), "{verb:?}: {complaints}");
    }
}

#[test]
fn every_help_text_has_examples_and_exit_statuses() {
    let verbs = [
        "run",
        "status",
        "wait",
        "break",
        "dump",
        "scan",
        "completions",
        "man",
    ];
    for verb in std::iter::once(None).chain(verbs.map(Some)) {
        for flag in ["--help", "-h"] {
            let args: Vec<&str> = verb.into_iter().chain([flag]).collect();
            let help = ask(Path::new("/"), &args);
            assert_eq!(help.code(), 0, "{args:?}");
            assert!(help.out.contains("\nEXAMPLES\n"), "{args:?}: {}", help.out);
            assert!(
                help.out.contains("\nEXIT STATUS\n"),
                "{args:?}: {}",
                help.out
            );
        }
    }
}

// What people read. Volatile parts are masked.
#[test]
fn status_reads_like_this() {
    let dir = dir();
    let path = dir.path();
    let said = ask(path, &["status", "d.rvf"]);
    reads_like(
        said.out,
        str![[r#"
d.rvf: free

"#]],
    );

    let holder = Holder::start(path, &[], &HOLD);
    let said = ask(path, &["status", "d.rvf"]);
    reads_like(
        said.out,
        str![[r#"
d.rvf: held by pid [..] on [..] for [..] s
  reason     the kernel reports that a process on this machine holds it
  since      [..]-[..]-[..] [..]:[..]:[..] +00:00
  refreshed  [..] s ago
  writer id  [..]-[..]-4[..]-[..]-[..]
  lock file  d.rvf.lock
  next step  wait until it is free: rvlf wait d.rvf

"#]],
    );
    holder.end();

    plant(path, "it's stale.lock", b"build7", LONG_AGO);
    let said = ask(path, &["status", "it's stale"]);
    reads_like(
        said.out,
        str![[r#"
it's stale: left behind by pid 1073741822 on build7, last refreshed [..] d [..] ago
  reason     it names another host: only its age decides
  since      [..]
  refreshed  [..] d [..] ago
  writer id  73697874-6565-6e20-6279-746573206964
  lock file  it's stale.lock
  next step  none needed, the next writer recovers the lock; to remove it now: rvlf break 'it'\''s stale'

"#]],
    );

    plant(path, "far.lock", b"build7", now_ns());
    let said = ask(path, &["status", "far"]);
    reads_like(
        said.out,
        str![[r#"
far: held by pid 1073741822 on build7 for 0 s
  reason     it names another host: only its age decides
  since      [..]
  refreshed  [..] s ago
  stale in   4 min [..] s, unless refreshed
  writer id  73697874-6565-6e20-6279-746573206964
  lock file  far.lock
  next step  wait until it is free: rvlf wait far

"#]],
    );

    fs::write(path.join("foreign.lock"), "{\"pid\": 4121}").expect("writable");
    let said = ask(path, &["status", "foreign"]);
    reads_like(
        said.out,
        str![[r#"
foreign: not an RVLF lock but a file that begins with "{\"pid\": 4121}"
  reason     the file is not an RVLF lock, so it is never removed
  lock file  foreign.lock
  next step  if no other program needs the file, move it away

"#]],
    );

    fs::write(path.join("torn.lock"), "FLVR1234").expect("writable");
    age(&path.join("torn.lock"), Duration::from_secs(10));
    let said = ask(path, &["status", "torn"]);
    reads_like(
        said.out,
        str![[r#"
torn: malformed: torn record: 8 of 104 bytes, or zeros
  reason     the record is incomplete or damaged, and no process is writing it
  since      [..]
  lock file  torn.lock
  next step  none needed, the next writer recovers the lock; to remove it now: rvlf break torn

"#]],
    );
}

// A watcher in a log: one line per change, not one per look.
#[test]
fn a_watched_status_tells_of_every_change() {
    let dir = dir();
    let mut watching = rvlf(dir.path(), ["status", "--watch", "--json", "d.rvf"])
        .spawn()
        .expect("the command starts");
    let out = BufReader::new(watching.stdout.take().expect("standard output is piped"));
    let mut states = out.lines().map(|line| {
        let line = line.expect("standard output is a pipe");
        let json: Value = serde_json::from_str(&line).expect("one object per line");
        json["state"].as_str().expect("a state is text").to_owned()
    });
    assert_eq!(states.next().as_deref(), Some("free"));
    let holder = Holder::start(dir.path(), &[], &HOLD);
    assert_eq!(states.next().as_deref(), Some("held"));
    holder.end();
    assert_eq!(states.next().as_deref(), Some("free"));
    watching.kill().expect("it watches for ever");
    watching.wait().expect("ours");
}

// `rvlf completions bash | head -1`: whoever has read enough is no error.
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let dir = dir();
    let many: Vec<String> = (0..20_000).map(|number| format!("data-{number}")).collect();
    let verbs: [&[&str]; 4] = [
        &["completions", "bash"],
        &["man", "run"],
        &["--help"],
        &["status"],
    ];
    for verb in verbs {
        let mut command = rvlf(dir.path(), verb);
        if verb == ["status"] {
            command.args(&many);
        }
        let (reader, writer) = std::io::pipe().expect("there is room for a pipe");
        drop(reader);
        let said = finish({
            command.stdout(writer);
            command
        });
        assert_eq!(
            (said.code(), said.err.as_str()),
            (0, ""),
            "{verb:?} ends quietly"
        );
    }
}

// A program reads what the document promises: a key that only the code knows is a trap.
#[test]
fn every_key_of_the_json_is_documented() {
    fn keys(value: &Value, found: &mut BTreeSet<String>) {
        if let Value::Object(object) = value {
            for (key, value) in object {
                found.insert(key.clone());
                keys(value, found);
            }
        }
    }
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/command.md");
    let manual = fs::read_to_string(manual).expect("the document is there");
    let dir = dir();
    plant(dir.path(), "latin.lock", b"caf\xe9", now_ns());
    let holder = Holder::start(dir.path(), &[], &HOLD);
    let mut found = BTreeSet::new();
    for data in ["d.rvf", "latin", "free"] {
        let status = ask(dir.path(), &["status", "--json", data]);
        keys(&status.json(), &mut found);
    }
    holder.end();
    assert!(
        found.contains("hostname_hex"),
        "the odd ones are among them: {found:?}"
    );
    for key in found {
        assert!(
            manual.contains(&format!("`{key}`")),
            "docs/command.md documents {key}"
        );
    }
}

/// Runs a shell line on a terminal of its own, and types what it is given. `None` without script(1).
fn on_a_terminal(dir: &Path, line: &str, typed: impl FnOnce(&mut Terminal)) -> Option<String> {
    let_signals_through();
    let mut command = Command::new("script");
    command
        .args(["-qec", line, "/dev/null"])
        .process_group(0)
        .current_dir(dir)
        .env("RVLF", env!("CARGO_BIN_EXE_rvlf"))
        .env("TERM", "xterm")
        .env("COLUMNS", "200")
        .env_remove("NO_COLOR")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else {
        skip("there is no script(1) here to make a terminal");
        return None;
    };
    let watchdog = Watchdog::over(&child);
    let mut terminal = Terminal {
        keyboard: child.stdin.take().expect("standard input is piped"),
        screen: child.stdout.take().expect("standard output is piped"),
        shown: String::new(),
    };
    typed(&mut terminal);
    terminal.read_until(None);
    child.wait().expect("ours");
    assert!(watchdog.was_quiet(), "{line} hangs: {}", terminal.shown);
    Some(terminal.shown)
}

struct Terminal {
    keyboard: ChildStdin,
    screen: ChildStdout,
    shown: String,
}

impl Terminal {
    /// Reads until the text has been shown, or to the end.
    fn read_until(&mut self, text: Option<&str>) {
        let mut buffer = [0; 4096];
        while text.is_none_or(|text| !self.shown.contains(text)) {
            match self.screen.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    let bytes = buffer.get(..count).expect("a read fits its buffer");
                    self.shown.push_str(&String::from_utf8_lossy(bytes));
                }
            }
        }
    }

    fn press_ctrl_c(&mut self) {
        self.keyboard
            .write_all(b"\x03")
            .expect("script reads its input");
        self.keyboard.flush().expect("script reads its input");
    }
}

// Ctrl-C reaches the whole foreground group. Sent to the command a second time, it would be taken for
// the impatient one that makes many programs skip their clean-up.
#[test]
fn ctrl_c_on_a_terminal_reaches_the_command_once_and_rvlf_waits_for_it() {
    let dir = dir();
    let script = "n=0; trap 'n=$((n+1))' INT; echo ready; \
                  while [ $n = 0 ]; do sleep 0.05; done; sleep 0.5; echo \"got $n\"; exit 9";
    fs::write(dir.path().join("script"), script).expect("writable");
    let line = "\"$RVLF\" run d.rvf -- sh ./script; echo \"status $?\"";
    let line = format!("trap : INT; {line}");
    let shown = on_a_terminal(dir.path(), &line, |terminal| {
        terminal.read_until(Some("ready"));
        terminal.press_ctrl_c();
    });
    if let Some(shown) = shown {
        assert!(shown.contains("got 1"), "once: {shown}");
        assert!(
            shown.contains("status 9"),
            "and its status is ours: {shown}"
        );
    }
}

// Somebody stares at a terminal that does nothing: it must say what it waits for, and Ctrl-C must
// leave a clean line.
#[test]
fn on_a_terminal_a_waiting_command_shows_whom_it_waits_for() {
    let dir = dir();
    let holder = Holder::start(dir.path(), &[], &HOLD);
    for verb in ["wait d.rvf", "run --wait d.rvf -- true"] {
        let line = format!("trap : INT; \"$RVLF\" {verb}; echo \"status $?\"");
        let shown = on_a_terminal(dir.path(), &line, |terminal| {
            terminal.read_until(Some("for 1 s"));
            terminal.press_ctrl_c();
        });
        let Some(shown) = shown else { break };
        assert!(
            shown.contains("waiting for d.rvf: held by pid"),
            "who: {shown:?}"
        );
        assert!(shown.contains("status 130"), "ended by Ctrl-C: {shown:?}");
        let last = shown
            .rsplit("\x1b[2K")
            .next()
            .expect("a split has a last part");
        assert!(!last.contains("waiting"), "the line was cleared: {shown:?}");
    }
    holder.end();
}

#[test]
fn colours_are_for_terminals_and_for_those_who_want_them() {
    let dir = dir();
    fs::write(dir.path().join("x.lock"), vector("rt-default.bin")).expect("writable");
    let piped = ask(dir.path(), &["dump", "x.lock"]);
    assert!(!piped.out.contains('\x1b'), "not on a pipe");
    let Some(shown) = on_a_terminal(dir.path(), "\"$RVLF\" dump x.lock", |_| {}) else {
        return;
    };
    assert!(shown.contains("\x1b["), "coloured by field: {shown:?}");
    let line = "NO_COLOR=1 \"$RVLF\" dump x.lock";
    let shown = on_a_terminal(dir.path(), line, |_| {}).expect("script was there before");
    assert!(!shown.contains("\x1b["), "NO_COLOR is respected: {shown:?}");
}

fn vector(name: &str) -> Vec<u8> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../spec/vectors", name]
        .iter()
        .collect();
    fs::read(path).expect("the vectors lie beside the source")
}

/// Sets a file's mtime back.
fn age(path: &Path, age: Duration) {
    let file = File::options().write(true).open(path).expect("ours");
    file.set_modified(SystemTime::now() - age).expect("ours");
}
