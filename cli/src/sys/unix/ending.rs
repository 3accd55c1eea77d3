//! The end of all that runs under a lock that is lost: SIGTERM first, and SIGKILL for what still runs at a
//! later moment.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use super::descendants::Tree;

/// How often what has received SIGKILL, and was starting processes at that moment, is looked for.
const KILL_INTERVAL: Duration = Duration::from_millis(50);

/// How often new processes are looked for before, where their parents may end in between.
const SEARCH_INTERVAL: Duration = Duration::from_millis(100);

/// Processes that are ending.
#[derive(Debug)]
pub struct Ending {
    tree: Tree,
    /// When SIGKILL is due.
    deadline: Instant,
    /// When [`act`](Ending::act) is to be called.
    next: Instant,
}

impl Ending {
    /// Sends SIGTERM to the processes of the tree. SIGKILL is due at `deadline`.
    pub fn begin(tree: Tree, deadline: Instant) -> Ending {
        let now = Instant::now();
        let mut ending = Ending {
            tree,
            deadline,
            next: now,
        };
        ending.signal(Signal::SIGTERM);
        ending.next = match ending.tree.loses_orphans() {
            true => deadline.min(now + SEARCH_INTERVAL),
            false => ending.deadline,
        };
        ending
    }

    /// When [`act`](Ending::act) is to be called.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Looks for new processes, and sends SIGKILL to all if that is due. True if it was.
    pub fn act(&mut self) -> bool {
        let now = Instant::now();
        if now < self.deadline {
            self.next = self.deadline.min(now + SEARCH_INTERVAL);
            self.tree.find();
            return false;
        }
        self.next = now + KILL_INTERVAL;
        self.signal(Signal::SIGKILL);
        true
    }

    /// Whether no process of the tree is left.
    pub fn is_over(&mut self) -> bool {
        self.tree.find().is_empty()
    }

    /// Processes of another user do not get the signal.
    fn signal(&mut self, signal: Signal) {
        for pid in self.tree.find() {
            let _ = kill(pid, signal);
        }
    }
}
