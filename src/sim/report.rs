//! What a search reports: its size, or a schedule that breaks a promise.

use std::fmt;

/// The size of a search that found no violation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Distinct states.
    pub states: usize,
    /// Steps from one state to another.
    pub transitions: usize,
    /// States in which every process has finished or is dead.
    pub finals: usize,
    /// Length of the longest of the shortest schedules to a state, in steps.
    pub depth: usize,
    /// Distinct histories of single processes.
    pub histories: usize,
    /// Distinct values of the kernel.
    pub kernels: usize,
}

/// A broken promise, and the schedule that breaks it, one step a line.
#[derive(Clone)]
pub struct Violation {
    pub(super) message: String,
    pub(super) trace: Vec<String>,
    pub(super) seed: Option<u64>,
}

impl Violation {
    /// The promise that was broken.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The schedule that breaks the promise.
    #[must_use]
    pub fn trace(&self) -> &[String] {
        &self.trace
    }

    /// The seed of this schedule, if it is a random one.
    #[must_use]
    pub fn seed(&self) -> Option<u64> {
        self.seed
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        write!(f, "=> {}", self.message)?;
        match self.seed {
            Some(seed) => write!(f, " (seed {seed})"),
            None => Ok(()),
        }
    }
}

/// The same as `Display`, because `expect` prints it.
impl fmt::Debug for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{self}")
    }
}

impl std::error::Error for Violation {}
