//! What can go wrong at any moment, and what it does to clocks.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::{Kernel, Rules, nanos};
use crate::judge::FileSystem;

/// How often each thing may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(in super::super) struct Mishaps {
    pub(in super::super) crashes: usize,
    pub(in super::super) clock_steps: usize,
    pub(in super::super) suspensions: usize,
    pub(in super::super) faults: usize,
    pub(in super::super) lost_answers: usize,
    pub(in super::super) power_losses: usize,
}

impl Mishaps {
    /// Those that explain a file that nobody needs any more.
    pub(in super::super) fn that_leave_files(&self) -> usize {
        self.crashes + self.faults + self.lost_answers + self.power_losses
    }
}

/// One that is no single process's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Mishap {
    /// The wall clock of a kernel is set by so many seconds.
    StepClock(u8, i64),
    /// A kernel stops, and goes on later.
    Suspend(u8),
    /// All machines boot again, with what was not synced, or without.
    LosePower { unsynced_is_lost: bool },
}

impl fmt::Display for Mishap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mishap::StepClock(kernel, by) => write!(f, "kernel {kernel}: clock set by {by:+} s"),
            Mishap::Suspend(kernel) => write!(f, "kernel {kernel}: suspended for {SUSPENSION:?}"),
            Mishap::LosePower { unsynced_is_lost } => {
                let fate = if *unsynced_is_lost {
                    "is gone"
                } else {
                    "is there"
                };
                write!(f, "power is lost; what was not synced {fate}")
            }
        }
    }
}

const HOUR: i64 = 3600;
const TEN_YEARS: i64 = 10 * 365 * 24 * HOUR;

/// More than every threshold, and less and more than anything that looks like a mistake.
const CLOCK_STEPS: [i64; 4] = [HOUR, -HOUR, TEN_YEARS, -TEN_YEARS];

/// Longer than every threshold.
const SUSPENSION: Duration = Duration::from_secs(3600);

impl Kernel {
    /// What may happen now.
    pub(in super::super) fn possible_mishaps(&self) -> Vec<Mishap> {
        let alive = (0..self.processes.len()).filter(|who| self.is_alive(*who));
        let kernels: BTreeSet<_> = alive.map(|who| self.process(who).system.kernel()).collect();
        let mut mishaps = Vec::new();
        for kernel in kernels {
            if self.mishaps.clock_steps > 0 {
                mishaps.extend(CLOCK_STEPS.map(|by| Mishap::StepClock(kernel, by)));
            }
            if self.mishaps.suspensions > 0 {
                mishaps.push(Mishap::Suspend(kernel));
            }
        }
        if self.may_lose_power() && (0..self.processes.len()).any(|who| self.is_alive(who)) {
            let fates = [false, true];
            mishaps.extend(fates.map(|unsynced_is_lost| Mishap::LosePower { unsynced_is_lost }));
        }
        mishaps
    }

    pub(in super::super) fn suffer(&mut self, mishap: Mishap) {
        match mishap {
            Mishap::LosePower { unsynced_is_lost } => self.lose_power(unsynced_is_lost),
            Mishap::StepClock(kernel, by) => {
                self.mishaps.clock_steps -= 1;
                *self.clocks.entry(kernel).or_default() += by;
            }
            Mishap::Suspend(kernel) => {
                self.mishaps.suspensions -= 1;
                self.advance(SUSPENSION);
                // Timers of a suspended kernel fire late, by as much.
                let processes = self.processes.iter_mut();
                for process in processes.filter(|process| process.system.kernel() == kernel) {
                    let deadline_ns = process.deadline_ns.as_mut();
                    deadline_ns
                        .into_iter()
                        .for_each(|end| *end += nanos(SUSPENSION));
                }
            }
        }
    }

    /// Whether clocks go on by themselves alone.
    pub(super) fn clocks_are_steady(&self) -> bool {
        self.mishaps.clock_steps == 0 && self.mishaps.suspensions == 0
    }

    /// The wall clock of a kernel.
    pub(super) fn realtime_ns(&self, kernel: u8) -> u64 {
        let stepped = self.clocks.get(&kernel).copied().unwrap_or_default();
        self.now_ns
            .saturating_add_signed(stepped.saturating_mul(1_000_000_000))
    }

    /// What files are dated by: this machine's clock, or that of a server, which nobody sets.
    pub(super) fn file_time_ns(&self, rules: &Rules) -> u64 {
        match rules.file_system {
            FileSystem::Local => self.realtime_ns(0),
            FileSystem::NotLocal => self.now_ns,
        }
    }
}
