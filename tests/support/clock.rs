//! Times as records have them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[cfg(unix)]
use nix::time::{ClockId, clock_gettime};

pub fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    ns(now.expect("the clock is later than 1970"))
}

pub fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("a time below 584 years")
}

/// The clock that all processes of this machine share, in nanoseconds.
#[cfg(unix)]
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux has this clock");
    ns(now.into())
}
