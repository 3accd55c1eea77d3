//! [`serde::Serialize`] for records and reports: the JSON of the command `rvlf` is made here.
//!
//! Keys and codes are stable; sentences and row numbers may change. Lengths of time are integers in
//! milliseconds. Numbers of 64 bits that JavaScript cannot hold exactly are strings.

use core::fmt::{self, Display};
use core::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::judge::{Age, Evidence, Reason, Stamp, Verdict};
use crate::record::{Hostname, KernelStamp, LOCK_VERSION, Pid, Record, WriterId};

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
        stamp.serialize_field("start_ticks", &self.start_ticks)?;
        stamp.end()
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hostname = self.hostname();
        let mut record = serializer.serialize_struct("Record", 8)?;
        record.serialize_field("pid", &self.pid())?;
        record.serialize_field("hostname", &Text(Utf8(&hostname)))?;
        record.serialize_field("hostname_hex", &Text(Hex(hostname.as_bytes())))?;
        record.serialize_field("timestamp_ns", &Text(self.timestamp_ns()))?;
        record.serialize_field("writer_id", &self.writer_id())?;
        record.serialize_field("lock_version", &LOCK_VERSION)?;
        record.serialize_field("checksum", self.checksum().name())?;
        record.serialize_field("stamp", &self.stamp())?;
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
        verdict.serialize_field("stale_in_ms", &self.stale_in().map(millis))?;
        verdict.end()
    }
}

/// As milliseconds, negative for a timestamp in the future.
impl Serialize for Age {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (time, sign) = match self {
            Age::Past(time) => (time, 1),
            Age::Ahead(time) => (time, -1),
        };
        let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        serializer.serialize_i64(sign * millis)
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
        stamp.serialize_field("start_ticks", start_ticks)?;
        stamp.end()
    }
}

impl Serialize for Evidence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut evidence = serializer.serialize_struct("Evidence", 10)?;
        evidence.serialize_field("content", &self.content)?;
        evidence.serialize_field("kernel_lock", &self.kernel_lock)?;
        evidence.serialize_field("file_system", &self.file_system)?;
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

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
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
            let mut report = serializer.serialize_struct("LockState", 12)?;
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
        report.serialize_field("stale_in_ms", &stale_in.map(millis))?;
        report.serialize_field("held_for_ms", &held_for.map(millis))?;
        report.serialize_field("timestamp_age_ms", &holder.and_then(Holder::timestamp_age))?;
        report.serialize_field("uid", &holder.and_then(Holder::uid))?;
        report.serialize_field("trailing_bytes", &holder.map(Holder::has_trailing_bytes))?;
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
