//! [`StoreLock`]: the guard of a held lock.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rvlf::judge::StoreContent;
use rvlf::{Record, WriterId, host};
use tokio::sync::oneshot;

use crate::driver::{Commit, Event, Events};
use crate::error::CommitError;
use crate::keepalive::Keepalive;
use crate::loss::{LossReason, Lost};
use crate::machine::{CommitId, Content, Hold, Timing};
use crate::options::StoreOptions;
use crate::shared::Shared;
use crate::sync::atomic::{AtomicU64, Ordering};

/// The largest payload of a commit, in bytes: 64 KiB. Each refresh of the lock writes it again.
pub const MAX_PAYLOAD_LEN: usize = StoreContent::MAX_PAYLOAD_LEN;

/// The writer lock of data in an object store, held until it is released or dropped.
///
/// **The fence is [`commit`](StoreLock::commit)**: a conditional write of the one object that is both the
/// lock and the root of the data. A holder that lost the lock, and does not know it, has its commits
/// refused. What is written past the commit has no such protection: a request that timed out may land
/// hours later.
///
/// **Drop** releases the lock in the background, as well as that can be done; a program that ends at once
/// may be faster than its request. [`release`](StoreLock::release) waits and reports.
///
/// **Fork**: the lock stays with the process that acquired it. In a forked child every method reports
/// [`LossReason::Forked`], and dropping the copy does nothing. A child can acquire locks of its own.
/// **Exec and a crash** end the refreshes: other processes take the lock over when its lease is over.
///
/// ```
/// # use std::sync::Arc;
/// # use object_store::memory::InMemory;
/// use std::time::Duration;
/// use rvlf_object_store::{StoreLock, block_on};
///
/// # let store = Arc::new(InMemory::new());
/// # block_on(async {
/// let lock = StoreLock::options().acquire_on(store, "data/x", Duration::from_secs(10)).await?;
/// let root = lock.payload(); // What the last commit left.
/// # assert!(root.is_empty());
/// lock.commit("the new root").await?;
/// lock.release().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropped at once, the lock is released at once"]
pub struct StoreLock {
    shared: Arc<Shared>,
    keepalive: &'static Keepalive,
    events: Events,
    /// What the hold began with.
    first: Content,
    timing: Timing,
    reclaimed: Option<Record>,
    commits: AtomicU64,
}

impl StoreLock {
    pub(crate) fn new(
        name: String,
        keepalive: &'static Keepalive,
        events: Events,
        hold: &Hold,
        timing: Timing,
        reclaimed: Option<Record>,
    ) -> StoreLock {
        let first = hold.content().clone();
        StoreLock {
            shared: Arc::new(Shared::new(name, first.clone(), hold.expires_at())),
            keepalive,
            events,
            first,
            timing,
            reclaimed,
            commits: AtomicU64::new(0),
        }
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// The default options, to be changed: [`StoreOptions::new`].
    pub fn options() -> StoreOptions {
        StoreOptions::new()
    }

    /// The lock object: its URL, without credentials.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The number of this hold: each hold of one lock has a higher one than all before it. For data whose
    /// engine has a conditional commit of its own: store it there, and refuse a lower one.
    ///
    /// Unix milliseconds for the first hold of all, then the predecessor's plus one.
    #[must_use]
    pub fn generation(&self) -> u64 {
        let stamp = self.first.record.store_stamp();
        stamp.map_or(0, |stamp| stamp.generation)
    }

    /// The random id of this hold.
    #[must_use]
    pub fn writer_id(&self) -> WriterId {
        self.first.record.writer_id()
    }

    /// The lease: when the object is unchanged for so long, other processes take the lock over.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.timing.lease()
    }

    /// The record as the store was last confirmed to have it.
    #[must_use]
    pub fn record(&self) -> Record {
        self.content().record
    }

    /// What the last commit left, of this holder or of one before: empty if there was none.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        self.content().payload
    }

    /// The record of the dead holder from which the lock was taken over; `None` if it was free. What that
    /// holder did not commit may lie in the store as objects that no root names.
    #[must_use]
    pub fn reclaimed(&self) -> Option<&Record> {
        self.reclaimed.as_ref()
    }

    /// Whether this process may believe, now, that no other one holds the lock. No I/O.
    ///
    /// `Ok` means that the store confirmed a write of this holder less than two thirds of the lease ago, by
    /// a clock that counts suspension. After the first error every call returns one. A process that is
    /// stopped between this call and its next request can be late all the same: only
    /// [`commit`](StoreLock::commit) is refused then.
    ///
    /// # Errors
    ///
    /// The lock is lost.
    pub fn check_local(&self) -> Result<(), Lost> {
        self.of_this_process()?;
        self.shared.check()
    }

    /// Refreshes the lock now, and waits for the store to confirm it: one conditional write, which proves
    /// more than a read would.
    ///
    /// While the store gives no answer it waits, until the lock has expired. Dropping the future is
    /// harmless.
    ///
    /// # Errors
    ///
    /// The lock is lost.
    pub async fn check(&self) -> Result<(), Lost> {
        self.check_local()?;
        let (done, confirmed) = oneshot::channel();
        let _ = self.events.send(Event::Check(done));
        if confirmed.await.is_ok() {
            return self.shared.check();
        }
        // The task has ended the call because the lock is lost.
        let reason = self.shared.loss().unwrap_or(LossReason::Expired);
        Err(self.shared.lost_by(reason))
    }

    /// Makes `payload` the root, if this process still holds the lock: **the fence**. Waits until the store
    /// has confirmed it or the lock is lost, which takes two thirds of the lease at most.
    ///
    /// At most [`MAX_PAYLOAD_LEN`] bytes: a small manifest, or the name of an immutable object that has the
    /// large one, uploaded before. Name such objects by [`generation`](StoreLock::generation) and a random
    /// part, and never write one of them again. Commits are made one after the other; each is a refresh of
    /// the lock.
    ///
    /// If the future is dropped, the commit may still come in; the next call settles it first.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use object_store::memory::InMemory;
    /// use std::time::Duration;
    /// use rvlf_object_store::{CommitError, StoreLock, block_on};
    ///
    /// # let store = Arc::new(InMemory::new());
    /// # block_on(async {
    /// # let lock = StoreLock::options().acquire_on(store, "data/x", Duration::ZERO).await?;
    /// match lock.commit("manifest-1700000000000-5f2c").await {
    ///     Ok(()) => println!("it is the root"),
    ///     Err(CommitError::Out { lost, .. }) => match lost.by() {
    ///         Some(record) => println!("pid {} has the lock", record.pid()),
    ///         None => println!("{lost}"),
    ///     },
    ///     Err(error) => println!("{error}"),
    /// }
    /// assert_eq!(lock.payload(), "manifest-1700000000000-5f2c");
    /// # lock.release().await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`CommitError`]. None of them says that a payload which was sent is not in.
    pub fn commit(
        &self,
        payload: impl Into<Bytes>,
    ) -> impl Future<Output = Result<(), CommitError>> + Send {
        self.commit_until(payload.into(), Duration::MAX)
    }

    /// As [`commit`](StoreLock::commit), and waits `timeout` at most.
    ///
    /// # Errors
    ///
    /// See [`CommitError`]; [`CommitError::Unsettled`] after the timeout.
    pub fn commit_within(
        &self,
        payload: impl Into<Bytes>,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), CommitError>> + Send {
        self.commit_until(payload.into(), timeout)
    }

    async fn commit_until(&self, payload: Bytes, timeout: Duration) -> Result<(), CommitError> {
        let name = || self.shared.name.clone();
        let len = payload.len();
        if len > MAX_PAYLOAD_LEN {
            let name = name();
            return Err(CommitError::TooLarge { name, len });
        }
        self.check_local().map_err(|lost| CommitError::Out {
            lost,
            may_be_in: false,
        })?;
        let id = CommitId(self.commits.fetch_add(1, Ordering::Relaxed));
        let (done, answer) = oneshot::channel();
        let _ = self.events.send(Event::Commit(Commit {
            id,
            payload,
            deadline: host::since_boot().saturating_add(timeout),
            done,
        }));
        let mut give_up = GiveUpOnDrop {
            lock: self,
            id: Some(id),
        };
        let answer = answer.await;
        give_up.id = None;
        // Without an answer the task has panicked, in the code of the register.
        answer.unwrap_or_else(|_| Err(CommitError::Unsettled { name: name() }))
    }

    /// Waits until the lock is lost, or released. The future needs no reference to the lock.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory};
    /// use std::time::Duration;
    /// use rvlf_object_store::{LossReason, StoreLock, block_on};
    ///
    /// # let store = Arc::new(InMemory::new());
    /// # block_on(async {
    /// let lock = StoreLock::options().acquire_on(store.clone(), "data/x", Duration::ZERO).await?;
    /// let lost = lock.lost();
    /// # store.put(&"data/x.lock".into(), "another program's".into()).await?;
    /// lock.check().await.expect_err("another program has overwritten the object");
    /// assert_eq!(lost.await.reason, LossReason::Replaced(None));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lost(&self) -> impl Future<Output = Lost> + Send + use<> {
        let shared = self.shared.clone();
        let forked = self.of_this_process().err();
        async move {
            match forked {
                Some(lost) => lost,
                None => shared.lost().await,
            }
        }
    }

    /// For how long [`check_local`](StoreLock::check_local) returns `Ok` if the store confirms no other
    /// refresh. No I/O.
    #[must_use]
    pub fn expires_in(&self) -> Duration {
        match self.of_this_process() {
            Ok(()) => self.shared.expires_in(),
            Err(_) => Duration::ZERO,
        }
    }

    /// Releases the lock: writes its record as a tombstone that keeps the payload, and waits for the store
    /// to confirm it, for one lease at most. The next contender acquires it at once.
    ///
    /// # Errors
    ///
    /// The lock was lost before. After [`LossReason::Expired`] the tombstone is written all the same, unless
    /// another process has the lock.
    pub async fn release(self) -> Result<Released, ReleaseError> {
        self.release_within(Duration::MAX).await
    }

    /// As [`release`](StoreLock::release), and waits `timeout` at most.
    ///
    /// # Errors
    ///
    /// As [`release`](StoreLock::release).
    pub async fn release_within(self, timeout: Duration) -> Result<Released, ReleaseError> {
        let lost = match self.of_this_process() {
            Ok(()) => self.shared.check().err(),
            Err(lost) => return Err(ReleaseError { lost, lock: self }),
        };
        let (done, confirmed) = oneshot::channel();
        let deadline = host::since_boot().saturating_add(timeout);
        let _ = self.events.send(Event::Release(deadline, done));
        let confirmed = confirmed.await.unwrap_or(false);
        match lost {
            None => Ok(Released { confirmed }),
            Some(lost) => Err(ReleaseError { lost, lock: self }),
        }
    }

    fn content(&self) -> Content {
        // In a forked child the mutex may be locked by a thread that the child does not have.
        match self.of_this_process() {
            Ok(()) => self.shared.content(),
            Err(_) => self.first.clone(),
        }
    }

    fn of_this_process(&self) -> Result<(), Lost> {
        match self.keepalive.is_of_this_process() {
            true => Ok(()),
            false => Err(self.shared.lost_by(LossReason::Forked)),
        }
    }
}

impl Drop for StoreLock {
    fn drop(&mut self) {
        if self.of_this_process().is_ok() {
            let _ = self.events.send(Event::Dropped);
        }
    }
}

impl fmt::Debug for StoreLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreLock")
            .field("name", &self.name())
            .field("record", &self.record())
            .finish_non_exhaustive()
    }
}

/// The caller of a commit has left: the write goes on, and the next call waits for it.
struct GiveUpOnDrop<'a> {
    lock: &'a StoreLock,
    id: Option<CommitId>,
}

impl Drop for GiveUpOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            if self.lock.of_this_process().is_ok() {
                let _ = self.lock.events.send(Event::GiveUp(id));
            }
        }
    }
}

/// A lock that was released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Released {
    /// Whether the store has confirmed it. If not, other processes may have to wait until the lease is
    /// over. This process writes nothing to the lock any more in either case.
    pub confirmed: bool,
}

/// A release of a lock that was lost before, and how.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReleaseError {
    /// How it was lost.
    pub lost: Lost,
    /// The guard, for what it knows: the payload, the generation.
    pub lock: StoreLock,
}

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lost.fmt(f)
    }
}

impl Error for ReleaseError {}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt as _;
    use object_store::memory::InMemory;
    use tokio::time::timeout;

    use super::*;

    // The caller of a check has seen no loss when it begins, and the task has handled the loss when the check
    // arrives: no write follows that would answer it, and the caller would wait indefinitely.
    #[test]
    fn a_check_that_crosses_with_the_loss_ends() {
        let store = Arc::new(InMemory::new());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime
            .expect("a timer needs no resource here")
            .block_on(async {
                let options = StoreLock::options();
                let lock = options.acquire_on(store.clone(), "x", Duration::from_secs(60));
                let lock = lock.await.expect("the lock is free");
                let deleted = store.delete(&"x.lock".into()).await;
                deleted.expect("memory answers");
                lock.check().await.expect_err("the object is gone");
                let (done, confirmed) = oneshot::channel();
                assert!(lock.events.send(Event::Check(done)).is_ok());
                let ended = timeout(Duration::from_secs(240), confirmed).await;
                ended.expect("it ends").expect_err("the lock is lost");
            });
    }
}
