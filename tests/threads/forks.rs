//! Forks at any moment: the child has one thread, and mutexes that the others had locked.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use rvlf_threads::{LossReason, WriterLock, lock_path_for};
use virtual_std::{run, search, thread};

use crate::place::{Place, come_later, every, plain};

const OFTEN: Duration = Duration::from_millis(1);

/// What a child does with its parent's lock.
fn use_the_copy(copy: WriterLock) {
    let lost = copy.check().expect_err("the parent has the lock");
    assert_eq!(lost.reason, LossReason::Forked);
    assert!(copy.is_lost() && copy.refresh().is_err());
    assert_eq!(copy.writer_id(), copy.record().writer_id());
    assert!(copy.try_clone_descriptor().is_err());
    drop(copy);
}

// A mutex that a thread of the parent had locked at the moment of the fork is never unlocked in the child.
#[test]
fn a_childs_copy_of_a_lock_that_is_refreshed_neither_hangs_nor_releases_it() {
    let place = Place::new();
    search().with_slow_threads().run(move || {
        let data = place.data("data");
        let lock = every(OFTEN).try_acquire(&data).expect("the lock is free");
        thread::sleep(OFTEN);
        let mut lock = Some(lock);
        run::fork(|| use_the_copy(lock.take().expect("the child has a copy")));
        let lock = lock.expect("the parent has a lock of its own");
        lock.check().expect("the child has left it alone");
        lock.release().expect("the lock is held");
    });
}

// The thread for the callback locks a mutex of its channel before it sleeps.
#[test]
fn a_childs_copy_of_a_lock_with_a_callback_does_not_hang() {
    let place = Place::new();
    search().with_slow_threads().run(move || {
        let options = plain().on_lost(|_| {});
        let lock = options.try_acquire(place.data("data"));
        let mut lock = Some(lock.expect("the lock is free"));
        run::fork(|| use_the_copy(lock.take().expect("the child has a copy")));
        let lock = lock.expect("the parent has a lock of its own");
        lock.release().expect("the lock is held");
    });
}

// The keepalive of the parent has no thread in the child, and may be locked.
#[test]
fn a_child_acquires_and_refreshes_a_lock_of_its_own() {
    let place = Place::new();
    search().with_slow_threads().run(move || {
        let (of_parent, of_child) = (place.data("parents"), place.data("childs"));
        let other = of_parent.clone();
        let busy = thread::spawn(move || {
            for _ in 0..2 {
                let options = every(OFTEN).on_lost(|_| {});
                let lock = options.try_acquire(&other).expect("the lock is free");
                lock.check().expect("the lock is held");
                lock.release().expect("the lock is held");
            }
        });
        run::fork(|| {
            let interval = Duration::from_secs(2);
            let options = every(interval).on_lost(|_| {});
            let own = options.try_acquire(&of_child).expect("the lock is free");
            let acquired = own.record().timestamp_ns();
            // Threads are slow here, but each goes on in the end.
            let refreshed = (0..500).any(|_| {
                thread::sleep(interval);
                own.record().timestamp_ns() != acquired
            });
            assert!(refreshed, "no thread refreshes it");
            own.release().expect("the lock is held");
        });
        busy.join().expect("it does not panic");
        assert!(!lock_path_for(&of_child).exists());
        come_later(&of_parent);
    });
}

// The thread of a wait may be putting its result in at the moment of the fork.
#[test]
fn a_child_drops_its_copy_of_a_future_of_its_parent() {
    let place = Place::new();
    search().with_slow_threads().run(move || {
        let data = place.data("data");
        let mut future = plain().acquire_async(&data, Duration::ZERO);
        let mut context = Context::from_waker(Waker::noop());
        drop(Pin::new(&mut future).poll(&mut context));
        let mut future = Some(future);
        run::fork(|| drop(future.take()));
        drop(future);
        come_later(&data);
    });
}

// What the threads of the parent were noting of their holds at the moment of the fork may be locked. A child
// that waits for the lock needs it, and inotify's instance of the last wait.
#[test]
fn a_child_that_waits_for_its_parents_lock_is_refused_in_time() {
    let place = Place::new();
    search().with_slow_threads().run(move || {
        let (data, other) = (place.data("data"), place.data("other"));
        let lock = plain().try_acquire(&data).expect("the lock is free");
        let busy = thread::spawn(move || {
            for _ in 0..2 {
                let short = Duration::from_millis(1);
                let held = Arc::new(plain().try_acquire(&other).expect("the lock is free"));
                assert!(plain().acquire(&other, short).is_err(), "it is held");
                std::fs::remove_file(lock_path_for(&other)).expect("the file exists");
                held.check().expect_err("it is lost");
            }
        });
        run::fork(|| {
            let waited = plain().acquire(&data, Duration::from_secs(1));
            assert!(waited.is_err_and(|error| error.is_held()), "it is held");
        });
        busy.join().expect("it does not panic");
        lock.release().expect("the lock is held");
    });
}
