//! Starts threads, and says why none can be started.

use std::io;
use std::thread::{Builder, JoinHandle};

/// # Errors
///
/// No thread can be started. The text contains the next step.
pub fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let thread = Builder::new().name(name.into()).spawn(body);
    thread.map_err(|error| match error.kind() {
        // clone(2), EINVAL. An exec keeps what unshare(2) has changed.
        io::ErrorKind::InvalidInput => io::Error::other(
            "cannot start a thread: the program that started rvlf has called \
             unshare(CLONE_NEWPID), after which the kernel refuses threads; start rvlf in a child \
             process (unshare --fork)",
        ),
        _ => io::Error::other(format!(
            "cannot start a thread: {error}; end processes or threads, or raise their limit"
        )),
    })
}
