//! [`block_on`]: the lock for programs without a runtime.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use crate::sync::thread::{self, Thread};

/// Waits for a future of this crate on the calling thread: everything that the lock does
/// asynchronously, for synchronous programs.
///
/// The futures of this crate need no runtime: a thread of the crate does the work. On a thread of an
/// asynchronous runtime, await them instead: this blocks it.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use object_store::memory::InMemory;
/// use rvlf_object_store::{StoreLock, block_on};
///
/// let store = Arc::new(InMemory::new());
/// let lock = block_on(StoreLock::options().acquire_on(store, "data/x", Duration::from_secs(5)))?;
/// block_on(lock.commit("the new root"))?;
/// block_on(lock.release())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        thread::park();
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
