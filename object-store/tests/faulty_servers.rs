//! Servers that do not keep conditions, or want them in another form.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};
use rvlf::record::{Hostname, Pid, StoreStamp};
use rvlf::{Record, WriterId};
use rvlf_object_store::{AcquireError, BreakError, CommitError, StoreLock, block_on};

/// No test is about speed.
const LONG: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    None,
    /// Every write is done, as by s3rver.
    IgnoresConditions,
    /// An update is answered as a read, as by a client that follows a redirect.
    AnswersUpdatesAsReads,
    /// ETags have quotes in answers, and must have none in conditions, as with some gateways.
    WantsNoQuotes,
    /// Its clock is behind that of this machine.
    IsBehind,
    /// The lock object was written long ago.
    HasOldLock,
}

/// By how much.
const BEHIND: Duration = Duration::from_secs(600);

/// A server in memory, and which objects it was asked to delete.
#[derive(Debug)]
struct Server(InMemory, Flaw, Arc<Mutex<Vec<Path>>>);

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("server")
    }
}

#[async_trait]
impl ObjectStore for Server {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> Result<PutResult> {
        match (self.1, &mut options.mode) {
            (Flaw::IgnoresConditions, mode) => *mode = PutMode::Overwrite,
            (Flaw::WantsNoQuotes, PutMode::Update(version)) => {
                // What came with quotes has two of them now, and matches nothing.
                version.e_tag = version.e_tag.take().map(|tag| format!("\"{tag}\""));
            }
            (Flaw::AnswersUpdatesAsReads, PutMode::Update(_)) => {
                let meta = self.0.head(location).await?;
                return Ok(PutResult {
                    e_tag: meta.e_tag,
                    version: meta.version,
                    extensions: Default::default(),
                });
            }
            _ => {}
        }
        self.0.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let mut found = self.0.get_opts(location, options).await?;
        let is_lock = location.as_ref() == "x.lock";
        if self.1 == Flaw::IsBehind || is_lock && self.1 == Flaw::HasOldLock {
            found.meta.last_modified -= BEHIND;
        }
        Ok(found)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let deleted = self.2.clone();
        let locations = locations.inspect_ok(move |location| {
            deleted
                .lock()
                .expect("no test panics here")
                .push(location.clone());
        });
        self.0.delete_stream(Box::pin(locations))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

fn server(flaw: Flaw) -> Arc<Server> {
    Arc::new(Server(InMemory::new(), flaw, Arc::default()))
}

// The weakened form: what the self-test prevents is that two processes hold one lock.
#[test]
fn a_server_that_ignores_conditions_is_refused_before_it_makes_two_holders() {
    let server = server(Flaw::IgnoresConditions);
    let options = StoreLock::options();
    let error = block_on(options.acquire_on(server.clone(), "x", LONG)).expect_err("unsuitable");
    assert!(matches!(error, AcquireError::Unsuitable { .. }), "{error}");
    assert!(error.to_string().contains("cannot carry a lock"), "{error}");
    let lock = block_on(server.get(&"x.lock".into()));
    assert!(
        matches!(lock, Err(Error::NotFound { .. })),
        "no lock is left: {lock:?}"
    );

    let untested = options.self_test(false).lease(Duration::from_secs(600));
    let first = block_on(untested.acquire_on(server.clone(), "x", LONG)).expect("it looks free");
    block_on(server.delete(&"x.lock".into())).expect("memory answers");
    let second = block_on(untested.acquire_on(server, "x", LONG)).expect("it looks free");
    block_on(first.commit("first")).expect("nothing refuses it");
    block_on(second.commit("second")).expect("nothing refuses it");
}

// The commit was acknowledged, and is in no later root.
#[test]
fn a_write_that_was_answered_as_a_read_is_not_confirmed() {
    let server = server(Flaw::AnswersUpdatesAsReads);
    let options = StoreLock::options().self_test(false);
    let lock = block_on(options.acquire_on(server, "x", LONG)).expect("a create is done");
    let commit = block_on(lock.commit_within("root", Duration::from_secs(1)));
    let error = commit.expect_err("it is not in");
    assert!(matches!(error, CommitError::Unsettled { .. }), "{error}");
}

// Hetzner, Ceph RGW: the lock object exists, and says that the server was tested, but not in which form it
// wants ETags.
#[test]
fn a_server_that_wants_etags_without_quotes_gets_them_also_in_a_process_that_did_not_test_it() {
    let server = server(Flaw::WantsNoQuotes);
    for root in ["first", "second"] {
        // Each opens the bucket anew.
        let lock = block_on(StoreLock::options().acquire_on(server.clone(), "x", LONG));
        let lock = lock.expect("it is free");
        block_on(lock.commit(root)).expect("it is held");
        block_on(lock.release()).expect("it is held");
    }
}

/// The object of a holder with a lease of 30 s whose last refresh is old by its timestamp.
fn old_record() -> PutPayload {
    let stamp = StoreStamp {
        generation: 1,
        lease_ms: 30_000,
        nonce: 1,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let then = now.expect("it is after 1970").saturating_sub(BEHIND);
    let then = u64::try_from(then.as_nanos()).expect("it is before 2554");
    let (pid, id) = (
        Pid::new(1).expect("1 is a pid"),
        WriterId::from_bytes([7; 16]),
    );
    let record = Record::for_store(pid, &Hostname::truncated(b"host"), then, id, stamp);
    record.encode().to_vec().into()
}

// Ten minutes ahead of the holder's clock and of the store's, this machine's makes each live lock look as old as one
// that was left behind: a break ended its holder, and the next writer began beside it.
#[test]
fn a_break_does_not_ask_the_clocks_where_this_machines_differs_from_the_stores() {
    let broken = |flaw: Flaw| {
        let server = server(flaw);
        block_on(server.put(&"x.lock".into(), old_record())).expect("memory answers");
        let broken = block_on(
            StoreLock::options()
                .open_on(server.clone(), "x")
                .expect("x is a key")
                .break_stale(),
        );
        let acquired = StoreLock::options().both_clocks(true);
        let acquired = block_on(acquired.acquire_on(server.clone(), "x", Duration::ZERO));
        let objects = block_on(server.list_with_delimiter(None)).expect("memory answers");
        assert_eq!(objects.objects.len(), 1, "the lock alone is left");
        (broken, acquired)
    };
    let (held, acquired) = broken(Flaw::IsBehind);
    assert!(matches!(held, Err(BreakError::Held { .. })), "{held:?}");
    assert!(acquired.expect_err("it may be alive").is_held());
    let (left_behind, _) = broken(Flaw::HasOldLock);
    assert!(left_behind.expect("the clocks agree").is_some());
}

#[test]
fn the_self_test_leaves_no_object_behind_and_is_not_made_to_break_a_lock() {
    let store = Arc::new(InMemory::new());
    let object = StoreLock::options()
        .open_on(store.clone(), "x")
        .expect("it is a key");
    assert_eq!(block_on(object.break_stale()).expect("there is none"), None);
    let objects = block_on(store.list_with_delimiter(None))
        .expect("memory answers")
        .objects;
    assert_eq!(objects, [], "nothing was made");
    let lock = block_on(object.acquire(LONG)).expect("it is free");
    let objects = block_on(store.list_with_delimiter(None))
        .expect("memory answers")
        .objects;
    let keys: Vec<_> = objects
        .iter()
        .map(|object| object.location.as_ref())
        .collect();
    assert_eq!(keys, ["x.lock"]);
    block_on(lock.release()).expect("it is held");
}

// A delete that is late removes the object of the next holder, and many servers ignore its condition.
#[test]
fn the_lock_object_is_never_deleted() {
    let server = server(Flaw::None);
    let object = StoreLock::options()
        .open_on(server.clone(), "x")
        .expect("it is a key");
    let lock = block_on(object.acquire(LONG)).expect("it is free");
    block_on(lock.commit("root")).expect("it is held");
    block_on(lock.release()).expect("it is held");
    let lock = block_on(object.acquire(LONG)).expect("it is free");
    block_on(object.break_forced_now(lock.writer_id())).expect("it is that hold");
    block_on(lock.check()).expect_err("it was broken");
    drop(lock);
    let deleted = server.2.lock().expect("no test panics here").clone();
    assert!(!deleted.is_empty(), "the self-test removes its objects");
    assert!(!deleted.contains(&"x.lock".into()), "{deleted:?}");
}
