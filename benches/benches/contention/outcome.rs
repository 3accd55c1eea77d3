//! What a group of contenders did.

use std::time::Duration;

/// What `n` contenders did in some rounds.
#[derive(Clone, Debug, Default)]
pub struct Competition {
    /// Of each contender.
    pub holds: Vec<u64>,
    /// Holds whose contender was not the one of the hold before.
    pub changes: u64,
    pub longest_wait: Duration,
    /// Of all contenders.
    pub cpu: Duration,
    pub time: Duration,
}

impl Competition {
    pub fn add(&mut self, round: &Competition) {
        self.holds.resize(round.holds.len(), 0);
        for (all, of_round) in self.holds.iter_mut().zip(&round.holds) {
            *all += of_round;
        }
        self.changes += round.changes;
        self.longest_wait = self.longest_wait.max(round.longest_wait);
        self.cpu += round.cpu;
        self.time += round.time;
    }

    pub fn fewest(&self) -> u64 {
        self.holds.iter().copied().min().unwrap_or(0)
    }

    pub fn most(&self) -> u64 {
        self.holds.iter().copied().max().unwrap_or(0)
    }

    pub fn total(&self) -> u64 {
        self.holds.iter().sum::<u64>().max(1)
    }

    pub fn holds_per_second(&self) -> f64 {
        self.total() as f64 / self.time.as_secs_f64()
    }

    pub fn changes_per_second(&self) -> f64 {
        self.changes as f64 / self.time.as_secs_f64()
    }

    /// The holds of the contender with the fewest, of an even share.
    pub fn least_share(&self) -> f64 {
        self.fewest() as f64 * self.holds.len() as f64 / self.total() as f64
    }

    pub fn cpu_per_hold(&self) -> Duration {
        Duration::from_secs_f64(self.cpu.as_secs_f64() / self.total() as f64)
    }
}

/// What waiting cost while the holder held.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// Voluntary context switches of each waiter, a minute.
    pub wake_ups: f64,
    /// CPU time of all waiters together, a second.
    pub cpu: Duration,
}
