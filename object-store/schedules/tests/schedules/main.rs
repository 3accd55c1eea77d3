//! Every schedule of a few clients of one store, and many schedules of more: the shipped machine of the
//! object-store lock against a simulated store.
//!
//! After every step the search checks: no two clients believe at one time (I6); no acknowledged commit
//! is lost, no older generation writes after a newer one, and no commit that was reported as not in is in
//! (I7); a client that comes later and is alone gets the lock within its lease and two polls (I8); what
//! is no lock is never written; every commit ends once. A check that cannot fail proves nothing: each rule
//! of the protocol is left out in turn, and the same search must find the harm.

mod plans;
mod rules;

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rvlf_store_schedules::{Report, Role, Violation, World};

/// Two ticks of belief, and more than three of lease.
const SLOW: u64 = 2000;
/// Half as fast again, which is the limit.
const FAST: u64 = 3000;

/// Tries every schedule, and prints how many there are.
fn prove(what: &str, world: &World) -> Report {
    let report = world.explore().expect(what);
    println!("{what}: {report:?}");
    report
}

/// Finds a shortest schedule that breaks a promise.
fn find(what: &str, message: &str, world: &World) -> Violation {
    let violation = world.explore().expect_err(what);
    println!(
        "{what}: found after {} steps\n{violation}\n",
        violation.steps()
    );
    assert_eq!(violation.message(), message);
    violation
}

/// Tries random schedules: RVLF_SCHEDULES of them (default 25). RVLF_SEED chooses the first.
fn sample(what: &str, world: &World) {
    let number = |name| std::env::var(name).ok()?.parse().ok();
    let schedules: u64 = number("RVLF_SCHEDULES").unwrap_or(25);
    let time = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(1, |time| time.as_secs())
    };
    let seed = number("RVLF_SEED").unwrap_or_else(|| time() << 32);
    println!("{what}: {schedules} schedules from RVLF_SEED={seed}");
    let report = world.random_walk(seed, schedules).expect(what);
    println!("{what}: {report:?}");
    assert!(report.events.acquired > 0, "no client acquired the lock");
}

fn slow() -> Role {
    Role::contender().ms_per_tick(SLOW)
}

fn fast() -> Role {
    Role::contender().ms_per_tick(FAST)
}

/// Two clients whose clocks differ by the most that is allowed, in rate, and by an hour in time.
fn at_the_limit(ticks: u32, writes: u8) -> World {
    World::with_free_writes(ticks, writes)
        .client(slow())
        .client(fast())
}

#[test]
fn two_clients_never_believe_at_one_time_although_clock_rates_differ_by_half() {
    let report = prove("2 clients, rates 2:3, 2 writes", &at_the_limit(4, 2));
    assert!(report.events.acquired > 0 && report.events.lost > 0);
}

#[test]
#[ignore = "takes a minute"]
fn two_clients_never_believe_at_one_time_whenever_their_writes_come_in() {
    prove("2 clients, rates 2:3, 4 writes", &at_the_limit(6, 4));
}

#[test]
#[ignore = "takes a minute"]
fn three_clients_never_believe_at_one_time() {
    let world = World::with_free_writes(5, 3);
    let holder = Role::holder();
    let world = world.client(holder).client(holder.ms_per_tick(FAST));
    prove("3 clients, 3 writes", &world.client(holder).dead_holder());
    let world = World::with_free_writes(4, 3).client(holder);
    let fast = holder.ms_per_tick(FAST);
    prove(
        "3 clients from no object, 3 writes",
        &world.client(fast).client(fast),
    );
}

// A client, a proxy or the store sends a write again, at any time.
#[test]
#[ignore = "takes a minute"]
fn writes_that_are_executed_again_at_any_time_do_no_harm() {
    let world = World::with_free_writes(5, 4).with_copies();
    let world = world.client(slow()).client(fast().commits(1));
    prove("2 clients, every write again, 4 writes", &world);
}

#[test]
fn no_acknowledged_commit_is_lost() {
    let world = World::with_free_writes(4, 3).client(Role::holder().commits(1));
    let world = world.client(Role::holder().ms_per_tick(FAST).commits(1));
    let report = prove("2 clients that commit, 3 writes", &world);
    assert!(report.events.committed > 0 && report.events.lost > 0);
}

#[test]
#[ignore = "takes a minute"]
fn no_acknowledged_commit_is_lost_among_more_writes() {
    let world = World::with_free_writes(4, 5).impatience(1, 0);
    let world = world.client(Role::holder().commits(2));
    let world = world.client(Role::holder().ms_per_tick(FAST).commits(1));
    prove("2 clients that commit, 5 writes", &world);
}

#[test]
fn reads_whose_answer_comes_after_others_have_written_do_no_harm() {
    let world = World::with_free_writes(3, 2).with_slow_reads();
    let world = world.client(slow()).client(fast());
    prove("2 clients, slow reads", &world.dead_holder());
}

/// One client alone: nothing that the store does once or twice costs its lock.
fn one_client(ticks: u32, ms_per_tick: u64) -> World {
    let role = Role::contender().ms_per_tick(ms_per_tick).commits(1);
    World::prompt(ticks).without_loss().client(role)
}

fn prove_without_loss(what: &str, world: &World) {
    let report = prove(what, world);
    assert!(report.events.committed > 0 && report.events.released > 0);
}

// T9: the create, the refresh, the commit or the release is in, and its answer is lost. T11: S3 answers
// 409 to two creates of which neither is in; and a client below is refused because of its own first copy.
#[test]
fn one_mishap_of_the_store_costs_no_lock() {
    prove_without_loss("1 lost answer", &one_client(9, 500).late(1));
    prove_without_loss("1 refusal", &one_client(9, 500).refusals(1));
    prove_without_loss("1 failure", &one_client(9, 500).failures(1));
}

#[test]
#[ignore = "takes a minute"]
fn two_mishaps_of_the_store_cost_no_lock() {
    prove_without_loss("2 lost answers", &one_client(17, 250).late(2));
    prove_without_loss("2 refusals", &one_client(17, 250).refusals(2));
    prove_without_loss("2 failures", &one_client(17, 250).failures(2));
}

#[test]
#[ignore = "takes a minute"]
fn mishaps_of_all_kinds_together_do_no_harm() {
    let world = World::prompt(4)
        .writes(3)
        .late(1)
        .refusals(1)
        .failures(1)
        .crashes(1);
    let world = world.client(slow().commits(1)).client(fast());
    prove("2 clients, 1 mishap of each kind", &world.dead_holder());
}

#[test]
fn paused_client_does_no_harm() {
    let world = World::prompt(4).writes(2).pauses(1);
    let world = world
        .client(slow().commits(1))
        .client(Role::holder().ms_per_tick(FAST));
    let report = prove("2 clients, 1 pause", &world);
    assert!(report.events.lost > 0);
}

#[test]
#[ignore = "takes a minute"]
fn crashed_client_that_comes_back_does_no_harm() {
    let world = World::prompt(4).writes(3).crashes(1).late(1);
    let world = world
        .client(slow().commits(1).rounds(2))
        .client(Role::holder().ms_per_tick(FAST));
    prove("2 clients, 1 crash, 1 late", &world);
}

// T14: a read shows what the object was before, and a holder takes it for its loss.
#[test]
fn stale_reads_cost_the_lock_at_most() {
    let world = World::prompt(4).writes(3).stale_reads(1).refusals(1);
    let world = world.client(slow().commits(1)).client(fast());
    prove("2 clients, 1 stale read", &world.dead_holder());
}

// T8. What was in is gone, and no promise survives that; but the next holder works.
#[test]
fn deleted_object_is_a_loss_and_the_next_holder_works() {
    let world = World::prompt(4).writes(4).deletions(1);
    let report = prove(
        "2 clients, 1 deletion",
        &world.client(slow()).client(fast()),
    );
    assert!(report.events.lost > 0);
}

// T7.
#[test]
fn what_is_no_lock_is_never_written() {
    for object in [&b""[..], b"notes", &[0; 104]] {
        let object = Bytes::copy_from_slice(object);
        let world = World::prompt(5).object(object).failures(1);
        let world = world.client(slow()).client(Role::breaker());
        let report = prove("a foreign object", &world.client(Role::force_breaker()));
        assert_eq!(report.events.acquired, 0);
    }
}

#[test]
fn break_by_hand_of_a_dead_lock_does_no_harm() {
    let world = World::prompt(5).writes(4).late(1);
    let world = world.client(Role::breaker()).client(fast());
    prove("a breaker of a dead lock", &world.dead_holder());
}

// The breaker takes the lock over, waits for its victim's lease, and releases it: the next holder begins
// when the victim does not believe any more.
#[test]
#[ignore = "takes a minute"]
fn break_by_force_of_a_live_lock_does_no_harm() {
    let world = World::prompt(5).writes(8).client(Role::holder());
    let breaker = Role::force_breaker().ms_per_tick(FAST);
    let world = world
        .client(breaker)
        .client(Role::holder().ms_per_tick(FAST));
    let report = prove("a breaker by force", &world);
    assert!(report.events.lost > 0 && report.events.released > 0);
}

/// A breaker by force with a sixth of its victim's lease, which may die in its wait.
fn break_that_is_interrupted() -> World {
    let world = World::prompt(3).writes(3).crashes(1);
    world
        .client(Role::holder().leases(6))
        .client(Role::force_breaker())
        .client(Role::holder().ms_per_tick(FAST))
}

// The breaker dies while it waits for its victim. Its own lease is over long before the victim's belief, and the
// next holder would begin beside the victim.
#[test]
fn break_by_force_that_is_interrupted_does_no_harm() {
    let report = prove("a breaker by force that dies", &break_that_is_interrupted());
    assert!(report.events.acquired > 0);
}

#[test]
fn callers_that_do_not_wait_do_no_harm() {
    let world = World::prompt(2).writes(3).impatience(1, 1).late(1);
    let world = world.client(Role::holder().commits(2)).client(fast());
    prove("callers that do not wait", &world);
}

#[test]
fn random_schedules_of_many_clients() {
    let committer = |ms| Role::contender().ms_per_tick(ms).rounds(9).commits(9);
    let world = || {
        World::with_free_writes(60, u8::MAX)
            .client(committer(500))
            .client(committer(500))
            .client(committer(750))
            .client(Role::breaker().ms_per_tick(750).rounds(9))
            .impatience(3, 3)
            .crashes(3)
            .pauses(9)
            .refusals(5)
            .failures(5)
    };
    sample("4 clients", &world());
    sample("4 clients, every write again", &world().with_copies());
    sample(
        "4 clients, stale reads",
        &world().stale_reads(5).with_slow_reads(),
    );
    sample("4 clients, deletions", &world().deletions(2));
    let forced = Role::force_breaker().ms_per_tick(750).rounds(9);
    sample("5 clients, breaks by force", &world().client(forced));
}
