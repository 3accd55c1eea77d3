//! A held lock, its refreshes, and the events that its holder waits for.
//!
//! A thread refreshes the lock, because a refresh may hang with its file system. It is started when the
//! first refresh is due: most commands have ended by then, and a thread costs more than the lock. If it
//! cannot be started, the main thread refreshes: that may hang, and no refresh at all is worse.
//! While a refresh hangs, the main thread asks for the loss that needs no I/O.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rvlf::{HoldError, LockOptions, Lost, WriterLock};

use crate::events::{Event, EventSource, Events, Sender};
use crate::loss::Loss;
use crate::thread;

/// After the acquisition. A lock file that is removed early is missed then, and not 10 s later.
const FIRST_REFRESH: Duration = Duration::from_secs(1);

const INTERVAL: Duration = LockOptions::DEFAULT_KEEPALIVE;

pub struct Holding {
    /// `None` once the lock is taken.
    refreshed: Option<Refreshed>,
    pub events: Events,
    /// When this thread has to look after the refreshes. `None`: never.
    due: Option<Instant>,
    refresher: Option<Refresher>,
}

impl Holding {
    pub fn new(lock: WriterLock, events: Events, is_refreshed: bool) -> Holding {
        let refreshed = Refreshed {
            lock: Arc::new(lock),
            events: events.sender(),
            has_reported: Arc::default(),
        };
        Holding {
            refreshed: Some(refreshed),
            events,
            due: is_refreshed.then(|| Instant::now() + FIRST_REFRESH),
            refresher: None,
        }
    }

    /// # Panics
    ///
    /// The lock was taken.
    pub fn lock(&self) -> &WriterLock {
        let refreshed = self.refreshed.as_ref();
        &refreshed.expect("the lock was not taken").lock
    }

    /// Ends the refreshes. What it returns may block: it waits for a refresh that is underway, and returns
    /// the lock.
    ///
    /// # Panics
    ///
    /// The lock was taken.
    pub fn take_lock(&mut self) -> impl FnOnce() -> WriterLock + Send + 'static + use<> {
        self.due = None;
        let refreshed = self.refreshed.take();
        let lock = refreshed.expect("the lock is taken once").lock;
        let refresher = self.refresher.take();
        move || {
            if let Some(refresher) = refresher {
                refresher.end();
            }
            Arc::into_inner(lock).expect("no other thread has the lock any more")
        }
    }

    /// Has the lock refreshed, and reports a loss that a refresh which hangs would report late.
    fn keep_refreshed(&mut self) {
        let Some(refreshed) = &self.refreshed else {
            return;
        };
        if self.refresher.is_some() {
            refreshed.notice_loss();
        } else {
            match Refresher::start(refreshed.clone()) {
                Ok(refresher) => self.refresher = Some(refresher),
                Err(_) => refreshed.refresh(),
            }
        }
        self.due = Some(Instant::now() + INTERVAL);
    }
}

impl EventSource for Holding {
    fn next_before(&mut self, deadline: Option<Instant>) -> Option<Event> {
        loop {
            let now = Instant::now();
            if self.due.is_some_and(|due| due <= now) {
                self.keep_refreshed();
            }
            if deadline.is_some_and(|deadline| deadline <= now) {
                return None;
            }
            let first = self.due.into_iter().chain(deadline).min();
            if let Some(event) = self.events.next_before(first) {
                return Some(event);
            }
        }
    }

    fn events(&mut self) -> &mut Events {
        &mut self.events
    }
}

/// The thread that refreshes.
struct Refresher {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Refresher {
    fn start(refreshed: Refreshed) -> io::Result<Refresher> {
        let (stop, stopped) = channel::<()>();
        let thread = thread::spawn("rvlf-refresh", move || {
            loop {
                refreshed.refresh();
                if stopped.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Refresher { stop, thread })
    }

    /// Waits for a refresh that is underway.
    fn end(self) {
        drop(self.stop);
        self.thread.join().expect("a refresh does not panic");
    }
}

#[derive(Clone)]
struct Refreshed {
    lock: Arc<WriterLock>,
    events: Sender,
    has_reported: Arc<AtomicBool>,
}

impl Refreshed {
    /// Refreshes once, and sends the first loss.
    ///
    /// A lock that is lost because its directory has moved is refreshed where it is.
    fn refresh(&self) {
        // An I/O error may pass.
        if let Err(HoldError::Lost(lost)) = self.lock.refresh() {
            self.report(&lost);
        }
    }

    /// Sends a loss that is known without I/O.
    ///
    /// The check of a lock whose directory has moved makes I/O. The refresh that notices such a loss has
    /// reported it.
    fn notice_loss(&self) {
        if self.has_reported.load(Ordering::Acquire) || !self.lock.is_lost() {
            return;
        }
        if let Err(lost) = self.lock.check() {
            self.report(&lost);
        }
    }

    fn report(&self, lost: &Lost) {
        if !self.has_reported.swap(true, Ordering::AcqRel) {
            self.events.send(Event::Lost(Loss::from(lost)));
        }
    }
}
