//! [`TornTimer`]: how long a malformed file has been unchanged, and how long one attempt waits for
//! it.

use std::time::Duration;

use crate::judge::{Reason, StalePolicy, Verdict};
use crate::sys::{FileId, Prefix, Stat};

/// A malformed file that is watched. What stays unchanged ages by our own monotonic clock, so that
/// a wall clock that was set back cannot keep a torn file indefinitely.
#[derive(Debug, Default)]
pub(super) struct TornTimer {
    seen: Option<(FileId, u64, Prefix)>,
    since: Duration,
    looks: u32,
    /// In all, over all files: an attempt that only ever meets torn files ends.
    waited: Duration,
}

impl TornTimer {
    /// For how long this content of this file has been unchanged. `since_boot` is now.
    pub(super) fn unchanged_for(
        &mut self,
        stat: &Stat,
        prefix: &Prefix,
        since_boot: Duration,
    ) -> Duration {
        let seen = Some((stat.id, stat.mtime_ns, *prefix));
        if self.seen != seen {
            *self = TornTimer {
                seen,
                since: since_boot,
                looks: 0,
                ..*self
            };
        }
        since_boot.saturating_sub(self.since)
    }

    /// Begins an attempt: what was seen is kept, and the attempt's patience starts anew.
    pub(super) fn begin_attempt(&mut self) {
        self.looks = 0;
        self.waited = Duration::ZERO;
    }

    /// How long to wait before the next look, if `verdict` is row 3 (a write takes microseconds,
    /// and row 4 follows soon) and this attempt's patience lasts. That is 2 s, since one attempt is
    /// to answer soon; a caller that waits with a timeout waits for a longer grace.
    pub(super) fn pause(&mut self, verdict: &Verdict, policy: &StalePolicy) -> Option<Duration> {
        let patience = policy.malformed_grace().min(StalePolicy::MALFORMED_GRACE);
        match *verdict {
            Verdict::Held {
                reason: Reason::BeingWritten,
                stale_in: Some(left),
            } if self.waited < patience => {
                // 1, 2, 4 .. 64 ms: the first looks come soon.
                let pause = Duration::from_millis(1 << self.looks.min(6));
                self.looks += 1;
                // Row 3 ends only when the age has reached the grace.
                let pause = pause.min(left.max(Duration::from_millis(1)));
                self.waited += pause;
                Some(pause)
            }
            _ => None,
        }
    }
}
