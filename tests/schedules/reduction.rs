//! The search takes calls that no other process can observe at once. Compared with the search that takes
//! every call as a step of its own, it misses nothing.

use std::time::Duration;

use rvlf_simulated::sim::{Safeguard, World};

use super::refreshes::{ELSEWHERE, hold_to_the_end};
use super::systems::{machines, remembering};
use super::{
    LATER, MINUTE, coarse, come_later, contend, contend_deployed, contend_in_danger, wait_and_hold,
    with,
};

const SECOND: Duration = Duration::from_secs(1);

/// A mount whose flock excludes only processes of one kernel.
fn sshfs() -> World {
    World::network().flock_not_shared().coarse()
}

/// Worlds that are small enough for the search without reduction, one of each kind.
fn small_worlds() -> Vec<(&'static str, World)> {
    let dead = || coarse().dead_lock(SECOND);
    let torn = || World::local().refusing_unnamed().coarse();
    let waiters = with(coarse(), 1, 1, contend).process("W", 1, wait_and_hold);
    vec![
        ("2 contenders", with(coarse(), 2, 1, contend).crashes(1)),
        (
            "1 contender, 2 faults",
            with(coarse(), 1, 1, super::faults::contend).faults(2),
        ),
        (
            "1 contender in detail",
            with(World::local(), 1, 2, contend).crashes(1),
        ),
        ("2 breakers", with(dead(), 2, 1, contend)),
        ("a waiter", waiters.crashes(1)),
        (
            "next to a deployed client",
            with(coarse(), 1, 1, contend).process("D", 1, contend_deployed),
        ),
        (
            "exclusive create",
            with(torn(), 1, 1, contend).process("D", 1, contend_in_danger),
        ),
        ("power", with(coarse(), 1, 1, contend).power_losses(1)),
        ("2 machines", machines(World::network().coarse(), contend)),
        ("2 machines, flock not shared", machines(sshfs(), contend)),
        (
            "2 machines, no flock",
            machines(World::network().without_flock().coarse(), contend),
        ),
        (
            "2 machines, names remembered",
            machines(remembering().coarse(), contend),
        ),
        (
            "2 breakers, flock not shared",
            machines(sshfs().dead_lock(10 * MINUTE), contend_in_danger).finally(LATER, come_later),
        ),
        (
            "1 breaker, flock not shared, 1 crash",
            sshfs()
                .dead_lock(10 * MINUTE)
                .on(ELSEWHERE)
                .process("B", 1, contend)
                .crashes(1),
        ),
        ("Windows", with(World::windows().coarse(), 2, 1, contend)),
    ]
}

#[test]
fn the_reduced_search_ends_where_the_plain_one_does() {
    for (what, world) in small_worlds() {
        let (reduced, outcomes) = world.explore_outcomes().expect(what);
        let (all, all_outcomes) = world.without_reduction().explore_outcomes().expect(what);
        println!(
            "{what}: {} states instead of {}",
            reduced.states, all.states
        );
        assert!(reduced.states < all.states, "{what}: nothing was reduced");
        assert_eq!(outcomes, all_outcomes, "{what}: an outcome is missing");
    }
}

/// Worlds without a safeguard, small enough for the search without reduction.
fn weakened_worlds() -> Vec<(&'static str, World)> {
    let dead = || coarse().dead_lock(SECOND);
    let torn = World::local().coarse().refusing_unnamed();
    let lying = sshfs().where_exclusive_create_lies();
    let quick = World::local().coarse().quick().dead_lock(MINUTE);
    let waiter = with(coarse(), 1, 1, contend).process("W", 1, wait_and_hold);
    let numbered = sshfs().where_numbers_go_by_names();
    let numbered = numbered.process("A", 1, contend_in_danger).on(ELSEWHERE);
    vec![
        (
            "the identity check",
            with(dead(), 2, 1, contend_in_danger).without(Safeguard::Identity),
        ),
        (
            "the linked publish",
            with(torn, 1, 1, contend_in_danger).process("D", 1, contend_deployed),
        ),
        (
            "the read-back",
            machines(lying, contend_in_danger).without(Safeguard::ReadBack),
        ),
        (
            "the settle time",
            with(quick, 1, 1, contend_in_danger)
                .process("D", 1, contend_deployed)
                .without(Safeguard::Settle),
        ),
        (
            "the look after a watch",
            waiter.without(Safeguard::LookAfterWatch),
        ),
        (
            "the withdrawal by descriptor",
            numbered
                .process("D", 1, contend_deployed)
                .without(Safeguard::WithdrawByDescriptor),
        ),
        (
            "exclusion of two breakers, without the identity check",
            machines(sshfs().dead_lock(10 * MINUTE), contend_in_danger)
                .without(Safeguard::Identity),
        ),
        (
            "the request of the server",
            machines(remembering().coarse().dead_lock(LATER), contend)
                .without(Safeguard::ForgetName),
        ),
        (
            "the sync",
            with(coarse(), 1, 1, hold_to_the_end)
                .without(Safeguard::Sync)
                .power_losses(1),
        ),
    ]
}

#[test]
fn the_reduced_search_finds_the_harm_that_the_plain_one_finds() {
    for (what, world) in weakened_worlds() {
        let found = world.explore().expect_err(what);
        let plain = world.without_reduction().explore().expect_err(what);
        assert_eq!(found.message(), plain.message(), "{what}");
    }
}
