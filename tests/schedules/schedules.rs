//! Every schedule of a few contenders, and many of more: the shipped protocol in a simulated kernel.
//!
//! Here contenders meet and die; what else may happen to them is in modules of its own: refreshes
//! against breaks, clocks, faults, other systems.
//!
//! After every call of every process: never two holders, and no foreign file touched. When nothing
//! can happen any more: nobody waits for ever, no more files are left than crashes and faults explain,
//! and whoever comes later gets the lock. A check that cannot fail proves nothing: each of the
//! protocol's checks is left out in turn, and the same search must find the harm.

mod clocks;
mod faults;
mod power;
mod refreshes;
mod systems;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rvlf_simulated::AcquireError;
use rvlf_simulated::sim::{Fork, Report, Safeguard, SimSys, Violation, World};

const MINUTE: Duration = Duration::from_secs(60);

/// Long enough for an aside to be litter and for every dead holder to be old.
const LATER: Duration = Duration::from_secs(600);

const NAMES: [&str; 4] = ["A", "B", "C", "D"];

/// The shipped lock: tries once, holds it for a while, releases it.
fn contend(os: &SimSys) {
    match os.try_acquire() {
        Ok(lock) => {
            os.entered();
            os.left();
            lock.release().expect("nobody takes a live lock");
        }
        Err(error) => assert!(error.is_held(), "contention is the only reason: {error}"),
    }
}

/// The same for those who may lose it, where that is not what is looked for.
fn contend_in_danger(os: &SimSys) {
    if let Ok(lock) = os.try_acquire() {
        os.entered();
        os.left();
        let _ = lock.release();
    }
}

fn contend_deployed(os: &SimSys) {
    if let Ok(lock) = os.try_acquire_deployed() {
        os.entered();
        os.left();
        lock.release(os);
    }
}

/// Whoever comes when all others are gone.
fn come_later(os: &SimSys) {
    let lock = os
        .try_acquire()
        .expect("the lock is free or its holder dead");
    lock.release().expect("nobody else is there");
    let _ = os.sweep();
    let left = os.names();
    assert!(
        left.iter().all(|name| !name.starts_with(".rvlf-")),
        "litter stays: {left:?}"
    );
}

fn coarse() -> World {
    World::local().coarse().finally(LATER, come_later)
}

fn with(world: World, contenders: usize, rounds: usize, program: fn(&SimSys)) -> World {
    let names = NAMES.iter().take(contenders);
    names.fold(world, |world, name| world.process(name, rounds, program))
}

/// Every schedule; prints how many.
fn prove(what: &str, world: &World) -> Report {
    let report = world.explore().expect(what);
    println!("{what}: {report:?}");
    report
}

/// A shortest schedule with two holders.
fn find(what: &str, world: &World) -> Violation {
    let violation = world.explore().expect_err(what);
    println!("{what}:\n{violation}\n");
    assert_eq!(
        violation.message(),
        "two processes hold the lock at the same time"
    );
    violation
}

#[test]
fn two_contenders_exclude_each_other_whatever_they_do_and_wherever_they_die() {
    let world = with(coarse(), 2, 2, contend).crashes(2);
    let report = prove("2 contenders, 2 acquisitions, 2 crashes", &world);
    assert!(report.states > 10_000, "that was no search: {report:?}");
}

#[test]
fn three_contenders_exclude_each_other() {
    let report = prove(
        "3 contenders, 1 crash",
        &with(coarse(), 3, 1, contend).crashes(1),
    );
    assert!(report.states > 10_000, "that was no search: {report:?}");
}

// With clocks that move at every pause, inode numbers that come back at once and link counts that
// change: everything that coarse worlds leave out.
#[test]
fn two_contenders_exclude_each_other_in_every_detail() {
    let world = with(World::local(), 2, 1, contend).crashes(1);
    prove(
        "2 contenders, 1 crash, in detail",
        &world.finally(LATER, come_later),
    );
}

// A breaks, B has judged the same dead lock: the moment for which the kernel lock and the second
// look are made.
#[test]
fn a_dead_lock_is_broken_by_one_and_obtained_by_one() {
    let fresh = || coarse().dead_lock(Duration::from_secs(1)).crashes(1);
    prove("2 breakers of a dead lock", &with(fresh(), 2, 1, contend));
    let deployed = coarse().dead_deployed_lock(MINUTE).crashes(1);
    prove(
        "2 breakers of a deployed client's",
        &with(deployed, 2, 1, contend),
    );
}

#[test]
fn without_the_kernel_lock_three_contenders_break_exclusion() {
    let world = coarse()
        .dead_lock(Duration::from_secs(1))
        .without(Safeguard::KernelLock);
    find(
        "without the kernel lock",
        &with(world, 3, 1, contend_in_danger),
    );
}

#[test]
fn without_the_second_look_two_contenders_break_exclusion() {
    let world = coarse()
        .dead_lock(Duration::from_secs(1))
        .without(Safeguard::Identity);
    find(
        "without the identity re-check",
        &with(world, 2, 1, contend_in_danger),
    );
}

// Deployed clients delete a file that they see empty: it must never be seen so.
#[test]
fn a_deployed_client_and_ours_exclude_each_other() {
    let world = |world: World| with(world, 1, 1, contend).process("D", 1, contend_deployed);
    let report = prove(
        "next to a deployed client",
        &world(World::local().coarse()).crashes(1),
    );
    assert!(report.states > 300, "that was no search: {report:?}");
}

// A disk error is no reason to create by name, where a deployed client would delete the empty file; nor
// is a race that was lost.
#[test]
fn next_to_a_deployed_client_nothing_makes_ours_create_by_name() {
    let world = |ours| with(World::local().coarse(), ours, 1, contend_in_danger);
    let next_to_one = |ours| world(ours).process("D", 1, contend_deployed);
    prove(
        "1 next to a deployed client, 1 fault",
        &next_to_one(1).faults(1),
    );
    prove("2 next to a deployed client", &next_to_one(2));
}

#[test]
fn with_exclusive_create_a_deployed_client_breaks_exclusion() {
    let world = World::local().coarse().without_unnamed();
    let world = with(world, 1, 1, contend_in_danger).process("D", 1, contend_deployed);
    find("create-then-write next to a deployed client", &world);
}

// D has judged the dead lock, too, and unlinks by path what it finds there: by then the lock of A, who
// broke it first and would hold.
#[test]
fn a_deployed_client_that_is_quick_and_ours_recover_a_dead_lock_one_after_the_other() {
    let old = |world: World| {
        let world = world.coarse().quick().dead_lock(Duration::from_secs(60));
        with(world, 1, 1, contend_in_danger).process("D", 1, contend_deployed)
    };
    prove(
        "a dead lock next to a deployed client",
        &old(World::local()),
    );
    let hasty = World::local().without(Safeguard::Settle);
    find("the same, and ours does not wait", &old(hasty));
}

#[test]
fn two_deployed_clients_break_exclusion_by_themselves() {
    let world = with(World::local().coarse(), 2, 1, contend_deployed);
    let violation = find("the deployed client against itself", &world);
    assert!(
        violation
            .trace()
            .iter()
            .all(|line| !line.contains("killed")),
        "nobody had to crash"
    );
}

// The child of a holder drops its copy of the guard, while the parent goes on holding for longer than
// a record without refreshes is believed.
fn hold_long_and_fork(os: &SimSys) {
    let Ok(lock) = os.try_acquire() else { return };
    os.entered();
    match os.fork() {
        Fork::Child => drop(lock),
        Fork::Parent => {
            os.sleep(2 * MINUTE);
            os.left();
            let _ = lock.release();
        }
    }
}

fn come_after_a_minute(os: &SimSys) {
    os.sleep(MINUTE);
    contend_in_danger(os);
}

#[test]
fn a_forked_child_that_drops_the_guard_frees_nothing() {
    let world = coarse()
        .process("F", 1, hold_long_and_fork)
        .process("A", 1, come_after_a_minute);
    prove("a forked child drops the guard", &world.crashes(1));
}

#[test]
fn a_forked_child_that_unlocks_breaks_exclusion() {
    let world = coarse().without(Safeguard::CloseOnly);
    let world = world
        .process("F", 1, hold_long_and_fork)
        .process("A", 1, come_after_a_minute);
    find("LOCK_UN in a forked child", &world);
}

// F breaks by force a lock of H that is not there any more: it catches the next one of H, who has
// died with it. Before F puts that back, C has acquired.
fn acquire_twice_and_die(os: &SimSys) {
    let Ok(lock) = os.try_acquire() else { return };
    let _ = lock.release();
    std::mem::forget(os.try_acquire());
}

fn break_by_force_and_contend(os: &SimSys) {
    if let Some(record) = os.record()
        && !os.force_break(record.writer_id())
    {
        contend_in_danger(os);
    }
}

fn contend_while_an_aside_is_there(os: &SimSys) {
    if os.names().iter().any(|name| name.starts_with(".rvlf-")) {
        contend_in_danger(os);
    }
}

fn break_by_force(world: World) -> World {
    let world = world.process("H", 1, acquire_twice_and_die);
    let world = world.process("F", 1, break_by_force_and_contend);
    world.process("C", 1, contend_while_an_aside_is_there)
}

#[test]
fn what_was_caught_by_mistake_replaces_nobody() {
    prove("put back if the path is free", &break_by_force(coarse()));
}

#[test]
fn put_back_over_another_lock_breaks_exclusion() {
    let world = coarse().without(Safeguard::PutBackNoReplace);
    find("put back whatever is there", &break_by_force(world));
}

// Another tool's file at the lock path, and one under the name of an aside.
#[test]
fn foreign_files_are_left_alone() {
    let world = World::local().coarse().crashes(1);
    let world = world
        .foreign("d.lock", b"{\"pid\": 4121}")
        .foreign(".rvlf-00000000000000ff", b"x");
    let refused = |os: &SimSys| match os.try_acquire() {
        Err(AcquireError::Foreign { .. }) => assert_eq!(os.sweep(), 0, "no litter of ours is here"),
        other => panic!("a foreign file is no lock: {other:?}"),
    };
    prove(
        "a foreign file at the lock path",
        &world.process("A", 1, refused).process("B", 1, refused),
    );
}

// What loops say of their memory decides which histories count as one: told too little, the search
// would skip what it has not seen.
#[test]
fn histories_that_count_as_one_lead_to_the_same_places() {
    for (rounds, crashes) in [(1, 0), (1, 1), (2, 0)] {
        let world = || with(World::local().coarse(), 2, rounds, contend).crashes(crashes);
        let few = prove("some histories", &world());
        let all = prove("every history", &world().without_merging());
        assert_eq!(
            few.kernels, all.kernels,
            "the same values of the kernel are reached"
        );
        assert!(few.histories < all.histories, "some histories are alike");
    }
}

/// Waits for the lock, and must get it.
fn wait_and_hold(os: &SimSys) {
    let lock = os
        .acquire(MINUTE)
        .expect("everybody before has released or died");
    os.entered();
    os.left();
    lock.release().expect("nobody takes a live lock");
}

// Between a look at the lock and its watch, between an event and the end of the flock, between that
// and the end of the process: a waiter that misses its moment would sleep on.
#[test]
fn waiters_are_woken_by_each_release_and_each_death() {
    let one = || with(coarse(), 1, 1, contend).process("W", 1, wait_and_hold);
    prove("1 waiter", &one());
    prove("1 waiter, 1 crash", &one().crashes(1));
    prove(
        "2 waiters, 1 crash",
        &with(coarse(), 2, 1, wait_and_hold).crashes(1),
    );
}

// W sees that A holds, and sleeps; but A has released, or died, after the look and before the watch.
#[test]
fn a_waiter_that_does_not_look_again_once_it_watches_oversleeps() {
    let world = with(coarse(), 1, 1, contend).process("W", 1, wait_and_hold);
    let violation = world.without(Safeguard::LookAfterWatch).explore();
    let violation = violation.expect_err("the moment comes in some schedule");
    assert_eq!(violation.message(), "W sleeps although the lock is free");
}

// A file system without O_TMPFILE: the file has its name before it is locked and written. Ours wait
// until it is, and break what was left torn.
#[test]
fn contenders_that_create_and_then_write_exclude_each_other() {
    let world = || World::local().without_unnamed().finally(LATER, come_later);
    prove(
        "exclusive create, 2 contenders, 1 crash",
        &with(world().coarse(), 2, 1, contend).crashes(1),
    );
    let unlinkable = World::local().without_links().finally(LATER, come_later);
    prove(
        "files that cannot be linked, 2 contenders, 1 crash",
        &with(unlinkable.coarse(), 2, 1, contend).crashes(1),
    );
}

// Minutes, and two gigabytes: `cargo test --release -p rvlf-schedules -- --ignored`.
#[test]
#[ignore = "takes minutes and 2 GB of memory"]
fn three_contenders_exclude_each_other_twice() {
    prove(
        "3 contenders, 2 acquisitions, 1 crash",
        &with(coarse(), 3, 2, contend).crashes(1),
    );
}

/// Random schedules: RVLF_SCHEDULES of them (250), the first chosen by RVLF_SEED (the time).
fn sample(what: &str, world: &World) {
    let number = |name| std::env::var(name).ok()?.parse().ok();
    let schedules: u64 = number("RVLF_SCHEDULES").unwrap_or(250);
    let time = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(1, |time| time.as_secs())
    };
    let seed = number("RVLF_SEED").unwrap_or_else(|| time() << 32);
    println!("{what}: {schedules} schedules from RVLF_SEED={seed}");
    let report = world.random_walk(seed, schedules).expect(what);
    println!(
        "{what}: {} steps, the longest schedule {}",
        report.transitions, report.depth
    );
}

#[test]
fn random_schedules_of_many_contenders() {
    let world = with(World::local(), 4, 3, contend).crashes(4);
    sample(
        "4 contenders, 3 acquisitions, 4 crashes",
        &world.finally(LATER, come_later),
    );
}

#[test]
fn random_schedules_of_breakers() {
    let world = with(
        World::local().dead_lock(Duration::from_secs(1)),
        4,
        2,
        contend,
    )
    .crashes(3);
    sample(
        "4 breakers, 2 acquisitions, 3 crashes",
        &world.finally(LATER, come_later),
    );
}

#[test]
fn random_schedules_of_waiters() {
    let world = with(World::local(), 3, 2, wait_and_hold)
        .process("D", 2, contend)
        .crashes(2);
    sample(
        "3 waiters and a contender, 2 crashes",
        &world.finally(LATER, come_later),
    );
}

#[test]
fn random_schedules_without_unnamed_files() {
    let world = with(World::local().without_unnamed(), 3, 2, contend).crashes(2);
    sample(
        "exclusive create, 3 contenders, 2 crashes",
        &world.finally(LATER, come_later),
    );
}

// A breaker that dies with the kernel lock makes no event: whoever waits for it is woken by a timer.
#[test]
fn random_schedules_of_waiters_at_a_dead_lock() {
    let world = World::local().dead_lock(Duration::from_secs(1)).crashes(2);
    let world = with(world, 2, 2, wait_and_hold).process("C", 2, contend);
    sample(
        "2 waiters and a contender at a dead lock, 2 crashes",
        &world.finally(LATER, come_later),
    );
}
