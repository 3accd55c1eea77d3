//! Waits: no wake-up is lost, and threads exclude each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use virtual_std::{run, search, thread};

use crate::place::{PATIENCE, Place, come_later, every, plain};

// The release may come between the look at the lock and the watch of its file. A waiter that misses it
// sleeps until its pause is over.
#[test]
fn a_release_wakes_a_waiter_of_another_thread_at_once() {
    let place = Place::new();
    search().run(move || {
        let data = place.data("data");
        let lock = plain().try_acquire(&data).expect("the lock is free");
        let waiter = {
            let data = data.clone();
            thread::spawn(move || {
                let lock = plain().acquire(&data, PATIENCE);
                let lock = lock.expect("the holder releases");
                assert!(run::now() < Duration::from_millis(500), "it slept on");
                drop(lock);
            })
        };
        lock.release().expect("the lock is held");
        waiter.join().expect("it was woken");
        come_later(&data);
    });
}

// One of the threads may see what another one has given up, lost or left as its own, and take it.
#[test]
fn threads_exclude_each_other() {
    let place = Place::new();
    search().with_slow_threads().run(move || {
        let data = place.data("data");
        let holders = Arc::new(AtomicU32::new(0));
        let threads = [1, 2, 3].map(|interval| {
            let (data, holders) = (data.clone(), holders.clone());
            thread::spawn(move || {
                for _ in 0..2 {
                    let options = every(Duration::from_millis(interval));
                    let lock = options.acquire(&data, PATIENCE);
                    let lock = lock.expect("no thread keeps it");
                    assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "two holders");
                    run::step();
                    lock.check().expect("the lock is held");
                    holders.fetch_sub(1, Ordering::SeqCst);
                    lock.release().expect("the lock is held");
                }
            })
        });
        for thread in threads {
            thread.join().expect("it excludes the others");
        }
        come_later(&data);
    });
}
