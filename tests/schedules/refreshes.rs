//! Holders that refresh and check while others break their lock, by force or by judgement.

use std::time::Duration;

use rvlf_simulated::sim::{Safeguard, SimLock, SimSys, System, Violation, World};
use rvlf_simulated::{HoldError, LossReason};

use super::{LATER, coarse, come_later, contend, prove, sample};

/// Another machine, which sees the same files and nothing else.
pub const ELSEWHERE: System = System::HOST.named("elsewhere").on_kernel(1);

/// The pid of the first process.
const FIRST: u32 = 100;

/// The kernel's own books say that the lock is lost for good: it must not be refreshed nor found in
/// place any more, and what is at the path then stays. The holder ends without a release: at the very
/// moment of a release a break by force can cost the next holder its lock.
pub fn refresh_and_check(os: &SimSys) {
    let Ok(lock) = os.try_acquire() else { return };
    let lost = !lock.has_name();
    let refreshed = lock.refresh();
    assert!(!lost || refreshed.is_err(), "a lost lock was refreshed");
    let lost = !lock.has_name();
    let checked = lock.check();
    assert!(!lost || checked.is_err(), "a check found a lost lock");
    assert!(
        refreshed.is_ok() || checked.is_err(),
        "a loss was taken back"
    );
    if let Err(lost) = checked {
        let reason = lost.reason;
        assert!(
            matches!(
                reason,
                LossReason::Removed | LossReason::Replaced(_) | LossReason::RefreshFailed
            ),
            "lost, but not by a break: {reason}"
        );
        let released = lock.release();
        assert!(
            matches!(released, Err(HoldError::Lost(_))),
            "a lost lock was released"
        );
    } else {
        std::mem::forget(lock);
    }
}

/// Releases only what is lost, without having heard of it.
fn release_if_lost(os: &SimSys) {
    let Ok(lock) = os.try_acquire() else { return };
    if lock.has_name() {
        std::mem::forget(lock);
    } else {
        let _ = lock.release();
    }
}

fn break_the_first_by_force(os: &SimSys) {
    if let Some(record) = os.record()
        && record.pid().get() == FIRST
    {
        let _ = os.force_break(record.writer_id());
    }
}

/// Comes next, and must keep its lock to the end.
fn succeed(os: &SimSys) {
    if let Ok(lock) = os.try_acquire() {
        os.entered();
        keep(&lock);
        os.left();
        std::mem::forget(lock);
    }
}

fn keep(lock: &SimLock) {
    assert!(
        lock.has_name(),
        "somebody removed the lock of a live holder"
    );
}

/// H holds and F breaks its lock by force.
fn broken_by_force(world: World, holder: fn(&SimSys)) -> World {
    let world = world.process("H", 1, holder);
    world.process("F", 1, break_the_first_by_force)
}

#[test]
fn a_holder_whose_lock_was_broken_by_force_hears_of_it_and_touches_nothing() {
    let world = || broken_by_force(coarse(), refresh_and_check);
    prove("a holder and a break by force", &world().crashes(2));
    let successor = world().process("C", 1, succeed);
    prove("a holder, a break by force, a successor", &successor);
    let late = broken_by_force(coarse(), release_if_lost).process("C", 1, succeed);
    prove("a late release, a break by force, a successor", &late);
}

/// A shortest schedule in which a promise is broken that `says` so.
pub fn find_harm(what: &str, world: &World, says: &str) -> Violation {
    let violation = world.explore().expect_err(what);
    println!("{what}:\n{violation}\n");
    assert!(violation.message().contains(says), "{violation}");
    violation
}

#[test]
fn a_release_that_does_not_look_at_the_path_takes_the_successors_lock() {
    let world = coarse().without(Safeguard::OwnPath);
    let world = broken_by_force(world, release_if_lost).process("C", 1, succeed);
    find_harm(
        "a release without a look",
        &world,
        "removed the lock of a live holder",
    );
}

// R19: the holder has compared path and descriptor, F breaks its lock, C publishes, the holder unlinks.
// The manual says that a break by force is for a holder that is not at work.
#[test]
fn a_break_by_force_in_the_moment_of_a_release_can_cost_the_next_holder_its_lock() {
    let release = |os: &SimSys| {
        if let Ok(lock) = os.try_acquire() {
            let _ = lock.release();
        }
    };
    let world = broken_by_force(coarse(), release).process("C", 1, succeed);
    find_harm("R19", &world, "removed the lock of a live holder");
}

// A daemon that closes all descriptors after a fork, and opens its database: the number that was the
// lock's is the database's. A blind write corrupted one.
fn lose_the_descriptor(os: &SimSys) {
    let Ok(lock) = os.try_acquire() else { return };
    os.entered();
    os.take_descriptors("d");
    let lost = |error| matches!(error, HoldError::Lost(lost) if lost.reason == LossReason::DescriptorClosed);
    let refreshed = lock.refresh();
    assert!(
        refreshed.is_err_and(lost),
        "the descriptor is not the lock file any more"
    );
    os.left();
    let released = lock.release();
    assert!(released.is_err_and(lost), "nothing is left to release");
}

#[test]
fn a_refresh_never_writes_into_a_file_that_took_the_descriptors_number() {
    let world = || {
        coarse()
            .foreign("d", b"a database")
            .process("H", 1, lose_the_descriptor)
    };
    prove(
        "a closed descriptor, a contender",
        &world().process("C", 1, contend),
    );
    find_harm(
        "a refresh without a look",
        &world().without(Safeguard::OwnDescriptor),
        "writes into a file that is not its own",
    );
}

const AFTER_THE_AGE: Duration = Duration::from_secs(310);

/// A mount whose flock each kernel keeps to itself (sshfs): age alone decides about others.
fn mount() -> World {
    World::network()
        .flock_not_shared()
        .finally(LATER, come_later)
}

pub fn come_after_the_age(os: &SimSys) {
    os.sleep(AFTER_THE_AGE);
    succeed(os);
}

/// Refreshes as often as keeps a lock, for longer than a silent one is believed.
pub fn hold_for_long(os: &SimSys) {
    let Ok(lock) = os.try_acquire() else { return };
    os.entered();
    for _ in 0..4 {
        os.sleep(Duration::from_secs(100));
        lock.refresh()
            .expect("nobody takes a lock that is refreshed");
    }
    os.left();
    lock.release().expect("nobody takes a live lock");
}

#[test]
fn a_holder_that_refreshes_is_not_judged_dead_by_age() {
    let world = mount().coarse().process("H", 1, hold_for_long);
    let world = world.on(ELSEWHERE).process("C", 2, come_after_the_age);
    prove("refreshes against an age", &world.crashes(1));
}

#[test]
fn a_holder_that_does_not_refresh_is_judged_dead_by_age() {
    let silent = |os: &SimSys| {
        let Ok(lock) = os.try_acquire() else { return };
        os.entered();
        os.sleep(2 * AFTER_THE_AGE);
        os.left();
        let checked = lock.check();
        assert!(checked.is_err(), "the time is over");
    };
    let world = mount().coarse().process("H", 1, silent);
    let world = world.on(ELSEWHERE).process("C", 1, come_after_the_age);
    find_harm("silence against an age", &world, "two processes hold");
}

// A holder that is stopped for minutes in the middle of anything, and then goes on: exclusion cannot be
// promised, but it hears of its loss at its next check, and what the other one has stays.
#[test]
fn a_paused_holder_hears_of_its_loss_and_touches_nothing() {
    for holder in [refresh_and_check, release_if_lost] {
        let world = mount().process("H", 1, holder);
        let world = world.on(ELSEWHERE).process("C", 1, come_after_the_age);
        sample("a paused holder, judged by age", &world);
    }
}
