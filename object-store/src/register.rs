//! [`Register`]: one object that is read, and written under a condition.

use std::error::Error;
use std::fmt;
use std::pin::Pin;

use bytes::Bytes;

use crate::machine::{Condition, ErrorClass, Found, Put};

/// The future that a [`Register`] returns.
pub type RegisterFuture<T> = Pin<Box<dyn Future<Output = Result<T, RegisterError>> + Send>>;

/// One object that can be read, and written under a condition: all that the lock needs of a store.
///
/// The two calls are atomic and linearizable: assumption A7 of `spec/object-store.md`. An
/// implementation sends each request once. A repetition is the caller's: a client below that sends a
/// conditional write again is refused because of its own first copy.
pub trait Register: Send + Sync + 'static {
    /// Reads the object.
    ///
    /// # Errors
    ///
    /// See [`ErrorClass`].
    fn get(&self) -> RegisterFuture<Found>;

    /// Writes `bytes` if `condition` holds.
    ///
    /// # Errors
    ///
    /// See [`ErrorClass`]. A write that ends with an error may have been done, and may still be done
    /// later.
    fn put_if(&self, bytes: Bytes, condition: Condition) -> RegisterFuture<Put>;

    /// The name of the object for messages: its URL, without credentials.
    fn name(&self) -> String;
}

/// Why a store gave no answer.
#[derive(Debug)]
pub struct RegisterError {
    /// What the caller can conclude.
    pub class: ErrorClass,
    /// What the client below reported.
    pub source: Box<dyn Error + Send + Sync>,
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.source, f)
    }
}

impl Error for RegisterError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}
