//! Every schedule of a few contenders, and many schedules of more: the shipped protocol in a
//! simulated kernel.
//!
//! In this file contenders compete and die. The modules add refreshes against breaks, clocks,
//! faults, losses of power, stamps from before a boot, and other systems; `table` has the worlds of
//! the allocation table.
//!
//! The search checks after every call of every process: there are never two holders, and no foreign
//! file was changed. When nothing can happen any more, it checks: no process waits indefinitely, no
//! more files are left than crashes and faults explain, and a process that comes later obtains the
//! lock. A check that cannot fail proves nothing: each safeguard of the protocol is disabled in
//! turn, and the same search must find the harm.

mod cancellation;
mod clocks;
mod directories;
mod faults;
mod large;
mod lent;
mod power;
mod reduction;
mod refreshes;
mod stamps;
mod systems;
mod table;
mod unlocks;
mod watching;
mod windows;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rvlf_simulated::AcquireError;
use rvlf_simulated::judge::Reason;
use rvlf_simulated::sim::{Fork, Report, Safeguard, SimSys, Violation, World};

const MINUTE: Duration = Duration::from_secs(60);

/// Long enough for a breaker's temporary file to be a leftover, and for every dead holder to be
/// old.
const LATER: Duration = Duration::from_secs(600);

const NAMES: [&str; 4] = ["A", "B", "C", "D"];

/// Tries once to acquire the shipped lock, holds it for a while, and releases it.
fn contend(os: &SimSys) {
    match os.try_acquire() {
        Ok(lock) => {
            os.entered();
            os.left();
            lock.release().expect("no process takes a live lock");
        }
        Err(error) => assert!(
            error.is_held(),
            "refused for another reason than contention: {error}"
        ),
    }
}

/// The same where the holder may lose the lock, and the test does not check for that.
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

/// Acquires and releases when all others have ended, and checks that they left nothing.
fn come_later(os: &SimSys) {
    let lock = os
        .try_acquire()
        .expect("the lock is free or its holder dead");
    lock.release().expect("no other process is there");
    let _ = os.remove_leftovers();
    let left = os.names();
    assert!(
        left.iter().all(|name| !name.starts_with(".rvlf-")),
        "leftovers: {left:?}"
    );
}

fn coarse() -> World {
    World::local().coarse().finally(LATER, come_later)
}

fn with(world: World, contenders: usize, rounds: usize, program: fn(&SimSys)) -> World {
    let names = NAMES.iter().take(contenders);
    names.fold(world, |world, name| world.process(name, rounds, program))
}

/// Tries every schedule, and prints how many there are.
fn prove(what: &str, world: &World) -> Report {
    let report = world.explore().expect(what);
    println!("{what}: {report:?}");
    report
}

/// Finds a shortest schedule with two holders.
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
fn two_contenders_exclude_each_other_wherever_they_die() {
    let world = with(coarse(), 2, 2, contend).crashes(2);
    let report = prove("2 contenders, 2 acquisitions, 2 crashes", &world);
    assert!(
        report.states > 10_000,
        "the search is too small: {report:?}"
    );
}

#[test]
fn three_contenders_exclude_each_other() {
    let report = prove(
        "3 contenders, 1 crash",
        &with(coarse(), 3, 1, contend).crashes(1),
    );
    assert!(
        report.states > 10_000,
        "the search is too small: {report:?}"
    );
}

// Clocks move at every sleep, inode numbers are reused at once, and link counts change: everything
// that coarse worlds leave out.
#[test]
fn two_contenders_exclude_each_other_in_every_detail() {
    let world = with(World::local(), 2, 1, contend).crashes(1);
    prove(
        "2 contenders, 1 crash, in detail",
        &world.finally(LATER, come_later),
    );
}

// A breaks a dead lock that B has also judged: the kernel lock and the identity check exist for
// this moment.
#[test]
fn one_contender_breaks_a_dead_lock_and_one_obtains_it() {
    let fresh = || coarse().dead_lock(Duration::from_secs(1)).crashes(1);
    prove("2 breakers of a dead lock", &with(fresh(), 2, 1, contend));
    let deployed = coarse().dead_deployed_lock(MINUTE).crashes(1);
    prove(
        "2 breakers of a deployed client's lock",
        &with(deployed, 2, 1, contend),
    );
}

/// Acquires, and ends without a release, so that each holder follows a dead one.
fn hold_and_die(os: &SimSys) {
    if let Ok(lock) = os.try_acquire() {
        assert!(lock.reclaimed().is_some(), "a holder learned of no death");
        std::mem::forget(lock);
    }
}

fn holders_that_die(contenders: usize) -> World {
    let world = World::local()
        .coarse()
        .dead_lock(Duration::from_secs(1))
        .finally(LATER, hold_and_die);
    with(world, contenders, 2, hold_and_die)
}

// C10: between its rename and its link a breaker alone knows of the dead holder. If it dies there, or if
// another contender publishes first, that one holds without a report.
#[test]
fn a_holder_learns_of_the_dead_one_before_it_unless_a_breaker_dies_or_is_overtaken() {
    prove(
        "holders that die, one after the other",
        &holders_that_die(1),
    );
    for (what, world) in [
        ("a breaker that dies", holders_that_die(1).crashes(1)),
        ("a breaker that is overtaken", holders_that_die(2)),
    ] {
        let violation = world.explore().expect_err("the limit C10");
        println!("{what}:\n{violation}\n");
        let message = violation.message();
        assert!(
            message.contains("a holder learned of no death"),
            "{what}: {message}"
        );
    }
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
fn without_the_identity_check_two_contenders_break_exclusion() {
    let world = coarse()
        .dead_lock(Duration::from_secs(1))
        .without(Safeguard::Identity);
    find(
        "without the identity check",
        &with(world, 2, 1, contend_in_danger),
    );
}

// Deployed clients delete a file that they see empty. So they must never see ours empty.
#[test]
fn a_deployed_client_and_this_library_exclude_each_other() {
    let world = |world: World| with(world, 1, 1, contend).process("D", 1, contend_deployed);
    let report = prove(
        "next to a deployed client",
        &world(World::local().coarse()).crashes(1),
    );
    assert!(report.states > 300, "the search is too small: {report:?}");
    prove(
        "by a private name, next to a deployed client",
        &world(World::local().without_unnamed().coarse()).crashes(1),
    );
}

// Neither a disk error nor a lost race is a reason to create the lock file by name: a deployed
// client would delete the empty file.
#[test]
fn next_to_a_deployed_client_the_lock_file_is_never_created_by_name() {
    let by_a_private_name = || World::local().without_unnamed();
    for (what, world) in [
        ("unnamed", &World::local as &dyn Fn() -> World),
        ("by a private name", &by_a_private_name),
    ] {
        let next_to_one = |ours| {
            let world = with(world().coarse(), ours, 1, contend_in_danger);
            world.process("D", 1, contend_deployed)
        };
        prove(
            &format!("1 next to a deployed client, 1 fault, {what}"),
            &next_to_one(1).faults(1),
        );
        prove(
            &format!("2 next to a deployed client, {what}"),
            &next_to_one(2),
        );
    }
}

// The safeguard that is disabled here is the linked publish.
#[test]
fn with_exclusive_create_a_deployed_client_breaks_exclusion() {
    let world = World::local().coarse().refusing_unnamed();
    let world = with(world, 1, 1, contend_in_danger).process("D", 1, contend_deployed);
    find("create-then-write next to a deployed client", &world);
}

// D has also judged the dead lock, and unlinks by path the file that is there by then: the lock of
// A, which was quicker and would hold it.
#[test]
fn a_quick_deployed_client_and_this_library_recover_a_dead_lock_one_after_the_other() {
    let old = |world: World| {
        let world = world.coarse().quick().dead_lock(Duration::from_secs(60));
        with(world, 1, 1, contend_in_danger).process("D", 1, contend_deployed)
    };
    prove(
        "a dead lock next to a deployed client",
        &old(World::local()),
    );
    let unsettled = World::local().without(Safeguard::Settle);
    find("the same without the settle time", &old(unsettled));
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
        "it takes no crash"
    );
}

// The child of a holder drops its copy of the guard. The parent holds on for longer than a record
// without refreshes counts as live.
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

// F breaks a lock of H by force that is not there any more: F renames the next lock of H aside, and
// H has died with it. Before F puts that lock back, C has acquired.
fn acquire_twice_and_die(os: &SimSys) {
    let Ok(lock) = os.try_acquire() else { return };
    let _ = lock.release();
    std::mem::forget(os.try_acquire());
}

fn break_by_force_and_contend(os: &SimSys) {
    let Some(record) = os.record() else { return };
    if !os.force_break(record.writer_id()) {
        contend_in_danger(os);
    }
}

fn contend_while_a_lock_is_aside(os: &SimSys) {
    if os.names().iter().any(|name| name.starts_with(".rvlf-")) {
        contend_in_danger(os);
    }
}

fn break_by_force(world: World) -> World {
    let world = world.process("H", 1, acquire_twice_and_die);
    let world = world.process("F", 1, break_by_force_and_contend);
    world.process("C", 1, contend_while_a_lock_is_aside)
}

#[test]
fn a_lock_renamed_aside_by_mistake_replaces_no_other_lock() {
    prove("put back if the path is free", &break_by_force(coarse()));
}

#[test]
fn put_back_over_another_lock_breaks_exclusion() {
    let world = coarse().without(Safeguard::PutBackNoReplace);
    find("put back over any file", &break_by_force(world));
}

// One foreign file is at the lock path, another has a name like a breaker's temporary file.
#[test]
fn foreign_files_are_left_alone() {
    let world = World::local().coarse().crashes(1);
    let world = world
        .foreign("d.lock", b"{\"pid\": 4121}")
        .foreign(".rvlf-00000000000000ff", b"x");
    let refused = |os: &SimSys| match os.try_acquire() {
        Err(AcquireError::Foreign { .. }) => {
            assert_eq!(
                os.remove_leftovers(),
                0,
                "no leftover of this library is here"
            )
        }
        other => panic!("a foreign file was treated as a lock: {other:?}"),
    };
    prove(
        "a foreign file at the lock path",
        &world.process("A", 1, refused).process("B", 1, refused),
    );
}

// The memory that a loop declares decides which histories are merged. If a loop declared too
// little, the search would skip states that it has not seen.
#[test]
fn merged_histories_reach_the_same_kernels() {
    for (rounds, crashes) in [(1, 0), (1, 1), (2, 0)] {
        let world = || with(World::local().coarse(), 2, rounds, contend).crashes(crashes);
        let merged = prove("with merging", &world());
        let all = prove("without merging", &world().without_merging());
        assert_eq!(
            merged.kernels, all.kernels,
            "merging hides a value of the kernel"
        );
        assert!(merged.histories < all.histories, "nothing was merged");
    }
}

/// Waits for the lock, and must obtain it.
fn wait_and_hold(os: &SimSys) {
    let lock = os
        .acquire(MINUTE)
        .expect("every earlier holder has released or died");
    os.entered();
    os.left();
    lock.release().expect("no process takes a live lock");
}

// A release or a death may come between the examination of the lock and its watch; the flock ends
// after the event, and the process after the flock. A waiter that misses its moment would sleep on.
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

// W sees that A holds, and sleeps; but A has released, or died, after the examination and before
// the watch.
#[test]
fn a_waiter_that_does_not_check_after_arming_its_watch_sleeps_through_a_release() {
    let world = with(coarse(), 1, 1, contend).process("W", 1, wait_and_hold);
    let violation = world.without(Safeguard::LookAfterWatch).explore();
    let violation = violation.expect_err("the moment comes in some schedule");
    assert_eq!(violation.message(), "W sleeps although the lock is free");
}

// The lock file of another user, whose umask is 077: no event can be watched for, and the next look
// may come 500 ms later. A waiter that began its pauses anew at each look would look every 10 ms, a
// thousand times in this wait.
#[test]
fn a_waiter_at_a_lock_file_that_it_may_not_read_examines_it_ever_more_rarely() {
    let world = World::local().where_planted_files_are_unreadable();
    let world = world.dead_lock(Duration::from_secs(1)).without_merging();
    let wait = |os: &SimSys| {
        let refused = os.acquire(Duration::from_secs(10));
        let holder = refused.expect_err("it may not be read");
        let reason = holder.holder().map(|holder| holder.verdict().reason());
        assert_eq!(reason, Some(Reason::Unreadable));
        // 10, 20, 40 .. 320 ms, and then 500 ms.
        let looks = os.looks();
        assert!(looks < 35, "{looks} looks in 10 s");
    };
    prove("1 waiter, unreadable", &world.process("W", 1, wait));
}

// macOS, the BSDs and old file systems have no O_TMPFILE: the file is locked and written under a
// private name, so that no contender, a deployed one included, finds a short file at the lock path.
#[test]
fn contenders_that_publish_by_a_private_name_exclude_each_other() {
    let world = || World::local().without_unnamed().finally(LATER, come_later);
    prove(
        "private names, 2 contenders, 1 crash",
        &with(world().coarse(), 2, 1, contend).crashes(1),
    );
    let dead = World::local()
        .without_unnamed()
        .dead_lock(Duration::from_secs(1));
    prove(
        "private names, 2 breakers",
        &with(dead.coarse().finally(LATER, come_later), 2, 1, contend),
    );
}

// A security policy refuses O_TMPFILE: the file has its name before it is locked and written. Other
// contenders wait until it is written, and break a file that was left torn.
#[test]
fn contenders_that_create_and_then_write_exclude_each_other() {
    let world = || World::local().refusing_unnamed().finally(LATER, come_later);
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

// A security policy permits to create files, and refuses files without a name, or links. A lock that
// reported this as an error would be useless where a deployed client works.
#[test]
fn where_a_policy_refuses_the_linked_publish_contenders_create_and_then_write() {
    for (what, world) in [
        (
            "unnamed files are refused",
            World::local().refusing_unnamed(),
        ),
        ("links are refused", World::local().refusing_links()),
    ] {
        let world = world.coarse().finally(LATER, come_later);
        prove(what, &with(world, 2, 1, contend).crashes(1));
    }
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

/// Tries random schedules: RVLF_SCHEDULES of them (default 250). RVLF_SEED chooses the first
/// (default: the time).
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
    for (what, world) in [
        (
            "exclusive create, 3 contenders, 2 crashes",
            World::local().refusing_unnamed(),
        ),
        (
            "private names, 3 contenders, 2 crashes",
            World::local().without_unnamed(),
        ),
    ] {
        let world = with(world, 3, 2, contend).crashes(2);
        sample(what, &world.finally(LATER, come_later));
    }
}

// A breaker that dies with the kernel lock generates no event: a timer wakes the process that waits
// for it.
#[test]
fn random_schedules_of_waiters_at_a_dead_lock() {
    let world = World::local().dead_lock(Duration::from_secs(1)).crashes(2);
    let world = with(world, 2, 2, wait_and_hold).process("C", 2, contend);
    sample(
        "2 waiters and a contender at a dead lock, 2 crashes",
        &world.finally(LATER, come_later),
    );
}
