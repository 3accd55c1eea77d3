//! Looking at a lock, and breaking one by hand, without acquiring it.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::advice;
use crate::holder::{Foreign, Holder};
use crate::options::LockOptions;
use crate::protocol::wait::{self, Look, Waited};
use crate::protocol::{self, Asker, BreakAttempt, Found, Refusal, Torn, lock_path_for};
use crate::record::WriterId;

/// What lies at a lock path, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockState {
    /// No lock file.
    Free,
    /// Somebody holds the lock, or may hold it.
    Held(Holder),
    /// A dead holder left it behind: the next contender recovers it.
    Stale(Holder),
    /// A torn or damaged record that nobody holds by flock. Its verdict says whether the next
    /// contender may break it already.
    Malformed(Holder),
    /// A record of a version that this program does not know.
    UnsupportedVersion(u32),
    /// No RVLF lock.
    Foreign(Foreign),
}

/// The lock file could not be looked at.
#[derive(Debug)]
#[non_exhaustive]
pub struct InspectError {
    /// What was being done.
    pub operation: &'static str,
    /// The lock file.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

impl fmt::Display for InspectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        advice::write_failed(f, &self.path, self.operation, &self.source)
    }
}

impl Error for InspectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// Looks at the lock of the data file `resource`, by the default [`LockOptions`].
///
/// Creates and changes nothing, and looks like no holder to anybody. The answer is true for the
/// moment of the look only. Does not block, but for 63 ms where a dead holder's kernel lock lingers.
///
/// On a file system that is not local the age of the file is told by this machine's clock, where a
/// contender would ask the server's.
///
/// # Errors
///
/// The directory or the lock file cannot be looked at. A file that may not be read is no error but
/// [`LockState::Held`].
pub fn inspect(resource: impl AsRef<Path>) -> Result<LockState, InspectError> {
    LockOptions::new().inspect(resource)
}

/// What can never be a lock is a state to report, not an error.
fn to_state(
    outcome: Result<LockState, protocol::Error>,
    path: PathBuf,
) -> Result<LockState, InspectError> {
    match outcome {
        Ok(state) => Ok(state),
        Err(protocol::Error::Foreign(found)) => Ok(LockState::Foreign(found)),
        Err(protocol::Error::UnsupportedVersion(found)) => Ok(LockState::UnsupportedVersion(found)),
        Err(protocol::Error::Io { operation, source }) => Err(InspectError {
            operation,
            path,
            source,
        }),
    }
}

fn classify(holder: Holder) -> LockState {
    if holder.is_malformed() && !holder.is_kernel_locked() {
        LockState::Malformed(holder)
    } else if holder.verdict().is_stale() {
        LockState::Stale(holder)
    } else {
        LockState::Held(holder)
    }
}

/// Looking and breaking by a [`stale_policy`](LockOptions::stale_policy). The other options have no
/// meaning here.
impl LockOptions {
    /// As the function [`inspect`], by these options.
    ///
    /// # Errors
    ///
    /// As [`inspect`].
    pub fn inspect(&self, resource: impl AsRef<Path>) -> Result<LockState, InspectError> {
        let resource = resource.as_ref();
        let policy = self.policy();
        let outcome = self.place(resource).and_then(|place| {
            Ok(
                match place.examine(&policy, &mut Torn::default(), Asker::Observer)? {
                    Found::Nothing => LockState::Free,
                    Found::Unreadable(refusal) => LockState::Held(*refusal.holder),
                    Found::Contended => LockState::Held(*Refusal::contended().holder),
                    Found::Lock(examined) => classify(examined.holder.clone()),
                },
            )
        });
        to_state(outcome, lock_path_for(resource))
    }

    /// Waits up to `timeout` until the lock of `resource` can be obtained: free, or left behind.
    ///
    /// Blocks the calling thread, as [`acquire`](LockOptions::acquire) does. Creates and changes
    /// nothing. When it returns, somebody else may have the lock already. Returns the state of the
    /// last look: [`LockState::Held`] when the time was over.
    ///
    /// # Errors
    ///
    /// As [`inspect`].
    pub fn wait_until_free(
        &self,
        resource: impl AsRef<Path>,
        timeout: Duration,
    ) -> Result<LockState, InspectError> {
        let resource = resource.as_ref();
        let policy = self.policy();
        let outcome = self.place(resource).and_then(|place| {
            // Kept between looks: a torn file from the future ages by our own clock alone.
            let mut torn = Torn::default();
            wait::until(&place, timeout, || {
                Ok(match place.examine(&policy, &mut torn, Asker::Observer)? {
                    Found::Nothing => Look::Done(LockState::Free),
                    Found::Unreadable(refusal) => Look::NotYet(refusal),
                    Found::Contended => Look::NotYet(Refusal::contended()),
                    Found::Lock(examined) if examined.holder.verdict().is_stale() => {
                        Look::Done(classify(examined.holder.clone()))
                    }
                    Found::Lock(examined) => Look::NotYet(examined.into_refusal()),
                })
            })
        });
        let outcome = outcome.map(|waited| match waited {
            Waited::Done(state) => state,
            Waited::TimedOut(refusal) => classify(*refusal.holder),
        });
        to_state(outcome, lock_path_for(resource))
    }

    /// As the function [`break_stale`], by these options.
    ///
    /// # Errors
    ///
    /// See [`BreakError`].
    pub fn break_stale(&self, resource: impl AsRef<Path>) -> Result<Option<Holder>, BreakError> {
        let resource = resource.as_ref();
        let outcome = self.place(resource).and_then(|place| {
            let attempt = place.break_stale(&self.policy())?;
            place.sweep();
            Ok(attempt)
        });
        to_broken(outcome, lock_path_for(resource))
    }
}

/// Waits up to `timeout` until the lock of `resource` can be obtained, by the default options; see
/// [`LockOptions::wait_until_free`].
///
/// # Errors
///
/// As [`inspect`].
pub fn wait_until_free(
    resource: impl AsRef<Path>,
    timeout: Duration,
) -> Result<LockState, InspectError> {
    LockOptions::new().wait_until_free(resource, timeout)
}

/// Why a lock was not broken.
#[derive(Debug)]
#[non_exhaustive]
pub enum BreakError {
    /// Somebody holds the lock, or may hold it; or, by force, it is not the one that was named.
    Held {
        /// The lock file.
        lock_path: PathBuf,
        /// Who, since when, and how we know.
        holder: Box<Holder>,
    },
    /// Something that is no RVLF lock lies at the lock path. It was not touched.
    Foreign {
        /// The lock path.
        lock_path: PathBuf,
        /// What lies there.
        found: Foreign,
    },
    /// The lock file is of a version that this program does not know. It was not touched.
    UnsupportedVersion {
        /// The lock file.
        lock_path: PathBuf,
        /// Its `lock_version`.
        found: u32,
    },
    /// The operating system failed.
    Io {
        /// What was being done.
        operation: &'static str,
        /// The lock file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl fmt::Display for BreakError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BreakError::Held { lock_path, holder } => {
                write!(f, "{}: not broken: {holder}", lock_path.display())?;
                match holder.record() {
                    Some(record) => {
                        if holder.process_lives() {
                            write!(f, "; end process {} first", record.pid())?;
                        }
                        let id = record.writer_id();
                        write!(
                            f,
                            "; if you are sure that nobody writes, break it by force with writer \
                             id {id}"
                        )
                    }
                    None => Ok(()),
                }
            }
            BreakError::Foreign { lock_path, found } => write!(
                f,
                "{}: not an RVLF lock but {found}: another program may own it; move it away \
                 yourself if it is not needed",
                lock_path.display()
            ),
            BreakError::UnsupportedVersion { lock_path, found } => write!(
                f,
                "{}: RVLF lock of unsupported version {found}: break it with the program that \
                 wrote it",
                lock_path.display()
            ),
            BreakError::Io {
                operation,
                path,
                source,
            } => advice::write_failed(f, path, operation, source),
        }
    }
}

impl Error for BreakError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            BreakError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Removes the lock of `resource` if its holder is dead, and litter of breakers that died.
///
/// Returns whose lock was removed; `None` if there was none. Judged by the default [`LockOptions`],
/// and again under the exclusive kernel lock, so a live holder is never robbed. Blocks as long as
/// [`WriterLock::try_acquire`](crate::WriterLock::try_acquire) may.
///
/// # Errors
///
/// See [`BreakError`].
pub fn break_stale(resource: impl AsRef<Path>) -> Result<Option<Holder>, BreakError> {
    LockOptions::new().break_stale(resource)
}

/// Removes the lock of `resource`, also a live holder's, if its record bears `writer_id`.
///
/// For a person who knows that nobody writes although the judgement cannot know it. The record is
/// compared before and after the file is renamed aside, and what is not the named one is put back. A
/// holder that is robbed so learns it from its next refresh or
/// [`check`](crate::WriterLock::check); until then two may write. If it is just then releasing the
/// lock, it may remove its successor's lock file instead (`spec/protocol.md`, R19).
///
/// Returns whose lock was removed; `None` if there was none.
///
/// # Errors
///
/// See [`BreakError`].
pub fn force_break(
    resource: impl AsRef<Path>,
    writer_id: WriterId,
) -> Result<Option<Holder>, BreakError> {
    let resource = resource.as_ref();
    let outcome = LockOptions::new().place(resource);
    let outcome = outcome.and_then(|place| place.force_break(writer_id));
    to_broken(outcome, lock_path_for(resource))
}

fn to_broken(
    outcome: Result<BreakAttempt, protocol::Error>,
    lock_path: PathBuf,
) -> Result<Option<Holder>, BreakError> {
    match outcome {
        Ok(BreakAttempt::Nothing) => Ok(None),
        Ok(BreakAttempt::Removed(holder)) => Ok(Some(*holder)),
        Ok(BreakAttempt::Refused(Refusal { holder, .. })) => {
            Err(BreakError::Held { lock_path, holder })
        }
        Err(protocol::Error::Foreign(found)) => Err(BreakError::Foreign { lock_path, found }),
        Err(protocol::Error::UnsupportedVersion(found)) => {
            Err(BreakError::UnsupportedVersion { lock_path, found })
        }
        Err(protocol::Error::Io { operation, source }) => Err(BreakError::Io {
            operation,
            path: lock_path,
            source,
        }),
    }
}

/// Removes from `directory` what breakers that died in the middle have left: files named `.rvlf-`
/// and 16 hexadecimal digits that hold a record, are older than a minute, and are locked by nobody.
///
/// Returns how many were removed. Breaking a lock does this by itself.
///
/// # Errors
///
/// The directory cannot be opened.
pub fn sweep(directory: impl AsRef<Path>) -> Result<usize, InspectError> {
    let directory = directory.as_ref();
    let place = LockOptions::new().place(&directory.join("any"));
    place
        .map(|place| place.sweep())
        .map_err(|error| match error {
            protocol::Error::Io { operation, source } => InspectError {
                operation,
                path: directory.to_owned(),
                source,
            },
            error => unreachable!("opening a directory reads no lock file: {error:?}"),
        })
}
