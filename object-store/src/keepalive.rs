//! The thread on which the locks of this process live: requests, refreshes and the machine.
//!
//! It is a thread of its own so that a program whose executor is blocked keeps its locks.

use std::io;
use std::sync::PoisonError;
use std::time::Duration;

use rvlf::Record;
use rvlf::host::{self, Process};
use tokio::sync::oneshot;

use crate::machine::Found;
use crate::own_holds::OwnHolds;
use crate::sights::{Sights, Watch};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::runtime::{Builder, Handle};
use crate::sync::{Mutex, MutexGuard, OnceLock};

/// The thread of this process, and what the process remembers.
pub(crate) struct Keepalive {
    process: Process,
    handle: Handle,
    memory: Mutex<Memory>,
    /// How many acquisitions and holds have a task.
    tasks: AtomicUsize,
    /// The thread ends when this is dropped.
    _stop: oneshot::Sender<()>,
    /// That of a forked child. What a fork left behind is never touched: its mutexes may be locked by
    /// threads that the child does not have.
    of_child: OnceLock<Box<Keepalive>>,
}

/// What all calls of this process share.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) sights: Sights,
    pub(crate) holds: OwnHolds,
}

static FIRST: OnceLock<Box<Keepalive>> = OnceLock::new();

impl Keepalive {
    /// The one of this process. The first call starts the thread.
    ///
    /// # Errors
    ///
    /// No thread can be started, or there are too many open files.
    pub(crate) fn of_this_process() -> io::Result<&'static Keepalive> {
        let process = Process::current()?;
        let mut slot = &FIRST;
        loop {
            match slot.get() {
                Some(keepalive) if keepalive.process == process => return Ok(keepalive),
                Some(keepalive) => slot = &keepalive.of_child,
                // `set`, not `get_or_init`: a child that is forked while another thread runs an
                // initialiser would wait for that thread indefinitely. If two threads come here, the thread
                // that the second one started ends at once.
                None => drop(slot.set(Box::new(Keepalive::start(process)?))),
            }
        }
    }

    /// That of this process, if its thread was started.
    fn existing() -> Option<&'static Keepalive> {
        let mut slot = &FIRST;
        loop {
            match slot.get()? {
                keepalive if keepalive.is_of_this_process() => return Some(keepalive),
                keepalive => slot = &keepalive.of_child,
            }
        }
    }

    fn start(process: Process) -> io::Result<Keepalive> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        host::spawn("rvlf-object-store", move || {
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Keepalive {
            process,
            handle,
            memory: Mutex::default(),
            tasks: AtomicUsize::new(0),
            _stop: stop,
            of_child: OnceLock::new(),
        })
    }

    /// Whether this is that process, and no forked child.
    pub(crate) fn is_of_this_process(&self) -> bool {
        self.process.is_current()
    }

    pub(crate) fn process(&self) -> Process {
        self.process
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// An acquisition begins. The task lasts until the lock is released or lost, or not acquired for certain.
    pub(crate) fn begin_task(&'static self) -> Task {
        self.tasks.fetch_add(1, Ordering::SeqCst);
        Task(self)
    }

    /// Notes what a call sees now. Returns since when.
    pub(crate) fn see(&self, watch: &mut Watch, found: &Found, now: Duration) -> Duration {
        let record = match found {
            Found::Absent => None,
            Found::Present(stored) => Record::decode(&stored.bytes).ok(),
        };
        record.map_or(now, |record| {
            watch.see(&mut self.memory().sights, record, now)
        })
    }

    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts as a task until it is dropped.
pub(crate) struct Task(&'static Keepalive);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.tasks.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether this process has nothing to write any more: no lock, and no acquisition or release that goes on in the
/// background after its caller has left (a future that was dropped, a token that was cancelled).
///
/// A program that ends before leaves a lock that others can take only after its lease. In a forked child the locks
/// of the parent do not count.
///
/// ```
/// assert!(rvlf_object_store::is_idle(), "nothing was acquired");
/// ```
#[must_use]
pub fn is_idle() -> bool {
    let tasks = |keepalive: &Keepalive| keepalive.tasks.load(Ordering::SeqCst);
    Keepalive::existing().is_none_or(|keepalive| tasks(keepalive) == 0)
}
