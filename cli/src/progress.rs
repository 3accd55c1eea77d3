//! A wait that shows its progress: a live line on a terminal, one message elsewhere. A signal ends
//! the wait and leaves no file behind.
//!
//! Every call that touches the lock's file system runs on another thread: on a network mount that
//! hangs, such a call does not return, and the main thread must still act on signals.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use console::{Term, truncate_str};
use rvlf::CancelToken;

use crate::events::{Event, Events, Sender};
use crate::sys::signals::Signal;
use crate::sys::standard_error::{is_in_foreground, is_writable_within, without_stop};
use crate::sys::supervisor::reap_orphans;
use crate::{messages, thread};

/// A shorter wait is not announced.
const DELAY: Duration = Duration::from_millis(200);
/// The live line is updated this often.
const INTERVAL: Duration = Duration::from_secs(1);
/// The time that a cancelled wait has to end. The library takes up to 250 ms to leave a thread
/// behind that hangs.
const GRACE: Duration = Duration::from_millis(500);

/// How a wait ended.
pub enum Ended<T> {
    Done(T),
    BySignal(Signal),
}

/// Runs `work`, which may wait for a lock until `cancel` is cancelled. Shows meanwhile what `look` returns
/// for one look at the lock after another: who holds it. A signal cancels `cancel`.
///
/// # Errors
///
/// If no thread can be started.
pub fn wait_for<T: Send + 'static>(
    look: impl FnMut() -> Option<String> + Clone + Send + 'static,
    events: &mut Events,
    cancel: &CancelToken,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Ended<T>> {
    let worker = start_worker(events.sender(), work)?;
    let mut display = Display::new();
    let mut observer = None;
    loop {
        let is_shown = observer.is_some() || display.is_complete();
        let event = events.next_before((!is_shown).then(|| Instant::now() + DELAY));
        if let Some(signal) = event.as_ref().and_then(Event::fatal_signal) {
            display.clear();
            cancel.cancel();
            finish(worker, events);
            return Ok(Ended::BySignal(signal));
        }
        match event {
            Some(Event::WorkDone) => {
                display.clear();
                let result = worker.join().expect("the work does not panic");
                return Ok(Ended::Done(result));
            }
            Some(Event::Seen(line)) => {
                display.show(&line);
                observer = observer.filter(|_| !display.is_complete());
            }
            Some(Event::Signal(_) | Event::Child | Event::Lost(_)) => {}
            // If no thread can be started now, the next timeout tries again.
            None => observer = Observer::start(look.clone(), events.sender()).ok(),
        }
    }
}

/// Runs `work` to its end. A signal cancels `cancel` and ends the wait for it; so does `deadline`, for which
/// the answer is `None`.
///
/// # Errors
///
/// If no thread can be started.
pub fn finish_work<T: Send + 'static>(
    events: &mut Events,
    cancel: &CancelToken,
    deadline: Option<Instant>,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Option<Ended<T>>> {
    let worker = start_worker(events.sender(), work)?;
    loop {
        let Some(event) = events.next_before(deadline) else {
            cancel.cancel();
            return Ok(None);
        };
        match event {
            Event::WorkDone => {
                let result = worker.join().expect("the work does not panic");
                return Ok(Some(Ended::Done(result)));
            }
            Event::Child => reap_orphans()?,
            _ => {}
        }
        if let Some(signal) = event.fatal_signal() {
            cancel.cancel();
            finish(worker, events);
            return Ok(Some(Ended::BySignal(signal)));
        }
    }
}

fn start_worker<T: Send + 'static>(
    done: Sender,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    thread::spawn("rvlf-worker", move || {
        let result = work();
        // Fails if a signal has ended the wait: the main thread has dropped the receiver.
        done.send(Event::WorkDone);
        result
    })
}

/// Waits until a cancelled worker has ended, so that a lock that it acquired at the last moment is
/// released. Does not wait for a worker that hangs.
fn finish<T>(worker: JoinHandle<T>, events: &mut Events) {
    let deadline = Instant::now() + GRACE;
    while let Some(event) = events.next_before(Some(deadline)) {
        if matches!(event, Event::WorkDone) {
            return drop(worker.join());
        }
    }
}

/// A thread that looks at the lock until this is dropped.
struct Observer {
    _stop: mpsc::Sender<()>,
}

impl Observer {
    fn start(
        look: impl FnMut() -> Option<String> + Send + 'static,
        sender: Sender,
    ) -> io::Result<Observer> {
        let (stop, stopped) = channel();
        thread::spawn("rvlf-observer", move || observe(look, &sender, &stopped))?;
        Ok(Observer { _stop: stop })
    }
}

fn observe(mut look: impl FnMut() -> Option<String>, sender: &Sender, stopped: &Receiver<()>) {
    loop {
        let seen = look().map(Event::Seen);
        if seen.is_some_and(|seen| !sender.send(seen)) {
            return;
        }
        if stopped.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

enum Display {
    Live(LiveLine),
    Once { is_shown: bool },
}

impl Display {
    fn new() -> Display {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        // The keeper of rvlf hold never has the terminal.
        if is_dumb || !io::stderr().is_terminal() || !is_in_foreground() {
            return Display::Once { is_shown: false };
        }
        Display::Live(LiveLine {
            terminal: Term::buffered_stderr(),
            frames: 0,
        })
    }

    fn show(&mut self, message: &str) {
        match self {
            Display::Live(line) => line.show(message),
            Display::Once { is_shown } => {
                messages::print(message);
                *is_shown = true;
            }
        }
    }

    /// Whether no later state will be shown.
    fn is_complete(&self) -> bool {
        matches!(self, Display::Once { is_shown: true })
    }

    fn clear(&self) {
        if let Display::Live(line) = self {
            line.clear();
        }
    }
}

/// After Ctrl-Z and bg the shell has the terminal. One that is stopped (Ctrl-S) must not keep this thread from
/// acting on signals.
fn may_draw() -> bool {
    is_in_foreground() && is_writable_within(Duration::ZERO)
}

/// A line of a terminal that replaces itself.
struct LiveLine {
    terminal: Term,
    frames: usize,
}

impl LiveLine {
    const SPINNER: [char; 4] = ['|', '/', '-', '\\'];

    fn show(&mut self, message: &str) {
        if !may_draw() {
            return;
        }
        let spinner = Self::SPINNER.get(self.frames % Self::SPINNER.len());
        let line = format!("{} {message}", spinner.unwrap_or(&' '));
        // In the last column a terminal may begin another line.
        let width = usize::from(self.terminal.size().1).saturating_sub(1);
        let line = truncate_str(&line, width, "...");
        self.frames += 1;
        self.replace_by(&line);
    }

    fn clear(&self) {
        if self.frames > 0 && may_draw() {
            self.replace_by("");
        }
    }

    fn replace_by(&self, line: &str) {
        without_stop(|| {
            // A wait goes on although it cannot be shown.
            let _ = self.terminal.clear_line();
            let _ = self.terminal.write_str(line);
            let _ = self.terminal.flush();
        });
    }
}
