//! What flock(2) and open(2) answer on network file systems and under security policies, on a local
//! file system, where strace makes the calls fail. The simulated kernel has a mount on which flock is
//! mandatory, and `scripts/smb.sh` a real one.
#![cfg(all(target_os = "linux", not(rvlf_portable), not(rvlf_unsupported)))]

use std::path::Path;
use std::process::Command;

use support::{ChildProcess, Role};

/// A worker whose calls fail; `None` without strace.
fn worker_under_fault(data: &Path, fault: &str) -> Option<ChildProcess> {
    if Command::new("strace").arg("-V").output().is_err() {
        support::skip("strace is not installed");
        return None;
    }
    Some(Role::worker(data).under_fault(fault).ready())
}

// On SMB EACCES means that another process holds the lock. Taken for that on a local file system, a
// profile of AppArmor without the rule `k` would report a holder that does not exist.
#[test]
fn on_a_local_file_system_a_refused_flock_is_an_error_that_names_the_policy() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let Some(mut worker) = worker_under_fault(&data, "flock:error=EACCES") else {
        return;
    };
    let error = worker.expect("try", "error");
    assert!(
        error.contains("permit flock(2) in the security policy"),
        "{error}"
    );
    assert!(support::names_in(dir.path()).is_empty(), "nothing is left");
}

// ENOTSUPP (524) is no error number of user space: it has no name and no text, and some file systems
// return it.
#[test]
fn a_file_system_without_flock_is_named_whatever_its_error_is() {
    for errno in ["EOPNOTSUPP", "ENOLCK", "ENOSYS", "524"] {
        let dir = support::scratch();
        let data = dir.path().join("data");
        let fault = format!("flock:error={errno}");
        let Some(mut worker) = worker_under_fault(&data, &fault) else {
            return;
        };
        let error = worker.expect("try", "error");
        let step = "a file system that support flock(2)";
        assert!(error.contains(step), "{errno}: {error}");
    }
}

// NFS grants LOCK_EX only to a descriptor that is open for writing: this user may see that another
// user's lock is dead, and may not break it.
#[test]
fn a_breaker_that_may_not_lock_the_file_exclusively_says_which_user_may() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    support::plant_left_behind(&data);
    // The first two calls examine: LOCK_SH and LOCK_UN.
    let fault = "flock:error=EBADF:when=3";
    let Some(mut worker) = worker_under_fault(&data, fault) else {
        return;
    };
    let error = worker.expect("break", "error");
    assert!(
        error.contains("a user who may write to the file"),
        "{error}"
    );
    assert_eq!(
        support::names_in(dir.path()),
        ["data.lock"],
        "nothing was broken"
    );
}

/// A worker whose calls fail that concern the file at `path`; `None` without strace.
fn worker_under_fault_of(path: &Path, data: &Path, fault: &str) -> Option<ChildProcess> {
    let mut strace = Command::new("strace");
    if strace.arg("-V").output().is_err() {
        support::skip("strace is not installed");
        return None;
    }
    let mut strace = Command::new("strace");
    let (call, _) = fault.split_once(':').expect("a call and its fault");
    let trace = format!("trace={call}");
    strace.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-P"]);
    strace.arg(path).args(["-e", &format!("inject={fault}")]);
    Some(Role::worker(data).under(strace).ready())
}

// On SMB open(2) answers EINVAL once after another mount has replaced the file.
#[test]
fn an_open_that_is_invalid_once_is_repeated() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    support::plant_left_behind(&data);
    // The first open of the directory or in it is that of the directory.
    let fault = "openat:error=EINVAL:when=2";
    let Some(mut worker) = worker_under_fault_of(dir.path(), &data, fault) else {
        return;
    };
    worker.expect("try", "got");
}

// Taken for the mandatory lock of another process (SMB), a bad block would make a dead lock look held, or changed
// at every look.
#[test]
fn a_lock_file_that_cannot_be_read_is_an_error_that_names_the_read() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    support::plant_left_behind(&data);
    let lock_path = rvlf::lock_path_for(&data);
    let Some(mut worker) = worker_under_fault_of(&lock_path, &data, "pread64:error=EIO") else {
        return;
    };
    let error = worker.expect("try", "error");
    assert!(error.contains("could not read"), "{error}");
}
