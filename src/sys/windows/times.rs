//! Clocks, and the times of files and processes: units of 100 ns since 1601.

#![allow(unsafe_code, reason = "GetTickCount64")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use windows_sys::Win32::System::SystemInformation::GetTickCount64;

use crate::sys::{Now, nanos};

/// From 1601 to 1970, in units of 100 ns.
const UNIX_EPOCH_FILETIME: u64 = 116_444_736_000_000_000;

pub(super) fn unix_ns(filetime: u64) -> u64 {
    filetime
        .saturating_sub(UNIX_EPOCH_FILETIME)
        .saturating_mul(100)
}

pub(super) fn now() -> Now {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    Now {
        realtime_ns: nanos(since_1970.unwrap_or_default()),
        since_boot: since_boot(),
    }
}

/// The current time, for the time of a file.
pub(super) fn filetime_now() -> i64 {
    let since_1970 = now().realtime_ns / 100;
    since_1970.saturating_add(UNIX_EPOCH_FILETIME) as i64
}

/// Counts sleep and hibernation, in steps of up to 16 ms. "Unbiased" clocks count neither, and
/// QueryInterruptTime, which is finer, is not in wine 8.
fn since_boot() -> Duration {
    // SAFETY: the call takes nothing and returns a number.
    Duration::from_millis(unsafe { GetTickCount64() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_files_and_clocks_agree() {
        let now = now().realtime_ns;
        let again = unix_ns(filetime_now() as u64);
        assert!(again >= now - 100 && again < now + 60_000_000_000);
        assert_eq!(unix_ns(UNIX_EPOCH_FILETIME + 10_000_000), 1_000_000_000);
        assert_eq!(unix_ns(0), 0, "a time before 1970 is no huge one");
    }
}
