//! What the tests of the allocation table share: child roles, skips, forks.
//!
//! A child process is the test binary again, told by an environment variable which role to play.

#![allow(unsafe_code, reason = "fork(2)")]

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::ForkResult;
use rvlf::table::{Claim, ScopeRule};
use tempfile::TempDir;

/// How long anything may take that is not measured, before it counts as a hang: nothing here takes
/// more than seconds, and 60 s outlast a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

const ROLE: &str = "RVLF_TEST_ROLE";

/// Says why a test cannot run here. With RVLF_REQUIRE=all that is a failure.
pub fn skip(reason: &str) {
    let required = env::var_os("RVLF_REQUIRE").is_some_and(|value| value == "all");
    assert!(!required, "RVLF_REQUIRE=all, but: {reason}");
    eprintln!("skipped: {reason}");
}

/// A directory, and the path of a table in it that is not there yet.
pub fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::Builder::new().prefix("rvlf-test").tempdir();
    let dir = dir.expect("there is room for a directory");
    let path = dir.path().join("table.json");
    (dir, path)
}

/// A claim to write one path.
pub fn claim(name: &str, path: &str) -> Claim {
    Claim::new(name).allow(ScopeRule::write(path))
}

/// Waits until `happens`, however long that takes on a loaded machine.
#[track_caller]
pub fn until(what: &str, mut happens: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happens() {
        assert!(start.elapsed() < PATIENCE, "it never happened: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How many of this process's descriptors are of files that are or were at `path`.
pub fn descriptors_of(path: &Path) -> usize {
    let path = path.canonicalize().expect("the table is there");
    let listed = std::fs::read_dir("/proc/self/fd").expect("procfs is mounted");
    let targets = listed.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    targets.filter(|target| *target == path).count()
}

/// The body of the test `child_role`: does nothing unless this process was started for a role.
pub fn play(roles: &[(&str, fn())]) {
    let Ok(name) = env::var(ROLE) else { return };
    // A test that fails must not leave holders behind.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).expect("SIGKILL is a signal");
    let (_, role) = { roles.iter() }
        .find(|(known, _)| *known == name)
        .expect("tests start only roles that exist");
    role();
    std::process::exit(0);
}

/// This test binary in the role `name`, preceded by the words of `wrapper`.
pub fn role(wrapper: &[&str], name: &str) -> Command {
    let binary = env::current_exe().expect("this binary has a path");
    let mut words = wrapper.iter().map(std::convert::AsRef::as_ref);
    let mut command = match words.next() {
        Some(first) => {
            let mut command = Command::new::<&std::ffi::OsStr>(first);
            command.args(words).arg(&binary);
            command
        }
        None => Command::new(binary),
    };
    command.args(["--exact", "child_role", "--nocapture", "--test-threads=1"]);
    command
        .env(ROLE, name)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

pub fn arg(key: &str) -> String {
    env::var(key).expect("the test passes what the role needs")
}

/// Runs `body` in a forked child, and says whether it returned true.
pub fn in_forked_child(body: impl FnOnce() -> bool) -> bool {
    // SAFETY: other threads of the harness may hold the allocator's lock, which glibc resets in the
    // child; the body makes system calls, and the child ends without running the harness's
    // handlers.
    match unsafe { nix::unistd::fork() }.expect("there is room for one process") {
        ForkResult::Child => {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            // SAFETY: _exit(2) takes a number and does not return.
            unsafe { nix::libc::_exit(i32::from(!outcome.unwrap_or(false))) }
        }
        ForkResult::Parent { child } => {
            let status = waitpid(child, None).expect("the child is ours");
            status == WaitStatus::Exited(child, 0)
        }
    }
}
