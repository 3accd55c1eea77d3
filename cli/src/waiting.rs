//! Waiting where a person may watch: a live line on a terminal, one line elsewhere, and an end by
//! signal that leaves nothing behind.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use nix::sys::signal::Signal;
use rvlf::LockState;

use crate::signals::Event;
use crate::{report, text};

/// What takes less is not announced.
const PATIENCE: Duration = Duration::from_millis(200);
/// How often the live line is brought up to date.
const TICK: Duration = Duration::from_secs(1);

/// How a wait ended.
pub enum Ended<T> {
    Done(T),
    By(Signal),
}

/// Does `work`, which may wait for the lock of `data`, in a thread of its own, and shows what it is
/// waiting for meanwhile.
pub fn watched<T: Send + 'static>(
    data: &Path,
    (sender, events): &(Sender<Event>, Receiver<Event>),
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Ended<T>> {
    let done = sender.clone();
    let worker = thread::Builder::new()
        .name("rvlf-wait".into())
        .spawn(move || {
            let result = work();
            // The main thread may have gone by signal: then nobody wants to know.
            let _ = done.send(Event::WorkDone);
            result
        })?;
    let mut line = Line::new();
    let mut pause = Some(PATIENCE);
    loop {
        let event = match pause {
            Some(pause) => events.recv_timeout(pause),
            None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match event {
            Ok(Event::WorkDone) | Err(RecvTimeoutError::Disconnected) => {
                line.clear();
                let result = worker.join().expect("the work does not panic");
                return Ok(Ended::Done(result));
            }
            Ok(Event::Signal { signal, .. }) => {
                line.clear();
                if is_being_acquired(data) {
                    // The lock file is there already: the work is about to return, and what it
                    // returns releases the lock when it is dropped. (If the holder releases between
                    // this look and our exit, a record of ours may stay behind; the kernel witnesses
                    // our end, and the next contender recovers it at once.)
                    drop(worker.join());
                }
                return Ok(Ended::By(signal));
            }
            Ok(Event::Child | Event::Lost(_)) => {}
            Err(RecvTimeoutError::Timeout) => pause = line.show(data),
        }
    }
}

/// Whether this very process has just published its record: the signal came at the last moment.
fn is_being_acquired(data: &Path) -> bool {
    rvlf::inspect(data)
        .is_ok_and(|state| report::holder(&state).is_some_and(|holder| holder.is_this_process()))
}

enum Line {
    Live(ProgressBar),
    Once,
}

impl Line {
    fn new() -> Line {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if dumb || !io::stderr().is_terminal() {
            return Line::Once;
        }
        let style = ProgressStyle::with_template("{spinner} {wide_msg}");
        let style = style.expect("the template is well formed");
        Line::Live(ProgressBar::new_spinner().with_style(style))
    }

    /// Shows who is waited for. Returns when to show it again.
    fn show(&mut self, data: &Path) -> Option<Duration> {
        let Ok(LockState::Held(holder)) = rvlf::inspect(data) else {
            return Some(TICK);
        };
        if holder.is_this_process() {
            return Some(TICK);
        }
        let who = report::line(&LockState::Held(holder));
        let message = format!("waiting for {}: {who}", text::path(data));
        match self {
            Line::Live(bar) => {
                bar.set_message(message);
                bar.tick();
                Some(TICK)
            }
            Line::Once => {
                text::say(message);
                None
            }
        }
    }

    fn clear(&self) {
        if let Line::Live(bar) = self {
            bar.finish_and_clear();
        }
    }
}
