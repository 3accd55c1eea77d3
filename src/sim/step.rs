//! One step of a schedule.

use super::kernel::{Fault, Mishap};

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// A process makes its next call, or exits.
    Run(usize),
    Kill(usize),
    /// A dying process cannot be seen any more.
    Bury(usize),
    PassTime,
    Suffer(Mishap),
    /// A process's next call fails.
    Fail(usize, Fault),
}

impl Step {
    /// Whether it should be rare at random, or all would happen at the beginning.
    pub(super) fn is_rare(&self) -> bool {
        matches!(self, Step::Kill(_) | Step::Suffer(_) | Step::Fail(..))
    }
}
