//! The self-test: whether a server keeps the conditions that the lock rests on.

use std::error::Error;
use std::fmt;
#[cfg(not(rvlf_shuttle))]
use std::future::poll_fn;
#[cfg(not(rvlf_shuttle))]
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::TryRng;
use rand::rngs::SysRng;
#[cfg(not(rvlf_shuttle))]
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use crate::bucket::Bucket;
#[cfg(not(rvlf_shuttle))]
use crate::keepalive::Keepalive;
use crate::location::any_key;
use crate::machine::{Condition, ErrorClass, Found, Put, Stored, Version};
use crate::register::{Register, RegisterError, RegisterFuture};
use crate::store_error;

/// The pause after a request without an answer.
const PAUSE: Duration = Duration::from_secs(1);

/// The pause after a GET that shows neither what was written nor what should be there.
const LOOK_PAUSE: Duration = Duration::from_millis(250);

/// No caller waits for the end of it.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// How often a write that should be done has to be refused before the server is blamed. A single
/// refusal may be a conflict (409) without anything landed.
const REFUSALS: u32 = 3;

/// Where the self-test makes objects of its own, and removes them.
pub trait Scratch: Send + Sync {
    /// The object with this key.
    fn register(&self, key: &str) -> Arc<dyn Register>;

    /// Removes an object that the self-test has made.
    ///
    /// # Errors
    ///
    /// As those of a [`Register`]. They are ignored: an object that stays does no harm.
    fn delete(&self, key: &str) -> RegisterFuture<()>;

    /// Sends ETags without their quotes from now on.
    fn strip_quotes(&self, strip: bool);
}

impl Scratch for Bucket {
    fn register(&self, key: &str) -> Arc<dyn Register> {
        Arc::new(Bucket::register(self, any_key(key)))
    }

    fn delete(&self, key: &str) -> RegisterFuture<()> {
        Bucket::delete(self, any_key(key))
    }

    fn strip_quotes(&self, strip: bool) {
        Bucket::strip_quotes(self, strip);
    }
}

/// What the lock demands of a server, and a server does not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Demand {
    /// An object that does not exist can be created.
    CreateAbsent,
    /// An object that exists is not created once more.
    RefuseCreate,
    /// An update that names the version which the last PUT returned is done.
    UpdateAfterPut,
    /// An update that names the version which a GET returned is done.
    UpdateAfterGet,
    /// An update that names an old version is refused.
    RefuseStale,
    /// An update of an object that does not exist is refused.
    RefuseMissing,
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CreateAbsent => "it refuses to create an object that does not exist",
            Self::RefuseCreate => "it creates an object that exists already (If-None-Match: *)",
            Self::UpdateAfterPut => {
                "it refuses an update that names the version which its PUT returned (If-Match)"
            }
            Self::UpdateAfterGet => {
                "it refuses an update that names the version which its GET returned (If-Match)"
            }
            Self::RefuseStale => "it does an update that names an old version (If-Match)",
            Self::RefuseMissing => "it does an update of an object that does not exist (If-Match)",
        })
    }
}

/// Why the self-test did not pass.
#[derive(Debug)]
#[non_exhaustive]
pub enum SelfTestError {
    /// The server does not keep a demand: a lock on it would have two holders.
    Unsuitable {
        /// The object on which it was seen.
        object: String,
        /// The demand.
        what: Demand,
    },
    /// The store does not allow a request, or can never do it.
    Store {
        /// The object.
        object: String,
        /// What the store answered.
        error: RegisterError,
    },
    /// The time was over before the server had answered all requests.
    Timeout {
        /// The object.
        object: String,
        /// The last error, if requests failed.
        last: Option<RegisterError>,
    },
    /// The operating system has no random bytes.
    Random(std::io::Error),
    /// There is no runtime of tokio on this thread, and the thread of this library cannot be started.
    Thread(std::io::Error),
}

impl fmt::Display for SelfTestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsuitable { object, what } => {
                write!(f, "the server of {object} cannot carry a lock: {what}")
            }
            Self::Store { object, error } => {
                write!(f, "cannot test the server of {object}: {error}")
            }
            Self::Timeout {
                object,
                last: Some(error),
            } => {
                write!(
                    f,
                    "the server of {object} did not answer in time; last: {error}"
                )
            }
            Self::Timeout { object, last: None } => {
                write!(f, "the server of {object} did not answer in time")
            }
            Self::Random(error) => write!(f, "cannot choose a key: no random bytes: {error}"),
            Self::Thread(error) => write!(f, "cannot start the thread of the test: {error}"),
        }
    }
}

impl SelfTestError {
    fn is_denied(&self) -> bool {
        matches!(self, Self::Store { error, .. } if error.class == ErrorClass::Denied)
    }
}

impl Error for SelfTestError {}

/// Tests with seven conditional writes on random keys beside `lock_key` whether the server keeps the
/// conditions. Call it when there is no lock object yet; an object that exists is the proof.
///
/// A right version that is refused is tried once more without the quotes of its ETag: some servers
/// want that. If this works, `scratch` sends ETags so from then on.
///
/// Does not find a server that keeps the conditions only while no two requests overlap: see
/// [`diagnose`](crate::diagnose). The two objects are removed in the end; a process that is killed leaves
/// them, and their text says what they are.
///
/// # Errors
///
/// See [`SelfTestError`].
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use object_store::memory::InMemory;
/// use rvlf_object_store::{Bucket, self_test};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
/// # runtime.block_on(async {
/// let bucket = Bucket::new(Arc::new(InMemory::new()), "memory://");
/// self_test(&bucket, "data/x.lock", Duration::from_secs(30)).await
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub async fn self_test(
    scratch: &dyn Scratch,
    lock_key: &str,
    timeout: Duration,
) -> Result<(), SelfTestError> {
    on_a_runtime(test(scratch, lock_key, timeout)).await
}

async fn test(
    scratch: &dyn Scratch,
    lock_key: &str,
    timeout: Duration,
) -> Result<(), SelfTestError> {
    let deadline = deadline_after(timeout);
    match sequence(scratch, lock_key, deadline).await {
        Err(SelfTestError::Unsuitable {
            what: Demand::UpdateAfterPut | Demand::UpdateAfterGet,
            ..
        }) => {
            scratch.strip_quotes(true);
            let stripped = sequence(scratch, lock_key, deadline).await;
            if stripped.is_err() {
                scratch.strip_quotes(false);
            }
            stripped
        }
        result => result,
    }
}

/// The test needs timers, and the client of a store may need more: what a runtime of tokio has. A program without
/// one gets that of the locks.
pub(crate) async fn on_a_runtime<T>(
    test: impl Future<Output = Result<T, SelfTestError>>,
) -> Result<T, SelfTestError> {
    #[cfg(not(rvlf_shuttle))]
    if Handle::try_current().is_err() {
        let keepalive = Keepalive::of_this_process().map_err(SelfTestError::Thread)?;
        let mut test = pin!(test);
        return poll_fn(|context| {
            let _inside = keepalive.handle().enter();
            test.as_mut().poll(context)
        })
        .await;
    }
    test.await
}

async fn sequence(
    scratch: &dyn Scratch,
    lock_key: &str,
    deadline: Instant,
) -> Result<(), SelfTestError> {
    let keys = [random_key(lock_key)?, random_key(lock_key)?];
    let [first, second] = keys.each_ref().map(|key| Subject {
        register: scratch.register(key),
        deadline,
    });
    let result = demands(&first, &second).await;
    for key in keys {
        // Best effort: the verdict does not depend on it, and the objects do no harm.
        let _ = tokio::time::timeout(PAUSE, scratch.delete(&key)).await;
    }
    result
}

async fn demands(first: &Subject, second: &Subject) -> Result<(), SelfTestError> {
    let created = first
        .expect_done(Demand::CreateAbsent, text(1), Condition::Absent)
        .await?;
    first
        .expect_refused(
            Demand::RefuseCreate,
            text(2),
            Condition::Absent,
            Some(text(1)),
        )
        .await?;
    let after_put = Condition::Version(created.clone());
    first
        .expect_done(Demand::UpdateAfterPut, text(3), after_put)
        .await?;
    let read = first.read(&text(3)).await?.version;
    let after_get = Condition::Version(read.clone());
    first
        .expect_done(Demand::UpdateAfterGet, text(4), after_get)
        .await?;
    for stale in [created, read.clone()] {
        let stale = Condition::Version(stale);
        first
            .expect_refused(Demand::RefuseStale, text(5), stale, Some(text(4)))
            .await?;
    }
    let nothing = Condition::Version(read);
    second
        .expect_refused(Demand::RefuseMissing, text(6), nothing, None)
        .await
}

/// The time by the store's clock, as Unix time: when it modified an object beside the lock that is written now.
/// `None` if the store reports none.
pub(crate) async fn store_time(
    scratch: &dyn Scratch,
    lock_key: &str,
    timeout: Duration,
) -> Result<Option<Duration>, SelfTestError> {
    let key = random_key(lock_key)?;
    let object = Subject {
        register: scratch.register(&key),
        deadline: deadline_after(timeout),
    };
    let written = object.written_now().await;
    // Best effort, as in the self-test.
    let _ = tokio::time::timeout(PAUSE, scratch.delete(&key)).await;
    Ok(written?.modified_ms.map(Duration::from_millis))
}

/// The bytes of one write: no two are equal, and each says what it is to a user who finds it.
pub(crate) fn text(step: u32) -> Bytes {
    format!("a self-test of rvlf left this object; it can be deleted (write {step})\n").into()
}

/// The end of `timeout`, which may be longer than clocks count.
pub(crate) fn deadline_after(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or_else(|| now + CENTURY)
}

/// Why the test has no verdict yet.
fn other_state() -> RegisterError {
    store_error::of_text(
        ErrorClass::Unknown,
        "its answers to GET show another state than the one that was written",
    )
}

/// A key beside the lock object that no other process uses.
pub(crate) fn random_key(lock_key: &str) -> Result<String, SelfTestError> {
    let random = SysRng
        .try_next_u64()
        .map_err(|error| SelfTestError::Random(error.into()))?;
    Ok(format!("{lock_key}.self-test-{random:016x}"))
}

/// An object under test. A verdict is drawn from the answers of writes only, and from a GET that shows the very
/// write under test: after a request without an answer, or a GET that shows anything else, it looks again.
pub(crate) struct Subject {
    pub(crate) register: Arc<dyn Register>,
    pub(crate) deadline: Instant,
}

impl Subject {
    /// Writes `bytes`, which the server must do. Returns the new version.
    async fn expect_done(
        &self,
        demand: Demand,
        bytes: Bytes,
        condition: Condition,
    ) -> Result<Version, SelfTestError> {
        let (mut refusals, mut has_all_answers) = (0, true);
        loop {
            match self.put(&bytes, &condition).await? {
                Some(Put::Stored(version)) => return Ok(version),
                Some(Put::Refused) => refusals += 1,
                None => has_all_answers = false,
            }
            // An earlier copy of this write may be in: it would refuse the next one.
            match self.find(condition == Condition::Absent).await? {
                Found::Present(found) if found.bytes == bytes => return Ok(found.version),
                // A copy without an answer may be in although an older state is shown: no verdict then.
                _ if refusals >= REFUSALS && has_all_answers => {
                    return Err(self.unsuitable(demand));
                }
                _ => self.pause(LOOK_PAUSE, other_state()).await?,
            }
        }
    }

    /// Writes `bytes`, which the server must refuse, and leave `kept` as it is.
    async fn expect_refused(
        &self,
        demand: Demand,
        bytes: Bytes,
        condition: Condition,
        kept: Option<Bytes>,
    ) -> Result<(), SelfTestError> {
        loop {
            let put = match self.put(&bytes, &condition).await {
                Err(error) if kept.is_none() && error.is_denied() => Some(Put::Refused),
                put => put?,
            };
            let is_stored = matches!(put, Some(Put::Stored(_)));
            // A refusal that was none, or a write without an answer that was done.
            if is_stored || self.shows(&bytes, kept.as_ref()).await? {
                return Err(self.unsuitable(demand));
            }
            if put.is_some() {
                return Ok(());
            }
        }
    }

    /// Looks until the object is `new` or `kept`: `true` for `new`. Any other state is an older one, that a
    /// store may show for a while: no fault of its conditions.
    async fn shows(&self, new: &Bytes, kept: Option<&Bytes>) -> Result<bool, SelfTestError> {
        loop {
            let found = match self.find(kept.is_none()).await? {
                Found::Present(found) => Some(found.bytes),
                Found::Absent => None,
            };
            match found.as_ref() {
                Some(found) if found == new => return Ok(true),
                found if found == kept => return Ok(false),
                _ => self.pause(LOOK_PAUSE, other_state()).await?,
            }
        }
    }

    async fn written_now(&self) -> Result<Stored, SelfTestError> {
        self.expect_done(Demand::CreateAbsent, text(1), Condition::Absent)
            .await?;
        self.read(&text(1)).await
    }

    /// Looks until the object has `bytes`, which are in.
    async fn read(&self, bytes: &Bytes) -> Result<Stored, SelfTestError> {
        loop {
            match self.get().await? {
                Found::Present(found) if found.bytes == *bytes => return Ok(found),
                _ => self.pause(LOOK_PAUSE, other_state()).await?,
            }
        }
    }

    fn unsuitable(&self, what: Demand) -> SelfTestError {
        SelfTestError::Unsuitable {
            object: self.register.name(),
            what,
        }
    }

    /// `None` without an answer, after a pause.
    async fn put(
        &self,
        bytes: &Bytes,
        condition: &Condition,
    ) -> Result<Option<Put>, SelfTestError> {
        match self
            .answer(self.register.put_if(bytes.clone(), condition.clone()))
            .await?
        {
            Ok(put) => Ok(Some(put)),
            Err(error) => self.pause(PAUSE, error).await.map(|()| None),
        }
    }

    /// What is there. To a user who may not list the bucket S3 denies the GET of an object that is not there.
    /// That the user may read is tested with an object that is there.
    async fn find(&self, may_be_absent: bool) -> Result<Found, SelfTestError> {
        match self.get().await {
            Err(error) if may_be_absent && error.is_denied() => Ok(Found::Absent),
            got => got,
        }
    }

    pub(crate) async fn get(&self) -> Result<Found, SelfTestError> {
        loop {
            match self.answer(self.register.get()).await? {
                Ok(found) => return Ok(found),
                Err(error) => self.pause(PAUSE, error).await?,
            }
        }
    }

    pub(crate) async fn answer<T>(
        &self,
        request: RegisterFuture<T>,
    ) -> Result<Result<T, RegisterError>, SelfTestError> {
        match tokio::time::timeout_at(self.deadline, request).await {
            Ok(Err(error)) if error.class != ErrorClass::Unknown => Err(SelfTestError::Store {
                object: self.register.name(),
                error,
            }),
            Ok(answer) => Ok(answer),
            Err(_) => Err(SelfTestError::Timeout {
                object: self.register.name(),
                last: None,
            }),
        }
    }

    async fn pause(&self, pause: Duration, error: RegisterError) -> Result<(), SelfTestError> {
        if Instant::now() + pause > self.deadline {
            let object = self.register.name();
            return Err(SelfTestError::Timeout {
                object,
                last: Some(error),
            });
        }
        sleep(pause).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::ops::Range;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;
    use crate::block_on;

    /// A server that breaks one rule.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Flaw {
        None,
        IgnoresCreate,
        IgnoresUpdate,
        UpdatesMissing,
        ComparesUnquoted,
        RefusesUpdates,
        RefusesCreates,
        ComparesUnquotedAndIgnoresOthers,
        /// It denies what is asked of an object that does not exist, as to a user who may not list.
        HidesAbsent,
    }

    #[derive(Default)]
    struct Objects {
        bytes: Mutex<HashMap<String, (Bytes, u32)>>,
        versions: AtomicU32,
        deletes: AtomicU32,
        strip: AtomicBool,
        /// The answers that are lost from now on.
        lose: AtomicU32,
        /// The state of each object before the latest write.
        past: Mutex<HashMap<String, Option<(Bytes, u32)>>>,
        gets: AtomicU32,
        /// Which GETs are answered with an older state.
        stale: Mutex<Range<u32>>,
        /// Whether that is the oldest one: no object.
        is_oldest: AtomicBool,
    }

    #[derive(Clone)]
    struct Server(Arc<Objects>, Flaw);

    impl Server {
        fn new(flaw: Flaw) -> Self {
            Self(Arc::default(), flaw)
        }

        fn is_lost(&self) -> bool {
            let lose = &self.0.lose;
            lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            })
            .is_ok()
        }

        fn read(&self, key: &str) -> Option<(Bytes, u32)> {
            let get = self.0.gets.fetch_add(1, Ordering::SeqCst);
            if !self.0.stale.lock().expect("no test panics").contains(&get) {
                let objects = self.0.bytes.lock().expect("no test panics");
                return objects.get(key).cloned();
            }
            let past = self.0.past.lock().expect("no test panics");
            let is_oldest = self.0.is_oldest.load(Ordering::SeqCst);
            past.get(key).cloned().flatten().filter(|_| !is_oldest)
        }

        /// Whether the server takes `condition` as fulfilled by the object's version.
        fn holds(&self, version: Option<u32>, condition: &Condition) -> bool {
            let Self(objects, flaw) = self;
            let Condition::Version(named) = condition else {
                let refuses = *flaw == Flaw::RefusesCreates;
                return !refuses && (version.is_none() || *flaw == Flaw::IgnoresCreate);
            };
            let Some(version) = version else {
                return *flaw == Flaw::UpdatesMissing;
            };
            let sent = named.e_tag.clone().unwrap_or_default();
            let sent = if objects.strip.load(Ordering::SeqCst) {
                sent.replace('"', "")
            } else {
                sent
            };
            let is_unquoted = !sent.contains('"');
            match flaw {
                Flaw::IgnoresUpdate => true,
                Flaw::RefusesUpdates => false,
                Flaw::ComparesUnquoted => sent == version.to_string(),
                Flaw::ComparesUnquotedAndIgnoresOthers => is_unquoted,
                _ => sent.trim_matches('"') == version.to_string(),
            }
        }
    }

    #[derive(Clone)]
    struct ServerObject(Server, String);

    impl Register for ServerObject {
        fn get(&self) -> RegisterFuture<Found> {
            let Self(server, key) = self.clone();
            Box::pin(async move {
                Ok(match server.read(&key) {
                    None if server.1 == Flaw::HidesAbsent => return Err(denied()),
                    None => Found::Absent,
                    Some((bytes, version)) => Found::Present(crate::machine::Stored {
                        bytes,
                        version: e_tag(version),
                        modified_ms: None,
                    }),
                })
            })
        }

        fn put_if(&self, new: Bytes, condition: Condition) -> RegisterFuture<Put> {
            let Self(server, key) = self.clone();
            Box::pin(async move {
                let mut bytes = server
                    .0
                    .bytes
                    .lock()
                    .expect("no test panics while it writes");
                let version = bytes.get(&key).map(|(_, version)| *version);
                let is_update = condition != Condition::Absent;
                if server.1 == Flaw::HidesAbsent && version.is_none() && is_update {
                    return Err(denied());
                }
                let put = if server.holds(version, &condition) {
                    let version = server.0.versions.fetch_add(1, Ordering::SeqCst);
                    let past = bytes.insert(key.clone(), (new, version));
                    let mut pasts = server.0.past.lock().expect("no test panics");
                    pasts.insert(key, past);
                    Put::Stored(e_tag(version))
                } else {
                    Put::Refused
                };
                if server.is_lost() {
                    return Err(crate::store_error::of_text(
                        ErrorClass::Unknown,
                        "timed out",
                    ));
                }
                Ok(put)
            })
        }

        fn name(&self) -> String {
            format!("test://{}", self.1)
        }
    }

    fn denied() -> RegisterError {
        crate::store_error::of_text(ErrorClass::Denied, "403 Forbidden")
    }

    fn e_tag(version: u32) -> Version {
        Version {
            e_tag: Some(format!("\"{version}\"")),
            version: None,
        }
    }

    impl Scratch for Server {
        fn register(&self, key: &str) -> Arc<dyn Register> {
            Arc::new(ServerObject(self.clone(), key.to_owned()))
        }

        fn delete(&self, key: &str) -> RegisterFuture<()> {
            self.0.deletes.fetch_add(1, Ordering::SeqCst);
            self.0
                .bytes
                .lock()
                .expect("no test panics while it writes")
                .remove(key);
            Box::pin(async { Ok(()) })
        }

        fn strip_quotes(&self, strip: bool) {
            self.0.strip.store(strip, Ordering::SeqCst);
        }
    }

    fn run(server: &Server) -> Result<(), SelfTestError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let test = self_test(server, "data/x.lock", Duration::from_secs(60));
        runtime
            .expect("a runtime needs no resource here")
            .block_on(test)
    }

    // The futures of this crate need no runtime, but these two panicked without one.
    #[test]
    fn tests_need_no_runtime() {
        let server = Server::new(Flaw::None);
        let time = Duration::from_secs(60);
        block_on(self_test(&server, "x.lock", time)).expect("it keeps all conditions");
        let bucket = Bucket::new(Arc::new(object_store::memory::InMemory::new()), "memory://");
        let diagnosis = block_on(crate::diagnose(&bucket, "x.lock", time));
        assert!(diagnosis.expect("memory answers").is_suitable());
        // The pause after a request without an answer ends.
        let lost = Server::new(Flaw::None);
        lost.0.lose.store(1, Ordering::SeqCst);
        block_on(self_test(&lost, "x.lock", time)).expect("one answer was lost");
    }

    // A server that ignores one condition has two holders the first time two processes meet, and looks
    // healthy until then.
    #[test]
    fn each_condition_that_a_server_does_not_keep_is_found_by_itself() {
        for (flaw, demand) in [
            (Flaw::IgnoresCreate, Demand::RefuseCreate),
            (Flaw::IgnoresUpdate, Demand::RefuseStale),
            (Flaw::UpdatesMissing, Demand::RefuseMissing),
            (Flaw::RefusesUpdates, Demand::UpdateAfterPut),
            (Flaw::RefusesCreates, Demand::CreateAbsent),
            (Flaw::ComparesUnquotedAndIgnoresOthers, Demand::RefuseStale),
        ] {
            let server = Server::new(flaw);
            match run(&server) {
                Err(SelfTestError::Unsuitable { what, object }) => {
                    assert_eq!(what, demand, "{flaw:?}");
                    assert!(
                        object.starts_with("test://data/x.lock.self-test-"),
                        "{object}"
                    );
                }
                other => panic!("{flaw:?}: {other:?}"),
            }
            assert!(
                !server.0.strip.load(Ordering::SeqCst),
                "{flaw:?} changed the dialect"
            );
        }
    }

    #[test]
    fn a_server_that_keeps_the_conditions_passes_and_nothing_is_left_on_it() {
        let server = Server::new(Flaw::None);
        run(&server).expect("it keeps all conditions");
        assert!(server.0.bytes.lock().expect("no test panics").is_empty());
        assert_eq!(server.0.deletes.load(Ordering::SeqCst), 2);
        assert!(
            !server.0.strip.load(Ordering::SeqCst),
            "quotes are sent as they came"
        );
    }

    // Ceph before 18 and others compare the bytes of the header with an ETag that they store without
    // quotes: each takeover would be refused, without end.
    #[test]
    fn a_server_that_wants_etags_without_quotes_passes_and_gets_them_so_from_then_on() {
        let server = Server::new(Flaw::ComparesUnquoted);
        run(&server).expect("it keeps all conditions, in its dialect");
        assert!(server.0.strip.load(Ordering::SeqCst));
    }

    // The lock needs no permission to list, and the first acquisition of each ended with "access denied".
    #[test]
    fn a_server_that_hides_absent_objects_passes_also_if_an_answer_is_lost() {
        for lost in [0, 1] {
            let server = Server::new(Flaw::HidesAbsent);
            server.0.lose.store(lost, Ordering::SeqCst);
            run(&server).expect("it keeps all conditions");
        }
    }

    // `Duration::MAX` is how a caller of the lock waits indefinitely. Here it was a panic.
    #[test]
    fn tests_without_a_deadline_end() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let server = Server::new(Flaw::None);
        runtime
            .expect("a runtime needs no resource here")
            .block_on(async {
                let key = "data/x.lock";
                let test = self_test(&server, key, Duration::MAX).await;
                test.expect("it keeps all conditions");
                let diagnosis = crate::diagnose(&server, key, Duration::MAX).await;
                assert!(diagnosis.expect("it answers").is_suitable());
            });
    }

    // A GET may show an older state (A7), once. The test concluded from it that the server ignores conditions or
    // refuses right versions, and `rvlf run` refused a good server.
    #[test]
    fn a_get_that_shows_an_older_state_is_no_verdict() {
        for (get, is_oldest) in (0..6).flat_map(|get| [(get, false), (get, true)]) {
            let server = Server::new(Flaw::None);
            *server.0.stale.lock().expect("no test panics") = get..get + 1;
            server.0.is_oldest.store(is_oldest, Ordering::SeqCst);
            let result = run(&server);
            result.unwrap_or_else(|error| panic!("GET {get}, oldest {is_oldest}: {error}"));
            assert!(!server.0.strip.load(Ordering::SeqCst), "GET {get}");
        }
    }

    // The create is in, its answer is lost, and each repetition is refused because of it.
    #[test]
    fn refusals_of_a_write_whose_first_copy_may_be_in_are_no_verdict() {
        let server = Server::new(Flaw::None);
        server.0.lose.store(1, Ordering::SeqCst);
        *server.0.stale.lock().expect("no test panics") = 0..6;
        run(&server).expect("the create is in");
    }

    // A verdict from a timeout would refuse a good server on a bad day, and approve a bad one whose
    // write was done although its answer was lost.
    #[test]
    fn a_lost_answer_is_no_verdict() {
        let good = Server::new(Flaw::None);
        good.0.lose.store(1, Ordering::SeqCst);
        run(&good).expect("the first answer was lost, and the conditions are kept");
        let bad = Server::new(Flaw::IgnoresCreate);
        let subject = Subject {
            register: bad.register("k"),
            deadline: Instant::now() + Duration::from_secs(60),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime
            .expect("a runtime needs no resource here")
            .block_on(async {
                let create = Demand::CreateAbsent;
                subject
                    .expect_done(create, text(1), Condition::Absent)
                    .await
                    .expect("it is absent");
                bad.0.lose.store(1, Ordering::SeqCst);
                let again = subject
                    .expect_refused(
                        Demand::RefuseCreate,
                        text(2),
                        Condition::Absent,
                        Some(text(1)),
                    )
                    .await;
                let error = again.expect_err("the write was done");
                assert!(matches!(error, SelfTestError::Unsuitable { .. }), "{error}");
            });
    }
}
