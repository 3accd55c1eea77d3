//! [`serde::Serialize`] for reports: the JSON of the command `rvlf` is made here. As in `rvlf`, lengths of
//! time are integers in milliseconds, and a number from 2^53, which many readers would round, is a string
//! or, as a time, null.

use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::report::LockReport;

impl Serialize for LockReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let verdict = self.verdict();
        let reason = verdict.reason();
        let stale_in = match self.is_held() {
            true => verdict.stale_in(),
            false => None,
        };
        let mut report = serializer.serialize_struct("LockReport", 13)?;
        report.serialize_field("lock_object", self.name())?;
        report.serialize_field("state", self.code())?;
        report.serialize_field("reason_code", &reason)?;
        report.serialize_field("reason", &reason.to_string())?;
        report.serialize_field("record", &self.record())?;
        report.serialize_field("generation", &self.generation().map(Number))?;
        report.serialize_field("lease_ms", &self.lease().and_then(millis))?;
        report.serialize_field("released", &self.is_released())?;
        report.serialize_field("unchanged_ms", &millis(self.unchanged()))?;
        report.serialize_field("stale_in_ms", &stale_in.and_then(millis))?;
        report.serialize_field("timestamp_age_ms", &self.timestamp_age())?;
        report.serialize_field(
            "payload_bytes",
            &self.payload().map(|payload| payload.len()),
        )?;
        report.serialize_field("is_this_process", &self.is_this_process())?;
        report.end()
    }
}

fn millis(time: Duration) -> Option<u64> {
    let millis = u64::try_from(time.as_millis()).ok()?;
    is_exact(millis).then_some(millis)
}

/// Whether a double holds the number exactly.
fn is_exact(number: u64) -> bool {
    number < 1 << f64::MANTISSA_DIGITS
}

/// A number, or its decimal text from 2^53 on.
struct Number(u64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match is_exact(self.0) {
            true => serializer.serialize_u64(self.0),
            false => serializer.collect_str(&self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;
    use rvlf::record::{Hostname, Pid, StoreStamp};
    use rvlf::{Record, WriterId};
    use serde_json::json;

    use crate::{StoreLock, block_on};

    // JavaScript reads 2^53 + 1 as 2^53: two generations would look like one.
    #[test]
    fn the_report_has_the_members_of_the_command_and_no_number_that_a_double_rounds() {
        for (generation, expected) in [(8, json!(8)), ((1 << 53) + 1, json!("9007199254740993"))] {
            let stamp = StoreStamp {
                generation,
                lease_ms: 30_000,
                nonce: 7,
            };
            let pid = Pid::new(7).expect("7 is a pid");
            let host = Hostname::truncated(b"vm");
            let record = Record::for_store(pid, &host, 1, WriterId::from_bytes([7; 16]), stamp);
            let bytes = [&record.encode()[..], b"root"].concat();
            let store = Arc::new(InMemory::new());
            let put = block_on(store.put(&"x.lock".into(), Bytes::from(bytes).into()));
            put.expect("memory answers");
            let object = StoreLock::options()
                .open_on(store, "x")
                .expect("it is a key");
            let report = json!(block_on(object.inspect()).expect("memory answers"));
            let member = |name| report.get(name).cloned();
            assert_eq!(member("state"), Some(json!("held")), "{report}");
            assert_eq!(member("reason_code"), Some(json!("within-lease")));
            assert_eq!(member("generation"), Some(expected));
            assert_eq!(member("lease_ms"), Some(json!(30_000)));
            assert_eq!(member("unchanged_ms"), Some(json!(0)));
            assert_eq!(member("released"), Some(json!(false)));
            assert_eq!(member("stale_in_ms"), Some(json!(30_000)));
            assert_eq!(member("payload_bytes"), Some(json!(4)));
        }
    }
}
