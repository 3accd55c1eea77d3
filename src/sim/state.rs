//! The states of a search, and what it keeps about one schedule.

use super::histories::NodeId;
use super::kernel::Kernel;

/// The kernel, and each process's position in its program.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) kernel: Kernel,
    /// By index in the kernel's process table.
    pub(super) actors: Vec<Actor>,
}

/// A process as the explorer sees it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Actor {
    pub(super) program: usize,
    pub(super) node: NodeId,
    /// How often it still executes its program, with the present run.
    pub(super) runs_left: usize,
}

impl State {
    pub(super) fn actor(&self, pid_index: usize) -> &Actor {
        let actor = self.actors.get(pid_index);
        actor.expect("actors keep their place in the table")
    }

    pub(super) fn actor_mut(&mut self, pid_index: usize) -> &mut Actor {
        let actor = self.actors.get_mut(pid_index);
        actor.expect("actors keep their place in the table")
    }

    pub(super) fn living(&self) -> impl Iterator<Item = usize> {
        (0..self.actors.len()).filter(|pid_index| self.kernel.is_alive(*pid_index))
    }
}

/// The message of a broken promise. The caller that knows the schedule adds the trace.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken(pub(super) String);

/// The lines of a trace, or nothing where no trace is wanted.
pub(super) struct Log(pub(super) Option<Vec<String>>);

impl Log {
    pub(super) fn line(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.0 {
            lines.push(line());
        }
    }
}
