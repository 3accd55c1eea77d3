//! One step of a schedule.

use super::kernel::{Fault, WorldEvent};

/// A process is named by its index in the kernel's process table.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// A process makes its next call, or exits.
    Run(usize),
    Kill(usize),
    /// The kernel closes the files of a dying process, or removes it from the process table.
    Reap(usize),
    /// The clock moves on to the first deadline. Possible only when no process can run.
    PassTime,
    /// Another thread of a process cancels its wait.
    Cancel(usize),
    Event(WorldEvent),
    /// A process's next call fails.
    Fail(usize, Fault),
}

impl Step {
    /// Whether random schedules take this step rarely. Taken as often as the others, all of these
    /// steps would come at the beginning.
    pub(super) fn is_rare(&self) -> bool {
        matches!(
            self,
            Step::Kill(_) | Step::Cancel(_) | Step::Event(_) | Step::Fail(..)
        )
    }

    /// The process that goes on by this step.
    pub(super) fn process(&self) -> Option<usize> {
        match self {
            Step::Run(pid_index) => Some(*pid_index),
            _ => None,
        }
    }
}
