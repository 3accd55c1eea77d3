//! Whether the process of an entry is alive: a pure function from facts to an answer.
//!
//! The facts come from the same interface to the operating system as those of the writer lock, and
//! doubt reads as alive here, too. The table has no ages: an entry that no fact on this machine
//! decides stays until a person releases it (`rvlf table release`).

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;

use super::contents::Table;
use super::entry::{Entry, EntryHolder, HolderId};
use super::error::TableError;
use super::witness::{Witness, Witnesses};
use crate::judge::FileSystem;
use crate::record::{Pid, WriterId};
use crate::sys::entry::Entry as DirectoryEntry;
use crate::sys::{self, Context, Operation, PidNamespace, Sys, TableSys};

/// Whether the process of an entry is alive, and how this is known. `Display` gives a sentence.
///
/// ```
/// use rvlf::table::Liveness;
///
/// assert!(Liveness::ProcessGone.is_dead());
/// assert!(Liveness::Alive.is_alive());
/// // What cannot be known here is neither, and is not reclaimed:
/// assert!(!Liveness::Elsewhere.is_dead() && !Liveness::Elsewhere.is_alive());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Liveness {
    /// Dead: the pid is not a process id.
    NoProcess,
    /// Dead: the entry was written before the last boot of this machine, on a file system that no
    /// other machine writes. Known where writer and reader both see the kernel's own boot id.
    BeforeBoot,
    /// Dead: no such process exists, or only its exit status is left.
    ProcessGone,
    /// Dead: another process has the pid now.
    PidReused,
    /// Dead: the process cannot be seen from here, but the byte of the table's directory that it had
    /// locked is not locked any more.
    WitnessEnded,
    /// Alive: exactly this process runs.
    Alive,
    /// Alive: the process cannot be seen from here, but it has its byte of the table's directory
    /// locked, or a child that it forked has.
    Witnessed,
    /// Alive, judged by the pid alone: the start times of the process and of the entry cannot be
    /// compared.
    PidAlive,
    /// Counts as alive: a process with this pid exists, but the system shows nothing else of it to
    /// this process.
    ProcessHidden,
    /// Unknown, so not dead: the process belongs to another host or another pid namespace, or may do
    /// so. A process in a sandbox without /proc may.
    Elsewhere,
}

impl Liveness {
    /// Whether the process is known to be dead, so that its entry may be reclaimed.
    ///
    /// ```
    /// # use rvlf::table::Liveness;
    /// assert!(Liveness::PidReused.is_dead());
    /// assert!(!Liveness::PidAlive.is_dead());
    /// ```
    #[must_use]
    pub const fn is_dead(self) -> bool {
        matches!(
            self,
            Liveness::NoProcess
                | Liveness::BeforeBoot
                | Liveness::ProcessGone
                | Liveness::PidReused
                | Liveness::WitnessEnded
        )
    }

    /// Whether a process is known to be there. For [`Elsewhere`](Liveness::Elsewhere) both this and
    /// [`is_dead`](Liveness::is_dead) are false.
    ///
    /// ```
    /// # use rvlf::table::Liveness;
    /// assert!(Liveness::PidAlive.is_alive());
    /// assert!(!Liveness::Elsewhere.is_alive());
    /// ```
    #[must_use]
    pub const fn is_alive(self) -> bool {
        matches!(
            self,
            Liveness::Alive | Liveness::Witnessed | Liveness::PidAlive | Liveness::ProcessHidden
        )
    }
}

impl fmt::Display for Liveness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Liveness::NoProcess => "its pid is not a process id",
            Liveness::BeforeBoot => "it was written before the last boot of this machine",
            Liveness::ProcessGone => "its process has ended",
            Liveness::PidReused => "its process has ended, and another process has its pid",
            Liveness::WitnessEnded => {
                "its process, in another container, has ended: it holds its kernel lock no more"
            }
            Liveness::Alive => "its process is alive",
            Liveness::Witnessed => {
                "its process, in another container, is alive: it holds its kernel lock"
            }
            Liveness::PidAlive => {
                "a process with its pid is alive, but start times cannot be compared"
            }
            Liveness::ProcessHidden => {
                "a process with its pid exists, but cannot be inspected from here"
            }
            Liveness::Elsewhere => {
                "its process belongs to another host, another boot, another container or a sandbox, \
                 and cannot be checked from here"
            }
        })
    }
}

/// Everything that an answer depends on, as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Facts {
    /// What this machine reports about the pid.
    process: sys::Liveness,
    file_system: FileSystem,
    /// Where the entry was written; `None` if the entry does not say.
    origin: Option<Origin>,
}

/// Where an entry was written, compared with this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Origin {
    /// `None` if the kernel's boot id is unknown on either side.
    same_boot: Option<bool>,
    pid_namespace: PidNamespaces,
    same_hostname: bool,
    /// `None` if the time namespace is unknown on either side.
    same_clock: Option<bool>,
    start_ticks: u64,
    /// Whether the process has its byte locked; `None` if that is not known.
    witness_locked: Option<bool>,
}

/// The pid namespaces of a holder and of the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PidNamespaces {
    Same,
    Different,
    /// The kernel has none, and the holder has recorded none.
    NoneExist,
    /// At least one is not known, and may be any. A sandbox without /proc has pids of its own and the host name of
    /// the host, and so has the next one.
    Unknown,
}

impl PidNamespaces {
    fn compare(ours: PidNamespace, theirs: Option<u64>) -> PidNamespaces {
        match (ours, theirs) {
            (PidNamespace::Number(ours), Some(theirs)) if ours == theirs => PidNamespaces::Same,
            (PidNamespace::Number(_) | PidNamespace::NoneExist, Some(_)) => {
                PidNamespaces::Different
            }
            (PidNamespace::NoneExist, None) => PidNamespaces::NoneExist,
            (PidNamespace::Number(_), None) | (PidNamespace::Hidden, _) => PidNamespaces::Unknown,
        }
    }
}

/// The decision table, one line a row; the first row that matches decides. Read it beside
/// `spec/table.md#liveness`.
#[rustfmt::skip]
fn judge(pid: Option<Pid>, facts: &Facts) -> Liveness {
    use sys::Liveness::{Alive, Dead, Unknown};

    let Some(origin) = facts.origin else {
        // As the writers of such entries judge: kill(pid, 0), and EPERM means alive.
        return match facts.process {
            /* 1 */ _ if pid.is_none() => Liveness::NoProcess,
            /* 6 */ Dead               => Liveness::ProcessGone,
            /* 7 */ Unknown            => Liveness::ProcessHidden,
            /* 8 */ Alive { .. }       => Liveness::PidAlive,
        };
    };
    let rebooted = origin.same_boot == Some(false);
    let local = facts.file_system.is_local();
    let here = match (origin.same_boot, origin.pid_namespace) {
        (Some(false), _) | (_, PidNamespaces::Different) => false,
        // kill(2) may speak of another process. The witness is the only fact.
        (_, PidNamespaces::Unknown)                      => false,
        (Some(true), PidNamespaces::Same)                => true,
        // On a local file system the writer's kernel is this one, or has ended. No two pid namespaces that
        // exist in one kernel have the same number: either the process is here or it is dead. Elsewhere the
        // number proves nothing: that of the initial pid namespace is the same on every host.
        (None, PidNamespaces::Same)                      => local,
        // No better fact is available.
        (_, PidNamespaces::NoneExist)                    => origin.same_hostname,
    };
    let other_clock = origin.same_clock == Some(false);
    let unknown_start = |ticks| ticks == 0 || origin.start_ticks == 0 || other_clock;
    let same_start = |ticks| ticks == origin.start_ticks;
    let witness = origin.witness_locked;
    match facts.process {
        /*  1 */ _ if pid.is_none()                                      => Liveness::NoProcess,
        /*  2 */ _ if rebooted && local                                  => Liveness::BeforeBoot,
        /*  3 */ _ if !here && witness == Some(true)                     => Liveness::Witnessed,
        /*  4 */ _ if !here && witness == Some(false)                    => Liveness::WitnessEnded,
        /*  5 */ _ if !here                                              => Liveness::Elsewhere,
        /*  6 */ Dead                                                    => Liveness::ProcessGone,
        /*  7 */ Unknown                                                 => Liveness::ProcessHidden,
        /*  8 */ Alive { start_ticks, .. } if unknown_start(start_ticks) => Liveness::PidAlive,
        /*  9 */ Alive { start_ticks, .. } if same_start(start_ticks)    => Liveness::Alive,
        /* 10 */ Alive { .. }                                            => Liveness::PidReused,
    }
}

/// Gathers the facts about entries: this machine's identity, and what it reports about processes.
pub(super) struct LivenessProbe<'a, S: Sys> {
    sys: &'a S,
    file_system: FileSystem,
    witnesses: Witnesses<'a, S>,
    hostname: String,
    here: Here,
    /// Several entries may belong to one process, which is queried once.
    processes: HashMap<Pid, sys::Liveness>,
}

impl<'a, S: TableSys> LivenessProbe<'a, S> {
    /// For the entries of the table at `place`.
    pub(super) fn new(place: &'a DirectoryEntry<S>) -> LivenessProbe<'a, S> {
        let sys = &place.sys;
        LivenessProbe {
            sys,
            file_system: place.file_system,
            witnesses: Witnesses::of(place),
            hostname: sys.hostname().to_string(),
            // What cannot be read now may be anything: no pid means a process of this place.
            here: Here::of(sys).unwrap_or(Here::UNKNOWN),
            processes: HashMap::new(),
        }
    }

    pub(super) fn liveness(&mut self, entry: &Entry) -> Liveness {
        let pid = Pid::new(entry.pid);
        let facts = Facts {
            process: pid.map_or(sys::Liveness::Dead, |pid| self.process(pid)),
            file_system: self.file_system,
            origin: entry.holder.as_ref().map(|holder| self.origin(holder)),
        };
        judge(pid, &facts)
    }

    fn process(&mut self, pid: Pid) -> sys::Liveness {
        let query = || self.sys.process(pid);
        *self.processes.entry(pid).or_insert_with(query)
    }

    fn origin(&self, holder: &HolderId) -> Origin {
        let same = |one: Option<u64>, other: Option<u64>| Some(one? == other?);
        let witness = holder.witness.as_ref();
        let boots = self.here.boot_id.as_ref().zip(holder.boot_id.as_ref());
        Origin {
            same_boot: boots.map(|(ours, theirs)| ours.eq_ignore_ascii_case(theirs)),
            pid_namespace: PidNamespaces::compare(self.here.pid_namespace, holder.pid_namespace),
            same_hostname: self.hostname == holder.hostname,
            same_clock: same(self.here.time_namespace, holder.time_namespace),
            start_ticks: holder.start_ticks,
            witness_locked: witness.and_then(|witness| self.witnesses.is_locked(witness)),
        }
    }
}

/// The liveness of every entry of `table`, which is at `place`.
pub(super) fn judge_all<S: TableSys>(place: &DirectoryEntry<S>, table: &Table) -> Vec<Liveness> {
    let mut probe = LivenessProbe::new(place);
    let entries = table.entries.iter();
    entries.map(|entry| probe.liveness(entry)).collect()
}

/// This process as the holder of an entry, with a new writer id.
pub(super) fn this_process<S: TableSys>(
    sys: &S,
    witness: Option<&Witness>,
) -> io::Result<(EntryHolder, WriterId)> {
    let identity = sys.identity()?;
    let mut id = holder_id(sys, identity.start_ticks)?;
    id.witness = witness.cloned();
    let writer_id = id.writer_id;
    Ok((EntryHolder::new(identity.pid.get(), id), writer_id))
}

/// The process that this one sees under `pid` as the holder of an entry, with a new writer id.
///
/// The entry gets this process's pid namespace, and not that of the other: there the process has
/// another number.
pub(super) fn process_holder<S: TableSys>(sys: &S, pid: u32) -> Result<EntryHolder, TableError> {
    let no_process = || TableError::NoProcess { pid };
    let start_ticks = match sys.process(Pid::new(pid).ok_or_else(no_process)?) {
        sys::Liveness::Dead => return Err(no_process()),
        sys::Liveness::Alive { start_ticks, .. } => start_ticks,
        sys::Liveness::Unknown => 0,
    };
    let id = holder_id(sys, start_ticks);
    let id = id.context(
        Operation::Process("identify the process"),
        Path::new("/proc"),
    )?;
    Ok(EntryHolder::new(pid, id))
}

/// A process of this machine, as this process sees it, with a new writer id.
fn holder_id<S: TableSys>(sys: &S, start_ticks: u64) -> io::Result<HolderId> {
    let writer_id = WriterId::from_random(sys.random()?);
    let here = Here::of(sys)?;
    let mut id = HolderId::new(sys.hostname().to_string(), start_ticks, writer_id);
    id.boot_id = here.boot_id;
    id.pid_namespace = match here.pid_namespace {
        PidNamespace::Number(number) => Some(number),
        PidNamespace::NoneExist | PidNamespace::Hidden => None,
    };
    id.time_namespace = here.time_namespace;
    Ok(id)
}

/// What gives the pids and the starts of processes their meaning.
struct Here {
    /// In the form in which the kernel writes it, that of a UUID.
    boot_id: Option<String>,
    pid_namespace: PidNamespace,
    /// A start in another time namespace is another number.
    time_namespace: Option<u64>,
}

impl Here {
    const UNKNOWN: Here = Here {
        boot_id: None,
        pid_namespace: PidNamespace::Hidden,
        time_namespace: None,
    };

    /// # Errors
    ///
    /// One of the facts could not be read, and the next attempt may succeed.
    fn of<S: TableSys>(sys: &S) -> io::Result<Here> {
        let boot_id = sys.kernel_boot_id()?;
        Ok(Here {
            boot_id: boot_id.map(|bytes| WriterId::from_bytes(bytes).to_string()),
            pid_namespace: sys.pid_namespace()?,
            time_namespace: sys.time_namespace()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: u64 = 700;
    const PID_NAMESPACES: [PidNamespaces; 4] = [
        PidNamespaces::Same,
        PidNamespaces::Different,
        PidNamespaces::NoneExist,
        PidNamespaces::Unknown,
    ];

    fn alive(start_ticks: u64) -> sys::Liveness {
        sys::Liveness::Alive {
            start_ticks,
            started_ns: 0,
        }
    }

    // Both wrong answers do harm. A live holder's entry that is reclaimed lets two processes write;
    // a dead holder's entry that stays blocks every other. Checks every combination against the
    // rules in words.
    #[test]
    fn every_combination_of_facts_is_judged_as_documented() {
        let some = [None, Some(false), Some(true)];
        let processes = [
            sys::Liveness::Dead,
            sys::Liveness::Unknown,
            alive(STARTED),
            alive(701),
        ];
        let mut judged = 0;
        for process in processes {
            for file_system in [FileSystem::Local { plain: true }, FileSystem::NotLocal] {
                for same_boot in some {
                    for pid_namespace in PID_NAMESPACES {
                        for same_hostname in [false, true] {
                            for (same_clock, start_ticks, witness_locked) in starts() {
                                let origin = Origin {
                                    same_boot,
                                    pid_namespace,
                                    same_hostname,
                                    same_clock,
                                    start_ticks,
                                    witness_locked,
                                };
                                let facts = Facts {
                                    process,
                                    file_system,
                                    origin: Some(origin),
                                };
                                check(&facts, &origin);
                                judged += 1;
                            }
                        }
                    }
                }
            }
        }
        let all = 4 * 2 * 3 * 4 * 2 * 3 * 2 * 3;
        assert_eq!(judged, all, "the loops visit every combination");
    }

    fn starts() -> impl Iterator<Item = (Option<bool>, u64, Option<bool>)> {
        let some = [None, Some(false), Some(true)];
        let starts = some.map(|same_clock| [0, STARTED].map(|ticks| (same_clock, ticks)));
        let starts = starts.into_iter().flatten();
        starts.flat_map(move |(clock, ticks)| some.map(|locked| (clock, ticks, locked)))
    }

    fn check(facts: &Facts, origin: &Origin) {
        let liveness = judge(Pid::new(4121), facts);
        let rebooted = origin.same_boot == Some(false);
        let local = facts.file_system.is_local();
        // Numbers of namespaces are compared within one kernel only: that of one boot, or the one
        // that writes a local file system.
        let one_kernel = local || origin.same_boot == Some(true);
        let visible = !rebooted
            && match origin.pid_namespace {
                PidNamespaces::Different | PidNamespaces::Unknown => false,
                PidNamespaces::Same => one_kernel,
                PidNamespaces::NoneExist => origin.same_hostname,
            };
        let known_start = origin.start_ticks != 0 && origin.same_clock != Some(false);
        let gone =
            facts.process == sys::Liveness::Dead || known_start && facts.process == alive(701);
        let unlocked = !visible && origin.witness_locked == Some(false);
        let expected_dead = rebooted && local || visible && gone || unlocked;
        assert_eq!(liveness.is_dead(), expected_dead, "{facts:?}: {liveness:?}");
        let exact = visible && known_start && facts.process == alive(STARTED);
        assert_eq!(
            liveness == Liveness::Alive,
            exact,
            "only exactly the same process is reported as alive: {facts:?}: {liveness:?}"
        );
        let undecided = !(visible || rebooted && local);
        let witnessed = undecided && origin.witness_locked == Some(true);
        assert_eq!(
            liveness == Liveness::Witnessed,
            witnessed,
            "{facts:?}: {liveness:?}"
        );
    }

    // kill(2) found no pid 150 on the host, and the live holder in a sandbox without /proc was dead. But a system
    // without pid namespaces never knows one, and must still find its dead.
    #[test]
    fn pids_are_compared_only_within_one_pid_namespace() {
        use PidNamespace::{Hidden, NoneExist, Number};
        let compare = PidNamespaces::compare;
        assert_eq!(compare(Number(7), Some(7)), PidNamespaces::Same);
        assert_eq!(compare(Number(7), Some(8)), PidNamespaces::Different);
        assert_eq!(compare(Number(7), None), PidNamespaces::Unknown);
        assert_eq!(compare(Hidden, Some(7)), PidNamespaces::Unknown);
        assert_eq!(
            compare(Hidden, None),
            PidNamespaces::Unknown,
            "two sandboxes"
        );
        assert_eq!(compare(NoneExist, None), PidNamespaces::NoneExist);
        assert_eq!(
            compare(NoneExist, Some(7)),
            PidNamespaces::Different,
            "of another kernel"
        );
    }

    // Two states with one text cannot be told apart in `rvlf table list`.
    #[test]
    fn every_state_has_a_text_of_its_own() {
        let all = [
            Liveness::NoProcess,
            Liveness::BeforeBoot,
            Liveness::ProcessGone,
            Liveness::PidReused,
            Liveness::WitnessEnded,
            Liveness::Alive,
            Liveness::Witnessed,
            Liveness::PidAlive,
            Liveness::ProcessHidden,
            Liveness::Elsewhere,
        ];
        let texts: std::collections::HashSet<_> = all.iter().map(Liveness::to_string).collect();
        assert_eq!(texts.len(), all.len(), "{texts:?}");
    }

    #[test]
    fn entries_without_a_holder_are_judged_by_their_pid_alone() {
        let judge = |pid, process| {
            let facts = Facts {
                process,
                file_system: FileSystem::Local { plain: true },
                origin: None,
            };
            judge(Pid::new(pid), &facts)
        };
        assert_eq!(judge(0, sys::Liveness::Dead), Liveness::NoProcess);
        assert_eq!(
            judge(u32::MAX, alive(1)),
            Liveness::NoProcess,
            "kill(2) would interpret it as a process group"
        );
        assert_eq!(judge(7, sys::Liveness::Dead), Liveness::ProcessGone);
        assert_eq!(judge(7, alive(1)), Liveness::PidAlive);
        assert_eq!(
            judge(7, sys::Liveness::Unknown),
            Liveness::ProcessHidden,
            "EPERM means alive"
        );
    }
}
