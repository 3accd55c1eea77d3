//! Threads, of which one runs at a time.

use std::io;
use std::time::Duration;

pub use shuttle::thread::{JoinHandle, Thread, current, park, yield_now};

use crate::run::{self, Waiter};

/// As [`std::thread::Builder`].
#[derive(Debug, Default)]
pub struct Builder(shuttle::thread::Builder);

impl Builder {
    #[must_use]
    pub fn new() -> Builder {
        Builder(shuttle::thread::Builder::new())
    }

    #[must_use]
    pub fn name(self, name: String) -> Builder {
        Builder(self.0.name(name))
    }

    pub fn spawn<T: Send + 'static>(
        self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<T>> {
        run::step();
        if !run::can_start_thread() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        run::count_thread();
        self.0.spawn(|| run::thread_body(body))
    }
}

/// As [`std::thread::spawn`].
pub fn spawn<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let started = Builder::new().spawn(body);
    started.expect("the run has room for a thread")
}

/// As [`std::thread::sleep`], in virtual time.
pub fn sleep(time: Duration) {
    Waiter::of_this_thread().wait(run::deadline(time));
}
