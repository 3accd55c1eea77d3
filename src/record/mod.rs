//! The record: 104 bytes that name the process that is writing.
//!
//! Everything here is arithmetic on bytes: no I/O, no clock, no allocation, `no_std`. An
//! implementer in another language ports this module first. Source: `spec/format.md`.
//!
//! ```text
//!        0        4        8                                                        72
//!        +--------+--------+--------------------------------------------------------+
//!  0x00  | magic  |  pid   | hostname, NUL, then zeros or a stamp (64)               |
//!        +--------+--------+-------+--------------------------------+--------+------+-+
//!  0x48  | timestamp_ns (8)        | writer_id (16)                 | lock_v | checksum|
//!        +-------------------------+--------------------------------+--------+--------+
//!        72                        80                               96       100      104
//! ```
//!
//! All integers are little-endian. `checksum` covers every byte before it.

mod checksum;
mod error;
mod fields;
mod layout;
mod stamp;

use core::fmt;

pub use checksum::Checksum;
pub use error::{DecodeError, FirstBytes};
pub use fields::{Hostname, ParseWriterIdError, Pid, PidOutOfRange, WriterId};
pub use layout::{FIELDS, Field, LOCK_VERSION, MAGIC, RECORD_LEN};
pub use stamp::{KernelStamp, StoreStamp};

use layout::{HOSTNAME_FIELD, Layout};

/// The content of a lock file: which process is writing, and since when.
///
/// Two records are equal if [`Record::encode`] gives the same bytes for both.
///
/// ```
/// use rvlf::record::{Hostname, Pid};
/// use rvlf::{Record, WriterId};
///
/// let pid = Pid::new(4121).expect("it is in range");
/// let hostname = Hostname::new(b"db-3").expect("it is short");
/// let record = Record::new(pid, &hostname, 1_700_000_000_000_000_000, WriterId::from([7; 16]), None);
///
/// let bytes = record.encode();
/// assert_eq!(bytes.len(), 104);
/// assert_eq!(Record::decode(&bytes), Ok(record));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Record {
    pid: Pid,
    /// The whole field: readers ignore the bytes behind the NUL, the checksum covers them.
    hostname: [u8; HOSTNAME_FIELD.size],
    timestamp_ns: u64,
    writer_id: WriterId,
    checksum: Checksum,
}

impl Record {
    /// A record for a new hold of the lock.
    ///
    /// `timestamp_ns` is Unix time in nanoseconds. With a stamp the first
    /// [`KernelStamp::MAX_HOSTNAME_LEN`] bytes of the host name are kept: a longer name, cut, is that of
    /// another host for every reader, and the stamp decides before names do.
    #[must_use]
    pub fn new(
        pid: Pid,
        hostname: &Hostname,
        timestamp_ns: u64,
        writer_id: WriterId,
        stamp: Option<KernelStamp>,
    ) -> Record {
        let stamp = stamp.map(KernelStamp::to_bytes);
        let stamp = stamp.as_ref().map(|bytes| bytes.as_slice());
        let field = hostname_field(hostname.as_bytes(), stamp);
        Record::with_field(pid, field, timestamp_ns, writer_id)
    }

    /// A record for one write of a lock in an object store, as its holder or, with a lease of 0, as the
    /// release of it.
    ///
    /// `timestamp_ns` is Unix time in nanoseconds. Of the host name the first
    /// [`StoreStamp::MAX_HOSTNAME_LEN`] bytes are kept: no rule of `spec/object-store.md` compares it.
    ///
    /// ```
    /// use rvlf::record::{Hostname, Pid, StoreStamp};
    /// use rvlf::{Record, WriterId};
    ///
    /// let pid = Pid::new(4121).expect("it is in range");
    /// let hostname = Hostname::truncated(b"db-3");
    /// let stamp = StoreStamp { generation: 8, lease_ms: 30_000, nonce: 7 };
    /// let record = Record::for_store(pid, &hostname, 1, WriterId::from([7; 16]), stamp);
    /// assert_eq!(record.store_stamp(), Some(stamp));
    /// assert_eq!(record.stamp(), None, "for a lock file it is a record without a stamp");
    /// ```
    #[must_use]
    pub fn for_store(
        pid: Pid,
        hostname: &Hostname,
        timestamp_ns: u64,
        writer_id: WriterId,
        stamp: StoreStamp,
    ) -> Record {
        let field = hostname_field(hostname.as_bytes(), Some(&stamp.to_bytes()));
        Record::with_field(pid, field, timestamp_ns, writer_id)
    }

    fn with_field(
        pid: Pid,
        hostname: [u8; HOSTNAME_FIELD.size],
        timestamp_ns: u64,
        writer_id: WriterId,
    ) -> Record {
        Record {
            pid,
            hostname,
            timestamp_ns,
            writer_id,
            checksum: Checksum::IsoHdlc,
        }
    }

    /// The process that holds the lock, numbered in its own pid namespace.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The host that the process runs on: the field up to its first NUL, at most 63 bytes.
    #[must_use]
    pub fn hostname(&self) -> Hostname {
        Hostname::truncated(&self.hostname)
    }

    /// Unix time in nanoseconds of the acquisition or of the latest refresh, by the holder's clock.
    #[must_use]
    pub fn timestamp_ns(&self) -> u64 {
        self.timestamp_ns
    }

    /// The id of this hold of the lock.
    #[must_use]
    pub fn writer_id(&self) -> WriterId {
        self.writer_id
    }

    /// The polynomial of the record's checksum.
    #[must_use]
    pub fn checksum(&self) -> Checksum {
        self.checksum
    }

    /// The kernel stamp, if the record contains one.
    #[must_use]
    pub fn stamp(&self) -> Option<KernelStamp> {
        KernelStamp::from_bytes(self.stamp_bytes()?)
    }

    /// The store stamp, if the record contains one: it is then of a lock in an object store.
    #[must_use]
    pub fn store_stamp(&self) -> Option<StoreStamp> {
        StoreStamp::from_bytes(self.stamp_bytes()?)
    }

    /// The place of the stamp, if the host name ends before it.
    fn stamp_bytes(&self) -> Option<&[u8]> {
        let (name, stamp) = self.hostname.split_at(stamp::START);
        name.contains(&0).then_some(stamp)
    }

    /// The same record with another timestamp (Unix time in nanoseconds), as a refresh writes it.
    ///
    /// ```
    /// # use rvlf::record::{Hostname, Pid};
    /// # use rvlf::{Record, WriterId};
    /// # let pid = Pid::new(4121).expect("it is in range");
    /// let first = Record::new(pid, &Hostname::truncated(b"db-3"), 1, WriterId::from([7; 16]), None);
    /// let later = first.refreshed(2);
    /// // Only the timestamp and the checksum change.
    /// assert_eq!(first.encode()[..0x48], later.encode()[..0x48]);
    /// assert_eq!(later.writer_id(), first.writer_id());
    /// ```
    #[must_use]
    pub fn refreshed(&self, timestamp_ns: u64) -> Record {
        Record {
            timestamp_ns,
            checksum: Checksum::IsoHdlc,
            ..*self
        }
    }

    /// The record's 104 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_LEN] {
        let mut layout = Layout {
            magic: MAGIC.to_le_bytes(),
            pid: self.pid.get().to_le_bytes(),
            hostname: self.hostname,
            timestamp_ns: self.timestamp_ns.to_le_bytes(),
            writer_id: *self.writer_id.as_bytes(),
            lock_version: LOCK_VERSION.to_le_bytes(),
            checksum: [0; 4],
        };
        layout.checksum = self.checksum.of(layout.checked()).to_le_bytes();
        bytemuck::cast(layout)
    }

    /// Reads a record from the first 104 bytes of a lock file's content.
    ///
    /// Bytes behind the record are ignored, as deployed clients ignore them. Pass 105 bytes if the
    /// file has them: a file of 104 zeros is what a power loss leaves, a file of 105 zeros belongs
    /// to another program.
    ///
    /// ```
    /// use rvlf::Record;
    /// use rvlf::record::DecodeError;
    ///
    /// assert!(matches!(Record::decode(&[0; 104]), Err(DecodeError::Short { .. })));
    /// assert!(matches!(Record::decode(&[0; 105]), Err(DecodeError::Foreign { .. })));
    /// ```
    ///
    /// # Errors
    ///
    /// The first class of `spec/format.md#decode-classes` that fits, in their order.
    pub fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
        let Some(whole) = bytes.get(..RECORD_LEN) else {
            return Err(without_record(bytes, is_beginning(bytes)));
        };
        let layout: &Layout = bytemuck::from_bytes(whole);
        if layout.magic != MAGIC.to_le_bytes() {
            let lost_power = bytes.len() == RECORD_LEN && is_zero(bytes);
            return Err(without_record(bytes, lost_power));
        }
        let found = u32::from_le_bytes(layout.lock_version);
        if found != LOCK_VERSION {
            return Err(DecodeError::UnsupportedVersion { found });
        }
        let checksum = verify(layout)?;
        let found = u32::from_le_bytes(layout.pid);
        Ok(Record {
            pid: Pid::new(found).ok_or(DecodeError::BadPid { found })?,
            hostname: layout.hostname,
            timestamp_ns: u64::from_le_bytes(layout.timestamp_ns),
            writer_id: WriterId::from_bytes(layout.writer_id),
            checksum,
        })
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("pid", &self.pid.get())
            .field("hostname", &self.hostname())
            .field("timestamp_ns", &self.timestamp_ns)
            .field("writer_id", &self.writer_id)
            .field("checksum", &self.checksum)
            .field("stamp", &self.stamp())
            .field("store_stamp", &self.store_stamp())
            .finish()
    }
}

/// The host name field: the name, or as much of it as leaves room for a NUL and the stamp.
fn hostname_field(name: &[u8], stamp: Option<&[u8]>) -> [u8; HOSTNAME_FIELD.size] {
    let mut field = [0; HOSTNAME_FIELD.size];
    let room = stamp.map_or(name.len(), |_| KernelStamp::MAX_HOSTNAME_LEN);
    for (to, from) in field.iter_mut().zip(name.iter().take(room)) {
        *to = *from;
    }
    if let Some(stamp) = stamp {
        field.split_at_mut(stamp::START).1.copy_from_slice(stamp);
    }
    field
}

fn without_record(bytes: &[u8], is_torn: bool) -> DecodeError {
    if is_torn {
        DecodeError::Short { found: bytes.len() }
    } else {
        DecodeError::Foreign {
            first: FirstBytes::of(bytes),
        }
    }
}

fn verify(layout: &Layout) -> Result<Checksum, DecodeError> {
    let stored = u32::from_le_bytes(layout.checksum);
    let computed = Checksum::IsoHdlc.of(layout.checked());
    if stored == computed {
        Ok(Checksum::IsoHdlc)
    } else if stored == Checksum::Crc32c.of(layout.checked()) {
        Ok(Checksum::Crc32c)
    } else {
        Err(DecodeError::BadChecksum { stored, computed })
    }
}

/// Whether fewer than 104 bytes are what an unfinished write (or a power loss) leaves of a record.
fn is_beginning(bytes: &[u8]) -> bool {
    let magic = MAGIC.to_le_bytes();
    bytes.starts_with(&magic) || magic.starts_with(bytes) || is_zero(bytes)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
