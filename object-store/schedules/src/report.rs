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
    /// Length of the longest of the shortest schedules to a state, in steps.
    pub depth: usize,
    /// Acquisitions, commits and takeovers that the schedules contain: a world in which nothing happens
    /// shows nothing.
    pub events: Events,
}

/// How often the steps of a search led to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Events {
    /// Locks acquired.
    pub acquired: usize,
    /// Locks lost.
    pub lost: usize,
    /// Commits acknowledged.
    pub committed: usize,
    /// Releases that the store confirmed.
    pub released: usize,
}

/// A broken promise, and the schedule that breaks it, one step a line.
#[derive(Clone)]
pub struct Violation {
    pub(crate) message: String,
    pub(crate) trace: Vec<String>,
    pub(crate) steps: usize,
    pub(crate) seed: Option<u64>,
}

impl Violation {
    /// The promise that was broken.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The number of steps of the schedule.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.steps
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        write!(f, "=> {}, after {} steps", self.message, self.steps)?;
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
