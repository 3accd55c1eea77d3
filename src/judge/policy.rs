//! The age thresholds of the judge table.

use core::time::Duration;

/// The age thresholds of the judge table. They decide only where no kernel can witness a death.
///
/// Contenders with different policies still exclude each other; the shortest threshold among them
/// decides how early a holder without a kernel witness may be judged dead.
///
/// ```
/// use std::time::Duration;
/// use rvlf::StalePolicy;
///
/// let patient = StalePolicy::new().with_cross_host_age(Duration::from_secs(3600));
/// assert_eq!(patient.cross_host_age(), Duration::from_secs(3600));
/// assert_eq!(patient.same_host_age(), StalePolicy::SAME_HOST_AGE);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StalePolicy {
    malformed_grace: Duration,
    same_host_age: Duration,
    cross_host_age: Duration,
    never: bool,
}

impl StalePolicy {
    /// How long a torn record may be an unfinished write, 2 s: deployed clients create the file and
    /// then write it, which takes microseconds; 2 s exceeds that on a loaded machine.
    pub const MALFORMED_GRACE: Duration = Duration::from_secs(2);
    /// The published RVF rule for a dead process of the same host: 30 s.
    pub const SAME_HOST_AGE: Duration = Duration::from_secs(30);
    /// The published RVF rule for other hosts: 300 s.
    pub const CROSS_HOST_AGE: Duration = Duration::from_secs(300);

    /// The documented defaults: 2 s, 30 s, 300 s.
    ///
    /// ```
    /// use rvlf::StalePolicy;
    ///
    /// assert_eq!(StalePolicy::new().cross_host_age(), StalePolicy::CROSS_HOST_AGE);
    /// assert_eq!(StalePolicy::new(), StalePolicy::default());
    /// ```
    #[must_use]
    pub const fn new() -> StalePolicy {
        StalePolicy {
            malformed_grace: StalePolicy::MALFORMED_GRACE,
            same_host_age: StalePolicy::SAME_HOST_AGE,
            cross_host_age: StalePolicy::CROSS_HOST_AGE,
            never: false,
        }
    }

    /// A policy under which no lock is ever stale: a dead holder's lock stays until a person breaks
    /// it by force.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("log");
    /// use rvlf::{LockOptions, StalePolicy};
    ///
    /// let lock = LockOptions::new().stale_policy(StalePolicy::never()).try_acquire(&path)?;
    /// # lock.release()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn never() -> StalePolicy {
        StalePolicy {
            never: true,
            ..StalePolicy::new()
        }
    }

    /// Sets the age at which a malformed file is stale (rows 3 and 4).
    ///
    /// ```
    /// use rvlf::StalePolicy;
    /// use std::time::Duration;
    ///
    /// let policy = StalePolicy::new().with_malformed_grace(Duration::from_secs(10));
    /// assert_eq!(policy.malformed_grace(), Duration::from_secs(10));
    /// ```
    #[must_use]
    pub const fn with_malformed_grace(mut self, age: Duration) -> StalePolicy {
        self.malformed_grace = age;
        self
    }

    /// Sets the age at which a dead process's record of the same host is stale (rows 5, 7, 8, 11).
    ///
    /// ```
    /// use rvlf::StalePolicy;
    /// use std::time::Duration;
    ///
    /// let policy = StalePolicy::new().with_same_host_age(Duration::from_secs(60));
    /// assert_eq!(policy.same_host_age(), Duration::from_secs(60));
    /// ```
    #[must_use]
    pub const fn with_same_host_age(mut self, age: Duration) -> StalePolicy {
        self.same_host_age = age;
        self
    }

    /// Sets the age at which a record is stale that this machine cannot check (rows 9, 12 and 13).
    ///
    /// Holders on other hosts refresh every 10 s by default and count themselves lost after half of
    /// the default (150 s): with less than 30 s a contender would break the locks of live holders.
    ///
    /// ```
    /// use rvlf::StalePolicy;
    /// use std::time::Duration;
    ///
    /// let policy = StalePolicy::new().with_cross_host_age(Duration::from_secs(600));
    /// assert_eq!(policy.cross_host_age(), Duration::from_secs(600));
    /// ```
    #[must_use]
    pub const fn with_cross_host_age(mut self, age: Duration) -> StalePolicy {
        self.cross_host_age = age;
        self
    }

    /// The age at which a malformed file is stale.
    ///
    /// ```
    /// assert_eq!(rvlf::StalePolicy::new().malformed_grace().as_secs(), 2);
    /// ```
    #[must_use]
    pub const fn malformed_grace(&self) -> Duration {
        self.malformed_grace
    }

    /// How long after its last successful refresh a holder off a local file system counts its lock as
    /// lost: half of [`cross_host_age`](StalePolicy::cross_host_age), and at most 150 s, since deployed
    /// clients elsewhere break a lock after 300 s whatever the policy of its holder is.
    ///
    /// ```
    /// use rvlf::StalePolicy;
    /// use std::time::Duration;
    ///
    /// assert_eq!(StalePolicy::new().lost_after().as_secs(), 150);
    /// let hour = StalePolicy::new().with_cross_host_age(Duration::from_secs(3600));
    /// assert_eq!(hour.lost_after().as_secs(), 150);
    /// ```
    #[must_use]
    pub fn lost_after(&self) -> Duration {
        self.cross_host_age.min(StalePolicy::CROSS_HOST_AGE) / 2
    }

    /// The age at which a dead process's record of the same host is stale.
    ///
    /// ```
    /// assert_eq!(rvlf::StalePolicy::new().same_host_age().as_secs(), 30);
    /// ```
    #[must_use]
    pub const fn same_host_age(&self) -> Duration {
        self.same_host_age
    }

    /// The age at which a record is stale that this machine cannot check.
    ///
    /// ```
    /// assert_eq!(rvlf::StalePolicy::new().cross_host_age().as_secs(), 300);
    /// ```
    #[must_use]
    pub const fn cross_host_age(&self) -> Duration {
        self.cross_host_age
    }

    /// Whether no lock is ever stale by this policy.
    ///
    /// ```
    /// use rvlf::StalePolicy;
    ///
    /// assert!(StalePolicy::never().is_never());
    /// ```
    #[must_use]
    pub const fn is_never(&self) -> bool {
        self.never
    }
}

impl Default for StalePolicy {
    fn default() -> StalePolicy {
        StalePolicy::new()
    }
}
