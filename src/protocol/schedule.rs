//! When each held lock is refreshed next: [`Schedule`], a pure value that is passed the time and
//! returns what is due.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// The part of its interval by which an entry may come early, so that one wake-up serves many. Ten
/// thousand locks, each with a moment of its own, woke two threads a thousand times a second, and
/// half of the processor time was that of the wake-ups. They come in 64 groups an interval now.
const EARLY: u32 = 64;

/// Identifies an entry of a schedule.
pub(super) type Key = u64;

/// When each lock is due next. Times are those of any clock that does not step.
#[derive(Debug)]
pub(super) struct Schedule<T> {
    entries: BTreeMap<(Duration, Key), Entry<T>>,
    due: HashMap<Key, Duration>,
    last_key: Key,
}

#[derive(Debug)]
struct Entry<T> {
    interval: Duration,
    item: T,
}

impl<T: Clone> Schedule<T> {
    pub(super) fn new() -> Schedule<T> {
        Schedule {
            entries: BTreeMap::new(),
            due: HashMap::new(),
            last_key: 0,
        }
    }

    /// Adds an entry. `phase` (0 to 255) is the part of its interval after which it is due first,
    /// so that locks that were acquired together are not refreshed together.
    pub(super) fn insert(&mut self, now: Duration, interval: Duration, phase: u8, item: T) -> Key {
        self.last_key += 1;
        // Divided first: the longest interval times anything would overflow.
        let first = interval / 256 * (u32::from(phase) + 1);
        self.put(
            now.saturating_add(first),
            self.last_key,
            Entry { interval, item },
        );
        self.last_key
    }

    fn put(&mut self, at: Duration, key: Key, entry: Entry<T>) {
        self.due.insert(key, at);
        self.entries.insert((at, key), entry);
    }

    pub(super) fn remove(&mut self, key: Key) {
        if let Some(at) = self.due.remove(&key) {
            self.entries.remove(&(at, key));
        }
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        self.entries.keys().next().map(|(at, _)| *at)
    }

    /// Takes what is due at `now`, and with it what may come early (see [`EARLY`]). Each entry is due
    /// again an interval from now, not from when it was due: after a suspension of the machine one
    /// refresh is enough.
    pub(super) fn tick(&mut self, now: Duration) -> Vec<(Key, T)> {
        let mut items = Vec::new();
        if self.next_due().is_none_or(|due| due > now) {
            return items;
        }
        while let Some(first) = self.entries.first_entry() {
            let (due, _) = *first.key();
            let early = first.get().interval / EARLY;
            if due > now.saturating_add(early) {
                break;
            }
            let ((_, key), entry) = first.remove_entry();
            items.push((key, entry.item.clone()));
            self.put(now.saturating_add(entry.interval), key, entry);
        }
        items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    // Ten thousand locks opened at program start, refreshed all at once every 10 s, would be a
    // burst of system calls that every one of their data files feels.
    #[test]
    fn locks_acquired_together_are_refreshed_apart() {
        let mut schedule = Schedule::new();
        for phase in 0..=255 {
            schedule.insert(secs(100), secs(10), phase, ());
        }
        let half = schedule.tick(secs(105)).len();
        assert!(
            (128..=128 + 256 / EARLY as usize).contains(&half),
            "half of the interval brings half of the refreshes: {half}"
        );
        assert_eq!(
            schedule.tick(secs(110)).len(),
            256 - half,
            "the rest follows in the other half"
        );
    }

    // Each lock woke the threads for itself: ten thousand locks took 4 % of a core.
    #[test]
    fn many_locks_share_a_few_moments_and_none_comes_late() {
        let mut schedule = Schedule::new();
        let interval = secs(10);
        for at in 0..10_000_u64 {
            let acquired = Duration::from_micros(100 * at);
            schedule.insert(acquired, interval, (at * 7 % 256) as u8, at);
        }
        let mut last = HashMap::new();
        let mut moments = 0;
        while let Some(now) = schedule.next_due().filter(|due| *due < secs(40)) {
            moments += 1;
            for (key, _) in schedule.tick(now) {
                let since = now - last.insert(key, now).unwrap_or(now);
                assert!(since <= interval, "{since:?} between two refreshes");
            }
        }
        assert_eq!(last.len(), 10_000);
        assert!(moments <= 4 * 66, "{moments} wake-ups in four intervals");
    }

    #[test]
    fn every_entry_comes_once_an_interval_and_no_more_after_removal() {
        let mut schedule = Schedule::new();
        let kept = schedule.insert(secs(0), secs(10), 255, 'a');
        let removed = schedule.insert(secs(0), secs(10), 255, 'b');
        assert_eq!(schedule.tick(secs(9)), [], "nothing is due before its time");
        assert_eq!(schedule.tick(secs(10)), [(kept, 'a'), (removed, 'b')]);
        assert_eq!(schedule.next_due(), Some(secs(20)));
        schedule.remove(removed);
        // A suspension of an hour: one refresh, not 360.
        assert_eq!(schedule.tick(secs(3620)), [(kept, 'a')]);
        assert_eq!(schedule.next_due(), Some(secs(3630)));
        schedule.remove(kept);
        assert_eq!(schedule.next_due(), None);
    }
}
