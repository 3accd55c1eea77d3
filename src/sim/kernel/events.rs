//! What can happen to the machines at any moment, and what that does to their clocks.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::super::shared::Shared;
use super::processes::SERVER;
use super::{Kernel, Life, Process, Rules};
use crate::judge::FileSystem;
use crate::sys::nanos;

/// How often each thing may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::sim) struct EventBudget {
    pub(in crate::sim) crashes: usize,
    pub(in crate::sim) clock_steps: usize,
    pub(in crate::sim) suspensions: usize,
    pub(in crate::sim) faults: usize,
    pub(in crate::sim) violations: usize,
    pub(in crate::sim) lost_answers: usize,
    pub(in crate::sim) power_losses: usize,
    pub(in crate::sim) switches: usize,
    pub(in crate::sim) server_reboots: usize,
    /// The clock of a kernel may be set back once.
    pub(in crate::sim) setback: Option<(u8, Duration)>,
    /// A kernel may be suspended once while the others go on.
    pub(in crate::sim) pause: Option<u8>,
}

/// A kernel that is suspended while others go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pause {
    kernel: u8,
    pub(super) until_ns: u64,
}

impl EventBudget {
    /// How many of them explain a file that no process needs any more.
    pub(in crate::sim) fn that_leave_files(&self) -> usize {
        self.crashes
            + self.faults
            + self.violations
            + self.lost_answers
            + self.power_losses
            + self.server_reboots
    }
}

/// An event that happens to a whole kernel, or to all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum WorldEvent {
    /// The wall clock of a kernel is set by so many seconds.
    StepClock(u8, i64),
    /// The wall clock of a kernel is set back.
    SetBack(u8, Duration),
    /// A kernel is suspended, and resumes later.
    Suspend(u8),
    /// A kernel is suspended, and the others go on meanwhile.
    Pause(u8),
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
            WorldEvent::SetBack(kernel, by) => {
                write!(f, "kernel {kernel}: clock set back by {by:?}")
            }
            WorldEvent::Suspend(kernel) => {
                write!(f, "kernel {kernel}: suspended for {SUSPENSION:?}")
            }
            WorldEvent::Pause(kernel) => {
                write!(f, "kernel {kernel}: suspended alone for {PAUSE:?}")
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

/// Longer than a record without refreshes counts as live.
const PAUSE: Duration = Duration::from_secs(400);

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
            if self.sleeps(*kernel) {
                let setback = self.budget.setback.filter(|(of, _)| of == kernel);
                events.extend(setback.map(|(_, by)| WorldEvent::SetBack(*kernel, by)));
                let pause = self.budget.pause.filter(|of| of == kernel);
                events.extend(pause.map(WorldEvent::Pause));
            }
        }
        // While a process holds the lock, a switch is its own matter: its next check reports it.
        let is_pinned = self.processes.iter().any(|process| process.pins);
        if self.budget.switches > 0 && self.holders() == 0 && !is_pinned {
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
            WorldEvent::SetBack(kernel, by) => {
                self.budget.setback = None;
                self.set_clock_back(kernel, by);
            }
            WorldEvent::Suspend(kernel) => {
                self.budget.suspensions -= 1;
                self.suspend(kernel);
            }
            WorldEvent::Pause(kernel) => {
                self.budget.pause = None;
                self.begin_pause(kernel);
            }
        }
    }

    pub(in crate::sim) fn set_clock_back(&mut self, kernel: u8, by: Duration) {
        let by = i64::try_from(by.as_secs()).expect("a clock is set back by some years");
        *self.clock_steps.entry(kernel).or_default() -= by;
    }

    /// Whether all processes of the kernel sleep.
    fn sleeps(&self, kernel: u8) -> bool {
        let mut processes = self.processes.iter();
        let is_awake = |process: &Shared<Process>| {
            process.life != Life::Dead
                && process.system.kernel() == kernel
                && process
                    .deadline_ns
                    .is_none_or(|deadline| deadline <= self.now_ns)
        };
        !processes.any(is_awake)
    }

    /// What the kernel has cached is as old as before when it goes on: its clock for caches does
    /// not count suspension.
    fn begin_pause(&mut self, kernel: u8) {
        self.pause = Some(Pause {
            kernel,
            until_ns: self.now_ns + nanos(PAUSE),
        });
        for process in &mut self.processes {
            if process.system.kernel() == kernel {
                process.delay(PAUSE);
            }
        }
        self.extend_caches(kernel, PAUSE);
    }

    /// When the pause of this process's kernel ends, if there is one.
    pub(super) fn pause_end(&self, pid_index: usize) -> Option<u64> {
        let kernel = self.process(pid_index).system.kernel();
        let pause = self.pause.filter(|pause| pause.kernel == kernel);
        pause.map(|pause| pause.until_ns)
    }

    pub(super) fn is_paused(&self, pid_index: usize) -> bool {
        self.pause_end(pid_index).is_some()
    }

    fn suspend(&mut self, kernel: u8) {
        self.advance_clock(SUSPENSION);
        for process in &mut self.processes {
            if process.system.kernel() == kernel {
                process.delay(SUSPENSION);
            }
        }
    }

    /// Whether no clock can be set and no machine suspended any more.
    pub(super) fn clocks_are_steady(&self) -> bool {
        self.clocks_change_in_sleep_alone() && self.budget.setback.is_none()
    }

    /// Whether no clock can be set any more but that of a machine whose processes all sleep.
    pub(super) fn clocks_change_in_sleep_alone(&self) -> bool {
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
