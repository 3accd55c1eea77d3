//! The one place where clocks of two machines are compared: `status`, `break`, and an acquisition that
//! asks for it.

use std::time::Duration;

use rvlf::Record;
use rvlf::judge::{Age, BothClocks};

use super::object::Stored;
use super::step::Moment;

/// The ages of the record by its own timestamp and by the store's modification time. `None` if the
/// store gave no modification time.
pub(super) fn both_clocks(record: &Record, stored: &Stored, at: &Moment) -> Option<BothClocks> {
    let modified = Duration::from_millis(stored.modified_ms?);
    let now = Duration::from_nanos(at.unix_ns);
    Some(BothClocks {
        timestamp_age: age(now, Duration::from_nanos(record.timestamp_ns())),
        modified_age: age(now, modified),
    })
}

fn age(now: Duration, then: Duration) -> Age {
    match now.checked_sub(then) {
        Some(past) => Age::Past(past),
        None => Age::Ahead(then.saturating_sub(now)),
    }
}
