//! A lock whose descriptor other processes have: it is free when the last of them has ended, and not
//! before.
#![cfg(all(target_os = "linux", not(rvlf_unsupported)))]

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use rvlf::{
    CancelToken, HoldError, LockFile, LockOptions, LockState, Released, WriterLock, lock_path_for,
};
use support::{Role, is_absent, scratch};

const MINUTE: Duration = Duration::from_secs(60);

/// What a command has left behind: it runs until its input ends, and has the descriptor.
struct Leftover {
    starter: Child,
    input: ChildStdin,
}

/// Lends the lock to a command that starts a process and ends. Returns when the command has ended.
fn leave_a_process_behind(lock: &WriterLock) -> Leftover {
    // Not a shell with a process in the background, whose input it would have to keep under a number: that
    // of the lock file, now and then.
    let mut command = Command::new("setsid");
    command.args(["--fork", "sh", "-c", "echo started; exec cat >/dev/null"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    lock.lend_to(&mut command).expect("the lock is held");
    let mut starter = command.spawn().expect("util-linux is installed");
    let input = starter.stdin.take().expect("it is a pipe");
    let mut line = String::new();
    let output = starter.stdout.take().expect("it is a pipe");
    BufReader::new(output).read_line(&mut line).expect("a line");
    assert_eq!(line, "started\n");
    starter.wait().expect("it is a child of this process");
    Leftover { starter, input }
}

impl Leftover {
    fn end(self) {
        drop(self.input);
        drop(self.starter);
    }
}

fn acquire(data: &Path) -> WriterLock {
    WriterLock::try_acquire(data).expect("no other process holds it")
}

// A shell that ends before the writer that it has started: released with the shell, the lock was
// acquired by the next one while that writer wrote.
#[test]
fn a_lock_is_not_free_before_what_the_child_has_started_has_ended() {
    let dir = scratch();
    let data = dir.path().join("data");
    let lock = acquire(&data);
    let leftover = leave_a_process_behind(&lock);
    let released = lock.release().expect("the lock was held");
    assert_eq!(released, Released::StillOpen);
    // For this process and for others.
    let error = WriterLock::try_acquire(&data).expect_err("the writer still runs");
    assert!(error.is_held(), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("released by this process") && text.ends_with("wait until they have ended"),
        "{text}"
    );
    let lock_file = rvlf::LockFile::open(&data).expect("the directory is there");
    let text = lock_file
        .break_stale()
        .expect_err("the writer still runs")
        .to_string();
    assert!(
        !text.contains("end process"),
        "that would be this one: {text}"
    );
    let mut other = Role::worker(&data).ready();
    other.expect("try", "held");
    leftover.end();
    let next = WriterLock::acquire(&data, MINUTE).expect("the last process has ended");
    assert!(next.reclaimed().is_some());
}

#[test]
fn a_lent_lock_is_free_at_once_when_no_process_has_the_descriptor() {
    let dir = scratch();
    let data = dir.path().join("data");
    let lock = acquire(&data);
    let mut command = Command::new("true");
    lock.lend_to(&mut command).expect("the lock is held");
    assert!(command.status().expect("it is installed").success());
    // The command is still there, and its descriptor keeps no lock.
    assert_eq!(lock.release().expect("the lock was held"), Released::Free);
    assert!(is_absent(&lock_path_for(&data)));
    command.status().expect_err("there is nothing to inherit");
}

// A server lends as root, and gives root up. It may unlink in its own directory, and not write root's file.
#[test]
fn a_lent_lock_is_released_by_a_user_who_may_only_read_its_file() {
    if !nix::unistd::geteuid().is_root() {
        return support::skip("only root can become another user");
    }
    for time in [Duration::ZERO, MINUTE] {
        let dir = scratch();
        let lock = acquire(&dir.path().join("data"));
        for (path, mode) in [(dir.path(), 0o777), (lock.lock_path(), 0o644)] {
            let set = std::fs::set_permissions(path, Permissions::from_mode(mode));
            set.expect("the file is this user's");
        }
        drop(lock.try_clone_descriptor().expect("the lock is held"));
        let released = std::thread::spawn(move || {
            // Of this thread alone.
            nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65534));
            let released = lock.release_within(time, &CancelToken::new());
            released.expect("the lock was held")
        });
        assert_eq!(released.join().expect("no panic"), Released::Free);
    }
}

/// Runs `body` on a thread that is not root's.
fn as_ordinary_user<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let body = scope.spawn(|| {
            if nix::unistd::geteuid().is_root() {
                // Of this thread alone.
                nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65534));
            }
            body()
        });
        body.join().expect("no panic")
    })
}

/// Runs `body` on a thread that may not change what is in `dir`.
fn where_nothing_may_be_removed<T: Send>(dir: &Path, body: impl FnOnce() -> T + Send) -> T {
    let set_mode = |mode| {
        let set = std::fs::set_permissions(dir, Permissions::from_mode(mode));
        set.expect("the directory is this user's");
    };
    set_mode(0o555);
    let ended = as_ordinary_user(body);
    set_mode(0o755);
    ended
}

// The release closes the descriptor before it unlinks. It said that the lock was still held, every check
// of the guard agreed, also when another writer had the lock, and a second release reported the lock as
// free with its file in place.
#[test]
fn a_lent_lock_whose_release_fails_is_lost_and_says_so() {
    let dir = scratch();
    let data = dir.path().join("data");
    let (sender, losses) = std::sync::mpsc::channel();
    let options = LockOptions::new().keepalive(None).mode(0o644);
    let options = options.on_lost(move |lost| {
        let _ = sender.send(lost.reason.clone());
    });
    let lock = options.try_acquire(&data).expect("it is free");
    drop(options);
    drop(lock.try_clone_descriptor().expect("the lock is held"));
    let error = where_nothing_may_be_removed(dir.path(), || {
        let released = lock.release();
        released.expect_err("the lock file may not be removed")
    });
    let text = error.to_string();
    assert!(text.contains("could not unlink the lock file"), "{text}");
    assert!(text.ends_with("; the lock is not held any more"), "{text}");
    assert!(error.lock.is_lost());
    error.lock.check().expect_err("its descriptor is closed");
    error.lock.refresh().expect_err("its descriptor is closed");

    let again = error.lock.release().expect_err("its file is still there");
    assert!(matches!(again.error, HoldError::Lost(_)), "{again}");
    let next = acquire(&data);
    again.lock.check().expect_err("another guard has the lock");
    drop(again);
    next.check().expect("the lock is held");
    next.release().expect("the lock is held");
    assert_eq!(losses.recv().ok(), None, "the caller has the error");
}

// The release of a lent lock opens the file anew. It failed each time, the drop left the file, and no
// process of the user could recover the lock.
#[test]
fn a_lock_whose_file_its_own_user_may_not_read_is_not_lent() {
    for mode in [0o000, 0o200] {
        let dir = scratch();
        let data = dir.path().join("data");
        let set = std::fs::set_permissions(dir.path(), Permissions::from_mode(0o777));
        set.expect("the directory is this user's");
        as_ordinary_user(|| {
            let options = LockOptions::new().keepalive(None).mode(mode);
            let lock = options.try_acquire(&data).expect("it is free");
            let refused = lock.lend_to(&mut Command::new("true"));
            let error = refused.expect_err("no release would succeed");
            assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
            assert!(error.to_string().contains("LockOptions::mode"), "{error}");
            lock.try_clone_descriptor().expect_err("the same");
            assert_eq!(lock.release().expect("the lock was held"), Released::Free);
        });
        assert!(is_absent(&lock_path_for(&data)));
    }
}

#[test]
fn a_dropped_lock_is_left_to_the_processes_that_have_the_descriptor() {
    let dir = scratch();
    let data = dir.path().join("data");
    let lock = acquire(&data);
    let leftover = leave_a_process_behind(&lock);
    drop(lock);
    let state = rvlf::inspect(&data).expect("it can be read");
    assert!(matches!(state, LockState::Held(_)), "{state}");
    leftover.end();
}

#[test]
fn a_copy_of_the_descriptor_in_the_same_process_keeps_the_lock_too() {
    let dir = scratch();
    let data = dir.path().join("data");
    let lock = acquire(&data);
    let copy = lock.try_clone_descriptor().expect("the lock is held");
    let released = lock.release().expect("the lock was held");
    assert_eq!(released, Released::StillOpen);
    WriterLock::try_acquire(&data).expect_err("the copy is open");
    drop(copy);
    // A child that another test has forked may have the descriptor until it calls exec.
    let lock = WriterLock::acquire(&data, MINUTE).expect("the copy is closed");
    assert!(lock.reclaimed().is_some());
}

#[test]
fn a_release_waits_for_what_the_child_has_started() {
    let dir = scratch();
    let data = dir.path().join("data");
    let lock = acquire(&data);
    let leftover = leave_a_process_behind(&lock);
    let waiting = std::thread::spawn(move || {
        let released = lock.release_within(MINUTE, &CancelToken::new());
        released.expect("the lock was held")
    });
    leftover.end();
    assert_eq!(waiting.join().expect("no panic"), Released::Free);
    assert!(is_absent(&lock_path_for(&data)));
}

#[test]
fn a_release_that_waits_ends_at_once_when_it_is_cancelled() {
    let dir = scratch();
    let data = dir.path().join("data");
    let lock = acquire(&data);
    let leftover = leave_a_process_behind(&lock);
    let token = CancelToken::new();
    token.cancel();
    let released = lock.release_within(Duration::MAX, &token);
    assert_eq!(released.expect("the lock was held"), Released::StillOpen);
    leftover.end();
    let file = LockFile::open(&data).expect("the directory is there");
    file.wait_until_free(MINUTE)
        .expect("the last process has ended");
}

// The holder's file is gone: what is at the path belongs to the next holder.
#[test]
fn the_release_of_a_lent_lock_leaves_a_successors_file_alone() {
    let dir = scratch();
    let data = dir.path().join("data");
    let lock = acquire(&data);
    let leftover = leave_a_process_behind(&lock);
    std::fs::remove_file(lock_path_for(&data)).expect("a person removes it");
    let mut next = Role::worker(&data).ready();
    next.expect("try", "got");
    let error = lock.release().expect_err("the lock was lost");
    assert!(matches!(error.error, HoldError::Lost(_)), "{error}");
    assert!(!is_absent(&lock_path_for(&data)));
    next.expect("release", "released");
    leftover.end();
}
