//! Containers, reused pids, and several machines that share a file system.

use std::io;
use std::time::Duration;

use rvlf_simulated::record::Pid;
use rvlf_simulated::sim::{Safeguard, SimSys, System, World};
use rvlf_simulated::{AcquireError, IoError};

use super::refreshes::{ELSEWHERE, come_after_the_age, find_harm, refresh_and_check};
use super::{
    LATER, MINUTE, coarse, come_later, contend, contend_deployed, contend_in_danger, prove, sample,
    wait_and_hold,
};

const SECOND: Duration = Duration::from_secs(1);

fn pid(pid: u32) -> Pid {
    Pid::new(pid).expect("pids are positive")
}

/// Two containers of one machine, in each of which the program is pid 1.
fn containers(world: World, names: [&'static str; 2], program: fn(&SimSys)) -> World {
    let [a, b] = names;
    let one = System::HOST.with_pid(pid(1));
    let world = world.on(one.in_pid_namespace(1).named(a));
    let world = world.process("A", 1, program);
    let world = world.on(one.in_pid_namespace(2).named(b));
    world.process("B", 1, program)
}

const SAME_NAME: [&str; 2] = ["web", "web"];
const OWN_NAMES: [&str; 2] = ["web-1", "web-2"];

// Pid 1 of another container is invisible, or looks like the process itself: only the kernel lock
// distinguishes live holders from dead ones.
#[test]
fn containers_of_one_machine_exclude_each_other() {
    for names in [SAME_NAME, OWN_NAMES] {
        let world = containers(coarse(), names, contend);
        prove("2 containers, 1 crash", &world.crashes(1));
        let dead = coarse().dead_lock(SECOND);
        prove(
            "2 containers at a dead lock",
            &containers(dead, names, contend),
        );
    }
}

// No crashes here: the close of a killed holder's files wakes the waiter too early, the waiter
// cannot see the holder's process, and only its timer wakes it again.
#[test]
fn a_waiter_in_another_container_is_woken_by_a_release() {
    let world = containers(coarse(), SAME_NAME, wait_and_hold);
    prove("2 containers wait", &world);
}

/// The pid of the dead holders of planted locks.
const DEAD: u32 = 7;

#[test]
fn a_reused_pid_keeps_no_stamped_lock() {
    let world = coarse()
        .dead_lock(SECOND)
        .on(System::HOST.with_pid(pid(DEAD)));
    let recover = |os: &SimSys| {
        let lock = os.try_acquire().expect("its holder is another process");
        lock.release().expect("no other process is there");
    };
    prove(
        "a dead holder's pid is reused, stamped",
        &world.process("A", 1, recover),
    );
    let world = coarse().on(System::HOST.with_pid(pid(50)));
    let world = world.process("A", 2, contend);
    let world = world.on(System::HOST).process("B", 1, contend);
    prove("a reused pid, 1 crash", &world.crashes(1));
}

// A deployed client's record has no start ticks: it counts as held while any process has its pid.
#[test]
fn a_reused_pid_keeps_a_deployed_clients_lock() {
    let world = coarse().dead_deployed_lock(10 * MINUTE);
    let world = world.on(System::HOST.with_pid(pid(DEAD)));
    let refused = |os: &SimSys| {
        let error = os.try_acquire().expect_err("its pid is alive");
        assert!(error.is_held(), "not an error: {error}");
    };
    prove(
        "a dead holder's pid is reused, not stamped",
        &world.process("A", 1, refused),
    );
}

pub fn machines(world: World, program: fn(&SimSys)) -> World {
    let world = world.process("A", 1, program);
    world.on(ELSEWHERE).process("B", 1, program)
}

pub fn three_machines(world: World, program: fn(&SimSys)) -> World {
    let world = machines(world, program).on(System::HOST.named("c").on_kernel(3));
    world.process("C", 1, program)
}

/// Up to three processes, none of them on the machine of a dead lock.
fn each_on_a_machine(world: World, count: u8, program: fn(&SimSys)) -> World {
    let machines = [("A", "a"), ("B", "b"), ("C", "c")];
    let machines = (1..=count).zip(machines);
    machines.fold(world, |world, (kernel, (name, host))| {
        let world = world.on(System::HOST.named(host).on_kernel(kernel));
        world.process(name, 1, program)
    })
}

// NFS, JuiceFS: a flock excludes the processes of all machines, and a machine that is gone holds
// none.
#[test]
fn machines_that_share_flock_exclude_each_other() {
    let world = || World::network().finally(LATER, come_later);
    sample(
        "2 machines, 1 crash",
        &machines(world(), contend).crashes(1),
    );
    let dead = world().dead_lock(10 * MINUTE);
    sample("2 machines at a dead lock", &machines(dead, contend));
}

#[test]
#[ignore = "takes a minute"]
fn machines_that_share_flock_exclude_each_other_in_every_schedule() {
    let world = World::network().coarse().finally(LATER, come_later);
    prove("2 machines", &machines(world, contend));
}

// SMB: a flock is a mandatory lock of the server. A holder cannot read its own file through a second
// descriptor, contention is EACCES, and a shared lock cannot be converted to an exclusive one.
#[test]
fn machines_exclude_each_other_where_flock_is_mandatory() {
    let world = || {
        World::network()
            .where_flock_is_mandatory()
            .finally(LATER, come_later)
    };
    sample(
        "2 machines, flock mandatory, 1 crash",
        &machines(world(), contend).crashes(1),
    );
    let dead = world().dead_lock(10 * MINUTE);
    sample(
        "2 machines at a dead lock, flock mandatory",
        &machines(dead, contend),
    );
    let one = world().coarse().dead_lock(10 * MINUTE);
    prove(
        "1 breaker, flock mandatory, 1 crash",
        &one.process("A", 1, contend).crashes(1),
    );
    let refresh = world().coarse().process("A", 1, refresh_and_check);
    prove("1 holder refreshes, flock mandatory", &refresh);
}

// SMB on macOS: a read that B's lock refuses fails with EIO, as that of a server with a broken disk. A contender on
// another machine was to report "could not read", and its wait ended, for as long as B held the lock.
#[test]
fn a_mandatory_flock_that_reads_report_as_an_io_error_is_contention() {
    let world = || {
        let world = World::network().where_a_mandatory_flock_is_an_io_error();
        world.finally(LATER, come_later)
    };
    prove("2 machines, EIO", &machines(world().coarse(), contend));
    sample(
        "2 machines, EIO, 1 crash",
        &machines(world(), contend).crashes(1),
    );
    let dead = world().dead_lock(10 * MINUTE);
    sample("2 machines at a dead lock, EIO", &machines(dead, contend));
    let refresh = world().coarse().process("A", 1, refresh_and_check);
    prove("1 holder refreshes, EIO", &refresh);
}

/// Where an operator puts a lock file.
const MOVED: &str = "moved";

/// Acquires. An operator moves the lock file away, and a minute later the holder releases.
fn release_what_was_moved(os: &SimSys) {
    if let Ok(lock) = os.try_acquire() {
        assert!(os.move_lock(MOVED), "the lock file is there");
        os.sleep(MINUTE);
        let _ = lock.release();
    }
}

fn hold_for_two_minutes(os: &SimSys) {
    if let Ok(lock) = os.try_acquire() {
        os.sleep(2 * MINUTE);
        assert!(lock.has_name(), "a live lock was removed");
        std::mem::forget(lock);
    }
}

// An operator moves A's lock file away, and B acquires. A cannot read B's file, which B has locked: what
// A reads through its own descriptor says nothing about the path.
#[test]
fn under_a_mandatory_lock_a_holder_leaves_a_successors_file_alone() {
    let world = || {
        let world = World::network().where_flock_is_mandatory().coarse();
        let world = world.file(MOVED, b"", MINUTE);
        let world = world.process("A", 1, release_what_was_moved);
        world.on(ELSEWHERE).process("B", 1, hold_for_two_minutes)
    };
    prove("a lock file is moved, flock mandatory", &world());
    find_harm(
        "a release by the content of the own file",
        &world().without(Safeguard::OwnNumber),
        "a live lock was removed",
    );
}

/// Breakers of a torn lock, each on a machine that remembers for a while what the name stood for.
pub fn breakers_with_cached_names(world: World, count: u8) -> World {
    let world = world.where_names_are_cached_for(SECOND).coarse();
    each_on_a_machine(world.file("d.lock", b"", MINUTE), count, contend)
}

// B has looked at the torn lock. A breaks it, and creates its own file, which is empty, too. By what B's machine
// remembers, the path still names the torn one: B would rename A's file aside.
#[test]
fn a_breaker_is_not_misled_by_what_its_machine_remembers_of_a_name() {
    let world = || breakers_with_cached_names(World::network().where_flock_is_mandatory(), 2);
    prove("2 breakers, names cached", &world());
    find_harm(
        "a breaker that looks at the name once",
        &world().without(Safeguard::NameAgain),
        "no process takes a live lock",
    );
}

/// A mount that remembers names for a minute, and opens what they stood for.
pub fn remembering() -> World {
    World::network().where_names_are_remembered_for(MINUTE)
}

// A has looked at the dead lock. B breaks it on another mount, and publishes. By what A's mount remembers, and
// opens, the path still names the dead one: A would rename B's file aside, and take it for the dead one there, too.
#[test]
fn a_breaker_is_not_misled_by_what_its_mount_opens() {
    let world = || machines(remembering().coarse().dead_lock(LATER), contend);
    prove(
        "2 breakers, names remembered",
        &world().finally(LATER, come_later),
    );
    find_harm(
        "a breaker that does not make its mount ask the server",
        &world().without(Safeguard::ForgetName),
        "no process takes a live lock",
    );
}

#[test]
fn contenders_exclude_each_other_on_mounts_that_remember_names() {
    let world = || remembering().coarse().finally(LATER, come_later);
    sample(
        "2 machines, names remembered, 1 crash",
        &machines(world(), contend).crashes(1),
    );
    prove(
        "2 machines refresh, names remembered",
        &machines(world().quick(), refresh_and_check),
    );
    prove(
        "2 breakers, flock not shared, names remembered",
        &breakers(remembering(), 2, contend_in_danger),
    );
    prove(
        "2 breakers refresh, flock not shared, names remembered, 1 crash",
        &breakers(remembering(), 2, refresh_and_check).crashes(1),
    );
    sample(
        "3 breakers, names remembered, 2 crashes",
        &three_machines(world().dead_lock(LATER), contend).crashes(2),
    );
    sample(
        "2 machines, flock mandatory, names remembered, 1 crash",
        &machines(world().where_flock_is_mandatory(), contend).crashes(1),
    );
}

fn hold_for_half_a_minute(os: &SimSys) {
    if let Ok(lock) = os.try_acquire() {
        os.sleep(MINUTE / 2);
        let _ = lock.release();
    }
}

fn move_away_and_hold(os: &SimSys) {
    let _ = os.move_lock(MOVED);
    hold_for_two_minutes(os);
}

// B moves A's lock file away on another mount, and acquires. A's mount remembers that A's file is at the path.
#[test]
fn a_release_leaves_a_successors_file_alone_on_a_mount_that_remembers_names() {
    let world = || {
        let world =
            remembering()
                .file(MOVED, b"", MINUTE)
                .coarse()
                .process("A", 1, hold_for_half_a_minute);
        world.on(ELSEWHERE).process("B", 1, move_away_and_hold)
    };
    prove("a lock file is moved, names remembered", &world());
    find_harm(
        "a release that does not make its mount ask the server",
        &world().without(Safeguard::ForgetName),
        "a live lock was removed",
    );
}

fn check_and_release(os: &SimSys) {
    let lock = os.try_acquire().expect("no other process acquires");
    os.sleep(SECOND);
    lock.check().expect("the file is put back");
    lock.release().expect("the file is put back");
}

// B has renamed A's lock by mistake, and puts it back. A's machine remembers the name, and finds no file when
// it opens that: A took this for a loss.
#[test]
fn a_lock_that_is_put_back_is_not_lost_where_names_are_cached() {
    let world = World::network().where_names_are_cached_for(MINUTE);
    let world = world.coarse().quick().process("A", 1, check_and_release);
    let put_back = |os: &SimSys| {
        // A has waited for 100 ms to read its record back.
        os.sleep(SECOND + Duration::from_millis(100));
        os.move_lock_and_back(MOVED);
    };
    prove(
        "a lock is put back, names cached",
        &world.on(ELSEWHERE).process("B", 1, put_back),
    );
}

// A and B, who are different users, have judged one torn lock. A breaks it, and B renames A's file, which B may
// not open: the number at the aside may be what B's machine remembers, or that of every file of the name.
#[test]
fn a_breaker_leaves_a_file_that_it_may_not_open() {
    let torn = |world: World| {
        let world = world.where_files_of_others_are_private();
        let world = world
            .flock_not_shared()
            .coarse()
            .file("d.lock", b"", MINUTE);
        machines(world, contend_in_danger)
    };
    prove(
        "2 users, numbers by name",
        &torn(World::network().where_numbers_go_by_names()),
    );
    prove(
        "2 users, names cached",
        &torn(World::network().where_names_are_cached_for(SECOND)),
    );
}

// Here the first breaker may find that another one has locked what it renamed, while the third process creates.
#[test]
fn three_breakers_are_not_misled_by_what_their_machines_remember_of_a_name() {
    let world = || breakers_with_cached_names(World::network().where_flock_is_mandatory(), 3);
    sample("3 breakers, names cached, flock mandatory", &world());
}

#[test]
#[ignore = "takes a minute"]
fn machines_exclude_each_other_in_every_schedule_where_flock_is_mandatory() {
    let world = World::network().where_flock_is_mandatory().coarse();
    prove(
        "2 machines, flock mandatory",
        &machines(world.finally(LATER, come_later), contend),
    );
}

// sshfs: only one machine can create the file, and age decides when another may remove it.
#[test]
fn machines_that_do_not_share_flock_exclude_each_other_while_they_refresh() {
    let world = || {
        World::network()
            .flock_not_shared()
            .coarse()
            .finally(LATER, come_later)
    };
    prove("2 machines, flock not shared", &machines(world(), contend));
    let dead = world().dead_lock(10 * MINUTE).on(ELSEWHERE);
    prove(
        "1 breaker elsewhere, flock not shared",
        &dead.process("B", 1, contend).crashes(1),
    );
}

// For two holders it takes a third process here, which acquires while the lock that the second
// breaker renamed by mistake is aside, as the table of guarantees says. Two breakers exclude each
// other, but one of them may find at its release that its lock is just being put back.
#[test]
fn two_breakers_that_do_not_share_flock_exclude_each_other() {
    let world = World::network().flock_not_shared().coarse();
    let world = machines(world.dead_lock(10 * MINUTE), contend_in_danger);
    prove(
        "2 breakers, flock not shared",
        &world.finally(LATER, come_later),
    );
}

/// Breakers of one dead lock, each on a machine of its own.
pub fn breakers(world: World, count: u8, program: fn(&SimSys)) -> World {
    let world = world.flock_not_shared().coarse().dead_lock(10 * MINUTE);
    each_on_a_machine(world, count, program).finally(LATER, come_later)
}

// The third process acquires while the second breaker has the first one's new lock aside, by mistake:
// the second breaker has paused for longer than the first one settles, between its comparison and its
// rename.
#[test]
#[ignore = "takes a minute"]
fn three_breakers_that_do_not_share_flock_may_hold_two_locks_for_a_moment() {
    find_harm(
        "3 breakers, flock not shared",
        &breakers(World::network(), 3, contend_in_danger),
        "two processes hold",
    );
}

// Time passes for the first breaker's settle time and read-back only when no other process can run.
#[test]
fn quick_breakers_that_do_not_share_flock_exclude_each_other_wherever_they_die() {
    prove(
        "2 quick breakers, flock not shared, 1 crash",
        &breakers(World::network().quick(), 2, contend_in_danger).crashes(1),
    );
}

#[test]
#[ignore = "takes a minute"]
fn three_quick_breakers_that_do_not_share_flock_exclude_each_other_wherever_one_dies() {
    prove(
        "3 quick breakers, flock not shared, 1 crash",
        &breakers(World::network().quick(), 3, contend_in_danger).crashes(1),
    );
}

// Whatever the pauses: a holder whose lock was replaced learns of it, and removes nothing.
#[test]
fn breakers_that_do_not_share_flock_notice_a_loss() {
    prove(
        "2 breakers refresh, flock not shared, 1 crash",
        &breakers(World::network(), 2, refresh_and_check).crashes(1),
    );
}

// On this mount O_EXCL lets both of two creators succeed: the one that does not read its own record
// back has lost.
#[test]
fn creators_that_both_succeed_find_out_before_they_hold() {
    let lying = || {
        World::network()
            .flock_not_shared()
            .where_exclusive_create_lies()
    };
    let world = lying().coarse().finally(LATER, come_later);
    prove(
        "2 creators succeed, and read back",
        &machines(world, contend_in_danger),
    );
    let world = lying().coarse().without(Safeguard::ReadBack);
    find_harm(
        "2 creators succeed, and read back too early",
        &machines(world, contend_in_danger),
        "two processes hold",
    );
    let late = lying().coarse().finally(LATER, come_later);
    sample("a late creator", &machines(late, come_after_the_age));
}

// B has A's lock file open, to examine or to break it, when A releases: the server replies ESTALE,
// which means only that the lock has changed hands.
#[test]
fn a_file_that_the_server_forgets_is_a_lock_that_changed_hands() {
    let forgetful = |world: World| world.where_removed_files_are_forgotten().coarse();
    prove(
        "2 contenders, stale handles",
        &machines(forgetful(World::network()), contend),
    );
    let dead = forgetful(World::network().dead_lock(LATER));
    prove("2 breakers, stale handles", &machines(dead, contend));
}

// The same on a mount that answers EBADF: a contender once failed with it, beside a holder on another mount
// that released its lock at that moment.
#[test]
fn a_file_that_the_mount_has_closed_is_a_lock_that_changed_hands() {
    let world = World::network().where_removed_files_are_closed().coarse();
    prove("2 contenders, closed files", &machines(world, contend));
}

#[test]
#[ignore = "takes a minute without optimization"]
fn a_file_that_the_mount_has_closed_is_a_lock_that_another_broke() {
    let dead = World::network().dead_lock(LATER);
    let dead = dead.where_removed_files_are_closed().coarse();
    prove("2 breakers, closed files", &machines(dead, contend));
}

/// Acquires next to a client that may take its lock. No error may be reported.
fn acquire_in_danger(os: &SimSys) {
    if let Err(error) = os.try_acquire() {
        assert!(
            error.is_held(),
            "refused for another reason than contention: {error}"
        );
    }
}

// A has created its file, and a deployed client deletes the file because it is empty: whatever the
// server then replies to calls on the file, A starts again.
#[test]
fn a_new_file_that_the_server_forgets_is_a_race_that_was_lost() {
    let world = World::network()
        .where_removed_files_are_forgotten()
        .coarse();
    let world = world.process("A", 1, acquire_in_danger).on(ELSEWHERE);
    prove(
        "next to a deployed client, stale handles",
        &world.process("D", 1, contend_deployed),
    );
}

/// Acquires while no other process is there. The error must be that flock is not supported.
fn expect_unsupported_flock(os: &SimSys) {
    match os.try_acquire() {
        Err(AcquireError::Io(IoError { source, .. })) => {
            assert_eq!(source.kind(), io::ErrorKind::Unsupported);
        }
        outcome => panic!("no kernel would witness this holder's death: {outcome:?}"),
    }
}

/// Holds, and checks that the record has no stamp: a stamp would claim that the kernel witnesses
/// the death.
fn hold_without_a_stamp(os: &SimSys) {
    let lock = os.try_acquire().expect("no other process is there");
    let record = os.record().expect("it is held");
    assert_eq!(record.stamp(), None);
    lock.release().expect("no process takes a live lock");
}

// On a mount without flock, age alone decides, and locks work. A local file system has flock: where
// it is refused (ENOLCK), a live holder and a dead one could not be distinguished.
#[test]
fn flock_may_be_missing_on_a_mount_and_nowhere_else() {
    let mount = World::network().without_flock().coarse();
    prove("2 contenders without flock", &machines(mount, contend));
    let mount = World::network().without_flock().coarse();
    prove(
        "1 without flock",
        &mount.process("A", 1, hold_without_a_stamp),
    );
    let local = World::local().without_flock().coarse();
    prove(
        "flock refused",
        &local.process("A", 1, expect_unsupported_flock),
    );
}
