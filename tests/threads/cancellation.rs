//! Cancellation against completion: a wait ends at once, and what it acquires is handed out or released.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use rvlf_threads::{AcquireError, CancelToken, LockFuture, Released, WriterLock};
use virtual_std::sync::{Condvar, Mutex};
use virtual_std::thread::JoinHandle;
use virtual_std::{Search, run, search, thread};

use crate::place::{PATIENCE, Place, come_later, plain};

/// Cancels the token in another thread.
fn cancel_elsewhere(token: &CancelToken) -> JoinHandle<()> {
    let token = token.clone();
    thread::spawn(move || token.cancel())
}

/// Releases the lock in another thread.
fn release_elsewhere(held: WriterLock) -> JoinHandle<Released> {
    thread::spawn(move || held.release().expect("the lock is held"))
}

/// A waiter with a token, a thread that cancels it, and a holder that releases.
fn cancel_a_wait(place: &Place) -> (Result<WriterLock, AcquireError>, Duration) {
    let data = place.data("data");
    let held = plain().try_acquire(&data).expect("the lock is free");
    let token = CancelToken::new();
    let canceller = cancel_elsewhere(&token);
    let releaser = release_elsewhere(held);
    let waited = plain().cancel_token(&token).acquire(&data, PATIENCE);
    let took = run::now();
    if let Err(error) = &waited {
        assert!(error.is_cancelled(), "{error}");
    }
    canceller.join().expect("it does not panic");
    releaser.join().expect("it does not panic");
    (waited, took)
}

// The caller of a cancelled wait has no guard to drop. What its thread acquires at that moment, or when
// it comes back from a mount that hangs, must be released.
fn a_cancelled_wait_leaves_no_hold(search: Search) {
    let place = Place::new();
    search.run(move || {
        let (waited, _) = cancel_a_wait(&place);
        drop(waited);
        come_later(&place.data("data"));
    });
}

#[test]
fn a_cancelled_wait_returns_the_lock_or_leaves_it_free() {
    a_cancelled_wait_leaves_no_hold(search());
}

// The thread of the wait is so slow that its caller leaves it behind.
#[test]
fn a_cancelled_wait_that_is_left_behind_leaves_the_lock_free() {
    a_cancelled_wait_leaves_no_hold(search().with_slow_threads());
}

// A cancellation between the look at the token and the poll of its pipe must not be slept through: without
// the wake-up the wait ends with its next poll, a second later.
#[test]
fn a_cancelled_wait_ends_at_once() {
    let place = Place::new();
    search().run(move || {
        let data = place.data("data");
        let held = plain().try_acquire(&data).expect("the lock is free");
        let token = CancelToken::new();
        let canceller = cancel_elsewhere(&token);
        let waited = plain().cancel_token(&token).acquire(&data, PATIENCE);
        assert!(waited.is_err_and(|error| error.is_cancelled()));
        assert_eq!(run::now(), Duration::ZERO, "it slept on");
        canceller.join().expect("it does not panic");
        held.release().expect("the lock is held");
    });
}

/// Sets a flag and wakes who waits for it.
#[derive(Default)]
struct Flag {
    is_set: Mutex<bool>,
    set: Condvar,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        *self.is_set.lock().expect("it is not poisoned") = true;
        self.set.notify_all();
    }
}

type Acquiring = LockFuture<WriterLock, AcquireError>;

/// Polls as an executor does, with another waker each time.
fn block_on(mut future: Pin<&mut Acquiring>) -> Result<WriterLock, AcquireError> {
    loop {
        let flag = Arc::new(Flag::default());
        let waker = Waker::from(flag.clone());
        if let Poll::Ready(outcome) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return outcome;
        }
        let mut is_set = flag.is_set.lock().expect("it is not poisoned");
        while !*is_set {
            is_set = flag.set.wait(is_set).expect("it is not poisoned");
        }
    }
}

// An executor that is not woken polls no more, and the task hangs with the lock.
#[test]
fn a_future_is_woken_by_its_latest_waker_when_the_lock_is_there() {
    let place = Place::new();
    search().run(move || {
        let data = place.data("data");
        let held = plain().try_acquire(&data).expect("the lock is free");
        let releaser = release_elsewhere(held);
        let mut future = pin!(plain().acquire_async(&data, PATIENCE));
        // As `select!` does: it is polled for another branch.
        let mut context = Context::from_waker(Waker::noop());
        let lock = match future.as_mut().poll(&mut context) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => block_on(future),
        };
        lock.expect("the holder releases")
            .release()
            .expect("the lock is held");
        releaser.join().expect("it does not panic");
    });
}

// A future that is dropped may acquire the lock at that moment.
#[test]
fn a_future_that_is_dropped_leaves_the_lock_free() {
    let place = Place::new();
    search().run(move || {
        let data = place.data("data");
        let held = plain().try_acquire(&data).expect("the lock is free");
        let releaser = release_elsewhere(held);
        let mut future = plain().acquire_async(&data, Duration::MAX);
        let mut context = Context::from_waker(Waker::noop());
        let polled = Pin::new(&mut future).poll(&mut context);
        drop(polled);
        run::step();
        drop(future);
        releaser.join().expect("it does not panic");
        come_later(&data);
        // Else its thread waits on, for the next lock that no caller knows of.
        let held = plain().try_acquire(&data).expect("the lock is free");
        thread::sleep(PATIENCE);
        held.release().expect("the lock is held");
    });
}
