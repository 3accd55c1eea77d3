//! Killed at every system call, and refused at every system call: the next contender recovers by
//! itself, nobody robs the living, and nothing but our own files is ever gone.
//!
//! strace kills the victim at the entry of one call, so that this call is not done, or lets the call
//! fail. One run for every call of every deed, counted in a run that nothing disturbs.
#![cfg(all(target_os = "linux", not(rvlf_portable), not(rvlf_unsupported)))]

use support as common;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use common::{Actor, OLD, Role, VERY_OLD};
use rvlf::{AcquireError, BreakError, Holder, LockOptions, Record, WriterLock, lock_path_for};

/// Everything that touches files and descriptors (flock, fsync and mmap included), and what else the
/// library asks the kernel.
const CALLS: &str = "%file,%desc,kill,getrandom,madvise,clock_nanosleep,inotify_init1,pidfd_open";

/// What the victim looks at right after its deed.
const END: &str = "/rvlf-test-end";

// ---------------------------------------------------------------- deeds

/// What the victim does, and what lies at the lock path before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    /// Acquires a free lock.
    Acquire,
    /// Acquires where a dead holder's lock lies.
    Reclaim,
    /// Refreshes and checks what it holds.
    Refresh,
    /// Releases what it holds.
    Release,
    /// Breaks a dead holder's lock by hand.
    Break,
    /// Breaks the lock of the holder that it names, dead or not.
    ForceBreak,
    /// Wants what a live process holds.
    Contend,
    /// Waits a moment for what a live process holds.
    Wait,
    /// Wants to break what a live process holds.
    BreakLive,
    /// Wants what a live deployed client holds: no flock, no stamp, never refreshed.
    ContendDeployed,
}

/// A deed and its circumstances.
#[derive(Clone, Copy, Debug)]
struct Scenario {
    deed: Deed,
    /// A fault that is there in every run.
    handicap: Option<&'static str>,
}

const fn plain(deed: Deed) -> Scenario {
    let handicap = None;
    Scenario { deed, handicap }
}

/// Without links a record is published by exclusive create: the file is empty for a moment.
const fn without_links(deed: Deed) -> Scenario {
    let handicap = Some("linkat:error=EPERM");
    Scenario { deed, handicap }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.deed)?;
        let fault = self.handicap.map(|fault| write!(f, " ({fault})"));
        fault.unwrap_or(Ok(()))
    }
}

impl Scenario {
    fn is_about_the_living(&self) -> bool {
        use Deed::{BreakLive, Contend, ContendDeployed, Wait};
        matches!(self.deed, Contend | Wait | BreakLive | ContendDeployed)
    }
}

/// Nothing is refreshed by a thread of its own, whose calls would be counted, too.
fn options() -> LockOptions {
    WriterLock::options().keepalive(None)
}

/// Whether the directory for temporary files lies on a file system that is not local, as
/// `scripts/filesystems.sh` says: there age decides, and what is left behind has to grow old.
fn is_remote() -> bool {
    common::arg_or("REMOTE", "no") == "yes"
}

pub const ROLES: &[(&str, fn())] = &[("victim", victim)];

fn victim() {
    let data = PathBuf::from(common::arg("DATA"));
    let deed = common::arg_or("DEED", "");
    let options = options();
    let mut held = None;
    if matches!(deed.as_str(), "Refresh" | "Release") {
        held = Some(options.try_acquire(&data).expect("the lock is free"));
    }
    let dead = fs::read(lock_path_for(&data)).unwrap_or_default();
    let dead = Record::decode(&dead).map_or(common::some_writer_id(), |record| record.writer_id());
    // strace follows this thread alone. Another one waits for the cue: a call of this thread's that
    // was under way when strace came would be counted in one run and not in the next.
    common::say(format_args!("thread {}", nix::unistd::gettid()));
    let cue = std::thread::spawn(common::next_cue).join();
    cue.expect("the test tells it to begin");
    let said = match (deed.as_str(), held.take()) {
        ("Refresh", Some(lock)) => {
            let outcome = lock.refresh().map_err(|error| error.to_string());
            let outcome = outcome.and_then(|()| lock.check().map_err(|lost| lost.to_string()));
            held = Some(lock);
            outcome.map_or_else(|error| format!("error {error}"), |()| "refreshed".into())
        }
        ("Release", Some(lock)) => match lock.release() {
            Ok(()) => "released".into(),
            Err(error) => {
                let text = format!("error {error}");
                held = Some(error.lock);
                text
            }
        },
        ("Break" | "BreakLive", _) => describe_break(common::break_stale_by(options, &data)),
        ("ForceBreak", _) => describe_break(common::force_break(&data, dead)),
        ("Wait", _) => {
            let outcome = options.acquire(&data, Duration::from_millis(20));
            common::describe(&outcome)
        }
        _ => {
            let outcome = options.try_acquire(&data);
            let text = common::describe(&outcome);
            held = outcome.ok();
            text
        }
    };
    let _ = fs::symlink_metadata(END);
    common::say(said);
    common::next_cue();
    match held.map(WriterLock::release) {
        Some(Ok(())) => common::say("released"),
        Some(Err(error)) => common::say(format_args!("not released: {error}")),
        None => common::say("nothing held"),
    }
}

fn describe_break(outcome: Result<Option<Holder>, BreakError>) -> String {
    match outcome {
        Ok(Some(_)) => "removed".into(),
        Ok(None) => "nothing there".into(),
        Err(error) => format!("error {error}"),
    }
}

// ---------------------------------------------------------------- the stage

/// A directory with the lock in the state that a deed needs, and files of others that look similar.
struct Stage {
    scenario: Scenario,
    dir: tempfile::TempDir,
    foreign: Vec<(PathBuf, Vec<u8>)>,
    live: Option<WriterLock>,
}

impl Stage {
    fn new(scenario: Scenario) -> Stage {
        let dir = tempfile::Builder::new().prefix("rvlf-test-").tempdir();
        let dir = dir.expect("there is a directory for temporary files");
        let foreign = [
            ("data", "what the lock is for"),
            ("data.lock.orig", "a copy somebody made"),
            (
                ".rvlf-0123456789abcdef",
                "named like an aside, but no record",
            ),
            (".rvlf-settings", "somebody's dot file"),
            ("other.lock", "4711\n"),
        ];
        let foreign = foreign.map(|(name, content)| {
            let path = dir.path().join(name);
            fs::write(&path, content).expect("the directory is ours");
            common::age_mtime(&path, Duration::from_secs(3600));
            (path, content.as_bytes().to_vec())
        });
        let mut stage = Stage {
            scenario,
            dir,
            foreign: foreign.into(),
            live: None,
        };
        stage.plant();
        stage
    }

    fn plant(&mut self) {
        let data = self.data();
        match self.scenario.deed {
            Deed::Acquire | Deed::Refresh | Deed::Release => {}
            Deed::Reclaim | Deed::Break | Deed::ForceBreak => self.plant_dead(),
            Deed::Contend | Deed::Wait | Deed::BreakLive => {
                // By the default policy: what is shared is not said by the holder's options.
                let live = WriterLock::try_acquire(&data).expect("nothing is there");
                self.live = Some(live);
            }
            Deed::ContendDeployed => {
                let age = Duration::from_secs(600);
                let record = common::unstamped(common::this_process(), &common::this_host(), age);
                let lock_path = lock_path_for(&data);
                fs::write(&lock_path, record.encode()).expect("nothing is there");
                common::age_mtime(&lock_path, age);
            }
        }
    }

    fn plant_dead(&self) {
        common::plant_left_behind(&self.data());
        // Deployed clients would call it stale as well: the settling pause is part of the deed.
        common::backdate(&self.data(), OLD);
        common::age_mtime(&self.lock_path(), OLD);
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn lock_path(&self) -> PathBuf {
        lock_path_for(self.data())
    }

    /// Starts a victim, has strace follow its thread, and lets it begin. Calls are counted from here.
    fn victim(&self, strace: &[String]) -> Victim {
        let role = Role::new("victim").with("DATA", self.data());
        let mut actor = role
            .with("DEED", format!("{:?}", self.scenario.deed))
            .start();
        let thread = actor.hear();
        let thread = thread
            .strip_prefix("thread ")
            .expect("a victim begins by saying so");
        let mut command = Command::new("strace");
        command.args(["-e", "signal=none"]).args(strace);
        if let Some(fault) = self.scenario.handicap {
            command.args(["-e", &format!("inject={fault}")]);
        }
        let strace = command.args(["-p", thread]).stderr(Stdio::piped()).spawn();
        let mut strace = strace.expect("strace is installed");
        let stderr = strace.stderr.take().expect("it is piped");
        let mut stderr = BufReader::new(stderr);
        let mut line = String::new();
        stderr
            .read_line(&mut line)
            .expect("strace says what it does");
        assert!(
            line.contains("attached"),
            "strace may trace our own child: {line}"
        );
        actor.tell("begin");
        Victim {
            actor,
            strace,
            _stderr: stderr,
        }
    }

    /// Nothing of others is gone or changed.
    fn assert_foreign_files_untouched(&self, when: &str) {
        for (path, content) in &self.foreign {
            let found = fs::read(path).unwrap_or_default();
            assert_eq!(&found, content, "{when}: {} is not ours", path.display());
        }
    }

    /// What lies in the directory besides the files of others and the lock.
    fn litter(&self) -> Vec<OsString> {
        let known = |name: &OsString| {
            let path = self.dir.path().join(name);
            path == self.lock_path() || self.foreign.iter().any(|(foreign, _)| *foreign == path)
        };
        let mut names = common::names_in(self.dir.path());
        names.retain(|name| !known(name));
        names
    }

    fn try_acquire(&self) -> Result<WriterLock, AcquireError> {
        options().try_acquire(self.data())
    }

    /// Sets what a dead holder left back by more than every threshold.
    fn grow_old(&self) {
        let Ok(left) = fs::read(self.lock_path()) else {
            return;
        };
        if Record::decode(&left).is_ok() {
            common::backdate(&self.data(), VERY_OLD);
        }
        common::age_mtime(&self.lock_path(), VERY_OLD);
    }

    /// Whoever comes next gets the lock in one attempt and can give it back.
    fn assert_recovers(&self, when: &str) {
        if is_remote() {
            self.grow_old();
        }
        match self.try_acquire() {
            Ok(lock) => {
                lock.check()
                    .unwrap_or_else(|lost| panic!("{when}: the next holder lost it: {lost}"));
                lock.release()
                    .unwrap_or_else(|error| panic!("{when}: the next holder's release: {error}"));
            }
            Err(error) => panic!("{when}: the next contender is refused: {error}"),
        }
        assert!(
            common::is_absent(&self.lock_path()),
            "{when}: a released lock leaves no file"
        );
    }

    /// A crash leaves one aside at the most, and whoever breaks next removes it.
    fn assert_litter_is_swept(&self, when: &str) {
        let litter = self.litter();
        // On a remote mount a probe of the server's clock, too, and its second reading.
        let most = if is_remote() { 3 } else { 1 };
        assert!(litter.len() <= most, "{when}: so much litter: {litter:?}");
        if litter.is_empty() {
            return;
        }
        for name in &litter {
            common::age_mtime(&self.dir.path().join(name), Duration::from_secs(120));
        }
        self.plant_dead();
        let broken = common::break_stale_by(options(), self.data());
        broken.unwrap_or_else(|error| panic!("{when}: the planted lock is stale: {error}"));
        assert_eq!(
            self.litter(),
            Vec::<OsString>::new(),
            "{when}: an aside older than a minute is removed by the next breaker"
        );
    }

    /// The victim is gone: whatever it was doing, the lock is where it should be.
    fn assert_sound(&self, when: &str) {
        self.assert_foreign_files_untouched(when);
        self.assert_living_undisturbed(when);
        if !self.scenario.is_about_the_living() {
            self.assert_recovers(when);
            self.assert_litter_is_swept(when);
            self.assert_foreign_files_untouched(when);
        }
    }

    fn assert_living_undisturbed(&self, when: &str) {
        if let Some(live) = &self.live {
            live.check()
                .unwrap_or_else(|lost| panic!("{when}: the living was robbed: {lost}"));
        }
        if self.scenario.is_about_the_living() {
            let record = common::read_record(&self.data());
            assert_eq!(
                record.pid(),
                common::this_process(),
                "{when}: the record is the live holder's"
            );
            assert_eq!(self.litter(), Vec::<OsString>::new(), "{when}: no litter");
        }
    }
}

/// The process that does the deed, and its tracer.
struct Victim {
    actor: Actor,
    strace: Child,
    _stderr: BufReader<ChildStderr>,
}

impl Victim {
    /// The deed's outcome; `None` if the victim died in it.
    fn outcome(&mut self) -> Option<String> {
        self.actor.hear_or_end()
    }

    fn kill(mut self) {
        self.actor.kill();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // It ends after the thread that it traces.
        self.actor.kill();
        self.strace.wait().expect("the tracer is ours");
    }
}

// ---------------------------------------------------------------- counting

/// One system call of a deed: its name, and the how manieth of that name.
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
        // What is injected is traced, and nothing else.
        let options = ["-o", "/dev/null", "-e", &inject];
        options.map(Into::into).into()
    }
}

/// The calls of an undisturbed deed, in order, and its outcome.
fn calls(scenario: Scenario) -> (Vec<Call>, String) {
    let stage = Stage::new(scenario);
    let log = stage.dir.path().join("data.log");
    let options = [
        "-o",
        &log.to_string_lossy(),
        "-e",
        &format!("trace={CALLS}"),
    ]
    .map(Into::into);
    let mut victim = stage.victim(&options);
    let outcome = victim.outcome().expect("nothing disturbs this run");
    drop(victim);
    let log = fs::read_to_string(log).expect("strace has written it");
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
        let fails_anyway = scenario
            .handicap
            .is_some_and(|fault| fault.starts_with(name));
        if !fails_anyway {
            calls.push(Call {
                name: name.into(),
                ordinal: *ordinal,
                line: line.into(),
            });
        }
    }
    panic!("the deed has an end:\n{log}");
}

fn strace_is_missing() -> bool {
    let found = Command::new("strace")
        .arg("-V")
        .stdout(Stdio::null())
        .status();
    let missing = found.is_err();
    if missing {
        common::skip("strace is not installed");
    }
    missing
}

// ---------------------------------------------------------------- killed

/// Kills a victim at each call of its deed, and looks at what it left.
fn kill_everywhere(scenarios: &[Scenario]) {
    if strace_is_missing() {
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
            let stage = Stage::new(*scenario);
            let mut victim = stage.victim(&call.inject("signal=SIGKILL", false));
            match victim.outcome() {
                None => killed += 1,
                // A wait that the machine's load made shorter than the counted one.
                Some(said) if scenario.deed == Deed::Wait => {
                    assert_eq!(said, undisturbed, "{when}")
                }
                Some(said) => panic!("{when}: the kill comes within the deed, but it said {said}"),
            }
            drop(victim);
            stage.assert_sound(&when);
        }
        assert_kills_end(*scenario, calls.last(), &undisturbed);
        println!("{scenario}: {} calls, killed at {killed}", calls.len());
    }
}

/// One call further there is nothing left to be killed at.
fn assert_kills_end(scenario: Scenario, last: Option<&Call>, undisturbed: &str) {
    let mut beyond = last.expect("no deed without a call").clone();
    beyond.ordinal += 1;
    let stage = Stage::new(scenario);
    let said = { stage.victim(&beyond.inject("signal=SIGKILL", false)) }.outcome();
    let ended = said.as_deref().map(first_word) == Some(first_word(undisturbed));
    // A wait may need a look more than the counted one did.
    let longer = scenario.deed == Deed::Wait && said.is_none();
    assert!(
        ended || longer,
        "{scenario}: the deed ends after its last call: {said:?}"
    );
}

#[test]
fn killed_anywhere_in_an_acquisition_the_next_contender_recovers() {
    kill_everywhere(&[plain(Deed::Acquire), without_links(Deed::Acquire)]);
}

#[test]
fn killed_anywhere_while_reclaiming_the_next_contender_recovers() {
    kill_everywhere(&[plain(Deed::Reclaim)]);
}

#[test]
fn killed_anywhere_in_refresh_release_or_break_the_next_contender_recovers() {
    kill_everywhere(&[
        plain(Deed::Refresh),
        plain(Deed::Release),
        plain(Deed::Break),
        plain(Deed::ForceBreak),
    ]);
}

#[test]
fn killed_anywhere_a_contender_does_not_disturb_the_living() {
    kill_everywhere(&[
        plain(Deed::Contend),
        plain(Deed::Wait),
        plain(Deed::BreakLive),
        plain(Deed::ContendDeployed),
    ]);
}

// ---------------------------------------------------------------- refused

/// Lets each call of a deed fail, and compares what the victim says with what is.
fn fail_everywhere(scenarios: &[Scenario]) {
    if strace_is_missing() {
        return;
    }
    for scenario in scenarios {
        let (calls, undisturbed) = calls(*scenario);
        let (mut runs, mut errors) = (0, 0);
        for call in &calls {
            for (fault, from_then_on) in faults(call) {
                let lasting = if from_then_on { " from then on" } else { "" };
                let when = format!("{scenario}, {fault}{lasting} at {}", call.line);
                let stage = Stage::new(*scenario);
                let what = format!("error={fault}");
                let mut victim = stage.victim(&call.inject(&what, from_then_on));
                let said = victim.outcome();
                let said = said.unwrap_or_else(|| panic!("{when}: an error kills nobody"));
                if fault == "EINTR" {
                    let (word, undisturbed) = (first_word(&said), first_word(&undisturbed));
                    assert_eq!(
                        word, undisturbed,
                        "{when}: a signal changes nothing: {said}"
                    );
                }
                runs += 1;
                errors += usize::from(first_word(&said) == "error");
                stage.assert_honest(victim, &said, from_then_on, &when);
            }
        }
        let calls = calls.len();
        println!("{scenario}: {calls} calls, {runs} faults, {errors} errors reported");
    }
}

fn first_word(said: &str) -> &str {
    said.split(' ').next().unwrap_or_default()
}

/// How a call may fail: once, or from then on. (EINTR for ever would be a call that never ends.)
fn faults(call: &Call) -> Vec<(&'static str, bool)> {
    let interrupted = ("EINTR", false);
    let mut faults = vec![
        interrupted,
        ("EIO", false),
        ("EIO", true),
        ("EMFILE", false),
    ];
    match call.name.as_str() {
        // A sleep can only be interrupted, and nobody can do anything about a failed close.
        "clock_nanosleep" => return vec![interrupted],
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

impl Stage {
    /// Whoever says that it holds the lock holds it; whoever reports an error leaves nothing.
    fn assert_honest(&self, victim: Victim, said: &str, lasting: bool, when: &str) {
        let word = first_word(said);
        let when = &format!("{when}, said: {said}");
        match (self.scenario.deed, word) {
            (Deed::Acquire | Deed::Reclaim, "got") | (Deed::Refresh, "refreshed" | "error") => {
                let refused = self.try_acquire().map(|_| "nobody");
                let refused = refused.expect_err("nobody else gets what the victim holds");
                assert!(refused.is_held(), "{when}: it holds the lock: {refused}");
                victim.kill();
            }
            (Deed::Acquire | Deed::Reclaim, "error") => {
                victim.kill();
                // What cannot be asked for its identity stays: an empty file that O_EXCL made, or,
                // where that fails for good, a record. The next contender recovers either.
                let left = fs::read(self.lock_path()).unwrap_or_default();
                assert!(
                    self.scenario.deed == Deed::Reclaim || lasting || left.is_empty(),
                    "{when}: a failed acquisition leaves no record"
                );
            }
            (Deed::Release, "released") => {
                assert!(common::is_absent(&self.lock_path()), "{when}: it is gone");
                victim.kill();
            }
            (Deed::Release, "error") => {
                let refused = self.try_acquire().map(|_| "nobody");
                let refused = refused.expect_err("the victim holds it until it has released it");
                assert!(refused.is_held(), "{when}: still held: {refused}");
                victim.kill();
            }
            (Deed::Break | Deed::ForceBreak, "removed" | "error") => victim.kill(),
            // Without flock nobody can be sure on a remote mount: doubt reads as held.
            (Deed::Reclaim, "held") if is_remote() => victim.kill(),
            (Deed::Contend | Deed::ContendDeployed, "held" | "error") => victim.kill(),
            (Deed::Wait, "timeout" | "error") => victim.kill(),
            (Deed::BreakLive, "error") => victim.kill(),
            _ => panic!("{when}: no outcome of this deed"),
        }
        self.assert_sound(when);
    }
}

#[test]
fn where_a_call_fails_an_acquisition_is_real_or_leaves_nothing() {
    fail_everywhere(&[plain(Deed::Acquire), without_links(Deed::Acquire)]);
}

#[test]
fn where_a_call_fails_a_reclaim_is_real_or_leaves_nothing() {
    fail_everywhere(&[plain(Deed::Reclaim)]);
}

#[test]
fn where_a_call_fails_refresh_release_and_break_say_so() {
    fail_everywhere(&[
        plain(Deed::Refresh),
        plain(Deed::Release),
        plain(Deed::Break),
        plain(Deed::ForceBreak),
    ]);
}

#[test]
fn where_a_call_fails_the_living_are_not_robbed() {
    fail_everywhere(&[
        plain(Deed::Wait),
        plain(Deed::BreakLive),
        plain(Deed::ContendDeployed),
    ]);
}
