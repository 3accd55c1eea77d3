//! The lock over a store that loses answers, answers late, refuses without a reason, or is gone.

use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use rvlf_object_store::faults::{Fault, Faults};
use rvlf_object_store::{Bucket, CommitError, LockObject, LossReason, StoreLock, block_on};

/// No test is about speed.
const LONG: Duration = Duration::from_secs(120);
/// An answer that does not come is given up after this time.
const PATIENCE: Duration = Duration::from_millis(100);

/// A lock on a store that misbehaves, and the same store for one who does not suffer from it.
fn store(lease: Duration) -> (Faults, LockObject, LockObject) {
    let bucket = Bucket::new(Arc::new(InMemory::new()), "memory://");
    let healthy = Arc::new(bucket.register("x.lock".into()));
    let faults = Faults::new(1, PATIENCE);
    let faulty = Arc::new(faults.register(healthy.clone()));
    let options = StoreLock::options().lease(lease);
    (
        faults,
        options.open_register(faulty),
        options.open_register(healthy),
    )
}

fn acquire(object: &LockObject) -> StoreLock {
    block_on(object.acquire(LONG)).expect("the lock becomes free")
}

fn release(lock: StoreLock) {
    block_on(lock.release()).expect("the lock is held");
}

fn root(object: &LockObject) -> Vec<u8> {
    let report = block_on(object.inspect()).expect("the store answers");
    report
        .payload()
        .map(|payload| payload.to_vec())
        .unwrap_or_default()
}

/// A lease that no test waits for: what would have to wait for it hangs visibly.
const NEVER: Duration = Duration::from_secs(3600);

// OpenTofu 4405, ClickHouse 112081, Icechunk 2099: a client took the refusal of its own write for the lock
// of another, or for a failed commit.
#[test]
fn an_answer_that_is_lost_changes_nothing() {
    let (faults, object, _) = store(NEVER);
    for _ in 0..2 {
        // The create, and then the takeover of the tombstone.
        faults.next_puts([Some(Fault::LostAnswer)]);
        let lock = acquire(&object);
        faults.next_puts([Some(Fault::LostAnswer)]);
        block_on(lock.check()).expect("the refresh is in");
        faults.next_puts([Some(Fault::LostAnswer)]);
        block_on(lock.commit("root")).expect("the commit is in");
        assert_eq!(root(&object), b"root");
        faults.next_puts([Some(Fault::LostAnswer)]);
        let released = block_on(lock.release()).expect("it was held");
        assert!(released.confirmed);
    }
}

// A create takes long to confirm, and a wait that shows the holder meanwhile showed this very process.
#[test]
fn the_record_of_an_acquisition_under_way_is_this_processs_own() {
    let (faults, object, healthy) = store(NEVER);
    faults.next_puts([Some(Fault::LostAnswer)]);
    faults.next_gets([None].into_iter().chain([Some(Fault::NotSent); 5]));
    let acquiring = std::thread::spawn(move || acquire(&object));
    let report = loop {
        let report = block_on(healthy.inspect()).expect("the store answers");
        if report.record().is_some() {
            break report;
        }
    };
    assert!(report.is_this_process(), "{report}");
    release(acquiring.join().expect("the create is in"));
}

#[test]
fn a_refusal_without_a_reason_changes_nothing() {
    let (faults, object, _) = store(NEVER);
    for _ in 0..2 {
        faults.next_puts([Some(Fault::RefusedUnstored)]);
        let lock = acquire(&object);
        faults.next_puts([Some(Fault::RefusedUnstored)]);
        block_on(lock.commit("root")).expect("it is written again");
        faults.next_puts([Some(Fault::RefusedUnstored)]);
        release(lock);
        assert_eq!(root(&object), b"root");
    }
}

// A create that timed out lands after the same call has created, committed and released.
#[test]
fn a_create_that_lands_late_replaces_nothing() {
    let (faults, object, _) = store(NEVER);
    faults.next_puts([Some(Fault::Late(PATIENCE * 5))]);
    let lock = acquire(&object);
    block_on(lock.commit("root")).expect("it is held");
    faults.wait_until_landed();
    block_on(lock.check()).expect("the late create was refused");
    release(lock);
    assert_eq!(root(&object), b"root");
}

// A commit that timed out lands when the next holder has committed: without the condition its root is lost.
#[test]
fn a_commit_that_lands_after_the_loss_replaces_nothing() {
    let (faults, object, healthy) = store(NEVER);
    let lock = acquire(&object);
    faults.next_puts([Some(Fault::Late(PATIENCE * 10))]);
    let error = block_on(lock.commit_within("late", PATIENCE / 2)).expect_err("no answer");
    assert!(matches!(error, CommitError::Unsettled { .. }), "{error}");
    block_on(healthy.break_forced_now(lock.writer_id())).expect("it is that hold");
    let next = acquire(&healthy);
    block_on(next.commit("next")).expect("it is held");
    faults.wait_until_landed();
    assert_eq!(root(&healthy), b"next");
    block_on(lock.commit("later")).expect_err("the lock is lost");
    block_on(next.check()).expect("it is still held");
    release(next);
    assert_eq!(root(&healthy), b"next");
}

#[test]
fn a_commit_that_lands_after_the_release_takes_no_lock() {
    let (faults, object, healthy) = store(NEVER);
    let lock = acquire(&object);
    faults.next_puts([Some(Fault::Late(PATIENCE * 5))]);
    block_on(lock.commit_within("late", Duration::ZERO)).expect_err("no answer");
    release(lock);
    let next = acquire(&healthy);
    block_on(next.commit("next")).expect("it is held");
    faults.wait_until_landed();
    assert_eq!(root(&healthy), b"next");
    block_on(next.check()).expect("the late write was refused");
    release(next);
}

// The next call must not write over a commit whose fate is open: one of the two would be lost unseen.
#[test]
fn a_commit_whose_future_was_dropped_is_settled_before_the_next_one() {
    let (faults, object, _) = store(NEVER);
    let lock = acquire(&object);
    faults.next_puts([Some(Fault::NotSent)]);
    {
        let mut commit = Box::pin(lock.commit("first"));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(commit.as_mut().poll(&mut context).is_pending());
    }
    block_on(lock.commit("second")).expect("it is held");
    assert_eq!(root(&object), b"second");
    release(lock);
}

#[test]
fn an_overloaded_server_costs_no_lock_before_the_belief_ends() {
    let lease = Duration::from_secs(60);
    let (faults, object, _) = store(lease);
    let lock = acquire(&object);
    faults.for_a_time(Duration::from_secs(2), Fault::Overloaded);
    block_on(lock.check()).expect("two thirds of the lease are longer than 2 s");
    block_on(lock.commit("root")).expect("it is held");
    release(lock);
}

#[test]
fn an_outage_that_is_longer_than_the_belief_ends_it_for_good_and_costs_nothing_more() {
    let (faults, object, _) = store(Duration::from_secs(3));
    let lock = acquire(&object);
    block_on(lock.commit("root")).expect("it is held");
    faults.for_a_time(LONG, Fault::NotSent);
    assert_eq!(block_on(lock.lost()).reason, LossReason::Expired);
    lock.check_local().expect_err("the belief is over");
    faults.for_a_time(Duration::ZERO, Fault::NotSent);
    lock.check_local().expect_err("a loss is final");
    block_on(lock.commit("late")).expect_err("a loss is final");
    let error = block_on(lock.release()).expect_err("it was lost");
    assert_eq!(error.lost.reason, LossReason::Expired);
    let next = acquire(&object);
    assert_eq!(next.payload(), "root");
    release(next);
}

// What is learnt of an own earlier record is that reads are stale. The holder gives up, and no other
// process believes.
#[test]
fn a_stale_read_after_a_refused_refresh_ends_the_hold_and_never_makes_two() {
    let (faults, object, healthy) = store(NEVER);
    let lock = acquire(&object);
    block_on(lock.check()).expect("it is held");
    faults.next_puts([Some(Fault::RefusedUnstored)]);
    faults.next_gets([Some(Fault::Stale)]);
    block_on(lock.check()).expect_err("the store showed another record");
    lock.check_local().expect_err("a loss is final");
    let next = acquire(&healthy);
    lock.check_local().expect_err("a loss is final");
    block_on(lock.commit("late")).expect_err("the lock is lost");
    release(next);
}

// Without it a call that comes in vain holds the lock for a lease, without a holder.
#[test]
fn an_acquisition_that_is_not_confirmed_in_time_leaves_what_this_process_takes_at_once() {
    let (faults, object, healthy) = store(NEVER);
    faults.next_puts([Some(Fault::LostAnswer)]);
    faults.next_gets([None]);
    let mut acquisition = Box::pin(object.acquire(LONG));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(acquisition.as_mut().poll(&mut context).is_pending());
    drop(acquisition);
    release(acquire(&healthy));
}

#[test]
fn an_error_of_the_store_says_what_to_do_and_comes_at_once() {
    let (faults, object, _) = store(NEVER);
    release(acquire(&object));
    faults.next_puts([Some(Fault::Denied)]);
    let error = block_on(object.acquire(Duration::MAX)).expect_err("it may not write");
    assert!(!error.is_held());
    assert!(
        error.to_string().contains("check the credentials"),
        "{error}"
    );
}
