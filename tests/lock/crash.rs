//! A process that is killed at any system call, or whose calls fail: the next contender recovers by
//! itself, a live holder keeps its lock, and no file but the library's own is ever removed.
//!
//! strace kills the victim at the entry of one call, so that this call is not done, or makes the call
//! fail. There is one run for every call of every operation; an undisturbed run counts the calls.
#![cfg(all(target_os = "linux", not(rvlf_portable), not(rvlf_unsupported)))]

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use nix::unistd::AccessFlags;
use rvlf::{
    AcquireError, BreakError, Holder, LockOptions, Record, WriterId, WriterLock, lock_path_for,
};
use support::{ChildProcess, OLD, Role, RoleEntry, VERY_OLD};

/// The calls that touch files and descriptors (flock, fsync and mmap included), and the other calls that
/// the library makes.
const CALLS: &str = "%file,%desc,kill,getrandom,madvise,clock_nanosleep,?clock_nanosleep_time64,\
                     inotify_init1,pidfd_open";

/// A path that the victim queries right after its operation, by a call that no operation makes.
const END: &str = "/rvlf-test-end";

// ---------------------------------------------------------------- operations

/// What the victim does, and what is at the lock path before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    /// Acquires a free lock.
    Acquire,
    /// Acquires the lock of a dead holder.
    Reclaim,
    /// Refreshes and checks the lock that it holds.
    Refresh,
    /// Releases the lock that it holds.
    Release,
    /// Breaks a dead holder's lock by hand.
    Break,
    /// Breaks the lock with the writer id that it names, whether its holder is dead or not.
    ForceBreak,
    /// Attempts to acquire the lock of a live holder.
    Contend,
    /// Waits 20 ms for the lock of a live holder.
    Wait,
    /// Attempts to break the lock of a live holder.
    BreakLive,
    /// Attempts to acquire the lock of a live deployed client: no flock, no stamp, never refreshed.
    ContendDeployed,
}

/// An operation and its circumstances.
#[derive(Clone, Copy, Debug)]
struct Scenario {
    operation: Operation,
    /// A fault that every run has.
    constant_fault: Option<&'static str>,
}

const fn plain(operation: Operation) -> Scenario {
    let constant_fault = None;
    Scenario {
        operation,
        constant_fault,
    }
}

/// Without links a record is published by exclusive create: the file is empty for a moment.
const fn without_links(operation: Operation) -> Scenario {
    let constant_fault = Some("linkat:error=EPERM");
    Scenario {
        operation,
        constant_fault,
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.operation)?;
        let fault = self.constant_fault.map(|fault| write!(f, " ({fault})"));
        fault.unwrap_or(Ok(()))
    }
}

impl Scenario {
    fn has_live_holder(&self) -> bool {
        use Operation::{BreakLive, Contend, ContendDeployed, Wait};
        matches!(self.operation, Contend | Wait | BreakLive | ContendDeployed)
    }
}

/// Without keepalive: the calls of its thread would be counted, too.
fn options() -> LockOptions {
    WriterLock::options().keepalive(None)
}

/// Whether the directory for temporary files is on a file system that is not local;
/// `scripts/filesystems.sh` sets the variable. There age decides, and what a dead process left has to
/// grow old.
fn is_remote() -> bool {
    support::arg_or("REMOTE", "no") == "yes"
}

pub const ROLES: &[RoleEntry] = &[("victim", victim)];

fn victim() {
    let data = PathBuf::from(support::arg("DATA"));
    let operation = support::arg_or("OPERATION", "");
    let mut held = None;
    if matches!(operation.as_str(), "Refresh" | "Release") {
        held = Some(options().try_acquire(&data).expect("the lock is free"));
    }
    let dead = fs::read(lock_path_for(&data)).unwrap_or_default();
    let dead = Record::decode(&dead).map_or(support::some_writer_id(), |record| record.writer_id());
    // strace follows this thread alone. Another thread reports that strace may attach and waits for the
    // command: a call of this thread that is in progress then, such as one that starts a thread, would be
    // counted in one run and not in the next.
    let thread = nix::unistd::gettid();
    let wait_for_strace = move || {
        support::report(format_args!("thread {thread}"));
        support::next_command()
    };
    let command = std::thread::spawn(wait_for_strace).join();
    command.expect("the test sends a command to begin");
    let (report, held) = run(&operation, &data, dead, held);
    let _ = nix::unistd::access(END, AccessFlags::F_OK);
    support::report(report);
    support::next_command();
    match held.map(WriterLock::release) {
        Some(Ok(_)) => support::report("released"),
        Some(Err(error)) => support::report(format_args!("not released: {error}")),
        None => support::report("nothing held"),
    }
}

/// Runs the operation. Returns its report, and the lock that is held after it.
fn run(
    operation: &str,
    data: &Path,
    dead: WriterId,
    held: Option<WriterLock>,
) -> (String, Option<WriterLock>) {
    match (operation, held) {
        ("Refresh", Some(lock)) => {
            let outcome = lock.refresh().map_err(|error| error.to_string());
            let outcome = outcome.and_then(|()| lock.check().map_err(|lost| lost.to_string()));
            let report =
                outcome.map_or_else(|error| format!("error {error}"), |()| "refreshed".into());
            (report, Some(lock))
        }
        ("Release", Some(lock)) => match lock.release() {
            Ok(_) => ("released".into(), None),
            Err(error) => (format!("error {error}"), Some(error.lock)),
        },
        ("Break" | "BreakLive", _) => {
            let broken = support::break_stale_with(options(), data);
            (describe_break(broken), None)
        }
        ("ForceBreak", _) => (describe_break(support::force_break(data, dead)), None),
        ("Wait", _) => {
            let outcome = options().acquire(data, Duration::from_millis(20));
            (support::describe(&outcome), None)
        }
        _ => {
            let outcome = options().try_acquire(data);
            (support::describe(&outcome), outcome.ok())
        }
    }
}

fn describe_break(outcome: Result<Option<Holder>, BreakError>) -> String {
    match outcome {
        Ok(Some(_)) => "removed".into(),
        Ok(None) => "nothing there".into(),
        Err(error) => format!("error {error}"),
    }
}

// ---------------------------------------------------------------- the directory

/// A directory with the lock in the state that an operation needs, and similar files of other programs.
struct Directory {
    scenario: Scenario,
    dir: tempfile::TempDir,
    foreign: Vec<(PathBuf, Vec<u8>)>,
    live: Option<WriterLock>,
}

impl Directory {
    fn new(scenario: Scenario) -> Directory {
        let dir = tempfile::Builder::new().prefix("rvlf-test-").tempdir();
        let dir = dir.expect("there is a directory for temporary files");
        let foreign = [
            ("data", "what the lock is for"),
            ("data.lock.orig", "a copy that an operator made"),
            (
                ".rvlf-0123456789abcdef",
                "named like a lock that a breaker moved aside, but no record",
            ),
            (".rvlf-settings", "a dot file of another program"),
            ("other.lock", "4711\n"),
        ];
        let foreign = foreign.map(|(name, content)| {
            let path = dir.path().join(name);
            fs::write(&path, content).expect("the directory is writable");
            support::age_mtime(&path, Duration::from_secs(3600));
            (path, content.as_bytes().to_vec())
        });
        let mut directory = Directory {
            scenario,
            dir,
            foreign: foreign.into(),
            live: None,
        };
        directory.plant();
        directory
    }

    fn plant(&mut self) {
        let data = self.data();
        match self.scenario.operation {
            Operation::Acquire | Operation::Refresh | Operation::Release => {}
            Operation::Reclaim | Operation::Break | Operation::ForceBreak => self.plant_dead(),
            Operation::Contend | Operation::Wait | Operation::BreakLive => {
                // With the default options: a contender does not know the options of the holder.
                let live = WriterLock::try_acquire(&data).expect("the lock path is free");
                self.live = Some(live);
            }
            Operation::ContendDeployed => {
                let age = Duration::from_secs(600);
                let record =
                    support::unstamped(support::this_process(), &support::this_host(), age);
                let lock_path = lock_path_for(&data);
                fs::write(&lock_path, record.encode()).expect("the lock path is free");
                support::age_mtime(&lock_path, age);
            }
        }
    }

    fn plant_dead(&self) {
        support::plant_left_behind(&self.data());
        // Old enough for deployed clients to break it as well: the settling pause is part of the operation.
        support::backdate(&self.data(), OLD);
        support::age_mtime(&self.lock_path(), OLD);
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn lock_path(&self) -> PathBuf {
        lock_path_for(self.data())
    }

    /// Starts a victim, attaches strace to its thread, and lets it begin. Calls are counted from then on.
    fn victim(&self, strace: &[String]) -> Victim {
        let role = Role::new("victim").with("DATA", self.data());
        let mut process = role
            .with("OPERATION", format!("{:?}", self.scenario.operation))
            .start();
        let thread = process.receive();
        let thread = thread
            .strip_prefix("thread ")
            .expect("a victim reports its thread first");
        let mut command = Command::new("strace");
        command.args(["-e", "signal=none"]).args(strace);
        if let Some(fault) = self.scenario.constant_fault {
            command.args(["-e", &format!("inject={fault}")]);
        }
        let strace = command.args(["-p", thread]).stderr(Stdio::piped()).spawn();
        let mut strace = strace.expect("strace is installed");
        let stderr = strace.stderr.take().expect("the output is piped");
        let mut stderr = BufReader::new(stderr);
        let mut line = String::new();
        stderr
            .read_line(&mut line)
            .expect("strace reports what it does");
        assert!(
            line.contains("attached"),
            "this user may trace a child: {line}"
        );
        process.send("begin");
        Victim {
            process,
            strace,
            _stderr: stderr,
        }
    }

    /// No file of another program is removed or changed.
    fn assert_foreign_files_untouched(&self, when: &str) {
        for (path, content) in &self.foreign {
            let found = fs::read(path).unwrap_or_default();
            assert_eq!(
                &found,
                content,
                "{when}: {} is another program's",
                path.display()
            );
        }
    }

    /// The names in the directory besides the other programs' files and the lock.
    fn leftovers(&self) -> Vec<OsString> {
        let known = |name: &OsString| {
            let path = self.dir.path().join(name);
            path == self.lock_path() || self.foreign.iter().any(|(foreign, _)| *foreign == path)
        };
        let mut names = support::names_in(self.dir.path());
        names.retain(|name| !known(name));
        names
    }

    fn try_acquire(&self) -> Result<WriterLock, AcquireError> {
        options().try_acquire(self.data())
    }

    /// Makes what a dead holder left older than every threshold.
    fn grow_old(&self) {
        let Ok(left) = fs::read(self.lock_path()) else {
            return;
        };
        if Record::decode(&left).is_ok() {
            support::backdate(&self.data(), VERY_OLD);
        }
        support::age_mtime(&self.lock_path(), VERY_OLD);
    }

    /// The next contender gets the lock in one attempt and can release it.
    fn assert_recovers(&self, when: &str) {
        if is_remote() {
            self.grow_old();
        }
        let left = fs::read(self.lock_path()).ok();
        let left = left.map(|left| Record::decode(&left).ok());
        match self.try_acquire() {
            Ok(lock) => {
                let reported = lock.reclaimed().map(|reclaimed| reclaimed.record);
                assert_eq!(
                    reported, left,
                    "{when}: the next holder reports what is at the lock path, and nothing else"
                );
                lock.check()
                    .unwrap_or_else(|lost| panic!("{when}: the next holder lost it: {lost}"));
                lock.release()
                    .unwrap_or_else(|error| panic!("{when}: the next holder's release: {error}"));
            }
            Err(error) => panic!("{when}: the next contender is refused: {error}"),
        }
        assert!(
            support::is_absent(&self.lock_path()),
            "{when}: a released lock leaves no file"
        );
    }

    /// A crash leaves at most one file that was moved aside, and the next breaker removes it.
    fn assert_leftovers_are_removed(&self, when: &str) {
        let leftovers = self.leftovers();
        // On a remote mount also a probe of the server's clock and its second reading.
        let most = if is_remote() { 3 } else { 1 };
        assert!(
            leftovers.len() <= most,
            "{when}: too many leftovers: {leftovers:?}"
        );
        if leftovers.is_empty() {
            return;
        }
        for name in &leftovers {
            support::age_mtime(&self.dir.path().join(name), Duration::from_secs(120));
        }
        self.plant_dead();
        let broken = support::break_stale_with(options(), self.data());
        broken.unwrap_or_else(|error| panic!("{when}: the planted lock is stale: {error}"));
        assert_eq!(
            self.leftovers(),
            Vec::<OsString>::new(),
            "{when}: the next breaker removes leftovers that are older than a minute"
        );
    }

    /// The victim has ended: whatever it was doing, the lock is in the right state.
    fn assert_sound(&self, when: &str) {
        self.assert_foreign_files_untouched(when);
        self.assert_live_holder_undisturbed(when);
        if !self.scenario.has_live_holder() {
            self.assert_recovers(when);
            self.assert_leftovers_are_removed(when);
            self.assert_foreign_files_untouched(when);
        }
    }

    fn assert_live_holder_undisturbed(&self, when: &str) {
        if let Some(live) = &self.live {
            live.check()
                .unwrap_or_else(|lost| panic!("{when}: the live holder lost its lock: {lost}"));
        }
        if self.scenario.has_live_holder() {
            let record = support::read_record(&self.data());
            assert_eq!(
                record.pid(),
                support::this_process(),
                "{when}: the record is the live holder's"
            );
            assert_eq!(
                self.leftovers(),
                Vec::<OsString>::new(),
                "{when}: no leftovers"
            );
        }
    }
}

/// The process that runs the operation, and its tracer.
struct Victim {
    process: ChildProcess,
    strace: Child,
    _stderr: BufReader<ChildStderr>,
}

impl Victim {
    /// The report of the operation; `None` if the victim died in it.
    fn outcome(&mut self) -> Option<String> {
        self.process.receive_or_end()
    }

    fn kill(mut self) {
        self.process.kill();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // strace ends after the thread that it traces.
        self.process.kill();
        self.strace
            .wait()
            .expect("strace is a child of this process");
    }
}

// ---------------------------------------------------------------- counting

/// One system call of an operation: its name, and its number among the calls of that name.
#[derive(Clone, Debug)]
struct Call {
    name: String,
    ordinal: usize,
    line: String,
}

impl Call {
    fn inject(&self, what: &str, from_then_on: bool) -> Vec<String> {
        let Call { name, ordinal, .. } = self;
        let plus = if from_then_on { "+" } else { "" };
        let inject = format!("inject={name}:{what}:when={ordinal}{plus}");
        // strace traces the calls that it injects faults into, and no others.
        let options = ["-o", "/dev/null", "-e", &inject];
        options.map(Into::into).into()
    }
}

/// The calls of an undisturbed operation, in order, and its outcome.
fn calls(scenario: Scenario) -> (Vec<Call>, String) {
    let directory = Directory::new(scenario);
    let log = directory.dir.path().join("data.log");
    let options = [
        "-o",
        &log.to_string_lossy(),
        "-e",
        &format!("trace={CALLS}"),
    ]
    .map(Into::into);
    let mut victim = directory.victim(&options);
    let outcome = victim.outcome().expect("nothing disturbs this run");
    drop(victim);
    let log = fs::read_to_string(log).expect("strace has written the log");
    let mut ordinals = HashMap::<&str, usize>::new();
    let mut calls = Vec::new();
    for line in log.lines() {
        if line.contains(END) {
            return (calls, outcome);
        }
        let Some((name, _)) = line.split_once('(') else {
            continue;
        };
        let ordinal = ordinals.entry(name).or_default();
        *ordinal += 1;
        // A read of a number in memory, before nearly every other call: it ends no wait, and nothing
        // happens between it and that call.
        if line.contains("F_GETSIG") {
            continue;
        }
        let fails_in_every_run = scenario
            .constant_fault
            .is_some_and(|fault| fault.starts_with(name));
        if !fails_in_every_run {
            calls.push(Call {
                name: name.into(),
                ordinal: *ordinal,
                line: line.into(),
            });
        }
    }
    panic!("no end of the operation in the log:\n{log}");
}

/// Whether strace is installed and the kernel witnesses deaths; if not, the calling test is skipped.
fn can_run() -> bool {
    let found = Command::new("strace")
        .arg("-V")
        .stdout(Stdio::null())
        .status();
    if found.is_err() {
        support::skip("strace is not installed");
    }
    found.is_ok()
}

// ---------------------------------------------------------------- killed

/// Kills a victim at each call of its operation, and checks what it left.
fn kill_everywhere(scenarios: &[Scenario]) {
    if !can_run() {
        return;
    }
    for scenario in scenarios {
        let (calls, undisturbed) = calls(*scenario);
        let mut killed = 0;
        for (n, call) in calls.iter().enumerate() {
            let when = format!(
                "{scenario}, killed at call {} of {}: {}",
                n + 1,
                calls.len(),
                call.line
            );
            let directory = Directory::new(*scenario);
            let mut victim = directory.victim(&call.inject("signal=SIGKILL", false));
            match victim.outcome() {
                None => killed += 1,
                // The machine's load can make a wait shorter than the counted one.
                Some(report) if scenario.operation == Operation::Wait => {
                    assert_eq!(report, undisturbed, "{when}")
                }
                Some(report) => {
                    panic!("{when}: the kill is within the operation, but the report is {report}")
                }
            }
            drop(victim);
            directory.assert_sound(&when);
        }
        assert_kills_end(*scenario, calls.last(), &undisturbed);
        println!("{scenario}: {} calls, killed at {killed}", calls.len());
    }
}

/// After its last call the operation makes no further one.
fn assert_kills_end(scenario: Scenario, last: Option<&Call>, undisturbed: &str) {
    let mut beyond = last.expect("every operation makes calls").clone();
    beyond.ordinal += 1;
    let directory = Directory::new(scenario);
    let report = { directory.victim(&beyond.inject("signal=SIGKILL", false)) }.outcome();
    let ended = report.as_deref().map(first_word) == Some(first_word(undisturbed));
    // A wait may examine the lock once more than the counted one did.
    let longer = scenario.operation == Operation::Wait && report.is_none();
    assert!(
        ended || longer,
        "{scenario}: the operation ends after its last call: {report:?}"
    );
}

#[test]
fn killed_anywhere_in_an_acquisition_the_next_contender_recovers() {
    kill_everywhere(&[plain(Operation::Acquire), without_links(Operation::Acquire)]);
}

#[test]
fn killed_anywhere_while_reclaiming_the_next_contender_recovers() {
    kill_everywhere(&[plain(Operation::Reclaim)]);
}

// C10: after the rename no record is at the lock path until the breaker has linked its own, and the
// next contender finds a free path. The limit is this window and no other: before it the dead
// holder is reported, after it the dead breaker.
#[test]
fn no_process_learns_of_a_dead_holder_whose_breaker_dies_between_its_rename_and_its_link() {
    if !can_run() || is_remote() {
        return;
    }
    let scenario = plain(Operation::Reclaim);
    let (calls, _) = calls(scenario);
    let place = |name: &str| calls.iter().position(|call| call.name.starts_with(name));
    let rename = place("rename").expect("a breaker renames the lock file aside");
    let link = place("linkat").expect("a breaker publishes by a link");
    for (n, call) in calls.iter().enumerate().take(link + 2).skip(rename) {
        let directory = Directory::new(scenario);
        let dead = support::read_record(&directory.data()).writer_id();
        let mut victim = directory.victim(&call.inject("signal=SIGKILL", false));
        assert_eq!(victim.outcome(), None, "killed at {}", call.line);
        drop(victim);
        let lock = directory.try_acquire().expect("no process is left");
        let record = lock.reclaimed().and_then(|reclaimed| reclaimed.record);
        let learns_of = record.map(|record| record.writer_id() == dead);
        let (of_the_holder, of_the_breaker, of_no_process) = (Some(true), Some(false), None);
        let expected = match n {
            _ if n <= rename => of_the_holder,
            _ if n <= link => of_no_process,
            _ => of_the_breaker,
        };
        assert_eq!(learns_of, expected, "killed at {}", call.line);
    }
}

#[test]
fn killed_anywhere_in_refresh_release_or_break_the_next_contender_recovers() {
    kill_everywhere(&[
        plain(Operation::Refresh),
        plain(Operation::Release),
        plain(Operation::Break),
        plain(Operation::ForceBreak),
    ]);
}

#[test]
fn killed_anywhere_a_contender_does_not_disturb_the_live_holder() {
    kill_everywhere(&[
        plain(Operation::Contend),
        plain(Operation::Wait),
        plain(Operation::BreakLive),
        plain(Operation::ContendDeployed),
    ]);
}

// ---------------------------------------------------------------- failing calls

/// Makes each call of an operation fail, and compares the victim's report with the state of the lock.
fn fail_everywhere(scenarios: &[Scenario]) {
    if !can_run() {
        return;
    }
    for scenario in scenarios {
        let (calls, undisturbed) = calls(*scenario);
        let (mut runs, mut errors) = (0, 0);
        for call in &calls {
            for (fault, from_then_on) in faults(call) {
                let lasting = if from_then_on { " from then on" } else { "" };
                let when = format!("{scenario}, {fault}{lasting} at {}", call.line);
                let directory = Directory::new(*scenario);
                let what = format!("error={fault}");
                let mut victim = directory.victim(&call.inject(&what, from_then_on));
                let report = victim.outcome();
                let report = report.unwrap_or_else(|| panic!("{when}: an error kills no process"));
                if fault == "EINTR" {
                    let (word, undisturbed) = (first_word(&report), first_word(&undisturbed));
                    assert_eq!(
                        word, undisturbed,
                        "{when}: a signal changes nothing: {report}"
                    );
                }
                runs += 1;
                errors += usize::from(first_word(&report) == "error");
                directory.assert_report_is_true(victim, &report, from_then_on, &when);
            }
        }
        let calls = calls.len();
        println!("{scenario}: {calls} calls, {runs} faults, {errors} errors reported");
    }
}

fn first_word(report: &str) -> &str {
    report.split(' ').next().unwrap_or_default()
}

/// How a call may fail: once, or from then on. (A call that always fails with EINTR would never end.)
fn faults(call: &Call) -> Vec<(&'static str, bool)> {
    let interrupted = ("EINTR", false);
    let mut faults = vec![
        interrupted,
        ("EIO", false),
        ("EIO", true),
        ("EMFILE", false),
    ];
    match call.name.as_str() {
        // A sleep can only be interrupted, and after a failed close there is nothing to do.
        "clock_nanosleep" | "clock_nanosleep_time64" => return vec![interrupted],
        "close" => return vec![],
        "kill" => return vec![("EPERM", false)],
        "flock" => faults.push(("ENOLCK", false)),
        "openat" | "linkat" | "pwrite64" | "fsync" | "fdatasync" | "renameat" | "renameat2" => {
            faults.push(("ENOSPC", false));
        }
        _ => {}
    }
    faults
}

impl Directory {
    /// The report is true: a victim that reports a hold holds the lock, and one that reports an error
    /// leaves nothing.
    fn assert_report_is_true(&self, victim: Victim, report: &str, lasting: bool, when: &str) {
        let word = first_word(report);
        let when = &format!("{when}, reported: {report}");
        match (self.scenario.operation, word) {
            (Operation::Acquire | Operation::Reclaim, "got")
            | (Operation::Refresh, "refreshed" | "error") => {
                let refused = self.try_acquire().map(drop);
                let refused = refused.expect_err("the victim holds the lock");
                assert!(refused.is_held(), "{when}: it holds the lock: {refused}");
                victim.kill();
            }
            (Operation::Acquire | Operation::Reclaim, "error") => {
                victim.kill();
                // A file whose identity cannot be queried stays: an empty file that O_EXCL made, or, where
                // the query always fails, a record. The next contender recovers either.
                let left = fs::read(self.lock_path()).unwrap_or_default();
                assert!(
                    self.scenario.operation == Operation::Reclaim || lasting || left.is_empty(),
                    "{when}: a failed acquisition leaves no record"
                );
            }
            (Operation::Release, "released") => {
                assert!(
                    support::is_absent(&self.lock_path()),
                    "{when}: the lock file is removed"
                );
                victim.kill();
            }
            (Operation::Release, "error") => {
                let refused = self.try_acquire().map(drop);
                let refused =
                    refused.expect_err("the victim holds the lock until it has released it");
                assert!(refused.is_held(), "{when}: still held: {refused}");
                victim.kill();
            }
            (Operation::Break | Operation::ForceBreak, "removed" | "error") => victim.kill(),
            // Without flock nothing is certain on a remote mount: doubt reads as held.
            (Operation::Reclaim, "held") if is_remote() => victim.kill(),
            (Operation::Contend | Operation::ContendDeployed, "held" | "error") => victim.kill(),
            (Operation::Wait, "timeout" | "error") => victim.kill(),
            (Operation::BreakLive, "error") => victim.kill(),
            _ => panic!("{when}: this operation has no such outcome"),
        }
        self.assert_sound(when);
    }
}

#[test]
fn where_a_call_fails_an_acquisition_is_real_or_leaves_nothing() {
    fail_everywhere(&[plain(Operation::Acquire), without_links(Operation::Acquire)]);
}

#[test]
fn where_a_call_fails_a_reclaim_is_real_or_leaves_nothing() {
    fail_everywhere(&[plain(Operation::Reclaim)]);
}

#[test]
fn where_a_call_fails_refresh_release_and_break_report_it() {
    fail_everywhere(&[
        plain(Operation::Refresh),
        plain(Operation::Release),
        plain(Operation::Break),
        plain(Operation::ForceBreak),
    ]);
}

#[test]
fn where_a_call_fails_live_holders_keep_their_locks() {
    fail_everywhere(&[
        plain(Operation::Wait),
        plain(Operation::BreakLive),
        plain(Operation::ContendDeployed),
    ]);
}
