//! Records of writers that do not exist.

use std::time::{Duration, SystemTime};

use rvlf::record::{Hostname, Pid};
use rvlf::{Record, WriterId};

/// A record, an hour old, of a process on `host` that does not exist.
pub fn dead_record(host: &[u8]) -> Record {
    let now = SystemTime::UNIX_EPOCH.elapsed();
    let hour_ago = now.expect("the clock shows a time after 1970") - Duration::from_secs(3600);
    Record::new(
        Pid::new(i32::MAX as u32).expect("the kernel assigns no pid that high"),
        &Hostname::truncated(host),
        hour_ago.as_nanos() as u64,
        WriterId::from_random([7; 16]),
        None,
    )
}
