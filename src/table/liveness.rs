//! Whether the process of an entry lives: a pure function from facts to an answer.
//!
//! The facts come through the same door as the writer lock's, and doubt reads as alive, too. What
//! the table does not have is a kernel lock held for as long as the entry lasts, nor an age; so
//! what no fact on this machine decides stays until a person does (`rvlf table release`).

use std::collections::HashMap;
use std::fmt;

use super::allocation::{Entry, HolderId};
use super::operations::EntryHolder;
use crate::judge::FileSystem;
use crate::record::{Pid, WriterId};
use crate::sys::{self, Sys, WholeFiles};

/// Whether the process of an entry lives, and how we know. `Display` gives a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Liveness {
    /// Dead: the pid is no process id.
    NoProcess,
    /// Dead: written before this machine's last boot, in a place that no other machine writes.
    BeforeBoot,
    /// Dead: there is no such process, or only its exit status is left.
    ProcessGone,
    /// Dead: another process has the pid now.
    PidReused,
    /// Alive: exactly this process runs.
    Alive,
    /// Alive, as far as a pid alone tells: the entry does not say when its process started.
    PidAlive,
    /// Alive, for all we know: the process exists and hides everything else from this user.
    ProcessHidden,
    /// Unknown, so alive: its process is of another host, another boot or another pid namespace.
    Elsewhere,
}

impl Liveness {
    /// Whether the entry may be reclaimed.
    #[must_use]
    pub const fn is_dead(self) -> bool {
        matches!(
            self,
            Liveness::NoProcess
                | Liveness::BeforeBoot
                | Liveness::ProcessGone
                | Liveness::PidReused
        )
    }

    /// Whether a process is known to be there. Neither this nor [`is_dead`](Liveness::is_dead)
    /// holds of what nobody here can know.
    #[must_use]
    pub const fn is_alive(self) -> bool {
        matches!(
            self,
            Liveness::Alive | Liveness::PidAlive | Liveness::ProcessHidden
        )
    }
}

impl fmt::Display for Liveness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Liveness::NoProcess => "its pid is no process id",
            Liveness::BeforeBoot => "it was written before this machine's last boot",
            Liveness::ProcessGone => "its process is gone",
            Liveness::PidReused => "its process is gone, and another one has its pid",
            Liveness::Alive => "its process is alive",
            Liveness::PidAlive => "a process with its pid is alive",
            Liveness::ProcessHidden => "its process exists, and this user may not look at it",
            Liveness::Elsewhere => {
                "its process is of another host, another boot or another container, where nobody \
                 here can look; if you are sure that it is dead, release the entry by hand"
            }
        })
    }
}

/// Everything that an answer rests on, as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Facts {
    /// What this machine says of the pid.
    process: sys::Liveness,
    file_system: FileSystem,
    /// Where the entry was written; `None` if it does not say.
    origin: Option<Origin>,
}

/// Where an entry was written, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Origin {
    /// `None` where either side knows no boot id.
    same_boot: Option<bool>,
    /// `None` where either side knows no pid namespace.
    same_namespace: Option<bool>,
    same_hostname: bool,
    /// `None` where either side knows no time namespace.
    same_clock: Option<bool>,
    start_ticks: u64,
}

/// The table, one line a row; the first that matches. Read it beside `spec/table.md#liveness`.
#[rustfmt::skip]
fn judge(pid: Option<Pid>, facts: &Facts) -> Liveness {
    use sys::Liveness::{Alive, Dead, Unknown};

    let Some(origin) = facts.origin else {
        // As their writers judge: kill(pid, 0), and EPERM is alive.
        return match facts.process {
            /* 1 */ _ if pid.is_none() => Liveness::NoProcess,
            /* 4 */ Dead               => Liveness::ProcessGone,
            /* 5 */ Unknown            => Liveness::ProcessHidden,
            /* 6 */ Alive { .. }       => Liveness::PidAlive,
        };
    };
    let rebooted = origin.same_boot == Some(false);
    let alone = facts.file_system == FileSystem::Local;
    let here = match (origin.same_boot, origin.same_namespace) {
        (Some(false), _)               => false,
        (Some(true), Some(same))       => same,
        // A container has a host name of its own, as a rule; without better facts that must do.
        (Some(true), None) | (None, _) => origin.same_hostname,
    };
    let other_clock = origin.same_clock == Some(false);
    let unknown_start = |ticks| ticks == 0 || origin.start_ticks == 0 || other_clock;
    match facts.process {
        /* 1 */ _ if pid.is_none()                                         => Liveness::NoProcess,
        /* 2 */ _ if rebooted && alone                                     => Liveness::BeforeBoot,
        /* 3 */ _ if !here                                                 => Liveness::Elsewhere,
        /* 4 */ Dead                                                       => Liveness::ProcessGone,
        /* 5 */ Unknown                                                    => Liveness::ProcessHidden,
        /* 6 */ Alive { start_ticks, .. } if unknown_start(start_ticks)    => Liveness::PidAlive,
        /* 7 */ Alive { start_ticks, .. } if start_ticks == origin.start_ticks => Liveness::Alive,
        /* 8 */ Alive { .. }                                               => Liveness::PidReused,
    }
}

/// This machine, as entries are compared with it; and what was asked of it so far.
pub(super) struct Witness<'a, S> {
    sys: &'a S,
    file_system: FileSystem,
    hostname: String,
    boot_id: Option<String>,
    pid_namespace: Option<u64>,
    time_namespace: Option<u64>,
    /// Many entries may be of one process.
    processes: HashMap<Pid, sys::Liveness>,
}

impl<'a, S: WholeFiles> Witness<'a, S> {
    pub(super) fn new(sys: &'a S, file_system: FileSystem) -> Witness<'a, S> {
        Witness {
            sys,
            file_system,
            hostname: sys.hostname().to_string(),
            boot_id: boot_id(sys),
            pid_namespace: sys.pid_namespace(),
            time_namespace: sys.time_namespace(),
            processes: HashMap::new(),
        }
    }

    pub(super) fn look(&mut self, entry: &Entry) -> Liveness {
        let pid = Pid::new(entry.pid);
        let process = pid.map_or(sys::Liveness::Dead, |pid| {
            let ask = || self.sys.process(pid);
            *self.processes.entry(pid).or_insert_with(ask)
        });
        let facts = Facts {
            process,
            file_system: self.file_system,
            origin: entry.holder.as_ref().map(|holder| self.origin(holder)),
        };
        judge(pid, &facts)
    }

    fn origin(&self, holder: &HolderId) -> Origin {
        let both = |one: Option<u64>, other: Option<u64>| Some(one? == other?);
        let boots = self.boot_id.as_ref().zip(holder.boot_id.as_ref());
        Origin {
            same_boot: boots.map(|(ours, theirs)| ours.eq_ignore_ascii_case(theirs)),
            same_namespace: both(self.pid_namespace, holder.pid_namespace),
            same_hostname: self.hostname == holder.hostname,
            same_clock: both(self.time_namespace, holder.time_namespace),
            start_ticks: holder.start_ticks,
        }
    }
}

/// This process, with a writer id of its own for a new hold.
pub(super) fn this_process<S: WholeFiles>(sys: &S) -> std::io::Result<EntryHolder> {
    let identity = sys.identity()?;
    let holder = HolderId {
        hostname: sys.hostname().to_string(),
        boot_id: boot_id(sys),
        pid_namespace: sys.pid_namespace(),
        time_namespace: sys.time_namespace(),
        start_ticks: identity.start_ticks,
        writer_id: WriterId::from_random(sys.random()?),
        unknown: serde_json::Map::new(),
    };
    Ok(EntryHolder {
        pid: identity.pid.get(),
        id: Some(holder),
    })
}

/// The boot id as the kernel writes it, in the form of a UUID.
fn boot_id<S: Sys>(sys: &S) -> Option<String> {
    sys.boot_id()
        .map(|bytes| WriterId::from_bytes(bytes).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: u64 = 700;

    fn alive(start_ticks: u64) -> sys::Liveness {
        sys::Liveness::Alive {
            start_ticks,
            started_ns: 0,
        }
    }

    // The harm is in the two wrong answers: a live holder's entry that is reclaimed lets two write,
    // and a dead one's that stays blocks everybody. Every combination, against the rules in words.
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
            for file_system in [FileSystem::Local, FileSystem::NotLocal] {
                for same_boot in some {
                    for same_namespace in some {
                        for same_hostname in [false, true] {
                            for (same_clock, start_ticks) in starts() {
                                let origin = Origin {
                                    same_boot,
                                    same_namespace,
                                    same_hostname,
                                    same_clock,
                                    start_ticks,
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
        let all = 4 * 2 * 3 * 3 * 2 * 3 * 2;
        assert_eq!(judged, all, "no combination is left out");
    }

    fn starts() -> impl Iterator<Item = (Option<bool>, u64)> {
        let clocks = [None, Some(false), Some(true)].into_iter();
        clocks.flat_map(|same_clock| [0, STARTED].map(|ticks| (same_clock, ticks)))
    }

    fn check(facts: &Facts, origin: &Origin) {
        let liveness = judge(Pid::new(4121), facts);
        let rebooted = origin.same_boot == Some(false);
        let local = facts.file_system == FileSystem::Local;
        let visible = !rebooted
            && match origin.same_namespace {
                Some(same) if origin.same_boot == Some(true) => same,
                _ => origin.same_hostname,
            };
        let known_start = origin.start_ticks != 0 && origin.same_clock != Some(false);
        let gone =
            facts.process == sys::Liveness::Dead || known_start && facts.process == alive(701);
        let expected_dead = rebooted && local || visible && gone;
        assert_eq!(liveness.is_dead(), expected_dead, "{facts:?}: {liveness:?}");
        let exact = visible && known_start && facts.process == alive(STARTED);
        assert_eq!(
            liveness == Liveness::Alive,
            exact,
            "only the very process is said to be alive: {facts:?}: {liveness:?}"
        );
    }

    #[test]
    fn entries_of_other_writers_are_judged_by_their_pid_alone() {
        let judge = |pid, process| {
            let facts = Facts {
                process,
                file_system: FileSystem::Local,
                origin: None,
            };
            judge(Pid::new(pid), &facts)
        };
        assert_eq!(judge(0, sys::Liveness::Dead), Liveness::NoProcess);
        assert_eq!(
            judge(u32::MAX, alive(1)),
            Liveness::NoProcess,
            "kill(2) would take it for a process group"
        );
        assert_eq!(judge(7, sys::Liveness::Dead), Liveness::ProcessGone);
        assert_eq!(judge(7, alive(1)), Liveness::PidAlive);
        assert_eq!(
            judge(7, sys::Liveness::Unknown),
            Liveness::ProcessHidden,
            "EPERM is alive"
        );
    }
}
