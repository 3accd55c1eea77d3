//! An order to run a command, which each system carries out in its own way.

use std::ffi::OsString;

/// What to start under the lock.
pub struct Order<'a> {
    pub program: &'a OsString,
    pub arguments: &'a [OsString],
    /// Whether the command runs without the lock's descriptor.
    pub close: bool,
    /// Whether a loss ends all that the command has started.
    pub kills_on_loss: bool,
}
