//! [`StoreOptions`]: how to acquire a lock.

use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::path::Path;
use rvlf::CancelToken;

use crate::bucket::Bucket;
use crate::driver::{Order, SelfTest};
use crate::error::{AcquireError, StoreError};
use crate::keepalive::Keepalive;
use crate::location::{Location, LocationError, lock_key};
use crate::lock::StoreLock;
use crate::lock_object::LockObject;
use crate::machine::Timing;
use crate::register::Register;
use crate::services::HttpOptions;

/// A shorter lease leaves too little time for requests to a server that is far away.
const LEAST_LEASE_OF_URLS: Duration = Duration::from_secs(5);

/// How to acquire a lock, and how to keep it.
#[derive(Clone, Debug)]
#[must_use = "options do nothing until they acquire"]
pub struct StoreOptions {
    lease: Duration,
    both_clocks: bool,
    cancel_token: Option<CancelToken>,
    key: LockKey,
    self_test: bool,
}

/// Where the lock of a data object is.
#[derive(Clone, Debug)]
enum LockKey {
    /// At the key of the data with `.lock`.
    Beside,
    /// The same, under a prefix.
    Under(String),
    /// At this key.
    At(String),
}

impl LockKey {
    /// `store`: what an error calls the store.
    fn of(&self, data: &Path, store: &str) -> Result<Path, StoreError> {
        Ok(match self {
            LockKey::Beside => lock_key(data, None),
            LockKey::Under(prefix) => lock_key(data, Some(&key(prefix, store)?)),
            LockKey::At(at) => key(at, store)?,
        })
    }
}

/// Not by `Path::from`, which encodes: see [`lock_key`].
fn key(text: &str, store: &str) -> Result<Path, StoreError> {
    let key = Path::parse(text).ok().filter(|key| !key.is_root());
    key.ok_or_else(|| {
        let bucket_url = store.to_owned();
        StoreError::Url(LocationError::BadKey { bucket_url })
    })
}

impl StoreOptions {
    /// The default lease: 30 s.
    pub const DEFAULT_LEASE: Duration = Duration::from_secs(30);

    /// The defaults, as each method documents them.
    pub fn new() -> StoreOptions {
        StoreOptions {
            lease: StoreOptions::DEFAULT_LEASE,
            both_clocks: false,
            cancel_token: None,
            key: LockKey::Beside,
            self_test: true,
        }
    }

    /// The lease. Default: 30 s. Between 1 s and 1 h; what is outside counts as the nearest.
    ///
    /// A dead holder's lock is taken over after it. A live holder refreshes every sixth of it, and counts
    /// itself lost if the store confirms nothing for two thirds of it: an outage of the store for a third of it
    /// costs nothing, if the lease is 5 s or more.
    pub fn lease(mut self, lease: Duration) -> StoreOptions {
        self.lease = lease;
        self
    }

    /// Whether an acquisition also takes a lock over whose two times are old, the holder's timestamp and the
    /// store's modification time: both older than 300 s and than ten leases. Default: false.
    ///
    /// One look is then enough for a lock that was left behind long ago. It is the only place where the
    /// clocks of two machines are compared. Both ages are measured by the wall clock of this machine: if
    /// that one alone is ahead by so much, a live lock looks old. So an object is written beside such a lock and
    /// removed, and the lock is held unless the store's time of that object differs by less than a minute.
    /// **Without the [self-test](StoreOptions::self_test), and for a [`Register`], the clocks are not compared**:
    /// there a live holder may lose its lock by one wrong clock, and go on to write for two thirds of its
    /// lease; its next commit is refused.
    pub fn both_clocks(mut self, both_clocks: bool) -> StoreOptions {
        self.both_clocks = both_clocks;
        self
    }

    /// A token that ends the waits of these options from another thread. Default: none.
    ///
    /// In asynchronous code, dropping the future does the same.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use object_store::memory::InMemory;
    /// use std::time::Duration;
    /// use rvlf::CancelToken;
    /// use rvlf_object_store::{StoreLock, block_on};
    ///
    /// # let store = Arc::new(InMemory::new());
    /// let token = CancelToken::new();
    /// let options = StoreLock::options().cancel_token(&token);
    /// token.cancel();
    /// let error = block_on(options.acquire_on(store, "data/x", Duration::MAX)).unwrap_err();
    /// assert!(error.is_cancelled());
    /// ```
    pub fn cancel_token(mut self, token: &CancelToken) -> StoreOptions {
        self.cancel_token = Some(token.clone());
        self
    }

    /// A prefix for the keys of lock objects: the lock of `data/x` is `PREFIX/data/x.lock`. Default: none.
    ///
    /// Lock objects then have lifecycle rules of their own: a bucket that keeps old versions keeps one for
    /// each refresh. Every program must use the same prefix. It is taken as it stands, as every key here.
    pub fn key_prefix(mut self, prefix: impl AsRef<str>) -> StoreOptions {
        self.key = LockKey::Under(prefix.as_ref().to_owned());
        self
    }

    /// The key of the lock object itself, in place of that of the data and `.lock`, in the same bucket. Every
    /// program must use the same key.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use object_store::memory::InMemory;
    /// use rvlf_object_store::StoreLock;
    ///
    /// # let store = Arc::new(InMemory::new());
    /// let object = StoreLock::options().lock_key("locks/index").open_on(store, "data/index/")?;
    /// assert!(object.name().ends_with("/locks/index"));
    /// # Ok::<(), rvlf_object_store::StoreError>(())
    /// ```
    pub fn lock_key(mut self, key: impl AsRef<str>) -> StoreOptions {
        self.key = LockKey::At(key.as_ref().to_owned());
        self
    }

    /// Whether an acquisition tests the server when there is no lock object yet, with a few conditional
    /// writes on random keys beside it. Default: true. Some servers ignore conditions, and would let every
    /// contender hold the lock. Also when a server refuses what it should not: some want ETags without their
    /// quotes, and get them then.
    ///
    /// The test removes its objects again, and leaves them where the credentials do not allow to.
    pub fn self_test(mut self, self_test: bool) -> StoreOptions {
        self.self_test = self_test;
        self
    }

    /// Acquires the lock of the data object `url`: `s3://BUCKET/KEY`, `gs://BUCKET/KEY` or
    /// `az://CONTAINER/KEY`, waiting up to `timeout` for it. The data object need not exist.
    ///
    /// The configuration is in the environment variables of the crate `object_store`: `AWS_*`, `GOOGLE_*`,
    /// `AZURE_*`. The lease is 5 s at least.
    ///
    /// There is always one look. A write that is under way at the timeout is waited for, up to a third of
    /// the lease longer, and so is the [self-test](StoreOptions::self_test), up to 30 s and the removal of its
    /// objects. `Duration::MAX` waits indefinitely. There is no queue: any of several waiters may
    /// be next. Dropping the future ends the wait; what an open write acquires then is released in the
    /// background.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use rvlf_object_store::{StoreLock, block_on};
    ///
    /// # block_on(async {
    /// let options = StoreLock::options().lease(Duration::from_secs(15));
    /// let lock = options.acquire("s3://bucket/data/x", Duration::from_secs(60)).await?;
    /// lock.release().await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`AcquireError`].
    pub fn acquire(
        &self,
        url: &str,
        timeout: Duration,
    ) -> impl Future<Output = Result<StoreLock, AcquireError>> + Send + use<> {
        let (options, url) = (self.clone(), url.to_owned());
        async move { options.open(&url)?.acquire(timeout).await }
    }

    /// As [`acquire`](StoreOptions::acquire), for the object `path` of `store`: a `Path`, or its text, which
    /// is taken as it stands (`Path::parse`), where `Path::from` would encode some characters. With
    /// `object_store::memory::InMemory` it is a lock within one process, for tests.
    ///
    /// The requests run on the thread of this library. Do not share the store with other work: a connection
    /// whose driver is on a blocked executor delays the refreshes. Turn the retries of its client off: a
    /// client that sends a conditional write again is refused because of its own first copy, which costs
    /// one more request each time.
    ///
    /// An HTTP client of your own must follow no redirect (`redirect::Policy::none()` of `reqwest`, in an
    /// `HttpConnector`). The default one of `object_store` does: it sends a PUT that is redirected on as a
    /// GET, whose answer looks as if the write were done, and sends the session token to the other host.
    /// [`acquire`](StoreOptions::acquire) has a client that does not.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use std::time::Duration;
    /// use object_store::memory::InMemory;
    /// use rvlf_object_store::{StoreLock, block_on};
    ///
    /// let store = Arc::new(InMemory::new());
    /// # block_on(async {
    /// let options = StoreLock::options();
    /// let lock = options.acquire_on(store.clone(), "data/x", Duration::ZERO).await?;
    /// let refused = options.acquire_on(store, "data/x", Duration::ZERO).await;
    /// let error = refused.expect_err("another hold has the lock");
    /// assert!(error.is_held());
    /// let holder = error.holder().and_then(|holder| holder.record()).expect("it has a record");
    /// assert_eq!(holder.writer_id(), lock.writer_id());
    /// # lock.release().await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`AcquireError`].
    pub fn acquire_on(
        &self,
        store: Arc<dyn ObjectStore>,
        path: impl AsRef<str>,
        timeout: Duration,
    ) -> impl Future<Output = Result<StoreLock, AcquireError>> + Send + 'static {
        let object = self.open_on(store, path);
        async move { object?.acquire(timeout).await }
    }

    /// As [`acquire`](StoreOptions::acquire), for the lock object that is `register`.
    ///
    /// The requests run on the thread of this library: a register that blocks it costs every lock of the
    /// process; see [`Register`].
    ///
    /// # Errors
    ///
    /// See [`AcquireError`].
    pub fn acquire_register(
        &self,
        register: Arc<dyn Register>,
        timeout: Duration,
    ) -> impl Future<Output = Result<StoreLock, AcquireError>> + Send + use<> {
        self.open_register(register).acquire(timeout)
    }

    /// Opens the lock of the data object `url`, to inspect, wait, break or acquire. Sends nothing.
    ///
    /// # Errors
    ///
    /// The URL names no object, the environment does not configure its client, or no thread can be started.
    pub fn open(&self, url: &str) -> Result<LockObject, StoreError> {
        let location: Location = url.parse().map_err(StoreError::Url)?;
        let mut order = self.order();
        order.timing = Timing::new(self.lease.max(LEAST_LEASE_OF_URLS));
        let name = location.to_string();
        let keepalive =
            Keepalive::of_this_process().map_err(|source| StoreError::Host { name, source })?;
        let http = HttpOptions {
            // An answer that is later than the lease is of no use any more.
            request_timeout: order.timing.lease(),
            runtime: keepalive.handle().clone(),
        };
        let bucket = Bucket::open(&location, &http).map_err(StoreError::Open)?;
        let key = self.key.of(&location.key, &location.bucket_url())?;
        Ok(self.in_bucket(bucket, key, order))
    }

    /// Opens the lock of the object `path` of `store`; see [`acquire_on`](StoreOptions::acquire_on).
    ///
    /// Example: [`LockObject`].
    ///
    /// # Errors
    ///
    /// The text is no key.
    pub fn open_on(
        &self,
        store: Arc<dyn ObjectStore>,
        path: impl AsRef<str>,
    ) -> Result<LockObject, StoreError> {
        let url = store.to_string();
        let key = self.key.of(&key(path.as_ref(), &url)?, &url)?;
        Ok(self.in_bucket(Bucket::new(store, &url), key, self.order()))
    }

    /// Opens the lock object that is `register`; see
    /// [`acquire_register`](StoreOptions::acquire_register).
    #[must_use]
    pub fn open_register(&self, register: Arc<dyn Register>) -> LockObject {
        LockObject::new(register, self.order())
    }

    fn in_bucket(&self, bucket: Bucket, key: Path, mut order: Order) -> LockObject {
        let register = bucket.register(key.clone());
        order.self_test = self.self_test.then(|| SelfTest {
            scratch: Arc::new(bucket),
            lock_key: key.to_string(),
        });
        LockObject::new(Arc::new(register), order)
    }

    fn order(&self) -> Order {
        Order {
            timing: Timing::new(self.lease),
            timeout: Duration::ZERO,
            both_clocks: self.both_clocks,
            forced: None,
            stale_only: false,
            cancel: self.cancel_token.clone(),
            self_test: None,
        }
    }
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions::new()
    }
}
