//! What a write puts into the object: the record, and the payload behind it.

use bytes::{Bytes, BytesMut};
use rvlf::record::{Hostname, Pid, RECORD_LEN, StoreStamp};
use rvlf::{Record, WriterId};

use super::object::Version;
use super::step::Moment;

/// Who writes: one acquisition of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Writer {
    /// The process.
    pub pid: Pid,
    /// Its host. Informs only.
    pub hostname: Hostname,
    /// Fresh for each acquisition.
    pub writer_id: WriterId,
}

/// The content of the object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Content {
    /// The record.
    pub record: Record,
    /// What the user stored behind it.
    pub payload: Bytes,
    /// Both, as the store has them.
    pub bytes: Bytes,
}

impl Content {
    fn new(record: Record, payload: Bytes) -> Content {
        let mut bytes = BytesMut::with_capacity(RECORD_LEN + payload.len());
        bytes.extend_from_slice(&record.encode());
        bytes.extend_from_slice(&payload);
        Content {
            record,
            payload,
            bytes: bytes.freeze(),
        }
    }

    /// Reads the content of an object. `None` if it does not begin with a record.
    #[must_use]
    pub fn of(bytes: &Bytes) -> Option<Content> {
        let record = Record::decode(bytes).ok()?;
        Some(Content {
            record,
            payload: bytes.slice(RECORD_LEN..),
            bytes: bytes.clone(),
        })
    }

    /// The first content of a new hold.
    pub(super) fn of_new_hold(
        writer: &Writer,
        lease_ms: u32,
        generation: u64,
        payload: Bytes,
        at: &Moment,
    ) -> Content {
        let stamp = StoreStamp {
            generation,
            lease_ms,
            nonce: nonce(at),
        };
        let record = Record::for_store(
            writer.pid,
            &writer.hostname,
            at.unix_ns,
            writer.writer_id,
            stamp,
        );
        Content::new(record, payload)
    }

    /// The lease in the record, in milliseconds.
    pub(super) fn lease_ms(&self) -> u32 {
        self.record.store_stamp().map_or(0, |stamp| stamp.lease_ms)
    }

    /// The next content of the same hold. `lease_ms` 0 makes it the tombstone.
    ///
    /// No two logical writes have equal bytes, also when the clock stands still or goes back: stores
    /// whose version is a hash of the bytes would take one for the other.
    pub(super) fn next(&self, lease_ms: u32, payload: Bytes, at: &Moment) -> Content {
        let generation = self
            .record
            .store_stamp()
            .map_or(0, |stamp| stamp.generation);
        let stamp = StoreStamp {
            generation,
            lease_ms,
            nonce: nonce(at),
        };
        let record = Record::for_store(
            self.record.pid(),
            &self.record.hostname(),
            at.unix_ns.max(self.record.timestamp_ns().saturating_add(1)),
            self.record.writer_id(),
            stamp,
        );
        Content::new(record, payload)
    }
}

/// A content that the store was confirmed to have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Confirmed {
    pub(super) content: Content,
    pub(super) version: Version,
}

fn nonce(at: &Moment) -> u32 {
    let [a, b, c, d, ..] = at.random.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
