//! When this process saw which record first.

use std::collections::HashMap;
use std::time::Duration;

use rvlf::Record;

/// How many records are remembered. One that is forgotten is watched anew: its lock is taken over later.
const CAPACITY: usize = 1024;

/// The records that this process has seen, in whatever object, by whichever of its calls: no two writes
/// have equal records, so what shows one record twice was not changed in between. Without this, attempts
/// that are shorter than the lease would each begin their watch anew, and never take a dead lock.
#[derive(Debug, Default)]
pub(crate) struct Sights(HashMap<Record, Sight>);

#[derive(Debug)]
struct Sight {
    first: Duration,
    latest: Duration,
}

impl Sights {
    /// Notes that `record` is seen `now`, by a call that has seen it since `since`. Returns when it was seen
    /// first.
    fn see(&mut self, record: Record, since: Duration, now: Duration) -> Duration {
        if self.0.len() >= CAPACITY && !self.0.contains_key(&record) {
            self.forget_one();
        }
        let sight = self.0.entry(record).or_insert(Sight {
            first: since,
            latest: now,
        });
        sight.first = sight.first.min(since);
        sight.latest = now;
        sight.first
    }

    fn forget_one(&mut self) {
        let oldest = self.0.iter().min_by_key(|(_, sight)| sight.latest);
        if let Some(record) = oldest.map(|(record, _)| *record) {
            self.0.remove(&record);
        }
    }
}

/// The record that one call watches, and since when. A process that watches more locks than it remembers would
/// forget each record before its next look at it, and take none of these locks.
#[derive(Debug, Default)]
pub(crate) struct Watch(Option<(Record, Duration)>);

impl Watch {
    /// Notes that the call sees `record` `now`. Returns when it, or another call of the process, saw it first.
    pub(crate) fn see(&mut self, sights: &mut Sights, record: Record, now: Duration) -> Duration {
        let own = self.0.filter(|(watched, _)| *watched == record);
        let first = sights.see(record, own.map_or(now, |(_, first)| first), now);
        self.0 = Some((record, first));
        first
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use rvlf::WriterId;
    use rvlf::record::{Hostname, Pid, StoreStamp};

    use super::*;

    pub(crate) fn record(timestamp_ns: u64) -> Record {
        let stamp = StoreStamp {
            generation: 1,
            lease_ms: 30_000,
            nonce: 0,
        };
        let pid = Pid::new(1).expect("1 is a pid");
        let hostname = Hostname::truncated(b"host");
        let id = WriterId::from_bytes([1; 16]);
        Record::for_store(pid, &hostname, timestamp_ns, id, stamp)
    }

    // A refresh is another record: a live holder must not look unchanged.
    #[test]
    fn each_record_is_seen_first_once_and_a_refreshed_one_anew() {
        let mut sights = Sights::default();
        let at = Duration::from_secs;
        let mut see = |number, now| Watch::default().see(&mut sights, record(number), at(now));
        assert_eq!(see(1, 1), at(1));
        assert_eq!(see(1, 5), at(1));
        assert_eq!(see(2, 6), at(6));
    }

    // A process with more dead locks than it remembers evicted its own first sights, and never saw a lease pass.
    #[test]
    fn call_keeps_the_first_sight_of_what_it_watches_although_the_process_forgets_it() {
        let mut sights = Sights::default();
        let at = Duration::from_secs;
        let many = u64::try_from(CAPACITY).expect("it is small") + 1;
        let mut watch = Watch::default();
        assert_eq!(watch.see(&mut sights, record(0), at(0)), at(0));
        for number in 1..=many {
            Watch::default().see(&mut sights, record(number), at(number));
        }
        let now = at(many + 1);
        assert_eq!(watch.see(&mut sights, record(0), now), at(0));
        let later = Watch::default().see(&mut sights, record(0), now);
        assert_eq!(later, at(0), "and later calls know it again");
        assert_eq!(
            watch.see(&mut sights, record(many + 1), now),
            now,
            "refreshed"
        );
    }

    #[test]
    fn what_was_not_seen_for_longest_is_forgotten_first() {
        let mut sights = Sights::default();
        let at = Duration::from_secs;
        let many = u64::try_from(CAPACITY).expect("it is small");
        let see = |sights: &mut Sights, number, now| {
            Watch::default().see(sights, record(number), at(now))
        };
        for number in 0..many {
            see(&mut sights, number, number);
        }
        see(&mut sights, 0, many);
        see(&mut sights, many, many);
        assert_eq!(sights.0.len(), CAPACITY);
        assert_eq!(see(&mut sights, 0, many + 1), at(0), "seen lately");
        assert_eq!(see(&mut sights, 1, many + 1), at(many + 1), "forgotten");
    }
}
