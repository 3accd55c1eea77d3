//! The writer lock and the fenced commit for data in a bucket: conditional writes of S3, Azure Blob
//! Storage and Google Cloud Storage.

mod machine;
mod register;

pub use machine::{Condition, Found, Put, Stored, Version};
pub use register::{ErrorClass, Register, RegisterError, RegisterFuture};
