//! Virtual time.

use std::ops::{Add, Sub};
use std::time::Duration;

use crate::run;

/// As [`std::time::Instant`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(Duration);

impl Instant {
    #[must_use]
    pub fn now() -> Instant {
        Instant(run::now())
    }

    #[must_use]
    pub fn elapsed(&self) -> Duration {
        run::now().saturating_sub(self.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, time: Duration) -> Instant {
        Instant(self.0 + time)
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
