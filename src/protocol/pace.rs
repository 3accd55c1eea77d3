//! [`Pace`]: when a waiter examines again although no event arrives.

use std::time::Duration;

use super::jittered;
use crate::sys::Sys;

/// Fallback timer: a contender that dies while it holds the kernel lock generates no event.
const SAFETY: Duration = Duration::from_secs(5);

/// Where events do not arrive: soon at first, then as rarely as a person would not mind.
const POLL_FIRST: Duration = Duration::from_millis(10);
const POLL_LAST: Duration = Duration::from_millis(500);

/// The kernel reports a dead holder's close before it drops the flock, and procfs may show the
/// process for a while after both: an event that leaves the verdict at Held is followed by looks
/// after 1, 2, 4 .. 64 ms. (Of 400 killed holders, 1 or 2 and about 235 were seen like that.)
const RECHECK_FIRST: Duration = Duration::from_millis(1);
const RECHECK_LAST: Duration = Duration::from_millis(64);

/// The pauses between the looks at one hold.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The next pause after an event.
    recheck: Option<Duration>,
    poll: Duration,
}

impl Pace {
    pub(crate) fn new() -> Pace {
        Pace {
            recheck: None,
            poll: POLL_FIRST,
        }
    }

    /// An event has arrived.
    pub(crate) fn event(&mut self) {
        self.recheck = Some(RECHECK_FIRST);
    }

    /// The pause of a waiter that watches: until the fallback timer, or sooner after an event, or
    /// until age could change the verdict.
    pub(crate) fn until_next_look<S: Sys>(
        &mut self,
        sys: &S,
        stale_in: Option<Duration>,
    ) -> Duration {
        if let Some(pause) = self.recheck {
            self.recheck = Some(pause * 2).filter(|next| *next <= RECHECK_LAST);
            return pause;
        }
        // Stale is what is older than the threshold, not as old.
        let stale_in = stale_in.map(|time| time.saturating_add(Duration::from_millis(1)));
        stale_in.unwrap_or(Duration::MAX).min(jittered(sys, SAFETY))
    }

    /// The pause of a waiter to whom no events arrive.
    pub(crate) fn until_next_poll<S: Sys>(&mut self, sys: &S) -> Duration {
        let pause = self.poll;
        self.poll = (pause * 2).min(POLL_LAST);
        jittered(sys, pause)
    }
}
