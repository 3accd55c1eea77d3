//! Guards: releases, checks and commits, while the other thread refreshes.

use std::sync::Arc;

use rvlf_store_threads::{StoreLock, block_on};
use virtual_std::{search, thread};

use crate::store::{LEASE, REFRESH, Store, acquire, come_later, release};

// A refresh that is under way, and that lands after the release or the drop, is of a dead hold: it must
// neither keep the next contender out nor replace what that one has written.
#[test]
fn a_lock_that_is_released_during_a_refresh_is_free_and_stays_the_next_holders() {
    search().run(|| {
        let object = Store::new().lock_object();
        let lock = acquire(&object);
        thread::sleep(REFRESH);
        release(lock);
        let next = acquire(&object);
        for _ in 0..3 {
            block_on(next.check()).expect("the first holder writes nothing any more");
        }
        release(next);
    });
}

#[test]
fn a_lock_that_is_dropped_during_a_refresh_is_free_at_once() {
    search().run(|| {
        let object = Store::new().lock_object();
        let lock = acquire(&object);
        thread::sleep(REFRESH);
        drop(lock);
        come_later(&object);
    });
}

// The tombstone of a release may get lost. This process knows that the hold is dead, and does not wait for its
// lease.
#[test]
fn a_lock_whose_release_is_lost_is_taken_at_once_by_its_own_process() {
    search().run(|| {
        let store = Store::new();
        let object = store.lock_object();
        let lock = acquire(&object);
        store.lose_writes(true);
        let release = block_on(lock.release_within(REFRESH));
        assert!(!release.expect("the lock is held").confirmed);
        store.lose_writes(false);
        come_later(&object);
    });
}

// Two locks share one thread. Each is refreshed at its time, although two threads start that thread at once,
// and although the store of the other one hangs.
#[test]
fn two_locks_of_one_process_are_both_refreshed() {
    search().run(|| {
        let (store, hung) = (Store::new(), Store::new());
        let held = thread::spawn(move || {
            let lock = acquire(&store.lock_object());
            for _ in 0..3 * LEASE.as_secs() {
                thread::sleep(REFRESH);
                lock.check_local().expect("it is refreshed");
            }
            release(lock);
        });
        let lock = acquire(&hung.lock_object());
        hung.hang(true);
        thread::sleep(LEASE);
        lock.check_local().expect_err("its store hangs");
        held.join().expect("it does not panic");
    });
}

// Two writers at once are what the lock is for. A slow thread may be inside after its lease has run out, when
// the other one enters: then it must see that it has lost the lock.
#[test]
fn of_two_threads_that_contend_for_a_lock_never_both_believe_that_they_hold_it() {
    search().with_slow_threads().run(|| {
        let object = Store::new().lock_object();
        let inside = Arc::new(virtual_std::sync::Mutex::new(Vec::<Arc<StoreLock>>::new()));
        let contend = move || {
            let lock = Arc::new(acquire(&object));
            let mut holders = inside.lock().expect("no thread panics");
            if lock.check_local().is_ok() {
                for other in holders.iter() {
                    other
                        .check_local()
                        .expect_err("the other one holds the lock");
                }
            }
            holders.push(lock.clone());
            drop(holders);
            block_on(lock.check()).ok();
            let mut holders = inside.lock().expect("no thread panics");
            holders.retain(|other| !Arc::ptr_eq(other, &lock));
            drop(holders);
            drop(lock);
        };
        let other = thread::spawn(contend.clone());
        contend();
        other.join().expect("it does not panic");
    });
}

// A check proves that the lock was held after it began. A write that was under way before proves less.
#[test]
fn a_check_that_begins_after_the_object_is_gone_fails() {
    search().run(|| {
        let store = Store::new();
        let lock = Arc::new(acquire(&store.lock_object()));
        let earlier = thread::spawn({
            let lock = lock.clone();
            move || drop(block_on(lock.check()))
        });
        store.delete();
        block_on(lock.check()).expect_err("the object is gone");
        earlier.join().expect("it does not panic");
    });
}

// A commit that returned `Ok` is in every later root, whatever other threads commit, check and release.
#[test]
fn what_two_threads_commit_is_what_the_next_holder_finds() {
    search().run(|| {
        let object = Store::new().lock_object();
        let lock = Arc::new(acquire(&object));
        let other = thread::spawn({
            let lock = lock.clone();
            move || block_on(lock.commit("other")).expect("the lock is held")
        });
        block_on(lock.commit("first")).expect("the lock is held");
        block_on(lock.commit("second")).expect("the lock is held");
        other.join().expect("it does not panic");
        let last = lock.payload();
        assert!(last == "second" || last == "other", "{last:?}");
        drop(lock);
        let next = acquire(&object);
        assert_eq!(next.payload(), last, "a commit is lost");
        release(next);
    });
}
