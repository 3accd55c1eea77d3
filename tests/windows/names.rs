//! Paths and files that Windows has and others do not.

use std::ffi::OsString;
use std::fs;
use std::os::windows::ffi::OsStringExt;
use std::path::Path;

use rvlf::{AcquireError, WriterLock};

use crate::role::Process;
use crate::{names_in, scratch};

// `data.` is `data` for most programs, `data:x` a stream of `data`: each would be a second lock of one
// file, and two writers.
#[test]
fn a_name_that_stands_for_another_file_is_refused_with_a_reason() {
    let (directory, _) = scratch();
    let cases = [
        ("data:x", "colon"),
        ("data.", "dot"),
        ("data ", "space"),
        ("nul", "device"),
        ("com1.rvf", "device"),
    ];
    for (name, reason) in cases {
        let error = WriterLock::try_acquire(directory.path().join(name)).expect_err("refused");
        assert!(error.to_string().contains(reason), "{name}: {error}");
    }
    let error = WriterLock::try_acquire(Path::new("Z:data")).expect_err("refused");
    assert!(error.to_string().contains("absolute"), "{error}");
    assert_eq!(names_in(directory.path()), [""; 0]);
}

// MAX_PATH is 260 units.
#[test]
fn a_path_of_more_than_260_units_can_be_locked() {
    let (directory, _) = scratch();
    let mut long = directory.path().to_owned();
    for _ in 0..6 {
        long.push("d".repeat(60));
    }
    let verbatim = format!(r"\\?\{}", long.display());
    fs::create_dir_all(&verbatim).expect("there is room");
    let lock = WriterLock::try_acquire(long.join("data")).expect("the lock is free");
    lock.check().expect("it is held");
    lock.release().expect("a held lock can be released");
}

#[test]
fn one_file_has_one_lock_whatever_the_case_of_its_name() {
    let (directory, data) = scratch();
    let lock = WriterLock::try_acquire(&data).expect("the lock is free");
    let refused = WriterLock::try_acquire(directory.path().join("DATA"));
    assert!(refused.is_err_and(|error| error.is_held()));
    lock.release().expect("a held lock can be released");
}

// Names are sequences of 16-bit units, also such as are no text.
#[test]
fn a_name_that_is_no_text_is_locked_or_refused() {
    let (directory, _) = scratch();
    let name = OsString::from_wide(&[0xd800, u16::from(b'd')]);
    if let Ok(lock) = WriterLock::try_acquire(directory.path().join(name)) {
        lock.check().expect("it is held");
        lock.release().expect("a held lock can be released");
    }
    assert_eq!(names_in(directory.path()), [""; 0]);
}

#[test]
fn the_read_only_lock_of_a_dead_holder_is_removed() {
    let (_directory, data) = scratch();
    let mut holder = Process::worker(&data);
    holder.ask("acquire");
    holder.kill();
    let path = rvlf::lock_path_for(&data);
    let mut permissions = fs::metadata(&path).expect("it was left").permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&path, permissions).expect("it is this user's");
    let lock = WriterLock::try_acquire(&data).expect("the holder is dead");
    assert!(lock.reclaimed().is_some());
    lock.release().expect("a held lock can be released");
}

#[test]
fn what_is_no_lock_file_stays() {
    let (directory, data) = scratch();
    let path = rvlf::lock_path_for(&data);
    fs::create_dir(&path).expect("there is room");
    let refused = WriterLock::try_acquire(&data);
    assert!(matches!(refused, Err(AcquireError::Foreign { .. })));
    fs::remove_dir(&path).expect("it is empty");
    fs::write(&path, "not a lock").expect("there is room");
    let refused = WriterLock::try_acquire(&data);
    assert!(matches!(refused, Err(AcquireError::Foreign { .. })));
    assert_eq!(names_in(directory.path()), ["data.lock"]);
}

// The directory stays where it is while it is open: the path of a lock cannot come to lead elsewhere.
#[test]
fn the_directory_of_a_held_lock_cannot_be_renamed() {
    let (directory, _) = scratch();
    let (inner, moved) = (
        directory.path().join("inner"),
        directory.path().join("moved"),
    );
    fs::create_dir(&inner).expect("there is room");
    let lock = WriterLock::try_acquire(inner.join("data")).expect("the lock is free");
    assert!(fs::rename(&inner, &moved).is_err());
    lock.release().expect("a held lock can be released");
    fs::rename(&inner, &moved).expect("no process has it open");
}
