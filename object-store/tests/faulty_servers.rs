//! Servers that do not keep conditions, or want them in another form.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

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
use rvlf_object_store::{AcquireError, CommitError, StoreLock, block_on};

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
}

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
            (_, _) => {}
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
        self.0.get_opts(location, options).await
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
