//! Waiting: change notifications of the directory, and a handle of the holder's process.

#![allow(unsafe_code, reason = "change notifications")]

use std::fs::File;
use std::io;
use std::os::windows::io::{AsHandle, BorrowedHandle};
use std::time::{Duration, Instant};

use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_NOTIFY_CHANGE_FILE_NAME, FindCloseChangeNotification, FindFirstChangeNotificationW,
    FindNextChangeNotification,
};

use super::event::{self, MOST};
use super::files::{Dir, OpenFile};
use super::paths::{verbatim, wide};
use super::processes;
use crate::record::Pid;
use crate::sys::latch::{Latch, SLICE};
use crate::sys::{CancelToken, FileId, WakeReason};

/// A watched lock file, and perhaps its holder.
///
/// A change of any name in the directory wakes it; only one that took the lock file from its name is
/// reported. A holder that dies leaves its file: that wakes it by the process.
#[derive(Debug)]
pub(crate) struct Watch {
    changes: Changes,
    dir: Dir,
    name: Vec<u16>,
    id: FileId,
    process: Option<File>,
}

/// A change notification of one directory.
#[derive(Debug)]
struct Changes(HANDLE);

// SAFETY: the handle belongs to the process, and any thread may wait for it and close it.
unsafe impl Send for Changes {}

impl Changes {
    fn of(dir: &Dir) -> io::Result<Changes> {
        let mut path = wide(&verbatim(dir.path()));
        path.push(0);
        // SAFETY: the path ends in zero and outlives the call.
        let handle =
            unsafe { FindFirstChangeNotificationW(path.as_ptr(), 0, FILE_NOTIFY_CHANGE_FILE_NAME) };
        match handle {
            INVALID_HANDLE_VALUE => Err(io::Error::last_os_error()),
            handle => Ok(Changes(handle)),
        }
    }

    /// Waits for the next change. Changes since the last notification are kept for it.
    fn arm_again(&self) -> io::Result<()> {
        // SAFETY: the notification is open.
        match unsafe { FindNextChangeNotification(self.0) } {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    fn handle(&self) -> BorrowedHandle<'_> {
        // SAFETY: the handle is open as long as `self` lives.
        unsafe { BorrowedHandle::borrow_raw(self.0) }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        // SAFETY: no other code closes the notification.
        unsafe { FindCloseChangeNotification(self.0) };
    }
}

pub(super) fn watch(file: &OpenFile, process: Option<Pid>) -> io::Result<Watch> {
    let (dir, name) = file.place().ok_or(io::ErrorKind::Unsupported)?;
    Ok(Watch {
        changes: Changes::of(dir)?,
        dir: dir.clone(),
        name: name.to_vec(),
        id: file.stat()?.id,
        process: process.and_then(|pid| processes::open(pid).ok()),
    })
}

pub(super) fn watches_process(watch: &Watch) -> bool {
    watch.process.is_some()
}

pub(super) fn wait(watch: &mut Watch, cancel: &[CancelToken], timeout: Duration) -> WakeReason {
    let start = Instant::now();
    loop {
        if CancelToken::is_any_cancelled(cancel) {
            return WakeReason::Cancelled;
        }
        let left = timeout.saturating_sub(start.elapsed());
        match watch.poll(cancel, left) {
            Ok(Woken::Process) => {
                // It stays signalled.
                watch.process = None;
                return WakeReason::ProcessEnded;
            }
            Ok(Woken::Changes) if watch.changes.arm_again().is_ok() => {
                if !watch.is_there() {
                    return WakeReason::FileEvent;
                }
            }
            Ok(Woken::Other) => {}
            // Sleep instead of spinning, and let the caller look again.
            Ok(Woken::Changes) | Err(_) => {
                std::thread::sleep(left.min(Duration::from_millis(100)));
                return WakeReason::Timeout;
            }
        }
        if left.is_zero() {
            return WakeReason::Timeout;
        }
    }
}

enum Woken {
    Changes,
    Process,
    /// A token, or the time is over.
    Other,
}

impl Watch {
    fn poll(&self, cancel: &[CancelToken], timeout: Duration) -> io::Result<Woken> {
        let process = self.process.as_ref().map(AsHandle::as_handle);
        let changes = self.changes.handle();
        let mut handles: Vec<_> = process.into_iter().chain([changes]).collect();
        let tokens = cancel.iter().map(CancelToken::latch).map(Latch::handle);
        let tokens: Option<Vec<_>> = tokens.collect();
        let timeout = match tokens {
            Some(tokens) if handles.len() + tokens.len() <= MOST => {
                handles.extend(tokens);
                timeout
            }
            _ => timeout.min(SLICE),
        };
        Ok(match (event::wait(&handles, timeout)?, process) {
            (Some(0), Some(_)) => Woken::Process,
            (Some(0), None) | (Some(1), Some(_)) => Woken::Changes,
            _ => Woken::Other,
        })
    }

    /// Whether the name still stands for the file.
    fn is_there(&self) -> bool {
        self.dir.names(&self.name, self.id)
    }
}
