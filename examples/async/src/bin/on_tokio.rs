//! A lock in a service on tokio: the wait does not block the runtime, and ends when the service is
//! stopped.
//!
//! ```sh
//! cargo run --package rvlf-async-examples --bin on_tokio
//! ```

use std::path::Path;
use std::time::Duration;

use rvlf::WriterLock;
use tokio::sync::oneshot::{Receiver, channel};
use tokio::time::interval;

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("store.dat");
    let first = WriterLock::acquire_async(&path, Duration::from_secs(1)).await?;
    println!("first service holds {}", first.lock_path().display());

    stop_a_service_that_waits(&path).await?;
    first.check()?;
    hand_over(&path, first).await
}

/// The runtime has one thread: the service can only be stopped if its wait does not block.
async fn stop_a_service_that_waits(path: &Path) -> Outcome {
    let (stop, stopped) = channel();
    let service = tokio::spawn(serve(path.to_owned(), stopped));
    let mut clock = interval(Duration::from_millis(100));
    for tick in 0..3 {
        clock.tick().await;
        println!("tick {tick}: the runtime is not blocked");
    }
    stop.send(()).map_err(|()| "the service ended by itself")?;
    service.await?
}

/// A service would take `tokio::signal::ctrl_c()` for `stopped`. `select!` drops the future of the
/// wait, which ends it: no thread goes on waiting, and no lock file appears later.
async fn serve(path: std::path::PathBuf, stopped: Receiver<()>) -> Outcome {
    tokio::select! {
        lock = WriterLock::acquire_async(&path, Duration::MAX) => {
            lock?.release()?;
            Err("the lock was held".into())
        }
        _ = stopped => {
            println!("second service stops while it waits");
            Ok(())
        }
    }
}

async fn hand_over(path: &Path, first: WriterLock) -> Outcome {
    let third = tokio::spawn(WriterLock::acquire_async(path, Duration::MAX));
    println!("first service releases");
    // Two system calls. On a network mount they wait for the server: use spawn_blocking there.
    first.release()?;
    let third = third.await??;
    write(path, &third)?;
    third.release()?;
    println!("the data file: {}", std::fs::read_to_string(path)?);
    Ok(())
}

fn write(path: &Path, lock: &WriterLock) -> Outcome {
    let draft = path.with_extension("new");
    std::fs::write(&draft, format!("written under {}", lock.writer_id()))?;
    // Right before the commit.
    lock.check()?;
    std::fs::rename(draft, path)?;
    Ok(())
}
