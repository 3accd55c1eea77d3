//! Processes that a security policy confines: what they need, and what a refusal does.
//!
//! Landlock confines a child process for real. strace refuses the links, as a profile of AppArmor
//! without the rule `l` does. docs/confinement.md has the rules for each kind of policy.
#![cfg(all(target_os = "linux", not(rvlf_portable), not(rvlf_unsupported)))]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use landlock::{
    ABI, Access, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, make_bitflags,
};
use rvlf::{WriterLock, lock_path_for};
use support::{ChildProcess, Role, RoleEntry};

pub const ROLES: &[RoleEntry] = &[("confined", confined)];

const VERSIONS: [ABI; 3] = [ABI::V1, ABI::V2, ABI::V3];

/// What docs/confinement.md says that a process needs in the directory of the data file. Versions
/// below 3 do not know `Truncate`.
fn needed() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{ReadFile | WriteFile | MakeReg | RemoveFile | Truncate})
}

/// Confines itself to DIR without the right WITHOUT, by the Landlock rules of ABI, and then does what
/// a worker does.
fn confined() {
    let dir = PathBuf::from(support::arg("DIR"));
    let version = support::number("ABI");
    let version = VERSIONS
        .into_iter()
        .nth(version as usize)
        .expect("there are three");
    let without = support::arg_or("WITHOUT", "nothing");
    let granted = needed()
        .iter()
        .filter(|right| format!("{right:?}") != without);
    let granted = granted.collect::<BitFlags<AccessFs>>() & AccessFs::from_all(version);
    let enforced = confine(&dir, version, granted);
    if !enforced {
        return support::report("cannot");
    }
    support::worker();
}

/// False where the kernel has no Landlock.
fn confine(dir: &Path, version: ABI, rights: BitFlags<AccessFs>) -> bool {
    let beneath = |path: &Path, rights| {
        PathBeneath::new(PathFd::new(path).expect("the directory exists"), rights)
    };
    let ruleset = Ruleset::default().handle_access(AccessFs::from_all(version));
    let ruleset = ruleset
        .and_then(Ruleset::create)
        .expect("a set of known rights");
    let ruleset = ruleset
        .add_rule(beneath(dir, rights))
        .and_then(|ruleset| {
            ruleset.add_rule(beneath(Path::new("/proc"), AccessFs::ReadFile.into()))
        })
        .expect("a rule for a directory");
    let restricted = ruleset
        .restrict_self()
        .expect("a process may confine itself");
    restricted.ruleset == RulesetStatus::FullyEnforced
}

/// A worker in DIR, confined by version ABI of Landlock to what it needs, without one right. `None`
/// where the kernel has no Landlock.
fn confined_worker(data: &Path, abi: usize, without: &str) -> Option<ChildProcess> {
    let dir = data.parent().expect("the data file is in a directory");
    let role = Role::new("confined").with("DATA", data).with("DIR", dir);
    let abi = u64::try_from(abi).expect("there are three");
    let mut worker = role
        .with_number("ABI", abi)
        .with("WITHOUT", without)
        .start();
    match worker.receive().as_str() {
        "ready" => Some(worker),
        _ => {
            support::skip("the kernel has no Landlock");
            None
        }
    }
}

// A policy that grants what the documentation lists must be enough, also for what only a crash needs.
#[test]
fn a_confined_process_acquires_recovers_and_releases_with_the_rights_that_are_documented() {
    for abi in 0..VERSIONS.len() {
        let dir = support::scratch();
        let data = dir.path().join("data");
        let Some(mut holder) = confined_worker(&data, abi, "nothing") else {
            return;
        };
        holder.expect("try", "got");
        holder.expect("refresh", "refreshed");
        holder.expect("check", "Ok");
        assert!(
            support::read_record(&data).stamp().is_some(),
            "the kernel is the witness"
        );
        let refused = WriterLock::try_acquire(&data).expect_err("a confined process holds it");
        assert!(refused.is_held(), "{refused}");
        holder.kill();
        let Some(mut next) = confined_worker(&data, abi, "nothing") else {
            return;
        };
        let from = next.expect("try", "got");
        assert!(from.contains("from"), "the holder has died: {from}");
        next.expect("release", "released");
        assert!(support::names_in(dir.path()).is_empty(), "nothing is left");
    }
}

// The mode of the directory permits everything: a message that mentions permissions alone sends its
// reader to the wrong place.
#[test]
fn what_a_policy_refuses_is_an_error_that_names_the_policy_and_leaves_no_record() {
    for right in ["MakeReg", "WriteFile", "ReadFile"] {
        let dir = support::scratch();
        let Some(mut worker) = confined_worker(&dir.path().join("data"), 2, right) else {
            return;
        };
        let error = worker.expect("try", "error");
        let expected = "could not create the lock file";
        assert!(error.contains(expected), "without {right}: {error}");
        assert!(
            error.contains("security policy"),
            "without {right}: {error}"
        );
        // The kernel makes the file before it asks whether the process may open it.
        let left = fs::read(lock_path_for(dir.path().join("data"))).unwrap_or_default();
        assert!(left.is_empty(), "without {right}: a record is left");
    }
    let dir = support::scratch();
    let data = dir.path().join("data");
    let Some(mut worker) = confined_worker(&data, 2, "RemoveFile") else {
        return;
    };
    worker.expect("try", "got");
    let error = worker.expect("release", "not released");
    assert!(error.contains("could not unlink the lock file"), "{error}");
    assert!(error.contains("security policy"), "{error}");
}

// A profile of AppArmor without the rule `l` permits to create a file and refuses to link it. A
// deployed client works there.
#[test]
fn where_a_policy_refuses_links_the_lock_is_acquired_and_recovered() {
    if Command::new("strace").arg("-V").output().is_err() {
        return support::skip("strace is not installed, or the kernel is no witness");
    }
    let refusals = ["linkat:error=EACCES", "linkat:error=EPERM"];
    for refusal in refusals {
        let dir = support::scratch();
        let data = dir.path().join("data");
        let worker = || Role::worker(&data).under_fault(refusal).ready();
        let mut holder = worker();
        holder.expect("try", "got");
        let refused = WriterLock::try_acquire(&data).expect_err("another process holds it");
        assert!(refused.is_held(), "{refusal}: {refused}");
        holder.kill();
        let mut next = worker();
        let from = next.expect("try", "got");
        assert!(
            from.contains("from"),
            "{refusal}: the holder has died: {from}"
        );
        next.expect("release", "released");
        assert!(support::names_in(dir.path()).is_empty(), "{refusal}");
    }
}
