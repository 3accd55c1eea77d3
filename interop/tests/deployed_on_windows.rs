//! The published `rvf-runtime` on Windows, in one process with this library: the kernel refuses what it does
//! to lock files elsewhere.
#![cfg(windows)]

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::windows::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rvf_runtime::{RvfOptions, RvfStore};
use rvlf::judge::Reason;
use rvlf::record::{Hostname, Pid};
use rvlf::{LockState, Record, WriterId, WriterLock, inspect, lock_path_for};

const CRASHES: &str = "RVLF_TEST_CRASHES_WITH";

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::Builder::new().prefix("rvlf-test-").tempdir();
    let directory = directory.expect("the directory for temporary files is writable");
    let data = directory.path().join("data.rvf");
    (directory, data)
}

fn options() -> RvfOptions {
    RvfOptions {
        dimension: 4,
        ..RvfOptions::default()
    }
}

/// A store that is there and that no process has open.
fn store(data: &Path) {
    let store = RvfStore::create(data, options()).expect("the lock is free");
    store.close().expect("the lock is its own");
}

/// The record of another host that is 400 s old: stale for every deployed client.
fn stale_record() -> [u8; 104] {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("it is later than 1970");
    let timestamp = (since - Duration::from_secs(400)).as_nanos() as u64;
    let pid = Pid::new(4).expect("a positive number");
    let host = Hostname::truncated(b"elsewhere");
    Record::new(pid, &host, timestamp, WriterId::from_bytes([7; 16]), None).encode()
}

/// Made and kept as a holder of this library makes and keeps its file.
fn held_file(path: &Path, content: &[u8]) -> File {
    let mut options = OpenOptions::new();
    let options = options
        .read(true)
        .write(true)
        .create_new(true)
        .share_mode(1);
    let mut file = options.open(path).expect("the path is free");
    file.write_all(content).expect("there is room");
    file
}

#[test]
fn each_refuses_what_the_other_holds() {
    let (_directory, data) = scratch();
    store(&data);
    let lock = WriterLock::try_acquire(&data).expect("the store is closed");
    let before = fs::read(lock.lock_path()).expect("it can be read");
    assert!(RvfStore::open(&data).is_err(), "this library holds it");
    assert_eq!(fs::read(lock.lock_path()).expect("it is there"), before);
    lock.check().expect("nothing has happened to it");
    lock.release().expect("a held lock can be released");

    let store = RvfStore::open(&data).expect("the lock is free");
    let refused = WriterLock::try_acquire(&data).expect_err("the store is open");
    assert!(refused.is_held(), "{refused}");
    store.close().expect("the lock is its own");
    WriterLock::try_acquire(&data)
        .expect("it is closed")
        .release()
        .expect("it is held");
}

// What a deployed client calls stale, or torn, it deletes. Open in a holder it cannot be deleted: elsewhere
// these are the races that no implementation can close.
#[test]
fn a_deployed_client_cannot_remove_what_a_holder_has_open() {
    for content in [&stale_record()[..], b""] {
        let (_directory, data) = scratch();
        store(&data);
        let path = lock_path_for(&data);
        let held = held_file(&path, content);
        assert!(RvfStore::open(&data).is_err());
        assert_eq!(fs::read(&path).expect("it is there"), content);
        drop(held);
        let store = RvfStore::open(&data);
        store
            .expect("it takes what no process has open")
            .close()
            .expect("it is its own");
    }
}

// The body of the process below. A test like any other: it does nothing unless it was started for this.
#[test]
fn crashing_client() {
    if let Some(data) = std::env::var_os(CRASHES) {
        let _open = RvfStore::open(Path::new(&data)).expect("the lock is free");
        // No destructor runs.
        std::process::exit(0);
    }
}

// Deployed clients take every process of Windows for alive, and never break what one of them has left.
#[test]
fn the_lock_of_a_crashed_client_is_recovered_by_this_library_alone() {
    let (_directory, data) = scratch();
    store(&data);
    let mut client = Command::new(std::env::current_exe().expect("this binary runs"));
    client
        .args(["crashing_client", "--exact"])
        .env(CRASHES, &data);
    client.output().expect("this binary can be started");

    let path = lock_path_for(&data);
    let left = Record::decode(&fs::read(&path).expect("it was left")).expect("it is whole");
    let Ok(LockState::Held(holder)) = inspect(&data) else {
        panic!("it is younger than 30 s");
    };
    // Wine shows it the Unix file /etc/hostname; on Windows it finds no name, and writes `unknown`.
    let (reason, rows) = (
        holder.verdict().reason(),
        [Reason::HostAlias, Reason::ProcessDead],
    );
    assert!(rows.contains(&reason), "{reason:?}");
    assert!(
        holder.verdict().stale_in().is_some(),
        "age ends it, since its process is dead"
    );

    let older = left.refreshed(left.timestamp_ns() - 301_000_000_000);
    fs::write(&path, older.encode()).expect("no process has it open");
    assert!(
        RvfStore::open(&data).is_err(),
        "it takes the dead process for alive"
    );
    let lock = WriterLock::try_acquire(&data).expect("dead, and older than 300 s");
    lock.release().expect("a held lock can be released");
}
