//! Handles that threads wait for.

#![allow(unsafe_code, reason = "events, and waits for several handles")]

use std::io;
use std::os::windows::io::{AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::time::Duration;

use windows_sys::Win32::Foundation::{WAIT_FAILED, WAIT_OBJECT_0};
use windows_sys::Win32::System::Threading::{CreateEventW, SetEvent, WaitForMultipleObjects};

/// The most handles that one call waits for: MAXIMUM_WAIT_OBJECTS.
pub(in crate::sys) const MOST: usize = 64;

/// An event that stays signalled once it is set. Not inherited.
#[derive(Debug)]
pub(in crate::sys) struct Event(OwnedHandle);

impl Event {
    pub(in crate::sys) fn new() -> io::Result<Event> {
        // SAFETY: the call takes no pointer that is not null: no name, and the default security.
        let handle = unsafe { CreateEventW(ptr::null(), 1, 0, ptr::null()) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has just made this handle, and no other code owns it.
        Ok(Event(unsafe { OwnedHandle::from_raw_handle(handle) }))
    }

    pub(in crate::sys) fn set(&self) {
        // SAFETY: the handle is open. The call fails for no open event.
        unsafe { SetEvent(self.0.as_raw_handle()) };
    }

    pub(in crate::sys) fn handle(&self) -> BorrowedHandle<'_> {
        std::os::windows::io::AsHandle::as_handle(&self.0)
    }
}

/// Waits until one of the handles is signalled, at most [`MOST`] of them, or `timeout` has passed. The
/// number of the first that is.
pub(in crate::sys) fn wait(
    handles: &[BorrowedHandle<'_>],
    timeout: Duration,
) -> io::Result<Option<usize>> {
    let raw: Vec<_> = handles.iter().map(AsRawHandle::as_raw_handle).collect();
    // Rounded up: a wait for less than a millisecond would return at once, again and again. The largest
    // number stands for no timeout.
    let millis = timeout.as_nanos().div_ceil(1_000_000);
    let millis = u32::try_from(millis).unwrap_or(u32::MAX).min(u32::MAX - 1);
    // SAFETY: the handles are borrowed, so they are open during the call, and their number is given.
    let woken = unsafe { WaitForMultipleObjects(raw.len() as u32, raw.as_ptr(), 0, millis) };
    if woken == WAIT_FAILED {
        return Err(io::Error::last_os_error());
    }
    let index = woken.wrapping_sub(WAIT_OBJECT_0) as usize;
    Ok((index < handles.len()).then_some(index))
}
