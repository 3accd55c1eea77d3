//! The lock in an object store, beside the bare requests that it makes.
//!
//! `scripts/servers.sh seaweedfs -- cargo bench -p rvlf-benches --bench object_store` measures on a server.
//! Without one the store is a directory, which answers faster than any network: the goal is for servers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rvlf_benches::{Goal, Mode, Samples, interleaved, print_row, report_goal};
use rvlf_object_store::{
    Bucket, Condition, DirRegister, Found, HttpOptions, LockObject, Put, Register, StoreOptions,
    Version, block_on,
};
use tokio::runtime::Runtime;

/// What both candidates write: a record and a small manifest.
const PAYLOAD: &[u8] = b"0197f0c2-7d2b7c559f0a3d1f";

/// Opens the object with this name, with connections of its own.
type Open = Box<dyn Fn(&str) -> Arc<dyn Register>>;

struct Store {
    name: String,
    is_server: bool,
    open: Open,
    /// Where the requests of the bare candidate run.
    runtime: Runtime,
}

fn store() -> Store {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a thread can be started");
    let Ok(url) = std::env::var("RVLF_TEST_URL") else {
        let directory = tempfile::tempdir().expect("there is a temporary directory");
        return Store {
            name: "directory".to_owned(),
            is_server: false,
            open: Box::new(move |name| Arc::new(DirRegister::new(directory.path().join(name)))),
            runtime,
        };
    };
    let http = HttpOptions {
        request_timeout: Duration::from_secs(10),
        runtime: runtime.handle().clone(),
    };
    let name = std::env::var("RVLF_TEST_SERVER").unwrap_or_else(|_| "server".to_owned());
    let open = move |name: &str| -> Arc<dyn Register> {
        let data = format!("{}/bench/{name}", url.trim_end_matches('/'));
        let data = data.parse().expect("it is the URL of an object");
        let bucket = Bucket::open(&data, &http).expect("the environment configures it");
        Arc::new(bucket.register(data.lock_key(None)))
    };
    Store {
        name,
        is_server: true,
        open: Box::new(open),
        runtime,
    }
}

/// The requests of one hold: read, take over, commit, release.
fn bare(store: &Store, object: &dyn Register) {
    store.runtime.block_on(async {
        let condition = match object.get().await.expect("the store answers") {
            Found::Absent => Condition::Absent,
            Found::Present(found) => Condition::Version(found.version),
        };
        let taken = put(object, condition).await;
        let committed = put(object, Condition::Version(taken)).await;
        put(object, Condition::Version(committed)).await;
    });
}

/// Stores whose version is a hash of the bytes must not see equal ones twice.
async fn put(object: &dyn Register, condition: Condition) -> Version {
    let random: [u8; 16] = rand::random();
    let bytes = Bytes::from([&[0; 88], random.as_slice(), PAYLOAD].concat());
    match object
        .put_if(bytes, condition)
        .await
        .expect("the store answers")
    {
        Put::Stored(version) => version,
        Put::Refused => panic!("no other program writes this object"),
    }
}

fn hold(lock: &LockObject) {
    let lock = block_on(lock.acquire(Duration::ZERO)).expect("no other program acquires it");
    block_on(lock.commit(PAYLOAD)).expect("the lock is held");
    block_on(lock.release()).expect("the lock is held");
}

fn commit(store: &Store, mode: Mode) -> [Samples; 2] {
    let object = (store.open)("bare-commit");
    let lock = StoreOptions::new().open_register((store.open)("commit"));
    let lock = block_on(lock.acquire(Duration::ZERO)).expect("no other program acquires it");
    let mut condition = Condition::Absent;
    if let Found::Present(found) = store.runtime.block_on(object.get()).expect("it answers") {
        condition = Condition::Version(found.version);
    }
    let samples = interleaved(
        mode.pick(300, 1),
        1,
        [
            &mut || {
                let put = put(object.as_ref(), condition.clone());
                condition = Condition::Version(store.runtime.block_on(put));
            },
            &mut || block_on(lock.commit(PAYLOAD)).expect("the lock is held"),
        ],
    );
    block_on(lock.release()).expect("the lock is held");
    samples
}

fn main() {
    let mode = Mode::from_args();
    if mode == Mode::List {
        return;
    }
    let store = store();
    let object = (store.open)("bare");
    let lock = StoreOptions::new().open_register((store.open)("rvlf"));
    let [requests, holds] = interleaved(
        mode.pick(200, 1),
        1,
        [&mut || bare(&store, object.as_ref()), &mut || hold(&lock)],
    );
    let [request, committed] = commit(&store, mode);
    println!("object store, {}:", store.name);
    print_row(
        "read, take over, commit, release: bare requests",
        &requests,
        &requests,
    );
    print_row("rvlf: acquire, commit, release", &holds, &requests);
    print_row("one conditional write, bare", &request, &request);
    print_row("rvlf: commit", &committed, &request);
    if store.is_server {
        report_goal(
            mode,
            "acquire, commit and release in an object store, against the bare requests",
            Goal::AtMost(1.1),
            &store.name,
            holds.ratio_to(&requests),
        );
    }
}
