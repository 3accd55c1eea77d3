//! Calls that fail although nothing is wrong with them: errors of disks, servers and tables.
//!
//! EINTR is none of them: `Sys` repeats what was interrupted, so the protocol never sees it.

use nix::errno::Errno;

use super::super::super::Flocked;
use super::super::call::{Call, Reply};
use super::{Kernel, Rules};
use crate::judge::FileSystem;

impl Kernel {
    /// How `call` may fail now.
    pub(in super::super) fn possible_faults(
        &self,
        rules: &Rules,
        who: usize,
        call: &Call,
    ) -> Vec<Errno> {
        if self.mishaps.faults == 0 || self.process(who).midway {
            return Vec::new();
        }
        let mut faults = local_faults(call).to_vec();
        if rules.file_system == FileSystem::NotLocal {
            faults.extend(network_faults(call));
        }
        faults
    }

    /// Fails `call`, which then has no effect; but a disk may get full in the middle of a write.
    pub(in super::super) fn fail(
        &mut self,
        rules: &Rules,
        who: usize,
        call: &Call,
        errno: Errno,
    ) -> Reply {
        self.mishaps.faults -= 1;
        self.had_fault = true;
        self.process_mut(who).deadline_ns = None;
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

/// The server does not know the file any more.
fn network_faults(call: &Call) -> &'static [Errno] {
    match call {
        Call::StatAt(_) | Call::Open(..) | Call::Stat(_) | Call::Read(_) => &[Errno::ESTALE],
        Call::Write(..) | Call::Sync(..) | Call::Flock(..) => &[Errno::ESTALE],
        _ => &[],
    }
}
