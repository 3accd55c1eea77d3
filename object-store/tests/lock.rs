//! What a program sees of a lock in an object store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use rvlf::record::{Hostname, Pid, StoreStamp};
use rvlf::{Record, WriterId};
use rvlf_object_store::{
    AcquireError, BreakError, Bucket, CommitError, Condition, Found, LockObject, LossReason,
    MAX_PAYLOAD_LEN, Put, Register, RegisterFuture, StoreError, StoreLock, StoreOptions, block_on,
};

/// For tests that wait for a lease: two thirds of it are longer than a machine under load stands still.
const LEASE: Duration = Duration::from_secs(3);
/// For all others: what would have to wait for it hangs visibly.
const NEVER: Duration = Duration::from_secs(3600);
/// No test is about speed.
const LONG: Duration = Duration::from_secs(120);

fn options() -> StoreOptions {
    StoreLock::options().lease(NEVER)
}

fn store() -> Arc<InMemory> {
    Arc::new(InMemory::new())
}

fn acquire(object: &LockObject) -> StoreLock {
    block_on(object.acquire(LONG)).expect("the lock becomes free")
}

fn release(lock: StoreLock) {
    let released = block_on(lock.release()).expect("the lock is held");
    assert!(released.confirmed);
}

/// Futures that a multi-threaded runtime may move, and that outlive the handle that made them.
#[test]
fn locks_and_futures_can_be_sent_and_shared() {
    fn is_sent_and_shared<T: Send + Sync + 'static>() {}
    fn is_sent<T: Send>(value: T) -> T {
        value
    }
    fn is_spawned<T: Send + 'static>(value: T) -> T {
        value
    }
    is_sent_and_shared::<StoreLock>();
    is_sent_and_shared::<StoreOptions>();
    is_sent_and_shared::<LockObject>();
    is_sent_and_shared::<AcquireError>();
    is_sent_and_shared::<BreakError>();
    is_sent_and_shared::<CommitError>();
    let object = options().open_on(store(), "x").expect("it is a key");
    let lock = block_on(is_spawned(object.acquire(LONG))).expect("it is free");
    block_on(is_spawned(object.inspect())).expect("memory answers");
    drop(is_spawned(object.wait_until_free(LONG)));
    drop(is_spawned(object.break_stale()));
    drop(is_spawned(options().acquire("s3://bucket/key", LONG)));
    drop(is_spawned(lock.lost()));
    block_on(is_sent(lock.check())).expect("it is held");
    block_on(is_sent(lock.commit("root"))).expect("it is held");
    block_on(is_sent(lock.release())).expect("it is held");
}

// A register that panics takes the task of its lock along. Those who wait for the loss must hear of it.
#[test]
fn a_register_that_panics_ends_the_belief() {
    #[derive(Clone)]
    struct Panics(rvlf_object_store::ObjectRegister, Arc<AtomicBool>);
    impl Register for Panics {
        fn get(&self) -> RegisterFuture<Found> {
            self.0.get()
        }
        fn put_if(&self, bytes: Bytes, condition: Condition) -> RegisterFuture<Put> {
            assert!(
                !self.1.load(Ordering::SeqCst),
                "as a bug of the register does"
            );
            self.0.put_if(bytes, condition)
        }
        fn name(&self) -> String {
            self.0.name()
        }
    }
    let bucket = Bucket::new(store(), "memory://");
    let panics = Arc::new(AtomicBool::new(false));
    let register = Panics(bucket.register("x.lock".into()), panics.clone());
    let lock = acquire(&StoreLock::options().open_register(Arc::new(register)));
    panics.store(true, Ordering::SeqCst);
    block_on(lock.check()).expect_err("nothing refreshes it any more");
    assert_eq!(block_on(lock.lost()).reason, LossReason::Expired);
    lock.check_local()
        .expect_err("nothing refreshes it any more");
    let error = block_on(lock.commit("late")).expect_err("nothing commits it");
    assert!(matches!(error, CommitError::Out { .. }), "{error}");
}

// `rvlf status 'InMemory/data/x'` looked for a lock file and said "free" of a lock that was held, and so did
// `rvlf status s3://bucket/locks/index`, which has the lock `locks/index.lock`, of the lock object `locks/index`.
#[test]
fn a_refusal_proposes_a_command_only_where_the_command_finds_this_lock() {
    let (store, id) = (store(), WriterId::from_bytes([7; 16]));
    let stamp = StoreStamp {
        generation: 7,
        lease_ms: 3_600_000,
        nonce: 7,
    };
    let host = Hostname::truncated(b"elsewhere");
    let record = Record::for_store(
        Pid::new(7).expect("it is a pid"),
        &host,
        u64::MAX,
        id,
        stamp,
    );
    for key in ["x.lock", "locks/index"] {
        let bytes = Bytes::copy_from_slice(&record.encode());
        block_on(store.put(&key.into(), bytes.into())).expect("memory answers");
    }
    let of_bucket = |url, key: &str| {
        let register = Bucket::new(store.clone(), url).register(key.into());
        options().open_register(Arc::new(register))
    };
    for (object, data) in [
        (options().open_on(store.clone(), "x").expect("a key"), None),
        (of_bucket("memory://", "x.lock"), None),
        (of_bucket("s3://bucket", "locks/index"), None),
        (of_bucket("s3://bucket", "x.lock"), Some("s3://bucket/x")),
    ] {
        let refused = block_on(object.acquire(Duration::ZERO)).expect_err("it is held");
        let unbroken = block_on(object.break_stale()).expect_err("it is held");
        let refused = refused.to_string();
        let unbroken = unbroken.to_string();
        match data {
            None => assert!(
                !format!("{refused}{unbroken}").contains(": rvlf "),
                "{refused}"
            ),
            Some(data) => {
                assert!(
                    refused.ends_with(&format!(": rvlf status {data}")),
                    "{refused}"
                );
                let command = format!(": rvlf break --force --writer-id {id} {data}");
                assert!(unbroken.ends_with(&command), "{unbroken}");
            }
        }
    }
}

#[test]
fn a_second_contender_is_refused_with_the_holder_and_acquires_after_the_release() {
    let object = options().open_on(store(), "x").expect("it is a key");
    let lock = acquire(&object);
    let error = block_on(object.acquire(Duration::ZERO)).expect_err("it is held");
    let holder = error.holder().expect("the reason is a holder");
    assert!(holder.is_this_process());
    assert_eq!(holder.generation(), Some(lock.generation()));
    let text = error.to_string();
    assert!(
        text.contains("x.lock: already held by this process"),
        "{text}"
    );
    let generation = lock.generation();
    release(lock);
    let next = acquire(&object);
    assert_eq!(next.generation(), generation + 1);
    assert_eq!(next.reclaimed(), None, "it was released");
    release(next);
}

// The payload is the root of the data: a successor that does not get it loses every commit.
#[test]
fn what_was_committed_is_what_the_next_holder_begins_with() {
    let object = options().open_on(store(), "x").expect("it is a key");
    let lock = acquire(&object);
    assert!(lock.payload().is_empty());
    for root in ["first", "second"] {
        block_on(lock.commit(root)).expect("the lock is held");
        assert_eq!(lock.payload(), root);
    }
    release(lock);
    let next = acquire(&object);
    assert_eq!(next.payload(), "second");
    let report = block_on(object.inspect()).expect("the store answers");
    assert_eq!(
        report.payload().map(|payload| &payload[..]),
        Some(&b"second"[..])
    );
    release(next);
}

#[test]
fn a_lock_is_held_for_much_longer_than_its_lease() {
    let object = options()
        .lease(LEASE)
        .open_on(store(), "x")
        .expect("it is a key");
    let lock = acquire(&object);
    let error = block_on(object.acquire(LEASE * 2)).expect_err("its holder refreshes it");
    assert!(error.is_held());
    lock.check_local().expect("no refresh failed");
    block_on(lock.check()).expect("it is still held");
    release(lock);
}

// An executor that is blocked is the caller's, not the lock's.
#[test]
fn a_blocked_executor_keeps_the_lock() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let object = options()
        .lease(LEASE)
        .open_on(store(), "x")
        .expect("it is a key");
    runtime.expect("a runtime").block_on(async {
        let lock = object.acquire(LONG).await.expect("it is free");
        std::thread::sleep(LEASE * 2);
        lock.check_local()
            .expect("the refreshes are not of this thread");
        lock.release().await.expect("it is held");
    });
}

// Threads of a program share one lock. None of their commits may get lost, and the thread that waits for the loss
// learns of the release.
#[test]
fn threads_share_a_lock_and_the_last_commit_of_one_of_them_is_the_root() {
    let object = options().open_on(store(), "x").expect("it is a key");
    let lock = Arc::new(acquire(&object));
    let lost = lock.lost();
    let waits = std::thread::spawn(move || block_on(lost));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let lock = &lock;
            scope.spawn(move || {
                for commit in 0..8 {
                    block_on(lock.commit(format!("{thread}: {commit}"))).expect("it is held");
                    block_on(lock.check()).expect("it is held");
                    lock.check_local().expect("it is held");
                    assert!(!lock.payload().is_empty(), "a commit is in");
                }
            });
        }
    });
    let root = lock.payload();
    assert!(root.ends_with(b": 7"), "not a last commit: {root:?}");
    release(Arc::into_inner(lock).expect("the threads have ended"));
    assert_eq!(waits.join().expect("no panic").reason, LossReason::Released);
    let next = acquire(&object);
    assert_eq!(next.payload(), root);
    release(next);
}

#[test]
fn a_dropped_lock_is_released_in_the_background() {
    let object = options().open_on(store(), "x").expect("it is a key");
    drop(acquire(&object));
    release(acquire(&object));
}

// A future that is dropped while its write is under way may have acquired the lock: without a release it
// would count as held until its lease is over.
#[test]
fn a_dropped_acquisition_leaves_no_lock_behind() {
    let object = options().open_on(store(), "x").expect("it is a key");
    for polls in 1..4 {
        let mut acquisition = Box::pin(object.acquire(LONG));
        for _ in 0..polls {
            let waker = std::task::Waker::noop();
            let mut context = std::task::Context::from_waker(waker);
            if acquisition.as_mut().poll(&mut context).is_ready() {
                break;
            }
            std::thread::yield_now();
        }
        drop(acquisition);
        release(acquire(&object));
    }
}

/// The object of a holder that died, with a lease of one second.
fn dead_record(number: u16) -> Bytes {
    let stamp = StoreStamp {
        generation: 1,
        lease_ms: 1_000,
        nonce: number.into(),
    };
    let pid = Pid::new(1).expect("1 is a pid");
    let id = WriterId::from_random([7; 16]);
    let hostname = Hostname::truncated(b"host");
    let record = Record::for_store(pid, &hostname, u64::from(number), id, stamp);
    Bytes::copy_from_slice(&record.encode())
}

// The process remembers the first sights of 1,024 records. Of more locks each one's sight was forgotten before the
// next look at it: the watch began anew each time, and none became stale.
#[test]
fn thousands_of_dead_locks_are_taken_over_by_one_process() {
    let store = store();
    let options = StoreLock::options().lease(Duration::from_secs(10));
    let taken = block_on(join_all((0..2_000).map(|number| {
        let (store, options) = (store.clone(), options.clone());
        async move {
            let object = format!("{number}.lock");
            let put = store.put(&object.into(), dead_record(number).into()).await;
            put.expect("memory answers");
            let lock = options
                .acquire_on(store, number.to_string(), LONG / 2)
                .await;
            lock.is_ok()
        }
    })));
    let taken = taken.into_iter().filter(|is_taken| *is_taken).count();
    assert_eq!(taken, 2_000);
}

// A takeover that is cancelled is released as soon as it is settled: the victim may believe for two thirds of its
// lease after that, and the next holder would begin beside it.
#[test]
fn a_break_by_force_waits_for_its_victim_although_it_is_cancelled() {
    let store = store();
    let object = options().lease(LEASE).open_on(store.clone(), "x");
    let lock = acquire(&object.expect("x is a key"));
    let token = rvlf::CancelToken::new();
    let breaker = options().cancel_token(&token).open_on(store, "x");
    let breaker = breaker.expect("x is a key");
    token.cancel();
    let broken = block_on(breaker.break_forced(lock.writer_id()));
    broken.expect("it is that hold");
    lock.check_local().expect_err("the wait is for this");
}

#[test]
fn a_cancelled_wait_ends_although_the_lock_is_held() {
    let store = store();
    let lock = acquire(&options().open_on(store.clone(), "x").expect("it is a key"));
    let token = rvlf::CancelToken::new();
    let object = options()
        .cancel_token(&token)
        .open_on(store, "x")
        .expect("it is a key");
    let waiter = std::thread::spawn(move || block_on(object.acquire(Duration::MAX)));
    token.cancel();
    let error = waiter
        .join()
        .expect("no panic")
        .expect_err("it was cancelled");
    assert!(error.is_cancelled(), "{error}");
    release(lock);
}

#[test]
fn an_object_that_is_no_lock_is_refused_at_once_and_never_written() {
    let store = store();
    let key = "x.lock".into();
    block_on(store.put(&key, "notes of a user".into())).expect("memory answers");
    let object = options().open_on(store.clone(), "x").expect("it is a key");
    let error = block_on(object.acquire(Duration::MAX)).expect_err("it is no lock");
    assert!(matches!(error, AcquireError::NotALock { .. }), "{error}");
    block_on(object.break_stale()).expect_err("it is no lock");
    let bytes = block_on(async { store.get(&key).await?.bytes().await });
    assert_eq!(bytes.expect("it is there"), "notes of a user");
}

#[test]
fn a_lock_whose_object_was_deleted_or_overwritten_is_lost_and_commits_nothing() {
    let store = store();
    let object = options().open_on(store.clone(), "x").expect("it is a key");
    let lock = acquire(&object);
    block_on(store.delete(&"x.lock".into())).expect("memory answers");
    let error = block_on(lock.commit("late")).expect_err("the object is gone");
    let CommitError::Out { lost, .. } = error else {
        panic!("the lock is lost: {error}");
    };
    assert_eq!(lost.reason, LossReason::Removed);
    lock.check_local().expect_err("a loss is final");
    assert_eq!(block_on(lock.lost()).reason, LossReason::Removed);
    let error = block_on(lock.release()).expect_err("it was lost");
    assert_eq!(error.lost.reason, LossReason::Removed);
    assert!(error.lock.payload().is_empty(), "the late commit is not in");
}

#[test]
fn a_payload_over_the_limit_is_refused_and_one_at_the_limit_is_not() {
    let object = options().open_on(store(), "x").expect("it is a key");
    let lock = acquire(&object);
    block_on(lock.commit(vec![7; MAX_PAYLOAD_LEN])).expect("it is at the limit");
    let error = block_on(lock.commit(vec![7; MAX_PAYLOAD_LEN + 1])).expect_err("it is over");
    assert!(matches!(error, CommitError::TooLarge { .. }), "{error}");
    release(lock);
    release(acquire(&object));
}

#[test]
fn a_live_lock_is_broken_only_by_its_writer_id_and_its_holder_commits_nothing_after_that() {
    let object = options()
        .lease(LEASE)
        .open_on(store(), "x")
        .expect("it is a key");
    let lock = acquire(&object);
    block_on(lock.commit("kept")).expect("it is held");
    let error = block_on(object.break_stale()).expect_err("its holder lives");
    assert!(matches!(error, BreakError::Held { .. }), "{error}");
    let other = rvlf::WriterId::from_bytes([7; 16]);
    let error = block_on(object.break_forced(other)).expect_err("it is another hold");
    assert!(matches!(error, BreakError::Held { .. }), "{error}");
    let broken = block_on(object.break_forced(lock.writer_id())).expect("it is that hold");
    assert_eq!(
        broken.map(|record| record.writer_id()),
        Some(lock.writer_id())
    );
    lock.check_local().expect_err("the wait is for this");
    block_on(lock.commit("late")).expect_err("the lock is lost");
    let report = block_on(object.inspect()).expect("the store answers");
    assert!(report.is_released());
    assert_eq!(
        report.payload().map(|payload| &payload[..]),
        Some(&b"kept"[..])
    );
    assert_eq!(block_on(object.break_stale()).expect("it is free"), None);
}

#[test]
fn a_wait_for_a_free_lock_ends_with_its_release_or_its_timeout() {
    let object = options().open_on(store(), "x").expect("it is a key");
    let lock = acquire(&object);
    let report = block_on(object.wait_until_free(Duration::ZERO)).expect("the store answers");
    assert!(report.is_held());
    let waiter = std::thread::spawn({
        let object = object.clone();
        move || block_on(object.wait_until_free(Duration::MAX))
    });
    release(lock);
    let report = waiter.join().expect("no panic").expect("the store answers");
    // The waiter is of the releasing process: a look before the tombstone is in finds a hold given up.
    assert!(!report.is_held(), "{report}");
    let report = block_on(object.wait_until_free(Duration::ZERO)).expect("the store answers");
    assert_eq!(report.code(), "free");
}

// Of two locks of one store each has its own object.
#[test]
fn the_prefix_of_keys_is_part_of_the_lock() {
    let store = store();
    let plain = acquire(&options().open_on(store.clone(), "x").expect("it is a key"));
    let prefixed = acquire(
        &options()
            .key_prefix("locks")
            .open_on(store, "x")
            .expect("it is a key"),
    );
    assert!(plain.name().ends_with("/x.lock"), "{}", plain.name());
    assert!(
        prefixed.name().ends_with("/locks/x.lock"),
        "{}",
        prefixed.name()
    );
    release(plain);
    release(prefixed);
}

// The text of a path was encoded, and that of a path that came parsed as well: two locks of the same data.
#[test]
fn a_path_and_its_text_have_one_lock_and_no_character_of_the_key_is_encoded() {
    let store = store();
    let parsed = Path::parse("a~b").expect("it is a key");
    let of_path = options()
        .open_on(store.clone(), parsed)
        .expect("it is a key");
    let of_text = options()
        .open_on(store.clone(), "a~b")
        .expect("it is a key");
    let prefixed = options().key_prefix("~l").open_on(store.clone(), "a~b");
    let at = options().lock_key("l~").open_on(store.clone(), "a~b");
    for (object, end) in [
        (&of_path, "/a~b.lock"),
        (&of_text, "/a~b.lock"),
        (&prefixed.expect("it is a key"), "/~l/a~b.lock"),
        (&at.expect("it is a key"), "/l~"),
    ] {
        assert!(object.name().ends_with(end), "{}", object.name());
    }
    let lock = acquire(&of_path);
    assert!(
        !block_on(of_text.inspect())
            .expect("memory answers")
            .verdict()
            .is_free()
    );
    release(lock);
    for no_key in ["", "a//b", "a/../b"] {
        options().open_on(store.clone(), no_key).expect_err(no_key);
    }
}

// Of a longer object only the beginning is read, and the takeover wrote that back: the rest was lost.
#[test]
fn an_object_that_is_longer_than_a_lock_is_never_written() {
    for (beyond, is_lock) in [(0, true), (1, false), (3 << 20, false)] {
        let store = store();
        let object = options().open_on(store.clone(), "x").expect("it is a key");
        release(acquire(&object));
        let register = Bucket::new(store, "memory://").register("x.lock".into());
        let found = block_on(register.get()).expect("memory answers");
        let Found::Present(released) = found else {
            panic!("a released lock stays");
        };
        let payload = vec![7; MAX_PAYLOAD_LEN + beyond];
        let long = [&released.bytes[..], &payload].concat();
        let condition = Condition::Version(released.version);
        block_on(register.put_if(long.into(), condition)).expect("memory answers");
        match block_on(object.acquire(Duration::ZERO)) {
            Ok(lock) => assert!(is_lock && lock.payload() == payload, "{beyond} bytes"),
            Err(AcquireError::NotALock { .. }) => assert!(!is_lock, "{beyond} bytes"),
            Err(error) => panic!("{beyond} bytes: {error}"),
        }
    }
}

// Nothing answered, and the acquisition sent the request again until its deadline.
#[test]
fn a_request_that_panics_ends_an_acquisition() {
    struct Panics;
    impl Register for Panics {
        fn get(&self) -> RegisterFuture<Found> {
            Box::pin(async { panic!("as the client of a store does") })
        }
        fn put_if(&self, _: Bytes, _: Condition) -> RegisterFuture<Put> {
            Box::pin(async { panic!("as the client of a store does") })
        }
        fn name(&self) -> String {
            "test://x.lock".into()
        }
    }
    let error = block_on(options().acquire_register(Arc::new(Panics), Duration::MAX));
    let error = error.expect_err("it never answers");
    let is_final = matches!(error, AcquireError::Store(StoreError::Permanent { .. }));
    assert!(is_final, "{error}");
}
