//! [`UnchangedTimer`]: how long a file has been watched unchanged, and how long one attempt waits
//! for a write that is under way.
//!
//! Source: `spec/protocol.md#evidence`.

use std::time::Duration;

use crate::judge::{Reason, StalePolicy, Verdict};
use crate::sys::{FileId, Prefix, Stat};

/// The most that the time between two looks counts for. A machine that was suspended, or a process
/// that was stopped, may then find in a cache of the network mount what was true before.
pub(super) const LONGEST_GAP: Duration = Duration::from_secs(10);

/// A file that is watched. What stays unchanged ages by this machine's monotonic clock, so that a
/// wall clock that is behind cannot keep a torn file, or the record of a dead holder, indefinitely.
#[derive(Debug, Default)]
pub(super) struct UnchangedTimer {
    seen: Option<(FileId, u64, Prefix)>,
    /// The sum of the times between the looks at `seen`.
    watched: Duration,
    /// Time since boot of the last of them.
    last: Duration,
    /// Whether the file was opened anew and not counted yet: an open file shows what a cache has.
    is_new_look: bool,
    looks: u32,
    /// In all, over all files: an attempt that only ever meets torn files ends.
    waited: Duration,
}

impl UnchangedTimer {
    /// The file at the path is opened anew.
    pub(super) fn begin_look(&mut self) {
        self.is_new_look = true;
    }

    /// Whether this content of this file was seen at the look before.
    pub(super) fn is_watching(&self, stat: &Stat, prefix: &Prefix) -> bool {
        self.seen == Some((stat.id, stat.mtime_ns, *prefix))
    }

    /// For how long this content of this file has been watched. `since_boot` is now, and no time
    /// between two looks counts for more than `longest_gap`.
    pub(super) fn unchanged_for(
        &mut self,
        stat: &Stat,
        prefix: &Prefix,
        since_boot: Duration,
        longest_gap: Duration,
    ) -> Duration {
        let is_new_look = std::mem::take(&mut self.is_new_look);
        if !self.is_watching(stat, prefix) {
            *self = UnchangedTimer {
                seen: Some((stat.id, stat.mtime_ns, *prefix)),
                last: since_boot,
                waited: self.waited,
                ..UnchangedTimer::default()
            };
        } else if is_new_look {
            self.watched += since_boot.saturating_sub(self.last).min(longest_gap);
            self.last = since_boot;
        }
        self.watched
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::FileKind;

    fn file(mtime_ns: u64) -> Stat {
        Stat {
            id: FileId { dev: 1, ino: 2 },
            kind: FileKind::Regular,
            links: 1,
            uid: None,
            mtime_ns,
            born_ns: None,
        }
    }

    fn content(byte: u8) -> Prefix {
        let read = |buffer: &mut [u8]| {
            buffer.fill(byte);
            Ok(buffer.len())
        };
        Prefix::read(read).expect("nothing can fail")
    }

    fn look(timer: &mut UnchangedTimer, mtime_ns: u64, byte: u8, seconds: u64) -> u64 {
        timer.begin_look();
        let now = Duration::from_secs(seconds);
        let watched = timer.unchanged_for(&file(mtime_ns), &content(byte), now, LONGEST_GAP);
        watched.as_secs()
    }

    // A laptop sleeps for a night. What its mount's cache shows in the morning was read last
    // evening.
    #[test]
    fn a_gap_between_two_looks_counts_for_ten_seconds_at_the_most() {
        let mut timer = UnchangedTimer::default();
        let looks = [(100, 0), (105, 5), (115, 15), (36_000, 25), (36_001, 26)];
        for (now, watched) in looks {
            assert_eq!(look(&mut timer, 7, b'x', now), watched, "at {now} s");
        }
    }

    // A refresh that changes only the time of the file, or only its bytes, is a sign of life.
    #[test]
    fn each_change_of_the_file_begins_again() {
        let mut timer = UnchangedTimer::default();
        let looks = [
            (7, b'x', 100, 0),
            (7, b'x', 109, 9),
            (8, b'x', 110, 0),
            (8, b'x', 119, 9),
            (8, b'y', 120, 0),
            (8, b'y', 121, 1),
        ];
        for (mtime_ns, byte, now, watched) in looks {
            assert_eq!(look(&mut timer, mtime_ns, byte, now), watched, "at {now} s");
        }
    }

    // A breaker judges again what it has open. On a mount that shows what a cache has.
    #[test]
    fn a_second_judgement_of_an_open_file_is_no_look() {
        let mut timer = UnchangedTimer::default();
        look(&mut timer, 7, b'x', 100);
        look(&mut timer, 7, b'x', 104);
        let now = Duration::from_secs(109);
        let again = timer.unchanged_for(&file(7), &content(b'x'), now, LONGEST_GAP);
        assert_eq!(again.as_secs(), 4);
    }
}
