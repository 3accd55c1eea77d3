//! What must hold between us and a deployed client, whichever it is: [`all_cases`] runs every case
//! with the client that it is given.
//!
//! A client's process is driven by lines: `create`, `open` and `close`, each with the path of a
//! data file, answered by `answer: ok` or `answer: ` and the client's error.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rvf_runtime::{RvfOptions, RvfStore};
use rvlf::judge::{Reason, Verdict};
use rvlf::{HoldError, LockState, LossReason, Record, WriterLock, inspect, lock_path_for};
use tempfile::TempDir;

/// A host that this one is not.
const ELSEWHERE: &str = "elsewhere.invalid";
const ANSWER: &str = "answer: ";
/// Set in processes that are to answer requests.
const SERVES: &str = "RVLF_TEST_SERVES";

/// Starts a process of the client under test, in which `$HOSTNAME` is as given.
pub type Start = Box<dyn Fn(&str) -> Process>;

/// Every case for the client that `$start` starts; `None` skips.
macro_rules! all_cases {
    ($start:path) => {
        all_cases! { $start;
            while_it_writes_we_say_held_and_by_whom
            while_we_hold_its_create_and_open_fail
            its_record_is_held_on_this_host_as_long_as_it_lives
            what_it_left_on_this_host_is_recovered_after_30_s
            what_it_left_under_an_alias_of_this_host_is_recovered_after_300_s
            what_it_left_on_another_host_is_recovered_after_300_s
            what_we_leave_when_killed_it_recovers_by_its_own_rule
            a_refreshed_record_of_ours_it_leaves_alone
            a_record_that_is_not_refreshed_it_takes_and_we_notice
        }
    };
    ($start:path; $($case:ident)*) => {
        $(#[test]
        fn $case() {
            if let Some(start) = $start() {
                $crate::cases::$case(&start);
            }
        })*
    };
}

/// Another process that answers requests. Killed when dropped.
pub struct Process {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Process {
    pub fn start(command: &mut Command, hostname: &str) -> Process {
        let mut child = command
            .env("HOSTNAME", hostname)
            .env(SERVES, "")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = child.stdout.take().expect("it was asked for");
        Process {
            child,
            answers: BufReader::new(stdout),
        }
    }

    /// This test program again, as [`serve`]: rvf-runtime, and ourselves.
    pub fn own(hostname: &str) -> Process {
        let program = std::env::current_exe().expect("a running program has a path");
        let arguments = ["--exact", "process", "--ignored", "--nocapture"];
        Process::start(Command::new(program).args(arguments), hostname)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn ask(&mut self, request: &str, data: &Path) -> String {
        let stdin = self.child.stdin.as_mut().expect("it was asked for");
        writeln!(stdin, "{request} {}", data.display()).expect("the process listens");
        loop {
            let mut line = String::new();
            let read = self
                .answers
                .read_line(&mut line)
                .expect("a pipe can be read");
            assert_ne!(
                read, 0,
                "the process ended instead of answering {request:?}"
            );
            // The test harness writes to the same stream.
            if let Some((_, answer)) = line.split_once(ANSWER) {
                return answer.trim_end().to_owned();
            }
        }
    }

    /// As [`Process::ask`], for what must succeed.
    pub fn must(&mut self, request: &str, data: &Path) {
        let answer = self.ask(request, data);
        assert_eq!(answer, "ok", "{request} {}", data.display());
    }

    fn must_find_it_locked(&mut self, request: &str, data: &Path) {
        let answer = self.ask(request, data);
        assert!(
            answer.contains("LockHeld"),
            "{request} must be refused, not: {answer}"
        );
    }

    /// SIGKILL. The process is reaped, so that it is dead and no zombie.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is our own child");
        self.child.wait().expect("it is our own child");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The loop of a child process: rvf-runtime's part, and ours (`hold`, and `look`, which answers
/// with state and row).
pub fn serve() {
    if std::env::var_os(SERVES).is_none() {
        println!("skipped: nobody sends requests");
        return;
    }
    let mut stores = Vec::new();
    let mut locks = Vec::new();
    for line in std::io::stdin().lines() {
        let line = line.expect("requests are text");
        let (request, data) = line.split_once(' ').expect("a request and a path");
        let data = Path::new(data);
        let options = RvfOptions {
            dimension: 4,
            ..RvfOptions::default()
        };
        let answer = match request {
            "create" => RvfStore::create(data, options)
                .map(|store| stores.push(store))
                .map_err(|error| format!("{error:?}")),
            "open" => RvfStore::open(data)
                .map(|store| stores.push(store))
                .map_err(|error| format!("{error:?}")),
            "close" => stores
                .pop()
                .expect("a store is open")
                .close()
                .map_err(|error| format!("{error:?}")),
            "hold" => WriterLock::try_acquire(data)
                .map(|lock| locks.push(lock))
                .map_err(|error| error.to_string()),
            "look" => Err(look(data)),
            _ => panic!("{request:?} is no request"),
        };
        println!("{ANSWER}{}", answer.err().unwrap_or_else(|| "ok".into()));
    }
}

/// State and row of what `inspect` finds.
fn look(data: &Path) -> String {
    match inspect(data).expect("the directory can be read") {
        LockState::Held(holder) => format!("held {}", holder.verdict().reason().row()),
        LockState::Stale(holder) => format!("stale {}", holder.verdict().reason().row()),
        other => format!("{other:?}"),
    }
}

pub fn directory() -> TempDir {
    let directory = tempfile::Builder::new().prefix("rvlf-test").tempdir();
    directory.expect("there is a place for temporary files")
}

/// A directory, and the path of a data file in it.
fn data_file() -> (TempDir, PathBuf) {
    let directory = directory();
    let data = directory.path().join("data.rvf");
    (directory, data)
}

/// The name that we record, and that a client has to have to be on our host.
pub fn own_hostname() -> String {
    let (_directory, data) = data_file();
    let lock = WriterLock::try_acquire(data).expect("nobody else knows of it");
    lock.record().hostname().to_string()
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.expect("the clock is later than 1970");
    since.as_nanos().try_into().expect("until the year 2554")
}

fn lock_bytes(data: &Path) -> Vec<u8> {
    std::fs::read(lock_path_for(data)).expect("the lock file is there")
}

pub fn lock_record(data: &Path) -> Record {
    Record::decode(&lock_bytes(data)).expect("the lock file holds a record")
}

/// Makes the record at the lock path one of `age` ago, in place: the inode and its kernel lock
/// stay.
fn backdate(data: &Path, age: Duration) {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(lock_path_for(data))
        .expect("the lock file is there");
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).expect("it can be read");
    let record = Record::decode(&bytes).expect("the lock file holds a record");
    let age = u64::try_from(age.as_nanos()).expect("less than 584 years");
    let backdated = record.refreshed(now_ns() - age);
    file.rewind().expect("a file has a beginning");
    file.write_all(&backdated.encode())
        .expect("it can be written");
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Takes the lock of a dead holder, and says whose it was.
fn recover(data: &Path) {
    let left = lock_record(data);
    let lock = WriterLock::try_acquire(data).expect("a dead holder's lock is recovered");
    assert_eq!(
        lock.reclaimed().and_then(|reclaimed| reclaimed.record),
        Some(left),
        "whom the lock was reclaimed from"
    );
    lock.check().expect("it is ours now");
    lock.release().expect("it is ours to release");
    assert_eq!(inspect(data).expect("it can be read"), LockState::Free);
}

/// The holder that refuses us.
fn refuse(data: &Path) -> rvlf::Holder {
    let before = lock_bytes(data);
    let error = WriterLock::try_acquire(data).expect_err("the lock is held");
    assert!(error.is_held(), "held, and nothing else: {error}");
    assert_eq!(
        lock_bytes(data),
        before,
        "a refused contender leaves the lock alone"
    );
    error.holder().expect("a refusal names the holder").clone()
}

// A program that writes through us opens a store that an RVF program has open: both would write the
// same file, and neither would say so.
pub fn while_it_writes_we_say_held_and_by_whom(start: &Start) {
    for (hostname, row) in [(own_hostname().as_str(), 10), (ELSEWHERE, 13)] {
        let (_directory, data) = data_file();
        let mut client = start(hostname);
        let before = now_ns();
        client.must("create", &data);
        let after = now_ns();

        let LockState::Held(holder) = inspect(&data).expect("the directory can be read") else {
            panic!("held by the client, not {:?}", inspect(&data));
        };
        let record = holder
            .record()
            .expect("deployed clients write valid records");
        assert_eq!(record.pid().get(), client.pid());
        assert_eq!(record.hostname().to_string(), hostname);
        assert!(
            (before..=after).contains(&record.timestamp_ns()),
            "its time: {record:?}"
        );
        assert_eq!(record.stamp(), None, "deployed clients write no stamp");
        assert_eq!(holder.verdict().reason().row(), row, "{holder}");

        let refused = refuse(&data);
        assert_eq!(
            refused.record(),
            Some(record),
            "the refusal names the same holder"
        );
        let sentence = refused.to_string();
        let who = format!("held by pid {} on {hostname}", client.pid());
        assert!(sentence.contains(&who), "{sentence:?} does not say {who:?}");

        client.must("close", &data);
        assert_eq!(inspect(&data).expect("it can be read"), LockState::Free);
        let lock = WriterLock::try_acquire(&data).expect("it was released");
        assert_eq!(
            lock.reclaimed().and_then(|reclaimed| reclaimed.record),
            None,
            "nobody crashed"
        );
    }
}

// The stamp lies where deployed clients expect nothing. One that took it for a part of the name, or
// for damage, would take our lock.
pub fn while_we_hold_its_create_and_open_fail(start: &Start) {
    for hostname in [own_hostname().as_str(), ELSEWHERE] {
        let (directory, data) = data_file();
        let mut client = start(hostname);
        client.must("create", &data);
        client.must("close", &data);

        let lock = WriterLock::try_acquire(&data).expect("it was released");
        let stamped = lock.record().stamp().is_some();
        assert!(stamped, "on a local file system our records are stamped");
        let before = lock_bytes(&data);
        client.must_find_it_locked("open", &data);
        assert_eq!(
            lock_bytes(&data),
            before,
            "a refused client leaves the lock alone"
        );
        lock.check().expect("the lock is still ours");

        let new = directory.path().join("new.rvf");
        let new_lock = WriterLock::try_acquire(&new).expect("nobody else knows of it");
        client.must_find_it_locked("create", &new);
        new_lock.check().expect("the lock is still ours");

        lock.release().expect("it is ours to release");
        client.must("open", &data);
    }
}

// A store that is open for an hour has an hour-old record: nothing refreshes it. Age alone must not
// rob its writer on this host.
pub fn its_record_is_held_on_this_host_as_long_as_it_lives(start: &Start) {
    let (_directory, data) = data_file();
    let mut client = start(&own_hostname());
    client.must("create", &data);
    assert_eq!(refuse(&data).verdict().reason(), Reason::ProcessAlive);
    // Its process is younger than the record says now: the pid may have been given anew.
    backdate(&data, seconds(3600));
    assert_eq!(refuse(&data).verdict().reason(), Reason::PidProbablyReused);
    client.must("close", &data);
}

pub fn what_it_left_on_this_host_is_recovered_after_30_s(start: &Start) {
    let (_directory, data) = data_file();
    let mut client = start(&own_hostname());
    client.must("create", &data);
    client.kill();

    backdate(&data, seconds(20));
    let holder = refuse(&data);
    let Verdict::Held { reason, stale_in } = holder.verdict() else {
        panic!("younger than 30 s is held: {holder}");
    };
    assert_eq!(reason, Reason::ProcessDead);
    let stale_in = stale_in.expect("age decides");
    assert!(
        stale_in <= seconds(10),
        "30 s less its age of 20 s: {stale_in:?}"
    );

    backdate(&data, seconds(31));
    assert_eq!(look(&data), "stale 11");
    recover(&data);
}

pub fn what_it_left_under_an_alias_of_this_host_is_recovered_after_300_s(start: &Start) {
    const ALIAS: &str = "alias.invalid";
    let (_directory, data) = data_file();
    // We know the alias as the client does: by `$HOSTNAME`.
    let mut ours = Process::own(ALIAS);
    let mut client = start(ALIAS);
    client.must("create", &data);

    backdate(&data, seconds(301));
    assert_eq!(ours.ask("look", &data), "held 12", "its process lives");
    client.kill();
    assert_eq!(
        ours.ask("look", &data),
        "stale 12",
        "its process is dead, and old enough"
    );
    backdate(&data, seconds(200));
    assert_eq!(
        ours.ask("look", &data),
        "held 12",
        "dead, but an alias may lie"
    );
    backdate(&data, seconds(301));
    ours.must("hold", &data);
    assert_eq!(
        lock_record(&data).pid().get(),
        ours.pid(),
        "it has the lock"
    );
}

pub fn what_it_left_on_another_host_is_recovered_after_300_s(start: &Start) {
    let (_directory, data) = data_file();
    let mut client = start(ELSEWHERE);
    client.must("create", &data);
    client.kill();

    backdate(&data, seconds(31));
    assert_eq!(refuse(&data).verdict().reason(), Reason::OtherHost);
    backdate(&data, seconds(301));
    assert_eq!(look(&data), "stale 13");
    recover(&data);
}

// If a deployed client could not recover what we leave, one crash of ours would lock every RVF
// program out for good.
pub fn what_we_leave_when_killed_it_recovers_by_its_own_rule(start: &Start) {
    for (hostname, young, old) in [
        (own_hostname().as_str(), seconds(20), seconds(31)),
        (ELSEWHERE, seconds(200), seconds(301)),
    ] {
        let (_directory, data) = data_file();
        let mut client = start(hostname);
        client.must("create", &data);
        client.must("close", &data);

        let mut ours = Process::own(ELSEWHERE);
        ours.must("hold", &data);
        assert_eq!(lock_record(&data).pid().get(), ours.pid());
        ours.kill();
        client.must_find_it_locked("open", &data);
        backdate(&data, young);
        client.must_find_it_locked("open", &data);
        backdate(&data, old);
        client.must("open", &data);
        assert_eq!(
            lock_record(&data).pid().get(),
            client.pid(),
            "it has the lock"
        );
        let refused = refuse(&data);
        assert_eq!(
            refused.record(),
            Some(&lock_record(&data)),
            "and we respect that"
        );
    }
}

// A hold of ours that lasts longer than 300 s, seen from another host: the age of the record is all
// that a deployed client goes by.
pub fn a_refreshed_record_of_ours_it_leaves_alone(start: &Start) {
    let (_directory, data) = data_file();
    let mut client = start(ELSEWHERE);
    client.must("create", &data);
    client.must("close", &data);

    let options = WriterLock::options().keepalive(None);
    let lock = options.try_acquire(&data).expect("it was released");
    backdate(&data, seconds(301));
    lock.refresh().expect("the lock is ours to refresh");
    client.must_find_it_locked("open", &data);
    lock.check().expect("the lock is still ours");
    assert_eq!(
        lock_record(&data),
        lock.record(),
        "what we think is what is there"
    );
    lock.release().expect("it is ours to release");
}

pub fn a_record_that_is_not_refreshed_it_takes_and_we_notice(start: &Start) {
    let (_directory, data) = data_file();
    let mut client = start(ELSEWHERE);
    client.must("create", &data);
    client.must("close", &data);

    let options = WriterLock::options().keepalive(None);
    let lock = options.try_acquire(&data).expect("it was released");
    lock.check().expect("the lock is ours");
    backdate(&data, seconds(301));
    client.must("open", &data);

    let thief = lock_record(&data);
    assert_eq!(thief.pid().get(), client.pid());
    assert_eq!(thief.hostname().to_string(), ELSEWHERE);
    let lost = lock.check().expect_err("the client has taken it");
    assert_eq!(
        lost.reason,
        LossReason::Replaced(Some(thief)),
        "by whom it was lost"
    );
    assert!(lock.is_lost(), "once lost, always lost");
    lock.refresh()
        .expect_err("there is nothing of ours left to refresh");

    let error = lock
        .release()
        .expect_err("there is nothing of ours left to release");
    assert!(matches!(error.error, HoldError::Lost(_)), "{error}");
    drop(error);
    assert_eq!(lock_record(&data), thief, "its lock is untouched");
    client.must("close", &data);
    assert_eq!(inspect(&data).expect("it can be read"), LockState::Free);
}
