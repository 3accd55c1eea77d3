//! Uncontended acquire and release by other crates, and what each of them leaves out. A lock that
//! does less may well be faster.

use std::fs::File;
use std::path::Path;

use rvf_runtime::{RvfOptions, RvfStore};
use rvlf::{Durability, WriterLock};
use rvlf_benches::{Directory, Mode, directories, interleaved, show_time};

const FREE: &str = "this process is the only contender";

/// Name, and what it does not do.
const PEERS: [(&str, &str); 9] = [
    ("rvlf, unsynced", "power loss may leave no record"),
    ("rvlf", ""),
    (
        "std File::lock",
        "no record, no reason, no hosts; the kernel alone",
    ),
    ("fd-lock", "the same"),
    ("fslock", "the same"),
    ("fslock, with pid", "a pid in text, never judged; no hosts"),
    (
        "pidlock",
        "a pid in text; no kernel lock, no exclusion while breaking; no hosts",
    ),
    (
        "gix-lock",
        "an empty file; a dead holder's stays indefinitely",
    ),
    (
        "rvf-runtime",
        "creates and closes a whole store as well; the bench `exclusion` tries its lock",
    ),
];

fn rvlf(data_path: &Path, durability: Durability) {
    let lock = WriterLock::options()
        .durability(durability)
        .try_acquire(data_path);
    lock.expect(FREE).release().expect("the lock is held");
}

fn std_lock(path: &Path) {
    File::create(path).expect(FREE).try_lock().expect(FREE);
}

fn fd_lock(path: &Path) {
    let mut lock = fd_lock::RwLock::new(File::create(path).expect(FREE));
    drop(lock.try_write().expect(FREE));
}

fn fs_lock(path: &Path, with_pid: bool) {
    let mut lock = fslock::LockFile::open(path).expect(FREE);
    let locked = if with_pid {
        lock.try_lock_with_pid()
    } else {
        lock.try_lock()
    };
    assert!(locked.expect(FREE), "{FREE}");
    lock.unlock().expect("the lock is held");
}

fn pidlock(path: &Path) {
    let mut lock = pidlock::Pidlock::new_validated(path).expect(FREE);
    lock.acquire().expect(FREE);
    lock.release().expect("the lock is held");
}

fn gix(path: &Path) {
    let at_once = gix_lock::acquire::Fail::Immediately;
    let lock = gix_lock::Marker::acquire_to_hold_resource(path, at_once, None, 0);
    drop(lock.expect(FREE));
}

fn rvf(path: &Path) {
    let options = RvfOptions {
        dimension: 4,
        ..RvfOptions::default()
    };
    let store = RvfStore::create(path, options).expect(FREE);
    store.close().expect("the store is open");
    std::fs::remove_file(path).expect("the store was created");
}

fn compare(mode: Mode, directory: &Directory) {
    let at = |name: &str| directory.join(name);
    let (data, std_path, fd_path) = (at("rvlf"), at("std"), at("fd-lock"));
    let (fs_path, fs_pid_path) = (at("fslock"), at("fslock-pid"));
    let (pid_path, gix_path, rvf_path) = (at("pidlock"), at("gix"), at("store.rvf"));
    let samples = interleaved(
        mode.pick(200, 1),
        mode.pick(5, 1),
        [
            &mut || rvlf(&data, Durability::None),
            &mut || rvlf(&data, Durability::Sync),
            &mut || std_lock(&std_path),
            &mut || fd_lock(&fd_path),
            &mut || fs_lock(&fs_path, false),
            &mut || fs_lock(&fs_pid_path, true),
            &mut || pidlock(&pid_path),
            &mut || gix(&gix_path),
            &mut || rvf(&rvf_path),
        ],
    );
    println!("acquire + release, {}:", directory.file_system);
    let [unsynced, ..] = &samples;
    for ((name, without), samples) in PEERS.iter().zip(&samples) {
        let (time, ratio) = (show_time(samples.median()), samples.ratio_to(unsynced));
        println!("  {name:18} {time:>8}  {ratio:>6.2} x  {without}");
    }
}

fn main() {
    let Some(mode) = Mode::from_args_of("peers") else {
        return;
    };
    for directory in directories() {
        compare(mode, &directory);
    }
}
