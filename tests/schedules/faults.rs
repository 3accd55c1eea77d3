//! Calls that fail at any moment, with or without effect: a clear error or success, no wrong lock, no
//! leftover.

use std::time::Duration;

use rvlf_simulated::judge::Reason;
use rvlf_simulated::sim::{Safeguard, SimLock, SimSys, World};
use rvlf_simulated::{AcquireError, HoldError};

use super::refreshes::{ELSEWHERE, find_harm};
use super::{LATER, MINUTE, come_later, prove, sample, with};

/// What an acquisition may come to: the lock, a refusal, or an error that names the lock file.
fn attempt(outcome: Result<SimLock, AcquireError>) -> Option<SimLock> {
    match outcome {
        Ok(lock) => Some(lock),
        Err(error @ (AcquireError::Held { .. } | AcquireError::Io { .. })) => {
            let said = error.to_string();
            assert!(said.contains("d.lock"), "which file? {said}");
            None
        }
        Err(error) => panic!("a fault is neither a foreign file nor a loss: {error}"),
    }
}

/// Whatever a fault is taken for, it is not taken for a loss.
fn is_io(outcome: Result<(), HoldError>) {
    if let Err(HoldError::Lost(lost)) = outcome {
        panic!("a fault is no loss: {lost}");
    }
}

fn contend(os: &SimSys) {
    hold(os, os.try_acquire());
}

fn wait(os: &SimSys) {
    hold(os, os.acquire(10 * MINUTE));
}

fn hold(os: &SimSys, outcome: Result<SimLock, AcquireError>) {
    if let Some(lock) = attempt(outcome) {
        os.entered();
        is_io(lock.refresh());
        if let Err(lost) = lock.check() {
            panic!("a fault is no loss: {lost}");
        }
        os.left();
        is_io(lock.release());
    }
}

/// Nobody died, and each lock was released in spite of the fault: nothing is left.
fn find_nothing(os: &SimSys) {
    let left = os.names();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn a_fault_leaves_an_error_or_success_and_nothing_behind() {
    let world = World::local().coarse().process("A", 1, contend);
    prove(
        "1 contender, 1 fault",
        &world.faults(1).finally(LATER, find_nothing),
    );
    let world = World::local().coarse().process("A", 1, contend);
    prove(
        "1 contender, 2 faults",
        &world.faults(2).finally(LATER, come_later),
    );
}

/// Nobody else is there: whatever fails, nobody holds the lock.
fn acquire_alone(os: &SimSys) {
    acquire_with_nobody_but(None, os);
}

/// The same where the server may forget a file that is there: an empty one may be left.
fn acquire_alone_on_a_mount(os: &SimSys) {
    acquire_with_nobody_but(Some(Reason::BeingWritten), os);
}

fn acquire_with_nobody_but(left: Option<Reason>, os: &SimSys) {
    match os.try_acquire() {
        Ok(lock) => is_io(lock.release()),
        Err(error) => {
            let reason = error.holder().map(|holder| holder.verdict().reason());
            let explained = reason.is_none() || reason == left;
            assert!(explained, "who should hold it? {error}");
        }
    }
}

// A publisher that takes a disk error for a race that it has lost would go round, meet what it has
// left itself, and blame a holder that does not exist.
#[test]
fn a_fault_is_not_taken_for_a_holder() {
    let alone =
        |world: World, program: fn(&SimSys)| world.coarse().process("A", 1, program).faults(1);
    let local = World::local();
    prove("linked publish, 1 fault", &alone(local, acquire_alone));
    let by_name = World::local().without_unnamed();
    prove("exclusive create, 1 fault", &alone(by_name, acquire_alone));
    let mount = alone(World::network(), acquire_alone_on_a_mount);
    prove("on a mount, 1 fault", &mount);
}

#[test]
fn a_failed_publish_that_is_not_withdrawn_leaves_a_lock_behind() {
    let world = World::local().coarse().without(Safeguard::Withdraw);
    let world = world.process("A", 1, contend).faults(1);
    find_harm(
        "no withdrawal",
        &world.finally(LATER, find_nothing),
        "left behind",
    );
}

#[test]
fn a_fault_gives_nobody_a_wrong_lock() {
    let two = |world: World| with(world.coarse(), 2, 1, contend).finally(LATER, come_later);
    prove("2 contenders, 2 faults", &two(World::local()).faults(2));
    let world = || {
        let world = World::local().coarse().dead_lock(Duration::from_secs(1));
        world.process("A", 1, contend).finally(LATER, come_later)
    };
    prove("1 breaker, 2 faults", &world().faults(2));
    let torn = World::local().coarse().without_unnamed();
    let torn = torn.process("A", 1, contend).finally(LATER, come_later);
    prove("exclusive create, 2 faults", &torn.faults(2));
}

#[test]
#[ignore = "takes a minute"]
fn a_fault_gives_no_breaker_a_wrong_lock() {
    let dead = World::local().coarse().dead_lock(Duration::from_secs(1));
    let world = with(dead, 2, 1, contend).finally(LATER, come_later);
    prove("2 breakers, 1 fault", &world.faults(1));
}

/// A foreign file under a name of ours.
const ASIDE: &str = ".rvlf-00000000000000ff";

fn come_where_foreign_files_are(os: &SimSys) {
    let lock = os
        .try_acquire()
        .expect("the lock is free or its holder dead");
    lock.release().expect("nobody else is there");
    let _ = os.sweep();
    assert_eq!(os.names(), [ASIDE, "notes"], "litter stays");
}

#[test]
fn random_schedules_with_faults() {
    let mishaps = |world: World| {
        let world = world.foreign("notes", b"mine").foreign(ASIDE, b"mine, too");
        let world = world.faults(3).crashes(1);
        world.finally(LATER, come_where_foreign_files_are)
    };
    let dead = || World::local().dead_lock(Duration::from_secs(1));
    sample(
        "3 contenders, faults",
        &mishaps(with(World::local(), 3, 2, contend)),
    );
    sample("3 breakers, faults", &mishaps(with(dead(), 3, 2, contend)));
    let waiters = with(dead(), 2, 2, wait).process("C", 2, contend);
    sample("2 waiters and a breaker, faults", &mishaps(waiters));
    let torn = with(World::local().without_unnamed(), 3, 2, contend);
    sample("exclusive create, faults", &mishaps(torn));
    let mount = World::network().process("A", 2, contend);
    let mount = mount.on(ELSEWHERE).process("B", 2, contend);
    sample("two machines that share flock, faults", &mishaps(mount));
}

/// Releases, and may hear that the lock was lost where the answer to its own unlink was.
fn contend_on_a_bad_line(os: &SimSys) {
    let Some(lock) = attempt(os.try_acquire()) else {
        return;
    };
    os.entered();
    is_io(lock.refresh());
    if let Err(lost) = lock.check() {
        panic!("nobody takes a live lock: {lost}");
    }
    os.left();
    let _ = lock.release();
}

// The server has created, renamed or unlinked, and its answer never comes: a creator finds its own file
// and takes it for another's, a breaker finds nothing to rename, and both must go on from what is there.
#[test]
fn an_answer_that_is_lost_gives_nobody_a_wrong_lock() {
    let finally = |world: World| world.lost_answers(2).finally(LATER, come_later);
    let one = World::network().coarse();
    let one = one.process("A", 1, contend_on_a_bad_line);
    prove("1 contender, 2 answers lost", &finally(one));
    let dead = || World::network().dead_lock(LATER).coarse();
    let one = dead().process("A", 1, contend_on_a_bad_line);
    prove("1 breaker, 2 answers lost", &finally(one));
}

#[test]
#[ignore = "takes a minute"]
fn an_answer_that_is_lost_gives_no_breaker_a_wrong_lock() {
    let dead = World::network().dead_lock(LATER).coarse();
    let world = dead.process("A", 1, contend_on_a_bad_line).on(ELSEWHERE);
    let world = world.process("B", 1, contend_on_a_bad_line);
    prove(
        "2 breakers, 1 answer lost",
        &world.lost_answers(1).finally(LATER, come_later),
    );
}

#[test]
fn random_schedules_with_lost_answers() {
    let mount = World::network().process("A", 2, contend_on_a_bad_line);
    let mount = mount.on(ELSEWHERE);
    let mount = mount.process("B", 2, contend_on_a_bad_line);
    let mount = mount.faults(1).lost_answers(2).crashes(1);
    sample(
        "two machines, answers lost",
        &mount.finally(LATER, come_later),
    );
}
