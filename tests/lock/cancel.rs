//! Waits that are cancelled, by a token or by dropping their future.
#![cfg(all(target_os = "linux", not(rvlf_portable), not(rvlf_unsupported)))]

use std::fs;
use std::future::Future;
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use rvlf::{AcquireError, CancelToken, LockFile, LockOptions, LockState, WaitError, WriterLock};
use support::{fork, is_absent, join, scratch, thread_names, until};

const WAITER: &str = "rvlf-wait";

fn cancellable(token: &CancelToken) -> LockOptions {
    LockOptions::new().cancel_token(token)
}

// A service that is stopped while it waits for the lock would hang until the holder releases.
#[test]
fn a_cancelled_wait_returns_although_the_lock_stays_held() {
    let dir = scratch();
    let data = dir.path().join("data");
    let held = WriterLock::try_acquire(&data).expect("no other holder");
    let token = CancelToken::new();
    let (options, path) = (cancellable(&token), data.clone());
    let waiter = thread::spawn(move || options.acquire(&path, Duration::MAX));
    until("the waiter waits", || {
        thread_names().iter().any(|name| name == WAITER)
    });
    token.cancel();
    let error = waiter
        .join()
        .expect("no panic")
        .expect_err("the lock is held");
    assert!(error.is_cancelled() && !error.is_held(), "{error}");
    assert!(
        matches!(error, AcquireError::Cancelled { lock_path } if lock_path == held.lock_path())
    );
    held.check().expect("the holder is not disturbed");
    held.release().expect("the lock is held");
}

#[test]
fn a_wait_until_free_is_cancelled_like_an_acquisition() {
    let dir = scratch();
    let data = dir.path().join("data");
    let held = WriterLock::try_acquire(&data).expect("no other holder");
    let token = CancelToken::new();
    let file = LockFile::with_options(&data, cancellable(&token)).expect("the directory exists");
    let waiter = thread::spawn(move || file.wait_until_free(Duration::MAX));
    token.cancel();
    let outcome = waiter.join().expect("no panic");
    assert!(
        matches!(outcome, Err(WaitError::Cancelled { .. })),
        "{outcome:?}"
    );
    held.release().expect("the lock is held");
}

// With a token that is cancelled already, an acquisition must not create the lock file: a caller that
// is shutting down does not expect to have become the holder.
#[test]
fn a_token_that_is_cancelled_before_the_call_acquires_nothing() {
    let dir = scratch();
    let data = dir.path().join("data");
    let token = CancelToken::new();
    token.cancel();
    for outcome in [
        cancellable(&token).acquire(&data, Duration::MAX),
        cancellable(&token).try_acquire(&data),
    ] {
        let error = outcome.expect_err("the token is cancelled");
        assert!(error.is_cancelled(), "{error}");
    }
    assert!(is_absent(&rvlf::lock_path_for(&data)));
}

// The torn file's grace is 2 s for one attempt, and any length with a policy: a cancelled wait does not
// sit it out.
#[test]
fn a_wait_for_a_torn_file_is_cancelled() {
    let dir = scratch();
    let data = dir.path().join("data");
    fs::write(rvlf::lock_path_for(&data), b"FLVR").expect("the directory is writable");
    let token = CancelToken::new();
    let policy = rvlf::StalePolicy::new().with_malformed_grace(Duration::MAX);
    let (options, path) = (cancellable(&token).stale_policy(policy), data.clone());
    let waiter = thread::spawn(move || options.acquire(&path, Duration::MAX));
    token.cancel();
    let error = waiter
        .join()
        .expect("no panic")
        .expect_err("the file is torn");
    assert!(error.is_cancelled(), "{error}");
    assert_eq!(
        fs::read(rvlf::lock_path_for(&data)).expect("the file still exists"),
        b"FLVR"
    );
}

// The attempt ends early when it is cancelled. The file that it saw then is no holder: "held" would
// send the caller of a cancelled call to wait for a process that does not exist.
#[test]
fn an_attempt_that_is_cancelled_in_the_grace_of_a_torn_file_reports_no_holder() {
    let dir = scratch();
    let data = dir.path().join("data");
    fs::write(rvlf::lock_path_for(&data), b"FLVR").expect("the directory is writable");
    let policy = rvlf::StalePolicy::new().with_malformed_grace(Duration::MAX);
    for timeout in [None, Some(Duration::ZERO)] {
        let token = CancelToken::new();
        let (options, path) = (cancellable(&token).stale_policy(policy), data.clone());
        let contender = thread::spawn(move || match timeout {
            None => options.try_acquire(&path),
            Some(timeout) => options.acquire(&path, timeout),
        });
        until("the attempt pauses", || {
            thread_names().iter().any(|name| name == WAITER)
        });
        token.cancel();
        let error = contender
            .join()
            .expect("no panic")
            .expect_err("the file is torn");
        assert!(error.is_cancelled(), "{error}");
    }
}

// One token stops all waits of a program.
#[test]
fn clones_of_a_token_cancel_every_wait_together() {
    let dir = scratch();
    let data = dir.path().join("data");
    let held = WriterLock::try_acquire(&data).expect("no other holder");
    let token = CancelToken::new();
    let waiters: Vec<_> = (0..8)
        .map(|_| {
            let (options, path) = (cancellable(&token.clone()), data.clone());
            thread::spawn(move || options.acquire(&path, Duration::MAX))
        })
        .collect();
    token.cancel();
    for waiter in waiters {
        let error = waiter
            .join()
            .expect("no panic")
            .expect_err("the lock is held");
        assert!(error.is_cancelled(), "{error}");
    }
    held.release().expect("the lock is held");
}

// Parent and child share the pipe of a token. If the child's copy wrote to it, the parent's waiters
// would find the pipe readable and the token not cancelled, again and again.
#[test]
fn a_forked_childs_copy_of_a_token_does_not_cancel_the_parents_waits() {
    let dir = scratch();
    let data = dir.path().join("data");
    let held = WriterLock::try_acquire(&data).expect("no other holder");
    let token = CancelToken::new();
    let copy = token.clone();
    let child = fork(move || {
        copy.cancel();
        copy.is_cancelled()
    });
    join(child, "the child's copy is cancelled in the child");
    assert!(!token.is_cancelled());
    let (sender, acquired) = mpsc::channel();
    let (options, path) = (cancellable(&token), data.clone());
    let waiter = thread::spawn(move || {
        let lock = options
            .acquire(&path, Duration::MAX)
            .expect("not cancelled");
        sender.send(()).expect("the test waits for it");
        lock.release().expect("the lock is held");
    });
    held.release().expect("the lock is held");
    acquired.recv().expect("the waiter gets the lock");
    waiter.join().expect("no panic");
}

// `select!` drops the branch that lost. A thread that went on waiting would take the lock later, for
// no caller.
#[test]
fn dropping_the_future_of_a_wait_ends_its_thread_and_leaves_no_lock_file() {
    let dir = scratch();
    let data = dir.path().join("data");
    let held = WriterLock::try_acquire(&data).expect("no other holder");
    {
        let future = pin!(WriterLock::acquire_async(&data, Duration::MAX));
        let mut context = Context::from_waker(Waker::noop());
        assert!(matches!(future.poll(&mut context), Poll::Pending));
    }
    until("the thread of the wait ends", || {
        !thread_names().iter().any(|name| name == WAITER)
    });
    held.release().expect("the lock is held");
    assert!(
        is_absent(&rvlf::lock_path_for(&data)),
        "no late acquisition"
    );
}

// `select!` drops a future that has just recovered the lock of a dead writer, and releases it: no program was told that
// the store needs its recovery.
#[test]
fn a_future_that_is_dropped_takes_no_report_of_a_crash_with_it() {
    let dir = scratch();
    let data = dir.path().join("data");
    for polled_until_held in [true, false] {
        let dead = support::plant_left_behind(&data);
        {
            let future = pin!(WriterLock::acquire_async(&data, Duration::MAX));
            let mut context = Context::from_waker(Waker::noop());
            assert!(matches!(future.poll(&mut context), Poll::Pending));
            if polled_until_held {
                let is_held = || matches!(rvlf::inspect(&data), Ok(LockState::Held(_)));
                until("the future has the lock", is_held);
            }
        }
        until("the thread of the wait ends", || {
            !thread_names().iter().any(|name| name == WAITER)
        });
        let lock = WriterLock::try_acquire(&data).expect("no process holds it");
        let reclaimed = lock.reclaimed().and_then(|reclaimed| reclaimed.record);
        let id = reclaimed.map(|record| record.writer_id());
        assert_eq!(id, Some(dead.writer_id()), "{polled_until_held}");
        lock.release().expect("the lock is held");
    }
}
