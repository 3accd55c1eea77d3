//! Locks that one program leaves behind, and what the other one does with them.

use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{ChildProcess, Role, next_command, report, scratch};

use crate::programs::{Peer, outlive_the_parent, outliving, reference};
use crate::status::agreed_status;

/// The command of [`holder`].
pub fn stay() {
    outlive_the_parent();
    report("ready");
    next_command();
}

/// A hold by `peer`, for a command that stays until it is dismissed.
pub fn holder(peer: Peer, program: &Path, data: &Path) -> ChildProcess {
    let supervisor = outliving(peer.run(program, data));
    Role::new("stay").under(supervisor).ready()
}

// A nightly job in one language was killed. The next one, in the other language, must not wait for
// 30 s, or indefinitely, because it distrusts a stamp that it has not written.
#[test]
fn each_recovers_the_lock_of_the_other_that_was_killed() {
    let Some(program) = reference() else { return };
    for (dead, heir) in Peer::EACH {
        let directory = scratch();
        let data = directory.path().join("data");
        let mut holder = holder(dead, &program, &data);
        let group = Pid::from_raw(-(holder.pid() as i32));
        kill(group, Signal::SIGKILL).expect("the group has not been reaped");
        holder.wait();
        while holder.receive_or_end().is_some() {}

        let (status, report) = agreed_status(&program, &data);
        assert_eq!(
            (status, report["state"].as_str(), report["row"].as_u64()),
            (3, Some("stale"), Some(6)),
            "the kernel witnesses that {dead:?} is dead"
        );
        heir.must_run_at_once(&program, &data);
    }
}

// `run` was killed and its command writes on. A contender that trusts the pid in the record, which
// is dead, starts a second writer.
#[test]
fn each_respects_the_command_that_outlives_the_other() {
    const REFUSED: i32 = 75;
    let Some(program) = reference() else { return };
    for (dead, heir) in Peer::EACH {
        let directory = scratch();
        let data = directory.path().join("data");
        let mut orphan = holder(dead, &program, &data);
        orphan.kill();

        let (status, report) = agreed_status(&program, &data);
        assert_eq!(
            (status, report["state"].as_str(), report["row"].as_u64()),
            (1, Some("held"), Some(2)),
            "{dead:?} is dead, and its command has the kernel lock"
        );
        let refused = heir.run(&program, &data).arg("true").output();
        let refused = refused.expect("the program runs");
        assert_eq!(
            refused.status.code(),
            Some(REFUSED),
            "{heir:?} starts no second writer: {}",
            String::from_utf8_lossy(&refused.stderr)
        );
        orphan.send("end");
        while orphan.receive_or_end().is_some() {}
        heir.must_run_at_once(&program, &data);
    }
}
