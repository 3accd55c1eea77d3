//! The types of the fields: process id, host name, writer id.

use core::fmt;
use core::num::NonZeroU32;
use core::str::FromStr;

use super::layout::HOSTNAME_FIELD;
use crate::escape::Escaped;

/// A process id that may stand in a record: 1 to `i32::MAX`.
///
/// 0 and larger values mean process groups to kill(2); this type cannot hold them.
/// Source: `spec/format.md#pid`.
///
/// ```
/// use rvlf::record::Pid;
///
/// assert_eq!(Pid::new(4121).map(Pid::get), Some(4121));
/// assert!(Pid::new(0).is_none());
/// assert!(Pid::try_from(u32::MAX).is_err());
/// ```
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
    ///
    /// ```
    /// use rvlf::record::Pid;
    ///
    /// assert_eq!(Pid::new(7).map(Pid::get), Some(7));
    /// ```
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

/// A number that is no process id: 0, or above `i32::MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PidOutOfRange;

impl fmt::Display for PidOutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a process id is between 1 and 2147483647")
    }
}

impl core::error::Error for PidOutOfRange {}

impl TryFrom<u32> for Pid {
    type Error = PidOutOfRange;

    fn try_from(pid: u32) -> Result<Pid, PidOutOfRange> {
        Pid::new(pid).ok_or(PidOutOfRange)
    }
}

impl From<Pid> for u32 {
    fn from(pid: Pid) -> u32 {
        pid.get()
    }
}

/// A host name as the record can hold it: at most 63 bytes, none of them NUL, any encoding.
///
/// `Display` is safe on a terminal, whatever the name is: see [`Escaped`](crate::Escaped).
///
/// ```
/// use rvlf::record::Hostname;
///
/// let name = Hostname::new(b"db-3").expect("it is short and has no NUL");
/// assert_eq!(name.as_bytes(), b"db-3");
/// assert!(Hostname::new(&[b'x'; 64]).is_none());
/// assert_eq!(Hostname::truncated(b"db\0-3").to_string(), "db");
/// assert_eq!(Hostname::truncated(b"\x1b[2J").to_string(), r"\u{1b}[2J");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hostname {
    /// The name, then zeros: derived equality requires equal bytes behind the name.
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
    ///
    /// ```
    /// use rvlf::record::Hostname;
    ///
    /// assert_eq!(Hostname::truncated(&[b'x'; 100]).as_bytes().len(), 63);
    /// ```
    #[must_use]
    pub fn truncated(name: &[u8]) -> Hostname {
        let mut bytes = [0; Hostname::MAX_LEN];
        let mut len = 0;
        let until_nul = name.iter().take_while(|byte| **byte != 0);
        for (to, from) in bytes.iter_mut().zip(until_nul) {
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

impl AsRef<[u8]> for Hostname {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped::bytes(self.as_bytes()).fmt(f)
    }
}

impl fmt::Debug for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hostname({self})")
    }
}

/// The random UUID (version 4) that identifies one hold of the lock.
///
/// Stored as 16 raw bytes in the order of RFC 9562; written as 8-4-4-4-12 hexadecimal digits.
///
/// ```
/// use rvlf::WriterId;
///
/// let id = WriterId::from_random([0xab; 16]);
/// assert_eq!(id.to_string(), "abababab-abab-4bab-abab-abababababab");
/// assert_eq!(id.to_string().parse(), Ok(id));
/// assert_eq!(WriterId::from(*id.as_bytes()), id);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WriterId([u8; 16]);

impl WriterId {
    /// The id with exactly these bytes, as a record holds it.
    ///
    /// ```
    /// use rvlf::WriterId;
    ///
    /// assert_eq!(WriterId::from_bytes([7; 16]).as_bytes(), &[7; 16]);
    /// ```
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> WriterId {
        WriterId(bytes)
    }

    /// A version 4 id made of random bytes: six of the 128 bits are set as RFC 9562 requires.
    ///
    /// ```
    /// use rvlf::WriterId;
    ///
    /// let id = WriterId::from_random([0; 16]);
    /// assert_eq!(id.to_string(), "00000000-0000-4000-8000-000000000000");
    /// ```
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

impl From<[u8; 16]> for WriterId {
    fn from(bytes: [u8; 16]) -> WriterId {
        WriterId(bytes)
    }
}

impl From<WriterId> for [u8; 16] {
    fn from(id: WriterId) -> [u8; 16] {
        id.0
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

impl FromStr for WriterId {
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
        match digits.next() {
            None => Ok(WriterId(bytes)),
            Some(_) => Err(ParseWriterIdError),
        }
    }
}
