//! Guards: releases, losses and what is lent, while other threads refresh and check.

use std::collections::HashSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rvlf_threads::{CancelToken, LossReason, WriterLock, lock_path_for};
use virtual_std::sync::{Condvar, Mutex};
use virtual_std::{run, search, thread};

use crate::place::{PATIENCE, Place, age, come_later, every, plain, read};

/// So often that refreshes and the steps of the test meet.
const OFTEN: Duration = Duration::from_millis(1);

const SECOND: Duration = Duration::from_secs(1);

/// Counts calls of a callback.
#[derive(Default)]
struct Calls {
    count: Mutex<u32>,
    called: Condvar,
}

impl Calls {
    fn note(&self) {
        *self.count.lock().expect("it is not poisoned") += 1;
        self.called.notify_all();
    }

    /// Waits for the first call; the number of calls.
    fn wait(&self) -> u32 {
        let mut count = self.count.lock().expect("it is not poisoned");
        while *count == 0 {
            count = self.called.wait(count).expect("it is not poisoned");
        }
        *count
    }

    fn count(&self) -> u32 {
        *self.count.lock().expect("it is not poisoned")
    }
}

// A refresh that is under way keeps the lock alive. The caller of the drop expects it to be free.
#[test]
fn a_lock_that_is_dropped_during_a_refresh_is_free_at_once() {
    let place = Place::new();
    search().with_slow_threads().run(move || {
        let data = place.data("data");
        let lock = every(OFTEN).try_acquire(&data).expect("the lock is free");
        thread::sleep(OFTEN);
        drop(lock);
        let next = plain().try_acquire(&data);
        let next = next.expect("the lock is free");
        next.release().expect("the lock is held");
    });
}

// What the first holder's last refresh writes must not end up in the file of the next one.
#[test]
fn a_refresh_that_ends_late_leaves_the_next_holders_record_alone() {
    let place = Place::new();
    search().with_slow_threads().run(move || {
        let data = place.data("data");
        let first = every(OFTEN).try_acquire(&data).expect("the lock is free");
        let others = data.clone();
        let next = thread::spawn(move || {
            let lock = plain().acquire(&others, PATIENCE);
            let lock = lock.expect("the first holder releases");
            for _ in 0..3 {
                run::step();
                let record = read(&others).expect("the lock is held");
                assert_eq!(record.writer_id(), lock.writer_id());
            }
            lock.check().expect("the lock is held");
            lock.release().expect("the lock is held");
        });
        thread::sleep(OFTEN);
        first.release().expect("the lock is held");
        next.join().expect("its record stays");
    });
}

// A program that reacts to each call would react twice, and one that stops its writers at the first reason
// would see another one later.
#[test]
fn a_loss_is_reported_once_however_many_threads_find_it() {
    let place = Place::new();
    search().with_slow_threads().run(move || {
        let data = place.data("data");
        let calls = Arc::new(Calls::default());
        let noted = calls.clone();
        let options = every(OFTEN).on_lost(move |_| noted.note());
        let lock = Arc::new(options.try_acquire(&data).expect("the lock is free"));
        let finders = [0, 1].map(|finder| {
            let lock = lock.clone();
            thread::spawn(move || match finder {
                0 => drop(lock.check()),
                _ => drop(lock.refresh()),
            })
        });
        fs::remove_file(lock_path_for(&data)).expect("the file exists");
        for finder in finders {
            finder.join().expect("it does not panic");
        }
        let lost = lock.check().expect_err("the file is gone");
        assert_eq!(lost.reason, LossReason::Removed);
        calls.wait();
        // The rest of what might call it has ended.
        thread::sleep(PATIENCE);
        assert_eq!(calls.count(), 1);
    });
}

/// A lock in a place from which its callback drops it, after the loss that a thread of the keepalive finds.
fn drop_in_the_callback(place: &Place, most_threads: usize) {
    let data = place.data("data");
    let slot = Arc::new(Mutex::new(None::<WriterLock>));
    let calls = Arc::new(Calls::default());
    let (dropped, noted) = (slot.clone(), calls.clone());
    let options = every(OFTEN).on_lost(move |_| {
        let lock = dropped.lock().expect("it is not poisoned").take();
        drop(lock);
        noted.note();
    });
    let lock = options.try_acquire(&data).expect("the lock is free");
    *slot.lock().expect("it is not poisoned") = Some(lock);
    run::limit_threads(most_threads);
    fs::remove_file(lock_path_for(&data)).expect("the file exists");
    let successor = plain().try_acquire(&data).expect("the lock is free");
    assert_eq!(calls.wait(), 1);
    run::limit_threads(usize::MAX);
    successor.check().expect("a lost lock leaves it alone");
    successor.release().expect("the lock is held");
}

// A callback may block, and the program may have locked what the callback waits for.
#[test]
fn a_callback_is_called_on_a_thread_of_its_own() {
    let place = Place::new();
    search().with_slow_threads().run(move || {
        let data = place.data("data");
        let (calls, caller) = (Arc::new(Calls::default()), Arc::new(Mutex::new(None)));
        let (noted, called_by) = (calls.clone(), caller.clone());
        let options = plain().on_lost(move |_| {
            *called_by.lock().expect("it is not poisoned") = Some(thread::current().id());
            noted.note();
        });
        let lock = options.try_acquire(&data).expect("the lock is free");
        fs::remove_file(lock_path_for(&data)).expect("the file exists");
        lock.check().expect_err("the file is gone");
        calls.wait();
        let caller = caller.lock().expect("it is not poisoned").take();
        assert_ne!(caller, Some(thread::current().id()));
    });
}

// The callback of a loss drops the lock, as a program does that reopens its store. The thread that finds the
// loss has the lock's mutexes locked.
#[test]
fn a_callback_may_drop_the_lock() {
    let place = Place::new();
    search()
        .with_slow_threads()
        .run(move || drop_in_the_callback(&place, usize::MAX));
}

// At its limit of threads the process learns of the loss all the same.
#[test]
fn a_callback_may_drop_the_lock_also_when_no_thread_can_be_started() {
    let place = Place::new();
    search()
        .with_slow_threads()
        .run(move || drop_in_the_callback(&place, 0));
}

// Two locks with callbacks share a thread, which ends with the last of them. A lock that comes at that
// moment needs one, too.
#[test]
fn a_lock_that_comes_when_the_last_callback_goes_has_a_thread_for_its_own() {
    let place = Place::new();
    search().with_slow_threads().run(move || {
        let other = place.data("other");
        let first = plain().on_lost(|_| {}).try_acquire(&other);
        let first = first.expect("the lock is free");
        let ends = thread::spawn(move || drop(first));
        drop_in_the_callback(&place, 0);
        ends.join().expect("it does not panic");
    });
}

// Two threads share a lock: one lends the descriptor and the other gives the lock up, while a third
// refreshes. Who has the descriptor may still write.
#[test]
fn what_one_thread_lends_while_another_drops_the_lock_is_held_until_it_is_closed() {
    let place = Place::new();
    search().with_slow_threads().run(move || {
        let data = place.data("data");
        let lock = every(OFTEN).try_acquire(&data).expect("the lock is free");
        let lock = Arc::new(lock);
        let lender = {
            let lock = lock.clone();
            thread::spawn(move || lock.try_clone_descriptor())
        };
        drop(lock);
        let lent = lender.join().expect("it does not panic");
        let lent = lent.expect("the lender has the lock");
        let refused = plain().try_acquire(&data);
        assert!(refused.is_err_and(|error| error.is_held()), "two may write");
        drop(lent);
        come_later(&data);
    });
}

// A release that takes the lent file back and a refresh: the one waits for the other, and neither writes
// into the file of the next holder.
#[test]
fn a_lent_lock_that_is_returned_during_its_release_is_free() {
    let place = Place::new();
    search().with_slow_threads().run(move || {
        let data = place.data("data");
        let lock = every(OFTEN).try_acquire(&data).expect("the lock is free");
        let lent = lock.try_clone_descriptor().expect("the lock is held");
        let returns = thread::spawn(move || drop(lent));
        let released = lock.release_within(PATIENCE, &CancelToken::new());
        let released = released.expect("the lock is held");
        assert_eq!(released, rvlf_threads::Released::Free);
        assert!(!lock_path_for(&data).exists(), "it is removed");
        returns.join().expect("it does not panic");
        come_later(&data);
    });
}

// Deployed clients and other hosts judge by the age of the record: a release that waits for minutes must keep it
// young, as the hold did, and with as few writes.
#[test]
fn a_release_that_waits_refreshes_the_record_as_the_hold_did() {
    let place = Place::new();
    search().run(move || {
        let data = place.data("data");
        let lock = plain().try_acquire(&data).expect("the lock is free");
        let lent = lock.try_clone_descriptor().expect("the lock is held");
        let returns = thread::spawn(move || {
            let mut timestamps = HashSet::new();
            for _ in 0..60 {
                thread::sleep(SECOND);
                let age = age(&data);
                assert!(age <= 12 * SECOND, "refreshed {age:?} ago");
                timestamps.extend(read(&data).map(|record| record.timestamp_ns()));
            }
            assert!(timestamps.len() <= 7, "{} in a minute", timestamps.len());
            drop(lent);
        });
        let released = lock.release_within(PATIENCE, &CancelToken::new());
        let released = released.expect("the lock is held");
        assert_eq!(released, rvlf_threads::Released::Free);
        returns.join().expect("the record is young");
    });
}
