//! Searches that take minutes and gigabytes, and are not in `.ci/run`:
//!
//! ```sh
//! cargo test --release -p rvlf-schedules --test schedules -- --ignored --nocapture --test-threads=1 large::
//! ```

use std::time::Duration;

use rvlf_simulated::sim::World;

use super::refreshes::refresh_and_check;
use super::systems::{breakers, breakers_with_cached_names, three_machines};
use super::{LATER, coarse, come_later, contend, prove, with};

const SECOND: Duration = Duration::from_secs(1);

#[test]
#[ignore = "takes minutes and gigabytes"]
fn four_contenders_exclude_each_other() {
    let world = with(coarse(), 4, 1, contend);
    prove("4 contenders, 1 crash", &world.crashes(1));
}

#[test]
#[ignore = "takes minutes and gigabytes"]
fn three_breakers_exclude_each_other_wherever_two_die() {
    let world = coarse().dead_lock(SECOND);
    prove(
        "3 breakers, 2 crashes",
        &with(world, 3, 1, contend).crashes(2),
    );
}

#[test]
#[ignore = "takes minutes and gigabytes"]
fn three_machines_exclude_each_other() {
    let world = World::network().coarse().finally(LATER, come_later);
    prove(
        "3 machines, 1 crash",
        &three_machines(world, contend).crashes(1),
    );
}

#[test]
#[ignore = "takes minutes and gigabytes"]
fn three_quick_breakers_are_not_misled_by_cached_names() {
    let world = World::network().where_flock_is_mandatory().quick();
    prove(
        "3 quick breakers, names cached, flock mandatory",
        &breakers_with_cached_names(world, 3),
    );
}

// Whatever the pauses: a holder whose lock was replaced learns of it, and removes nothing.
#[test]
#[ignore = "takes minutes and gigabytes"]
fn three_breakers_that_do_not_share_flock_notice_a_loss() {
    prove(
        "3 breakers refresh, flock not shared, 1 crash",
        &breakers(World::network(), 3, refresh_and_check).crashes(1),
    );
}
