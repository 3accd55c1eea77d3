//! Waiting by kqueue(2): the lock file, its holder and the cancel tokens in one queue.
//!
//! `--cfg rvlf_kqueue` compiles this file into the unit tests on Linux, over the library libkqueue.

#![allow(unsafe_code, reason = "kqueue(2) and kevent(2)")]

use std::fs::File;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc::{c_int, timespec};

use super::kqueue_sys::{self as kq, kevent};
use crate::record::Pid;
use crate::sys::descriptor::Descriptor;
use crate::sys::latch::{Latch, SLICE};
use crate::sys::{CancelToken, WakeReason};

/// A watched lock file, and perhaps its holder.
#[derive(Debug)]
pub(crate) struct Watch {
    queue: Descriptor<OwnedFd>,
    /// The queue reports of a file for as long as this descriptor is open.
    _file: Descriptor<File>,
    watches_process: bool,
}

/// A release and a break remove or rename the file. The end of a holder that leaves the file closes a
/// descriptor that was open for writing (FreeBSD). kqueue(2)
const END_OF_HOLD: u32 = kq::NOTE_DELETE | kq::NOTE_RENAME | kq::NOTE_LINK | kq::NOTE_CLOSED;

/// What is an event of the lock file. On macOS that end unlocks the file. Elsewhere, but for FreeBSD, the
/// end of the process alone is reported.
///
/// An examiner whose flock succeeds unlocks as well, and its close does so again: xnu reports every such
/// call, also one that finds no lock. A waiter at a file that no process has locked, as that of a deployed
/// client, would be woken by each of its own examinations, and by those of all other waiters. While another
/// process has the kernel lock, no examiner's flock succeeds.
fn end_of_hold(is_locked: bool) -> u32 {
    match is_locked {
        true => END_OF_HOLD | kq::NOTE_UNLOCKED,
        false => END_OF_HOLD,
    }
}

/// A longer wait waits again: kernels refuse some of the longest times.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

pub(in crate::sys) fn watch(
    file: &File,
    process: Option<Pid>,
    is_locked: bool,
) -> io::Result<Watch> {
    let queue = new_queue()?;
    let file = Descriptor::new(file.try_clone()?)?;
    change(&queue, &file_event(file.get()?, end_of_hold(is_locked)))?;
    let watches_process = process.is_some_and(|pid| change(&queue, &end_of(pid)).is_ok());
    Ok(Watch {
        queue,
        _file: file,
        watches_process,
    })
}

pub(in crate::sys) fn watches_process(watch: &Watch) -> bool {
    watch.watches_process
}

/// Closing a queue takes no time, so none is saved for the next watch.
pub(crate) fn close_spare_watch() {}

fn new_queue() -> io::Result<Descriptor<OwnedFd>> {
    // SAFETY: the call takes nothing, and returns a new descriptor or -1.
    let fd = Errno::result(unsafe { kq::kqueue() })?;
    // SAFETY: the kernel has just made this descriptor, and no other code owns it.
    let queue = unsafe { OwnedFd::from_raw_fd(fd) };
    // A child that is forked before has no copy: a queue is not inherited by fork(2).
    fcntl(&queue, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Descriptor::new(queue)
}

/// Each event of the file once (EV_CLEAR).
fn file_event(file: &File, which: u32) -> kevent {
    let flags = kq::EV_ADD | kq::EV_CLEAR;
    event(file.as_raw_fd(), kq::EVFILT_VNODE, flags, which)
}

/// The end of a process is reported once, and the process not watched any longer.
fn end_of(process: Pid) -> kevent {
    let flags = kq::EV_ADD | kq::EV_ONESHOT;
    let pid = process.get() as i32;
    event(pid, kq::EVFILT_PROC, flags, kq::NOTE_EXIT)
}

/// A token's pipe stays readable: once is enough, since the token itself is asked then.
fn readable(descriptor: c_int) -> kevent {
    event(descriptor, kq::EVFILT_READ, kq::EV_ADD | kq::EV_ONESHOT, 0)
}

#[allow(
    clippy::unnecessary_cast,
    reason = "the fields' types differ between systems"
)]
fn event(ident: c_int, filter: i32, flags: u32, filter_flags: u32) -> kevent {
    // SAFETY: zeros are a valid value of the struct, which has integers and a pointer only.
    let mut event: kevent = unsafe { zeroed() };
    event.ident = ident as _;
    event.filter = filter as _;
    event.flags = flags as _;
    event.fflags = filter_flags as _;
    event
}

/// Adds one event to the queue.
fn change(queue: &Descriptor<OwnedFd>, change: &kevent) -> io::Result<()> {
    let queue = queue.get()?.as_raw_fd();
    // SAFETY: one change is given, which outlives the call, and no room for events, so that the call
    // writes nothing and does not wait.
    let outcome = unsafe { kq::kevent(queue, change, 1, ptr::null_mut(), 0, ptr::null()) };
    Errno::result(outcome)?;
    Ok(())
}

/// The next event, within `timeout`.
fn next_event(queue: &Descriptor<OwnedFd>, timeout: Duration) -> io::Result<Option<kevent>> {
    let queue = queue.get()?.as_raw_fd();
    // SAFETY: as in `event`.
    let (mut found, mut timeout_left): (kevent, timespec) = unsafe { (zeroed(), zeroed()) };
    timeout_left.tv_sec = timeout.as_secs() as _;
    timeout_left.tv_nsec = timeout.subsec_nanos() as _;
    // SAFETY: no change is given; there is room for one event, which outlives the call, as does the time.
    let outcome = unsafe { kq::kevent(queue, ptr::null(), 0, &mut found, 1, &timeout_left) };
    let count = Errno::result(outcome)?;
    Ok((count > 0).then_some(found))
}

pub(in crate::sys) fn wait(
    watch: &mut Watch,
    cancel: &[CancelToken],
    timeout: Duration,
) -> WakeReason {
    let start = Instant::now();
    loop {
        // Before the flags are read: a token that is cancelled in between makes its pipe readable.
        let longest = watch.add_tokens(cancel);
        if CancelToken::is_any_cancelled(cancel) {
            return WakeReason::Cancelled;
        }
        let left = timeout.saturating_sub(start.elapsed());
        match next_event(&watch.queue, left.min(longest)) {
            Ok(Some(event)) => {
                if let Some(reason) = watch.reason(&event) {
                    return reason;
                }
            }
            Ok(None) if left.is_zero() => return WakeReason::Timeout,
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Other code has closed the descriptor: sleep instead of spinning, and let the caller look
            // again.
            Err(_) => {
                std::thread::sleep(left.min(Duration::from_millis(100)));
                return WakeReason::Timeout;
            }
        }
    }
}

impl Watch {
    /// Has the queue report the tokens. Returns the longest time that may pass until they are asked
    /// again, which is short where the queue cannot report all of them.
    fn add_tokens(&self, cancel: &[CancelToken]) -> Duration {
        let mut latches = cancel.iter().map(CancelToken::latch);
        let is_added = |latch: &Latch| {
            let descriptor = latch.descriptor().map(|pipe| pipe.as_fd().as_raw_fd());
            descriptor.is_some_and(|pipe| change(&self.queue, &readable(pipe)).is_ok())
        };
        if latches.all(is_added) {
            LONGEST
        } else {
            SLICE
        }
    }

    /// What the event ends the wait for. `None` for a token: of this wait, and then the loop finds it
    /// cancelled, or of an earlier one.
    #[allow(
        clippy::unnecessary_cast,
        reason = "the fields' types differ between systems"
    )]
    fn reason(&mut self, event: &kevent) -> Option<WakeReason> {
        match event.filter as i32 {
            kq::EVFILT_VNODE => Some(WakeReason::FileEvent),
            kq::EVFILT_PROC => {
                self.watches_process = false;
                Some(WakeReason::ProcessEnded)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Longer than any test takes: a wait that ends by it has missed its event.
    const LONG: Duration = Duration::from_secs(60);

    fn lock_file() -> (tempfile::TempDir, std::path::PathBuf, File) {
        let dir = tempfile::tempdir().expect("there is a temporary directory");
        let path = dir.path().join("data.lock");
        File::create(&path).expect("the directory is new");
        let file = File::open(&path).expect("the file was just made");
        (dir, path, file)
    }

    // On macOS each examination of a file that no process has locked ends in an unlock, and so wakes what
    // watches for unlocks: the waiter itself would examine without rest. A waiter that does not watch for
    // them misses the end of a holder that it cannot see.
    #[test]
    fn an_unlock_is_an_event_only_of_a_file_that_another_process_has_locked() {
        assert_eq!(end_of_hold(true), END_OF_HOLD | kq::NOTE_UNLOCKED);
        assert_eq!(end_of_hold(false) & kq::NOTE_UNLOCKED, 0);
    }

    // A waiter that misses a release polls twice a second.
    #[test]
    fn a_removed_or_renamed_lock_file_ends_the_wait_once() {
        for (is_renamed, is_locked) in [(false, true), (true, true), (false, false), (true, false)]
        {
            let (_dir, path, file) = lock_file();
            let mut watch = watch(&file, None, is_locked).expect("the file can be watched");
            assert!(!watches_process(&watch));
            if is_renamed {
                std::fs::rename(&path, path.with_extension("aside")).expect("it is there");
            } else {
                std::fs::remove_file(&path).expect("it is there");
            }
            assert_eq!(wait(&mut watch, &[], LONG), WakeReason::FileEvent);
            // One change may be several events: they end. An event that stayed would be a busy loop.
            let mut more = 0;
            while wait(&mut watch, &[], Duration::ZERO) == WakeReason::FileEvent {
                more += 1;
                assert!(more < 8, "the events do not end");
            }
        }
    }

    // The holder of a lock is killed: no call of its own says so.
    #[test]
    fn the_end_of_the_holder_ends_the_wait_once() {
        let (_dir, _path, file) = lock_file();
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .expect("sleep(1) is in the path");
        let mut watch = watch(&file, Pid::new(child.id()), true).expect("the file can be watched");
        assert!(watches_process(&watch));
        child.kill().expect("it is running");
        assert_eq!(wait(&mut watch, &[], LONG), WakeReason::ProcessEnded);
        // Not before: libkqueue reports the end of a child that was not waited for.
        child.wait().expect("it is a child of this process");
        assert!(!watches_process(&watch));
        let again = wait(&mut watch, &[], Duration::ZERO);
        assert_eq!(again, WakeReason::Timeout, "a waiter would not sleep again");
    }

    // A process that has ended before the watch causes no event: the caller must learn that it is not
    // watched.
    #[test]
    fn a_process_that_has_ended_is_not_watched() {
        let (_dir, _path, file) = lock_file();
        let mut child = std::process::Command::new("true").spawn().expect("true(1)");
        child.wait().expect("it is a child of this process");
        let watch = watch(&file, Pid::new(child.id()), true).expect("the file can be watched");
        assert!(!watches_process(&watch));
    }

    #[test]
    fn a_cancelled_token_ends_the_wait_from_another_thread_and_at_once() {
        let (_dir, _path, file) = lock_file();
        let mut watch = watch(&file, None, true).expect("the file can be watched");
        let tokens = [CancelToken::new(), CancelToken::new()];
        let waiter = thread::spawn({
            let tokens = tokens.clone();
            move || {
                let first = wait(&mut watch, &tokens, LONG);
                (
                    first,
                    wait(&mut watch, &tokens, LONG),
                    wait(&mut watch, &[], Duration::ZERO),
                )
            }
        });
        tokens[1].cancel();
        let reasons = waiter.join().expect("the waiter does not panic");
        let cancelled = WakeReason::Cancelled;
        assert_eq!(reasons, (cancelled, cancelled, WakeReason::Timeout));
    }
}
