//! [`LockObject`]: the lock of one data object: inspect, wait, break, acquire.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rvlf::{Record, WriterId};

use crate::driver::{self, Order};
use crate::error::{AcquireError, BreakError, StoreError, WaitError};
use crate::lock::StoreLock;
use crate::register::Register;
use crate::report::LockReport;

/// The lock of one data object, seen from outside: a handle to inspect it, wait for it, break it, and
/// acquire it as often as needed. Made by [`StoreOptions::open`](crate::StoreOptions::open) and its like,
/// whose options it keeps.
///
/// The handle itself holds no lock.
///
/// **Fork**: the client of a URL stays with the process that opened it. In a forked child its requests are never
/// sent, and each call ends with "gave no answer in time": open the lock anew there.
///
/// ```
/// # use std::sync::Arc;
/// # use object_store::memory::InMemory;
/// use std::time::Duration;
/// use rvlf_object_store::{StoreLock, block_on};
///
/// # let store = Arc::new(InMemory::new());
/// # block_on(async {
/// let object = StoreLock::options().open_on(store, "data/x")?;
/// assert_eq!(object.inspect().await?.code(), "free");
/// for _ in 0..3 {
///     let lock = object.acquire(Duration::from_secs(10)).await?;
///     // ... write data/x ...
///     lock.release().await?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct LockObject {
    register: Arc<dyn Register>,
    order: Order,
}

impl LockObject {
    pub(crate) fn new(register: Arc<dyn Register>, order: Order) -> LockObject {
        LockObject { register, order }
    }

    /// The lock object: its URL, without credentials.
    #[must_use]
    pub fn name(&self) -> String {
        self.register.name()
    }

    /// Acquires the lock, waiting up to `timeout` for it; see
    /// [`StoreOptions::acquire`](crate::StoreOptions::acquire).
    ///
    /// # Errors
    ///
    /// See [`AcquireError`].
    pub fn acquire(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<StoreLock, AcquireError>> + Send + use<> {
        let (register, order) = self.with_timeout(timeout);
        async move {
            let name = register.name();
            let acquired = driver::acquire(register, order).await?;
            // Only an order for stale locks ends without a lock and without an error.
            acquired.ok_or(AcquireError::Cancelled { name })
        }
    }

    /// Reads and judges the lock: one look. No contender and no holder can notice it.
    ///
    /// A first look cannot see for how long the record has been unchanged, so it compares the wall clock of
    /// this machine with the record's timestamp and with the store's modification time: a lock is stale in the
    /// report if both are older than 300 s and than ten leases. If this machine's clock is ahead by so much, a
    /// live lock looks stale. A second look of the same process knows how long it was unchanged.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use object_store::memory::InMemory;
    /// use std::time::Duration;
    /// use rvlf_object_store::{StoreLock, block_on};
    ///
    /// # let store = Arc::new(InMemory::new());
    /// # block_on(async {
    /// let object = StoreLock::options().open_on(store, "data/x")?;
    /// let lock = object.acquire(Duration::ZERO).await?;
    /// let report = object.inspect().await?;
    /// assert!(report.is_held() && report.is_this_process());
    /// assert_eq!(report.generation(), Some(lock.generation()));
    /// lock.release().await?;
    /// assert_eq!(object.inspect().await?.verdict().reason().code(), "released");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The store cannot be asked.
    pub fn inspect(&self) -> impl Future<Output = Result<LockReport, StoreError>> + Send + use<> {
        driver::inspect(self.register.clone(), self.order.timing)
    }

    /// Reads the object as it is: the record and the payload, or what else is there. `None` if there is no
    /// object. Of an object that is too long for a lock, the beginning.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use object_store::memory::InMemory;
    /// use rvlf_object_store::{StoreLock, block_on};
    ///
    /// # let store = Arc::new(InMemory::new());
    /// let object = StoreLock::options().open_on(store, "data/x")?;
    /// assert_eq!(block_on(object.read())?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The store cannot be asked.
    pub fn read(&self) -> impl Future<Output = Result<Option<Bytes>, StoreError>> + Send + use<> {
        driver::read(self.register.clone(), self.order.timing)
    }

    /// Waits until no hold has the lock, up to `timeout`, and reports its state then: free, stale, still
    /// held after the timeout, or an object that is no lock. Acquires nothing.
    ///
    /// There is always one look. Polls as a contender does: every 20 ms at first, every 2 s in the end.
    /// An answer of the store that does not come is waited for until the timeout.
    ///
    /// # Errors
    ///
    /// See [`WaitError`].
    pub fn wait_until_free(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<LockReport, WaitError>> + Send + use<> {
        let (register, order) = self.with_timeout(timeout);
        driver::wait_until_free(register, order)
    }

    /// Breaks the lock if its holder is dead: takes it over and releases it. Returns the dead holder's
    /// record; `None` if the lock was free.
    ///
    /// Judges as [`inspect`](LockObject::inspect) does, but by the clocks only if that of this machine agrees
    /// with the store's: see [`both_clocks`](crate::StoreOptions::both_clocks).
    ///
    /// # Errors
    ///
    /// See [`BreakError`]: among them that the holder is not known to be dead.
    pub fn break_stale(
        &self,
    ) -> impl Future<Output = Result<Option<Record>, BreakError>> + Send + use<> {
        let (register, order) = self.with_timeout(Duration::ZERO);
        driver::break_stale(register, order)
    }

    /// Takes the lock from the hold `writer_id`, dead or alive, waits for one lease of that hold while it
    /// has the lock, and releases it: after that the victim, which could not refresh, does not believe any
    /// more that it holds the lock. Returns the victim's record; `None` if the lock was free.
    ///
    /// The commits of the victim are refused at once. The wait is for what it does without a commit. If the
    /// future is dropped, the wait and the release go on in the background; a cancel token ends neither. If
    /// the process ends in its wait, the lock is free after the lease of the victim.
    ///
    /// # Errors
    ///
    /// See [`BreakError`]: among them that another hold has the lock.
    pub fn break_forced(
        &self,
        writer_id: WriterId,
    ) -> impl Future<Output = Result<Option<Record>, BreakError>> + Send + use<> {
        self.break_by_force(writer_id, driver::Victim::IsWaitedFor)
    }

    /// As [`break_forced`](LockObject::break_forced), without the wait. **The victim may go on to write for
    /// two thirds of its lease while the next holder writes**: only commits are safe then. Use it if the
    /// victim is certainly dead.
    ///
    /// # Errors
    ///
    /// As [`break_forced`](LockObject::break_forced).
    pub fn break_forced_now(
        &self,
        writer_id: WriterId,
    ) -> impl Future<Output = Result<Option<Record>, BreakError>> + Send + use<> {
        self.break_by_force(writer_id, driver::Victim::IsDead)
    }

    fn break_by_force(
        &self,
        writer_id: WriterId,
        victim: driver::Victim,
    ) -> impl Future<Output = Result<Option<Record>, BreakError>> + Send + use<> {
        // Each refresh of the victim lets one attempt to take its lock fail.
        let (register, order) = self.with_timeout(self.order.timing.lease());
        driver::break_forced(register, order, writer_id, victim)
    }

    fn with_timeout(&self, timeout: Duration) -> (Arc<dyn Register>, Order) {
        let order = Order {
            timeout,
            ..self.order.clone()
        };
        (self.register.clone(), order)
    }
}

impl fmt::Debug for LockObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockObject")
            .field("name", &self.name())
            .field("order", &self.order)
            .finish()
    }
}
