//! What other programs can do to a lock that is held, and what they cannot.

use std::fs::{self, File, OpenOptions};
use std::os::windows::fs::OpenOptionsExt;
use std::time::{Duration, SystemTime};

use rvlf::judge::Reason;
use rvlf::{AcquireError, LockFile, LockState, Record, WriterLock};

use crate::role::Process;
use crate::{names_in, scratch, until};

const FILE_SHARE_READ: u32 = 1;

// Deployed clients delete what they take for stale, and truncate it where they create. The kernel
// refuses them all of it, for as long as the holder lives.
#[test]
fn no_other_program_removes_renames_or_overwrites_a_held_lock() {
    let (directory, data) = scratch();
    let lock = WriterLock::try_acquire(&data).expect("the lock is free");
    let (path, other) = (lock.lock_path(), directory.path().join("other"));
    fs::write(&other, "other").expect("there is room");
    assert!(fs::remove_file(path).is_err());
    assert!(fs::rename(path, directory.path().join("aside")).is_err());
    assert!(fs::rename(&other, path).is_err());
    assert!(
        File::create(path).is_err(),
        "CREATE_ALWAYS would truncate it"
    );
    assert!(OpenOptions::new().write(true).open(path).is_err());
    let record = Record::decode(&fs::read(path).expect("any program may read it"));
    assert_eq!(record.expect("it is whole").writer_id(), lock.writer_id());
    lock.check().expect("nothing has happened to it");
    lock.release().expect("a held lock can be released");
    assert_eq!(names_in(directory.path()), ["other"]);
}

// Programs in C and Python open files without sharing deletion: a lock that could not be removed while
// they read it would stay indefinitely.
#[test]
fn a_release_does_not_wait_for_readers() {
    let (directory, data) = scratch();
    let lock = WriterLock::try_acquire(&data).expect("the lock is free");
    let reader = File::open(lock.lock_path()).expect("any program may read it");
    lock.release().expect("a held lock can be released");
    let again = WriterLock::try_acquire(&data).expect("the path is free at once");
    again.release().expect("a held lock can be released");
    drop(reader);
    assert_eq!(names_in(directory.path()), [""; 0], "nothing is left");
}

// A scanner has the file of a dead holder open for a moment: that must look held, never be an error.
#[test]
fn what_a_reader_keeps_from_being_deleted_is_held_until_it_closes_it() {
    let (_directory, data) = scratch();
    let mut holder = Process::worker(&data);
    holder.ask("acquire");
    holder.kill();
    let path = rvlf::lock_path_for(&data);
    let reader = OpenOptions::new()
        .read(true)
        .share_mode(FILE_SHARE_READ)
        .open(&path);
    let reader = reader.expect("no process has it open");
    let refused = WriterLock::try_acquire(&data).expect_err("it cannot be removed");
    assert!(refused.is_held(), "{refused}");
    drop(reader);
    WriterLock::try_acquire(&data)
        .expect("the holder is dead")
        .release()
        .expect("it is held");
}

// It may be a holder's. Every inspection of it ends, and none reports that it is free or broken.
#[test]
fn a_lock_file_that_another_program_shares_with_no_reader_is_held() {
    let (_directory, data) = scratch();
    let path = rvlf::lock_path_for(&data);
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create_new(true)
        .share_mode(0)
        .open(&path);
    let file = file.expect("the path is free");
    let refused = WriterLock::try_acquire(&data).expect_err("it cannot be read");
    assert!(refused.is_held(), "{refused}");
    drop(file);
    assert!(path.exists());
}

// Waiters and deployed clients judge by the time in the record, and by that of the file.
#[test]
fn a_refresh_shows_in_the_record_and_in_the_time_of_the_file() {
    let (_directory, data) = scratch();
    let lock = WriterLock::try_acquire(&data).expect("the lock is free");
    let (before, earlier) = (lock.record().timestamp_ns(), SystemTime::now());
    std::thread::sleep(Duration::from_millis(50));
    lock.refresh().expect("the lock is held");
    let record = Record::decode(&fs::read(lock.lock_path()).expect("it can be read"));
    assert!(record.expect("it is whole").timestamp_ns() > before);
    let seen = File::open(lock.lock_path()).and_then(|file| file.metadata()?.modified());
    assert!(seen.expect("it can be read") > earlier);
    lock.release().expect("a held lock can be released");
}

#[test]
fn the_keepalive_thread_refreshes_a_lock() {
    let (_directory, data) = scratch();
    let options = WriterLock::options().keepalive(Some(Duration::from_millis(5)));
    let lock = options.try_acquire(&data).expect("the lock is free");
    let before = lock.record().timestamp_ns();
    until("the record is refreshed", || {
        lock.record().timestamp_ns() > before
    });
    lock.release().expect("a held lock can be released");
}

// A lock that a live process holds cannot be removed by force: the process has to end.
#[test]
fn a_held_lock_is_not_broken_by_force_and_a_left_one_is() {
    let (directory, data) = scratch();
    let mut holder = Process::worker(&data);
    let got = holder.ask("acquire");
    let file = LockFile::open(&data).expect("the directory exists");
    let LockState::Held(seen) = file.inspect().expect("it can be examined") else {
        panic!("it is held: {got}");
    };
    let writer = seen.record().expect("it can be read").writer_id();
    assert!(file.force_break(writer).is_err());
    assert_eq!(holder.ask("release"), "released Free");

    holder.ask("acquire");
    let left = file.inspect().expect("it can be examined");
    let LockState::Held(seen) = left else {
        panic!("it is held")
    };
    let writer = seen.record().expect("it can be read").writer_id();
    holder.kill();
    file.force_break(writer).expect("no process has it open");
    drop(file);
    assert_eq!(names_in(directory.path()), [""; 0], "nothing is left");
}

#[test]
fn a_second_attempt_of_the_same_process_is_refused() {
    let (_directory, data) = scratch();
    let lock = WriterLock::try_acquire(&data).expect("the lock is free");
    let Err(AcquireError::Held { holder, .. }) = WriterLock::try_acquire(&data) else {
        panic!("this process holds it");
    };
    assert_eq!(holder.verdict().reason(), Reason::KernelLock);
    assert!(holder.is_this_process());
    lock.release().expect("a held lock can be released");
}

// What a publisher or breaker leaves that is killed between two calls.
#[test]
fn leftovers_are_removed_by_the_next_breaker() {
    let (directory, data) = scratch();
    let mut holder = Process::worker(&data);
    holder.ask("acquire");
    let leftover = directory.path().join(".rvlf-0123456789abcdef");
    fs::copy(rvlf::lock_path_for(&data), &leftover).expect("it can be read");
    let old = SystemTime::now() - Duration::from_secs(120);
    let file = OpenOptions::new()
        .write(true)
        .open(&leftover)
        .expect("no process has it open");
    file.set_modified(old).expect("it is this user's");
    drop(file);
    holder.kill();
    let lock = WriterLock::try_acquire(&data).expect("the holder is dead");
    lock.release().expect("a held lock can be released");
    assert_eq!(names_in(directory.path()), [""; 0]);
}
