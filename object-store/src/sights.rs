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
    /// Notes that `record` is seen `now`. Returns when it was seen first.
    pub(crate) fn see(&mut self, record: Record, now: Duration) -> Duration {
        if self.0.len() >= CAPACITY && !self.0.contains_key(&record) {
            self.forget_one();
        }
        let sight = self.0.entry(record).or_insert(Sight {
            first: now,
            latest: now,
        });
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
        assert_eq!(sights.see(record(1), at(1)), at(1));
        assert_eq!(sights.see(record(1), at(5)), at(1));
        assert_eq!(sights.see(record(2), at(6)), at(6));
    }

    #[test]
    fn what_was_not_seen_for_longest_is_forgotten_first() {
        let mut sights = Sights::default();
        let at = Duration::from_secs;
        let many = u64::try_from(CAPACITY).expect("it is small");
        for number in 0..many {
            sights.see(record(number), at(number));
        }
        sights.see(record(0), at(many));
        sights.see(record(many), at(many));
        assert_eq!(sights.0.len(), CAPACITY);
        assert_eq!(sights.see(record(0), at(many + 1)), at(0), "seen lately");
        assert_eq!(
            sights.see(record(1), at(many + 1)),
            at(many + 1),
            "forgotten"
        );
    }
}
