//! Requests beside those of a lock: to read an object, and to test a server.

use std::io;
use std::time::Duration;

use rvlf_object_store::{Bucket, HttpOptions, OpenError};

use super::url::Url;

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Why nothing was sent.
#[derive(Debug)]
pub enum Unsent {
    Runtime(io::Error),
    Open(OpenError),
}

impl std::fmt::Display for Unsent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unsent::Runtime(error) => write!(f, "cannot start the client of the store: {error}"),
            Unsent::Open(error) => error.fmt(f),
        }
    }
}

/// Does `work` with the bucket of a URL, on this thread.
///
/// # Errors
///
/// There is no client for the URL, or this machine has no descriptor left for one.
pub fn with_bucket<T>(url: &Url, work: impl AsyncFnOnce(Bucket) -> T) -> Result<T, Unsent> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(Unsent::Runtime)?;
    let http = HttpOptions {
        request_timeout: REQUEST_TIMEOUT,
        runtime: runtime.handle().clone(),
    };
    let bucket = Bucket::open(url.location(), &http).map_err(Unsent::Open)?;
    Ok(runtime.block_on(work(bucket)))
}
