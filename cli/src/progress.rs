//! A wait that shows its progress: a live line on a terminal, one message elsewhere. A signal ends
//! the wait and leaves no file behind.

use std::io::{self, IsTerminal};
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use nix::sys::signal::Signal;
use rvlf::{Holder, LockFile, LockState};

use crate::signals::{Event, Events};
use crate::{escape, messages, render};

/// A shorter wait is not announced.
const DELAY: Duration = Duration::from_millis(200);
/// The live line is updated this often.
const INTERVAL: Duration = Duration::from_secs(1);

/// How a wait ended.
pub enum Ended<T> {
    Done(T),
    BySignal(Signal),
}

/// Runs `work`, which may wait for the lock, in a thread, and shows the holder of the lock
/// meanwhile.
///
/// # Errors
///
/// If no thread can be started.
pub fn wait_for<T: Send + 'static>(
    lock_file: &LockFile,
    (sender, events): &Events,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Ended<T>> {
    let done = sender.clone();
    let worker = thread::Builder::new()
        .name("rvlf-wait".into())
        .spawn(move || {
            let result = work();
            // Fails if a signal has ended the wait: the main thread has dropped the receiver.
            let _ = done.send(Event::WorkDone);
            result
        })
        .map_err(|error| io::Error::other(format!("cannot start a thread: {error}")))?;
    let mut progress = Progress::new();
    let mut pause = Some(DELAY);
    loop {
        let event = match pause {
            Some(pause) => events.recv_timeout(pause),
            None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match event {
            Ok(Event::WorkDone) | Err(RecvTimeoutError::Disconnected) => {
                progress.clear();
                let result = worker.join().expect("the work does not panic");
                return Ok(Ended::Done(result));
            }
            Ok(Event::Signal { signal, .. }) => {
                progress.clear();
                if is_being_acquired(lock_file) {
                    // The lock file exists already: the work is about to return, and the lock is
                    // released when its result is dropped. (If the holder releases between this
                    // check and the exit, a record of this process may stay behind; the kernel
                    // witnesses the exit, and the next contender recovers the lock at once.)
                    drop(worker.join());
                }
                return Ok(Ended::BySignal(signal));
            }
            Ok(Event::Child | Event::Lost(_)) => {}
            Err(RecvTimeoutError::Timeout) => pause = progress.show(lock_file),
        }
    }
}

/// Whether this process has just published its record.
fn is_being_acquired(lock_file: &LockFile) -> bool {
    let state = lock_file.inspect();
    state.is_ok_and(|state| state.holder().is_some_and(Holder::is_this_process))
}

enum Progress {
    Live(ProgressBar),
    Once,
}

impl Progress {
    fn new() -> Progress {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if is_dumb || !io::stderr().is_terminal() {
            return Progress::Once;
        }
        let style = ProgressStyle::with_template("{spinner} {wide_msg}");
        let style = style.expect("the template is well formed");
        Progress::Live(ProgressBar::new_spinner().with_style(style))
    }

    /// Shows the holder. Returns the time until the next update.
    fn show(&mut self, lock_file: &LockFile) -> Option<Duration> {
        let Ok(LockState::Held(holder)) = lock_file.inspect() else {
            return Some(INTERVAL);
        };
        if holder.is_this_process() {
            return Some(INTERVAL);
        }
        let held = render::line(&LockState::Held(holder));
        let data = escape::path(lock_file.data_path());
        let message = format!("waiting for {data}: {held}");
        match self {
            Progress::Live(bar) => {
                bar.set_message(message);
                bar.tick();
                Some(INTERVAL)
            }
            Progress::Once => {
                messages::print(message);
                None
            }
        }
    }

    fn clear(&self) {
        if let Progress::Live(bar) = self {
            bar.finish_and_clear();
        }
    }
}
