//! Wall clocks are set and machines are suspended, at any moment.

use std::time::Duration;

use rvlf_simulated::sim::{Safeguard, SimSys, World};

use super::refreshes::{ELSEWHERE, come_after_the_age, hold_for_long, refresh_and_check};
use super::{LATER, contend, contend_in_danger, prove, sample, with};

const SECOND: Duration = Duration::from_secs(1);

/// Acquires and releases when all others have ended, whatever the clock shows. (It does not check
/// for leftovers: they are removed by age, and by a clock that was set back they stay young.)
fn recover(os: &SimSys) {
    let lock = os
        .try_acquire()
        .expect("every holder is dead or has released");
    lock.release().expect("no other process is there");
}

fn refresh_and_release(os: &SimSys) {
    match os.try_acquire() {
        Ok(lock) => {
            os.entered();
            lock.refresh().expect("no process takes a live lock");
            os.left();
            lock.release().expect("no process takes a live lock");
        }
        Err(error) => assert!(
            error.is_held(),
            "refused for another reason than contention: {error}"
        ),
    }
}

fn coarse() -> World {
    World::local().coarse().finally(LATER, recover)
}

/// Waits with a timeout that outlasts a suspension.
fn wait_for_hours(os: &SimSys) {
    let lock = os
        .acquire(Duration::from_secs(10 * 3600))
        .expect("every earlier holder has released or died");
    os.entered();
    os.left();
    lock.release().expect("no process takes a live lock");
}

// NTP sets the clock at boot, a user sets it by hand, a laptop is suspended: on a local file system
// no live holder loses its lock by that.
#[test]
fn a_live_holder_keeps_its_lock_whatever_the_clock_does() {
    let world = || {
        coarse()
            .process("H", 1, refresh_and_release)
            .process("C", 1, contend)
    };
    prove("2 holders, 1 clock step", &world().clock_steps(1));
    prove(
        "2 holders, 1 suspension, 1 crash",
        &world().suspensions(1).crashes(1),
    );
}

#[test]
fn a_dead_lock_is_recovered_at_once_whatever_the_clock_does() {
    for age in [SECOND, Duration::from_secs(3600)] {
        let world = coarse().dead_lock(age).process("A", 1, recover);
        prove(
            "1 breaker, 2 clock steps, 1 suspension",
            &world.clock_steps(2).suspensions(1),
        );
    }
}

#[test]
#[ignore = "takes minutes"]
fn two_breakers_exclude_each_other_whatever_the_clock_does() {
    let world = || with(coarse().dead_lock(SECOND), 2, 1, contend);
    prove("2 breakers, 1 clock step", &world().clock_steps(1));
    prove("2 breakers, 1 suspension", &world().suspensions(1));
}

#[test]
fn waiters_are_woken_whatever_the_clock_does() {
    let world = || with(coarse(), 1, 1, contend).process("W", 1, wait_for_hours);
    prove("1 waiter, 1 clock step", &world().clock_steps(1));
    prove("1 waiter, 1 suspension", &world().suspensions(1));
}

// Two machines have two clocks, and the file server has a third. The age of the holder's record is
// known by two clocks, and at most one of them is wrong.
#[test]
fn a_live_holder_elsewhere_keeps_its_lock_when_a_clock_is_set() {
    let mount = || {
        World::network()
            .flock_not_shared()
            .coarse()
            .finally(LATER, recover)
    };
    let world = mount().process("H", 1, hold_for_long);
    let world = world.on(ELSEWHERE).process("C", 1, come_after_the_age);
    prove("a refreshing holder, 1 clock step", &world.clock_steps(1));
}

// A holder on a machine that is suspended for an hour is paused: the others go on, and the holder
// notices its loss at its next check.
#[test]
fn a_suspended_holder_notices_its_loss_and_changes_nothing() {
    let world = World::network().flock_not_shared().coarse();
    let world = world.process("H", 1, refresh_and_check);
    let world = world.on(ELSEWHERE).process("C", 1, come_after_the_age);
    let world = world.finally(LATER, recover);
    prove("a suspended holder", &world.suspensions(1));
}

#[test]
fn random_schedules_with_clock_steps_and_suspensions() {
    let world = || with(World::local(), 3, 2, refresh_and_release);
    let events = |world: World| world.crashes(2).clock_steps(3).suspensions(2);
    sample(
        "3 holders, all clock events",
        &events(world()).finally(LATER, recover),
    );
    let dead = with(World::local().dead_lock(SECOND), 3, 2, refresh_and_release);
    sample(
        "3 breakers, all clock events",
        &events(dead).finally(LATER, recover),
    );
    let torn = with(World::local().refusing_unnamed(), 3, 2, refresh_and_release);
    sample(
        "exclusive create, all clock events",
        &events(torn).finally(LATER, recover),
    );
    // No suspensions here: on a mount a holder that was suspended for an hour gives its lock up.
    let on_two = World::network().process("A", 2, refresh_and_release);
    let on_two = on_two.on(ELSEWHERE).process("B", 2, refresh_and_release);
    sample(
        "two machines that share flock, 2 crashes, 3 clock steps",
        &on_two.crashes(2).clock_steps(3).finally(LATER, recover),
    );
}

// Exclusive create: A's file is empty, and a clock that is set makes the file look old to B, which
// locks it to break it. A withdraws its file, which it could not lock, and publishes another one: B
// renames that one aside, and C publishes as well.
//
// By random schedules: the search of every schedule needs more than 24 GB of memory for this one.
#[test]
#[ignore = "takes a minute"]
fn a_withdrawal_without_the_kernel_lock_breaks_exclusion() {
    let world = World::local().refusing_unnamed().coarse().clock_steps(1);
    let world = world.without(Safeguard::LockedWithdraw);
    let world = with(world, 4, 1, contend_in_danger);
    let violation = world.random_walk(1, 300_000);
    let violation = violation.expect_err("a withdrawal without the kernel lock");
    println!("a withdrawal without the kernel lock:\n{violation}\n");
    assert_eq!(
        violation.message(),
        "two processes hold the lock at the same time"
    );
}
