//! `rvlf dump URL`: the bytes of a lock object.

use rvlf::Escaped;
use rvlf::record::RECORD_LEN;
use rvlf_object_store::{Found, Register};

use super::requests::with_bucket;
use super::url::Url;
use crate::failure::io_failed;
use crate::messages;
use crate::verbs::dump::Contents;

/// Reads the object itself: not the lock of an object. A failure is printed. The error is the exit status
/// for it.
pub fn read_lock(url: &Url) -> Result<Contents, u8> {
    let key = url.location().key.clone();
    let url_text = url.location().to_string();
    let name = Escaped::path(url_text.as_ref()).to_string();
    let read = with_bucket(url, async |bucket| bucket.register(key).get().await);
    match read {
        Ok(Ok(Found::Present(object))) => Ok(Contents {
            name,
            bytes: object.bytes.iter().copied().take(RECORD_LEN + 1).collect(),
            rest: payload(object.bytes.len().saturating_sub(RECORD_LEN)),
        }),
        Ok(Ok(Found::Absent)) => Err(io_failed(format_args!(
            "{name}: cannot read: there is no such object"
        ))),
        Ok(Err(error)) => Err(io_failed(format_args!("{name}: cannot read: {error}"))),
        Err(unsent) => Err(io_failed(unsent)),
    }
}

fn payload(len: usize) -> String {
    match len > rvlf_object_store::MAX_PAYLOAD_LEN {
        true => "more bytes than a payload has".into(),
        false => format!("a payload of {}", messages::count(len, "byte", "bytes")),
    }
}
