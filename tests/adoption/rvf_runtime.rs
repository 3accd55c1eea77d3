//! rvf-runtime 0.5: its own test suite and eight contending processes, with its own lock and with rvlf.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use ::rvf_runtime::{QueryOptions, RvfOptions, RvfStore};

use crate::contention::{Assignment, Seen, contend};
use crate::patched::{Built, PATCHED, PUBLISHED, TestProgram};

const DIMENSION: u16 = 4;

// ---------------------------------------------------------------- its own tests

/// Whether each test of the package passes, by program and test.
fn own_tests(package: &Built) -> BTreeMap<(String, String), bool> {
    let mut outcomes = BTreeMap::new();
    for program in &package.tests {
        for (test, passes) in run(package, program, &[]) {
            outcomes.insert((program.name.clone(), test), passes);
        }
    }
    outcomes
}

fn run(package: &Built, program: &TestProgram, arguments: &[&str]) -> Vec<(String, bool)> {
    let mut command = Command::new(&program.path);
    command.current_dir(&package.directory).args(arguments);
    let output = command.output().expect("the program can be executed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let outcome = |line: &str| {
        let (test, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
        Some((test.to_owned(), outcome == "ok"))
    };
    text.lines().filter_map(outcome).collect()
}

/// Whether one test passes when it runs alone: some of them measure time.
fn passes_alone(package: &Built, (name, test): &(String, String)) -> bool {
    let mut programs = package.tests.iter();
    let program = programs
        .find(|program| program.name == *name)
        .expect("it was run");
    (0..3).any(|_| run(package, program, &["--exact", test]).contains(&(test.clone(), true)))
}

// The lock is a part that the store's other parts lean on: what its authors test must still hold.
#[test]
#[ignore = "compiles the store twice: `.ci/run adoption`"]
fn every_own_test_of_rvf_runtime_that_passed_passes_with_rvlf_as_its_lock() {
    let before = own_tests(&PUBLISHED);
    let after = own_tests(&PATCHED);
    let failing =
        |outcomes: &BTreeMap<_, bool>| outcomes.values().filter(|passes| !**passes).count();
    for (what, outcomes) in [("its own lock", &before), ("rvlf", &after)] {
        let failed = failing(outcomes);
        let passed = outcomes.len() - failed;
        println!("rvf-runtime 0.5.0 with {what}: {passed} of its tests pass, {failed} fail");
    }
    assert!(
        before.len() > 400,
        "its tests were not found: {}",
        before.len()
    );
    let of_the_lock = after
        .keys()
        .filter(|(_, test)| test.starts_with("locking::tests::"));
    assert_eq!(of_the_lock.count(), 4, "its tests of the lock run on rvlf");
    let passed = before
        .iter()
        .filter(|(_, passes)| **passes)
        .map(|(test, _)| test);
    let not_after = passed.filter(|test| after.get(test) != Some(&true));
    let broken: Vec<_> = not_after
        .filter(|test| !passes_alone(&PATCHED, test))
        .collect();
    assert!(broken.is_empty(), "they passed before: {broken:?}");
}

// ---------------------------------------------------------------- eight processes

fn contender(package: &Built) -> impl Fn(&Assignment<'_>) -> Command {
    |assignment| {
        let mut command = Command::new(&package.contender);
        command
            .arg(assignment.store)
            .arg(assignment.journal)
            .arg(assignment.stop);
        command.arg(assignment.first_id.to_string());
        command.stderr(std::process::Stdio::null());
        command
    }
}

fn create(store: &Path) {
    let options = RvfOptions {
        dimension: DIMENSION,
        ..RvfOptions::default()
    };
    let store = RvfStore::create(store, options).expect("the directory is new");
    store.close().expect("the store is open");
}

/// The ids in the store, or why it cannot be read.
fn ids(store: &Path) -> Result<BTreeSet<u64>, String> {
    let store = RvfStore::open_readonly(store).map_err(|error| format!("{error:?}"))?;
    let all = usize::try_from(store.status().total_vectors).expect("few vectors");
    let found = store.query(
        &[0.0; DIMENSION as usize],
        all.max(1),
        &QueryOptions::default(),
    );
    let found = found.map_err(|error| format!("{error:?}"))?;
    Ok(found.iter().map(|result| result.id).collect())
}

// The witness of the next test, with the lock that deployed stores have: it must see what it looks for.
#[test]
#[ignore = "compiles the store: `.ci/run adoption`"]
fn with_its_own_lock_eight_writers_of_rvf_runtime_overlap_or_lose_data() {
    let directory = support::scratch();
    let store = directory.path().join("store.rvf");
    create(&store);
    let stopped = |assignment: &Assignment<'_>| {
        let mut command = contender(&PUBLISHED)(assignment);
        // A hold is long enough that the process which removed the lock file enters meanwhile.
        command.env("STOP_AT_CREATE", "").env("HOLD_MS", "500");
        command
    };
    let seen = contend(&store, stopped, 0, |seen| seen.overlaps > 5);
    let lost = ids(&store).map(|contained| seen.lost(&contained));
    println!(
        "rvf-runtime with its own lock: {seen}, lost: {lost:?}, {} errors",
        seen.errors.len()
    );
    assert!(
        seen.overlaps > 0 || !matches!(lost, Ok(0)),
        "spec/divergences.md, section 2, says that this lock does not exclude"
    );
}

#[test]
#[ignore = "compiles the store: `.ci/run adoption`"]
fn with_rvlf_eight_writers_of_rvf_runtime_of_which_some_are_killed_never_overlap_and_lose_nothing()
{
    let directory = support::scratch();
    let store = directory.path().join("store.rvf");
    create(&store);
    let enough = |seen: &Seen| seen.holds > 200;
    let seen = contend(&store, contender(&PATCHED), 10, enough);
    let contained = ids(&store).expect("the store can be read");
    let lost = seen.lost(&contained);
    println!("rvf-runtime with rvlf: {seen}, {lost} lost");
    assert_eq!(seen.errors, Vec::<String>::new(), "no operation fails");
    assert!(
        seen.killed_holders >= 10 && seen.holds > 200,
        "the run is no proof: {seen}"
    );
    assert_eq!((seen.overlaps, lost), (0, 0), "overlaps and lost vectors");
}
