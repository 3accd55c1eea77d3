//! The writer lock and the fenced commit for data in a bucket: conditional writes of S3, Azure Blob
//! Storage and Google Cloud Storage.

mod bucket;
mod location;
#[doc(hidden)]
pub mod machine;
mod register;
mod services;
mod store_error;

pub use bucket::{Bucket, ObjectRegister};
pub use location::{Location, LocationError, Service};
pub use machine::{Condition, ErrorClass, Found, Put, Stored, Version};
pub use register::{Register, RegisterError, RegisterFuture};
pub use services::{HttpOptions, OpenError};
