//! Losses: found by the guard's thread, by the one that refreshes, or by both at once.

use std::sync::Arc;

use rvlf_store_threads::{LossReason, StoreLock, block_on};
use virtual_std::sync::Mutex;
use virtual_std::{run, search, thread};

use crate::store::{BELIEF, REFRESH, Store, acquire, come_later};

// While a request hangs, the clock alone ends the belief. Callers that wait for the loss or for a commit do not
// wait for the request.
#[test]
fn a_loss_is_noticed_at_its_time_although_a_request_hangs() {
    search().run(|| {
        let store = Store::new();
        let lock = acquire(&store.lock_object());
        let lost = thread::spawn({
            let lost = lock.lost();
            move || block_on(lost)
        });
        let began = run::now();
        store.hang(true);
        block_on(lock.commit("late")).expect_err("the store hangs");
        let lost = lost.join().expect("it does not panic");
        assert_eq!(lost.reason, LossReason::Expired);
        let noticed = run::now() - began;
        assert!(noticed <= BELIEF, "noticed after {noticed:?}");
        lock.check_local().expect_err("a loss is final");
    });
}

/// Lets the store hang until about the end of the belief, and a thread ask meanwhile.
fn answer_at_the_end_of_the_belief(watch: impl Fn(&StoreLock) + Send + Sync + 'static) {
    search().with_slow_threads().run(move || {
        let store = Store::new();
        let lock = acquire(&store.lock_object());
        let answers = thread::spawn({
            let store = store.clone();
            move || {
                store.hang(true);
                thread::sleep(BELIEF - REFRESH / 100);
                store.hang(false);
            }
        });
        thread::sleep(BELIEF - REFRESH / 50);
        watch(&lock);
        answers.join().expect("it does not panic");
    });
}

// A caller that has seen the loss of the lock has stopped its writers. An answer that arrives at that moment must
// not make the same lock look held again.
#[test]
fn belief_that_a_caller_saw_end_does_not_return() {
    answer_at_the_end_of_the_belief(|lock| {
        let mut is_lost = false;
        for _ in 0..8 {
            thread::sleep(REFRESH / 100);
            let looks_held = lock.check_local().is_ok();
            assert!(!(is_lost && looks_held), "it was lost before");
            is_lost |= !looks_held;
        }
    });
}

// A loss that one caller has seen reaches those who wait for it, and the thread that keeps the lock.
#[test]
fn a_loss_that_one_caller_saw_reaches_all_others() {
    answer_at_the_end_of_the_belief(|lock| {
        for _ in 0..8 {
            thread::sleep(REFRESH / 100);
            if lock.check_local().is_err() {
                block_on(lock.lost());
                block_on(lock.check()).expect_err("a loss is final");
                return;
            }
        }
    });
}

// A program that reopens its store drops the lock on the thread that learns of its loss, while others use it.
#[test]
fn a_lock_may_be_dropped_by_who_waits_for_its_loss() {
    search().run(|| {
        let store = Store::new();
        let object = store.lock_object();
        let lock = acquire(&object);
        let lost = lock.lost();
        let slot = Arc::new(Mutex::new(Some(Arc::new(lock))));
        let reopens = thread::spawn({
            let slot = slot.clone();
            move || {
                let lost = block_on(lost);
                assert_eq!(lost.reason, LossReason::Removed);
                drop(slot.lock().expect("it is not poisoned").take());
            }
        });
        store.delete();
        let lock = slot.lock().expect("it is not poisoned").clone();
        if let Some(lock) = lock {
            block_on(lock.commit("late")).expect_err("the object is gone");
        }
        reopens.join().expect("it does not panic");
        come_later(&object);
    });
}
