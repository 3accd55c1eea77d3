//! [`LockOptions`]: how to acquire a lock, and why that may fail.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::advice;
use crate::holder::{Foreign, Holder};
use crate::judge::{FileSystem, StalePolicy};
use crate::lock::WriterLock;
use crate::loss::Lost;
use crate::protocol::{self, Acquisition, Held, OnLost, Place, Terms, keepalive};
use crate::sys::{FileKind, Host};

/// How often held locks are refreshed by default: three refreshes fit into the 30 s after which a
/// dead process's record is stale on its own host.
pub const DEFAULT_KEEPALIVE: Duration = Duration::from_secs(10);

/// Whether a record is on stable storage before the lock counts as acquired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// Record and name survive a power loss, so that the next holder learns that its predecessor
    /// crashed ([`WriterLock::reclaimed_from`]).
    #[default]
    Sync,
    /// Nothing is synced: faster, and after a power loss the lock may be gone, or torn and recovered.
    None,
}

/// How to acquire a lock, and how to keep it.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("log");
/// use std::time::Duration;
/// use rvlf::{Durability, StalePolicy, WriterLock};
///
/// let lock = WriterLock::options()
///     .stale_policy(StalePolicy::new().with_cross_host_age(Duration::from_secs(600)))
///     .durability(Durability::None)
///     .on_lost(|lost| eprintln!("{lost}"))
///     .acquire(&path, Duration::from_secs(5))?;
/// lock.release()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use = "options do nothing until they acquire"]
pub struct LockOptions {
    stale_policy: StalePolicy,
    keepalive: Option<Duration>,
    durability: Durability,
    mode: u32,
    on_lost: Option<OnLost>,
    refuse_aliases: bool,
}

impl LockOptions {
    /// The defaults, as each method documents them.
    pub fn new() -> LockOptions {
        LockOptions {
            stale_policy: StalePolicy::new(),
            keepalive: Some(DEFAULT_KEEPALIVE),
            durability: Durability::Sync,
            mode: 0o666,
            on_lost: None,
            refuse_aliases: false,
        }
    }

    /// When another's lock counts as left behind. Default: [`StalePolicy::new`].
    pub fn stale_policy(mut self, policy: StalePolicy) -> LockOptions {
        self.stale_policy = policy;
        self
    }

    /// How often the record is refreshed while the lock is held; `None` for never. Default: 10 s.
    ///
    /// Without refreshes any hold longer than 300 s is fair game for deployed RVF clients under
    /// another host name, and for everybody on file systems that are not local, where the lock counts
    /// as lost after 150 s; call [`WriterLock::refresh`] yourself then.
    pub fn keepalive(mut self, interval: Option<Duration>) -> LockOptions {
        // Every millisecond is already absurd, and zero would never let the thread sleep.
        self.keepalive = interval.map(|interval| interval.max(Duration::from_millis(1)));
        self
    }

    /// Whether the record is synced before the lock counts as acquired. Default:
    /// [`Durability::Sync`].
    pub fn durability(mut self, durability: Durability) -> LockOptions {
        self.durability = durability;
        self
    }

    /// Permission bits of the lock file, before the umask. Default: 0o666, as deployed clients have.
    ///
    /// Who may not read the lock file can neither see who holds it nor recover it.
    pub fn mode(mut self, mode: u32) -> LockOptions {
        self.mode = mode;
        self
    }

    /// Called once, on a thread of its own, when a refresh or a check finds the lock lost.
    ///
    /// Where no thread can be started it is not called; [`WriterLock::is_lost`] tells all the same.
    pub fn on_lost(mut self, callback: impl Fn(&Lost) + Send + Sync + 'static) -> LockOptions {
        self.on_lost = Some(Arc::new(callback));
        self
    }

    /// Refuses a data file that is a symbolic link or has more than one hard link. Default: no.
    ///
    /// The lock path follows from the name, not from the file: under two names a data file has two
    /// locks, and two writers.
    pub fn refuse_aliases(mut self, refuse: bool) -> LockOptions {
        self.refuse_aliases = refuse;
        self
    }

    /// Acquires the lock in one attempt; see [`WriterLock::try_acquire`].
    ///
    /// # Errors
    ///
    /// See [`AcquireError`].
    pub fn try_acquire(&self, resource: impl AsRef<Path>) -> Result<WriterLock, AcquireError> {
        match self.attempt(resource.as_ref(), Duration::ZERO)? {
            Ok(lock) => Ok(lock),
            Err((lock_path, holder)) => Err(AcquireError::Held { lock_path, holder }),
        }
    }

    /// Acquires the lock, waiting up to `timeout` for it; see [`WriterLock::acquire`].
    ///
    /// # Errors
    ///
    /// See [`AcquireError`].
    pub fn acquire(
        &self,
        resource: impl AsRef<Path>,
        timeout: Duration,
    ) -> Result<WriterLock, AcquireError> {
        match self.attempt(resource.as_ref(), timeout)? {
            Ok(lock) => Ok(lock),
            Err((lock_path, holder)) => Err(AcquireError::Timeout {
                lock_path,
                timeout,
                holder,
            }),
        }
    }

    pub(crate) fn policy(&self) -> StalePolicy {
        self.stale_policy
    }

    pub(crate) fn place(&self, resource: &Path) -> Result<Place<Host>, protocol::Error> {
        Place::open(Host, resource)
    }

    fn attempt(
        &self,
        resource: &Path,
        timeout: Duration,
    ) -> Result<Result<WriterLock, (PathBuf, Box<Holder>)>, AcquireError> {
        let lock_path = || crate::protocol::lock_path_for(resource);
        let fail = |error| AcquireError::new(error, &lock_path());
        let place = Arc::new(self.place(resource).map_err(fail)?);
        if self.refuse_aliases {
            refuse_alias(&place)?;
        }
        let terms = Terms {
            policy: self.stale_policy,
            sync: self.durability == Durability::Sync,
            mode: self.mode,
        };
        match Held::acquire(&place, &terms, timeout, self.on_lost.clone()).map_err(fail)? {
            Acquisition::Held(held) => self.keep(held).map(Ok),
            Acquisition::Refused(holder) => Ok(Err((lock_path(), holder))),
        }
    }

    fn keep(&self, held: Arc<Held<Host>>) -> Result<WriterLock, AcquireError> {
        let [phase, ..] = *held.record().writer_id().as_bytes();
        let may_hang = held.place.file_system == FileSystem::NotLocal;
        let device = may_hang.then_some(held.id.dev);
        let register = |interval| keepalive::register(&held, interval, phase, device);
        let registration = self.keepalive.map(register).transpose().map_err(|source| {
            let operation = "start the keepalive thread";
            AcquireError::new(
                protocol::Error::Io { operation, source },
                held.place.lock_path(),
            )
        })?;
        Ok(WriterLock::new(held, registration))
    }
}

fn refuse_alias(place: &Place<Host>) -> Result<(), AcquireError> {
    let links = place.resource_links();
    match links.map_err(|error| AcquireError::new(error, place.lock_path()))? {
        Some((kind, links)) if kind == FileKind::Symlink || links > 1 => {
            Err(AcquireError::Aliased {
                resource_path: place.resource_path().to_owned(),
                links,
            })
        }
        _ => Ok(()),
    }
}

impl Default for LockOptions {
    fn default() -> LockOptions {
        LockOptions::new()
    }
}

impl fmt::Debug for LockOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockOptions")
            .field("stale_policy", &self.stale_policy)
            .field("keepalive", &self.keepalive)
            .field("durability", &self.durability)
            .field("mode", &format_args!("{:#o}", self.mode))
            .field("on_lost", &self.on_lost.is_some())
            .field("refuse_aliases", &self.refuse_aliases)
            .finish()
    }
}

/// Why a lock was not acquired.
///
/// Contention is not failure: [`is_held`](AcquireError::is_held) tells the two apart. Converts into
/// [`io::Error`]: `Held` becomes `WouldBlock`, `Timeout` becomes `TimedOut`, `Io` keeps its kind.
#[derive(Debug)]
#[non_exhaustive]
pub enum AcquireError {
    /// Somebody holds the lock, or may hold it.
    Held {
        /// The lock file.
        lock_path: PathBuf,
        /// Who, since when, and how we know.
        holder: Box<Holder>,
    },
    /// Somebody still held the lock when the time was over.
    Timeout {
        /// The lock file.
        lock_path: PathBuf,
        /// How long we were to wait.
        timeout: Duration,
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
    /// The data file has more than one name, and [`LockOptions::refuse_aliases`] was asked for.
    Aliased {
        /// The data file.
        resource_path: PathBuf,
        /// Its number of hard links; 1 for a symbolic link.
        links: u64,
    },
    /// The operating system failed. No lock file was left behind.
    Io {
        /// What was being done.
        operation: &'static str,
        /// The lock file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl AcquireError {
    pub(crate) fn new(error: protocol::Error, lock_path: &Path) -> AcquireError {
        let lock_path = lock_path.to_owned();
        match error {
            protocol::Error::Foreign(found) => AcquireError::Foreign { lock_path, found },
            protocol::Error::UnsupportedVersion(found) => {
                AcquireError::UnsupportedVersion { lock_path, found }
            }
            protocol::Error::Io { operation, source } => AcquireError::Io {
                operation,
                path: lock_path,
                source,
            },
        }
    }

    /// Whether somebody else holds the lock: worth trying again later.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.holder().is_some()
    }

    /// Who holds the lock, if that is the reason.
    #[must_use]
    pub fn holder(&self) -> Option<&Holder> {
        match self {
            AcquireError::Held { holder, .. } | AcquireError::Timeout { holder, .. } => {
                Some(holder)
            }
            _ => None,
        }
    }
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AcquireError::Held { lock_path, holder } => {
                write!(
                    f,
                    "{}: {holder}; {}",
                    lock_path.display(),
                    advice::for_refused(holder)
                )
            }
            AcquireError::Timeout {
                lock_path,
                timeout,
                holder,
            } => {
                let (path, time) = (lock_path.display(), timeout.as_secs_f64());
                write!(
                    f,
                    "{path}: timed out after {time} s: {holder}; {}",
                    advice::for_refused(holder)
                )
            }
            AcquireError::Foreign { lock_path, found } => write!(
                f,
                "{}: not an RVLF lock but {found}: another program may own it; move it away \
                 yourself if it is not needed",
                lock_path.display()
            ),
            AcquireError::UnsupportedVersion { lock_path, found } => write!(
                f,
                "{}: RVLF lock of unsupported version {found}: a newer program may hold it; update \
                 this one",
                lock_path.display()
            ),
            AcquireError::Aliased {
                resource_path,
                links,
            } => write!(
                f,
                "{}: the data file has other names ({links} hard links, or it is a symbolic link): \
                 lock it under its only name",
                resource_path.display()
            ),
            AcquireError::Io {
                operation,
                path,
                source,
            } => advice::write_failed(f, path, operation, source),
        }
    }
}

impl Error for AcquireError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            AcquireError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<AcquireError> for io::Error {
    fn from(error: AcquireError) -> io::Error {
        let kind = match &error {
            AcquireError::Held { .. } => io::ErrorKind::WouldBlock,
            AcquireError::Timeout { .. } => io::ErrorKind::TimedOut,
            AcquireError::Io { source, .. } => source.kind(),
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}
