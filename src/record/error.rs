//! Why bytes are not a record.

use core::fmt;

use super::RECORD_LEN;

/// Why bytes are not a valid record, in the order in which the classes are tested.
///
/// ```
/// use rvlf::Record;
/// use rvlf::record::DecodeError;
///
/// assert_eq!(Record::decode(b"FLVR"), Err(DecodeError::Short { found: 4 }));
/// let error = Record::decode(b"{\"pid\": 4121}").unwrap_err();
/// assert_eq!(error.to_string(), r#"not an RVLF record: begins with "{\"pid\": 4121}""#);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The beginning of a record, no bytes, or zeros: a writer has not finished, or died before it
    /// finished.
    Short {
        /// The number of bytes.
        found: usize,
    },
    /// Not an RVLF record. Never to be removed.
    Foreign {
        /// The first bytes of the content.
        first: FirstBytes,
    },
    /// A record of a version that this library does not know. Never to be removed.
    UnsupportedVersion {
        /// The record's `lock_version`.
        found: u32,
    },
    /// Corrupt: the checksum is wrong by both polynomials.
    BadChecksum {
        /// The checksum in the record.
        stored: u32,
        /// The CRC-32/ISO-HDLC of the record's bytes.
        computed: u32,
    },
    /// Corrupt: the checksum is right, but the pid is 0 or above `i32::MAX`.
    BadPid {
        /// The pid in the record.
        found: u32,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Short { found: 0 } => f.write_str("empty file"),
            DecodeError::Short { found: RECORD_LEN } => {
                write!(f, "torn record: {RECORD_LEN} zero bytes")
            }
            DecodeError::Short { found } => {
                write!(f, "torn record: {found} of {RECORD_LEN} bytes")
            }
            DecodeError::Foreign { first } => write!(f, "not an RVLF record: begins with {first}"),
            DecodeError::UnsupportedVersion { found } => {
                write!(f, "RVLF record of unsupported version {found}")
            }
            DecodeError::BadChecksum { stored, computed } => write!(
                f,
                "corrupt record: checksum {stored:#010x}, computed {computed:#010x}"
            ),
            DecodeError::BadPid { found } => write!(f, "corrupt record: pid {found} out of range"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// The first bytes of a file that is not a record: enough to recognise which program wrote it.
///
/// `Display` gives the bytes as a quoted, escaped ASCII string.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FirstBytes {
    bytes: [u8; FirstBytes::MAX_LEN],
    len: u8,
}

impl FirstBytes {
    /// Enough to show `{"pid": 4121,`; short enough for an error message.
    pub const MAX_LEN: usize = 16;

    /// The beginning of `bytes`.
    pub(super) fn of(bytes: &[u8]) -> FirstBytes {
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
