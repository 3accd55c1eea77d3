//! What can happen to the machines at any moment, and what that does to their clocks.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::processes::SERVER;
use super::{Kernel, Rules};
use crate::judge::FileSystem;
use crate::sys::nanos;

/// How often each thing may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::sim) struct EventBudget {
    pub(in crate::sim) crashes: usize,
    pub(in crate::sim) clock_steps: usize,
    pub(in crate::sim) suspensions: usize,
    pub(in crate::sim) faults: usize,
    pub(in crate::sim) lost_answers: usize,
    pub(in crate::sim) power_losses: usize,
    pub(in crate::sim) switches: usize,
    pub(in crate::sim) server_reboots: usize,
}

impl EventBudget {
    /// How many of them explain a file that no process needs any more.
    pub(in crate::sim) fn that_leave_files(&self) -> usize {
        self.crashes + self.faults + self.lost_answers + self.power_losses + self.server_reboots
    }
}

/// An event that happens to a whole kernel, or to all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum WorldEvent {
    /// The wall clock of a kernel is set by so many seconds.
    StepClock(u8, i64),
    /// A kernel is suspended, and resumes later.
    Suspend(u8),
    /// All machines boot again, with the writes that were not synced, or without them.
    LosePower { unsynced_is_lost: bool },
    /// The first machine boots again, with all its files.
    RebootServer,
    /// The path leads to the other directory from now on.
    SwitchDirectory,
}

impl fmt::Display for WorldEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorldEvent::StepClock(kernel, by) => {
                write!(f, "kernel {kernel}: clock set by {by:+} s")
            }
            WorldEvent::Suspend(kernel) => {
                write!(f, "kernel {kernel}: suspended for {SUSPENSION:?}")
            }
            WorldEvent::LosePower { unsynced_is_lost } => {
                let unsynced = if *unsynced_is_lost { "lost" } else { "kept" };
                write!(f, "power is lost; unsynced writes are {unsynced}")
            }
            WorldEvent::RebootServer => write!(f, "kernel {SERVER}: boots again"),
            WorldEvent::SwitchDirectory => f.write_str("the path leads to the other directory"),
        }
    }
}

const HOUR: i64 = 3600;
const TEN_YEARS: i64 = 10 * 365 * 24 * HOUR;

/// Each is longer than every threshold of the protocol. An hour is less than what looks like a
/// broken clock, ten years are more.
const CLOCK_STEPS: [i64; 4] = [HOUR, -HOUR, TEN_YEARS, -TEN_YEARS];

/// Longer than every threshold of the protocol.
const SUSPENSION: Duration = Duration::from_secs(3600);

impl Kernel {
    /// The events that may happen now.
    pub(in crate::sim) fn possible_events(&self) -> Vec<WorldEvent> {
        let alive = (0..self.processes.len()).filter(|pid_index| self.is_alive(*pid_index));
        let kernels: BTreeSet<_> = alive
            .map(|pid_index| self.process(pid_index).system.kernel())
            .collect();
        let mut events = Vec::new();
        for kernel in &kernels {
            if self.budget.clock_steps > 0 {
                events.extend(CLOCK_STEPS.map(|by| WorldEvent::StepClock(*kernel, by)));
            }
            if self.budget.suspensions > 0 {
                events.push(WorldEvent::Suspend(*kernel));
            }
        }
        // While a process holds the lock, a switch is its own matter: its next check reports it.
        if self.budget.switches > 0 && self.holders() == 0 {
            events.push(WorldEvent::SwitchDirectory);
        }
        if self.budget.server_reboots > 0 && !kernels.is_empty() {
            events.push(WorldEvent::RebootServer);
        }
        if self.may_lose_power() && !kernels.is_empty() {
            events.extend(
                [false, true].map(|unsynced_is_lost| WorldEvent::LosePower { unsynced_is_lost }),
            );
        }
        events
    }

    pub(in crate::sim) fn apply_event(&mut self, event: WorldEvent) {
        match event {
            WorldEvent::LosePower { unsynced_is_lost } => self.lose_power(unsynced_is_lost),
            WorldEvent::RebootServer => self.reboot_server(),
            WorldEvent::SwitchDirectory => {
                self.budget.switches -= 1;
                self.path_leads_to = 1 - self.path_leads_to;
                self.had_switch = true;
            }
            WorldEvent::StepClock(kernel, by) => {
                self.budget.clock_steps -= 1;
                *self.clock_steps.entry(kernel).or_default() += by;
            }
            WorldEvent::Suspend(kernel) => {
                self.budget.suspensions -= 1;
                self.suspend(kernel);
            }
        }
    }

    fn suspend(&mut self, kernel: u8) {
        self.advance_clock(SUSPENSION);
        for process in &mut self.processes {
            // Timers of a suspended kernel fire late, by the length of the suspension.
            if process.system.kernel() == kernel
                && let Some(deadline_ns) = &mut process.deadline_ns
            {
                *deadline_ns += nanos(SUSPENSION);
            }
        }
    }

    /// Whether no clock can be set and no machine suspended any more.
    pub(super) fn clocks_are_steady(&self) -> bool {
        self.budget.clock_steps == 0 && self.budget.suspensions == 0
    }

    /// The wall clock of a kernel.
    pub(super) fn realtime_ns(&self, kernel: u8) -> u64 {
        let stepped = self.clock_steps.get(&kernel).copied().unwrap_or_default();
        self.now_ns
            .saturating_add_signed(stepped.saturating_mul(1_000_000_000))
    }

    /// The clock that dates files: this machine's, or that of a server, which is never set.
    pub(super) fn file_time_ns(&self, rules: &Rules) -> u64 {
        match rules.file_system {
            FileSystem::Local { .. } => self.realtime_ns(SERVER),
            FileSystem::NotLocal => self.now_ns,
        }
    }
}
