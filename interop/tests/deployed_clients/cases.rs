//! The cases for every deployed client: [`all_cases`] runs all of them with one client.
//!
//! A client's process reads requests as lines: `create`, `open` and `close`, each with the path of a data
//! file. The answer is `answer: ok`, or `answer: ` and the client's error.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rvf_runtime::{RvfOptions, RvfStore};
use rvlf::judge::{Reason, Verdict};
use rvlf::record::{Hostname, Pid, StoreStamp};
use rvlf::{HoldError, LockState, LossReason, Record, WriterLock, inspect, lock_path_for};
use tempfile::TempDir;

/// The name of another host.
const ELSEWHERE: &str = "elsewhere.invalid";
const ANSWER: &str = "answer: ";
/// Set in processes that answer requests.
const SERVES: &str = "RVLF_TEST_SERVES";

/// Starts a process of the client under test, in which `$HOSTNAME` is as given.
pub type Start = Box<dyn Fn(&str) -> Process>;

/// Every case for the client that `$start` starts. `None` skips.
macro_rules! all_cases {
    ($start:path) => {
        all_cases! { $start;
            a_store_that_a_client_has_open_is_held_and_the_refusal_names_the_client
            create_and_open_of_a_client_fail_while_this_library_holds
            the_record_of_a_live_client_on_this_host_is_held_at_every_age
            the_lock_of_a_dead_client_on_this_host_is_recovered_after_30_s
            the_lock_of_a_dead_client_under_an_alias_is_recovered_after_300_s
            the_lock_of_a_client_on_another_host_is_recovered_after_300_s
            a_client_recovers_the_lock_of_a_killed_holder_by_its_own_rule
            a_client_respects_a_refreshed_record
            a_client_takes_a_record_that_is_not_refreshed_and_the_holder_notices
            a_client_respects_the_record_of_a_lock_in_an_object_store
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
        let stdout = child.stdout.take().expect("the pipe was requested");
        Process {
            child,
            answers: BufReader::new(stdout),
        }
    }

    /// This test program again, as [`serve`]: rvf-runtime, and this library.
    pub fn own(hostname: &str) -> Process {
        let program = std::env::current_exe().expect("a running program has a path");
        let arguments = ["--exact", "process", "--ignored", "--nocapture"];
        Process::start(Command::new(program).args(arguments), hostname)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn ask(&mut self, request: &str, data: &Path) -> String {
        let stdin = self.child.stdin.as_mut().expect("the pipe was requested");
        writeln!(stdin, "{request} {}", data.display()).expect("the process reads requests");
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

    /// As [`Process::ask`], for a request that must succeed.
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

    /// Sends SIGKILL and reaps the process, so that it is dead and no zombie.
    pub fn kill(&mut self) {
        self.child
            .kill()
            .expect("the process is a child of this one");
        self.child
            .wait()
            .expect("the process is a child of this one");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The loop of a child process: requests to rvf-runtime, and to this library (`hold`, and `inspect`, whose
/// answer is state and row).
pub fn serve() {
    if std::env::var_os(SERVES).is_none() {
        println!("skipped: no test sends requests");
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
            "inspect" => Err(state_and_row(data)),
            _ => panic!("{request:?} is no request"),
        };
        println!("{ANSWER}{}", answer.err().unwrap_or_else(|| "ok".into()));
    }
}

/// The report of `inspect`, as state and row.
fn state_and_row(data: &Path) -> String {
    match inspect(data).expect("the directory can be read") {
        LockState::Held(holder) => format!("held {}", holder.verdict().reason().row()),
        LockState::Stale(holder) => format!("stale {}", holder.verdict().reason().row()),
        other => format!("{other:?}"),
    }
}

/// A directory, and the path of a data file in it.
fn data_file() -> (TempDir, PathBuf) {
    let directory = support::scratch();
    let data = directory.path().join("data.rvf");
    (directory, data)
}

/// The name that the library records, which a client must have to be on the same host.
pub fn own_hostname() -> String {
    support::this_host().to_string()
}

fn lock_bytes(data: &Path) -> Vec<u8> {
    std::fs::read(lock_path_for(data)).expect("the lock file exists")
}

/// Gives the record at the lock path the age `age`, in place: the inode and its kernel lock stay.
fn set_age(data: &Path, age: Duration) {
    let record = support::read_record(data);
    let aged = record.refreshed(support::now_ns() - support::ns(age));
    let file = OpenOptions::new().write(true).open(lock_path_for(data));
    let written = file.and_then(|file| file.write_all_at(&aged.encode(), 0));
    written.expect("the lock file is writable");
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Acquires the lock of a dead holder, which must be named.
fn recover(data: &Path) {
    let left = support::read_record(data);
    let lock = WriterLock::try_acquire(data).expect("a dead holder's lock is recovered");
    assert_eq!(
        lock.reclaimed().and_then(|reclaimed| reclaimed.record),
        Some(left),
        "the holder from which the lock was reclaimed"
    );
    lock.check().expect("the lock is held");
    lock.release().expect("the lock is held");
    assert_eq!(
        inspect(data).expect("the lock file can be read"),
        LockState::Free
    );
}

/// The holder in the refusal.
fn refuse(data: &Path) -> rvlf::Holder {
    let before = lock_bytes(data);
    let error = WriterLock::try_acquire(data).expect_err("the lock is held");
    assert!(error.is_held(), "held, and nothing else: {error}");
    assert_eq!(
        lock_bytes(data),
        before,
        "a refused contender changes nothing"
    );
    error.holder().expect("a refusal names the holder").clone()
}

// A program with this library opens a store that an RVF program has open: both would write the same file,
// and neither would report it.
pub fn a_store_that_a_client_has_open_is_held_and_the_refusal_names_the_client(start: &Start) {
    for (hostname, row) in [(own_hostname().as_str(), 10), (ELSEWHERE, 13)] {
        let (_directory, data) = data_file();
        let mut client = start(hostname);
        let before = support::now_ns();
        client.must("create", &data);
        let after = support::now_ns();

        let LockState::Held(holder) = inspect(&data).expect("the directory can be read") else {
            panic!("the client holds the lock, not {:?}", inspect(&data));
        };
        let record = holder
            .record()
            .expect("deployed clients write valid records");
        assert_eq!(record.pid().get(), client.pid());
        assert_eq!(record.hostname().to_string(), hostname);
        assert!(
            (before..=after).contains(&record.timestamp_ns()),
            "the time of the record: {record:?}"
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
        let holder = format!("held by pid {} on {hostname}", client.pid());
        assert!(
            sentence.contains(&holder),
            "{sentence:?} does not name {holder:?}"
        );

        client.must("close", &data);
        assert_eq!(
            inspect(&data).expect("the lock file can be read"),
            LockState::Free
        );
        let lock = WriterLock::try_acquire(&data).expect("the lock was released");
        assert_eq!(
            lock.reclaimed().and_then(|reclaimed| reclaimed.record),
            None,
            "no holder crashed"
        );
    }
}

// The stamp is in bytes that deployed clients do not use. A client that took it for a part of the name,
// or for damage, would break the lock.
pub fn create_and_open_of_a_client_fail_while_this_library_holds(start: &Start) {
    for hostname in [own_hostname().as_str(), ELSEWHERE] {
        let (directory, data) = data_file();
        let mut client = start(hostname);
        client.must("create", &data);
        client.must("close", &data);

        let lock = WriterLock::try_acquire(&data).expect("the lock was released");
        let stamped = lock.record().stamp().is_some();
        assert!(stamped, "on a local file system records are stamped");
        let before = lock_bytes(&data);
        client.must_find_it_locked("open", &data);
        assert_eq!(
            lock_bytes(&data),
            before,
            "a refused client changes nothing"
        );
        lock.check().expect("the lock is still held");

        let new = directory.path().join("new.rvf");
        let new_lock = WriterLock::try_acquire(&new).expect("the directory is new");
        client.must_find_it_locked("create", &new);
        new_lock.check().expect("the lock is still held");

        lock.release().expect("the lock is held");
        client.must("open", &data);
    }
}

// A store that is open for an hour has a record of that age: no process refreshes it. Age alone must not
// break the lock of its live writer on this host.
pub fn the_record_of_a_live_client_on_this_host_is_held_at_every_age(start: &Start) {
    let (_directory, data) = data_file();
    let mut client = start(&own_hostname());
    client.must("create", &data);
    assert_eq!(refuse(&data).verdict().reason(), Reason::ProcessAlive);
    // The process is younger than the record is now: the pid may have been reused.
    set_age(&data, seconds(3600));
    assert_eq!(refuse(&data).verdict().reason(), Reason::PidProbablyReused);
    client.must("close", &data);
}

pub fn the_lock_of_a_dead_client_on_this_host_is_recovered_after_30_s(start: &Start) {
    let (_directory, data) = data_file();
    let mut client = start(&own_hostname());
    client.must("create", &data);
    client.kill();

    set_age(&data, seconds(20));
    let holder = refuse(&data);
    let Verdict::Held { reason, stale_in } = holder.verdict() else {
        panic!("younger than 30 s is held: {holder}");
    };
    assert_eq!(reason, Reason::ProcessDead);
    let stale_in = stale_in.expect("age decides");
    assert!(
        stale_in <= seconds(10),
        "30 s less the age of 20 s: {stale_in:?}"
    );

    set_age(&data, seconds(31));
    assert_eq!(state_and_row(&data), "stale 11");
    recover(&data);
}

pub fn the_lock_of_a_dead_client_under_an_alias_is_recovered_after_300_s(start: &Start) {
    const ALIAS: &str = "alias.invalid";
    let (_directory, data) = data_file();
    // This library reads the alias where the client does: in `$HOSTNAME`.
    let mut library = Process::own(ALIAS);
    let mut client = start(ALIAS);
    client.must("create", &data);

    set_age(&data, seconds(301));
    assert_eq!(
        library.ask("inspect", &data),
        "held 12",
        "the recorded process is alive"
    );
    client.kill();
    assert_eq!(
        library.ask("inspect", &data),
        "stale 12",
        "the recorded process is dead, and the record old enough"
    );
    set_age(&data, seconds(200));
    assert_eq!(
        library.ask("inspect", &data),
        "held 12",
        "dead, but an alias is no certain evidence"
    );
    set_age(&data, seconds(301));
    library.must("hold", &data);
    assert_eq!(
        support::read_record(&data).pid().get(),
        library.pid(),
        "the record is the new holder's"
    );
}

pub fn the_lock_of_a_client_on_another_host_is_recovered_after_300_s(start: &Start) {
    let (_directory, data) = data_file();
    let mut client = start(ELSEWHERE);
    client.must("create", &data);
    client.kill();

    set_age(&data, seconds(31));
    assert_eq!(refuse(&data).verdict().reason(), Reason::OtherHost);
    set_age(&data, seconds(301));
    assert_eq!(state_and_row(&data), "stale 13");
    recover(&data);
}

// If a deployed client could not recover a lock of this library, one crash would exclude every RVF program
// for good.
pub fn a_client_recovers_the_lock_of_a_killed_holder_by_its_own_rule(start: &Start) {
    let elsewhere = (seconds(200), seconds(301));
    // Beside the stamp a long name is cut, and a client takes it for another host's.
    let here = match support::this_host() == support::this_host_beside_a_stamp() {
        true => (seconds(20), seconds(31)),
        false => elsewhere,
    };
    for (hostname, (young, old)) in [(own_hostname().as_str(), here), (ELSEWHERE, elsewhere)] {
        let (_directory, data) = data_file();
        let mut client = start(hostname);
        client.must("create", &data);
        client.must("close", &data);

        let mut library = Process::own(ELSEWHERE);
        library.must("hold", &data);
        assert_eq!(support::read_record(&data).pid().get(), library.pid());
        library.kill();
        client.must_find_it_locked("open", &data);
        set_age(&data, young);
        client.must_find_it_locked("open", &data);
        set_age(&data, old);
        client.must("open", &data);
        assert_eq!(
            support::read_record(&data).pid().get(),
            client.pid(),
            "the record is the new holder's"
        );
        let refused = refuse(&data);
        assert_eq!(
            refused.record(),
            Some(&support::read_record(&data)),
            "the library respects the client's lock"
        );
    }
}

// A bucket that is mounted or copied: a client that took the store stamp for damage would remove the lock
// of a live writer on another machine.
pub fn a_client_respects_the_record_of_a_lock_in_an_object_store(start: &Start) {
    let (_directory, data) = data_file();
    let mut client = start(&own_hostname());
    client.must("create", &data);
    client.must("close", &data);

    let pid = Pid::new(client.pid()).expect("pids are positive");
    let hostname = Hostname::truncated(ELSEWHERE.as_bytes());
    let stamp = StoreStamp {
        generation: 8,
        lease_ms: 30_000,
        nonce: 7,
    };
    let id = support::some_writer_id();
    let record = Record::for_store(pid, &hostname, support::now_ns(), id, stamp);
    let object = [&record.encode()[..], b"payload"].concat();
    fs::write(lock_path_for(&data), &object).expect("the directory is writable");
    client.must_find_it_locked("open", &data);
    assert_eq!(
        fs::read(lock_path_for(&data)).expect("the file is there"),
        object,
        "a refused client changes nothing"
    );
}

// A hold that lasts longer than 300 s, seen from another host: a deployed client judges by the age of the
// record alone.
pub fn a_client_respects_a_refreshed_record(start: &Start) {
    let (_directory, data) = data_file();
    let mut client = start(ELSEWHERE);
    client.must("create", &data);
    client.must("close", &data);

    let options = WriterLock::options().keepalive(None);
    let lock = options.try_acquire(&data).expect("the lock was released");
    set_age(&data, seconds(301));
    lock.refresh().expect("the lock is held");
    client.must_find_it_locked("open", &data);
    lock.check().expect("the lock is still held");
    assert_eq!(
        support::read_record(&data),
        lock.record(),
        "the guard has the record of the file"
    );
    lock.release().expect("the lock is held");
}

pub fn a_client_takes_a_record_that_is_not_refreshed_and_the_holder_notices(start: &Start) {
    let (_directory, data) = data_file();
    let mut client = start(ELSEWHERE);
    client.must("create", &data);
    client.must("close", &data);

    let options = WriterLock::options().keepalive(None);
    let lock = options.try_acquire(&data).expect("the lock was released");
    lock.check().expect("the lock is held");
    set_age(&data, seconds(301));
    client.must("open", &data);

    let taken = support::read_record(&data);
    assert_eq!(taken.pid().get(), client.pid());
    assert_eq!(taken.hostname().to_string(), ELSEWHERE);
    let lost = lock.check().expect_err("the client has taken it");
    assert_eq!(
        lost.reason,
        LossReason::Replaced(Some(Box::new(taken))),
        "the loss names the new holder"
    );
    assert!(lock.is_lost(), "the loss is final");
    lock.refresh().expect_err("the lock is lost");

    let error = lock.release().expect_err("the lock is lost");
    assert!(matches!(error.error, HoldError::Lost(_)), "{error}");
    drop(error);
    assert_eq!(
        support::read_record(&data),
        taken,
        "the client's lock is unchanged"
    );
    client.must("close", &data);
    assert_eq!(
        inspect(&data).expect("the lock file can be read"),
        LockState::Free
    );
}
