//! The directory at the path is replaced by another one while contenders are at work.

use std::time::Duration;

use rvlf_simulated::sim::{Safeguard, World};

use super::{coarse, contend_in_danger, find, prove, with};

fn replaced(switches: usize) -> World {
    with(coarse(), 2, 1, contend_in_danger).switches(switches)
}

// A publishes in a directory that was renamed away, and B in the one that took its place.
#[test]
fn contenders_exclude_each_other_although_the_directory_at_the_path_is_replaced() {
    prove("2 contenders, 1 switch", &replaced(1));
    prove("2 contenders, 1 switch, 1 crash", &replaced(1).crashes(1));
}

// A breaks a dead lock in a directory that is replaced before A publishes there, or while A looks for
// leftovers.
#[test]
fn breakers_exclude_each_other_although_the_directory_at_the_path_is_replaced() {
    let dead = || coarse().dead_lock(Duration::from_secs(1));
    let world = with(dead(), 2, 1, contend_in_danger).switches(1);
    prove("2 breakers, 1 switch", &world);
}

#[test]
fn contenders_that_do_not_compare_the_directory_break_exclusion() {
    let world = replaced(1)
        .without(Safeguard::Path)
        .without(Safeguard::PathLast);
    find("without a comparison of the directory", &world);
}

// A compares, the directory is replaced, A publishes in the old one, B acquires in the new one.
#[test]
fn contenders_that_compare_the_directory_before_they_publish_break_exclusion() {
    let world = replaced(1).without(Safeguard::PathLast);
    find("with a comparison before the publish", &world);
}

// The directory is replaced, and the first one comes back.
#[test]
fn contenders_exclude_each_other_although_the_directory_is_replaced_twice() {
    prove("2 contenders, 2 switches, 1 crash", &replaced(2).crashes(1));
}
