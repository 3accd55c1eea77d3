//! What can go wrong, in words: the public errors, and the next step that each one names.

use std::error::Error;
use std::fmt;
use std::io;

use rvlf::ShellWord;
use rvlf::judge::StoreReason;

use crate::location::{Location, LocationError};
use crate::loss::{Lost, escaped};
use crate::register::RegisterError;
use crate::report::LockReport;
use crate::self_test::Demand;
use crate::services::OpenError;
use crate::store_error;

/// What the store, or this machine, did not do. Example: [`LockObject::inspect`](crate::LockObject::inspect).
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The store gave no usable answer in time: a timeout, a lost connection, an overloaded server.
    NoAnswer {
        /// The lock object.
        name: String,
        /// What the client below reported last, if it reported anything.
        source: Option<RegisterError>,
    },
    /// The store does not allow the request.
    Denied {
        /// The lock object.
        name: String,
        /// What the client below reported.
        source: Option<RegisterError>,
    },
    /// The request cannot succeed: no such bucket, a wrong configuration.
    Permanent {
        /// The lock object.
        name: String,
        /// What the client below reported.
        source: Option<RegisterError>,
    },
    /// The URL, or the path in a store, names no object.
    Url(LocationError),
    /// The environment does not configure a client for the URL, or this build has none.
    Open(OpenError),
    /// This machine has no thread, no open file or no randomness left. Nothing was sent.
    Host {
        /// The lock object.
        name: String,
        /// What the operating system reported.
        source: io::Error,
    },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, what, source, step) = match self {
            StoreError::NoAnswer { name, source } => (
                name,
                match source.as_ref().and_then(store_error::StoreError::of) {
                    Some(error) if error.is_answer() => "the store gave no usable answer",
                    _ => "the store gave no answer in time",
                },
                source,
                "check the endpoint and the network, and try again",
            ),
            StoreError::Denied { name, source } => (
                name,
                "the store denies access",
                source,
                "check the credentials and this machine's clock; they must allow to read and write \
                 this object",
            ),
            StoreError::Permanent { name, source } => (
                name,
                "the store cannot do it",
                source,
                "check the bucket, the endpoint and the region",
            ),
            StoreError::Url(error) => return error.fmt(f),
            StoreError::Open(error) => return error.fmt(f),
            StoreError::Host { name, source } => {
                let name = escaped(name);
                return write!(
                    f,
                    "{name}: cannot start the lock's thread: {source}; end other programs, or raise \
                     the limit"
                );
            }
        };
        let better = source.as_ref().and_then(store_error::StoreError::of);
        let step = better.and_then(|error| error.step()).unwrap_or(step);
        write!(f, "{}: {what}", escaped(name))?;
        if let Some(source) = source {
            write!(f, ": {source}")?;
        }
        write!(f, "; {step}")
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            StoreError::NoAnswer { source, .. }
            | StoreError::Denied { source, .. }
            | StoreError::Permanent { source, .. } => source.as_ref()?.source(),
            StoreError::Url(error) => error.source(),
            StoreError::Open(error) => error.source(),
            StoreError::Host { source, .. } => source.source(),
        }
    }
}

/// Why a lock was not acquired.
///
/// Contention is not failure: [`is_held`](AcquireError::is_held) distinguishes the two.
///
/// ```
/// # use std::sync::Arc;
/// # use object_store::memory::InMemory;
/// use std::time::Duration;
/// use rvlf_object_store::{AcquireError, StoreLock, block_on};
///
/// # let store = Arc::new(InMemory::new());
/// let options = StoreLock::options();
/// let lock = block_on(options.acquire_on(store.clone(), "data/x", Duration::ZERO))?;
/// match block_on(options.acquire_on(store, "data/x", Duration::ZERO)) {
///     Err(AcquireError::Held { holder }) => println!("busy: {holder}"),
///     Err(error) => return Err(error.into()),
///     Ok(_) => unreachable!("the first lock is still held"),
/// }
/// # block_on(lock.release())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum AcquireError {
    /// Another hold has the lock, or may have it, until the timeout.
    Held {
        /// The holder: the process, and for how long its record was seen unchanged.
        holder: Box<LockReport>,
    },
    /// The object is no lock of this library, or of a version that it does not know. It was not touched.
    NotALock {
        /// What it is.
        found: Box<LockReport>,
    },
    /// The server does not keep a condition that the lock rests on: two processes would hold the lock.
    Unsuitable {
        /// The lock object.
        name: String,
        /// What the server does not keep.
        what: Demand,
    },
    /// The timeout came while the store had not said whether a write is in. It may be, and then the lock
    /// counts as held until its lease is over. The next acquisition in this process takes it at once.
    Unsettled {
        /// The lock object.
        name: String,
        /// What the client below reported last.
        source: Option<RegisterError>,
    },
    /// The wait was cancelled by its [`CancelToken`](rvlf::CancelToken). A write that was under way is
    /// settled in the background, and what comes of it is released.
    Cancelled {
        /// The lock object.
        name: String,
    },
    /// The store, or this machine, failed.
    Store(StoreError),
}

impl AcquireError {
    /// Whether another hold has the lock: an attempt later may succeed.
    ///
    /// Example: [`StoreOptions::acquire_on`](crate::StoreOptions::acquire_on).
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.holder().is_some()
    }

    /// Whether the wait was cancelled.
    ///
    /// Example: [`StoreOptions::cancel_token`](crate::StoreOptions::cancel_token).
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, AcquireError::Cancelled { .. })
    }

    /// The holder, if contention is the reason.
    ///
    /// Example: [`StoreOptions::acquire_on`](crate::StoreOptions::acquire_on).
    #[must_use]
    pub fn holder(&self) -> Option<&LockReport> {
        match self {
            AcquireError::Held { holder } => Some(holder),
            _ => None,
        }
    }
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AcquireError::Held { holder } => write_refusal(f, holder),
            AcquireError::NotALock { found } => write_not_a_lock(f, found),
            AcquireError::Unsuitable { name, what } => {
                let name = escaped(name);
                write!(
                    f,
                    "{name}: this server cannot carry a lock: {what}; use a server with conditional \
                     writes, or a newer version of this one"
                )
            }
            AcquireError::Unsettled { name, source } => {
                let name = escaped(name);
                write!(
                    f,
                    "{name}: the store has not confirmed the acquisition in time"
                )?;
                if let Some(source) = source {
                    write!(f, ": {source}")?;
                }
                f.write_str("; try again in this process, or after the lease")
            }
            AcquireError::Cancelled { name } => {
                write!(f, "{}: the wait was cancelled", escaped(name))
            }
            AcquireError::Store(error) => error.fmt(f),
        }
    }
}

impl Error for AcquireError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            AcquireError::Unsettled { source, .. } => source.as_ref()?.source(),
            AcquireError::Store(error) => error.source(),
            _ => None,
        }
    }
}

impl From<StoreError> for AcquireError {
    fn from(error: StoreError) -> AcquireError {
        AcquireError::Store(error)
    }
}

fn write_refusal(f: &mut fmt::Formatter<'_>, holder: &LockReport) -> fmt::Result {
    let name = escaped(holder.name());
    if holder.verdict().is_free() {
        return write!(
            f,
            "{name}: other contenders were quicker, and have released the lock since; try again"
        );
    }
    write!(f, "{name}: {holder}; {}", step_for_contender(holder))
}

fn step_for_contender(holder: &LockReport) -> String {
    if holder.is_this_process() {
        return "release it there first".into();
    }
    match data_url(holder) {
        Some(url) => format!("wait for its release; to see the holder: rvlf status {url}"),
        None => "wait for its release".into(),
    }
}

/// As a word of a command. The name of a lock object is that of its data and `.lock`. `None` if the command would
/// look at another object: at a lock file, for a store that was handed in and has no URL, or at the lock of this one,
/// for a key that a program has chosen.
fn data_url(holder: &LockReport) -> Option<String> {
    let url = holder.name().strip_suffix(".lock")?;
    url.parse::<Location>().ok()?;
    Some(ShellWord::new(url).to_string())
}

fn write_not_a_lock(f: &mut fmt::Formatter<'_>, found: &LockReport) -> fmt::Result {
    let step = match found.verdict().reason() {
        StoreReason::Unsupported => "a newer program may hold it; update this program",
        StoreReason::OtherStamp => {
            "it may be a copied lock file; if no program needs it, move it away"
        }
        _ => "another program may own it; if no program needs it, move it away",
    };
    let (name, reason) = (escaped(found.name()), found.verdict().reason());
    write!(f, "{name}: {reason}; {step}")
}

/// Why a lock was not broken.
///
/// Example: [`LockObject::break_stale`](crate::LockObject::break_stale).
#[derive(Debug)]
#[non_exhaustive]
pub enum BreakError {
    /// The holder is not known to be dead; or, by force, it is not the hold that was named.
    Held {
        /// The holder.
        holder: Box<LockReport>,
    },
    /// The lock was taken over, and lost again before it was released: it is not free, or not by this call.
    Lost(Lost),
    /// The lock could not be taken over.
    Acquire(AcquireError),
}

impl fmt::Display for BreakError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BreakError::Held { holder } => {
                write!(f, "{}: not broken: {holder}", escaped(holder.name()))?;
                if holder.is_this_process() {
                    return f.write_str("; release it there first");
                }
                match holder.record() {
                    None => f.write_str("; try again"),
                    // By force, with the id of another hold.
                    Some(_) if holder.verdict().is_stale() => {
                        f.write_str("; break it without force")
                    }
                    Some(record) => {
                        f.write_str(
                            "; end the process first; if you are sure that it does not write any more",
                        )?;
                        let id = record.writer_id();
                        match data_url(holder) {
                            Some(url) => write!(f, ": rvlf break --force --writer-id {id} {url}"),
                            None => write!(f, ", break it by force, with its writer id"),
                        }
                    }
                }
            }
            BreakError::Lost(lost) => {
                let name = escaped(&lost.name);
                write!(
                    f,
                    "{name}: the broken lock changed hands: {}; look again",
                    lost.reason
                )
            }
            BreakError::Acquire(error) => error.fmt(f),
        }
    }
}

impl Error for BreakError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            BreakError::Acquire(error) => error.source(),
            BreakError::Held { .. } | BreakError::Lost(_) => None,
        }
    }
}

impl From<StoreError> for BreakError {
    fn from(error: StoreError) -> BreakError {
        BreakError::Acquire(error.into())
    }
}

/// Why a wait for a free lock ended without an answer.
///
/// Example: [`LockObject::wait_until_free`](crate::LockObject::wait_until_free).
#[derive(Debug)]
#[non_exhaustive]
pub enum WaitError {
    /// The wait was cancelled by its [`CancelToken`](rvlf::CancelToken).
    Cancelled {
        /// The lock object.
        name: String,
    },
    /// The store cannot be asked.
    Store(StoreError),
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitError::Cancelled { name } => {
                write!(f, "{}: the wait was cancelled", escaped(name))
            }
            WaitError::Store(error) => error.fmt(f),
        }
    }
}

impl Error for WaitError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            WaitError::Cancelled { .. } => None,
            WaitError::Store(error) => error.source(),
        }
    }
}

impl From<StoreError> for WaitError {
    fn from(error: StoreError) -> WaitError {
        WaitError::Store(error)
    }
}

/// Why a commit was not confirmed. **No variant says that the payload is not in the store**, but for a
/// payload that was never sent: clean nothing up after an error.
///
/// Example: [`StoreLock::commit`](crate::StoreLock::commit).
#[derive(Debug)]
#[non_exhaustive]
pub enum CommitError {
    /// The lock is lost. The payload may have been the root for a while, and the next holder may have
    /// built on it.
    Out {
        /// How the lock was lost; [`Lost::by`] has the record of the new holder.
        lost: Lost,
        /// Whether the payload was sent. Nothing can show then whether it was in: an equal payload of the next
        /// holder may be of a commit of its own.
        may_be_in: bool,
    },
    /// The store has not said whether the payload is in until the timeout. It may come in later. The next
    /// call of this lock settles it first.
    Unsettled {
        /// The lock object.
        name: String,
    },
    /// The payload is too large. Nothing was sent. Store it in an immutable object of its own, and commit
    /// the name of that.
    TooLarge {
        /// The lock object.
        name: String,
        /// Its length in bytes.
        len: usize,
    },
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommitError::Out { lost, may_be_in } => {
                f.write_str(match may_be_in {
                    false => "the commit was not sent: ",
                    true => "the commit may be in: keep every object that it names: ",
                })?;
                lost.fmt(f)
            }
            CommitError::Unsettled { name } => write!(
                f,
                "{}: the store has not said whether the commit is in: keep every object that it \
                 names, and commit again",
                escaped(name)
            ),
            CommitError::TooLarge { name, len } => write!(
                f,
                "{}: a payload of {len} bytes is over the limit of {} bytes; store it in an object \
                 of its own, and commit the name of that object",
                escaped(name),
                crate::MAX_PAYLOAD_LEN
            ),
        }
    }
}

impl Error for CommitError {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rvlf::judge::StoreVerdict;

    use super::*;
    use crate::keepalive::Keepalive;
    use crate::machine::Refusal;

    // The report was that of the latest look: "free: the lock was released; wait for its release".
    #[test]
    fn a_refusal_by_contenders_that_have_released_since_proposes_another_attempt() {
        let look = Refusal {
            verdict: StoreVerdict::Free {
                reason: StoreReason::Released,
            },
            record: None,
            unchanged: Duration::ZERO,
        };
        let keepalive = Keepalive::of_this_process().expect("a thread can be started");
        let holder = LockReport::new("s3://b/x.lock".into(), look, keepalive);
        let holder = Box::new(holder);
        let text = AcquireError::Held { holder }.to_string();
        assert!(text.ends_with("; try again"), "{text}");
        assert!(!text.contains("wait for its release"), "{text}");
    }
}
