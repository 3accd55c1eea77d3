//! One object in memory, whose answers take a while, or do not come.

use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rvlf_store_threads::{
    Condition, Found, LockObject, Put, Register, RegisterFuture, StoreLock, Stored, Version,
    block_on,
};
use tokio::sync::watch;
use virtual_std::run;
use virtual_std::runtime::time::sleep;

pub const LEASE: Duration = Duration::from_secs(6);
/// The time between two refreshes.
pub const REFRESH: Duration = Duration::from_secs(1);
/// How long the holder believes without an answer.
pub const BELIEF: Duration = Duration::from_secs(4);
/// Longer than anything takes that does not wait for a fault.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// A store with one object.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

struct Shared {
    /// Never locked while another thread may go on.
    object: Mutex<Object>,
    is_hung: watch::Sender<bool>,
}

#[derive(Default)]
struct Object {
    bytes: Option<Bytes>,
    version: u64,
    loses_writes: bool,
}

impl Object {
    fn version(&self) -> Version {
        Version {
            e_tag: Some(self.version.to_string()),
            version: None,
        }
    }

    fn put_if(&mut self, bytes: Bytes, condition: &Condition) -> Put {
        let holds = match condition {
            Condition::Absent => self.bytes.is_none(),
            Condition::Version(version) => self.bytes.is_some() && *version == self.version(),
        };
        if !holds {
            return Put::Refused;
        }
        self.put(Some(bytes));
        Put::Stored(self.version())
    }

    fn put(&mut self, bytes: Option<Bytes>) {
        self.bytes = bytes;
        self.version += 1;
    }

    fn found(&self) -> Found {
        match self.bytes.clone() {
            None => Found::Absent,
            Some(bytes) => Found::Present(Stored {
                bytes,
                version: self.version(),
                modified_ms: None,
            }),
        }
    }
}

impl Store {
    pub fn new() -> Store {
        Store(Arc::new(Shared {
            object: Mutex::default(),
            is_hung: watch::Sender::new(false),
        }))
    }

    pub fn lock_object(&self) -> LockObject {
        let options = StoreLock::options().lease(LEASE);
        options.open_register(Arc::new(self.clone()))
    }

    /// From now on requests are not executed, as long as the store hangs.
    pub fn hang(&self, is_hung: bool) {
        run::step();
        self.0.is_hung.send_replace(is_hung);
    }

    /// Whether writes that arrive from now on are lost: they are neither executed nor answered.
    pub fn lose_writes(&self, are_lost: bool) {
        run::step();
        self.object().loses_writes = are_lost;
    }

    /// Deletes the object, as an administrator does.
    pub fn delete(&self) {
        run::step();
        self.object().put(None);
    }

    fn object(&self) -> MutexGuard<'_, Object> {
        self.0.object.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way to the store, or back.
    async fn way(&self) {
        sleep(Duration::from_millis(run::random() % 3)).await;
        let mut is_hung = self.0.is_hung.subscribe();
        let _ = is_hung.wait_for(|is_hung| !is_hung).await;
    }
}

impl Register for Store {
    fn get(&self) -> RegisterFuture<Found> {
        let store = self.clone();
        Box::pin(async move {
            store.way().await;
            let found = store.object().found();
            store.way().await;
            Ok(found)
        })
    }

    fn put_if(&self, bytes: Bytes, condition: Condition) -> RegisterFuture<Put> {
        let store = self.clone();
        Box::pin(async move {
            store.way().await;
            if store.object().loses_writes {
                return pending().await;
            }
            let put = store.object().put_if(bytes, &condition);
            store.way().await;
            Ok(put)
        })
    }

    fn name(&self) -> String {
        "memory://x.lock".into()
    }
}

pub fn acquire(object: &LockObject) -> StoreLock {
    block_on(object.acquire(PATIENCE)).expect("the lock becomes free")
}

pub fn release(lock: StoreLock) {
    let released = block_on(lock.release()).expect("the lock is held");
    assert!(released.confirmed, "the store answers");
}

/// Acquires and releases the lock, in less time than it takes for its lease to run out.
pub fn come_later(object: &LockObject) {
    let began = run::now();
    let lock = acquire(object);
    let waited = run::now() - began;
    assert!(waited < LEASE / 2, "a dead hold was left: {waited:?}");
    release(lock);
}
