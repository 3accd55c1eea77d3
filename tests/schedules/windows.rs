//! Windows: the kernel lock is the share mode of an open handle, files are renamed and removed by
//! handle, and a deleted file may keep its name until its last handle is closed.
//!
//! Each search runs with both kinds of deletion. What else Linux worlds have (clocks, losses of power,
//! containers, children that have the handle) is searched here as well.

use std::time::Duration;

use rvlf_simulated::judge::Reason;
use rvlf_simulated::sim::{Fork, Report, Safeguard, SimSys, System, World};

use super::lent::{lend_and_release, lend_to_a_long_writer};
use super::refreshes::{
    ELSEWHERE, find_harm, hold_to_the_end, lose_and_acquire_again, lose_the_descriptor_and_release,
};
use super::{
    LATER, MINUTE, come_later, contend, contend_deployed, contend_in_danger, find, prove, sample,
    wait_and_hold, with,
};
use super::{directories, faults};

const SECOND: Duration = Duration::from_secs(1);
const CONTAINER: System = System::HOST.in_pid_namespace(1);

/// Deletion by POSIX semantics (Windows 10 1709 on NTFS), and the classic one.
fn kernels() -> [(&'static str, World); 2] {
    let classic = World::windows().where_deleted_files_keep_their_name();
    [
        ("Windows", World::windows()),
        ("Windows, classic deletion", classic),
    ]
}

/// Proves what `world` makes of a coarse world of each kind.
fn prove_on_both(what: &str, world: impl Fn(World) -> World) -> [Report; 2] {
    kernels().map(|(kind, kernel)| prove(&format!("{kind}: {what}"), &world(kernel.coarse())))
}

/// Random schedules of what `world` makes of a detailed world of each kind.
fn sample_on_both(what: &str, world: impl Fn(World) -> World) {
    for (kind, kernel) in kernels() {
        let world = world(kernel).finally(LATER, come_later);
        sample(&format!("{kind}: {what}"), &world);
    }
}

fn coarse() -> World {
    World::windows().coarse()
}

/// The world in which a holder in one container is invisible to a contender in another one: only the
/// kernel lock shows that it lives.
fn containers(world: World, programs: [fn(&SimSys); 2]) -> World {
    let [one, other] = programs;
    world
        .process("A", 1, one)
        .on(CONTAINER)
        .process("B", 1, other)
}

#[test]
fn contenders_exclude_each_other_by_share_modes_wherever_they_die() {
    let reports = prove_on_both("2 contenders, 1 crash", |world| {
        let world = world.finally(LATER, come_later);
        with(world, 2, 1, contend).crashes(1)
    });
    for report in reports {
        assert!(report.states > 1000, "the search is too small: {report:?}");
    }
    prove_on_both("2 containers, 1 crash", |world| {
        containers(world, [contend; 2]).crashes(1)
    });
}

#[test]
#[ignore = "takes minutes without --release"]
fn more_contenders_exclude_each_other_by_share_modes() {
    prove_on_both("2 contenders, 2 acquisitions, 2 crashes", |world| {
        let world = world.finally(LATER, come_later);
        with(world, 2, 2, contend).crashes(2)
    });
    prove_on_both("3 contenders, 1 crash", |world| {
        with(world, 3, 1, contend).crashes(1)
    });
    prove_on_both("2 next to a deployed client", |world| {
        with(world, 2, 1, contend).process("D", 1, contend_deployed)
    });
}

#[test]
#[ignore = "takes minutes without --release"]
fn more_breakers_exclude_each_other_by_share_modes() {
    prove_on_both("2 breakers and a scanner", |world| {
        let world = with(world.dead_lock(SECOND), 2, 1, contend);
        world.process("S", 1, scan).finally(LATER, come_later)
    });
    prove_on_both("2 breakers, 1 crash, 1 violation", |world| {
        let world = with(world.dead_lock(SECOND), 2, 1, contend);
        world.crashes(1).violations(1).finally(LATER, come_later)
    });
    prove_on_both("2 breakers, 1 fault", |world| {
        let world = with(world.dead_lock(SECOND), 2, 1, faults::contend);
        world.faults(1).finally(LATER, come_later)
    });
    prove_on_both("a holder, 1 clock step", |world| {
        let world = world.process("H", 1, refresh_and_keep);
        world.process("C", 1, contend).clock_steps(1)
    });
}

#[test]
fn contenders_exclude_each_other_by_share_modes_in_every_detail() {
    for (kind, kernel) in kernels() {
        let world = with(kernel, 2, 1, contend).finally(LATER, come_later);
        prove(&format!("{kind}: 2 contenders, in detail"), &world);
    }
}

#[test]
fn one_breaker_removes_a_dead_lock_by_its_handle() {
    prove_on_both("2 breakers of a dead lock", |world| {
        let world = world.finally(LATER, come_later);
        with(world.dead_lock(SECOND), 2, 1, contend).crashes(1)
    });
    prove_on_both("2 breakers of a deployed client's lock", |world| {
        with(world.dead_deployed_lock(MINUTE), 2, 1, contend)
    });
}

// The handle of a holder, and that of a breaker, share reading alone, and that of an examiner no writing.
// `--cfg rvlf_weak_share` is the same for the real calls.
#[test]
fn handles_that_share_everything_break_exclusion() {
    let world = coarse().without(Safeguard::ShareMode);
    let world = containers(world, [contend_in_danger; 2]);
    find("Windows: every handle shares everything", &world);
}

// One of both alone is enough between two processes that follow the protocol: a breaker is refused by
// what a holder may do, and a holder refuses what a breaker would do.
#[test]
fn a_breaker_that_shares_everything_is_still_refused_by_a_holder() {
    let world = || coarse().without(Safeguard::KernelLock);
    let contended = containers(world(), [contend_in_danger; 2]);
    prove("Windows: a breaker shares everything", &contended);
    let dead = with(world().dead_lock(SECOND), 2, 1, contend_in_danger);
    prove("Windows: two breakers share everything", &dead);
}

/// A deployed client that is stopped between its create and its write.
fn contend_deployed_slowly(os: &SimSys) {
    if let Ok(lock) = os.try_acquire_deployed_slowly(5 * SECOND) {
        os.entered();
        os.left();
        lock.release(os);
    }
}

/// Comes when an empty file is old enough to be broken, and is at work while the other one is.
fn come_after_3_s(os: &SimSys) {
    os.sleep(3 * SECOND);
    if let Ok(lock) = os.try_acquire() {
        os.entered();
        os.sleep(3 * SECOND);
        os.left();
        drop(lock);
    }
}

// A deployed client has made the file and not written it yet. It looks like one that a dead process
// has left; but the client has it open for writing, which neither an examiner nor a breaker shares.
#[test]
fn a_deployed_client_that_is_still_writing_keeps_its_file() {
    let world = |world: World| {
        let world = world.process("D", 1, contend_deployed_slowly);
        world.process("A", 1, come_after_3_s)
    };
    prove_on_both("a slow deployed client", world);
    let examined = coarse().without(Safeguard::KernelLock);
    prove("Windows: a breaker shares everything", &world(examined));
    let unguarded = coarse().without(Safeguard::ShareMode);
    find("Windows: every handle shares everything", &world(unguarded));
    find(
        "Linux: a slow deployed client",
        &world(World::local().coarse()),
    );
}

// Deployed clients remove files by name. The kernel refuses that while we have the file open.
#[test]
fn a_deployed_client_cannot_remove_what_is_held() {
    prove_on_both("next to a deployed client, 1 crash", |world| {
        let world = with(world, 1, 1, contend).crashes(1);
        world.process("D", 1, contend_deployed)
    });
    // On Linux this takes the settle time.
    prove_on_both("a dead lock next to a deployed client", |world| {
        let world = world.without(Safeguard::Settle).quick();
        let world = with(world.dead_lock(MINUTE), 1, 1, contend);
        world.process("D", 1, contend_deployed)
    });
}

// A saw that there is no lock. D has made one since, and closed it, as deployed clients do.
#[test]
fn a_publish_that_replaces_takes_a_deployed_clients_lock() {
    let world = coarse().without(Safeguard::PublishNoReplace);
    let world = with(world, 1, 1, contend_in_danger).process("D", 1, contend_deployed);
    find("Windows: a publish replaces", &world);
}

// A has closed its handle, and is about to remove its lock file by name. B breaks what A has left, D
// takes its place and closes its file, and A removes that one.
#[test]
fn a_release_by_name_removes_a_deployed_clients_lock() {
    let release = |os: &SimSys| drop(os.try_acquire());
    let world = |world: World| {
        let world = world.process("A", 1, release);
        let world = world.process("D", 1, contend_deployed);
        world.on(CONTAINER).process("B", 1, contend_in_danger)
    };
    find(
        "Windows: a release removes by name",
        &world(coarse().without(Safeguard::RemoveByHandle)),
    );
}

// What a handle reaches cannot be another file: these checks of Linux are doubled by it.
#[test]
fn without_the_checks_of_names_the_handle_still_names_the_right_file() {
    for safeguard in [Safeguard::Identity, Safeguard::OwnPath] {
        let world = coarse().without(safeguard);
        let dead = with(world.dead_lock(SECOND), 2, 1, contend_in_danger);
        prove(&format!("Windows: without {safeguard:?}"), &dead);
    }
}

/// Scans the lock file twice, which lets no process delete it meanwhile.
fn scan(os: &SimSys) {
    os.scan("d.lock", Duration::ZERO);
    os.scan("d.lock", Duration::ZERO);
}

fn scan_for_a_minute(os: &SimSys) {
    os.scan("d.lock", MINUTE);
}

fn read_for_a_minute(os: &SimSys) {
    os.read_file("d.lock", MINUTE);
}

/// Waits for longer than the others are at work.
fn wait_for_minutes(os: &SimSys) {
    let lock = os.acquire(10 * MINUTE);
    let lock = lock.expect("every other process ends within a minute");
    os.entered();
    os.left();
    lock.release().expect("no process takes a live lock");
}

// A scanner reads the file of a dead holder, or a filter refuses a call for a moment.
#[test]
fn a_sharing_violation_reads_as_held_and_passes() {
    prove_on_both("1 breaker and a scanner, 1 crash", |world| {
        let world = with(world.dead_lock(SECOND), 1, 2, contend).crashes(1);
        world.process("S", 1, scan).finally(LATER, come_later)
    });
    prove_on_both("2 contenders, 1 crash, 1 violation", |world| {
        let world = with(world, 2, 1, contend).crashes(1).violations(1);
        world.finally(LATER, come_later)
    });
    // Where both attempts of a call are refused, an error says so.
    prove_on_both("1 breaker, 1 crash, 3 violations", |world| {
        let world = with(world.dead_lock(SECOND), 1, 2, faults::contend).crashes(1);
        world.violations(3).finally(LATER, come_later)
    });
}

// The scanner's close makes no event: the waiter looks again by its timer.
#[test]
fn a_waiter_outlasts_a_scanner_of_a_dead_holders_file() {
    prove_on_both("1 waiter and a scanner of a dead lock", |world| {
        let world = world.dead_lock(SECOND).polls_take(20 * SECOND);
        let world = world.process("S", 1, scan_for_a_minute);
        world.process("W", 1, wait_for_minutes)
    });
}

/// Waits for less long than a reader has the file open.
fn wait_for_half_a_minute(os: &SimSys) {
    let lock = os.acquire(MINUTE / 2);
    let lock = lock.expect("no process that follows the protocol has it");
    lock.release().expect("no process takes a live lock");
}

// A program that shares everything reads the file when it is released, and a classic deletion keeps the
// name until that program closes the file.
#[test]
fn a_reader_of_a_removed_file_keeps_no_contender_out() {
    let read = |world: World| {
        let world = world.polls_take(20 * SECOND).process("H", 1, contend);
        let world = world.process("R", 1, read_for_a_minute);
        world.process("W", 1, wait_for_half_a_minute)
    };
    prove_on_both("a holder, a reader, and 1 waiter", read);
    let classic = coarse().where_deleted_files_keep_their_name();
    find_harm(
        "Windows, classic deletion: deleted under its own name",
        &read(classic.without(Safeguard::RemoveAside)),
        "no process that follows the protocol has it",
    );
}

/// A server of Windows, as two of its clients see it: it knows the share modes of both.
fn on_a_server(world: World, program: fn(&SimSys)) -> World {
    let world = world.on_a_server().process("A", 1, program);
    world.on(ELSEWHERE).process("B", 1, program)
}

#[test]
fn machines_exclude_each_other_where_the_server_knows_their_share_modes() {
    prove_on_both("2 machines", |world| {
        let world = on_a_server(world, contend);
        world.finally(LATER, come_later)
    });
    sample_on_both("2 machines, 1 crash", |world| {
        on_a_server(world, contend).crashes(1)
    });
    sample_on_both("2 machines at a dead lock", |world| {
        on_a_server(world.dead_lock(10 * MINUTE), contend)
    });
}

fn hold_for_a_minute(os: &SimSys) {
    let lock = os.try_acquire().expect("no other process is there");
    os.entered();
    os.sleep(MINUTE);
    os.left();
    lock.release().expect("no process takes a live lock");
}

/// Comes while the lock is held, from another container.
fn be_refused(os: &SimSys) {
    os.sleep(3 * SECOND);
    let refused = os.try_acquire().expect_err("it is held");
    let reason = refused.holder().map(|holder| holder.verdict().reason());
    let kept = Some(Reason::KernelLockOutlivesProcess);
    assert_eq!(reason, kept, "a live holder's lock looks free");
}

#[test]
fn a_violation_that_reads_as_free_makes_a_live_lock_look_free() {
    let world = |world: World| containers(world, [hold_for_a_minute, be_refused]);
    prove_on_both("refused by a holder in another container", world);
    find_harm(
        "Windows: a violation reads as free",
        &world(coarse().without(Safeguard::ViolationIsHeld)).without_merging(),
        "a live holder's lock looks free",
    );
}

#[test]
fn a_fault_leaves_an_error_or_success_and_nothing_behind() {
    prove_on_both("1 contender, 1 fault", |world| {
        let world = world.process("A", 1, faults::contend).faults(1);
        world.finally(LATER, come_later)
    });
    prove_on_both("1 breaker, 2 faults", |world| {
        let world = world.dead_lock(SECOND).process("A", 1, faults::contend);
        world.faults(2).finally(LATER, come_later)
    });
    prove_on_both("2 contenders, 1 fault", |world| {
        let world = with(world, 2, 1, faults::contend);
        world.faults(1).finally(LATER, come_later)
    });
    prove_on_both("no holder is reported, 1 fault", |world| {
        world.process("A", 1, faults::acquire_alone).faults(1)
    });
    let world = coarse().without(Safeguard::Withdraw);
    let world = world.process("A", 1, faults::acquire_alone).faults(1);
    find_harm(
        "Windows: no withdrawal",
        &world.finally(LATER, faults::find_nothing),
        "left behind",
    );
}

// On Windows a close makes no event. A release takes the name away, and a death ends the process.
#[test]
fn waiters_are_woken_by_each_release_and_each_death() {
    let one = |world: World| with(world, 1, 1, contend).process("W", 1, wait_and_hold);
    prove_on_both("1 waiter, 1 crash", |world| one(world).crashes(1));
    prove_on_both("2 waiters, 1 crash", |world| {
        with(world, 2, 1, wait_and_hold).crashes(1)
    });
    let shown = coarse().where_death_shows_first();
    prove(
        "Windows, death shows before the handles are closed: 1 waiter, 1 crash",
        &one(shown).crashes(1),
    );
    let violation = one(coarse().without(Safeguard::LookAfterWatch)).explore();
    let violation = violation.expect_err("the moment comes in some schedule");
    assert_eq!(violation.message(), "W sleeps although the lock is free");
}

/// The end of a process shows before its handles are closed, and the reverse.
#[test]
fn a_dead_holders_lock_is_recovered_in_whatever_order_its_death_shows() {
    let world = coarse().where_death_shows_first();
    let world = with(world, 2, 1, contend).crashes(1);
    prove(
        "Windows, death shows before the handles are closed: 2 contenders, 1 crash",
        &world.finally(LATER, come_later),
    );
}

/// Refreshes and checks, whatever a user tries meanwhile. The lock is never lost.
fn refresh_and_keep(os: &SimSys) {
    let Ok(lock) = os.try_acquire() else { return };
    os.entered();
    lock.refresh()
        .expect("the kernel lets no process remove it");
    lock.check().expect("the kernel lets no process remove it");
    os.left();
    lock.release()
        .expect("the kernel lets no process remove it");
}

fn break_by_force_and_contend(os: &SimSys) {
    if let Some(record) = os.record() {
        let _ = os.force_break(record.writer_id());
    }
    contend(os);
}

fn move_away(os: &SimSys) {
    let _ = os.move_lock(".moved");
}

#[test]
fn a_live_holders_lock_is_neither_broken_by_force_nor_moved() {
    prove_on_both("a holder and a break by force", |world| {
        let world = world.process("H", 1, refresh_and_keep);
        world.process("F", 1, break_by_force_and_contend)
    });
    prove_on_both("a holder and an operator", |world| {
        let world = world.process("H", 1, refresh_and_keep);
        world.process("O", 1, move_away)
    });
}

#[test]
fn a_live_holder_keeps_its_lock_through_a_suspension() {
    prove_on_both("a holder, 1 suspension", |world| {
        let world = world.process("H", 1, refresh_and_keep);
        world.process("C", 1, contend).suspensions(1)
    });
}

#[test]
fn a_held_lock_survives_the_loss_of_power_and_is_recovered_after_it() {
    // One contender: a loss of power leaves one private file of each.
    prove_on_both("1 contender, 1 loss of power", |world| {
        let world = with(world, 1, 2, contend).power_losses(1);
        world.finally(LATER, come_later)
    });
    let world = coarse().without(Safeguard::Sync);
    find_harm(
        "Windows: nothing is synced",
        &with(world, 1, 1, contend_in_danger).power_losses(1),
        "no record is left of the holder that lost power",
    );
}

// A child that has the handle keeps the share mode, whether its parent releases or dies.
#[test]
fn a_lent_lock_is_not_free_before_the_child_has_ended() {
    let lent = |world: World| {
        let world = with(world, 1, 1, contend_in_danger);
        world.process("R", 1, lend_and_release)
    };
    prove_on_both("lent, 1 contender", lent);
    let in_a_container = |world: World| {
        let world = with(world, 1, 1, contend_in_danger).on(CONTAINER);
        world.process("R", 1, lend_and_release)
    };
    prove_on_both("lent in a container, 1 contender", in_a_container);
    let world = coarse().without(Safeguard::Lent);
    find("Windows: released as any other lock", &lent(world));
}

fn come_after_310_s(os: &SimSys) {
    os.sleep(Duration::from_secs(310));
    contend_in_danger(os);
}

#[test]
fn a_lock_that_a_child_keeps_stays_held() {
    prove_on_both("kept by a child for 400 s", |world| {
        let world = world.process("R", 1, lend_to_a_long_writer).on(CONTAINER);
        world.process("A", 1, come_after_310_s)
    });
}

/// Dies while a child has its handle.
fn lend_and_die(os: &SimSys) {
    let Ok(lock) = os.try_acquire() else { return };
    lock.lend();
    match os.fork() {
        Fork::Child => {
            os.entered();
            os.left();
            std::mem::forget(lock);
        }
        Fork::Parent => std::mem::forget(lock),
    }
}

#[test]
fn a_child_keeps_the_lock_of_a_parent_that_has_died() {
    prove_on_both("kept by a child of a dead parent", |world| {
        let world = world.process("R", 1, lend_and_die);
        let world = with(world, 1, 1, contend_in_danger);
        world.finally(LATER, come_later)
    });
}

// Foreign code closes the handle, or a forced dismount does: the kernel lock ends, and the holder lives.
#[test]
fn a_holder_whose_handle_is_closed_changes_nothing() {
    prove_on_both("a release after the handle was closed", |world| {
        let world = world.foreign("d", b"a database");
        let world = world.process("H", 1, lose_the_descriptor_and_release);
        world.on(CONTAINER).process("C", 1, hold_to_the_end)
    });
    prove_on_both("lost, and acquired again", |world| {
        let world = world.foreign("d", b"a database");
        world.process("H", 1, lose_and_acquire_again).crashes(1)
    });
}

// A directory that is open cannot be replaced. A path may still be led elsewhere, by a junction.
#[test]
fn contenders_exclude_each_other_although_the_path_is_led_elsewhere() {
    let replaced = |world: World| with(world, 2, 1, contend_in_danger).switches(1);
    prove_on_both("2 contenders, 1 switch", replaced);
    let unchecked = || {
        let world = coarse().without(Safeguard::Path);
        world.without(Safeguard::PathLast)
    };
    prove(
        "Windows: an open directory stays, no comparison",
        &replaced(unchecked().where_open_directories_stay()),
    );
    find("Windows: no comparison", &replaced(unchecked()));
}

// A has broken the lock of a dead holder in a directory that is replaced then, and goes on in the other
// one. It gives its file the dead holder's record, and its handle up.
#[test]
fn a_breaker_that_goes_on_elsewhere_puts_the_dead_holders_record_back() {
    prove_on_both("a lock is put back", |world| {
        let world = world.dead_lock(SECOND).switches(2);
        let world = world.process("A", 1, directories::acquire_and_live);
        world.process("B", 1, directories::recover)
    });
}

#[test]
fn random_schedules_of_many_contenders() {
    sample_on_both("4 contenders, 3 acquisitions, 4 crashes", |world| {
        with(world, 4, 3, contend).crashes(4).violations(1)
    });
}

#[test]
fn random_schedules_of_breakers() {
    sample_on_both("4 breakers, 2 acquisitions, 3 crashes", |world| {
        let world = with(world.dead_lock(SECOND), 4, 2, contend).crashes(3);
        world.process("S", 1, scan).violations(1)
    });
}

#[test]
fn random_schedules_of_waiters() {
    sample_on_both("3 waiters and a contender, 2 crashes", |world| {
        let world = with(world, 3, 2, wait_and_hold).process("D", 2, contend);
        world.crashes(2)
    });
}

#[test]
fn random_schedules_of_waiters_at_a_dead_lock() {
    sample_on_both("2 waiters and a contender at a dead lock", |world| {
        let world = with(world.dead_lock(SECOND), 2, 2, wait_and_hold);
        let world = world.process("C", 2, contend).crashes(2);
        world.process("S", 1, scan)
    });
}

#[test]
fn random_schedules_with_faults() {
    sample_on_both("3 breakers, 3 faults, 1 crash", |world| {
        let world = with(world.dead_lock(SECOND), 3, 2, faults::contend);
        world.faults(3).violations(3).crashes(1)
    });
}

#[test]
fn random_schedules_next_to_deployed_clients_and_children() {
    sample_on_both("2 contenders, a lender, a deployed client", |world| {
        let world = with(world, 2, 2, contend_in_danger);
        let world = world.process("R", 1, lend_and_release).crashes(1);
        world.process("D", 1, contend_deployed)
    });
}
