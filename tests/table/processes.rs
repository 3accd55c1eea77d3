//! Many processes share one table, and are killed.
//!
//! The failure: each operation is right and the whole is wrong. One process reclaims what another has
//! just adopted, and a scope has two holders; a process is killed between two saves, and a segment has
//! two writers. So eight processes register, delegate, adopt and release at random while they are
//! killed one after the other. The test does not trust the table: a process that holds a piece by the
//! table also takes a kernel lock of the test for the piece. Two processes can never have that lock, and
//! it ends with its process.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rvlf::table::{Allocation, Claim, Liveness, ScopeRule, TableError, TableGuard, snapshot};
use support::table::{claim, place};
use support::table_worker::{self, TableWorker};
use support::{
    ChildProcess, PATIENCE, Rng, Role, RoleEntry, arg, fork, join, next_command, report, skip,
    until,
};

const WORKERS: usize = 8;
const KILLS: usize = 80;

pub const ROLES: &[RoleEntry] = &[
    ("table worker", worker),
    ("parent", parent),
    ("child", child),
    ("rival", rival),
    ("first of a namespace", first_of_a_namespace),
    ("holder", holder),
    ("successor", successor),
    ("rival of a placeholder", rival_of_a_placeholder),
    ("unwitnessed", unwitnessed),
    ("witnessed or refused", witnessed_or_refused),
    ("has two pids that are equal", has_two_pids_that_are_equal),
    ("restarted", restarted),
];

/// Registers, adopts, delegates and releases at random until it is killed.
fn worker() {
    let path = |key| PathBuf::from(arg(key));
    let worker = TableWorker::new(path("TABLE"), path("LOCKS"), &path("LOG"));
    worker.work(Duration::ZERO)
}

/// Calls a function when it goes out of scope, also in a panic.
struct AtEnd<F: Fn()>(F);

impl<F: Fn()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn start_worker(table: &Path, locks: &Path, log: &Path) -> ChildProcess {
    let role = Role::new("table worker").with("TABLE", table);
    role.with("LOCKS", locks).with("LOG", log).start()
}

/// How many times each operation was done, by the workers' log.
fn counts(log: &Path) -> BTreeMap<String, usize> {
    let text = fs::read_to_string(log).expect("the test has created the log");
    let counts = table_worker::counts(text.lines());
    let violation = counts.keys().find(|line| line.starts_with("VIOLATION"));
    assert_eq!(violation, None);
    counts
}

#[test]
fn killed_workers_never_leave_two_with_one_scope_or_segment() {
    let (dir, table) = place();
    let (locks, log) = (dir.path().join("locks"), dir.path().join("log"));
    fs::create_dir(&locks).expect("the disk has room");
    File::create(&log).expect("the disk has room");
    let stop = AtomicBool::new(false);
    let audits = std::thread::scope(|scope| {
        let auditor = scope.spawn(|| audit_until(&stop, &table));
        // Also if the test fails: the scope waits for the auditor.
        let stopped = AtEnd(|| stop.store(true, Ordering::Relaxed));
        kill_workers(&log, || start_worker(&table, &locks, &log));
        drop(stopped);
        auditor.join().expect("no audit found a problem")
    });
    assert!(audits > 0);
    eprintln!("{:?}, {audits} audits", counts(&log));

    let guard = TableGuard::open(&table, PATIENCE);
    let mut guard = guard.expect("every process that held the table is dead");
    let dead = guard.liveness().iter().all(|liveness| liveness.is_dead());
    assert!(dead, "all holders are dead");
    guard.reclaim_stale();
    let left = &guard.table().entries;
    assert!(left.is_empty(), "nothing is left behind: {left:?}");
}

/// Reads the table again and again. Returns how many times.
fn audit_until(stop: &AtomicBool, table: &Path) -> u64 {
    let mut audits = 0;
    while !stop.load(Ordering::Relaxed) {
        let table = snapshot(table).expect("a table is whole at every moment");
        let problems = table.table.problems();
        let promise = "each scope, name and segment has one holder";
        assert_eq!(problems, [], "{promise}: {table:?}");
        audits += 1;
        std::thread::sleep(Duration::from_millis(1));
    }
    audits
}

/// Kills workers and starts others in their places, until each operation was done 20 times. In the end
/// all are killed.
fn kill_workers(log: &Path, start: impl Fn() -> ChildProcess) {
    let kinds = [
        "register", "delegate", "adopt", "reclaim", "segment", "release", "refused",
    ];
    let mut workers: Vec<_> = (0..WORKERS).map(|_| start()).collect();
    let mut rng = Rng::from_seed(7);
    let begun = Instant::now();
    for kills in 0.. {
        let done = counts(log);
        let is_frequent = |kind: &&str| done.get(*kind).is_some_and(|count| *count >= 20);
        if kills >= KILLS && kinds.iter().all(is_frequent) {
            return;
        }
        let in_time = begun.elapsed() < 2 * PATIENCE;
        assert!(in_time, "the workers hang: {done:?} after {kills} kills");
        std::thread::sleep(Duration::from_millis(10 + rng.below(30)));
        let victim = usize::try_from(rng.below(WORKERS as u64)).expect("eight are few");
        let victim = workers.get_mut(victim);
        let victim = victim.expect("a number below their number");
        victim.kill();
        *victim = start();
    }
}

// ---------------------------------------------------------------- a parent and its child

fn parent() {
    let whole = claim("parent", "/data");
    let parent = Allocation::register(arg("TABLE"), &whole, "s-parent", PATIENCE);
    let parent = parent.expect("the scope is free");
    parent
        .delegate(&claim("child", "/data/a"), PATIENCE)
        .expect("the part is the parent's");
    std::thread::sleep(PATIENCE);
}

fn child() {
    let child = Allocation::adopt(arg("TABLE"), "child", "s-child", PATIENCE);
    let _child = child.expect("the part was delegated");
    std::thread::sleep(PATIENCE);
}

fn segments(path: &Path) -> Vec<Option<String>> {
    let table = snapshot(path).expect("the file is a table").table;
    table
        .entries
        .into_iter()
        .map(|entry| entry.segment)
        .collect()
}

#[test]
fn a_killed_child_gives_its_scope_back_to_its_parent_at_the_next_operation() {
    let (_dir, path) = place();
    let held = |segments_now: &[Option<&str>]| {
        let now = segments(&path);
        now.iter()
            .map(Option::as_deref)
            .eq(segments_now.iter().copied())
    };
    let start = |name| Role::new(name).with("TABLE", &path).start();
    let parent = start("parent");
    until("the parent has delegated", || {
        held(&[Some("s-parent"), None])
    });
    let child = start("child");
    until("the child has adopted", || {
        held(&[Some("s-parent"), Some("s-child")])
    });
    let seen = snapshot(&path).expect("the file is a table");
    assert_eq!(seen.liveness, [Liveness::Alive, Liveness::Alive]);

    drop(child);
    let seen = snapshot(&path).expect("the file is a table");
    assert_eq!(seen.liveness, [Liveness::Alive, Liveness::ProcessGone]);
    let mut guard = TableGuard::open(&path, PATIENCE).expect("the table is not locked");
    let rule = ScopeRule::write("/data/a");
    let conflicting = |guard: &TableGuard| -> Vec<String> {
        let conflicts = guard.table().conflicts(&rule).into_iter();
        conflicts
            .map(|conflict| conflict.entry.name.clone())
            .collect()
    };
    assert_eq!(conflicting(&guard), ["child"]);
    let stranger = Claim::new("stranger").allow(rule.clone());
    let outcome = guard.register(&stranger, "s");
    assert!(
        matches!(&outcome, Err(TableError::WriteConflict { entry, .. }) if entry == "parent"),
        "the scope of the dead child is its parent's, and not free: {outcome:?}"
    );
    assert_eq!(conflicting(&guard), ["parent"]);
    drop(parent);
    guard
        .register(&stranger, "s")
        .expect("parent and child are dead");
}

// ---------------------------------------------------------------- namespaces

/// Claims what a live process holds.
fn rival() {
    let outcome = Allocation::register(arg("TABLE"), &claim("rival", "/data"), "s-rival", PATIENCE);
    assert!(
        matches!(&outcome, Err(TableError::WriteConflict { entry, .. }) if entry == "holder"),
        "the holder lives: {outcome:?}"
    );
}

fn first_of_a_namespace() {
    let claim = claim("holder", "/data");
    let holder = Allocation::register(arg("TABLE"), &claim, "s-holder", PATIENCE);
    let holder = holder.expect("the scope is free");
    Role::new("rival")
        .with("TABLE", arg("TABLE"))
        .start()
        .finish();
    holder.check().expect("no process took the scope away");
}

/// Holds what a rival claims, until the test ends it.
fn holder() {
    let holder = Allocation::register(
        arg("TABLE"),
        &claim("holder", "/data"),
        "s-holder",
        PATIENCE,
    );
    let holder = holder.expect("the scope is free");
    report("ready");
    while next_command() == "check" {
        holder.check().expect("no process took the scope away");
        report("held");
    }
    // Ends without a release: no destructor runs.
    std::process::exit(0);
}

/// Claims what a dead process held.
fn successor() {
    let claim = claim("successor", "/data");
    let successor = Allocation::register(arg("TABLE"), &claim, "s-successor", PATIENCE);
    drop(successor.expect("the holder is dead"));
}

/// A command that runs another one in new namespaces.
fn unshare(options: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(options).arg("--fork");
    command
}

fn can_unshare(options: &[&str]) -> bool {
    let status = unshare(options).arg("true").stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

// In a new pid namespace that still has the /proc of the old one, /proc/7 is another process than
// this namespace's pid 7: the holder looked like a reused pid, and the rival got the holder's scope.
#[test]
fn a_proc_of_another_pid_namespace_shows_no_process_dead() {
    let options = ["--pid"];
    if !can_unshare(&options) {
        return skip("this user may not make a pid namespace");
    }
    let (_dir, path) = place();
    let role = Role::new("first of a namespace").with("TABLE", &path);
    role.under(unshare(&options)).start().finish();
}

/// The pid that /proc shows this process under: that in the pid namespace of /proc.
fn pid_in_proc() -> u32 {
    let itself = fs::read_link("/proc/self").expect("procfs is mounted");
    let pid = itself.to_str().and_then(|pid| pid.parse().ok());
    pid.expect("the link is a pid")
}

/// In a pid namespace whose /proc is that of the one above it, a rival has one pid in both.
fn has_two_pids_that_are_equal() {
    let table = arg("TABLE");
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWPID)
        .expect("this process is root of its namespaces");
    let first = fork(|| {
        let claim = claim("holder", "/data");
        let holder = Allocation::register(&table, &claim, "s-holder", PATIENCE);
        let holder = holder.expect("the scope is free");
        // The next process gets the next number, here and above.
        let last = pid_in_proc().to_string();
        fs::write("/proc/sys/kernel/ns_last_pid", last).expect("root may choose the next pid");
        let child = fork(|| {
            rival();
            std::process::id() == pid_in_proc()
        });
        join(child, "the two pids are equal");
        holder.check().is_ok()
    });
    join(first, "no process took the scope away");
    report("ready");
    next_command();
}

// The pid of a process in its own namespace and in that of /proc may be equal by chance: /proc/1 was
// taken for pid 1 of the namespace, the holder for a reused pid.
#[test]
fn a_proc_of_another_pid_namespace_is_known_although_a_pid_is_equal() {
    if let Some(reason) = support::no_containers() {
        return skip(&reason);
    }
    if !Path::new("/proc/sys/kernel/ns_last_pid").exists() {
        return skip("this kernel lets no process choose the next pid");
    }
    let (_dir, path) = place();
    let role = Role::in_container("has two pids that are equal", None);
    support::Container::ready(role.with("TABLE", path));
}

// Seen from another time namespace a live process has started at another time.
#[test]
fn another_time_namespace_shows_no_process_dead() {
    let options = ["--time", "--boottime", "100000"];
    if !can_unshare(&options) {
        return skip("this user may not make a time namespace");
    }
    let (_dir, path) = place();
    let holder = Allocation::register(&path, &claim("holder", "/data"), "s-holder", PATIENCE);
    let holder = holder.expect("the table is empty");
    let rival = Role::new("rival").with("TABLE", &path);
    rival.under(unshare(&options)).start().finish();
    holder.check().expect("no process took the scope away");
}

/// Where a holder or its rival runs.
struct Place {
    name: &'static str,
    /// Options of unshare(1); none: beside the test.
    namespaces: &'static [&'static str],
    /// A shell command that changes what /proc shows there.
    prepare: &'static str,
}

impl Place {
    fn has_own_pids(&self) -> bool {
        self.namespaces.contains(&"--pid")
    }

    fn run(&self, role: Role) -> Role {
        if self.namespaces.is_empty() {
            return role;
        }
        let mut command = unshare(self.namespaces);
        let script = format!("set -e\n{}\nexec \"$@\"", self.prepare);
        command.args(["sh", "-c", &script, "sh"]);
        role.under(command)
    }
}

const CONTAINER: &[&str] = &["--mount", "--uts", "--pid", "--mount-proc"];

/// As LXC, Incus and systemd-nspawn do: a file of the container's own over that of the kernel.
const OWN_BOOT_ID: &str = "\
    mount -t tmpfs none /mnt\n\
    cat /proc/sys/kernel/random/uuid > /mnt/boot_id\n\
    mount --bind /mnt/boot_id /proc/sys/kernel/random/boot_id";

const PLACES: [Place; 6] = [
    Place {
        name: "the host",
        namespaces: &[],
        prepare: "",
    },
    Place {
        name: "a boot id of its own in the pid namespace of the host",
        namespaces: &["--mount"],
        prepare: OWN_BOOT_ID,
    },
    Place {
        name: "a boot id that is another at each read",
        namespaces: &["--mount"],
        prepare: "mount --bind /proc/sys/kernel/random/uuid /proc/sys/kernel/random/boot_id",
    },
    Place {
        name: "a container with a boot id of its own",
        namespaces: CONTAINER,
        prepare: OWN_BOOT_ID,
    },
    // As a unit with ProcSubset=pid and PrivatePIDs=yes.
    Place {
        name: "a pid namespace without /proc/sys, under the host name of the host",
        namespaces: &["--mount", "--pid", "--mount-proc"],
        prepare: "mount -t proc -o subset=pid none /proc",
    },
    // As bwrap --unshare-all makes it.
    Place {
        name: "a pid namespace without /proc, under the host name of the host",
        namespaces: &["--mount", "--pid"],
        prepare: "mount -t tmpfs none /proc",
    },
];

// A boot id that differs was taken for a reboot, a boot id that is not known for this kernel's own, and a pid
// namespace that is not known for that of the same host name: the rival got the scope of a live holder.
#[test]
fn no_place_of_the_same_kernel_takes_a_live_holder_of_another_for_dead() {
    if !can_unshare(CONTAINER) {
        return skip("this user may not make a container");
    }
    for holders in &PLACES {
        for rivals in &PLACES {
            eprintln!(
                "the holder in {}, the rival in {}",
                holders.name, rivals.name
            );
            let (_dir, path) = place();
            let role = |name| Role::new(name).with("TABLE", &path);
            let mut holder = holders.run(role("holder")).ready();
            rivals.run(role("rival")).start().finish();
            assert_eq!(holder.request("check"), "held");
        }
    }
}

// Without a witness an entry of another container stays until a person releases it, also after a
// reboot if the container has a boot id of its own.
#[test]
fn every_place_of_one_kernel_reclaims_from_the_dead_of_every_other() {
    if !can_unshare(CONTAINER) {
        return skip("this user may not make a container");
    }
    for holders in &PLACES {
        for rivals in &PLACES {
            let (_dir, path) = place();
            let role = |name| Role::new(name).with("TABLE", &path);
            let mut holder = holders.run(role("holder")).ready();
            let is_witnessed = has_witness(&path);
            holder.send("end");
            holder.wait();
            let sees_pid = !holders.has_own_pids() && !rivals.has_own_pids();
            if is_witnessed || sees_pid {
                eprintln!("the dead in {}, the next in {}", holders.name, rivals.name);
                rivals.run(role("successor")).start().finish();
            }
        }
    }
}

/// Claims what was delegated and not adopted yet, by a process that lives.
fn rival_of_a_placeholder() {
    let claim = claim("rival", "/data/a");
    let outcome = Allocation::register(arg("TABLE"), &claim, "s-rival", PATIENCE);
    assert!(
        matches!(&outcome, Err(TableError::WriteConflict { entry, .. }) if entry == "child"),
        "the process that delegated lives: {outcome:?}"
    );
}

// A placeholder names the kernel lock of the allocation that delegated it. The release of that allocation unlocked
// it, and a process in a container got the part that a child was about to adopt.
#[test]
fn a_placeholder_outlives_the_allocation_that_delegated_it_in_every_container() {
    if !can_unshare(CONTAINER) {
        return skip("this user may not make a container");
    }
    for rivals in &PLACES {
        let (_dir, path) = place();
        let parent = Allocation::register(&path, &claim("parent", "/data"), "s", PATIENCE);
        let parent = parent.expect("the table is empty");
        let part = parent.delegate(&claim("child", "/data/a"), PATIENCE);
        part.expect("the part is the parent's");
        parent.release().expect("it is held");
        let rival = Role::new("rival of a placeholder").with("TABLE", &path);
        rivals.run(rival).start().finish();
        let child = Allocation::adopt(&path, "child", "s-child", PATIENCE);
        child
            .expect("no process took the part")
            .check()
            .expect("it is held");
    }
}

/// A container's main process: registers under the name that it always has, and then tries to get a
/// scope that its neighbour wants, too. For each scope it takes a kernel lock of the test's own.
fn restarted() {
    assert_eq!(std::process::id(), 1, "each start has the same pid");
    let (table, locks) = (arg("TABLE"), PathBuf::from(arg("LOCKS")));
    let name = arg("NAME").into_string().expect("names are ASCII");
    let hold = |name: &str, scope: &str| {
        let claim = claim(name, &format!("/data/{scope}"));
        let allocation = Allocation::register(&table, &claim, name, PATIENCE)?;
        let file = File::create(locks.join(scope)).expect("the directory of locks exists");
        let is_alone = support::try_lock(&file).is_ok();
        Ok::<_, TableError>((allocation, file, is_alone))
    };
    report("ready");
    let mut held = Vec::new();
    loop {
        let command = next_command();
        let outcome = match command.as_str() {
            "own" => hold(&name, &name),
            _ => hold(&format!("shared by {name}"), "shared"),
        };
        match outcome {
            Ok((_, _, false)) => report("TWO HOLDERS"),
            Ok(holding) => {
                held.push(holding);
                report("got");
            }
            Err(error) if error.is_contention() => report(format_args!("refused: {error}")),
            Err(error) => report(format_args!("failed: {error}")),
        }
    }
}

// A container that crashes at once has the same host name, name and pid (1) at each start, in a pid
// namespace of its own each time. "held by pid 1: wait until it is released", said the table to pid 1.
#[test]
fn restarted_containers_get_their_own_entries_at_once_and_never_each_others() {
    if let Some(reason) = support::no_containers() {
        return skip(&reason);
    }
    let (dir, table) = place();
    let locks = dir.path().join("locks");
    fs::create_dir(&locks).expect("the disk has room");
    let start = |name: &str| {
        let role = Role::in_container("restarted", Some("one-name"));
        let role = role.with("TABLE", &table).with("LOCKS", &locks);
        support::Container::ready(role.with("NAME", name))
    };
    let names = ["a", "b"];
    let mut containers = names.map(start);
    for container in &mut containers {
        assert_eq!(container.process.request("own"), "got");
    }
    if !has_witness(&table) {
        return skip("the directory of temporary files is not local, or an overlay");
    }
    let (mut rng, mut holder, mut got) = (Rng::from_seed(16), None, 0);
    for _ in 0..30 {
        let index = usize::try_from(rng.below(2)).expect("two are few");
        let container = containers.get_mut(index).expect("there are two");
        match rng.below(4) {
            0 => {
                let answer = container.process.request("shared");
                let expected = if holder.is_none() { "got" } else { "refused" };
                assert!(answer.starts_with(expected), "{expected}: {answer}");
                got += usize::from(holder.is_none());
                holder = holder.or(Some(index));
            }
            1 => {
                // A second start beside the first, as of an orchestrator that errs.
                let mut second = start(names.get(index).expect("there are two"));
                let answer = second.process.request("own");
                assert!(answer.starts_with("refused"), "the first lives: {answer}");
                second.kill();
            }
            _ => {
                container.kill();
                holder = holder.filter(|holder| *holder != index);
                *container = start(names.get(index).expect("there are two"));
                let answer = container.process.request("own");
                assert_eq!(answer, "got", "the one before is dead");
            }
        }
        let found = snapshot(&table).expect("the file is a table");
        assert_eq!(found.table.problems(), []);
    }
    assert!(got > 1, "the shared scope changed hands");
    for container in &mut containers {
        container.kill();
    }
}

/// Whether the one entry has a witness: not if the table is on an overlay, or not local.
fn has_witness(table: &Path) -> bool {
    let json = fs::read_to_string(table).expect("the table exists");
    json.contains("\"witness\"")
}

/// Registers where no lock can be a witness.
fn unwitnessed() {
    let held = Allocation::register(arg("TABLE"), &claim("a", "/data"), "s", PATIENCE);
    let _held = held.expect("the scope is free");
    assert!(!has_witness(Path::new(&arg("TABLE"))), "judged without one");
}

/// Registers where a call may fail.
fn witnessed_or_refused() {
    let held = Allocation::register(arg("TABLE"), &claim("a", "/data"), "s", PATIENCE);
    let Ok(held) = held else {
        return report("refused");
    };
    assert!(has_witness(Path::new(&arg("TABLE"))), "judged without one");
    held.release().expect("it is held");
    report("witnessed");
}

// ENOLCK made an entry without a kernel lock: if its process died in a container, the entry stayed for good. The
// lock of the byte is one of the first calls of fcntl(2), of which each fails once.
#[test]
fn a_kernel_lock_that_fails_makes_no_entry_without_it() {
    let (_dir, path) = place();
    let held = Allocation::register(&path, &claim("a", "/data"), "s", PATIENCE);
    let held = held.expect("the table is empty");
    if !has_witness(&path) {
        return skip("the directory of temporary files is not local, or an overlay");
    }
    held.release().expect("it is held");
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("strace is not installed");
    }
    let answer = |nth: u32| {
        let role = Role::new("witnessed or refused").with("TABLE", &path);
        // Also fcntl64, its name on 32-bit systems.
        let fault = format!("/^fcntl:error=ENOLCK:when={nth}");
        let mut process = role.under_fault(&fault).start();
        let answer = process.receive();
        process.finish();
        answer
    };
    let refused = (1..=40).filter(|nth| answer(*nth) == "refused").count();
    assert!(refused > 0, "one of the calls takes the lock");
}

// Past the overlay the lock is on another inode: the kernel shows no lock there, and the holder would
// look dead.
#[test]
fn a_table_on_an_overlay_has_no_witnesses() {
    const OVERLAY: Place = Place {
        name: "an overlay",
        namespaces: &["--mount"],
        prepare: "\
            mount -t tmpfs none /mnt\n\
            mkdir /mnt/lower /mnt/upper /mnt/work /mnt/merged\n\
            mount -t overlay -o lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work \
                none /mnt/merged",
    };
    if !can_unshare(CONTAINER) {
        return skip("this user may not mount an overlay");
    }
    let role = Role::new("unwitnessed").with("TABLE", "/mnt/merged/table.json");
    OVERLAY.run(role).start().finish();
}
