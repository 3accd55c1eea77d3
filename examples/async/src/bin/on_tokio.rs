//! Awaiting a lock in asynchronous code: `acquire` blocks its thread, so it goes to a blocking
//! task.
//!
//! ```sh
//! cargo run --package rvlf-async-examples --bin on_tokio
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use rvlf::{AcquireError, WriterLock};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{interval, sleep};

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Acquires the lock without blocking the runtime. Dropping the future does not stop the attempt:
/// the lock is then released when the blocking task ends, at the latest after `timeout`.
async fn acquire(
    path: PathBuf,
    timeout: Duration,
) -> Result<Result<WriterLock, AcquireError>, JoinError> {
    spawn_blocking(move || WriterLock::acquire(path, timeout)).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("store.dat");

    let first = acquire(path.clone(), Duration::from_secs(1)).await??;
    println!("first   holds {}", first.lock_path().display());

    let second = tokio::spawn(wait_and_write(path.clone()));
    let ticker = tokio::spawn(tick());
    sleep(Duration::from_millis(350)).await;
    println!("first   releases");
    // Two system calls; on a network file system this too belongs into a blocking task.
    first.release()?;

    second.await??;
    ticker.abort();
    println!("the data file says: {}", std::fs::read_to_string(&path)?);
    Ok(())
}

/// The runtime has one thread: that this goes on shows that the wait does not block it.
async fn tick() {
    let mut interval = interval(Duration::from_millis(100));
    for n in 1.. {
        interval.tick().await;
        println!("ticker  {n}: the runtime is not blocked");
    }
}

async fn wait_and_write(path: PathBuf) -> Outcome {
    println!("second  waits");
    let lock = acquire(path.clone(), Duration::from_secs(10)).await??;
    println!("second  has it");
    write(&path, &lock)?;
    lock.release()?;
    println!("second  releases");
    Ok(())
}

fn write(path: &Path, lock: &WriterLock) -> Outcome {
    let draft = path.with_extension("new");
    std::fs::write(&draft, format!("written under {}", lock.writer_id()))?;
    // Right before the commit: is the lock still ours?
    lock.check()?;
    std::fs::rename(draft, path)?;
    Ok(())
}
