//! Calls fail at any moment, with or without effect. Each operation must report success or a clear
//! error, grant no wrong lock, and leave nothing behind.

use std::time::Duration;

use rvlf_simulated::judge::Reason;
use rvlf_simulated::sim::{Safeguard, SimLock, SimSys, World};
use rvlf_simulated::{AcquireError, HoldError, IoError};

use super::refreshes::{ELSEWHERE, find_harm};
use super::{LATER, MINUTE, come_later, prove, sample, with};

/// Checks that an acquisition ended with the lock, a refusal, or an error that names the lock file.
fn attempt(outcome: Result<SimLock, AcquireError>) -> Option<SimLock> {
    match outcome {
        Ok(lock) => Some(lock),
        Err(error @ (AcquireError::Held { .. } | AcquireError::Io { .. })) => {
            let text = error.to_string();
            assert!(text.contains("d.lock"), "no lock file is named: {text}");
            None
        }
        Err(error) => panic!("a fault was reported as something else: {error}"),
    }
}

/// Checks that a fault was not reported as a loss.
fn check_is_no_loss(outcome: Result<(), HoldError>) {
    if let Err(HoldError::Lost(lost)) = outcome {
        panic!("a fault was reported as a loss: {lost}");
    }
}

pub fn contend(os: &SimSys) {
    hold(os, os.try_acquire());
}

fn wait(os: &SimSys) {
    hold(os, os.acquire(10 * MINUTE));
}

fn hold(os: &SimSys, outcome: Result<SimLock, AcquireError>) {
    if let Some(lock) = attempt(outcome) {
        os.entered();
        check_is_no_loss(lock.refresh());
        if let Err(lost) = lock.check() {
            panic!("a fault was reported as a loss: {lost}");
        }
        os.left();
        check_is_no_loss(lock.release());
    }
}

/// Checks that nothing is left: no process died, and each lock was released in spite of the fault.
pub fn find_nothing(os: &SimSys) {
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

/// Acquires while no other process is there. Whatever fails, no holder may be reported.
pub fn acquire_alone(os: &SimSys) {
    acquire_with_no_holder_but(None, os);
}

/// The same where the server may forget a file that is there: an empty file may be left, which
/// counts as one that is being written.
fn acquire_alone_on_a_mount(os: &SimSys) {
    acquire_with_no_holder_but(Some(Reason::BeingWritten), os);
}

fn acquire_with_no_holder_but(expected: Option<Reason>, os: &SimSys) {
    match os.try_acquire() {
        Ok(lock) => check_is_no_loss(lock.release()),
        Err(error) => {
            let reason = error.holder().map(|holder| holder.verdict().reason());
            let explained = reason.is_none() || reason == expected;
            assert!(
                explained,
                "a holder is reported that does not exist: {error}"
            );
        }
    }
}

// A publisher that treats a disk error as a lost race would start again, find its own leftover, and
// report a holder that does not exist.
#[test]
fn a_fault_is_not_reported_as_a_holder() {
    let alone =
        |world: World, program: fn(&SimSys)| world.coarse().process("A", 1, program).faults(1);
    let local = World::local();
    prove("linked publish, 1 fault", &alone(local, acquire_alone));
    let by_name = World::local().refusing_unnamed();
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
fn a_fault_gives_no_contender_a_wrong_lock() {
    let two = |world: World| with(world.coarse(), 2, 1, contend).finally(LATER, come_later);
    prove("2 contenders, 2 faults", &two(World::local()).faults(2));
    let world = || {
        let world = World::local().coarse().dead_lock(Duration::from_secs(1));
        world.process("A", 1, contend).finally(LATER, come_later)
    };
    prove("1 breaker, 2 faults", &world().faults(2));
    let torn = World::local().coarse().refusing_unnamed();
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

/// A foreign file with a name like a breaker's temporary file.
const FOREIGN_ASIDE: &str = ".rvlf-00000000000000ff";

fn come_later_where_foreign_files_are(os: &SimSys) {
    let lock = os
        .try_acquire()
        .expect("the lock is free or its holder dead");
    lock.release().expect("no other process is there");
    let _ = os.remove_leftovers();
    assert_eq!(os.names(), [FOREIGN_ASIDE, "notes"], "leftovers");
}

#[test]
fn random_schedules_with_faults() {
    let faulty = |world: World| {
        let world = world
            .foreign("notes", b"mine")
            .foreign(FOREIGN_ASIDE, b"mine, too");
        let world = world.faults(3).crashes(1);
        world.finally(LATER, come_later_where_foreign_files_are)
    };
    let dead = || World::local().dead_lock(Duration::from_secs(1));
    sample(
        "3 contenders, faults",
        &faulty(with(World::local(), 3, 2, contend)),
    );
    sample("3 breakers, faults", &faulty(with(dead(), 3, 2, contend)));
    let waiters = with(dead(), 2, 2, wait).process("C", 2, contend);
    sample("2 waiters and a breaker, faults", &faulty(waiters));
    let torn = with(World::local().refusing_unnamed(), 3, 2, contend);
    sample("exclusive create, faults", &faulty(torn));
    let mount = World::network().process("A", 2, contend);
    let mount = mount.on(ELSEWHERE).process("B", 2, contend);
    sample("two machines that share flock, faults", &faulty(mount));
}

/// Contends. The release may report a loss, if the answer to its own unlink was lost.
fn contend_with_lost_answers(os: &SimSys) {
    let Some(lock) = attempt(os.try_acquire()) else {
        return;
    };
    os.entered();
    check_is_no_loss(lock.refresh());
    if let Err(lost) = lock.check() {
        panic!("a live lock was taken: {lost}");
    }
    os.left();
    let _ = lock.release();
}

// The server has created, renamed or unlinked a file, and its answer is lost: a creator finds its
// own file and treats it as another process's, a breaker finds nothing to rename, and both must go
// on from there.
#[test]
fn a_lost_answer_gives_no_contender_a_wrong_lock() {
    let finally = |world: World| world.lost_answers(2).finally(LATER, come_later);
    let one = World::network().coarse();
    let one = one.process("A", 1, contend_with_lost_answers);
    prove("1 contender, 2 answers lost", &finally(one));
    let dead = || World::network().dead_lock(LATER).coarse();
    let one = dead().process("A", 1, contend_with_lost_answers);
    prove("1 breaker, 2 answers lost", &finally(one));
}

#[test]
#[ignore = "takes a minute"]
fn a_lost_answer_gives_no_breaker_a_wrong_lock() {
    let dead = World::network().dead_lock(LATER).coarse();
    let world = dead
        .process("A", 1, contend_with_lost_answers)
        .on(ELSEWHERE);
    let world = world.process("B", 1, contend_with_lost_answers);
    prove(
        "2 breakers, 1 answer lost",
        &world.lost_answers(1).finally(LATER, come_later),
    );
}

#[test]
fn random_schedules_with_lost_answers() {
    let mount = World::network().process("A", 2, contend_with_lost_answers);
    let mount = mount.on(ELSEWHERE);
    let mount = mount.process("B", 2, contend_with_lost_answers);
    let mount = mount.faults(1).lost_answers(2).crashes(1);
    sample(
        "two machines, answers lost",
        &mount.finally(LATER, come_later),
    );
}

// A creates the lock file; D, a deployed client, sees it empty, deletes it and creates its own, which has
// the inode number of A's, since numbers go by names there. A then takes its publish back.
fn acquire_and_die(os: &SimSys) {
    if let Ok(lock) = os.try_acquire() {
        std::mem::forget(lock);
    }
}

fn hold_deployed(os: &SimSys) {
    if let Ok(lock) = os.try_acquire_deployed() {
        os.sleep(Duration::from_millis(1));
        let is_there = || os.names().iter().any(|name| name == "d.lock");
        // A breaker may have renamed it aside for a moment.
        assert!((0..4).any(|_| is_there()), "a live lock was removed");
        lock.release(os);
    }
}

fn beside_a_deployed_client() -> World {
    let world = World::network().flock_not_shared().coarse();
    let world = world.where_numbers_go_by_names();
    let world = world.process("A", 1, acquire_and_die).on(ELSEWHERE);
    world.process("D", 1, hold_deployed)
}

#[test]
fn a_publish_that_is_taken_back_removes_no_other_clients_file() {
    prove(
        "a deployed client's file stays",
        &beside_a_deployed_client().faults(1),
    );
    find_harm(
        "a publish that is taken back by the inode number",
        &beside_a_deployed_client().without(Safeguard::WithdrawByDescriptor),
        "a live lock was removed",
    );
}

// `weed mount` gives an open file another number once it has stored the content. A holder that
// compares the numbers takes its own file for another one, and its release reports a loss.
#[test]
fn a_holder_whose_file_receives_another_inode_number_keeps_its_lock() {
    let world = World::network().flock_not_shared().coarse();
    let world = world.where_numbers_change();
    let keep = |os: &SimSys| {
        if let Some(lock) = attempt(os.try_acquire()) {
            os.entered();
            lock.refresh().expect("the lock file is the holder's");
            lock.check().expect("the lock file is the holder's");
            os.left();
            lock.release().expect("the lock file is the holder's");
        }
    };
    let world = world.process("A", 1, keep);
    let world = world.process("B", 1, keep).on(ELSEWHERE);
    prove("2 holders where numbers change", &world);
}

// The read-back fails, say: no record may stay that looks alive.
#[test]
fn after_a_publish_that_failed_the_next_attempt_obtains_the_lock() {
    let fail_once = |os: &SimSys| {
        let Err(error) = os.try_acquire() else { return };
        // What is left is a short file, which counts as being written for 2 s.
        os.sleep(Duration::from_secs(3));
        let lock = os.try_acquire();
        let lock = lock.expect("the first attempt left no record");
        // A file whose stat failed is not known again.
        let is_known = |error: &IoError| error.operation != "stat";
        if matches!(&error, AcquireError::Io(error) if is_known(error)) {
            assert_eq!(lock.reclaimed(), None, "no holder has died");
        }
    };
    let world = World::network().flock_not_shared().coarse();
    prove(
        "2 attempts, 1 fault",
        &world.process("A", 1, fail_once).faults(1),
    );
}

// The sync fails and the record cannot be taken back: it is this process's, and was no hold.
#[test]
fn what_a_failed_publish_has_left_is_not_reported_as_reclaimed_from_a_holder() {
    let fail = |os: &SimSys| {
        if os.try_acquire().is_ok() {
            return;
        }
        if let Ok(lock) = os.try_acquire() {
            assert_eq!(lock.reclaimed().flatten(), None, "no holder has died");
        }
    };
    let world = World::network().flock_not_shared().coarse();
    let report = prove(
        "2 attempts, 2 faults",
        &world.process("A", 1, fail).faults(2),
    );
    assert!(report.states > 500, "the search is too small: {report:?}");
}

// E has the kernel lock for the time of its examination, so that A cannot lock the file that it has
// created: the file stays, empty, and A breaks it when it is old enough.
#[test]
fn a_file_that_its_creator_could_not_lock_is_not_reported_as_reclaimed_from_a_holder() {
    let acquire = |os: &SimSys| {
        if os.try_acquire().is_err() {
            os.sleep(Duration::from_secs(3));
            let lock = os.try_acquire().expect("the file is old enough");
            assert_eq!(lock.reclaimed(), None, "no holder has died");
        }
    };
    let examine = |os: &SimSys| {
        let _ = os.record();
    };
    let world = World::local().refusing_unnamed().coarse();
    let world = world.process("A", 1, acquire);
    prove(
        "a creator and 2 examinations",
        &world.process("E", 2, examine),
    );
}
