//! A lock on the executor smol, with a timeout of the executor's own: the future of a wait needs no
//! particular runtime.
//!
//! ```sh
//! cargo run --package rvlf-async-examples --bin on_smol
//! ```

use std::time::Duration;

use rvlf::{LockFile, LockState, WriterLock};
use smol::Timer;
use smol::future::FutureExt;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("store.dat");
    smol::block_on(async {
        let file = LockFile::open(&path)?;
        let first = file.acquire_async(Duration::MAX).await?;
        println!("first  holds {}", first.lock_path().display());

        let wait = async { Some(WriterLock::acquire_async(&path, Duration::MAX).await) };
        let give_up = async {
            Timer::after(Duration::from_millis(200)).await;
            None
        };
        // `or` drops the future that lost.
        if wait.or(give_up).await.is_some() {
            return Err("two holders".into());
        }
        println!("second gives up; its wait has ended");

        let observer = smol::spawn(file.wait_until_free_async(Duration::MAX));
        first.release()?;
        let state = observer.await?;
        println!("third  sees the lock {state}");
        if state != LockState::Free {
            return Err("the second wait acquired the lock after it was dropped".into());
        }
        Ok(())
    })
}
