//! Standard error.

use std::time::Duration;

/// Windows does not report whether a pipe is full: a write to a pipe that no process reads blocks.
pub fn is_writable_within(_timeout: Duration) -> bool {
    true
}

/// Windows stops no process that writes.
pub fn without_stop<T>(write: impl FnOnce() -> T) -> T {
    write()
}

/// Windows has no process groups that share a terminal.
pub fn is_in_foreground() -> bool {
    true
}
