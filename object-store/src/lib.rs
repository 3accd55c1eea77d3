//! The writer lock and the fenced commit for data in a bucket: conditional writes of S3, Azure Blob
//! Storage and Google Cloud Storage.

#[doc(hidden)]
pub mod machine;
mod register;

pub use machine::{Condition, ErrorClass, Found, Put, Stored, Version};
pub use register::{Register, RegisterError, RegisterFuture};
