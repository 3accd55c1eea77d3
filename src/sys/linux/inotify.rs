//! Waiting on Linux: inotify on the lock file, a pidfd on its holder.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

use super::super::{Identity, WakeReason};
use crate::record::Pid;

/// A watched lock file, and perhaps its holder.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Taken by drop alone, which saves it for the next watch.
    armed: Option<Armed>,
}

/// An inotify instance with its watch on one file, and perhaps a pidfd.
#[derive(Debug)]
struct Armed {
    events: Inotify,
    file: WatchDescriptor,
    process: Option<OwnedFd>,
}

/// IN_ATTRIB is the unlink of a release (the link count changes while a descriptor keeps the inode),
/// IN_CLOSE_WRITE a dead holder's descriptor; the others a break, and a holder that unlinked while
/// nobody else had the file open. inotify(7)
const END_OF_HOLD: AddWatchFlags = AddWatchFlags::IN_ATTRIB
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF);

pub(in crate::sys) fn watch(file: &File, process: Option<Pid>) -> io::Result<Watch> {
    let events = match take_spare() {
        Some(events) => events,
        None => Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?,
    };
    // By descriptor: the name may stand for another file by now.
    let opened = format!("/proc/self/fd/{}", file.as_raw_fd());
    let armed = Armed {
        file: events.add_watch(opened.as_str(), END_OF_HOLD)?,
        process: process.and_then(|pid| pidfd_open(pid).ok()),
        events,
    };
    Ok(Watch { armed: Some(armed) })
}

pub(in crate::sys) fn watches_process(watch: &Watch) -> bool {
    let armed = watch.armed.as_ref().expect("only drop takes it");
    armed.process.is_some()
}

/// What a watch that is over has left, and whose it is.
///
/// Closing an inotify instance waits for a grace period of the kernel's, 8 to 20 ms, and a watch
/// ends when its waiter has just been handed the lock. So one instance stays for the next watch, or
/// until the keepalive, which nobody waits for, closes it. A forked child must not read the parent's
/// events.
static SPARE: Mutex<Option<(Identity, Armed)>> = Mutex::new(None);

/// None also if another thread is at it, which a forked child may not have.
fn take_spare() -> Option<Inotify> {
    let (process, armed) = SPARE.try_lock().ok()?.take()?;
    if super::identity().ok()? != process {
        return None;
    }
    // The file's removal has ended its watch already, most of the time.
    let _ = armed.events.rm_watch(armed.file);
    Some(armed.events)
}

/// Closes what has been saved, if there is something.
pub(crate) fn close_spare_watch() {
    drop(take_spare());
}

impl Drop for Watch {
    fn drop(&mut self) {
        let (Some(armed), Ok(process)) = (self.armed.take(), super::identity()) else {
            return;
        };
        let saved = Some((process, armed));
        let surplus = match SPARE.try_lock() {
            Ok(mut spare) => std::mem::replace(&mut *spare, saved),
            Err(_) => saved,
        };
        if let Some(surplus) = surplus {
            // Without a thread to be had it is closed right here.
            let closer = std::thread::Builder::new().name("rvlf-close".into());
            let _ = closer.spawn(move || drop(surplus));
        }
    }
}

impl Armed {
    /// Reads what has happened. Whether anything of it was about this file: the kernel may still be
    /// telling of the file that the instance watched before. What is left makes poll(2) return again.
    fn drain(&self) -> bool {
        let ours = |event: &InotifyEvent| {
            event.wd == self.file || event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW)
        };
        let events = self.events.read_events();
        events.is_ok_and(|events| events.iter().any(ours))
    }
}

/// pidfd_open(2), which nix does not have.
fn pidfd_open(pid: Pid) -> io::Result<OwnedFd> {
    let flags: libc::c_uint = 0;
    // SAFETY: the call takes two integers and returns a new descriptor or -1; it touches no memory.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.get().cast_signed(), flags) };
    let fd = Errno::result(fd)?;
    let fd = fd.try_into().map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor, close-on-exec, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(in crate::sys) fn wait(watch: &mut Watch, timeout: Duration) -> WakeReason {
    let watch = watch.armed.as_mut().expect("only drop takes it");
    let start = Instant::now();
    loop {
        let left = timeout.saturating_sub(start.elapsed());
        let mut ready = vec![PollFd::new(watch.events.as_fd(), PollFlags::POLLIN)];
        ready.extend(
            watch
                .process
                .iter()
                .map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)),
        );
        match poll(&mut ready, poll_timeout(left)) {
            Err(Errno::EINTR) => {}
            Ok(0) if left.is_zero() => return WakeReason::Timeout,
            // poll(2) takes 24 days at the most; a longer wait goes round again.
            Ok(0) => {}
            Ok(_) => {
                let [event, process @ ..] = ready.as_slice() else {
                    continue;
                };
                let event = event.any() == Some(true);
                if process.iter().any(|fd| fd.any() == Some(true)) {
                    // It stays readable for ever: left in the set, a forked child that keeps the
                    // lock would make this a busy loop.
                    watch.process = None;
                    return WakeReason::ProcessEnded;
                }
                if event && watch.drain() {
                    return WakeReason::FileEvent;
                }
            }
            // No memory: sleep instead of spinning, and let the caller look.
            Err(_) => {
                std::thread::sleep(left.min(Duration::from_millis(100)));
                return WakeReason::Timeout;
            }
        }
    }
}

/// Up to the next millisecond, lest the last fraction of one become a busy loop.
fn poll_timeout(left: Duration) -> PollTimeout {
    let millis = left.as_nanos().div_ceil(1_000_000);
    PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
}
