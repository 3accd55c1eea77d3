//! The two polynomials of a record's checksum.

/// The polynomial of a record's checksum.
///
/// The published RVF text says CRC-32C; every deployed writer stores ISO-HDLC. This library writes
/// ISO-HDLC and reads both: a record that follows the text must not look corrupt and be broken.
///
/// ```
/// use rvlf::record::Checksum;
///
/// assert_eq!(Checksum::IsoHdlc.of(b"123456789"), 0xcbf4_3926);
/// assert_eq!(Checksum::Crc32c.of(b"123456789"), 0xe306_9283);
/// ```
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
    ///
    /// ```
    /// use rvlf::record::Checksum;
    ///
    /// assert_eq!(Checksum::IsoHdlc.of(b"123456789"), 0xcbf4_3926);
    /// ```
    #[must_use]
    pub fn of(self, bytes: &[u8]) -> u32 {
        match self {
            Checksum::IsoHdlc => crc32fast::hash(bytes),
            Checksum::Crc32c => crc32c(bytes),
        }
    }

    /// The name in JSON and in the specification: `iso-hdlc` or `crc-32c`.
    ///
    /// ```
    /// use rvlf::record::Checksum;
    ///
    /// assert_eq!(Checksum::Crc32c.name(), "crc-32c");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Checksum::IsoHdlc => "iso-hdlc",
            Checksum::Crc32c => "crc-32c",
        }
    }
}

#[cfg(feature = "std")]
use ::crc32c::crc32c;
#[cfg(not(feature = "std"))]
use bitwise::crc32c;

/// CRC-32C one bit at a time, for builds without std: the crate `crc32c` needs std.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_polynomials_give_their_catalogued_check_values() {
        assert_eq!(Checksum::IsoHdlc.of(b"123456789"), 0xcbf4_3926);
        assert_eq!(Checksum::Crc32c.of(b"123456789"), 0xe306_9283);
    }

    // The no_std build computes CRC-32C by a loop that no std build runs otherwise: an error in the
    // loop would make one build call corrupt, and break, what the other calls valid.
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
