//! Asides: the names that breakers give to lock files that they remove.

use std::ffi::{OsStr, OsString};
use std::io;

use crate::record::{DecodeError, Record};
use crate::sys::{Prefix, Sys};

/// What a breaker renames the lock file to; always fits NAME_MAX.
const ASIDE_PREFIX: &str = ".rvlf-";

/// A new name for an aside.
pub(super) fn aside_name<S: Sys>(sys: &S) -> io::Result<OsString> {
    let [a, b, c, d, e, f, g, h, ..] = sys.random()?;
    let number = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    Ok(format!("{ASIDE_PREFIX}{number:016x}").into())
}

pub(super) fn is_aside_name(name: &OsStr) -> bool {
    let number = name
        .to_str()
        .and_then(|name| name.strip_prefix(ASIDE_PREFIX));
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    number.is_some_and(|number| number.len() == 16 && number.bytes().all(is_hex))
}

/// Whether the content of an aside is a lock's: whole, torn or damaged. (A torn one was broken by
/// row 4.)
pub(super) fn is_rvlf_content(prefix: &Prefix) -> bool {
    !matches!(
        Record::decode(prefix.bytes()),
        Err(DecodeError::Foreign { .. } | DecodeError::UnsupportedVersion { .. })
    )
}
