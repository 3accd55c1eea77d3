//! [`new_segment`]: an id for a segment that every program of the format can read.

use std::io;

use crate::record::WriterId;
use crate::sys::{Host, Sys};

/// A new random UUID, as the id of a segment.
///
/// A table takes any text for a segment. The programs whose format it is refuse a whole table in
/// which one segment is not a UUID.
///
/// # Errors
///
/// The operating system gave no random bytes.
///
/// ```
/// use rvlf::table::new_segment;
///
/// assert_eq!(new_segment()?.len(), 36);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn new_segment() -> io::Result<String> {
    Ok(WriterId::from_random(Host.random()?).to_string())
}

/// Whether `segment` is a UUID.
pub(super) fn is_uuid(segment: &str) -> bool {
    segment.parse::<WriterId>().is_ok()
}
