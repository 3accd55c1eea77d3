//! Which records the kernel is a witness for: after a boot, after a remount, under another boot id,
//! through an overlay and through an export.

use std::time::Duration;

use rvlf_simulated::sim::{Safeguard, SimSys, System, World};

use super::refreshes::{ELSEWHERE, find_harm};
use super::{LATER, MINUTE, coarse, come_later, contend, contend_in_danger, prove, sample, with};

const SECOND: Duration = Duration::from_secs(1);

/// Less than every age at which a record alone is stale.
const SOON: Duration = SECOND;

/// After the age at which a record of this host is stale, and before that of other hosts.
const AFTER_30_S: Duration = Duration::from_secs(40);

/// The message of [`recover`].
const NOT_RECOVERED: &str = "no live process holds it";

/// Acquires and releases when all others have ended.
fn recover(os: &SimSys) {
    let lock = os.try_acquire().expect(NOT_RECOVERED);
    lock.release().expect("no other process is there");
}

fn is_refused(os: &SimSys) {
    let error = os.try_acquire().expect_err("age decides, and it is young");
    assert!(error.is_held(), "not an error: {error}");
}

/// On a plain file system: a process that comes soon after all machines have booted.
fn after_a_loss_of_power(contenders: usize) -> World {
    let world = with(World::local().coarse(), contenders, 1, contend);
    world.power_losses(1).finally(SOON, recover)
}

// Nothing of the old boot runs. The file system is the same, and so are the inode and its birth time.
#[test]
fn a_lock_from_before_the_boot_is_recovered_at_once() {
    prove("1 contender, 1 boot", &after_a_loss_of_power(1));
    prove("2 contenders, 1 boot", &after_a_loss_of_power(2));
    find_harm(
        "a key that names the boot",
        &after_a_loss_of_power(1).without(Safeguard::PlainKey),
        NOT_RECOVERED,
    );
}

// A record of a version that named the boot in every key: another process may hold it through an
// export, so age decides.
#[test]
fn a_lock_of_an_older_version_is_recovered_at_once_before_a_boot_only() {
    let world = || {
        World::local()
            .coarse()
            .dead_lock_of_an_older_version(SECOND)
    };
    prove("2 breakers", &with(world(), 2, 1, contend).crashes(1));
    let other_boot = System::HOST.with_own_boot_id(1);
    let world = world().on(other_boot).process("A", 1, is_refused);
    prove("1 breaker under another boot id", &world);
}

/// The processes of one kernel that compute another key with the boot id and the device number, or
/// none.
fn other_views() -> [(&'static str, System); 3] {
    let container = System::HOST.in_pid_namespace(1).named("web");
    [
        ("another boot id", container.with_own_boot_id(1)),
        ("no boot id", container.without_boot_id()),
        ("another device number", System::HOST.on_device(9)),
    ]
}

/// A on the machine, and B in `view` of it.
fn next_to(world: World, view: System, program: fn(&SimSys)) -> World {
    let world = world.process("A", 1, program);
    world.on(view).process("B", 1, program)
}

// LXC, Incus and systemd-nspawn give each container a boot id; ProcSubset=pid hides it; btrfs gives a
// mount another device number each time. The inode is the same, and flock excludes.
#[test]
fn contenders_under_other_boot_ids_and_devices_exclude_each_other() {
    for (what, view) in other_views() {
        let world = coarse().crashes(1).finally(SOON, recover);
        prove(what, &next_to(world, view, contend));
        let dead = coarse().dead_lock(SECOND).finally(SOON, recover);
        prove(what, &next_to(dead, view, contend));
    }
}

#[test]
fn a_dead_lock_is_recovered_at_once_under_another_boot_id_and_device() {
    for (what, view) in other_views() {
        let dies = |os: &SimSys| std::mem::forget(os.try_acquire());
        let world = || {
            let world = World::local().coarse().on(view).process("A", 1, dies);
            world.finally(SOON, recover)
        };
        prove(what, &world());
        let by_age = world().without(Safeguard::PlainKey);
        find_harm(what, &by_age, NOT_RECOVERED);
        let breaker = World::local().coarse().dead_lock(SECOND).on(view);
        prove(what, &breaker.process("A", 1, recover));
    }
}

/// Holds for longer than a record of this host counts as live, and is cut off: no refresh is made. Off
/// local file systems a holder counts itself lost after 150 s, since no contender takes the lock for
/// 300 s.
fn hold_cut_off(os: &SimSys) {
    let Ok(lock) = os.try_acquire() else { return };
    os.entered();
    os.sleep(Duration::from_secs(100));
    lock.check().expect("100 s without a refresh are no loss");
    os.left();
    let _ = lock.release();
}

fn come_after_a_minute(os: &SimSys) {
    os.sleep(MINUTE);
    contend_in_danger(os);
}

/// A client of the server's export holds, under the server's host name; a contender comes on the
/// server itself, to which the client's flock is not visible.
fn a_client_of_an_export() -> World {
    let client = System::HOST.on_kernel(1);
    let world = World::exported().coarse().on(client);
    let world = world.process("H", 1, hold_cut_off);
    world.on(System::HOST).process("C", 2, come_after_a_minute)
}

#[test]
fn the_server_of_an_export_leaves_a_clients_lock_alone() {
    prove("a client of an export", &a_client_of_an_export());
    let plain_client = a_client_of_an_export().without(Safeguard::PlainWriter);
    let message = "two processes hold";
    find_harm("a client writes a plain key", &plain_client, message);
}

// One side removes a dead lock of the other side only by age, and of its own side at once.
#[test]
fn a_server_and_a_client_of_its_export_exclude_each_other() {
    let world = || {
        let world = World::exported().process("A", 1, contend);
        let world = world.on(ELSEWHERE).process("B", 1, contend);
        world.crashes(1).finally(LATER, come_later)
    };
    prove("a server and a client, 1 crash", &world().coarse());
    sample(
        "a server and a client, 1 reboot",
        &world().server_reboots(1),
    );
}

// The server boots, and its clients are only cut off. By the host name the record is the server's own,
// from before the boot.
#[test]
fn a_server_that_boots_leaves_the_lock_of_a_client_of_its_name_alone() {
    let world = || a_client_of_an_export().server_reboots(1);
    prove("the server boots", &world());
    find_harm(
        "the server goes by host names",
        &world().without(Safeguard::NoHostNames),
        "two processes hold",
    );
}

// The other direction: the holder is on the server, and the contender on a client that knows neither
// the server's key nor its flock.
#[test]
fn a_client_of_an_export_leaves_the_servers_lock_alone() {
    let world = |client: System| {
        let world = World::exported().coarse().process("H", 1, hold_cut_off);
        world.on(client).process("C", 1, come_after_a_minute)
    };
    for client in [System::HOST.on_kernel(1), ELSEWHERE] {
        prove("the server holds", &world(client));
        find_harm(
            "a client compares plain keys",
            &world(client).without(Safeguard::PlainReader),
            "two processes hold",
        );
    }
}

const OVERLAY: System = System::HOST.through_overlay();

/// A process beside the overlay, which uses its upper directory, and one that comes through it.
fn overlay_and_upper(holder: System, contender: System) -> World {
    let world = World::exported().coarse().on(holder);
    let world = world.process("H", 1, hold_cut_off);
    world.on(contender).process("C", 1, come_after_a_minute)
}

// An overlay shows the inode number and the birth time of its upper directory's file, but its kernel
// locks are others.
#[test]
fn a_lock_is_left_alone_by_those_who_reach_it_past_the_overlay_or_through_it() {
    let (through, past) = (
        overlay_and_upper(System::HOST, OVERLAY),
        overlay_and_upper(OVERLAY, System::HOST),
    );
    prove("a contender through an overlay", &through);
    prove("a holder through an overlay", &past);
    let through = overlay_and_upper(System::HOST, OVERLAY).without(Safeguard::PlainReader);
    let message = "two processes hold";
    find_harm("plain keys compared through an overlay", &through, message);
    let past = overlay_and_upper(OVERLAY, System::HOST).without(Safeguard::PlainWriter);
    find_harm("plain keys written through an overlay", &past, message);
}

// Among those who use the overlay, the kernel is a witness while it runs, as everywhere.
#[test]
fn contenders_on_one_overlay_exclude_each_other() {
    let world = with(World::overlay().coarse(), 2, 1, contend).crashes(1);
    prove("2 contenders on an overlay", &world.finally(SOON, recover));
    let dead = World::overlay().coarse().dead_lock(SECOND);
    prove("1 breaker on an overlay", &dead.process("A", 1, recover));
}

// After a boot the key, which has the old boot id, says nothing: host name and age decide.
#[test]
fn on_an_overlay_a_lock_from_before_the_boot_is_recovered_by_age() {
    let world = || with(World::overlay().coarse(), 1, 1, contend).power_losses(1);
    prove(
        "an overlay after a boot",
        &world().finally(AFTER_30_S, recover),
    );
    let at_once = world().finally(SOON, recover);
    find_harm("an overlay after a boot, at once", &at_once, NOT_RECOVERED);
}
