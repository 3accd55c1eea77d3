//! The directory at the path is replaced: `mv d d.old; mkdir d`, as a deployment or a rotation does.
#![cfg(all(target_os = "linux", not(rvlf_portable), not(rvlf_unsupported)))]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rvlf::{
    HoldError, LockFile, LockOptions, LockState, LossReason, Record, WriterLock, lock_path_for,
};
use support::table::descriptors_of;
use support::{PATIENCE, Role, RoleEntry};

pub const ROLES: &[RoleEntry] = &[("moves its working directory", moves_its_working_directory)];

/// A directory that will be replaced, and the data file in it.
struct Site {
    root: tempfile::TempDir,
}

impl Site {
    fn new() -> Site {
        let root = support::scratch();
        fs::create_dir(root.path().join("d")).expect("the directory is writable");
        Site { root }
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("d")
    }

    fn old_dir(&self) -> PathBuf {
        self.root.path().join("d.old")
    }

    fn data(&self) -> PathBuf {
        self.dir().join("data")
    }

    /// Where the lock file of `data` is once the directory was renamed.
    fn old_lock(&self) -> PathBuf {
        lock_path_for(self.old_dir().join("data"))
    }

    fn rename(&self) {
        fs::rename(self.dir(), self.old_dir()).expect("the directory is writable");
    }

    fn replace(&self) {
        self.rename();
        fs::create_dir(self.dir()).expect("the directory is writable");
    }
}

fn acquire(data: &Path) -> WriterLock {
    WriterLock::try_acquire(data).expect("the lock is free")
}

// ---------------------------------------------------------------- contenders

// Before, the waiter obtained the lock of a file that its path did not lead to any more, at the same
// time as a contender that came later obtained the one at the path.
#[test]
fn a_waiter_follows_its_path_into_the_directory_that_took_its_place() {
    let site = Site::new();
    let first = acquire(&site.data());
    let data = site.data();
    let waiter = thread::spawn(move || WriterLock::acquire(&data, PATIENCE));
    support::until("the waiter has opened the directory", || {
        descriptors_of(&site.dir()) >= 2
    });
    site.replace();
    let second = acquire(&site.data());
    first
        .release()
        .expect_err("its path leads to another directory");
    second.check().expect("it is at the path");
    second.release().expect("it is at the path");
    let third = waiter.join().expect("it does not panic");
    let third = third.expect("every holder has released");
    assert!(third.lock_path().exists(), "it is at the path");
    third.check().expect("it is at the path");
    third.release().expect("it is at the path");
    let left = support::names_in(&site.old_dir());
    assert!(left.is_empty(), "left in the old directory: {left:?}");
}

// Without waiters: a handle that was opened before the directory was replaced.
#[test]
fn a_handle_sees_and_acquires_what_is_at_its_path() {
    let site = Site::new();
    let handle = LockFile::open(site.data()).expect("the directory is there");
    site.replace();
    let lock = acquire(&site.data());
    let is_held = |state| matches!(state, LockState::Held(_));
    assert!(is_held(handle.inspect().expect("it is there")));
    let waited = handle.wait_until_free(Duration::ZERO);
    assert!(is_held(waited.expect("it is there")));
    let refused = handle.try_acquire().expect_err("the lock is held");
    assert!(refused.is_held());
    lock.release().expect("the lock is held");
    let lock = handle.try_acquire().expect("the lock is free");
    assert!(lock.lock_path().exists(), "it is at the path");
}

// Before, who waits for the release at a path would learn of the release in a directory that the path does not
// lead to any more, while the lock at the path is held.
#[test]
fn a_wait_until_free_follows_its_path_into_the_directory_that_took_its_place() {
    let site = Site::new();
    let first = acquire(&site.data());
    let data = site.data();
    let waiter = thread::spawn(move || support::wait_until_free(&data, Duration::from_secs(1)));
    support::until("the waiter has opened the directory", || {
        descriptors_of(&site.dir()) >= 2
    });
    site.replace();
    let second = acquire(&site.data());
    fs::remove_file(site.old_lock()).expect("the directory is writable");
    drop(first);
    let seen = waiter.join().expect("it does not panic");
    let seen = seen.expect("the lock file can be inspected");
    let LockState::Held(holder) = seen else {
        panic!("the lock at the path is held: {seen:?}");
    };
    let seen = holder.record().expect("a whole record").writer_id();
    assert_eq!(seen, second.writer_id());
}

// `mv d d.old` and nothing in its place: a hold that no path leads to excludes no process.
#[test]
fn where_the_path_leads_nowhere_nothing_is_acquired() {
    let site = Site::new();
    let handle = LockFile::open(site.data()).expect("the directory is there");
    site.rename();
    let error = handle.try_acquire().expect_err("no path leads there");
    assert!(error.to_string().contains("open the directory"), "{error}");
    let left = support::names_in(&site.old_dir());
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// Its working directory is renamed with the data in it, and it goes somewhere else.
fn moves_its_working_directory() {
    let handle = LockFile::open("data").expect("the working directory is there");
    let deeper = LockFile::open("deeper/data").expect("the directory is there");
    let lock = acquire(Path::new("data"));
    let app = std::env::current_dir().expect("it has one");
    let old = app.with_file_name("app.old");
    fs::rename(&app, &old).expect("the directory is writable");
    fs::create_dir_all(app.join("deeper")).expect("the directory is writable");
    std::env::set_current_dir("/").expect("every user may");
    lock.check()
        .expect("the path is relative to what was moved");
    lock.release().expect("the lock is held");
    for (handle, name) in [(handle, "data.lock"), (deeper, "deeper/data.lock")] {
        let lock = handle.try_acquire().expect("the lock is free");
        lock.check()
            .expect("the path is relative to what was moved");
        assert!(old.join(name).exists(), "{name} is not where the data is");
        lock.release().expect("the lock is held");
    }
}

// `mv app app.old; mkdir app` under a program that was started in app: its relative paths lead to
// app.old, as those of its data do.
#[test]
fn relative_paths_go_with_the_working_directory_of_their_call() {
    let root = support::scratch();
    let app = root.path().join("app");
    fs::create_dir_all(app.join("deeper")).expect("the directory is writable");
    let role = Role::new("moves its working directory").in_directory(&app);
    role.start().finish();
}

// ---------------------------------------------------------------- holders

fn timestamp(path: &Path) -> Option<u64> {
    let bytes = fs::read(path).ok()?;
    let record = Record::decode(&bytes).ok()?;
    Some(record.timestamp_ns())
}

// Contenders by this path do not see the lock. But a deployment that is rolled back must not find a
// record that looks dead.
#[test]
fn a_holder_whose_path_leads_to_another_directory_reports_it_and_goes_on_refreshing() {
    let site = Site::new();
    let (sender, news) = channel();
    let options = LockOptions::new().keepalive(Some(Duration::from_millis(3)));
    let options = options.on_lost(move |lost| {
        let _ = sender.send(lost.reason.clone());
    });
    let lock = options.try_acquire(site.data()).expect("the lock is free");
    site.replace();
    let moved = Err(LossReason::Moved);
    assert_eq!(lock.check().map_err(|lost| lost.reason), moved);
    assert_eq!(lock.check().map_err(|lost| lost.reason), moved, "sticky");
    assert!(lock.is_lost());
    assert_eq!(news.recv_timeout(PATIENCE), Ok(LossReason::Moved));
    let before = timestamp(&site.old_lock());
    support::until("it goes on refreshing", || {
        timestamp(&site.old_lock()) > before
    });

    let error = lock.release().expect_err("it was reported as lost").error;
    assert!(matches!(error, HoldError::Lost(lost) if lost.reason == LossReason::Moved));
    assert!(!site.old_lock().exists(), "its own file is removed");
    assert!(!lock_path_for(site.data()).exists());
}

// The callback, which is promised once, was called for the move and again for the removal.
#[test]
fn a_moved_holder_whose_file_is_removed_has_lost_it_for_good() {
    let site = Site::new();
    let (sender, reports) = channel();
    let options = LockOptions::new().keepalive(None).on_lost(move |lost| {
        let _ = sender.send(lost.reason.clone());
    });
    let lock = options.try_acquire(site.data()).expect("the lock is free");
    drop(options);
    site.replace();
    let reason = |lock: &WriterLock| lock.check().expect_err("it is lost").reason;
    assert_eq!(reason(&lock), LossReason::Moved);
    fs::remove_file(site.old_lock()).expect("the directory is writable");
    fs::write(site.old_lock(), b"another program's").expect("the directory is writable");
    assert_eq!(reason(&lock), LossReason::Replaced(None));
    lock.refresh().expect_err("it is lost");
    drop(lock);
    assert!(site.old_lock().exists(), "another program's file stays");
    // Until no callback is left that could be called.
    let reports: Vec<_> = reports.iter().collect();
    assert_eq!(reports, [LossReason::Moved], "one call");
}

#[test]
fn a_directory_that_was_only_renamed_is_no_loss() {
    let site = Site::new();
    let lock = acquire(&site.data());
    site.rename();
    lock.check().expect("no contender can acquire by this path");
    lock.refresh().expect("the lock is held");
    lock.release().expect("the lock is held");
    assert!(!site.old_lock().exists(), "it was released");
}

// `cp -al d d.new; mv d d.old; mv d.new d`: contenders see the holder's file at the path.
#[test]
fn a_copy_of_the_directory_by_hard_links_is_no_loss() {
    let site = Site::new();
    let lock = acquire(&site.data());
    site.replace();
    fs::hard_link(site.old_lock(), lock.lock_path()).expect("the directory is writable");
    lock.check().expect("its file is at the path");
    lock.refresh().expect("its file is at the path");
}
