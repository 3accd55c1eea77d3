//! Holders refresh and check while other processes break their lock, by force or because it looks
//! stale.

use std::time::Duration;

use rvlf_simulated::record::Pid;
use rvlf_simulated::sim::{Safeguard, SimLock, SimSys, System, Violation, World};
use rvlf_simulated::{HoldError, LossReason, Record, WriterId};

use super::{LATER, coarse, come_later, contend, prove, sample};

/// Another machine, which shares only the files.
pub const ELSEWHERE: System = System::HOST.named("elsewhere").on_kernel(1);

/// The pid of the first process.
const FIRST: u32 = 100;

/// Holds, refreshes and checks. If the kernel's inode table shows that the lock is lost for good,
/// then neither may succeed, and the file at the path must stay. The holder ends without a release:
/// during a release, a break by force can cost the next holder its lock.
pub fn refresh_and_check(os: &SimSys) {
    let Ok(lock) = os.try_acquire() else { return };
    let lost = !lock.has_name();
    let refreshed = lock.refresh();
    assert!(!lost || refreshed.is_err(), "a lost lock was refreshed");
    let lost = !lock.has_name();
    let checked = lock.check();
    assert!(!lost || checked.is_err(), "a check accepted a lost lock");
    assert!(
        refreshed.is_ok() || checked.is_err(),
        "a loss was forgotten"
    );
    if let Err(lost) = checked {
        let reason = lost.reason;
        assert!(
            matches!(
                reason,
                LossReason::Removed | LossReason::Replaced(_) | LossReason::RefreshFailed
            ),
            "lost, but not by a break: {reason}"
        );
        let released = lock.release();
        assert!(
            matches!(released, Err(HoldError::Lost(_))),
            "a lost lock was released"
        );
    } else {
        std::mem::forget(lock);
    }
}

/// Releases the lock only if it is lost, before any check has noticed the loss.
fn release_if_lost(os: &SimSys) {
    let Ok(lock) = os.try_acquire() else { return };
    if lock.has_name() {
        std::mem::forget(lock);
    } else {
        let _ = lock.release();
    }
}

fn break_the_first_by_force(os: &SimSys) {
    let of_the_first = os.record().filter(|record| record.pid().get() == FIRST);
    if let Some(record) = of_the_first {
        let _ = os.force_break(record.writer_id());
    }
}

/// Acquires next, and must keep its lock to the end.
pub fn hold_to_the_end(os: &SimSys) {
    if let Ok(lock) = os.try_acquire() {
        os.entered();
        check_is_kept(&lock);
        os.left();
        std::mem::forget(lock);
    }
}

fn check_is_kept(lock: &SimLock) {
    assert!(
        lock.has_name(),
        "another process removed the lock of a live holder"
    );
}

/// H holds, and F breaks H's lock by force.
fn broken_by_force(world: World, holder: fn(&SimSys)) -> World {
    let world = world.process("H", 1, holder);
    world.process("F", 1, break_the_first_by_force)
}

#[test]
fn a_holder_whose_lock_was_broken_by_force_notices_it_and_changes_nothing() {
    let world = || broken_by_force(coarse(), refresh_and_check);
    prove("a holder and a break by force", &world().crashes(2));
    let successor = world().process("C", 1, hold_to_the_end);
    prove("a holder, a break by force, a successor", &successor);
    let late = broken_by_force(coarse(), release_if_lost).process("C", 1, hold_to_the_end);
    prove("a late release, a break by force, a successor", &late);
}

/// Finds a shortest schedule that breaks a promise, with a message that contains `message`.
pub fn find_harm(what: &str, world: &World, message: &str) -> Violation {
    let violation = world.explore().expect_err(what);
    println!("{what}:\n{violation}\n");
    assert!(violation.message().contains(message), "{violation}");
    violation
}

#[test]
fn a_release_that_does_not_check_the_path_removes_the_successors_lock() {
    let world = coarse().without(Safeguard::OwnPath);
    let world = broken_by_force(world, release_if_lost).process("C", 1, hold_to_the_end);
    find_harm(
        "a release without a check of the path",
        &world,
        "removed the lock of a live holder",
    );
}

// R19 of the protocol: the holder has compared path and descriptor, F breaks its lock, C publishes,
// the holder unlinks C's file. The manual says that a break by force is for a holder that is not at
// work.
#[test]
fn a_break_by_force_during_a_release_can_cost_the_next_holder_its_lock() {
    let release = |os: &SimSys| {
        if let Ok(lock) = os.try_acquire() {
            let _ = lock.release();
        }
    };
    let world = broken_by_force(coarse(), release).process("C", 1, hold_to_the_end);
    find_harm("R19", &world, "removed the lock of a live holder");
}

// A daemon closes all descriptors after a fork and opens its database, which gets the descriptor
// number of the lock file. A write without a check corrupted a database.
fn lose_the_descriptor(os: &SimSys) {
    let Ok(lock) = os.try_acquire() else { return };
    os.entered();
    os.take_descriptors("d");
    let lost = |error| matches!(error, HoldError::Lost(lost) if lost.reason == LossReason::DescriptorClosed);
    let refreshed = lock.refresh();
    assert!(refreshed.is_err_and(lost), "a lost descriptor was used");
    os.left();
    let released = lock.release();
    assert!(released.is_err_and(lost), "a lost descriptor was released");
}

#[test]
fn a_refresh_never_writes_into_a_file_that_took_the_descriptors_number() {
    let world = || {
        coarse()
            .foreign("d", b"a database")
            .process("H", 1, lose_the_descriptor)
    };
    prove(
        "a closed descriptor, a contender",
        &world().process("C", 1, contend),
    );
    find_harm(
        "a refresh without a check of the descriptor",
        &world().without(Safeguard::OwnDescriptor),
        "writes into a file that is not its own",
    );
}

// Foreign code closes the descriptor of H, and the kernel lock ends with it. C, in another container,
// sees a dead process and a free kernel lock: it breaks the lock and holds. If H compares the path
// before that, and unlinks after it, C's file is gone.
pub fn lose_the_descriptor_and_release(os: &SimSys) {
    let Ok(lock) = os.try_acquire() else { return };
    os.take_descriptors("d");
    let _ = lock.release();
}

#[test]
fn a_release_without_the_kernel_lock_leaves_the_successors_file_alone() {
    let world = || {
        let world = coarse().foreign("d", b"a database");
        let world = world.process("H", 1, lose_the_descriptor_and_release);
        let world = world.on(System::HOST.in_pid_namespace(1));
        world.process("C", 1, hold_to_the_end)
    };
    prove("a release after the descriptor was closed", &world());
    find_harm(
        "a release without a check of the descriptor",
        &world().without(Safeguard::UnlinkUnderLock),
        "removed the lock of a live holder",
    );
}

/// Loses its lock, and acquires again: first under the guard of the lost lock, where another thread
/// may still be writing, and then without it.
pub fn lose_and_acquire_again(os: &SimSys) {
    let Ok(lock) = os.try_acquire() else { return };
    os.entered();
    os.take_descriptors("d");
    assert!(lock.check().is_err(), "a lost descriptor was not noticed");
    let second = os.try_acquire();
    assert!(second.is_err(), "a second hold beside one that is in use");
    os.left();
    drop(lock);
    if let Ok(lock) = os.try_acquire() {
        os.entered();
        check_is_kept(&lock);
        os.left();
        std::mem::forget(lock);
    }
}

#[test]
fn a_hold_that_was_lost_is_not_broken_under_its_guard() {
    let world = || {
        let world = coarse().foreign("d", b"a database");
        world.process("H", 1, lose_and_acquire_again)
    };
    prove("lost, and acquired again", &world().crashes(1));
    find_harm(
        "a guard of a lost lock is taken for dropped",
        &world().without(Safeguard::GuardDropped),
        "a second hold beside one that is in use",
    );
    let contended = world().process("C", 1, contend);
    prove("lost, and acquired again, a contender", &contended);
}

#[test]
fn a_process_that_has_given_a_lost_lock_up_may_have_it_at_once() {
    let again = |os: &SimSys| {
        let lock = os.try_acquire().expect("no other process is there");
        os.take_descriptors("d");
        drop(lock);
        let again = os.try_acquire().expect("this process holds nothing");
        again.release().expect("it is held");
    };
    let world = coarse().foreign("d", b"a database");
    prove(
        "given up, and acquired again",
        &world.process("H", 1, again),
    );
}

/// A lock of another process, in the bytes of the own file.
fn refresh_what_was_overwritten(os: &SimSys) {
    let Ok(lock) = os.try_acquire() else { return };
    let own = os.record().expect("it is held");
    let pid = Pid::new(4242).expect("it is a pid");
    let id = WriterId::from_bytes([7; 16]);
    let other = Record::new(pid, &own.hostname(), own.timestamp_ns(), id, None);
    os.overwrite_lock(&other.encode());
    let refreshed = lock.refresh();
    let is_replaced = |error| matches!(error, HoldError::Lost(lost) if matches!(lost.reason, LossReason::Replaced(Some(_))));
    assert!(
        refreshed.is_err_and(is_replaced),
        "another record was not noticed"
    );
    assert_eq!(os.record(), Some(other), "another record was written over");
}

/// As [`refresh_what_was_overwritten`], where the inode says that the file is the holder's.
fn heal_what_was_overwritten(os: &SimSys) {
    let Ok(lock) = os.try_acquire() else { return };
    let own = os.record().expect("it is held");
    for content in [&[0; 104][..], b"not a record"] {
        os.overwrite_lock(content);
        lock.refresh().expect("the file is still the holder's");
        let healed = os.record().expect("a refresh restores the record");
        assert_eq!(healed.refreshed(0), own.refreshed(0));
    }
    lock.release().expect("it is held");
}

// A mount that goes by names sends a write through an old descriptor to the file that has the name
// now. There the content decides whose it is, and is read before the write.
#[test]
fn off_local_file_systems_a_refresh_never_writes_over_another_record() {
    let world = |world: World| world.process("H", 1, refresh_what_was_overwritten);
    prove("a mount", &world(World::network()));
    find_harm(
        "a refresh that does not look first",
        &world(World::network().without(Safeguard::OwnRecord)),
        "another record was",
    );
    let local = World::local().process("H", 1, heal_what_was_overwritten);
    prove("a local file system", &local);
}

const AFTER_THE_AGE: Duration = Duration::from_secs(310);

/// A mount whose flock excludes only processes of one kernel (sshfs): age alone decides about the
/// others.
fn mount() -> World {
    World::network()
        .flock_not_shared()
        .finally(LATER, come_later)
}

pub fn come_after_the_age(os: &SimSys) {
    os.sleep(AFTER_THE_AGE);
    hold_to_the_end(os);
}

/// Refreshes often enough to keep the lock, for longer than a record without refreshes counts as
/// live.
pub fn hold_for_long(os: &SimSys) {
    let Ok(lock) = os.try_acquire() else { return };
    os.entered();
    for _ in 0..4 {
        os.sleep(Duration::from_secs(100));
        lock.refresh()
            .expect("no process takes a lock that is refreshed");
    }
    os.left();
    lock.release().expect("no process takes a live lock");
}

#[test]
fn a_holder_that_refreshes_is_not_judged_dead_by_age() {
    let world = mount().coarse().process("H", 1, hold_for_long);
    let world = world.on(ELSEWHERE).process("C", 2, come_after_the_age);
    prove("a holder that refreshes", &world.crashes(1));
}

#[test]
fn a_holder_that_does_not_refresh_is_judged_dead_by_age() {
    let silent = |os: &SimSys| {
        let Ok(lock) = os.try_acquire() else { return };
        os.entered();
        os.sleep(2 * AFTER_THE_AGE);
        os.left();
        let checked = lock.check();
        assert!(checked.is_err(), "the record is too old to be relied on");
    };
    let world = mount().coarse().process("H", 1, silent);
    let world = world.on(ELSEWHERE).process("C", 1, come_after_the_age);
    find_harm(
        "a holder that does not refresh",
        &world,
        "two processes hold",
    );
}

// Others judge by the age of the record, and may take the lock after 300 s. A holder whose refreshes hang with
// their mount has to stop before, with time to end what it has begun.
#[test]
fn a_lock_off_local_file_systems_is_lost_when_its_record_has_half_of_that_age() {
    let lost_after = |seconds: u64, reason: Option<LossReason>| {
        let silent = move |os: &SimSys| {
            let lock = os.try_acquire().expect("no other process is there");
            os.sleep(Duration::from_secs(seconds));
            let lost = lock.check().err().map(|lost| lost.reason);
            assert_eq!(lost, reason, "after {seconds} s without a refresh");
            let released = lock.release();
            assert_eq!(released.is_err(), reason.is_some(), "{released:?}");
        };
        // A lost lock leaves its record at the path, which the next contender judges by its age.
        let world = World::network().process("H", 1, silent);
        prove("a holder without refreshes", &world);
    };
    lost_after(149, None);
    lost_after(151, Some(LossReason::RefreshFailed));
    lost_after(100_000, Some(LossReason::RefreshFailed));
}

// What the cache of the holder's machine keeps, no other machine sees. On a local file system all see it, and a
// sync would cost a flush of the disk for each lock and each 10 s.
#[test]
fn a_refresh_is_synced_where_other_machines_read_it_and_nowhere_else() {
    let calls_of_a_refresh = |world: World| {
        let refresh = |os: &SimSys| {
            let lock = os.try_acquire().expect("no other process is there");
            os.sleep(Duration::from_secs(10));
            lock.refresh().expect("no other process is there");
            panic!("the calls until now");
        };
        let shown = find_harm(
            "the calls of a refresh",
            &world.process("H", 1, refresh),
            "the calls until now",
        );
        let shown = shown.to_string();
        let refresh = shown.rsplit("Sleep(10s").next().map(str::to_owned);
        refresh.expect("a split has a part")
    };
    let (local, mount) = (World::local(), World::network());
    assert!(!calls_of_a_refresh(local).contains("sync("));
    let calls = calls_of_a_refresh(mount);
    let (_, after) = calls.split_once("write(").expect("the record is written");
    assert!(after.contains("sync(fd 0, Data)"), "{calls}");
}

// A holder is stopped for minutes at any moment, and then goes on. Exclusion cannot be promised,
// but the holder notices its loss at its next check, and the other holder's file stays.
#[test]
fn a_paused_holder_notices_its_loss_and_changes_nothing() {
    for holder in [refresh_and_check, release_if_lost] {
        let world = mount().process("H", 1, holder);
        let world = world.on(ELSEWHERE).process("C", 1, come_after_the_age);
        sample("a paused holder, judged by age", &world);
    }
}
