//! Calls the program's callbacks for losses on threads of their own, also when no thread can be
//! started any more.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use crate::loss::{Lost, OnLost};
use crate::sync::mpsc::{Sender, channel};
use crate::sync::{Mutex, try_lock};
use crate::sys::{Identity, thread};

type Call = Box<dyn FnOnce() + Send>;

/// A thread that is started with the first lock that has a callback, and ends after the last one.
///
/// At the moment of a loss the process may have reached its limit of threads, or have called
/// unshare(CLONE_NEWPID), after which it can start none. The callback cannot be called where the
/// loss is found: there the hold's mutexes are locked, and a callback that drops the lock waits for
/// them. On the keepalive thread it could block the refreshes of other locks.
#[derive(Debug)]
pub(super) struct ReservedThread(Sender<Call>);

impl ReservedThread {
    /// The thread that the locks of `process` share.
    ///
    /// # Errors
    ///
    /// No thread can be started.
    pub(super) fn of(process: Identity) -> io::Result<Arc<ReservedThread>> {
        static SHARED: Mutex<Option<(Identity, Weak<ReservedThread>)>> = Mutex::new(None);
        // In a forked child the mutex may be locked by a thread that the child does not have. Then
        // this lock has a thread for itself.
        let Some(mut shared) = try_lock(&SHARED) else {
            return ReservedThread::start();
        };
        let of_this_process = shared.as_ref().filter(|(owner, _)| *owner == process);
        if let Some(thread) = of_this_process.and_then(|(_, thread)| thread.upgrade()) {
            return Ok(thread);
        }
        let started = ReservedThread::start()?;
        *shared = Some((process, Arc::downgrade(&started)));
        Ok(started)
    }

    fn start() -> io::Result<Arc<ReservedThread>> {
        let (sender, calls) = channel::<Call>();
        thread::spawn("rvlf-reserved", move || {
            for call in calls {
                // The next callback is called although this one has panicked.
                let _ = catch_unwind(AssertUnwindSafe(call));
            }
        })?;
        Ok(Arc::new(ReservedThread(sender)))
    }

    /// Calls `on_lost` on a thread of its own if one can be started: a callback may block, and
    /// others must not wait for it. Else on this one.
    pub(super) fn call(&self, on_lost: &OnLost, lost: Lost) {
        let call = |lost: Lost| {
            let on_lost = on_lost.clone();
            move || on_lost(&lost)
        };
        if thread::spawn("rvlf-on-lost", call(lost.clone())).is_err() {
            // The thread runs as long as this value exists.
            let _ = self.0.send(Box::new(call(lost)));
        }
    }
}
