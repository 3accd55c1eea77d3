//! What the tests share: roles of child processes, namespaces, planted lock files, a second reader of
//! the record and a second model of the allocation table.
#![allow(missing_docs, reason = "for the tests of this workspace alone")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

mod clock;
#[cfg(target_os = "linux")]
mod container;
#[cfg(target_os = "linux")]
mod descriptors;
#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod fork;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod record_lock;
#[cfg(target_os = "linux")]
mod records;
mod rng;
#[cfg(target_os = "linux")]
mod role;
mod sealed;
pub mod second_reader;
pub mod table;
pub mod table_model;
#[cfg(target_os = "linux")]
pub mod table_worker;
#[cfg(target_os = "linux")]
mod threads;
pub mod yoi_model;

#[cfg(unix)]
pub use self::clock::monotonic_ns;
pub use self::{
    clock::{now_ns, ns},
    rng::{Rng, summary},
    sealed::{SEALED_LEN, sealed, unsealed},
};
#[cfg(target_os = "linux")]
pub use self::{
    container::{Container, no_containers, no_time_namespaces},
    descriptors::{lock_shared, pipe, try_lock, unlock},
    files::{age_mtime, directory_in_memory, is_absent, is_plain, names_in, scratch, set_mtime},
    fork::{fork, join, succeeds_in_fork},
    process::{ChildProcess, Role},
    record_lock::{record_range, release_record_lock, take_record_lock},
    records::{
        MIDDLE, OLD, VERY_OLD, YOUNG, backdate, break_stale, break_stale_with, dead_pid,
        force_break, plain_key, plant_left_behind, read_record, some_writer_id, this_host,
        this_host_beside_a_stamp, this_process, unstamped, wait_until_free,
    },
    role::{
        RoleEntry, arg, arg_or, describe, die_with_the_parent, locked_by, next_command, number,
        report, run_role, worker,
    },
    threads::{thread_names, voluntary_switches},
};

/// The limit for every operation that is not measured; an operation that takes longer hangs. None here
/// takes more than seconds, and 60 s outlast the stalls of a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The root of the repository.
pub fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = tests.parent();
    root.expect("the package of the tests is a directory of the repository")
        .to_owned()
}

/// Reports why a test cannot run on this machine. With RVLF_REQUIRE=all that is a failure.
pub fn skip(reason: &str) {
    let required = std::env::var_os("RVLF_REQUIRE").is_some_and(|value| value == "all");
    assert!(!required, "RVLF_REQUIRE=all, but: {reason}");
    eprintln!("skipped: {reason}");
}

/// Waits until `condition` holds. A condition that never holds fails the test as a hang.
#[track_caller]
pub fn until(promise: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never became true: {promise}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
