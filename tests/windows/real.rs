//! What wine does not show, and what the lock's promises on Windows rest on. Each test is ignored but for
//! the workflow's job on Windows, which runs them (`cargo test -p rvlf-windows-tests -- --include-ignored`).
//! Not run yet on a machine of this project.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::windows::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

use rvlf::WriterLock;

use crate::role::Process;
use crate::{names_in, scratch};

const GENERIC_READ: u32 = 0x8000_0000;
const DELETE: u32 = 0x0001_0000;
const SHARE_READ: u32 = 1;
const SHARE_READ_DELETE: u32 = 5;
const SHARE_ALL: u32 = 7;

const ERROR_ACCESS_DENIED: i32 = 5;
const ERROR_SHARING_VIOLATION: i32 = 32;

fn open(path: &Path, access: u32, share: u32) -> io::Result<File> {
    OpenOptions::new()
        .access_mode(access)
        .share_mode(share)
        .open(path)
}

#[track_caller]
fn refused(outcome: io::Result<impl Sized>, what: &str) {
    let error = outcome
        .err()
        .unwrap_or_else(|| panic!("not refused: {what}"));
    let code = error.raw_os_error();
    let expected = [Some(ERROR_SHARING_VIOLATION), Some(ERROR_ACCESS_DENIED)];
    assert!(expected.contains(&code), "{what}: {error}");
}

// The share mode belongs to the open file, and not to the name under which it was opened: if NTFS forgot it
// at the rename to the lock path, no holder would exclude anything.
#[test]
#[ignore = "for Windows itself: wine has no NTFS"]
fn a_file_that_was_renamed_to_the_lock_path_refuses_what_its_handle_does_not_share() {
    let (directory, data) = scratch();
    let lock = WriterLock::try_acquire(&data).expect("the lock is free");
    let path = lock.lock_path();
    refused(
        open(path, GENERIC_READ | DELETE, SHARE_READ_DELETE),
        "an examiner's open",
    );
    refused(
        open(path, GENERIC_READ, SHARE_READ),
        "the open of an examiner that may not delete the file",
    );
    refused(
        open(path, GENERIC_READ | DELETE, SHARE_READ),
        "a breaker's open",
    );
    refused(fs::remove_file(path), "a deletion");
    refused(fs::rename(path, directory.path().join("aside")), "a rename");
    let other = directory.path().join("other");
    fs::write(&other, "other").expect("there is room");
    refused(fs::rename(&other, path), "a rename over it");
    refused(File::create(path), "a truncation");
    fs::read(path).expect("a read that shares everything");
    lock.release().expect("a held lock can be released");
}

// Another name of the same file leads past the lock path, not past the share mode.
#[test]
#[ignore = "for Windows itself: wine has no NTFS"]
fn an_open_for_deletion_by_another_hard_link_is_refused() {
    let (directory, data) = scratch();
    let lock = WriterLock::try_acquire(&data).expect("the lock is free");
    let link = directory.path().join("link");
    if fs::hard_link(lock.lock_path(), &link).is_ok() {
        refused(
            open(&link, GENERIC_READ | DELETE, SHARE_READ),
            "a breaker's open",
        );
        refused(
            open(&link, GENERIC_READ | DELETE, SHARE_READ_DELETE),
            "an examiner's open",
        );
        fs::remove_file(&link).ok();
    }
    lock.check()
        .expect("the name at the lock path is untouched");
}

// Only deletion-sharing is at stake here, which Windows may count by the name: an examiner does not rely on it
// alone. A failure of this test costs one of two witnesses, and no lock.
#[test]
#[ignore = "for Windows itself: wine has no NTFS"]
fn deletion_that_a_holder_does_not_share_is_refused_at_the_new_name_and_by_another_hard_link() {
    let (directory, data) = scratch();
    let lock = WriterLock::try_acquire(&data).expect("the lock is free");
    let path = lock.lock_path();
    refused(open(path, DELETE, SHARE_ALL), "a deletion at the lock path");
    let link = directory.path().join("link");
    if fs::hard_link(path, &link).is_ok() {
        refused(open(&link, DELETE, SHARE_ALL), "a deletion by a hard link");
        fs::remove_file(&link).ok();
    }
}

// A child that has the handle keeps the removed file alive. If it kept the name as well, no other process
// could publish.
#[test]
#[ignore = "for Windows itself: wine has no NTFS"]
fn the_path_is_free_at_once_although_a_reader_has_the_file_open() {
    let (directory, data) = scratch();
    for share in [SHARE_ALL, SHARE_ALL ^ 2] {
        let lock = WriterLock::try_acquire(&data).expect("the lock is free");
        let Ok(reader) = open(lock.lock_path(), GENERIC_READ, share) else {
            // A reader that does not share writing is refused by the holder's own access.
            continue;
        };
        lock.release().expect("a held lock can be released");
        let again = WriterLock::try_acquire(&data).expect("the path is free");
        again.release().expect("a held lock can be released");
        drop(reader);
    }
    assert_eq!(names_in(directory.path()), [""; 0]);
}

// A deleted file whose name stays until its last handle is closed: neither an error nor a lock.
#[test]
#[ignore = "for Windows itself: wine has no NTFS"]
fn a_lock_file_that_another_program_has_deleted_while_it_is_open_is_not_held_for_ever() {
    let (_directory, data) = scratch();
    let mut holder = Process::worker(&data);
    holder.ask("acquire");
    holder.kill();
    let path = rvlf::lock_path_for(&data);
    let reader = open(&path, GENERIC_READ, SHARE_ALL).expect("no process has it open");
    fs::remove_file(&path).expect("no process has it open");
    let outcome = WriterLock::try_acquire(&data);
    let is_answer = outcome
        .as_ref()
        .map_or_else(|error| error.is_held(), |_| true);
    assert!(is_answer, "{outcome:?}");
    drop((outcome, reader));
    WriterLock::try_acquire(&data)
        .expect("the last handle is closed")
        .release()
        .expect("it is held");
}

// Contenders judge by the time of the file, which NTFS may set only when the writer closes it.
#[test]
#[ignore = "for Windows itself: wine has no NTFS"]
fn a_refresh_shows_in_the_time_of_the_file_while_the_holder_has_it_open() {
    let (_directory, data) = scratch();
    let lock = WriterLock::try_acquire(&data).expect("the lock is free");
    let reader = open(lock.lock_path(), GENERIC_READ, SHARE_ALL).expect("any program may read it");
    let before = SystemTime::now();
    std::thread::sleep(std::time::Duration::from_millis(50));
    lock.refresh().expect("the lock is held");
    let seen = reader.metadata().and_then(|seen| seen.modified());
    assert!(seen.expect("it can be read") > before);
    lock.release().expect("a held lock can be released");
}

// The temporary directory of the job's machine is on NTFS. A volume that is not counted as local would be
// judged by age, and no death would be seen at once.
#[test]
#[ignore = "for Windows itself: wine has no NTFS"]
fn the_system_volume_is_local() {
    let (_directory, data) = scratch();
    let lock = WriterLock::try_acquire(&data).expect("the lock is free");
    assert!(lock.file_system().is_local());
    lock.release().expect("a held lock can be released");
}

// The administrative share of the machine itself: the same files by way of the network.
#[test]
#[ignore = "for Windows itself: wine has no SMB"]
fn a_volume_that_is_reached_by_a_share_is_not_local() {
    let (_directory, data) = scratch();
    let local = data
        .to_str()
        .expect("temporary directories have names that are text");
    let Some((drive, rest)) = local.split_once(":\\") else {
        panic!("a temporary directory is on a drive: {local}");
    };
    let remote = format!(r"\\localhost\{drive}$\{rest}");
    match WriterLock::try_acquire(&remote) {
        Ok(lock) => {
            assert!(!lock.file_system().is_local());
            // The same file, whichever way it is reached.
            assert!(WriterLock::try_acquire(&data).is_err_and(|error| error.is_held()));
            lock.release().expect("a held lock can be released");
        }
        Err(error) => assert!(!error.is_held(), "no administrative shares here: {error}"),
    }
}

// A file that only its creator may delete: its state is reported, and it is not broken.
#[test]
#[ignore = "for Windows itself: wine has no access control lists"]
fn a_lock_that_this_user_may_not_delete_is_reported_and_not_broken() {
    let (_directory, data) = scratch();
    let mut holder = Process::worker(&data);
    holder.ask("acquire");
    holder.kill();
    let path = rvlf::lock_path_for(&data);
    let deny = |rights: &str| {
        let mut icacls = std::process::Command::new("icacls");
        let user = std::env::var("USERNAME").expect("Windows sets it");
        icacls
            .arg(&path)
            .args(["/deny", &format!("{user}:({rights})")])
            .status()
    };
    assert!(deny("D").is_ok_and(|status| status.success()));
    let state = rvlf::inspect(&data).expect("it can be read");
    assert!(state.holder().is_some(), "{state:?}");
    if let Err(error) = WriterLock::try_acquire(&data) {
        // Where the directory gives the right to delete its children, the lock is acquired.
        assert!(
            error.is_held() || error.to_string().contains("may not delete the lock file"),
            "{error}"
        );
    }
}

// POSIX semantics or not: what a release has removed is gone when it returns.
#[test]
#[ignore = "for Windows itself: wine has no NTFS"]
fn a_release_leaves_nothing_at_the_path() {
    let (directory, data) = scratch();
    for _ in 0..100 {
        let lock = WriterLock::try_acquire(&data).expect("the lock is free");
        let path = lock.lock_path().to_owned();
        lock.release().expect("a held lock can be released");
        let found = fs::symlink_metadata(&path);
        assert!(found.is_err_and(|error| error.kind() == ErrorKind::NotFound));
    }
    assert_eq!(names_in(directory.path()), [""; 0]);
}
