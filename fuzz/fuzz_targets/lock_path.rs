//! Any bytes and any kind of file at the lock path, then look, acquire and break: no panic, no
//! hang, and what is no lock of ours stays as it is.
//!
//! The first byte chooses the kind of file, the second what is done; the rest is the content.
#![no_main]

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use nix::sys::stat::Mode;
use rvlf::{
    Durability, LockFile, LockOptions, LockState, Record, StalePolicy, WriterLock, inspect,
    lock_path_for,
};
use support::second_reader::{self, Class};

fuzz_target!(|input: &[u8]| {
    let [kind, actions, content @ ..] = input else {
        return;
    };
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let data = directory.path().join("data");
    let lock_path = lock_path_for(&data);
    let elsewhere = directory.path().join("elsewhere");
    put(*kind, content, &lock_path, &elsewhere);
    if actions & 1 == 1 {
        // Old enough for every rule that goes by age. What is not a regular file has none.
        let long_ago = SystemTime::now() - Duration::from_secs(100_000);
        if fs::symlink_metadata(&lock_path).is_ok_and(|found| found.is_file()) {
            let file = File::options().write(true).open(&lock_path);
            let _ = file.and_then(|file| file.set_modified(long_ago));
        }
    }
    // Another process holds the kernel lock: an open file description of its own, as another process has.
    let holder = (actions & 2 == 2).then(|| hold(&lock_path)).flatten();
    let sacred = holder.is_some() || is_sacred(&lock_path);
    let before = picture(directory.path());

    look(&data, sacred);
    let options = WriterLock::options()
        .durability(Durability::None)
        .keepalive(None);
    // Nothing to wait for: what is torn is stale at once.
    let options = options.stale_policy(StalePolicy::new().with_malformed_grace(Duration::ZERO));
    for action in [actions >> 2 & 3, actions >> 4 & 3, actions >> 6 & 3] {
        act(action, &options, &data, content);
        if sacred {
            assert_eq!(
                picture(directory.path()),
                before,
                "it was not ours to touch"
            );
        }
        if elsewhere.exists() {
            let linked = fs::read(&elsewhere).expect("it is ours");
            assert_eq!(linked, content, "nothing is written through a link");
        }
    }
    for name in picture(directory.path()).iter().map(|(name, ..)| name) {
        let known = ["data.lock", "elsewhere"].contains(&name.as_str());
        assert!(known, "{name} was left behind");
    }
});

/// Puts a file of the chosen kind at the lock path.
fn put(kind: u8, content: &[u8], lock_path: &Path, elsewhere: &Path) {
    let done = match kind % 8 {
        0..=2 => fs::write(lock_path, content),
        3 => fs::create_dir(lock_path),
        4 => fs::write(elsewhere, content).and_then(|()| symlink(elsewhere, lock_path)),
        5 => nix::unistd::mkfifo(lock_path, Mode::S_IRWXU).map_err(Into::into),
        6 => UnixListener::bind(lock_path).map(drop),
        _ => fs::write(elsewhere, content).and_then(|()| fs::hard_link(elsewhere, lock_path)),
    };
    done.expect("the directory is empty and ours");
}

fn hold(lock_path: &Path) -> Option<File> {
    if !fs::symlink_metadata(lock_path).is_ok_and(|found| found.is_file()) {
        return None;
    }
    let file = File::open(lock_path).expect("it is ours");
    file.try_lock().expect("no other process has it");
    Some(file)
}

/// Whether what lies there is never to be removed, by the second reader's word.
fn is_sacred(lock_path: &Path) -> bool {
    if !fs::symlink_metadata(lock_path).is_ok_and(|found| found.is_file()) {
        return true;
    }
    let content = fs::read(lock_path).expect("it is ours");
    matches!(
        second_reader::classify(&content),
        Class::Foreign | Class::Unsupported(_)
    )
}

/// Names, inodes, kinds, times and contents.
fn picture(directory: &Path) -> Vec<(String, u64, u32, i64, Vec<u8>)> {
    let entries = fs::read_dir(directory).expect("it is ours");
    let mut picture: Vec<_> = entries
        .map(|entry| {
            let entry = entry.expect("it is ours");
            let found = entry.metadata().expect("no other process removes it");
            let content = if found.is_file() {
                fs::read(entry.path()).expect("it is ours")
            } else {
                Vec::new()
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, found.ino(), found.mode(), found.mtime_nsec(), content)
        })
        .collect();
    picture.sort();
    picture
}

fn look(data: &Path, sacred: bool) {
    let state = inspect(data).expect("the directory can be read");
    let _ = format!("{state:?}");
    assert_ne!(state, LockState::Free, "something lies there");
    assert!(
        !(sacred && matches!(state, LockState::Stale(_))),
        "{state:?}"
    );
}

fn act(action: u8, options: &LockOptions, data: &Path, content: &[u8]) {
    match action {
        0 => {
            let _ = inspect(data).expect("the directory can be read");
        }
        1 => match options.try_acquire(data) {
            Ok(lock) => {
                lock.check().expect("it has just been acquired");
                lock.refresh().expect("it has just been acquired");
                lock.release().expect("it has just been acquired");
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        },
        2 => {
            let _ = open(options, data)
                .break_stale()
                .map_err(|error| error.to_string());
        }
        // By force: this one removes live locks, too, but only the one that is named.
        _ => {
            let other = rvlf::WriterId::from_bytes([0xa5; 16]);
            let record = Record::decode(content);
            if record.is_ok_and(|record| record.writer_id() == other) {
                return;
            }
            let broken = open(options, data).force_break(other);
            assert!(!matches!(broken, Ok(Some(_))), "it bears another writer id");
        }
    }
}

fn open(options: &LockOptions, data: &Path) -> LockFile {
    LockFile::with_options(data, options.clone()).expect("the directory can be opened")
}
