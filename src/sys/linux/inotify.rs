//! Waiting on Linux: inotify on the lock file, a pidfd on its holder.

#![allow(unsafe_code, reason = "pidfd_open(2), which nix does not have")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

use crate::record::Pid;
use crate::sync::{self, Instant, Mutex, try_lock};
use crate::sys::descriptor::Descriptor;
use crate::sys::latch::{Latch, SLICE};
use crate::sys::poll::poll_readable;
use crate::sys::{CancelToken, Identity, WakeReason, thread};

/// A watched lock file, and perhaps its holder.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Taken by drop alone, which saves it for the next watch.
    armed: Option<Armed>,
}

/// An inotify instance with its watch on one file, and perhaps a pidfd.
#[derive(Debug)]
struct Armed {
    events: Descriptor<Inotify>,
    file: WatchDescriptor,
    process: Option<Descriptor<OwnedFd>>,
    /// The pidfd stays readable: left in the set, a forked child that keeps the lock would make a wait
    /// a busy loop. It is closed with the watch, since a close takes 20 us.
    process_ended: bool,
}

/// IN_ATTRIB is the unlink of a release (the link count changes while a descriptor keeps the
/// inode), IN_CLOSE_WRITE the close of a dead holder's descriptor; the others a break, and the
/// unlink of a holder while no other process had the file open. inotify(7)
const END_OF_HOLD: AddWatchFlags = AddWatchFlags::IN_ATTRIB
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF);

/// No unlock is an event.
pub(in crate::sys) fn watch(
    file: &File,
    process: Option<Pid>,
    _is_locked: bool,
) -> io::Result<Watch> {
    let events = match take_spare() {
        Some(events) => events,
        None => new_instance()?,
    };
    // By descriptor: the name may belong to another file by now.
    let opened = format!("/proc/self/fd/{}", file.as_raw_fd());
    let armed = Armed {
        file: events.get()?.add_watch(opened.as_str(), END_OF_HOLD)?,
        process: process.and_then(|pid| pidfd_open(pid).ok()),
        process_ended: false,
        events,
    };
    Ok(Watch { armed: Some(armed) })
}

pub(in crate::sys) fn watches_process(watch: &Watch) -> bool {
    let armed = watch.armed.as_ref().expect("only drop takes it");
    armed.process.is_some()
}

fn new_instance() -> io::Result<Descriptor<Inotify>> {
    let instance = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    Descriptor::converted(instance, |copy| {
        // SAFETY: the descriptor is a copy of an inotify instance, and no other code owns it.
        unsafe { Inotify::from_raw_fd(copy.into_raw_fd()) }
    })
}

/// The inotify instance of a watch that has ended, and the process that made it.
///
/// Closing an inotify instance waits for a grace period of the kernel, 8 to 20 ms, and a watch ends
/// when its waiter has just been handed the lock. So one instance stays for the next watch, or
/// until the keepalive thread closes it, for which no caller waits. A forked child must not read
/// the parent's events.
static SPARE: Mutex<Option<(Identity, Armed)>> = Mutex::new(None);

/// `None` also if another thread has the mutex locked: in a forked child that thread may not exist.
fn take_spare() -> Option<Descriptor<Inotify>> {
    let (process, armed) = try_lock(&SPARE)?.take()?;
    if super::identity().ok()? != process {
        return None;
    }
    // Most of the time the removal of the file has ended its watch already.
    let _ = armed.events.get().ok()?.rm_watch(armed.file);
    Some(armed.events)
}

/// Closes the saved instance, if there is one.
pub(crate) fn close_spare_watch() {
    drop(take_spare());
}

impl Drop for Watch {
    fn drop(&mut self) {
        let (Some(armed), Ok(process)) = (self.armed.take(), super::identity()) else {
            return;
        };
        let saved = Some((process, armed));
        let surplus = match try_lock(&SPARE) {
            Some(mut spare) => std::mem::replace(&mut *spare, saved),
            None => saved,
        };
        if let Some(surplus) = surplus {
            // If no thread can be started it is closed right here.
            let _ = thread::spawn("rvlf-close", move || drop(surplus));
        }
    }
}

impl Armed {
    /// Reads events. Returns whether one of them was about this file: the kernel may still report
    /// events of the file that the instance watched before. Unread events make poll(2) return
    /// again.
    fn drain(&self) -> bool {
        let ours = |event: &InotifyEvent| {
            event.wd == self.file || event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW)
        };
        let events = self.events.get().map(Inotify::read_events);
        let events = events.and_then(|events| Ok(events?));
        events.is_ok_and(|events| events.iter().any(ours))
    }
}

/// A descriptor that becomes readable when this process ends.
pub(in crate::sys) fn end_of_this_process() -> Option<Descriptor<OwnedFd>> {
    pidfd_open(Pid::new(std::process::id())?).ok()
}

/// pidfd_open(2), which nix does not have.
fn pidfd_open(pid: Pid) -> io::Result<Descriptor<OwnedFd>> {
    let flags: libc::c_uint = 0;
    // SAFETY: the call takes two integers and returns a new descriptor or -1; it touches no memory.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.get() as i32, flags) };
    let fd = Errno::result(fd)?;
    #[allow(
        clippy::useless_conversion,
        reason = "c_long is an i32 on 32-bit systems"
    )]
    let fd = fd.try_into().map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor, close-on-exec, and no other code owns it.
    Descriptor::new(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(in crate::sys) fn wait(
    watch: &mut Watch,
    cancel: &[CancelToken],
    timeout: Duration,
) -> WakeReason {
    let watch = watch.armed.as_mut().expect("only drop takes it");
    let start = Instant::now();
    loop {
        if CancelToken::is_any_cancelled(cancel) {
            return WakeReason::Cancelled;
        }
        let left = timeout.saturating_sub(start.elapsed());
        let ready = match watch.poll(cancel, left) {
            Ok(ready) => ready,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // No memory, or other code has closed the descriptor: sleep instead of spinning, and let
            // the caller look again.
            Err(_) => {
                sync::thread::sleep(left.min(Duration::from_millis(100)));
                return WakeReason::Timeout;
            }
        };
        if ready.process {
            watch.process_ended = true;
            return WakeReason::ProcessEnded;
        }
        if ready.file && watch.drain() {
            return WakeReason::FileEvent;
        }
        // poll(2) takes at most 24 days: a longer wait polls again.
        if left.is_zero() {
            return WakeReason::Timeout;
        }
    }
}

/// Which descriptors of a watch are readable.
struct Ready {
    file: bool,
    process: bool,
}

impl Armed {
    fn poll(&self, cancel: &[CancelToken], timeout: Duration) -> io::Result<Ready> {
        let latches = cancel.iter().map(CancelToken::latch);
        let descriptors: Option<Vec<_>> = latches.map(Latch::descriptor).collect();
        let (cancel, timeout) = match descriptors {
            Some(descriptors) => (descriptors, timeout),
            None => (Vec::new(), timeout.min(SLICE)),
        };
        // A pidfd that other code has closed is not polled: the end of the process is not noticed.
        let process = self.process.as_ref().filter(|_| !self.process_ended);
        let process = process.and_then(|process| process.get().ok());
        let process = process.map(AsFd::as_fd);
        let all: Vec<_> = [self.events.get()?.as_fd()]
            .into_iter()
            .chain(process)
            .chain(cancel)
            .collect();
        let readable = poll_readable(&all, timeout)?;
        Ok(Ready {
            file: readable.first() == Some(&true),
            process: process.is_some() && readable.get(1) == Some(&true),
        })
    }
}
