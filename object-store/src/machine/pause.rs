//! The pauses between two tries: short at first, longer each time, and never in step with others.

use std::time::Duration;

/// About one round trip to a store.
const FIRST: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pause {
    next: Duration,
    longest: Duration,
}

impl Pause {
    pub(crate) fn up_to(longest: Duration) -> Pause {
        Pause {
            next: FIRST.min(longest),
            longest,
        }
    }

    /// The next pause: between half of its length and all of it, so that contenders that were refused
    /// together do not come back together.
    pub(crate) fn next(&mut self, random: u64) -> Duration {
        let whole = self.next;
        self.next = (whole * 3 / 2).min(self.longest);
        let parts = u32::try_from(random % 1024).unwrap_or(0);
        whole / 2 + whole / 2 * parts / 1024
    }
}
