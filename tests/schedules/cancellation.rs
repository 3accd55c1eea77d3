//! Waits that another thread cancels at any moment.

use rvlf_simulated::sim::{SimSys, World};

use super::{LATER, MINUTE, coarse, come_later, contend, prove, sample, with};

/// Waits for the lock, unless the wait is cancelled.
fn wait_unless_cancelled(os: &SimSys) {
    match os.acquire_unless_cancelled(MINUTE) {
        Ok(lock) => {
            os.entered();
            os.left();
            lock.release().expect("no process takes a live lock");
        }
        Err(error) => assert!(
            error.is_cancelled(),
            "ended for another reason than the cancellation: {error}"
        ),
    }
}

// A wait that was cancelled between its publish and its return would leave the record of a live
// process that holds nothing: every later writer would wait for it.
#[test]
fn waits_that_are_cancelled_at_any_moment_exclude_each_other_and_leave_nothing() {
    let report = prove(
        "2 waiters, cancelled at any moment",
        &with(coarse(), 2, 2, wait_unless_cancelled),
    );
    assert!(report.states > 500, "the search is too small: {report:?}");
}

#[test]
fn a_cancelled_waiter_leaves_nothing_behind_a_contender_that_dies() {
    let world = coarse()
        .process("A", 1, contend)
        .process("B", 1, wait_unless_cancelled)
        .crashes(1);
    let report = prove("1 contender, 1 waiter, cancelled, 1 crash", &world);
    assert!(report.states > 500, "the search is too small: {report:?}");
}

// A waiter that breaks a dead lock pauses where another breaker is at work: that pause is cancelled.
#[test]
fn waiters_that_break_a_dead_lock_are_cancelled_at_any_moment() {
    let world = with(coarse(), 2, 1, wait_unless_cancelled).dead_lock(MINUTE);
    let report = prove("2 waiters, a dead lock, cancelled", &world);
    assert!(report.states > 500, "the search is too small: {report:?}");
}

// On a mount that is not local a publisher waits for its read-back. That wait decides whether the
// lock is held, so nothing may cut it short.
#[test]
fn a_publisher_on_a_network_mount_is_not_cancelled_before_its_read_back() {
    let world = World::network().finally(LATER, come_later);
    sample(
        "3 waiters on a network mount, cancelled",
        &with(world, 3, 2, wait_unless_cancelled),
    );
}

// The searches above prove nothing if no wait is ever cancelled.
#[test]
fn the_search_cancels_waits() {
    let world = with(coarse(), 1, 1, contend).process("W", 1, |os| {
        let lock = os.acquire_unless_cancelled(MINUTE);
        lock.expect("not cancelled").release().expect("it is held");
    });
    let violation = world.explore().expect_err("some schedule cancels the wait");
    assert!(
        violation.message().contains("not cancelled: Cancelled"),
        "{}",
        violation.message()
    );
}
