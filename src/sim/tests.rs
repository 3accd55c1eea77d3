//! The search finds the races of the textbook, and proves the programs that have none.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::sys::{Access, Flock, FlockOutcome, Sys, WakeReason};

const MINUTE: Duration = Duration::from_secs(60);

fn name(name: &str) -> &OsStr {
    OsStr::new(name)
}

fn dir(os: &SimSys) -> SimDir {
    os.open_dir(None, Path::new("."))
        .expect("there is a directory")
}

/// The violation that the search finds in `world`.
fn broken(world: &World, promise: &str) -> Violation {
    let violation = world.explore().expect_err(promise);
    assert_eq!(
        world.explore().expect_err(promise).trace(),
        violation.trace(),
        "the search is repeatable"
    );
    violation
}

/// The same, whose message contains `message`.
fn broken_by(world: &World, promise: &str, message: &str) -> Violation {
    let violation = broken(world, promise);
    assert!(violation.message().contains(message), "{violation}");
    violation
}

// Create-then-write: a process that reads in between sees an empty file, and treats it as garbage.
fn publish_in_two_steps(os: &SimSys) {
    let file = os
        .create(&dir(os), name(LOCK), 0o666)
        .expect("no other process creates it");
    os.write(&file, 0, b"whole").expect("there is room");
}

fn publish_by_link(os: &SimSys) {
    let dir = dir(os);
    let file = os
        .create_unnamed(&dir, 0o666)
        .expect("the file system supports it");
    os.write(&file, 0, b"whole").expect("there is room");
    os.link(&file, &dir, name(LOCK))
        .expect("no other process creates it");
}

fn sees_nothing_or_all(os: &SimSys) {
    if let Ok(file) = os.open(&dir(os), name(LOCK), Access::Read) {
        let prefix = os.read(&file).expect("it is open for reading");
        assert_eq!(prefix.bytes(), b"whole", "the file was seen half-written");
    }
}

#[test]
fn a_reader_between_create_and_write_is_found() {
    let world = World::local();
    let world = world
        .process("W", 1, publish_in_two_steps)
        .process("R", 1, sees_nothing_or_all);
    let violation = broken_by(&world, "the file can be seen empty", "half-written");
    let trace = ["W: create(d.lock) -> fd 0", "R: open(d.lock, Read) -> fd 0"];
    let shared: Vec<_> = violation
        .trace()
        .iter()
        .filter(|line| line.contains(LOCK))
        .collect();
    assert_eq!(shared, trace, "the trace is the shortest");
}

#[test]
fn a_file_that_gets_its_name_last_is_proved_whole() {
    let world = World::local().crashes(2);
    let world = world
        .process("W", 1, publish_by_link)
        .process("R", 2, sees_nothing_or_all);
    world.explore().expect("a linked file is whole");
}

// Stat-then-unlink: B judges the stale file, A breaks that file and creates its own, B unlinks A's
// file.
fn break_by_path(os: &SimSys) {
    let dir = dir(os);
    if let Ok(file) = os.open(&dir, name(LOCK), Access::Read) {
        let stale = os.read(&file).expect("it is open for reading").bytes() == b"stale";
        if !stale || os.unlink(&dir, name(LOCK)).is_err() {
            return;
        }
    }
    if let Ok(_lock) = os.create(&dir, name(LOCK), 0o666) {
        os.entered();
        os.left();
    }
}

#[test]
fn two_winners_of_one_stale_file_are_found() {
    let world = World::local().file(LOCK, b"stale", MINUTE);
    let alone = world.process("A", 1, break_by_path);
    alone.explore().expect("a single process excludes itself");
    broken_by(
        &alone.process("B", 1, break_by_path),
        "both can win",
        "two processes hold",
    );
}

/// Contends for a lock file that is never removed: flock alone excludes.
fn flock_for_a_while(os: &SimSys) {
    let file = os
        .open(&dir(os), name(LOCK), Access::Read)
        .expect("it is always there");
    if os.flock(&file, Flock::Exclusive).expect("flock works") == FlockOutcome::Done {
        os.entered();
        os.left();
    }
}

fn must_get_it(os: &SimSys) {
    let file = os
        .open(&dir(os), name(LOCK), Access::Read)
        .expect("it is always there");
    let flocked = os.flock(&file, Flock::Exclusive).expect("flock works");
    assert_eq!(
        flocked,
        FlockOutcome::Done,
        "all other processes have ended"
    );
}

#[test]
fn flock_on_a_permanent_file_is_proved_exclusive() {
    let mut world = World::local().file(LOCK, b"", MINUTE).crashes(2);
    for contender in ["A", "B", "C"] {
        world = world.process(contender, 2, flock_for_a_while);
    }
    let report = world
        .finally(MINUTE, must_get_it)
        .explore()
        .expect("flock excludes");
    assert!(report.states > 1000, "the search is too small: {report:?}");
}

// Unlinking on release makes flock alone worthless: B opens the file, A releases and unlinks it, B
// locks the file, which has no name any more, A creates another file and locks that. No process
// crashed.
fn flock_and_unlink(os: &SimSys) {
    let dir = dir(os);
    let opened = os.open(&dir, name(LOCK), Access::Read);
    let Ok(file) = opened.or_else(|_| os.create(&dir, name(LOCK), 0o666)) else {
        return;
    };
    if os.flock(&file, Flock::Exclusive).expect("flock works") == FlockOutcome::Done {
        os.entered();
        os.left();
        let _ = os.unlink(&dir, name(LOCK));
    }
}

#[test]
fn flock_on_a_file_that_lost_its_name_is_found() {
    let world = World::local();
    let two = world
        .process("A", 2, flock_and_unlink)
        .process("B", 1, flock_and_unlink);
    broken_by(&two, "one can hold the unlinked file", "two processes hold");
}

// A child shares its parent's open file description: if the child unlocks it, the parent loses the
// lock.
fn fork_while_holding(os: &SimSys, child: fn(&SimSys, &SimFile)) {
    let file = os
        .open(&dir(os), name(LOCK), Access::Read)
        .expect("it is always there");
    if os.flock(&file, Flock::Exclusive).expect("flock works") == FlockOutcome::Done {
        os.entered();
        match os.fork() {
            Fork::Parent => os.left(),
            Fork::Child => child(os, &file),
        }
    }
}

#[test]
fn a_child_that_unlocks_is_found_and_one_that_closes_is_harmless() {
    let world = |child: fn(&SimSys, &SimFile)| {
        let world = World::local().file(LOCK, b"", MINUTE).crashes(1);
        let world = world.process("A", 1, move |os| fork_while_holding(os, child));
        world.process("B", 1, flock_for_a_while)
    };
    world(|_, _| {})
        .explore()
        .expect("closing in the child leaves the parent's lock");
    let unlock = |os: &SimSys, file: &SimFile| {
        os.flock(file, Flock::Unlock).expect("flock works");
    };
    broken(
        &world(unlock),
        "unlocking in the child frees the parent's lock",
    );
}

// A killed process runs no destructor: the file that its guard would have removed stays.
struct Guard<'a>(&'a SimSys);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let Ok(dir) = self.0.open_dir(None, Path::new(".")) {
            let _ = self.0.unlink(&dir, name(LOCK));
        }
    }
}

fn create_with_guard(os: &SimSys) {
    let _file = os
        .create(&dir(os), name(LOCK), 0o666)
        .expect("no other process creates it");
    let _guard = Guard(os);
}

#[test]
fn a_killed_process_runs_no_destructor() {
    let world = |crashes| {
        let world = World::local()
            .process("A", 1, create_with_guard)
            .crashes(crashes);
        world.finally(MINUTE, |os| {
            let found = os.stat_at(&dir(os), name(LOCK)).map(|_| ());
            assert!(found.is_err(), "the file was left behind");
        })
    };
    world(0).explore().expect("the guard removes the file");
    let violation = world(1).explore().expect_err("a killed guard does not");
    assert!(
        violation.trace().iter().any(|line| line == "A: killed"),
        "{violation}"
    );
}

// Comparing inode numbers proves nothing once the file is closed: ext4 gives the number to the next
// file at once. While the file is open, its number is not reused.
#[test]
fn inode_numbers_are_reused_unless_a_descriptor_keeps_them() {
    let world = |keep_open: bool| {
        World::local().process("A", 1, move |os| {
            let dir = dir(os);
            let first = os
                .create(&dir, name("first"), 0o666)
                .expect("the name is free");
            let id = os.stat(&first).expect("it is open").id;
            os.unlink(&dir, name("first")).expect("it is there");
            let _kept = keep_open.then_some(first);
            let second = os
                .create_unnamed(&dir, 0o666)
                .expect("the file system supports it");
            assert_ne!(
                os.stat(&second).expect("it is open").id,
                id,
                "the number came back"
            );
        })
    };
    world(true)
        .explore()
        .expect("an open file keeps its number");
    broken(&world(false), "a closed one does not");
}

// A contender that loses an upgrade has lost the shared lock as well.
#[test]
fn a_failed_upgrade_of_flock_leaves_no_lock() {
    let world = World::local()
        .file(LOCK, b"", MINUTE)
        .process("A", 1, |os| {
            let dir = dir(os);
            let open = || {
                os.open(&dir, name(LOCK), Access::Read)
                    .expect("it is always there")
            };
            let flock = |file: &SimFile, operation| os.flock(file, operation).expect("flock works");
            let [one, two, three] = [open(), open(), open()];
            assert_eq!(flock(&one, Flock::Shared), FlockOutcome::Done);
            assert_eq!(
                flock(&two, Flock::Shared),
                FlockOutcome::Done,
                "shared locks share"
            );
            assert_eq!(flock(&one, Flock::Exclusive), FlockOutcome::WouldBlock);
            assert_eq!(
                flock(&two, Flock::Exclusive),
                FlockOutcome::Done,
                "the first lost its lock"
            );
            drop(two);
            assert_eq!(
                flock(&three, Flock::Exclusive),
                FlockOutcome::Done,
                "closing unlocks"
            );
        });
    world.explore().expect("that is how flock(2) works");
}

fn wait_for_removal(os: &SimSys, timeout: Duration) {
    let dir = dir(os);
    let Ok(file) = os.open(&dir, name(LOCK), Access::Read) else {
        return;
    };
    let mut watch = os.watch(&file, None, true).expect("there are events");
    // The check comes after the watch is armed: the file may have been removed in between.
    while os.stat_at(&dir, name(LOCK)).is_ok() {
        if os.wait(Some(&mut watch), &[], timeout) == WakeReason::Timeout {
            panic!("the event was missed");
        }
    }
}

fn remove(os: &SimSys) {
    os.unlink(&dir(os), name(LOCK)).expect("it is there");
}

#[test]
fn a_waiter_is_woken_by_the_event_it_waits_for() {
    let world = World::local()
        .file(LOCK, b"", MINUTE)
        .process("W", 1, |os| {
            wait_for_removal(os, Duration::MAX);
        });
    broken_by(&world, "no process removes the file", "waits indefinitely");
    world
        .process("R", 1, remove)
        .explore()
        .expect("the removal is an event");
}

// Without the check after the watch, a removal between open and watch is never noticed.
#[test]
fn a_lost_wake_up_is_found() {
    let world = World::local()
        .file(LOCK, b"", MINUTE)
        .process("R", 1, remove);
    let world = world.process("W", 1, |os| {
        let Ok(file) = os.open(&dir(os), name(LOCK), Access::Read) else {
            return;
        };
        let mut watch = os.watch(&file, None, true).expect("there are events");
        os.wait(Some(&mut watch), &[], Duration::MAX);
    });
    broken_by(&world, "the event can be missed", "W waits indefinitely");
}

// With a timeout the removal would be noticed, but too late.
#[test]
fn sleeping_through_a_release_is_found() {
    let world = World::local()
        .file(LOCK, b"", MINUTE)
        .process("R", 1, remove);
    let world = world.process("W", 1, |os| {
        let Ok(file) = os.open(&dir(os), name(LOCK), Access::Read) else {
            return;
        };
        let mut watch = os.watch(&file, None, true).expect("there are events");
        os.wait(Some(&mut watch), &[], MINUTE);
    });
    broken_by(&world, "the event can be missed", "W sleeps although");
}

// flock(2): a conversion drops the old lock before it requests the new one. In between another
// process can obtain the lock.
#[test]
fn a_conversion_of_flock_can_lose_to_another_process() {
    let upgrade = |os: &SimSys| {
        let file = os
            .open(&dir(os), name(LOCK), Access::Read)
            .expect("it is always there");
        let flock =
            |operation| os.flock(&file, operation).expect("flock works") == FlockOutcome::Done;
        if flock(Flock::Shared) && flock(Flock::Exclusive) {
            os.entered();
            os.left();
        }
    };
    let both_upgrade = World::local()
        .file(LOCK, b"", MINUTE)
        .process("A", 1, upgrade);
    let both_upgrade = both_upgrade.process("B", 1, upgrade);
    both_upgrade
        .explore()
        .expect("an exclusive lock has one holder");
    // B sees A's shared lock, and then gets the exclusive one before A does.
    let world = World::local().file(LOCK, b"", MINUTE);
    let world = world.process("A", 1, |os| {
        let file = os
            .open(&dir(os), name(LOCK), Access::Read)
            .expect("it is always there");
        if os.flock(&file, Flock::Shared).expect("flock works") == FlockOutcome::Done {
            let exclusive = os.flock(&file, Flock::Exclusive).expect("flock works");
            assert_eq!(
                exclusive,
                FlockOutcome::Done,
                "the conversion dropped the shared lock"
            );
        }
    });
    let world = world.process("B", 1, flock_for_a_while);
    let violation = broken(&world, "another process can come in between");
    assert!(
        violation
            .trace()
            .iter()
            .any(|line| line.contains("first half")),
        "{violation}"
    );
}

#[test]
fn time_passes_while_all_processes_wait() {
    let world = World::local()
        .file(LOCK, b"", MINUTE)
        .process("W", 1, |os| {
            let before = os.now().since_boot;
            assert_eq!(os.wait(None, &[], MINUTE), WakeReason::Timeout);
            let file = os
                .open(&dir(os), name(LOCK), Access::Read)
                .expect("it is always there");
            let flocked = os.flock(&file, Flock::Exclusive).expect("flock works");
            assert_eq!(
                flocked,
                FlockOutcome::Done,
                "waiting for an event of a locked file is possible"
            );
            let mut watch = os.watch(&file, None, true).expect("there are events");
            assert_eq!(os.wait(Some(&mut watch), &[], MINUTE), WakeReason::Timeout);
            assert_eq!(
                os.now().since_boot - before,
                2 * MINUTE,
                "the clock moved on"
            );
        });
    world.explore().expect("no other process is there");
}

#[test]
fn a_foreign_file_that_is_renamed_is_found() {
    let world = World::local()
        .foreign("notes.txt", b"mine")
        .process("A", 1, |os| {
            let _: io::Result<()> = os.rename(&dir(os), name("notes.txt"), name("gone"));
        });
    broken_by(&world, "it was renamed", "foreign file notes.txt");
}

#[test]
fn a_random_walk_finds_the_race_again_by_its_seed() {
    let world = World::local().file(LOCK, b"stale", MINUTE);
    let world = world
        .process("A", 1, break_by_path)
        .process("B", 1, break_by_path);
    let found = world
        .random_walk(1, 1000)
        .expect_err("the race is not rare");
    let seed = found.seed().expect("a random walk reports its seed");
    let again = world
        .random_walk(seed, 1)
        .expect_err("the same seed, the same schedule");
    assert_eq!(again.trace(), found.trace());
}

/// The content of another tool's file.
const FOREIGN_CONTENT: &[u8] = b"{\"pid\": 4121}";

/// Another tool replaces the lock file by a file of its own.
fn replace_the_lock(os: &SimSys) {
    let dir = dir(os);
    let file = os
        .create_unnamed(&dir, 0o666)
        .expect("the file system supports it");
    os.write(&file, 0, FOREIGN_CONTENT).expect("there is room");
    if os.unlink(&dir, name(LOCK)).is_ok() && os.link(&file, &dir, name(LOCK)).is_ok() {
        os.create(&dir, name("replaced"), 0o666)
            .expect("no other process creates that");
    }
}

/// Acquires and dies. (A release checks the path and then unlinks; a file that replaces the lock in
/// between is removed: R19 of the protocol.)
fn acquire_and_die(os: &SimSys) {
    std::mem::forget(os.try_acquire());
}

fn the_foreign_file_still_exists(os: &SimSys) {
    let dir = dir(os);
    let names = os.list(&dir).expect("it can be listed");
    let is_foreign = |name: &std::ffi::OsString| {
        let file = os.open(&dir, name, Access::Read).expect("it is there");
        os.read(&file).expect("it is a file").bytes() == FOREIGN_CONTENT
    };
    let replaced = names.iter().any(|it| it == "replaced");
    assert!(
        !replaced || names.iter().any(is_foreign),
        "a foreign file was removed: {names:?}"
    );
}

// B has judged a dead lock. Before B's rename another tool replaces the lock by a file of its own,
// which B renames aside; before B puts that file back, C publishes. The file must not be removed
// like a lock.
#[test]
fn a_foreign_file_that_was_renamed_by_mistake_is_never_removed() {
    let mut world = World::local()
        .coarse()
        .dead_lock(Duration::from_secs(1))
        .process("B", 1, acquire_and_die)
        .process("U", 1, replace_the_lock)
        .process("C", 1, acquire_and_die)
        .finally(MINUTE, the_foreign_file_still_exists);
    world.expected.push(name("replaced").into());
    // Where the file stays if the path is taken: under the temporary names of B and C.
    for (random_bytes, ticks) in
        (1_u64..8).flat_map(|random_bytes| [1000_u64, 1200].map(|ticks| (random_bytes, ticks)))
    {
        let aside = format!(".rvlf-{:016x}", random_bytes << 48 | ticks << 12 | ticks);
        world.expected.push(name(&aside).into());
    }
    let report = world
        .explore()
        .expect("the file is put back, or stays under its temporary name");
    assert!(report.states > 1000, "the search is too small: {report:?}");
}

fn observe(os: &SimSys) {
    assert!(os.record().is_none(), "this shows the trace");
}

fn contend(os: &SimSys) {
    let refused = os.try_acquire();
    assert!(refused.is_ok(), "this shows the trace");
}

fn recover(os: &SimSys) {
    let obtained = os.try_acquire();
    assert!(obtained.is_err(), "this shows the trace");
}

// Where age decides on a mount, a contender reads the server's clock by making a probe file. A
// process that only inspects the lock may be a monitor that runs every minute, or have a reason not
// to write there.
#[test]
fn on_a_mount_a_contender_makes_a_probe_and_an_observer_nothing() {
    let creates = |world: World, program: fn(&SimSys)| {
        let world = world.coarse().dead_lock(Duration::from_secs(1));
        let world = world.process("A", 1, program);
        let violation = broken(&world, "the program panics to show its trace");
        let mut trace = violation.trace().iter();
        trace.any(|line| line.contains("create("))
    };
    assert!(creates(World::network(), contend));
    assert!(!creates(World::network(), observe));
    assert!(!creates(World::local(), recover));
}

fn look(os: &SimSys) -> io::Result<SimFile> {
    os.open(&dir(os), name(LOCK), Access::Read)
}

fn ask(os: &SimSys, operation: Flock) -> FlockOutcome {
    let file = look(os).expect("reading is shared");
    os.flock(&file, operation).expect("a lock can be asked for")
}

// What the handle of a holder lets others do, and what becomes of its file.
fn hold_and_die(os: &SimSys) {
    let file = os.create(&dir(os), name(LOCK), 0o666);
    std::mem::forget(file.expect("there is no other process"));
    os.sleep(MINUTE);
}

fn find_it_held_and_free(os: &SimSys) {
    os.sleep(MINUTE / 2);
    for operation in [Flock::Shared, Flock::Exclusive] {
        assert_eq!(ask(os, operation), FlockOutcome::WouldBlock);
    }
    let dir = dir(os);
    assert!(os.unlink(&dir, name(LOCK)).is_err(), "it is held");
    os.sleep(MINUTE);
    let breaker = look(os).expect("the file is left");
    let broken = os.flock(&breaker, Flock::Exclusive);
    assert_eq!(broken.expect("it is free"), FlockOutcome::Done);
    for operation in [Flock::Shared, Flock::Exclusive] {
        assert_eq!(
            ask(os, operation),
            FlockOutcome::WouldBlock,
            "it is being broken"
        );
    }
    os.remove(&dir, &breaker, name("aside"))
        .expect("it is locked");
    assert!(os.stat_at(&dir, name(LOCK)).is_err(), "the name is free");
}

#[test]
fn where_handles_have_share_modes_a_holder_is_refused_nothing_and_shares_reading() {
    let world = World::windows().coarse().process("H", 1, hold_and_die);
    let world = world.process("E", 1, find_it_held_and_free);
    world
        .explore()
        .expect("the share modes are those of the table");
}

// Classic deletion takes the name with the last handle, POSIX semantics with the deleter's.
#[test]
fn a_deleted_file_keeps_its_name_as_long_as_its_kernel_says() {
    let delete_beside_a_reader = |is_classic: bool| {
        move |os: &SimSys| {
            let dir = dir(os);
            let reader = look(os).expect("the file is there");
            os.unlink(&dir, name(LOCK)).expect("all is shared");
            assert_eq!(os.names() == [LOCK], is_classic);
            let made = os.create(&dir, name(LOCK), 0o666);
            assert_eq!(made.is_err(), is_classic, "the name is taken");
            drop(reader);
            let made = os.create(&dir, name(LOCK), 0o666);
            assert_eq!(made.is_ok(), is_classic, "one of both has the name");
        }
    };
    let classic = World::windows().where_deleted_files_keep_their_name();
    for (is_classic, world) in [(false, World::windows()), (true, classic)] {
        let world = world.file(LOCK, b"", MINUTE);
        let world = world.process("A", 1, delete_beside_a_reader(is_classic));
        world.explore().expect("the name goes in time");
    }
}
