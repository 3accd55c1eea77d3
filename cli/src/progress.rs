//! A wait that shows its progress: a live line on a terminal, one message elsewhere. A signal ends
//! the wait and leaves no file behind.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use nix::sys::signal::Signal;
use rvlf::LockState;

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

/// Runs `work`, which may wait for the lock of `data`, in a thread, and shows the holder of the
/// lock meanwhile.
///
/// # Errors
///
/// If no thread can be started.
pub fn wait_for<T: Send + 'static>(
    data: &Path,
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
        })?;
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
                if is_being_acquired(data) {
                    // The lock file exists already: the work is about to return, and the lock is
                    // released when its result is dropped. (If the holder releases between this
                    // check and the exit, a record of this process may stay behind; the kernel
                    // witnesses the exit, and the next contender recovers the lock at once.)
                    drop(worker.join());
                }
                return Ok(Ended::BySignal(signal));
            }
            Ok(Event::Child | Event::Lost(_)) => {}
            Err(RecvTimeoutError::Timeout) => pause = progress.show(data),
        }
    }
}

/// Whether this process has just published its record.
fn is_being_acquired(data: &Path) -> bool {
    rvlf::inspect(data)
        .is_ok_and(|state| render::holder(&state).is_some_and(|holder| holder.is_this_process()))
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
    fn show(&mut self, data: &Path) -> Option<Duration> {
        let Ok(LockState::Held(holder)) = rvlf::inspect(data) else {
            return Some(INTERVAL);
        };
        if holder.is_this_process() {
            return Some(INTERVAL);
        }
        let held = render::line(&LockState::Held(holder));
        let message = format!("waiting for {}: {held}", escape::path(data));
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
