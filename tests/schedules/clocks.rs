//! Wall clocks that are set, and machines that are suspended, at any moment.

use std::time::Duration;

use rvlf_simulated::sim::{Safeguard, SimSys, World};

use super::refreshes::{ELSEWHERE, come_after_the_age, hold_for_long, refresh_and_check};
use super::{LATER, contend, contend_in_danger, find, prove, sample, with};

const SECOND: Duration = Duration::from_secs(1);

/// Whoever comes later gets the lock, whatever its clock shows. (Litter is removed by its age: by a
/// clock that was set back it stays young.)
fn recover(os: &SimSys) {
    let lock = os.try_acquire().expect("everybody is dead or has released");
    lock.release().expect("nobody else is there");
}

fn refresh_and_release(os: &SimSys) {
    match os.try_acquire() {
        Ok(lock) => {
            os.entered();
            lock.refresh().expect("nobody takes a live lock");
            os.left();
            lock.release().expect("nobody takes a live lock");
        }
        Err(error) => assert!(error.is_held(), "contention is the only reason: {error}"),
    }
}

fn coarse() -> World {
    World::local().coarse().finally(LATER, recover)
}

/// A patience that outlasts a suspension.
fn wait_for_hours(os: &SimSys) {
    let lock = os
        .acquire(Duration::from_secs(10 * 3600))
        .expect("everybody before has released or died");
    os.entered();
    os.left();
    lock.release().expect("nobody takes a live lock");
}

// NTP sets the clock at boot, somebody by hand, a laptop sleeps: on a local file system no live holder
// loses anything by it.
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

// Two machines, two clocks, neither of which the file server follows. The holder shows an age by two
// clocks, and one of them at most is wrong.
#[test]
fn a_live_holder_elsewhere_is_not_robbed_because_a_clock_was_set() {
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

// A machine that sleeps for an hour is a holder that is paused: the others go on, and it hears of its
// loss at its next check.
#[test]
fn a_suspended_holder_hears_of_its_loss_and_touches_nothing() {
    let world = World::network().flock_not_shared().coarse();
    let world = world.process("H", 1, refresh_and_check);
    let world = world.on(ELSEWHERE).process("C", 1, come_after_the_age);
    let world = world.finally(LATER, recover);
    prove("a suspended holder", &world.suspensions(1));
}

#[test]
fn random_schedules_with_clock_steps_and_suspensions() {
    let world = || with(World::local(), 3, 2, refresh_and_release);
    let mishaps = |world: World| world.crashes(2).clock_steps(3).suspensions(2);
    sample(
        "3 holders, all mishaps of clocks",
        &mishaps(world()).finally(LATER, recover),
    );
    let dead = with(World::local().dead_lock(SECOND), 3, 2, refresh_and_release);
    sample(
        "3 breakers, all mishaps of clocks",
        &mishaps(dead).finally(LATER, recover),
    );
    let torn = with(World::local().without_unnamed(), 3, 2, refresh_and_release);
    sample(
        "exclusive create, all mishaps of clocks",
        &mishaps(torn).finally(LATER, recover),
    );
    // A holder elsewhere that was suspended for an hour gives itself up.
    let on_two = World::network().process("A", 2, refresh_and_release);
    let on_two = on_two.on(ELSEWHERE).process("B", 2, refresh_and_release);
    sample(
        "two machines that share flock, 2 crashes, 3 clock steps",
        &on_two.crashes(2).clock_steps(3).finally(LATER, recover),
    );
}

// Exclusive create: A's file is empty, and a clock that is set makes it look old to B, who locks it to
// break it. A takes its file back, which it could not lock, and publishes another one: B's rename
// catches that, and C publishes as well.
#[test]
#[ignore = "takes minutes"]
fn what_is_taken_back_unlocked_breaks_exclusion() {
    let world = World::local().without_unnamed().coarse().clock_steps(1);
    let world = world.without(Safeguard::LockedWithdraw);
    find(
        "a withdrawal without the kernel lock",
        &with(world, 3, 1, contend_in_danger),
    );
}
