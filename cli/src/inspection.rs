//! A lock, inspected: its state, and the processes that keep it where its record does not name them.

use std::path::Path;

use rvlf::judge::{Evidence, FileSystem, HostMatch, KernelLock, Process, Reason, Stamp};
use rvlf::{Escaped, Holder, IoError, LockFile, LockState, LockingProcess, lock_path_for};

use crate::messages;

#[derive(Debug)]
pub struct Inspection {
    pub state: LockState,
    /// The processes that share the kernel lock and that this user can see. `None` if no process has
    /// it, or if the record names a live holder.
    pub locked_by: Option<Vec<LockingProcess>>,
}

impl Inspection {
    pub fn of(data: &Path) -> Result<Inspection, IoError> {
        let file = LockFile::open(data)?;
        Ok(Inspection::from_state(&file, file.inspect()?))
    }

    /// The inspection whose result is `state`.
    pub fn from_state(file: &LockFile, state: LockState) -> Inspection {
        // What cannot be looked up is left out: the state is what was requested.
        let is_unnamed = state.holder().is_some_and(is_unnamed);
        let locked_by = is_unnamed.then(|| file.locked_by().unwrap_or_default());
        Inspection { state, locked_by }
    }

    /// `kept open by pid 12 (sh)`, if that is known.
    pub fn kept_open(&self) -> Option<String> {
        self.locked_by.as_deref().and_then(kept_open)
    }
}

/// After a refusal because of `holder`: prints which processes keep the lock, if that is known and the
/// record does not name them.
pub fn report_kept_open(data: &Path, holder: &Holder) {
    if !is_unnamed(holder) {
        return;
    }
    let found = LockFile::open(data).and_then(|file| file.locked_by());
    report_locked_by(&lock_path_for(data), &found.unwrap_or_default());
}

/// Prints which processes have locked the file at `path`, if any is known.
pub fn report_locked_by(path: &Path, processes: &[LockingProcess]) {
    if let Some(kept_open) = kept_open(processes) {
        messages::print(format_args!("{}: {kept_open}", Escaped::path(path)));
    }
}

/// Whether a process has the kernel lock that the record does not name as a live process.
fn is_unnamed(holder: &Holder) -> bool {
    // A breaker was refused: the kernel lock may be a shared one, which an examination cannot see.
    if holder.verdict().reason() == Reason::KernelLockOutlivesProcess {
        return true;
    }
    match holder.evidence() {
        Some(Evidence {
            kernel_lock: KernelLock::HeldElsewhere,
            stamp: Stamp::Same {
                start_ticks: recorded,
            },
            process: Process::Alive { start_ticks, .. },
            ..
        }) => start_ticks != recorded,
        Some(evidence) => evidence.kernel_lock == KernelLock::HeldElsewhere,
        None => false,
    }
}

/// The machine whose process may have the kernel lock, where another machine's can: a client of the
/// network file system.
pub fn possible_client(state: &LockState) -> Option<String> {
    let holder = state.holder()?;
    let evidence = holder.evidence()?;
    let record = holder
        .record()
        .filter(|_| evidence.host == HostMatch::Other);
    let host = record.map(|record| record.hostname().to_string());
    (evidence.file_system == FileSystem::NotLocal)
        .then(|| host.unwrap_or_else(|| "another machine".into()))
}

fn kept_open(processes: &[LockingProcess]) -> Option<String> {
    let names: Vec<String> = processes.iter().map(ToString::to_string).collect();
    (!names.is_empty()).then(|| format!("kept open by {}", names.join(", ")))
}
