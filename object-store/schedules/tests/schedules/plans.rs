//! Schedules that are written down as operations: what a fuzz target generates.

use rvlf_store_schedules::Operation::{Acquire, Commit, Crash, Execute, Release, Run, Wait};
use rvlf_store_schedules::World;
use rvlf_store_schedules::machine::Purpose;

use super::slow;

#[test]
fn a_plan_does_what_it_names_and_passes_over_what_is_not_possible() {
    let world = World::with_free_writes(8, u8::MAX)
        .client(slow().commits(1))
        .client(slow());
    let rounds = [0, 1].map(|client| {
        let run = Run(client, 10);
        // Before the acquisition there is nothing to commit or to release.
        let early = [Commit(client), Release(client)];
        let round = [Acquire(client), run, Release(client), run];
        [early.as_slice(), &round].concat()
    });
    let report = world.follow(&rounds.concat()).expect("nothing goes wrong");
    let events = report.events;
    let counts = (
        events.acquired,
        events.committed,
        events.released,
        events.lost,
    );
    assert_eq!(counts, (2, 0, 2, 0));
}

// A sends a refresh and dies, B takes the lock over after the lease, and then the store executes the
// refresh: the condition of the write is what stops it.
#[test]
fn a_plan_finds_what_a_write_without_its_condition_does_when_it_comes_late() {
    let world = World::with_free_writes(12, u8::MAX)
        .client(slow())
        .client(slow())
        .crashes(1);
    let (a, b) = (0, 1);
    let tick = Wait(1);
    let send_and_die = [
        Acquire(a),
        Run(a, 10),
        tick,
        Run(a, 1),
        Crash(a),
        Acquire(b),
    ];
    let go_on = [Run(b, 10), tick].repeat(8);
    let plan = [send_and_die.as_slice(), &go_on, &[Execute(0)]].concat();
    let report = world.follow(&plan).expect("the condition holds");
    assert_eq!(report.events.acquired, 2, "B has taken the lock over");
    let violation = world.ignoring_condition_of(Purpose::Refresh).follow(&plan);
    let violation = violation.expect_err("the condition is what stops the refresh");
    let message = violation.message();
    assert_eq!(message, "an older generation writes after a newer one");
}
