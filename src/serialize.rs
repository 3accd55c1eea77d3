//! [`serde::Serialize`] for records and reports. The JSON of the command `rvlf` consists of these members,
//! and of the paths and processes that the command adds.
//!
//! Keys and codes are stable; sentences and row numbers may change. Lengths of time are integers in
//! milliseconds.
//!
//! Many readers (JavaScript, jq) hold every number as a double, which is exact below 2^53 only. What
//! needs 64 bits is a string. Start ticks and generations, which seldom need 64 bits, are a number below
//! 2^53 and a string from there on. A time of 2^53 ms or more, 285,000 years, is null.

use core::fmt::{self, Display};
use core::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::judge::{
    Age, BothClocks, Evidence, FileSystem, Process, Reason, Stamp, StoreContent, StoreEvidence,
    StoreReason, StoreVerdict, Verdict,
};
use crate::record::{Hostname, KernelStamp, LOCK_VERSION, Pid, Record, StoreStamp, WriterId};

impl Serialize for Pid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.get())
    }
}

impl<'de> Deserialize<'de> for Pid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pid, D::Error> {
        Pid::try_from(u32::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// As the 36 characters of a UUID.
impl Serialize for WriterId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WriterId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<WriterId, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = WriterId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a writer id")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<WriterId, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl Serialize for KernelStamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut stamp = serializer.serialize_struct("KernelStamp", 2)?;
        stamp.serialize_field("inode_key", &Text(format_args!("{:016x}", self.inode_key)))?;
        stamp.serialize_field("start_ticks", &Exact(self.start_ticks))?;
        stamp.end()
    }
}

impl Serialize for StoreStamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut stamp = serializer.serialize_struct("StoreStamp", 3)?;
        stamp.serialize_field("generation", &Exact(self.generation))?;
        stamp.serialize_field("lease_ms", &self.lease_ms)?;
        stamp.serialize_field("nonce", &self.nonce)?;
        stamp.end()
    }
}

/// With a member `store_stamp` only if the record has one: no record of a lock file does.
impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hostname = self.hostname();
        let store_stamp = self.store_stamp();
        let members = 8 + usize::from(store_stamp.is_some());
        let mut record = serializer.serialize_struct("Record", members)?;
        record.serialize_field("pid", &self.pid())?;
        record.serialize_field("hostname", &Text(Utf8(&hostname)))?;
        record.serialize_field("hostname_hex", &Text(Hex(hostname.as_bytes())))?;
        record.serialize_field("timestamp_ns", &Text(self.timestamp_ns()))?;
        record.serialize_field("writer_id", &self.writer_id())?;
        record.serialize_field("lock_version", &LOCK_VERSION)?;
        record.serialize_field("checksum", self.checksum().name())?;
        record.serialize_field("stamp", &self.stamp())?;
        match store_stamp {
            Some(stamp) => record.serialize_field("store_stamp", &stamp)?,
            None => record.skip_field("store_stamp")?,
        }
        record.end()
    }
}

/// As its [`code`](Reason::code).
impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut verdict = serializer.serialize_struct("Verdict", 3)?;
        let state = if self.is_stale() { "stale" } else { "held" };
        verdict.serialize_field("state", state)?;
        verdict.serialize_field("reason_code", &self.reason())?;
        verdict.serialize_field("stale_in_ms", &self.stale_in().and_then(millis))?;
        verdict.end()
    }
}

/// As milliseconds, negative for a timestamp in the future; `null` for 2^53 ms or more.
impl Serialize for Age {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (time, sign) = match self {
            Age::Past(time) => (time, 1),
            Age::Ahead(time) => (time, -1),
        };
        let millis = millis(*time).and_then(|millis| i64::try_from(millis).ok());
        millis.map(|millis| sign * millis).serialize(serializer)
    }
}

/// `null` for no stamp, else the inode's `same` or `different` and the start ticks.
impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (inode, start_ticks) = match self {
            Stamp::Same { start_ticks } => ("same", start_ticks),
            Stamp::Different { start_ticks } => ("different", start_ticks),
            Stamp::Absent => return serializer.serialize_none(),
        };
        let mut stamp = serializer.serialize_struct("Stamp", 2)?;
        stamp.serialize_field("inode", inode)?;
        stamp.serialize_field("start_ticks", &Exact(*start_ticks))?;
        stamp.end()
    }
}

/// With its state; if alive, with its start.
impl Serialize for Process {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (state, len) = match self {
            Process::Alive { .. } => ("alive", 3),
            Process::Dead => ("dead", 1),
            Process::Unknown => ("unknown", 1),
        };
        let mut process = serializer.serialize_struct("Process", len)?;
        process.serialize_field("state", state)?;
        if let Process::Alive {
            start_ticks,
            started_after_timestamp,
        } = self
        {
            process.serialize_field("start_ticks", &Exact(*start_ticks))?;
            process.serialize_field("started_after_timestamp", started_after_timestamp)?;
        }
        process.end()
    }
}

impl Serialize for Evidence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let file_system = match self.file_system {
            FileSystem::Local { .. } => "local",
            FileSystem::NotLocal => "not-local",
        };
        let mut evidence = serializer.serialize_struct("Evidence", 11)?;
        evidence.serialize_field("content", &self.content)?;
        evidence.serialize_field("kernel_lock", &self.kernel_lock)?;
        evidence.serialize_field("file_system", file_system)?;
        evidence.serialize_field("plain", &self.file_system.is_plain())?;
        evidence.serialize_field("stamp", &self.stamp)?;
        evidence.serialize_field("host", &self.host)?;
        evidence.serialize_field("process", &self.process)?;
        evidence.serialize_field("timestamp_age_ms", &self.timestamp_age)?;
        evidence.serialize_field("mtime_age_ms", &millis(self.mtime_age))?;
        evidence.serialize_field("predates_boot", &self.predates_boot)?;
        evidence.serialize_field("own_hold", &self.own_hold)?;
        evidence.end()
    }
}

/// As its [`code`](StoreReason::code).
impl Serialize for StoreReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl Serialize for StoreVerdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (state, stale_in) = match self {
            StoreVerdict::Free { .. } => ("free", None),
            StoreVerdict::Held { stale_in, .. } => ("held", *stale_in),
            StoreVerdict::Stale { .. } => ("stale", None),
        };
        let mut verdict = serializer.serialize_struct("StoreVerdict", 3)?;
        verdict.serialize_field("state", state)?;
        verdict.serialize_field("reason_code", &self.reason())?;
        verdict.serialize_field("stale_in_ms", &stale_in.and_then(millis))?;
        verdict.end()
    }
}

/// As a word; the stamp is a member of the record.
impl Serialize for StoreContent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            StoreContent::Absent => "absent",
            StoreContent::Valid(_) => "valid",
            StoreContent::Foreign => "foreign",
            StoreContent::Unsupported => "unsupported",
            StoreContent::OtherStamp => "other-stamp",
            StoreContent::Damaged => "damaged",
        })
    }
}

impl Serialize for BothClocks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut ages = serializer.serialize_struct("BothClocks", 2)?;
        ages.serialize_field("timestamp_age_ms", &self.timestamp_age)?;
        ages.serialize_field("modified_age_ms", &self.modified_age)?;
        ages.end()
    }
}

impl Serialize for StoreEvidence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut evidence = serializer.serialize_struct("StoreEvidence", 4)?;
        evidence.serialize_field("content", &self.content)?;
        evidence.serialize_field("unchanged_ms", &millis(self.unchanged))?;
        evidence.serialize_field("own_dead", &self.own_dead)?;
        evidence.serialize_field("both_clocks", &self.both_clocks)?;
        evidence.end()
    }
}

fn millis(time: Duration) -> Option<u64> {
    u64::try_from(time.as_millis()).ok().and_then(exact)
}

/// The number, if a double holds it exactly.
fn exact(number: u64) -> Option<u64> {
    (number < 1 << f64::MANTISSA_DIGITS).then_some(number)
}

/// A number if a double holds it exactly, else its decimal text.
struct Exact(u64);

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match exact(self.0) {
            Some(number) => serializer.serialize_u64(number),
            None => serializer.collect_str(&self.0),
        }
    }
}

/// A value as its `Display` text.
struct Text<T>(T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A host name as text without the escapes of its `Display`: JSON has escapes of its own.
struct Utf8<'a>(&'a Hostname);

impl Display for Utf8<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.as_bytes().utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_str("\u{fffd}")?;
            }
        }
        Ok(())
    }
}

struct Hex<'a>(&'a [u8]);

impl Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(feature = "std")]
mod reports {
    use super::{Reason, Serialize, SerializeStruct, Serializer, Text, Verdict, millis};
    use crate::holder::{Foreign, Holder, LockState};

    /// The holder of a lock without the lock's state; [`LockState`] has both.
    impl Serialize for Holder {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut report = serializer.serialize_struct("Holder", 9)?;
            reason_fields(&mut report, Some(self.verdict().reason()))?;
            holder_fields(&mut report, Some(self))?;
            report.end()
        }
    }

    fn reason_fields<R: SerializeStruct>(
        report: &mut R,
        reason: Option<Reason>,
    ) -> Result<(), R::Error> {
        let row = reason.map(Reason::row).filter(|row| *row > 0);
        report.serialize_field("row", &row)?;
        report.serialize_field("reason_code", &reason)?;
        report.serialize_field("reason", &reason.map(Text))
    }

    impl Serialize for LockState {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut report = serializer.serialize_struct("LockState", 13)?;
            report.serialize_field("state", self.code())?;
            reason_fields(&mut report, self.reason())?;
            report.serialize_field("found", &found(self))?;
            holder_fields(&mut report, self.holder())?;
            report.end()
        }
    }

    fn holder_fields<R: SerializeStruct>(
        report: &mut R,
        holder: Option<&Holder>,
    ) -> Result<(), R::Error> {
        let stale_in = holder.and_then(|holder| match holder.verdict() {
            Verdict::Held { stale_in, .. } => stale_in,
            Verdict::Stale { .. } => None,
        });
        let held_for = holder.and_then(Holder::held_for);
        report.serialize_field("record", &holder.and_then(Holder::record))?;
        report.serialize_field("stale_in_ms", &stale_in.and_then(millis))?;
        report.serialize_field("held_for_ms", &held_for.and_then(millis))?;
        report.serialize_field("timestamp_age_ms", &holder.and_then(Holder::timestamp_age))?;
        report.serialize_field("uid", &holder.and_then(Holder::uid))?;
        report.serialize_field("trailing_bytes", &holder.map(Holder::has_trailing_bytes))?;
        report.serialize_field(
            "in_another_container",
            &holder.map(Holder::is_in_another_container),
        )?;
        report.serialize_field("evidence", &holder.and_then(Holder::evidence))
    }

    /// The content of the lock path if it is no record, as a sentence.
    fn found(state: &LockState) -> Option<String> {
        match state {
            LockState::Foreign(found) => Some(found.to_string()),
            LockState::UnsupportedVersion(found) => Some(format!("version {found}")),
            _ => Some(state.holder()?.decode_error()?.to_string()),
        }
    }

    /// As its sentence.
    impl Serialize for Foreign {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }
}

#[cfg(all(test, feature = "table"))]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    // A program that reads lock files finds the members that it knows, and no other.
    #[test]
    fn only_the_record_of_an_object_store_has_a_store_stamp() {
        let (pid, id) = (Pid::new(7).expect("in range"), WriterId::from([7; 16]));
        let hostname = Hostname::truncated(b"host-a");
        let stamp = StoreStamp {
            generation: 8,
            lease_ms: 30_000,
            nonce: 7,
        };
        let of_file = json!(Record::new(pid, &hostname, 1, id, None));
        assert_eq!(of_file.get("store_stamp"), None, "{of_file}");
        let of_store = json!(Record::for_store(pid, &hostname, 1, id, stamp));
        let expected = json!({"generation": 8, "lease_ms": 30_000, "nonce": 7});
        assert_eq!(of_store.get("store_stamp"), Some(&expected), "{of_store}");
        assert_eq!(of_store.get("stamp"), Some(&Value::Null), "{of_store}");
    }

    #[test]
    fn evidence_and_verdict_of_an_object_store_read_as_the_vectors_write_them() {
        let stamp = StoreStamp {
            generation: 8,
            lease_ms: 30_000,
            nonce: 7,
        };
        let evidence = StoreEvidence {
            content: StoreContent::Valid(stamp),
            unchanged: Duration::from_secs(12),
            own_dead: false,
            both_clocks: Some(BothClocks {
                timestamp_age: Age::Ahead(Duration::from_secs(1)),
                modified_age: Age::Past(Duration::from_secs(2)),
            }),
        };
        let expected = json!({
            "content": "valid",
            "unchanged_ms": 12_000,
            "own_dead": false,
            "both_clocks": {"timestamp_age_ms": -1_000, "modified_age_ms": 2_000},
        });
        assert_eq!(json!(evidence), expected);
        let expected =
            json!({"state": "held", "reason_code": "within-lease", "stale_in_ms": 18_000});
        assert_eq!(json!(crate::judge::judge_store(&evidence)), expected);
    }

    // JavaScript reads 2^53 + 1 as 2^53, and u64::MAX ms as a time that it then adds to a date.
    #[test]
    fn no_number_is_too_large_for_a_double() {
        const LARGEST: u64 = (1 << 53) - 1;
        let verdict = |stale_in| Verdict::Held {
            reason: Reason::OtherHost,
            stale_in: Some(stale_in),
        };
        let stale_in = |time| json!(verdict(time)).get("stale_in_ms").cloned();
        let millis = |millis| stale_in(Duration::from_millis(millis));
        assert_eq!(millis(LARGEST), Some(json!(LARGEST)));
        assert_eq!(millis(LARGEST + 1), Some(Value::Null));
        assert_eq!(stale_in(Duration::MAX), Some(Value::Null), "never");
        assert_eq!(json!(Age::Ahead(Duration::MAX)), Value::Null);

        for (start_ticks, expected) in [
            (LARGEST, json!(LARGEST)),
            (LARGEST + 1, json!("9007199254740992")),
            (u64::MAX, json!("18446744073709551615")),
        ] {
            let alive = Process::Alive {
                start_ticks,
                started_after_timestamp: false,
            };
            let stamp = KernelStamp {
                inode_key: u64::MAX,
                start_ticks,
            };
            let of_store = StoreStamp {
                generation: start_ticks,
                lease_ms: u32::MAX,
                nonce: u32::MAX,
            };
            let object = json!(of_store);
            assert_eq!(object.get("generation"), Some(&expected), "{object}");
            for object in [
                json!(stamp),
                json!(Stamp::Same { start_ticks }),
                json!(Stamp::Different { start_ticks }),
                json!(alive),
            ] {
                assert_eq!(object.get("start_ticks"), Some(&expected), "{object}");
            }
        }
    }
}
