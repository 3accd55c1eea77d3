//! Where each unlock of a file is an event, as on macOS: also that of an examiner.

use std::time::Duration;

use rvlf_simulated::sim::{Fork, Safeguard, SimSys, World};

use super::refreshes::find_harm;
use super::{coarse, contend, prove, wait_and_hold, with};

const SECONDS: Duration = Duration::from_secs(5);

fn macos() -> World {
    coarse().without_unnamed().where_unlocks_are_events()
}

/// Waits for less time than passes until a waiter looks without an event.
fn wait_in_vain(os: &SimSys) {
    let refused = os.acquire(Duration::from_secs(3));
    assert!(refused.is_err_and(|error| error.is_held()));
}

/// The lock of a deployed client, which has no kernel lock.
fn beside_a_deployed_client(waiters: usize) -> World {
    let world = macos().dead_deployed_lock(Duration::from_secs(1));
    with(world, waiters, 1, wait_in_vain)
}

#[test]
fn waiters_are_woken_by_each_release_and_each_death() {
    let world = with(macos(), 1, 1, contend).process("W", 1, wait_and_hold);
    prove("unlocks are events, 1 waiter, 1 crash", &world.crashes(1));
    let world = with(macos(), 2, 1, wait_and_hold);
    prove("unlocks are events, 2 waiters, 1 crash", &world.crashes(1));
}

// A deployed client has no kernel lock, so that each examination of A obtains it and unlocks. A watched for
// unlocks, was woken by its own, examined again, and used a whole processor for as long as the client held.
#[test]
fn a_waiter_at_the_lock_of_a_deployed_client_is_not_woken_by_its_own_examinations() {
    for waiters in [1, 2] {
        prove(
            "a deployed client's lock",
            &beside_a_deployed_client(waiters),
        );
    }
    find_harm(
        "always watching for unlocks",
        &beside_a_deployed_client(1).without(Safeguard::OwnUnlocks),
        "A is woken by its own examination",
    );
}

/// Foreign code closes the descriptor of a holder that lives on.
fn lose_the_descriptor_and_live(os: &SimSys) {
    let Ok(lock) = os.try_acquire() else { return };
    os.sleep(SECONDS);
    os.take_descriptors("d");
    os.sleep(SECONDS);
    let _ = lock.release();
}

// W watches for the unlock while H has the kernel lock, and is woken when H loses its descriptor. The record
// still counts, and W's next examinations obtain the kernel lock: W then watches without unlocks.
#[test]
fn a_waiter_is_not_woken_by_itself_once_the_holder_has_lost_its_descriptor() {
    let wait = |os: &SimSys| drop(os.acquire(super::MINUTE));
    let world = macos().foreign("d", b"a database");
    let world = world.process("H", 1, lose_the_descriptor_and_live);
    prove("a closed descriptor", &world.process("W", 1, wait));
}

/// Dies, and leaves the kernel lock to a child.
fn leave_the_lock_to_a_child(os: &SimSys) {
    let Ok(lock) = os.try_acquire() else { return };
    if os.fork() == Fork::Child {
        os.sleep(SECONDS);
    }
    std::mem::forget(lock);
}

// The child is not the process that the record names: the unlock at its end is the only event.
#[test]
fn a_waiter_is_woken_by_the_end_of_a_child_that_has_the_lock() {
    let world = macos().process("H", 1, leave_the_lock_to_a_child);
    prove(
        "a child has the lock",
        &world.process("W", 1, wait_and_hold),
    );
}
