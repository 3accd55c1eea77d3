//! What a store answers about the one object of a lock.

use bytes::Bytes;

/// What identifies one state of an object: a conditional write names it.
///
/// Stores differ in the field that they compare: S3 and Azure the ETag, Google Cloud Storage the
/// generation. Both are kept, and both are handed back as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Version {
    /// The ETag, with its quotes if the store sent some.
    pub e_tag: Option<String>,
    /// The store's number for this state of the object.
    pub version: Option<String>,
}

/// An object as a GET found it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stored {
    /// The record, and the payload behind it.
    pub bytes: Bytes,
    /// What a conditional write has to name to replace exactly this state.
    pub version: Version,
    /// `Last-Modified`, Unix time in milliseconds by the store's clock.
    pub modified_ms: Option<u64>,
}

/// The answer of a GET.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Found {
    /// There is no object under the key.
    Absent,
    /// There is one.
    Present(Stored),
}

/// The condition of a write. There is no write without one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// There is no object under the key.
    Absent,
    /// The object is in the state with this version.
    Version(Version),
}

/// The answer of a conditional write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Put {
    /// The write is done: the object has this version now.
    Stored(Version),
    /// The condition does not hold. The cause may be an earlier copy of this very write.
    Refused,
}

/// What the caller of a store can conclude from an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// A timeout, a lost connection, a server that is overloaded: ask again.
    Unknown,
    /// The store does not allow the request. For a GET, S3 answers so for a key that does not exist if
    /// the user may not list the bucket.
    Denied,
    /// The request cannot succeed: no such bucket, a wrong configuration, a call that the store does
    /// not implement.
    Permanent,
}
