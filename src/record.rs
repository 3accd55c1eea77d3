//! The record: 104 bytes that say who is writing.
//!
//! Everything here is arithmetic on bytes: no I/O, no clock, no allocation, `no_std`. It is what an
//! implementer in another language ports first. Source: `spec/format.md`.
//!
//! ```text
//!        0        4        8                                                        72
//!        +--------+--------+--------------------------------------------------------+
//!  0x00  | magic  |  pid   | hostname, NUL, then zeros or the kernel stamp (64)      |
//!        +--------+--------+-------+--------------------------------+--------+------+-+
//!  0x48  | timestamp_ns (8)        | writer_id (16)                 | lock_v | checksum|
//!        +-------------------------+--------------------------------+--------+--------+
//!        72                        80                               96       100      104
//! ```
//!
//! All integers are little-endian. `checksum` covers every byte before it.

use core::fmt;
use core::num::NonZeroU32;
use core::ops::Range;

use bytemuck::{Pod, Zeroable};

/// The record's magic number. On disk, little-endian, its bytes read `46 4C 56 52` ("FLVR").
pub const MAGIC: u32 = 0x5256_4C46;

/// The only lock version there is.
pub const LOCK_VERSION: u32 = 1;

/// One field of the record: its name as the specification spells it, and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The field's name in `spec/format.md`.
    pub name: &'static str,
    /// Offset of its first byte.
    pub offset: usize,
    /// Its length in bytes.
    pub size: usize,
}

impl Field {
    /// The field that begins where this one ends, so that a wrong size moves everything behind it.
    const fn then(self, name: &'static str, size: usize) -> Field {
        Field {
            name,
            offset: self.offset + self.size,
            size,
        }
    }

    /// The bytes that the field occupies in a record.
    #[must_use]
    pub const fn range(self) -> Range<usize> {
        self.offset..self.offset + self.size
    }
}

const MAGIC_FIELD: Field = Field {
    name: "magic",
    offset: 0,
    size: 4,
};
const PID_FIELD: Field = MAGIC_FIELD.then("pid", 4);
const HOSTNAME_FIELD: Field = PID_FIELD.then("hostname", 64);
const TIMESTAMP_FIELD: Field = HOSTNAME_FIELD.then("timestamp_ns", 8);
const WRITER_ID_FIELD: Field = TIMESTAMP_FIELD.then("writer_id", 16);
const LOCK_VERSION_FIELD: Field = WRITER_ID_FIELD.then("lock_version", 4);
const CHECKSUM_FIELD: Field = LOCK_VERSION_FIELD.then("checksum", 4);

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

/// The bytes that a refresh rewrites: `timestamp_ns` to `checksum`, which lie together, so that one
/// write of 32 bytes refreshes a record.
pub const REFRESHED: Range<usize> = TIMESTAMP_FIELD.offset..RECORD_LEN;

/// A record as it lies in the file. Byte arrays only: alignment 1, no padding, no byte order.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Layout {
    magic: [u8; MAGIC_FIELD.size],
    pid: [u8; PID_FIELD.size],
    hostname: [u8; HOSTNAME_FIELD.size],
    timestamp_ns: [u8; TIMESTAMP_FIELD.size],
    writer_id: [u8; WRITER_ID_FIELD.size],
    lock_version: [u8; LOCK_VERSION_FIELD.size],
    checksum: [u8; CHECKSUM_FIELD.size],
}

const _: () = {
    let [.., last] = KernelStamp::FIELDS;
    assert!(last.range().end == TIMESTAMP_FIELD.offset);
};
const _: () = assert!(core::mem::offset_of!(Layout, timestamp_ns) == TIMESTAMP_FIELD.offset);
const _: () = assert!(core::mem::offset_of!(Layout, checksum) == CHECKSUM_FIELD.offset);
const _: () = assert!(size_of::<Layout>() == RECORD_LEN && RECORD_LEN == 104);

/// A process id that may stand in a record: 1 to `i32::MAX`.
///
/// 0 and larger values would mean process groups to kill(2); they cannot be held in this type.
/// Source: `spec/format.md#pid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pid(NonZeroU32);

impl Pid {
    /// The pid, if it lies in the permitted range.
    #[must_use]
    pub const fn new(pid: u32) -> Option<Pid> {
        match NonZeroU32::new(pid) {
            Some(pid) if pid.get() <= i32::MAX as u32 => Some(Pid(pid)),
            _ => None,
        }
    }

    /// The pid as a number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A host name as the record can hold it: at most 63 bytes, none of them NUL, any encoding.
///
/// `Display` replaces what is not UTF-8 and escapes control characters, so that a hostile name
/// cannot drive a terminal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hostname {
    /// The name, then zeros: derived equality needs the rest to be the same everywhere.
    bytes: [u8; Hostname::MAX_LEN],
    len: u8,
}

impl Hostname {
    /// The longest name, in bytes: the field's 64 less the terminating NUL.
    pub const MAX_LEN: usize = HOSTNAME_FIELD.size - 1;

    /// The name, if it fits and contains no NUL.
    #[must_use]
    pub fn new(name: &[u8]) -> Option<Hostname> {
        let fits = name.len() <= Hostname::MAX_LEN && !name.contains(&0);
        fits.then(|| Hostname::truncated(name))
    }

    /// As much of the name as fits: up to the first NUL, and at most 63 bytes of it.
    #[must_use]
    pub fn truncated(name: &[u8]) -> Hostname {
        let mut bytes = [0; Hostname::MAX_LEN];
        let mut len = 0;
        for (to, from) in bytes
            .iter_mut()
            .zip(name)
            .take_while(|(_, from)| **from != 0)
        {
            *to = *from;
            len += 1;
        }
        Hostname { bytes, len }
    }

    /// The name's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..self.len.into())
            .expect("len counts bytes of the array")
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.as_bytes().utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() {
                    write!(f, "{}", c.escape_unicode())?
                } else {
                    write!(f, "{c}")?
                }
            }
            if !chunk.invalid().is_empty() {
                f.write_str("\u{fffd}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hostname({self})")
    }
}

/// The random UUID (version 4) that names one hold of the lock.
///
/// Stored as 16 raw bytes in the order of RFC 9562; written as 8-4-4-4-12 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WriterId([u8; 16]);

impl WriterId {
    /// The id with exactly these bytes, as a record holds it.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> WriterId {
        WriterId(bytes)
    }

    /// A version 4 id made of random bytes: six of the 128 bits are set as RFC 9562 demands.
    #[must_use]
    pub const fn from_random(mut random: [u8; 16]) -> WriterId {
        random[6] = random[6] & 0x0f | 0x40;
        random[8] = random[8] & 0x3f | 0x80;
        WriterId(random)
    }

    /// The raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WriterId({self})")
    }
}

/// The text is not a UUID: 32 hexadecimal digits, in either case, hyphens optional.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseWriterIdError;

impl fmt::Display for ParseWriterIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a writer id is 32 hexadecimal digits, hyphens optional")
    }
}

impl core::error::Error for ParseWriterIdError {}

impl core::str::FromStr for WriterId {
    type Err = ParseWriterIdError;

    fn from_str(text: &str) -> Result<WriterId, ParseWriterIdError> {
        let mut digits = text.chars().filter(|c| *c != '-').map(|c| c.to_digit(16));
        let mut bytes = [0; 16];
        for byte in &mut bytes {
            let (Some(Some(high)), Some(Some(low))) = (digits.next(), digits.next()) else {
                return Err(ParseWriterIdError);
            };
            *byte = u8::try_from(high << 4 | low).expect("two hexadecimal digits make a byte");
        }
        digits
            .next()
            .is_none()
            .then_some(WriterId(bytes))
            .ok_or(ParseWriterIdError)
    }
}

/// A promise in the slack of the hostname field: the record's writer holds flock(2) `LOCK_EX` on
/// this very inode for as long as it holds the lock, and refreshes the record.
///
/// A contender that computes the same `inode_key` looks at the same inode on the same running
/// kernel, whatever host names and pid namespaces say. Other implementations do not see the stamp.
/// Source: `spec/format.md#kernel-stamp`.
///
/// ```text
///  0x34   tag, ASCII `RVK1` (4)
///  0x38   inode_key (8)
///  0x40   start_ticks (8)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KernelStamp {
    /// Names one inode on one running kernel; see [`KernelStamp::inode_key`].
    pub inode_key: u64,
    /// When the writer's process started, in clock ticks since boot: field 22 of
    /// `/proc/self/stat`, proc_pid_stat(5).
    pub start_ticks: u64,
}

impl KernelStamp {
    const TAG: [u8; 4] = *b"RVK1";
    const SIZE: usize = 20;
    /// Where the stamp lies within the hostname field: at its end.
    const START: usize = HOSTNAME_FIELD.size - KernelStamp::SIZE;

    /// The stamp's parts in the order of their bytes: a tag, which is ASCII `RVK1`, and the two
    /// numbers. Offsets are those in the record.
    pub const FIELDS: [Field; 3] = {
        let tag = Field {
            name: "stamp_tag",
            offset: HOSTNAME_FIELD.offset + KernelStamp::START,
            size: KernelStamp::TAG.len(),
        };
        let inode_key = tag.then("inode_key", 8);
        [tag, inode_key, inode_key.then("start_ticks", 8)]
    };

    /// The longest host name, in bytes, that leaves room for its NUL and the stamp.
    pub const MAX_HOSTNAME_LEN: usize = KernelStamp::START - 1;

    /// FNV-1a-64 over the 16 raw bytes of the boot id (`/proc/sys/kernel/random/boot_id`), the
    /// inode's `st_dev` and its `st_ino`, both as eight little-endian bytes.
    #[must_use]
    pub fn inode_key(boot_id: &[u8; 16], dev: u64, ino: u64) -> u64 {
        const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        let bytes = boot_id
            .iter()
            .copied()
            .chain(dev.to_le_bytes())
            .chain(ino.to_le_bytes());
        bytes.fold(OFFSET_BASIS, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(PRIME)
        })
    }

    fn to_bytes(self) -> [u8; KernelStamp::SIZE] {
        let mut bytes = [0; KernelStamp::SIZE];
        let (tag, rest) = bytes.split_at_mut(4);
        let (inode_key, start_ticks) = rest.split_at_mut(8);
        tag.copy_from_slice(&KernelStamp::TAG);
        inode_key.copy_from_slice(&self.inode_key.to_le_bytes());
        start_ticks.copy_from_slice(&self.start_ticks.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<KernelStamp> {
        let rest = bytes.strip_prefix(&KernelStamp::TAG)?;
        let (inode_key, rest) = rest.split_first_chunk()?;
        let (start_ticks, _) = rest.split_first_chunk()?;
        Some(KernelStamp {
            inode_key: u64::from_le_bytes(*inode_key),
            start_ticks: u64::from_le_bytes(*start_ticks),
        })
    }
}

/// Which polynomial a record's checksum was made with.
///
/// The published RVF text says CRC-32C; every deployed writer stores ISO-HDLC. We write ISO-HDLC and
/// read both: a record that follows the text must not look corrupt and be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Checksum {
    /// CRC-32/ISO-HDLC, the IEEE polynomial. Check value for "123456789": 0xCBF43926.
    IsoHdlc,
    /// CRC-32/ISCSI, also called CRC-32C. Check value for "123456789": 0xE3069283.
    Crc32c,
}

impl Checksum {
    /// The checksum of `bytes`.
    #[must_use]
    pub fn of(self, bytes: &[u8]) -> u32 {
        match self {
            Checksum::IsoHdlc => crc32fast::hash(bytes),
            Checksum::Crc32c => crc32c(bytes),
        }
    }
}

#[cfg(feature = "std")]
use ::crc32c::crc32c;

/// CRC-32C one bit at a time: small, for where the crate that does it fast needs std.
#[cfg(any(not(feature = "std"), test))]
mod bitwise {
    pub(super) fn crc32c(bytes: &[u8]) -> u32 {
        const REVERSED_POLYNOMIAL: u32 = 0x82f6_3b78;
        !bytes.iter().fold(!0, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                crc >> 1 ^ if crc & 1 == 1 { REVERSED_POLYNOMIAL } else { 0 }
            })
        })
    }
}
#[cfg(not(feature = "std"))]
use bitwise::crc32c;

/// The content of a lock file: who is writing, since when.
///
/// Equality is that of the bytes that [`Record::encode`] gives.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Record {
    pid: Pid,
    /// The whole field: readers ignore what follows the NUL, the checksum does not.
    hostname: [u8; HOSTNAME_FIELD.size],
    timestamp_ns: u64,
    writer_id: WriterId,
    checksum: Checksum,
}

impl Record {
    /// A record for a new hold of the lock.
    ///
    /// `timestamp_ns` is Unix time in nanoseconds. A stamp for which the host name leaves no room
    /// (more than [`KernelStamp::MAX_HOSTNAME_LEN`] bytes) is left out.
    #[must_use]
    pub fn new(
        pid: Pid,
        hostname: &Hostname,
        timestamp_ns: u64,
        writer_id: WriterId,
        stamp: Option<KernelStamp>,
    ) -> Record {
        let mut field = [0; HOSTNAME_FIELD.size];
        let name = hostname.as_bytes();
        for (to, from) in field.iter_mut().zip(name) {
            *to = *from;
        }
        if let Some(stamp) = stamp.filter(|_| name.len() <= KernelStamp::MAX_HOSTNAME_LEN) {
            let (_, slack) = field.split_at_mut(KernelStamp::START);
            slack.copy_from_slice(&stamp.to_bytes());
        }
        Record {
            pid,
            hostname: field,
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

    /// Names this hold of the lock.
    #[must_use]
    pub fn writer_id(&self) -> WriterId {
        self.writer_id
    }

    /// Which polynomial the record's checksum is made with.
    #[must_use]
    pub fn checksum(&self) -> Checksum {
        self.checksum
    }

    /// The kernel stamp, if the record carries one.
    #[must_use]
    pub fn stamp(&self) -> Option<KernelStamp> {
        let terminated = self
            .hostname
            .iter()
            .take(KernelStamp::START)
            .any(|byte| *byte == 0);
        let slack = self.hostname.get(KernelStamp::START..)?;
        terminated.then(|| KernelStamp::from_bytes(slack))?
    }

    /// The same record at another time, as a refresh writes it.
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
            writer_id: self.writer_id.0,
            lock_version: LOCK_VERSION.to_le_bytes(),
            checksum: [0; 4],
        };
        layout.checksum = self.checksum.of(checked(&layout)).to_le_bytes();
        bytemuck::cast(layout)
    }

    /// Reads a record from the first 104 bytes of a lock file's content.
    ///
    /// Bytes behind the record are ignored, as deployed clients do. Pass 105 bytes where the file
    /// has them: 104 zeros are what power loss leaves, 105 are somebody else's file.
    ///
    /// # Errors
    ///
    /// The first of the classes of `spec/format.md#decode-classes` that fits, in their order.
    pub fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
        let Some(whole) = bytes.get(..RECORD_LEN) else {
            return Err(if is_beginning(bytes) {
                DecodeError::Short { found: bytes.len() }
            } else {
                DecodeError::Foreign {
                    first: first_bytes(bytes),
                }
            });
        };
        let layout: &Layout = bytemuck::from_bytes(whole);
        if layout.magic != MAGIC.to_le_bytes() {
            return Err(if bytes.len() == RECORD_LEN && is_zero(bytes) {
                DecodeError::Short { found: RECORD_LEN }
            } else {
                DecodeError::Foreign {
                    first: first_bytes(bytes),
                }
            });
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
            writer_id: WriterId(layout.writer_id),
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
            .finish()
    }
}

/// The bytes that the checksum covers.
fn checked(layout: &Layout) -> &[u8] {
    bytemuck::bytes_of(layout).split_at(CHECKSUM_FIELD.offset).0
}

fn verify(layout: &Layout) -> Result<Checksum, DecodeError> {
    let stored = u32::from_le_bytes(layout.checksum);
    let computed = Checksum::IsoHdlc.of(checked(layout));
    if stored == computed {
        Ok(Checksum::IsoHdlc)
    } else if stored == Checksum::Crc32c.of(checked(layout)) {
        Ok(Checksum::Crc32c)
    } else {
        Err(DecodeError::BadChecksum { stored, computed })
    }
}

/// Whether fewer than 104 bytes are what a writer (or power loss) leaves of a record on its way.
fn is_beginning(bytes: &[u8]) -> bool {
    let magic = MAGIC.to_le_bytes();
    bytes.starts_with(&magic) || magic.starts_with(bytes) || is_zero(bytes)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn first_bytes(bytes: &[u8]) -> FirstBytes {
    let mut first = FirstBytes {
        bytes: [0; FirstBytes::MAX_LEN],
        len: 0,
    };
    for (to, from) in first.bytes.iter_mut().zip(bytes) {
        *to = *from;
        first.len += 1;
    }
    first
}

/// The first bytes of a file that is not a record: enough to recognise whose it is.
///
/// `Display` gives them as a quoted, escaped ASCII string.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FirstBytes {
    bytes: [u8; FirstBytes::MAX_LEN],
    len: u8,
}

impl FirstBytes {
    /// Enough to see `{"pid": 4121,`; short enough for an error message.
    pub const MAX_LEN: usize = 16;

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..self.len.into())
            .expect("len counts bytes of the array")
    }
}

impl fmt::Display for FirstBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

impl fmt::Debug for FirstBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FirstBytes({self})")
    }
}

/// Why bytes are not a valid record, in the order in which the classes are tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The beginning of a record (or nothing, or zeros): a writer is on its way, or died on it.
    Short {
        /// How many bytes there are.
        found: usize,
    },
    /// Not an RVLF record at all. Never to be removed.
    Foreign {
        /// How the content begins.
        first: FirstBytes,
    },
    /// A record of a version that we do not know. Never to be removed.
    UnsupportedVersion {
        /// Its `lock_version`.
        found: u32,
    },
    /// Corrupt: neither checksum fits.
    BadChecksum {
        /// The checksum in the record.
        stored: u32,
        /// The CRC-32/ISO-HDLC of its bytes.
        computed: u32,
    },
    /// Corrupt: the checksum fits, but the pid is 0 or above `i32::MAX`.
    BadPid {
        /// The pid in the record.
        found: u32,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Short { found: 0 } => f.write_str("empty file"),
            DecodeError::Short { found } => {
                write!(f, "torn record: {found} of {RECORD_LEN} bytes, or zeros")
            }
            DecodeError::Foreign { first } => write!(f, "not an RVLF record: begins with {first}"),
            DecodeError::UnsupportedVersion { found } => {
                write!(f, "RVLF record of unsupported version {found}")
            }
            DecodeError::BadChecksum { stored, computed } => {
                write!(
                    f,
                    "corrupt record: checksum {stored:#010x}, computed {computed:#010x}"
                )
            }
            DecodeError::BadPid { found } => write!(f, "corrupt record: pid {found} out of range"),
        }
    }
}

impl core::error::Error for DecodeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_polynomials_give_their_catalogued_check_values() {
        assert_eq!(Checksum::IsoHdlc.of(b"123456789"), 0xcbf4_3926);
        assert_eq!(Checksum::Crc32c.of(b"123456789"), 0xe306_9283);
    }

    // The no_std build computes CRC-32C by a loop that no std build runs otherwise: a slip in it
    // would make one build call corrupt, and break, what the other calls valid.
    #[cfg(feature = "std")]
    #[test]
    fn bitwise_crc32c_equals_the_crate() {
        let mut bytes = [0_u8; 300];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::try_from(i * 7919 % 251).expect("a remainder of 251 is a byte");
        }
        for len in 0..bytes.len() {
            let bytes = bytes.get(..len).expect("len is below the length");
            assert_eq!(
                bitwise::crc32c(bytes),
                ::crc32c::crc32c(bytes),
                "length {len}"
            );
        }
    }
}
