//! [`Register`]: one object that is read, and written under a condition.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;

use crate::machine::{Condition, ErrorClass, Found, Put};
use crate::store_error;

/// The future that a [`Register`] returns.
pub type RegisterFuture<T> = Pin<Box<dyn Future<Output = Result<T, RegisterError>> + Send>>;

/// One object that can be read, and written under a condition: all that the lock needs of a store.
///
/// The two calls are atomic and linearizable: assumption A7 of `spec/object-store.md`. An
/// implementation sends each request once. A repetition is the caller's: a client below that sends a
/// conditional write again is refused because of its own first copy.
///
/// **Neither the methods nor their futures may block the thread.** One thread sends the requests of all locks of
/// the process, refreshes them and wakes their callers. While a method blocks it, as by a file, a name server
/// or a token that is read from a pipe, no lock of the process is refreshed, no timeout ends, and no caller of
/// [`lost`](crate::StoreLock::lost), [`commit`](crate::StoreLock::commit) or
/// [`release`](crate::StoreLock::release) goes on. After two thirds of its lease each lock has expired, which
/// [`check_local`](crate::StoreLock::check_local) alone reports in time: it needs no other thread. Do such work
/// on threads of your own, and await them. The same holds for the credentials and the connections of an
/// [`ObjectStore`](object_store::ObjectStore).
pub trait Register: Send + Sync + 'static {
    /// Reads the object.
    ///
    /// # Errors
    ///
    /// See [`ErrorClass`].
    fn get(&self) -> RegisterFuture<Found>;

    /// Writes `bytes` if `condition` holds.
    ///
    /// [`Put::Stored`] is the answer to this write alone. An HTTP client that follows redirects is not fit:
    /// it sends a PUT on as a GET, and the version in that answer is of a write that is not in.
    ///
    /// # Errors
    ///
    /// See [`ErrorClass`]. A write that ends with an error may have been done, and may still be done
    /// later.
    fn put_if(&self, bytes: Bytes, condition: Condition) -> RegisterFuture<Put>;

    /// The name of the object for messages: its URL, without credentials.
    fn name(&self) -> String;
}

/// The request, whose panic is an error: a task that has ended without an answer would be waited for, and the
/// request sent again, until the deadline of the caller.
pub(crate) fn caught<T: 'static>(mut request: RegisterFuture<T>) -> RegisterFuture<T> {
    Box::pin(poll_fn(move |context| {
        let poll = AssertUnwindSafe(|| request.as_mut().poll(context));
        catch_unwind(poll).unwrap_or_else(|_| {
            let text = "the client of the store has panicked";
            Poll::Ready(Err(store_error::of_text(ErrorClass::Permanent, text)))
        })
    }))
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
