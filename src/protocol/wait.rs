//! Sleeping until a lock may be free: events where they arrive, growing pauses elsewhere.
//!
//! Source: `spec/protocol.md#wait`.

use std::time::Duration;

use super::examine::Watching;
use super::{Place, Refusal, Result, jittered};
use crate::judge::Verdict;
use crate::sys::{Sys, Woken};

/// The net under the events: a contender that dies while it holds the kernel lock makes none.
const SAFETY: Duration = Duration::from_secs(5);

/// Where events do not arrive: soon at first, then as rarely as a person would not mind.
const POLL_FIRST: Duration = Duration::from_millis(10);
const POLL_LAST: Duration = Duration::from_millis(500);

/// The kernel tells of a dead holder's close before it drops the flock, and procfs may show the
/// process for a while after both: an event that leaves the verdict at Held is followed by looks
/// after 1, 2, 4 .. 64 ms. (Of 400 killed holders, 1 or 2 and about 235 were seen like that.)
const RECHECK_FIRST: Duration = Duration::from_millis(1);
const RECHECK_LAST: Duration = Duration::from_millis(64);

/// With few contenders the next release is a matter of microseconds: three lost races cost nothing.
const CROWD_AFTER: u32 = 3;
/// Then 1, 2, 4 .. 16 ms. Of 64 contenders that never rest, on ext4, the unluckiest had 0.02 to 0.26 of
/// an even share without this, and 0.4 to 0.6 with it.
const CROWD_LAST: Duration = Duration::from_millis(16);

/// What one look at the lock has shown.
pub(crate) enum Look<T> {
    Done(T),
    NotYet(Refusal),
}

/// How a wait ended without an error.
pub(crate) enum Waited<T> {
    Done(T),
    TimedOut(Refusal),
}

/// Looks until it is done or `timeout` has passed; at least once.
pub(crate) fn until<S: Sys, T>(
    place: &Place<S>,
    timeout: Duration,
    mut look: impl FnMut() -> Result<Look<T>>,
) -> Result<Waited<T>> {
    let start = place.sys.now().since_boot;
    let mut watched = None;
    let mut watch = None;
    let mut pace = Pace::new();
    let mut crowd = Crowd::default();
    loop {
        let refusal = match look()? {
            Look::Done(value) => return Ok(Waited::Done(value)),
            Look::NotYet(refusal) => refusal,
        };
        let passed = place.sys.now().since_boot.saturating_sub(start);
        let left = timeout.saturating_sub(passed);
        if left.is_zero() {
            return Ok(Waited::TimedOut(refusal));
        }
        let hold = refusal.hold();
        if hold.is_none() || hold != watched {
            // First, so that the next one can take what it leaves.
            drop(watch.take());
            if watched.take().is_some()
                && let Some(pause) = crowd.lost_race()
            {
                place.sys.wait(None, jittered(&place.sys, pause).min(left));
                continue;
            }
            watched = hold;
            pace = Pace::new();
            match place.watch(&refusal) {
                Ok(Watching::All(armed)) => watch = Some(armed),
                // The holder may have released, or died, between our look and the watch: look again.
                Ok(Watching::FromNowOn(armed)) => {
                    watch = Some(armed);
                    continue;
                }
                // Another one's file is at the path: it is what the next look arms a watch for.
                Ok(Watching::Nothing) => {
                    watched = None;
                    continue;
                }
                Err(_) => {}
            }
        }
        let pause = match watch {
            Some(_) => pace.until_next_look(&place.sys, stale_in(&refusal)),
            None => pace.until_next_poll(&place.sys),
        };
        match place.sys.wait(watch.as_mut(), pause.min(left)) {
            Woken::FileEvent | Woken::ProcessEnded => pace.event(),
            Woken::Timeout => {}
        }
    }
}

fn stale_in(refusal: &Refusal) -> Option<Duration> {
    match refusal.holder.verdict() {
        Verdict::Held { stale_in, .. } => stale_in,
        Verdict::Stale { .. } => Some(Duration::ZERO),
    }
}

/// How often others were quicker. Each release wakes all who wait, and whoever is just releasing
/// comes first most of the time: those who lose again and again would only keep it from its work.
#[derive(Debug, Default)]
struct Crowd {
    lost_races: u32,
}

impl Crowd {
    /// How long to stay away after a race that was lost.
    fn lost_race(&mut self) -> Option<Duration> {
        let beyond = self.lost_races.checked_sub(CROWD_AFTER);
        self.lost_races += 1;
        let doubled = |beyond: u32| Duration::from_millis(1 << beyond.min(10));
        beyond.map(|beyond| doubled(beyond).min(CROWD_LAST))
    }
}

/// When to look again if nothing happens.
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

    pub(crate) fn event(&mut self) {
        self.recheck = Some(RECHECK_FIRST);
    }

    /// The net, or sooner: after an event, or when age could change the verdict.
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

    pub(crate) fn until_next_poll<S: Sys>(&mut self, sys: &S) -> Duration {
        let pause = self.poll;
        self.poll = (pause * 2).min(POLL_LAST);
        jittered(sys, pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Sixty-four processes that acquire and release without rest: if all came at each release, the
    // one that has just released would win nearly always.
    #[test]
    fn who_loses_race_after_race_stays_away_for_longer_but_never_for_long() {
        let mut crowd = Crowd::default();
        let pauses: Vec<_> = (0..40).map(|_| crowd.lost_race()).collect();
        let ms = |ms| Some(Duration::from_millis(ms));
        let first = [None, None, None, ms(1), ms(2), ms(4), ms(8), ms(16)];
        assert!(pauses.starts_with(&first));
        assert!(
            pauses
                .iter()
                .skip(first.len())
                .all(|pause| *pause == ms(16))
        );
    }
}
