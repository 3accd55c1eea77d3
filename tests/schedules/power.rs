//! Machines lose power. Writes that were synced are there after the next boot; nothing else is
//! promised.

use rvlf_simulated::sim::{Safeguard, World};

use super::{LATER, come_later, contend, contend_in_danger, prove, sample, with};

/// The next writer must learn that another one was writing: no loss of power removes a held lock.
fn with_power_loss(world: World) -> World {
    world.power_losses(1).finally(LATER, come_later)
}

#[test]
fn a_held_lock_survives_the_loss_of_power_and_is_recovered_after_it() {
    let world = || with_power_loss(World::local().coarse());
    prove(
        "1 contender, 1 loss of power",
        &with(world(), 1, 2, contend),
    );
    prove(
        "2 contenders, 1 loss of power",
        &with(world(), 2, 1, contend),
    );
}

#[test]
fn a_lock_by_a_private_name_survives_the_loss_of_power() {
    let world = with_power_loss(World::local().coarse().without_unnamed());
    prove(
        "private names, 1 loss of power",
        &with(world, 1, 2, contend),
    );
}

// By exclusive create the name exists before the content, and either may reach the disk alone.
#[test]
fn a_lock_by_exclusive_create_survives_the_loss_of_power() {
    let world = with_power_loss(World::local().coarse().refusing_unnamed());
    prove(
        "exclusive create, 1 loss of power",
        &with(world, 1, 2, contend),
    );
}

#[test]
fn without_syncs_a_held_lock_is_lost_with_the_power() {
    for world in [
        World::local(),
        World::local().without_unnamed(),
        World::local().refusing_unnamed(),
    ] {
        let world = with_power_loss(world.coarse().without(Safeguard::Sync));
        let violation = with(world, 1, 1, contend_in_danger)
            .explore()
            .expect_err("nothing was synced");
        assert_eq!(
            violation.message(),
            "no record is left of the holder that lost power"
        );
    }
}

#[test]
fn random_schedules_with_losses_of_power() {
    let dead = World::local().dead_lock(std::time::Duration::from_secs(1));
    for (what, world) in [
        ("3 contenders, 2 losses of power", World::local()),
        ("3 breakers, 2 losses of power", dead),
        (
            "exclusive create, 2 losses of power",
            World::local().refusing_unnamed(),
        ),
    ] {
        let world = with(world, 3, 3, contend).power_losses(2).crashes(1);
        sample(what, &world.finally(LATER, come_later));
    }
}
