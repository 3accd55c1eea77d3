//! Ages in whole nanoseconds, in which both judge tables are stated a second time: every threshold is then a
//! number.

use std::time::Duration;

use rvlf::judge::Age;

pub const SECOND: i128 = 1_000_000_000;
/// The longest `Duration`.
pub const FOREVER: i128 = u64::MAX as i128 * SECOND + 999_999_999;

pub fn duration(nanos: i128) -> Duration {
    let seconds = u64::try_from(nanos / SECOND).expect("at most FOREVER, and not negative");
    Duration::new(seconds, (nanos % SECOND) as u32)
}

/// A negative age lies ahead.
pub fn age(nanos: i128) -> Age {
    if nanos < 0 {
        Age::Ahead(duration(-nanos))
    } else {
        Age::Past(duration(nanos))
    }
}
