//! Each rule is left out in turn, and the search finds the harm.

use rvlf_store_schedules::machine::{Purpose, Rule};
use rvlf_store_schedules::{Role, World};

use super::{at_the_limit, break_that_is_interrupted, fast, find, slow};

const TWO_BELIEVE: &str = "two clients believe at the same time";
const OLDER_WRITES: &str = "an older generation writes after a newer one";
const NOT_IN_IS_IN: &str = "a commit that was reported as not in is in";

#[test]
fn without_the_condition_of_a_takeover_an_older_generation_writes() {
    let world = at_the_limit(5, 3).dead_holder();
    let world = world.ignoring_condition_of(Purpose::Takeover);
    find("takeover without condition", OLDER_WRITES, &world);
}

#[test]
fn without_the_condition_of_a_create_two_clients_believe() {
    let world = at_the_limit(2, 3).ignoring_condition_of(Purpose::Create);
    find("create without condition", TWO_BELIEVE, &world);
}

#[test]
fn without_the_condition_of_a_refresh_an_older_generation_writes() {
    let world = at_the_limit(5, 4).ignoring_condition_of(Purpose::Refresh);
    find("refresh without condition", OLDER_WRITES, &world);
}

#[test]
fn without_the_condition_of_a_commit_an_older_generation_writes() {
    let committer = |role: Role| role.commits(1);
    let world = World::with_free_writes(5, 4).client(committer(slow()));
    let world = world.client(committer(fast())).dead_holder();
    let world = world.ignoring_condition_of(Purpose::Commit);
    find("commit without condition", OLDER_WRITES, &world);
}

#[test]
fn with_equal_bytes_two_clients_believe() {
    find(
        "equal bytes",
        TWO_BELIEVE,
        &at_the_limit(2, 3).with_equal_bytes(),
    );
}

#[test]
fn belief_that_begins_with_the_answer_lets_two_clients_believe() {
    let world = at_the_limit(5, 3).without(Rule::BeliefFromBeginning);
    find("belief from the answer", TWO_BELIEVE, &world);
}

#[test]
fn new_hold_of_any_age_lets_two_clients_believe() {
    let world = at_the_limit(5, 3).without(Rule::OwnAge);
    find("own age", TWO_BELIEVE, &world);
}

#[test]
fn deletion_in_place_of_the_tombstone_lets_two_clients_believe() {
    let world = World::prompt(2).writes(5).late(1).client(slow());
    let world = world.client(Role::holder()).client(Role::holder());
    find(
        "deletion at release",
        TWO_BELIEVE,
        &world.deleting_at_release(),
    );
}

#[test]
fn attempts_of_another_call_let_two_clients_believe() {
    let world = World::with_free_writes(2, 3).client(slow());
    let world = world.client(slow().that_inherits_attempts(0));
    find("attempts of another call", TWO_BELIEVE, &world);
}

#[test]
fn guard_that_believes_after_its_release_lets_two_clients_believe() {
    let world = at_the_limit(3, 3).without(Rule::SilentAfterRelease);
    find("belief after the release", TWO_BELIEVE, &world);
}

#[test]
fn break_by_force_with_a_shorter_lease_than_its_victims_lets_two_clients_believe() {
    let world = break_that_is_interrupted().without(Rule::VictimsLease);
    find("the breaker's own lease", TWO_BELIEVE, &world);
}

#[test]
fn write_that_a_read_settles_comes_in_later() {
    let world = World::with_free_writes(3, 3).client(slow().commits(1));
    let world = world.without(Rule::SettleByWriting);
    find("settled by reading", NOT_IN_IS_IN, &world);
}

#[test]
fn clocks_whose_rates_differ_by_more_let_two_clients_believe() {
    let world = |fast| {
        let world = World::with_free_writes(5, 3).client(Role::holder().ms_per_tick(1000));
        world.client(Role::holder().ms_per_tick(fast))
    };
    find("rates 1:3", TWO_BELIEVE, &world(3000));
}
