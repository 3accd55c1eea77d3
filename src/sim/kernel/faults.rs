//! Calls that fail although nothing is wrong with them: errors of disks, servers and descriptor
//! tables, and answers that get lost.
//!
//! EINTR is not among them: the real `Sys` repeats an interrupted call, so the protocol never sees
//! it.

use std::fmt;

use nix::errno::Errno;

use super::super::call::{Call, Reply};
use super::{Kernel, Rules, SHARING_VIOLATION, Sharing};
use crate::sys::FlockOutcome;

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Fault {
    /// The call has no effect; but a disk may become full in the middle of a write.
    Refused(Errno),
    /// The server has done the call, and its answer was lost: the client gives up, or repeats the
    /// call and receives the error of the repetition.
    AnswerLost(Errno),
    /// A scanner has the file open for a moment, and does not share what the call would do, or a filter
    /// denies access.
    Violation(Errno),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Refused(errno) => write!(f, "fails: {errno:?}"),
            Fault::AnswerLost(errno) => write!(f, "is done, but reports {errno:?}"),
            Fault::Violation(errno) => write!(f, "fails for a moment: {}", Reply::failed(*errno)),
        }
    }
}

impl Kernel {
    /// How `call` may fail now.
    pub(in crate::sim) fn possible_faults(
        &self,
        rules: &Rules,
        pid_index: usize,
        call: &Call,
    ) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.process(pid_index).is_midway {
            return faults;
        }
        if self.budget.violations > 0 && needs_sharing(call) {
            faults.extend([SHARING_VIOLATION, Errno::EACCES].map(Fault::Violation));
        }
        let system = self.process(pid_index).system;
        let is_remote = !system.file_system(rules).is_local();
        if self.budget.faults > 0 {
            faults.extend(local_faults(call).iter().copied().map(Fault::Refused));
            if is_remote {
                faults.extend(network_faults(call).iter().copied().map(Fault::Refused));
            }
        }
        if self.budget.lost_answers > 0 && is_remote {
            faults.extend(lost_answers(call).iter().copied().map(Fault::AnswerLost));
        }
        faults
    }

    /// Fails `call`.
    pub(in crate::sim) fn fail(
        &mut self,
        rules: &Rules,
        pid_index: usize,
        call: &Call,
        fault: Fault,
    ) -> Reply {
        self.had_fault = true;
        self.process_mut(pid_index).deadline_ns = None;
        match fault {
            Fault::Refused(errno) => self.refuse(rules, pid_index, call, errno),
            Fault::AnswerLost(errno) => self.lose_answer(rules, pid_index, call, errno),
            Fault::Violation(errno) => {
                self.budget.violations -= 1;
                Reply::failed(errno)
            }
        }
    }

    fn refuse(&mut self, rules: &Rules, pid_index: usize, call: &Call, errno: Errno) -> Reply {
        self.budget.faults -= 1;
        match call {
            Call::Flock(..) if errno == Errno::ENOLCK => Reply::Flocked(FlockOutcome::Unsupported),
            Call::Write(fd, 0, bytes) if errno == Errno::ENOSPC => {
                let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
                let _ = self.write(rules, pid_index, *fd, 0, half);
                Reply::failed(errno)
            }
            _ => Reply::failed(errno),
        }
    }

    fn lose_answer(&mut self, rules: &Rules, pid_index: usize, call: &Call, errno: Errno) -> Reply {
        self.budget.lost_answers -= 1;
        match self.perform(rules, pid_index, call) {
            // The client never had the file that the server has opened for it.
            Ok(Reply::File(fd)) => {
                let _ = self.perform(rules, pid_index, &Call::Close(fd));
                Reply::failed(errno)
            }
            Ok(_) => Reply::failed(errno),
            Err(errno) => Reply::failed(errno),
        }
    }
}

/// A security policy (EACCES) is no fault: it refuses each such call, not one
/// ([`World::refusing_links`](crate::sim::World::refusing_links)).
fn local_faults(call: &Call) -> &'static [Errno] {
    match call {
        Call::OpenDir | Call::Open(..) | Call::OpenShared(..) => &[Errno::EIO, Errno::EMFILE],
        Call::Create(_) | Call::CreateUnnamed | Call::CreateShared(..) => {
            &[Errno::EIO, Errno::ENOSPC, Errno::EMFILE]
        }
        Call::StatDir
        | Call::FileSystem
        | Call::List(_)
        | Call::StatAt(_)
        | Call::Unlink(_)
        | Call::DeleteOpen(_) => &[Errno::EIO],
        Call::SyncDir | Call::Stat(_) | Call::Read(_) | Call::Truncate(_) => &[Errno::EIO],
        Call::Link(..) | Call::Rename(..) | Call::RenameNoreplace(..) | Call::RenameOpen(..) => {
            &[Errno::EIO, Errno::ENOSPC]
        }
        Call::Write(..) | Call::Sync(..) => &[Errno::EIO, Errno::ENOSPC],
        Call::Flock(..) => &[Errno::ENOLCK],
        // The first two open files of procfs, the last one an inotify instance.
        Call::KernelBootId | Call::Process(_) | Call::Watch(..) => &[Errno::EMFILE],
        _ => &[],
    }
}

/// Whether a scanner can be in the way of the call.
fn needs_sharing(call: &Call) -> bool {
    match call {
        Call::OpenShared(_, sharing) => *sharing != Sharing::LOOK && *sharing != Sharing::SCAN,
        Call::RenameOpen(..) | Call::DeleteOpen(_) => true,
        _ => false,
    }
}

/// The server does not know the file (ESTALE) or the user (EACCES) any more.
fn network_faults(call: &Call) -> &'static [Errno] {
    match call {
        Call::Create(_) => &[Errno::EACCES],
        Call::StatAt(_) | Call::Open(..) | Call::Stat(_) | Call::Read(_) => &[Errno::ESTALE],
        Call::Write(..) | Call::Sync(..) | Call::Flock(..) => &[Errno::ESTALE],
        _ => &[],
    }
}

/// ETIMEDOUT: a soft mount. EEXIST and ENOENT: NFS without sessions repeats a call that cannot be
/// repeated.
fn lost_answers(call: &Call) -> &'static [Errno] {
    match call {
        Call::Create(_) | Call::RenameNoreplace(..) => &[Errno::ETIMEDOUT, Errno::EEXIST],
        Call::Unlink(_) | Call::Rename(..) => &[Errno::ETIMEDOUT, Errno::ENOENT],
        Call::Write(..) => &[Errno::ETIMEDOUT],
        _ => &[],
    }
}
