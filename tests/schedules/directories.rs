//! The directory at the path is replaced by another one while contenders are at work.

use std::time::Duration;

use rvlf_simulated::judge::Reason;
use rvlf_simulated::sim::{Safeguard, SimSys, World};

use super::{MINUTE, coarse, contend_in_danger, find, prove, with};

fn replaced(switches: usize) -> World {
    with(coarse(), 2, 1, contend_in_danger).switches(switches)
}

// A publishes in a directory that was renamed away, and B in the one that took its place.
#[test]
fn contenders_exclude_each_other_although_the_directory_at_the_path_is_replaced() {
    prove("2 contenders, 1 switch", &replaced(1));
    prove("2 contenders, 1 switch, 1 crash", &replaced(1).crashes(1));
}

// A breaks a dead lock in a directory that is replaced before A publishes there, or while A looks
// for leftovers.
#[test]
fn breakers_exclude_each_other_although_the_directory_at_the_path_is_replaced() {
    let dead = || coarse().dead_lock(Duration::from_secs(1));
    let world = with(dead(), 2, 1, contend_in_danger).switches(1);
    prove("2 breakers, 1 switch", &world);
}

#[test]
fn contenders_that_do_not_compare_the_directory_break_exclusion() {
    let world = replaced(1)
        .without(Safeguard::Path)
        .without(Safeguard::PathLast);
    find("without a comparison of the directory", &world);
}

// A compares, the directory is replaced, A publishes in the old one, B acquires in the new one.
#[test]
fn contenders_that_compare_the_directory_before_they_publish_break_exclusion() {
    let world = replaced(1).without(Safeguard::PathLast);
    find("with a comparison before the publish", &world);
}

// The directory is replaced, and the first one comes back.
#[test]
fn contenders_exclude_each_other_although_the_directory_is_replaced_twice() {
    prove("2 contenders, 2 switches, 1 crash", &replaced(2).crashes(1));
}

/// Acquires, and lives on for a while, with or without the lock.
pub fn acquire_and_live(os: &SimSys) {
    let lock = os.try_acquire();
    os.sleep(MINUTE);
    drop(lock);
}

/// Comes while the first process lives. No lock may look held by a process that has gone on in the
/// other directory, and what is reclaimed is the dead holder's.
pub fn recover(os: &SimSys) {
    os.sleep(Duration::from_secs(3));
    match os.try_acquire() {
        Ok(lock) => {
            let pid = lock.reclaimed().flatten().map(|record| record.pid().get());
            assert!(pid.is_none_or(|pid| pid == 7), "pid {pid:?} held nothing");
            os.entered();
            os.left();
            let _ = lock.release();
        }
        Err(error) => {
            let reason = error.holder().map(|holder| holder.verdict().reason());
            assert_eq!(
                reason,
                Some(Reason::KernelLock),
                "a lock that no process holds looks held"
            );
        }
    }
}

// A breaks the lock of a dead holder and publishes, and the directory is replaced. A goes on in the
// new one, and lives; B comes to the first one, which has come back.
#[test]
fn a_breaker_that_goes_on_in_another_directory_puts_the_dead_holders_record_back() {
    let world = |world: World| {
        let world = world.process("A", 1, acquire_and_live);
        world.process("B", 1, recover).switches(2)
    };
    let second = Duration::from_secs(1);
    prove(
        "a fresh lock is put back",
        &world(coarse().dead_lock(second)),
    );
    // Old enough for deployed clients to break it, too: the breakers settle.
    prove(
        "an old lock is put back",
        &world(coarse().dead_lock(MINUTE)),
    );
    let deployed = coarse().dead_deployed_lock(MINUTE);
    prove("a deployed client's lock is put back", &world(deployed));
    let torn = coarse().file("d.lock", b"", MINUTE);
    prove("a torn lock is put back", &world(torn));
}
