//! Calls that fail although nothing is wrong with them: errors of disks, servers and tables, and
//! answers that get lost.
//!
//! EINTR is none of them: `Sys` repeats what was interrupted, so the protocol never sees it.

use std::fmt;

use nix::errno::Errno;

use super::super::call::{Call, Reply};
use super::{Kernel, Rules};
use crate::judge::FileSystem;
use crate::sys::Flocked;

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Fault {
    /// It has no effect; but a disk may get full in the middle of a write.
    Refused(Errno),
    /// The server has done it, and its answer was lost: the client gives up, or asks again and hears
    /// that it cannot be done once more.
    AnswerLost(Errno),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Refused(errno) => write!(f, "fails: {errno:?}"),
            Fault::AnswerLost(errno) => write!(f, "is done, but seems to fail: {errno:?}"),
        }
    }
}

impl Kernel {
    /// How `call` may fail now.
    pub(in super::super) fn possible_faults(
        &self,
        rules: &Rules,
        who: usize,
        call: &Call,
    ) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.process(who).midway {
            return faults;
        }
        let remote = rules.file_system == FileSystem::NotLocal;
        if self.mishaps.faults > 0 {
            faults.extend(local_faults(call).iter().copied().map(Fault::Refused));
            let network = network_faults(call).iter().filter(|_| remote);
            faults.extend(network.copied().map(Fault::Refused));
        }
        if self.mishaps.lost_answers > 0 && remote {
            faults.extend(lost_answers(call).iter().copied().map(Fault::AnswerLost));
        }
        faults
    }

    /// Fails `call`.
    pub(in super::super) fn fail(
        &mut self,
        rules: &Rules,
        who: usize,
        call: &Call,
        fault: Fault,
    ) -> Reply {
        self.had_fault = true;
        self.process_mut(who).deadline_ns = None;
        match fault {
            Fault::Refused(errno) => self.refuse(rules, who, call, errno),
            Fault::AnswerLost(errno) => self.lose_answer(rules, who, call, errno),
        }
    }

    fn refuse(&mut self, rules: &Rules, who: usize, call: &Call, errno: Errno) -> Reply {
        self.mishaps.faults -= 1;
        match call {
            Call::Flock(..) if errno == Errno::ENOLCK => Reply::Flocked(Flocked::Unsupported),
            Call::Write(fd, 0, bytes) if errno == Errno::ENOSPC => {
                let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
                let _ = self.write(rules, who, *fd, 0, half);
                Reply::failed(errno)
            }
            _ => Reply::failed(errno),
        }
    }

    fn lose_answer(&mut self, rules: &Rules, who: usize, call: &Call, errno: Errno) -> Reply {
        self.mishaps.lost_answers -= 1;
        match self.perform(rules, who, call) {
            // The client never had the file that the server has opened for it.
            Ok(Reply::File(fd)) => {
                let _ = self.perform(rules, who, &Call::Close(fd));
                Reply::failed(errno)
            }
            Ok(_) => Reply::failed(errno),
            Err(errno) => Reply::failed(errno),
        }
    }
}

fn local_faults(call: &Call) -> &'static [Errno] {
    match call {
        Call::OpenDir | Call::Open(..) => &[Errno::EIO, Errno::EMFILE],
        Call::Create(_) | Call::CreateUnnamed => &[Errno::EIO, Errno::ENOSPC, Errno::EMFILE],
        Call::FileSystem | Call::List | Call::StatAt(_) | Call::Unlink(_) => &[Errno::EIO],
        Call::SyncDir | Call::Stat(_) | Call::Read(_) => &[Errno::EIO],
        Call::Link(..) | Call::Rename(..) | Call::RenameNoreplace(..) => {
            &[Errno::EIO, Errno::ENOSPC]
        }
        Call::Write(..) | Call::Sync(..) => &[Errno::EIO, Errno::ENOSPC],
        Call::Flock(..) => &[Errno::ENOLCK],
        // The former looks into procfs, the latter needs an instance.
        Call::Process(_) | Call::Watch(..) => &[Errno::EMFILE],
        _ => &[],
    }
}

/// The server does not know the file any more, or the user.
fn network_faults(call: &Call) -> &'static [Errno] {
    match call {
        Call::Create(_) => &[Errno::EACCES],
        Call::StatAt(_) | Call::Open(..) | Call::Stat(_) | Call::Read(_) => &[Errno::ESTALE],
        Call::Write(..) | Call::Sync(..) | Call::Flock(..) => &[Errno::ESTALE],
        _ => &[],
    }
}

/// ETIMEDOUT: a soft mount. The others: NFS without sessions repeats what cannot be repeated.
fn lost_answers(call: &Call) -> &'static [Errno] {
    match call {
        Call::Create(_) | Call::RenameNoreplace(..) => &[Errno::ETIMEDOUT, Errno::EEXIST],
        Call::Unlink(_) | Call::Rename(..) => &[Errno::ETIMEDOUT, Errno::ENOENT],
        Call::Write(..) => &[Errno::ETIMEDOUT],
        _ => &[],
    }
}
