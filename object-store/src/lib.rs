//! The writer lock and the fenced commit for data in a bucket: conditional writes of S3, Azure Blob
//! Storage and Google Cloud Storage.

mod blocking;
mod bucket;
mod diagnose;
#[cfg(unix)]
mod dir_register;
mod driver;
mod error;
#[doc(hidden)]
pub mod faults;
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
mod self_test;
mod services;
mod shared;
mod sights;
mod store_error;

pub use blocking::block_on;
pub use bucket::{Bucket, ObjectRegister};
pub use diagnose::{Diagnosis, Races, diagnose};
#[cfg(unix)]
pub use dir_register::DirRegister;
pub use error::{AcquireError, BreakError, CommitError, StoreError, WaitError};
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
