//! The position of each field, and the record as it lies in the file.

use core::ops::Range;

use bytemuck::{Pod, Zeroable};

use super::{KernelStamp, StoreStamp};

/// The record's magic number. On disk, little-endian, its bytes are `46 4C 56 52` ("FLVR").
pub const MAGIC: u32 = 0x5256_4C46;

/// The lock version that this library reads and writes; no other version exists.
pub const LOCK_VERSION: u32 = 1;

/// One field of the record: its name as the specification spells it, and its position in bytes.
///
/// ```
/// use rvlf::record::{FIELDS, RECORD_LEN};
///
/// let [magic, pid, ..] = FIELDS;
/// assert_eq!((magic.name, magic.range()), ("magic", 0..4));
/// assert_eq!((pid.name, pid.range()), ("pid", 4..8));
/// assert_eq!(FIELDS.iter().map(|field| field.size).sum::<usize>(), RECORD_LEN);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The field's name in `spec/format.md`.
    pub name: &'static str,
    /// Offset of the first byte.
    pub offset: usize,
    /// Length in bytes.
    pub size: usize,
}

impl Field {
    /// The field that begins where this one ends, so that a wrong size moves every later field.
    pub(super) const fn then(self, name: &'static str, size: usize) -> Field {
        Field {
            name,
            offset: self.offset + self.size,
            size,
        }
    }

    /// The bytes that the field occupies in a record.
    ///
    /// ```
    /// use rvlf::record::FIELDS;
    ///
    /// let [.., checksum] = FIELDS;
    /// assert_eq!(checksum.range(), 100..104);
    /// ```
    #[must_use]
    pub const fn range(self) -> Range<usize> {
        self.offset..self.offset + self.size
    }
}

pub(super) const MAGIC_FIELD: Field = Field {
    name: "magic",
    offset: 0,
    size: 4,
};
pub(super) const PID_FIELD: Field = MAGIC_FIELD.then("pid", 4);
pub(super) const HOSTNAME_FIELD: Field = PID_FIELD.then("hostname", 64);
pub(super) const TIMESTAMP_FIELD: Field = HOSTNAME_FIELD.then("timestamp_ns", 8);
pub(super) const WRITER_ID_FIELD: Field = TIMESTAMP_FIELD.then("writer_id", 16);
pub(super) const LOCK_VERSION_FIELD: Field = WRITER_ID_FIELD.then("lock_version", 4);
pub(super) const CHECKSUM_FIELD: Field = LOCK_VERSION_FIELD.then("checksum", 4);

/// The record's fields in the order of their bytes.
pub const FIELDS: [Field; 7] = [
    MAGIC_FIELD,
    PID_FIELD,
    HOSTNAME_FIELD,
    TIMESTAMP_FIELD,
    WRITER_ID_FIELD,
    LOCK_VERSION_FIELD,
    CHECKSUM_FIELD,
];

/// Length of a record in bytes.
pub const RECORD_LEN: usize = CHECKSUM_FIELD.offset + CHECKSUM_FIELD.size;

/// A record as it lies in the file. Byte arrays only: alignment 1, no padding, no byte order.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct Layout {
    pub(super) magic: [u8; MAGIC_FIELD.size],
    pub(super) pid: [u8; PID_FIELD.size],
    pub(super) hostname: [u8; HOSTNAME_FIELD.size],
    pub(super) timestamp_ns: [u8; TIMESTAMP_FIELD.size],
    pub(super) writer_id: [u8; WRITER_ID_FIELD.size],
    pub(super) lock_version: [u8; LOCK_VERSION_FIELD.size],
    pub(super) checksum: [u8; CHECKSUM_FIELD.size],
}

impl Layout {
    /// The bytes that the checksum covers: every byte before it.
    pub(super) fn checked(&self) -> &[u8] {
        bytemuck::bytes_of(self).split_at(CHECKSUM_FIELD.offset).0
    }
}

const _: () = {
    let [.., start_ticks] = KernelStamp::FIELDS;
    let [.., nonce] = StoreStamp::FIELDS;
    assert!(start_ticks.range().end == TIMESTAMP_FIELD.offset);
    assert!(nonce.range().end == TIMESTAMP_FIELD.offset);
};
const _: () = assert!(core::mem::offset_of!(Layout, timestamp_ns) == TIMESTAMP_FIELD.offset);
const _: () = assert!(core::mem::offset_of!(Layout, checksum) == CHECKSUM_FIELD.offset);
const _: () = assert!(size_of::<Layout>() == RECORD_LEN && RECORD_LEN == 104);
