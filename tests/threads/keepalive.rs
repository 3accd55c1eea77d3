//! Refreshes: each lock at its time, whatever the other locks and the threads do.

use std::path::Path;
use std::time::Duration;

use rvlf_threads::WriterLock;
use virtual_std::{run, search, thread};

use crate::place::{PATIENCE, Place, age, every, plain};

const SECOND: Duration = Duration::from_secs(1);

/// Holds the lock of `data` for some intervals and looks at its age in each. Returns the last age.
fn hold(place: &Place, name: &str, interval: Duration, intervals: u32) -> Duration {
    let data = place.data(name);
    let lock = every(interval).try_acquire(&data);
    keep(lock.expect("the lock is free"), &data, interval, intervals)
}

/// The same with a lock that was acquired.
fn keep(lock: WriterLock, data: &Path, interval: Duration, intervals: u32) -> Duration {
    let mut last = Duration::ZERO;
    for _ in 0..intervals {
        thread::sleep(interval);
        let age = age(data);
        last = age;
        assert!(age <= interval, "refreshed {age:?} ago, every {interval:?}");
    }
    lock.release().expect("the lock is held");
    last
}

// A lock that is due before the thread wakes by itself has to wake it. Without that the lock of a short
// interval is refreshed when the one of a long interval is due, and other hosts break it.
#[test]
fn each_lock_is_refreshed_at_its_time_beside_others() {
    let place = Place::new();
    search().run(move || {
        let other = place.clone();
        let long = thread::spawn(move || hold(&other, "long", 40 * SECOND, 1));
        hold(&place, "short", 3 * SECOND, 3);
        long.join().expect("it has seen no old record");
    });
}

// The thread stays for a second after the last lock, and ends. A lock that comes at that moment and counts
// on it would never be refreshed.
#[test]
fn a_lock_that_comes_when_the_thread_ends_is_refreshed() {
    // When the thread wakes up to end, where the locks come first; and when it has ended.
    for late in [Duration::ZERO, Duration::from_nanos(1)] {
        let place = Place::new();
        search().run(move || {
            // The thread wakes once more for the first lock, an interval after its refresh, and stays for a
            // second.
            let until_it_ends = 3 * SECOND - hold(&place, "first", 2 * SECOND, 1) + late;
            let other = place.clone();
            let second = thread::spawn(move || {
                thread::sleep(until_it_ends);
                hold(&other, "second", 2 * SECOND, 2);
            });
            thread::sleep(until_it_ends);
            hold(&place, "third", 2 * SECOND, 2);
            second.join().expect("it has seen no old record");
        });
    }
}

// A contender has the thread started before it waits, and the thread sleeps without a timer then. A wait that
// ends without a lock has to wake it: else it stays for good, and a run does not end.
#[test]
fn a_wait_that_ends_without_a_lock_leaves_no_thread() {
    let place = Place::new();
    search().run(move || {
        let data = place.data("data");
        let lock = plain().try_acquire(&data).expect("the lock is free");
        let refused = every(2 * SECOND).acquire(&data, SECOND);
        assert!(refused.is_err(), "the lock is held");
        lock.release().expect("the lock is held");
    });
}

// Two waits end without a lock when a third one ends with one. None takes the thread from the lock.
#[test]
fn a_lock_that_was_waited_for_is_refreshed_beside_waits_that_end() {
    let place = Place::new();
    search().run(move || {
        let [first, second] = ["first", "second"].map(|name| {
            let lock = plain().try_acquire(place.data(name));
            lock.expect("the lock is free")
        });
        let waiters = [place.clone(), place.clone()].map(|place| {
            thread::spawn(move || {
                let refused = every(2 * SECOND).acquire(place.data("first"), SECOND);
                assert!(refused.is_err(), "the lock is held");
            })
        });
        let data = place.data("second");
        let third = thread::spawn(move || {
            let lock = every(2 * SECOND).acquire(&data, PATIENCE);
            keep(lock.expect("the holder releases"), &data, 2 * SECOND, 3);
        });
        thread::sleep(SECOND);
        second.release().expect("the lock is held");
        third.join().expect("it has seen no old record");
        for waiter in waiters {
            waiter.join().expect("it was refused");
        }
        first.release().expect("the lock is held");
    });
}

// A worker ends after 30 s without a job. A job that is sent at that moment and that no worker takes would
// count as under way for good, and the lock would not be refreshed again.
#[test]
fn a_refresh_that_is_due_when_its_worker_ends_is_made() {
    let place = Place::new();
    search().run(move || {
        hold(&place, "data", 30 * SECOND, 4);
    });
}

// Without a worker a refresh that may hang is better than none.
#[test]
fn a_lock_is_refreshed_although_no_worker_can_be_started() {
    let place = Place::new();
    search().run(move || {
        // This thread, and the one of the keepalive.
        run::limit_threads(2);
        hold(&place, "data", 2 * SECOND, 3);
    });
}

// A lock that no thread would refresh must not be handed out, and not be left behind. The locks that are
// acquired when threads can be started again are refreshed.
#[test]
fn a_lock_whose_thread_cannot_be_started_is_not_acquired_and_spoils_no_other() {
    let place = Place::new();
    search().run(move || {
        let limits = thread::spawn(|| {
            run::limit_threads(2);
            thread::sleep(SECOND);
            run::limit_threads(usize::MAX);
        });
        let data = place.data("data");
        match every(2 * SECOND).try_acquire(&data) {
            Ok(lock) => drop(lock),
            Err(error) => assert!(!error.is_held(), "{error}"),
        }
        assert!(
            !rvlf_threads::lock_path_for(&data).exists(),
            "nothing is left"
        );
        limits.join().expect("it sleeps");
        hold(&place, "data", 2 * SECOND, 2);
    });
}
