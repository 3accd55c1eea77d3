//! The writer lock and the fenced commit for data in a bucket: conditional writes of S3, Azure Blob
//! Storage and Google Cloud Storage.

mod bucket;
mod diagnose;
#[cfg(unix)]
mod dir_register;
#[doc(hidden)]
pub mod faults;
mod location;
#[doc(hidden)]
pub mod machine;
mod register;
mod self_test;
mod services;
mod store_error;

pub use bucket::{Bucket, ObjectRegister};
pub use diagnose::{Diagnosis, Races, diagnose};
#[cfg(unix)]
pub use dir_register::DirRegister;
pub use location::{Location, LocationError, Service};
pub use machine::{Condition, ErrorClass, Found, Put, Stored, Version};
pub use register::{Register, RegisterError, RegisterFuture};
pub use self_test::{Demand, Scratch, SelfTestError, self_test};
pub use services::{HttpOptions, OpenError};
