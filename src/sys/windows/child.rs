//! Child processes that inherit a lock file.

#![allow(unsafe_code, reason = "SetHandleInformation")]

use std::fs::File;
use std::io;
use std::os::windows::io::AsRawHandle;
use std::sync::{Mutex, PoisonError};

use windows_sys::Win32::Foundation::{HANDLE_FLAG_INHERIT, SetHandleInformation};

/// Calls `spawn` while children inherit `handle`, which is closed here afterwards. What another thread
/// passes here waits for its turn, and is not inherited by these children.
pub(crate) fn lend_during<T>(handle: File, spawn: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    // A child inherits every handle that is inheritable at its start.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let turn = ONE_AT_A_TIME.lock();
    let _turn = turn.unwrap_or_else(PoisonError::into_inner);
    let flag = HANDLE_FLAG_INHERIT;
    // SAFETY: the handle is open, and the call changes a flag of it.
    if unsafe { SetHandleInformation(handle.as_raw_handle(), flag, flag) } == 0 {
        return Err(io::Error::last_os_error());
    }
    let spawned = spawn();
    // Before the next one has its turn.
    drop(handle);
    spawned
}
