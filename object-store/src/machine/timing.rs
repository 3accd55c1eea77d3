//! The lease, and every time that follows from it.

use std::time::Duration;

use rvlf::record::StoreStamp;

/// The lease of a lock, and the times that follow from it: section 6 of `spec/object-store.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    lease: Duration,
}

impl Timing {
    /// The times of a lock with this lease, which is cut to whole milliseconds and to the limits of the
    /// format.
    #[must_use]
    pub fn new(lease: Duration) -> Timing {
        let whole = Duration::from_millis(u64::try_from(lease.as_millis()).unwrap_or(u64::MAX));
        Timing {
            lease: whole.clamp(StoreStamp::MIN_LEASE, StoreStamp::MAX_LEASE),
        }
    }

    /// After this much time without a change of the object, other processes take the lock over.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// The lease as the record has it.
    #[must_use]
    pub fn lease_ms(&self) -> u32 {
        u32::try_from(self.lease.as_millis()).unwrap_or(u32::MAX)
    }

    /// For this long after the beginning of a confirmed write the holder believes that it holds the
    /// lock. The rest of the lease is for clocks: their rates may differ by half.
    #[must_use]
    pub fn belief(&self) -> Duration {
        self.lease * 2 / 3
    }

    /// A new hold needs at least this much of its belief left, or it would expire before it is used.
    #[must_use]
    pub fn least_belief(&self) -> Duration {
        self.lease / 3
    }

    /// The time between two refreshes: three may fail before the belief ends.
    #[must_use]
    pub fn refresh_interval(&self) -> Duration {
        self.lease / 6
    }

    /// How long the machine waits for an answer. The request itself is not cancelled.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        (self.lease / 12).max(Duration::from_secs(1))
    }

    /// The longest pause between two looks of a contender.
    pub(crate) fn longest_pause(&self) -> Duration {
        (self.lease / 10).min(Duration::from_secs(2))
    }
}
