//! A waiter that has watched a record unchanged counts the time of its watch as the record's age.

use std::time::Duration;

use rvlf_simulated::sim::{Safeguard, SimSys, System, World};

use super::prove;
use super::refreshes::{ELSEWHERE, find_harm};

const SECOND: Duration = Duration::from_secs(1);

/// Less than the longest time between two looks that counts in full.
const LOOK: Duration = Duration::from_secs(9);

/// The attribute caches of network mounts show for as long what a holder has since refreshed.
const CACHED: Duration = Duration::from_secs(60);

/// A timestamp that lies so far ahead counts as age 0.
const MINUTES: Duration = Duration::from_secs(200);

/// A timestamp that lies so far ahead is not trusted.
const YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Refreshes often enough to keep the lock, for longer than a suspension.
fn hold_and_refresh(os: &SimSys) {
    let lock = os.try_acquire().expect("no other process is there yet");
    os.entered();
    for _ in 0..5 {
        os.sleep(Duration::from_secs(100));
        lock.refresh()
            .expect("no process takes a lock that is refreshed");
    }
    os.left();
    lock.release().expect("no process takes a live lock");
}

fn watch(os: &SimSys) {
    os.sleep(SECOND);
    if let Ok(lock) = os.acquire(Duration::from_secs(450)) {
        os.entered();
        os.left();
        lock.release().expect("no process takes a live lock");
    }
}

fn a_holder_and_a_waiter_elsewhere(world: World) -> World {
    let world = world.flock_not_shared().coarse().polls_take(LOOK);
    let world = world.process("H", 1, hold_and_refresh);
    world.on(ELSEWHERE).process("W", 1, watch)
}

fn mount() -> World {
    a_holder_and_a_waiter_elsewhere(World::network().where_files_are_cached_for(CACHED))
}

fn suspended(by: Duration) -> World {
    mount()
        .clock_behind(ELSEWHERE, by)
        .suspended_alone(ELSEWHERE)
}

#[test]
fn a_waiter_whose_clock_is_behind_does_not_break_a_lock_that_is_refreshed() {
    for by in [MINUTES, YEARS] {
        prove("a mount", &mount().clock_behind(ELSEWHERE, by));
        // Local to both, and reached in two ways, of which one does not see the kernel lock (A2).
        let overlay = a_holder_and_a_waiter_elsewhere(World::overlay());
        prove("an overlay", &overlay.clock_behind(ELSEWHERE, by));
    }
}

#[test]
#[ignore = "takes a minute"]
fn a_clock_that_is_set_back_during_a_watch_breaks_no_lock_that_is_refreshed() {
    prove("the waiter's", &mount().setback(ELSEWHERE, MINUTES));
    prove("the holder's", &mount().setback(System::HOST, YEARS));
}

// W looks, sleeps for 400 s, and looks again: its cache shows what was there before.
#[test]
fn the_time_of_a_suspension_does_not_count_as_watched() {
    prove("a suspended waiter", &suspended(MINUTES));
    find_harm(
        "a suspension counts as watched",
        &suspended(MINUTES).without(Safeguard::LongestGap),
        "two processes hold the lock at the same time",
    );
}

// The limit of all ages, which the table of guarantees names: with a clock that is right, or one so
// wrong that only the file's times count, both ages come from the bytes in the cache.
#[test]
fn a_cache_that_outlasts_a_suspension_misleads_the_ages() {
    for by in [Duration::ZERO, YEARS] {
        find_harm(
            "ages read from an old cache",
            &suspended(by),
            "two processes hold the lock at the same time",
        );
    }
}

/// The clock of its machine was reset by a loss of power, and the holder died in it.
fn recover_by_watching(os: &SimSys) {
    let lock = os.acquire(Duration::from_secs(450));
    let lock = lock.expect("the holder is dead, and the waiter has watched for long enough");
    lock.release().expect("no other process is there");
}

#[test]
fn a_waiter_whose_clock_is_behind_recovers_a_dead_lock_by_watching_it() {
    let recover = |world: World, by| {
        let world = world.flock_not_shared().coarse().polls_take(LOOK);
        let world = world.on(ELSEWHERE).clock_behind(ELSEWHERE, by);
        world.process("W", 1, recover_by_watching)
    };
    let mount = World::network().dead_lock(SECOND);
    prove("a dead lock on a mount", &recover(mount, MINUTES));
    let local = World::local().dead_deployed_lock(SECOND);
    prove("a dead lock", &recover(local, YEARS));
}
