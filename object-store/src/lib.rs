//! The writer lock and the fenced commit for data in a bucket: conditional writes of Amazon S3, Azure Blob
//! Storage and Google Cloud Storage, and of servers with their API.
//!
//! One object is both the lock and the root of the data: the 104-byte record of the crate [`rvlf`], and
//! behind it a payload of up to 64 KiB. Who holds the lock commits a new payload by a conditional write,
//! which is a refresh of the lock at the same time. The lock orders the writers and saves them work; the
//! condition of the commit is what keeps the data safe.
//!
//! ```
//! # use std::sync::Arc;
//! # use object_store::memory::InMemory;
//! # use rvlf_object_store::block_on;
//! use std::time::Duration;
//!
//! use rvlf_object_store::{CommitError, StoreLock};
//!
//! # block_on(async {
//! # let store = Arc::new(InMemory::new());
//! # let (path, timeout) = ("data/x", Duration::from_secs(10));
//! // Or: .acquire("s3://bucket/data/x", timeout)
//! let lock = StoreLock::options().acquire_on(store, path, timeout).await?;
//! let root = lock.payload(); // What the last commit left: begin with it.
//! let manifest = format!("{}manifest of {}\n", String::from_utf8_lossy(&root), lock.generation());
//!
//! // ... upload immutable objects under new names, then commit the manifest that names them ...
//! match lock.commit(manifest).await {
//!     Ok(()) => println!("committed"),
//!     // Another process has the lock. The commit may be in: delete nothing, begin anew.
//!     Err(CommitError::Out { lost, .. }) => eprintln!("{lost}"),
//!     Err(error) => eprintln!("{error}"),
//! }
//! lock.release().await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is promised
//!
//! - **No commit is lost.** A commit that returned `Ok` is in every later root, and after a takeover no
//!   commit of the older holder succeeds: whatever pauses, clocks and late requests do. This rests on one
//!   thing: that the store's conditional writes are atomic.
//! - **One holder.** No two processes believe at one time ([`check_local`](StoreLock::check_local)) that
//!   they hold the lock, if also their clocks run at rates that differ by less than half, and count
//!   suspension. The time of day is never compared.
//! - **A dead holder's lock is free** after its lease (30 s by default) for a process that watches it, and at
//!   once after a release.
//!
//! # What a lock on an object store cannot promise
//!
//! - **Anything for data that is written without the commit.** A `PUT` that timed out may land minutes
//!   later, over the data of the next holder. Write objects under new names, and commit their names.
//! - **One holder across a frozen virtual machine**: a snapshot that is restored, or a guest that its
//!   hypervisor stops, does not see the time that has passed. The same holds for CRIU. Its commits are
//!   refused all the same.
//! - **Anything on stores without one linearizable copy**: asynchronous replicas, active-active or
//!   multi-region buckets, caches in between.
//! - **Anything if the lock object is deleted or restored** by other programs or by a lifecycle rule.
//! - **Side effects elsewhere**: a message that a holder sends after it lost the lock is sent.
//! - **Fairness, and wake-ups**: contenders poll.
//!
//! # Where to find what
//!
//! | to | use |
//! |---|---|
//! | acquire the lock, or wait for it | [`StoreOptions::acquire`], [`StoreOptions::acquire_on`] |
//! | commit | [`StoreLock::commit`] |
//! | stop when the lock is lost | [`StoreLock::lost`], [`StoreLock::check_local`] |
//! | use it in synchronous code | [`block_on`] |
//! | see who holds a lock, wait for it, or break it | [`LockObject`] |
//! | use a store that the crate `object_store` does not have | [`Register`] |
//! | test a server | [`self_test()`], [`diagnose()`] |
//!
//! The futures need no runtime. One thread of this library, with a runtime of its own, sends all requests
//! and refreshes all locks of the process, so a program whose executor is blocked keeps its locks.
//!
//! # Features
//!
//! | feature | brings |
//! |---|---|
//! | `aws`, `azure`, `gcp` | `s3://`, `az://`, `gs://` URLs, with an HTTP client |
//! | `serde` | `Serialize` for [`LockReport`]: the JSON of the command `rvlf` |
//!
//! The protocol is `spec/object-store.md` in the repository.

mod blocking;
mod bucket;
mod diagnose;
#[cfg(unix)]
mod dir_register;
mod driver;
mod error;
#[doc(hidden)]
pub mod faults;
#[cfg(feature = "http")]
mod http_client;
mod keepalive;
mod location;
mod lock;
mod lock_object;
mod loss;
#[doc(hidden)]
pub mod machine;
mod options;
mod own_holds;
mod register;
mod report;
mod secrets;
mod self_test;
#[cfg(feature = "serde")]
mod serialize;
mod services;
mod shared;
mod sights;
mod store_error;
mod sync;
#[cfg(feature = "http")]
mod variables;

pub use blocking::block_on;
pub use bucket::{Bucket, ObjectRegister};
pub use diagnose::{Diagnosis, Races, diagnose};
#[cfg(unix)]
pub use dir_register::DirRegister;
pub use error::{AcquireError, BreakError, CommitError, StoreError, WaitError};
pub use keepalive::is_idle;
pub use location::{Location, LocationError, Service};
pub use lock::{MAX_PAYLOAD_LEN, ReleaseError, Released, StoreLock};
pub use lock_object::LockObject;
pub use loss::{LossReason, Lost};
pub use machine::{Condition, ErrorClass, Found, Put, Stored, Version};
pub use options::StoreOptions;
pub use register::{Register, RegisterError, RegisterFuture};
pub use report::LockReport;
pub use self_test::{Demand, Scratch, SelfTestError, self_test};
pub use services::{HttpOptions, OpenError};

/// Compiles the code of the page.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
