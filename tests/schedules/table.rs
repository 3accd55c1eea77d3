//! The allocation table: saves against deaths, reboots and losses of power, and the liveness of
//! processes in several pid namespaces.
//!
//! All processes of a world claim the same paths to write. So a world's holders exclude each other, as
//! those of a lock do. The search also checks after every call that the table at the path is whole and
//! names every holder: a save that was acknowledged is there.

use std::time::Duration;

use rvlf_simulated::record::Pid;
use rvlf_simulated::sim::{Safeguard, SimAllocation, SimSys, System, World};
use rvlf_simulated::table::{Claim, Liveness, ScopeRule, TableError};

use super::refreshes::ELSEWHERE;
use super::systems::remembering;
use super::{LATER, MINUTE, NAMES, prove, sample};

/// A process that finds the table locked gives up: another one may lock it first after any save, so that
/// every order of the saves is searched without waits.
const AT_ONCE: Duration = Duration::ZERO;

/// The name of a table that a killed process did not complete.
const LEFTOVER: &str = ".t.json.rvlf-new";

/// What processes lock instead of a table that is not on a local file system.
const LOCK_BESIDE: &str = ".t.json.rvlf-lock";

fn claim(name: &str) -> Claim {
    Claim::new(name).allow(ScopeRule::write("/data"))
}

/// Registers an entry, holds it for a while, and releases it.
fn register(name: &'static str, timeout: Duration) -> impl Fn(&SimSys) {
    register_and_look(name, timeout, |_| {})
}

/// The same, and has a look at the entry while it is held.
fn register_and_look(
    name: &'static str,
    timeout: Duration,
    look: impl Fn(&SimAllocation),
) -> impl Fn(&SimSys) {
    move |os| match os.register(&claim(name), timeout) {
        Ok(entry) => {
            os.entered();
            look(&entry);
            os.left();
            match entry.release(timeout) {
                Ok(()) | Err(TableError::Timeout { .. }) => {}
                Err(error) => panic!("a live process has lost its entry: {error}"),
            }
        }
        Err(error) => assert!(
            error.is_contention(),
            "refused for another reason than contention: {error}"
        ),
    }
}

/// Registers where no other process can be alive.
fn register_alone(os: &SimSys) {
    let entry = os.register(&claim("A"), AT_ONCE);
    let entry = entry.expect("the entry of a dead process is reclaimed");
    os.entered();
    os.left();
    entry.release(AT_ONCE).expect("no other process is there");
}

/// Ends without a release.
fn register_and_die(os: &SimSys) {
    let entry = os.register(&claim("A"), AT_ONCE);
    std::mem::forget(entry.expect("no other process is there"));
    os.entered();
}

/// Registers when all others have ended, and checks that they left nothing.
fn come_later(os: &SimSys) {
    register_alone(os);
    let mut left = os.names();
    left.retain(|name| name != LOCK_BESIDE);
    assert_eq!(left, ["t.json"], "a killed process's save left files");
}

fn coarse() -> World {
    let world = World::local().with_table();
    world.coarse().finally(LATER, come_later)
}

fn with(world: World, processes: usize, runs: usize, timeout: Duration) -> World {
    let names = NAMES.iter().take(processes);
    names.fold(world, |world, name| {
        world.process(name, runs, register(name, timeout))
    })
}

fn two(world: World) -> World {
    with(world, 2, 1, AT_ONCE)
}

/// Containers of one machine, in each of which the program is pid 1.
fn containers(world: World, container: System, processes: usize, runs: usize) -> World {
    let container = container.with_pid(Pid::new(1).expect("1 is a pid"));
    let each = NAMES.iter().zip(1..).take(processes);
    each.fold(world, |world, (name, namespace)| {
        let world = world.on(container.in_pid_namespace(namespace));
        world.process(name, runs, register(name, AT_ONCE))
    })
}

/// Searches a weakened world for the message of a broken promise.
fn find(what: &str, world: &World, message: &str) {
    let violation = world.explore().expect_err(what);
    println!("{what}:\n{violation}\n");
    let found = violation.message();
    assert!(found.contains(message), "{what}: {found}");
}

const NOT_NAMED: &str = "the table does not name a process that holds an entry";

// A may die at every call of a save: before, between and after its two writes, with a new file that
// only its flock protects, and with a renamed one whose name it has not synced.
#[test]
fn a_table_has_every_acknowledged_save_wherever_processes_die() {
    let report = prove("table, 2 processes, 1 crash", &two(coarse()).crashes(1));
    assert!(report.states > 1000, "the search is too small: {report:?}");
}

#[test]
fn a_table_is_whole_after_a_reboot_and_a_loss_of_power() {
    prove(
        "table, 2 processes, 1 loss of power",
        &two(coarse()).power_losses(1),
    );
    prove(
        "table, 2 processes, 1 reboot",
        &two(coarse()).server_reboots(1),
    );
}

// The next process that saves finds the name taken.
#[test]
fn what_a_killed_process_left_of_a_save_harms_nothing() {
    let world = coarse().file(LEFTOVER, b"{\"entries\": [", MINUTE);
    prove("table, 2 processes, a leftover", &two(world).crashes(1));
}

#[test]
fn random_schedules_of_many_saves() {
    let world = || World::local().with_table().finally(LATER, come_later);
    sample(
        "table, 4 processes, 3 saves, 4 crashes",
        &with(world(), 4, 3, MINUTE).crashes(4),
    );
    sample(
        "table, 3 processes, 3 saves, a crash, 2 losses of power",
        &with(world(), 3, 3, MINUTE).crashes(1).power_losses(2),
    );
    sample(
        "table, 4 containers, 3 saves, 4 crashes",
        &containers(world(), System::HOST, 4, 3).crashes(4),
    );
}

// Pid 1 of another container is invisible, and looks like the process itself. Its byte of the table's
// directory shows whether it is alive.
#[test]
fn processes_of_two_containers_exclude_each_other() {
    let worlds = [
        ("table, 2 containers, 1 crash", System::HOST),
        (
            "table, 2 containers without the boot id, 1 crash",
            System::HOST.without_boot_id(),
        ),
    ];
    for (what, container) in worlds {
        prove(what, &containers(coarse(), container, 2, 1).crashes(1));
    }
    // No lock of a byte outlives a boot.
    let world = containers(coarse(), System::HOST.without_boot_id(), 2, 1);
    prove("table, 2 containers, 1 reboot", &world.server_reboots(1));
}

// In the container's next start its program has the same pid, and may have the same pid namespace.
#[test]
fn a_container_that_starts_again_reclaims_the_entry_that_it_left() {
    let container = System::HOST.with_pid(Pid::new(1).expect("1 is a pid"));
    let world = || coarse().on(container.in_pid_namespace(1));
    let world = |name| world().process(name, 3, register_alone);
    prove("table, a container, 2 crashes", &world("A").crashes(2));
    prove(
        "table, a container, a reboot",
        &world("A").server_reboots(1),
    );
}

// On an overlay another container's byte is no witness: doubt reads as alive, until the next boot.
#[test]
fn without_a_witness_an_entry_of_another_container_stays() {
    let world = || World::overlay().with_table().coarse();
    let both = containers(world(), System::HOST, 2, 1).crashes(1);
    prove("table, 2 containers, no witness, 1 crash", &both);
    let stays = |os: &SimSys| match os.register(&claim("later"), AT_ONCE) {
        Err(TableError::WriteConflict { liveness, .. }) => {
            assert_eq!(liveness, Some(Liveness::Elsewhere));
        }
        other => panic!("the entry was reclaimed: {}", other.is_ok()),
    };
    let in_a_container = |world: World| {
        let world = world.on(System::HOST.in_pid_namespace(1));
        world.process("A", 1, register_and_die)
    };
    prove(
        "table, a dead container, no witness",
        &in_a_container(world().finally(LATER, stays)),
    );
    prove(
        "table, a dead container, its witness",
        &in_a_container(coarse()),
    );
}

/// Registers where the directory at the path may be replaced: then the process may lose its entry, and the test does
/// not check for that.
fn register_in_danger(name: &'static str) -> impl Fn(&SimSys) {
    move |os| match os.register_and(&claim(name), AT_ONCE, || os.entered()) {
        Ok(entry) => {
            os.left();
            let _ = entry.release(AT_ONCE);
        }
        Err(error) => assert!(
            error.is_contention() || matches!(error, TableError::Replaced { .. }),
            "refused for another reason than contention: {error}"
        ),
    }
}

fn two_in_danger(world: World) -> World {
    let world = world.process("A", 1, register_in_danger("A"));
    world.process("B", 1, register_in_danger("B"))
}

// A has locked the table, the directory is replaced, B registers in the new one, and A saved in the old one: two
// live processes had the same scope.
#[test]
fn holders_exclude_each_other_although_the_directory_of_the_table_is_replaced() {
    // On a mount a process that finds no table in the new directory looks for it 500 times, which is more than a
    // simulated run may call.
    let local = || two_in_danger(World::local().with_table().coarse());
    prove("table, 1 switch, 1 crash", &local().switches(1).crashes(1));
    sample("table, 2 switches", &local().switches(2));
}

// A compares, the directory is replaced during A's sync, and B may register in the new one, where no table names A.
#[test]
fn holders_that_compare_the_directory_only_before_they_save_break_exclusion() {
    let world = two_in_danger(coarse()).switches(1);
    find(
        "the path is not checked after a save",
        &world.without(Safeguard::TablePathLast),
        "the table is gone",
    );
}

/// Two machines that have mounted one file system: on the first one run A and C, on the second one B.
fn machines(mount: World, names: &[&'static str]) -> World {
    let program = |name| register_and_look(name, AT_ONCE, expect_listed);
    let world = mount.with_table().coarse();
    let world = world.finally(LATER, program("later"));
    names.iter().fold(world, |world, name| {
        let world = world.on(if *name == "B" {
            ELSEWHERE
        } else {
            System::HOST
        });
        world.process(name, 1, program(name))
    })
}

// The number of the initial pid namespace is the same on every host, and so may be the host name. A boot id that the
// reader or the entry does not have was taken for that of this kernel, and the live holder on the other machine was dead.
#[test]
fn machines_of_one_host_name_exclude_each_other() {
    let twin = System::HOST.on_kernel(1);
    let both = |first: System, second: System| {
        let world = World::network().with_table().coarse();
        let world = world
            .on(first)
            .process("A", 1, register_despite_faults("A"));
        world
            .on(second)
            .process("B", 1, register_despite_faults("B"))
    };
    prove(
        "table, 2 twins, 1 fault",
        &both(System::HOST, twin).faults(1),
    );
    let hidden = |system: System| system.without_boot_id();
    prove(
        "table, a twin without the boot id",
        &both(System::HOST, hidden(twin)),
    );
    prove(
        "table, 2 twins without the boot id",
        &both(hidden(System::HOST), hidden(twin)),
    );
}

/// Registers an entry and holds it, whatever calls fail.
fn register_despite_faults(name: &'static str) -> impl Fn(&SimSys) {
    move |os| {
        if let Ok(entry) = os.register(&claim(name), AT_ONCE) {
            os.entered();
            os.left();
            let _ = entry.release(AT_ONCE);
        }
    }
}

/// A reader takes no lock: the mount may show it a table that was replaced, or none.
fn expect_listed(entry: &SimAllocation) {
    let is_listed = entry.is_listed().expect("the table can be read");
    assert!(is_listed, "a reader does not find a live process's entry");
}

/// As NFS does.
fn open_files_are_renamed_away() -> World {
    World::network().where_open_files_are_renamed_away()
}

fn mounts() -> [(&'static str, World); 4] {
    let network = World::network;
    [
        ("a mount", network()),
        ("names are remembered", remembering()),
        (
            "removed files are forgotten",
            network().where_removed_files_are_forgotten(),
        ),
        (
            "removed files are closed",
            network().where_removed_files_are_closed(),
        ),
    ]
}

#[test]
fn machines_keep_each_others_saves_on_mounts() {
    for (what, mount) in mounts() {
        let what = format!("table, 2 machines, 1 crash: {what}");
        prove(&what, &machines(mount, &["A", "B"]).crashes(1));
    }
}

/// Registers what conflicts with no other process, so that others save while this one reads.
fn register_own_part(name: &'static str) -> impl Fn(&SimSys) {
    let rule = ScopeRule::write(format!("/{name}"));
    let claim = Claim::new(name).allow(rule);
    move |os| match os.register(&claim, AT_ONCE) {
        Ok(entry) => {
            expect_listed(&entry);
            let _ = entry.release(AT_ONCE);
        }
        Err(error) => assert!(error.is_contention(), "no contention: {error}"),
    }
}

// A's machine has opened the table that B's save replaces: the read fails, or shows what was replaced.
#[test]
fn a_reader_is_not_misled_by_a_save_on_another_machine() {
    for (what, mount) in mounts() {
        let world = mount.with_table().coarse();
        let world = world.process("A", 1, register_own_part("A"));
        let world = world.on(ELSEWHERE).process("B", 1, register_own_part("B"));
        prove(&format!("table, a reader and a save: {what}"), &world);
    }
}

// A failed open is no sign that there is no table.
#[test]
fn a_fault_shows_no_reader_an_empty_table() {
    let program = |os: &SimSys| {
        if let Ok(entry) = os.register(&claim("A"), AT_ONCE) {
            if let Ok((entries, _)) = os.count_entries() {
                assert_eq!(entries, 1, "a reader took the table for empty");
            }
            let _ = entry.release(AT_ONCE);
        }
    };
    for (what, world) in [("local", World::local()), ("a mount", World::network())] {
        let world = world.with_table().coarse().process("A", 1, program);
        prove(
            &format!("table, a reader, 1 fault: {what}"),
            &world.faults(1),
        );
    }
}

// C reads the table while A saves: the machine has the old table open, and takes its name away first.
#[test]
fn a_table_that_has_no_name_for_a_moment_is_not_lost() {
    let world = machines(open_files_are_renamed_away(), &["A", "C"]);
    prove(
        "table, open files are renamed away, 1 crash",
        &world.crashes(1),
    );
    let world = machines(open_files_are_renamed_away(), &["A", "C", "B"]);
    prove("table, 2 machines, open files are renamed away", &world);
}

// A mount that cannot be made to look at a name again shows, and opens, what A's save has replaced. That file has no
// link at the server.
#[test]
fn machines_keep_each_others_saves_on_mounts_that_do_not_forget() {
    let machines = |mount: World| {
        let program = |name| register_and_look(name, MINUTE, expect_listed);
        let world = mount.without(Safeguard::ForgetName).with_table();
        let world = world.process("A", 2, program("A")).on(ELSEWHERE);
        world.process("B", 2, program("B")).crashes(1)
    };
    let mount = || World::network().where_names_are_remembered_for(Duration::from_secs(1));
    sample(
        "table, 2 machines that do not forget, 1 crash",
        &machines(mount().without_a_trash()),
    );
    // In a trash the file has a link.
    let harm = machines(mount()).random_walk(1, 250);
    let harm = harm.expect_err("a mount with a trash has to forget");
    println!("with a trash: {}", harm.message());
}

// A mount may report for a while that a table is not there. Without a lock file no process has saved one.
#[test]
fn a_reader_looks_for_a_table_for_five_seconds_only_where_it_was_locked() {
    let found_none_after = |least: Duration, most: Duration| {
        move |os: &SimSys| {
            let (entries, took) = os.count_entries().expect("the directory is there");
            assert_eq!(entries, 0);
            assert!((least..=most).contains(&took), "after {took:?}");
        }
    };
    let at_once = found_none_after(Duration::ZERO, Duration::ZERO);
    prove("no table", &World::network().process("R", 1, at_once));
    let five_seconds = Duration::from_secs(5);
    let more = |nanos| five_seconds + Duration::from_nanos(nanos);
    let later = found_none_after(more(1), more(100_000_000));
    let locked = World::network().file(LOCK_BESIDE, b"", MINUTE);
    prove("a locked table is gone", &locked.process("R", 1, later));
}

// B creates an empty table at the moment at which A's save has taken the name from the old one, and A replaces
// B's. Or B locks what A has replaced, and its mount shows that this is the table.
#[test]
fn without_the_lock_beside_a_table_mounts_undo_saves() {
    let unasked = remembering().without(Safeguard::ForgetName);
    let worlds = [
        ("names are remembered", unasked, NOT_NAMED),
        (
            "open files are renamed away",
            open_files_are_renamed_away(),
            "replaced while it was locked",
        ),
    ];
    for (what, mount, message) in worlds {
        let world = machines(mount, &["A", "B"]);
        find(what, &world.without(Safeguard::TableBeside), message);
    }
}

// A has saved, and B obtains the lock of the file that A has replaced.
#[test]
fn without_a_look_at_the_path_after_the_flock_a_save_is_overwritten() {
    let world = || coarse().without(Safeguard::TableName);
    find(
        "the path is first checked in the save",
        &two(world()),
        "refused for another reason than contention",
    );
    find(
        "the path is never checked",
        &two(world().without(Safeguard::TableNameAtSave)),
        NOT_NAMED,
    );
}

#[test]
fn without_the_witness_a_live_process_of_another_container_loses_its_entry() {
    let world = coarse().without(Safeguard::Witness);
    find(
        "no byte counts as locked",
        &containers(world, System::HOST, 2, 1),
        NOT_NAMED,
    );
}

#[test]
fn without_syncs_a_saved_table_is_lost_with_the_power() {
    let world = two(coarse()).power_losses(1).without(Safeguard::Sync);
    find("nothing was synced", &world, NOT_NAMED);
}
