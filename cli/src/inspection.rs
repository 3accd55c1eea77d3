//! A lock, inspected: its state, and the processes that keep it where its record does not name them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rvlf::judge::{Evidence, FileSystem, HostMatch, KernelLock, Process, Reason, Stamp};
use rvlf::{
    Escaped, Holder, IoError, LockFile, LockState, LockingProcess, WriterId, lock_path_for,
};

use crate::messages;

#[derive(Debug)]
pub struct Inspection {
    pub state: LockState,
    /// The processes that share the kernel lock and that this user can see. `None` if no process has
    /// it, or if the record names a live holder.
    pub locked_by: Option<Vec<LockingProcess>>,
    /// The program of the process that the record names, where the kernel shows that it is the holder.
    pub holder_command: Option<String>,
}

impl Inspection {
    pub fn of(data: &Path) -> Result<Inspection, IoError> {
        Inspector::new(data).inspect()
    }

    /// The inspection whose result is `state`.
    pub fn from_state(file: &LockFile, state: LockState) -> Inspection {
        Inspector::new(file.data_path()).complete(file, state)
    }

    /// `kept open by pid 12 (sh)`, if that is known.
    pub fn kept_open(&self) -> Option<String> {
        self.locked_by.as_deref().and_then(kept_open)
    }
}

/// Inspects one lock as often as requested.
#[derive(Clone)]
pub struct Inspector {
    data: PathBuf,
    search: Option<Search>,
}

/// What a search of /proc has found.
#[derive(Clone)]
struct Search {
    hold: (Reason, Option<WriterId>),
    /// When to search again.
    due: Instant,
    found: Vec<LockingProcess>,
}

/// A search reads what /proc shows of each descriptor of each process. A lock that is watched is
/// inspected every second; searching as often would take much of a processor on a busy machine.
const SEARCH_INTERVAL: Duration = Duration::from_secs(10);

impl Inspector {
    pub fn new(data: &Path) -> Inspector {
        Inspector {
            data: data.to_owned(),
            search: None,
        }
    }

    pub fn inspect(&mut self) -> Result<Inspection, IoError> {
        let file = LockFile::open(&self.data)?;
        let state = file.inspect()?;
        Ok(self.complete(&file, state))
    }

    fn complete(&mut self, file: &LockFile, state: LockState) -> Inspection {
        let holder = state.holder().filter(|holder| is_unnamed(holder));
        let locked_by = holder.map(|holder| self.locked_by(file, holder));
        let holder_command = state.holder().and_then(command_of);
        Inspection {
            state,
            locked_by,
            holder_command,
        }
    }

    /// The processes that were found last, if that was lately and for the same hold.
    fn locked_by(&mut self, file: &LockFile, holder: &Holder) -> Vec<LockingProcess> {
        let writer_id = holder.record().map(|record| record.writer_id());
        let hold = (holder.verdict().reason(), writer_id);
        let now = Instant::now();
        let last = self.search.take();
        let search = last.filter(|search| search.hold == hold && now < search.due);
        let search = self.search.insert(search.unwrap_or_else(|| Search {
            hold,
            due: now + SEARCH_INTERVAL,
            // What cannot be found is left out: the state is what was requested.
            found: file.locked_by().unwrap_or_default(),
        }));
        search.found.clone()
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
    holder.evidence().is_some_and(|evidence| {
        evidence.kernel_lock == KernelLock::HeldElsewhere && start_of_named(evidence).is_none()
    })
}

/// The start time of the process that the record names, if the kernel lock and the start time show that
/// this process is the holder.
fn start_of_named(evidence: &Evidence) -> Option<u64> {
    match *evidence {
        Evidence {
            kernel_lock: KernelLock::HeldElsewhere,
            stamp: Stamp::Same {
                start_ticks: recorded,
            },
            process: Process::Alive { start_ticks, .. },
            ..
        } if start_ticks == recorded => Some(recorded),
        _ => None,
    }
}

/// One read shows the name and the start time: no later process with the same pid is named.
fn command_of(holder: &Holder) -> Option<String> {
    let recorded = start_of_named(holder.evidence()?)?;
    let stat = fs::read(format!("/proc/{}/stat", holder.record()?.pid())).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name may contain parentheses. The state is field 3, the start time field 22. proc_pid_stat(5)
    let (_, rest) = stat.split_once('(')?;
    let (command, fields) = rest.rsplit_once(')')?;
    let started: u64 = fields.split_whitespace().nth(22 - 3)?.parse().ok()?;
    (started == recorded).then(|| command.to_owned())
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
    let by_this_kernel = matches!(evidence.stamp, Stamp::Same { .. });
    (evidence.file_system == FileSystem::NotLocal && !by_this_kernel)
        .then(|| host.unwrap_or_else(|| "another machine".into()))
}

pub fn kept_open(processes: &[LockingProcess]) -> Option<String> {
    let names: Vec<String> = processes.iter().map(ToString::to_string).collect();
    (!names.is_empty()).then(|| format!("kept open by {}", names.join(", ")))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs::{self, File};

    use super::*;

    // A terminal on which `rvlf run --wait` waits for hours must not keep a processor busy.
    #[test]
    fn a_watched_lock_is_not_searched_for_at_every_look() {
        let dir = tempfile::tempdir().expect("there is room for a directory");
        let data = dir.path().join("d");
        fs::write(lock_path_for(&data), "FLVR").expect("the directory is writable");
        let file = File::open(lock_path_for(&data)).expect("the file exists");
        support::try_lock(&file).expect("no process has locked it");

        let mut inspector = Inspector::new(&data);
        // Also a child that another test forks has the file until its exec.
        let mut is_found = |due: Option<Instant>| {
            if let (Some(search), Some(due)) = (&mut inspector.search, due) {
                search.found.clear();
                search.due = due;
            }
            let inspection = inspector.inspect().expect("the directory exists");
            let processes = inspection.locked_by;
            !processes.expect("the file is locked").is_empty()
        };
        assert!(is_found(None), "this process");
        let later = Instant::now() + SEARCH_INTERVAL;
        assert!(!is_found(Some(later)), "no search");
        assert!(is_found(Some(Instant::now())), "searched again");
    }
}
