//! [`new_segment`]: an id for a segment that every program of the format can read.

use std::borrow::Cow;
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

/// Whether `segment` is a UUID in a form that `yoi` reads: with hyphens in their places, or without any.
pub(super) fn is_uuid(segment: &str) -> bool {
    uuid(segment).is_some()
}

fn uuid(segment: &str) -> Option<WriterId> {
    const HYPHENS: [usize; 4] = [8, 13, 18, 23];
    let hyphens: Vec<usize> = segment.match_indices('-').map(|(at, _)| at).collect();
    if !hyphens.is_empty() && hyphens != HYPHENS {
        return None;
    }
    segment.parse().ok()
}

/// What is equal for two texts that name one segment: a UUID may be written in upper and in lower case, and `yoi`
/// writes it as it likes.
pub(super) fn segment_key(segment: &str) -> Cow<'_, str> {
    match uuid(segment) {
        Some(uuid) => Cow::Owned(uuid.to_string()),
        None => Cow::Borrowed(segment),
    }
}

/// Whether both are segments, and the same one; or neither is.
pub(super) fn is_same_segment(one: Option<&str>, other: Option<&str>) -> bool {
    one.map(segment_key) == other.map(segment_key)
}

#[cfg(test)]
mod tests {
    use super::*;

    // `yoi` reads a UUID in either case as one segment, and refuses a table with hyphens in other places: two entries
    // wrote one segment, and `rvlf table check` found nothing.
    #[test]
    fn a_segment_is_compared_as_yoi_reads_it() {
        let lower = "0197f0c2-7d2b-7c55-9f0a-3d1f6f1f0a11";
        let same = |other| is_same_segment(Some(lower), Some(other));
        assert!(same("0197F0C2-7D2B-7C55-9F0A-3D1F6F1F0A11"));
        assert!(same("0197f0c27d2b7c559f0a3d1f6f1f0a11"));
        assert!(!same("0197f0c2-7d2b-7c55-9f0a-3d1f6f1f0a12"));
        assert!(!is_uuid("0-1-9-7f0c27d2b7c559f0a3d1f6f1f0a11--"));
        assert!(
            !is_same_segment(Some("part-A"), Some("part-a")),
            "any other text is what it is"
        );
        assert!(is_same_segment(None, None) && !is_same_segment(Some(""), None));
    }
}
