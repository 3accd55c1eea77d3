//! A holder has lent its descriptor to a child, and ends its hold while the child may still write.

use std::time::Duration;

use rvlf_simulated::Released;
use rvlf_simulated::sim::{Fork, Safeguard, SimSys, System, World};

use super::refreshes::ELSEWHERE;
use super::{coarse, contend_deployed, contend_in_danger, find, prove, with};

const CONTAINER: System = System::HOST.in_pid_namespace(1);

/// Lends the lock to a child, which writes, and releases it at any moment of the child's life.
pub fn lend_and_release(os: &SimSys) {
    lend(os, |os| {
        os.entered();
        os.left();
    });
}

fn lend(os: &SimSys, child: fn(&SimSys)) {
    let Ok(lock) = os.try_acquire() else { return };
    lock.lend();
    match os.fork() {
        Fork::Child => {
            child(os);
            drop(lock);
        }
        Fork::Parent => drop(lock.end()),
    }
}

fn lent(contenders: usize, system: System) -> World {
    let world = with(coarse(), contenders, 1, contend_in_danger);
    world.on(system).process("R", 1, lend_and_release)
}

#[test]
fn a_lent_lock_is_not_free_before_the_child_has_ended() {
    prove(
        "lent, 1 contender, 1 crash",
        &lent(1, System::HOST).crashes(1),
    );
    prove("lent, 2 contenders", &lent(2, System::HOST));
}

// In another pid namespace no row protects the record of a holder that has just closed its file:
// the contender breaks the lock at once.
#[test]
fn a_lent_lock_is_not_free_before_the_child_in_another_container_has_ended() {
    prove(
        "lent in a container, 1 contender, 1 crash",
        &lent(1, CONTAINER).crashes(1),
    );
    prove("lent in a container, 2 contenders", &lent(2, CONTAINER));
}

#[test]
fn a_lent_lock_is_not_free_before_the_child_has_ended_on_network_mounts() {
    let world = |world: World| {
        let world = world.coarse().process("R", 1, lend_and_release);
        world.on(ELSEWHERE).process("A", 1, contend_in_danger)
    };
    prove("lent, flock is shared", &world(World::network()));
    let sshfs = World::network()
        .flock_not_shared()
        .where_numbers_go_by_names();
    prove("lent, flock is not shared", &world(sshfs));
}

#[test]
fn a_release_that_does_not_wait_for_the_child_breaks_exclusion() {
    let world = lent(1, System::HOST).without(Safeguard::Lent);
    find("released as any other lock", &world);
}

// R closes its file and has the shared lock of a file that A has broken and B has followed: R unlinks
// B's file, and A acquires beside B.
#[test]
fn a_release_that_does_not_compare_the_path_again_breaks_exclusion() {
    let world = lent(2, CONTAINER).without(Safeguard::LentPath);
    find("unlinked without a comparison", &world);
}

// An exclusive request would be refused by an examiner that has the shared lock for a moment.
#[test]
fn a_lock_that_no_child_keeps_is_free_although_examiners_look_at_it() {
    let release = |os: &SimSys| {
        let lock = os.try_acquire().expect("no process competes");
        lock.lend();
        let ended = lock.end().expect("no process takes a live lock");
        assert_eq!(
            ended,
            Released::Free,
            "left behind although no process has it"
        );
    };
    let look = |os: &SimSys| {
        let _ = os.record();
    };
    let world = coarse().process("R", 1, release).on(CONTAINER);
    let world = world.process("L", 1, look).process("M", 1, look);
    prove("lent, 2 examiners", &world);
}

pub fn lend_to_a_long_writer(os: &SimSys) {
    lend(os, |os| {
        os.entered();
        os.sleep(Duration::from_secs(400));
        os.left();
    });
}

fn come_after_310_s(os: &SimSys) {
    os.sleep(Duration::from_secs(310));
    contend_in_danger(os);
}

#[test]
fn a_lock_that_a_child_keeps_stays_held_in_every_container_of_its_machine() {
    let world = coarse()
        .process("R", 1, lend_to_a_long_writer)
        .on(CONTAINER);
    let world = world.process("A", 1, come_after_310_s);
    prove("kept by a child for 400 s", &world);
}

// What Released::StillOpen says: no process refreshes the record.
#[test]
fn a_lock_that_a_child_keeps_is_not_respected_by_deployed_clients_and_on_other_hosts() {
    let come_after_60_s = |os: &SimSys| {
        os.sleep(Duration::from_secs(60));
        contend_deployed(os);
    };
    let world = coarse().process("R", 1, lend_to_a_long_writer);
    find("a deployed client", &world.process("D", 1, come_after_60_s));
    let sshfs = World::network().flock_not_shared().coarse();
    let world = sshfs.process("R", 1, lend_to_a_long_writer).on(ELSEWHERE);
    find("another host", &world.process("A", 1, come_after_310_s));
}
