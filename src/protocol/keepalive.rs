//! Keepalive: one scheduling thread refreshes all held locks of a process.
//!
//! The thread hands each refresh to a worker thread for the lock's device, so that a mount that
//! hangs, or a local disk that is frozen, stalls the refreshes of no other device. There are no more
//! workers than devices. Source: `spec/protocol.md#refresh`.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::schedule::{Key, Schedule};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use crate::sync::{Condvar, Instant, Mutex, OnceLock, lock, wait, wait_timeout};
use crate::sys::{Host, Identity, Sys, close_spare_watch, thread};

/// A held lock, as the keepalive sees it.
pub(crate) trait Refresh: Send + Sync {
    /// Refreshes once. False if the lock needs no further refreshes: it was released or lost.
    fn refresh_in_background(&self) -> bool;

    /// Notices that the lock is lost by its age. Called while a refresh is under way: without I/O.
    fn notice_loss(&self);
}

/// A lock's place in the schedule. Dropping it ends the refreshes.
#[derive(Debug)]
pub(crate) struct Registration {
    keepalive: &'static Keepalive,
    key: Key,
}

impl Drop for Registration {
    fn drop(&mut self) {
        // In a forked child the schedule's mutex may be locked by a thread that the child does not
        // have. No thread refreshes there, so there is nothing to end.
        if self.keepalive.is_of_this_process() {
            lock(&self.keepalive.state).schedule.remove(self.key);
        }
    }
}

/// Starts refreshing `held` every `interval`.
///
/// `device` is the device of the lock file.
///
/// # Errors
///
/// The scheduling thread cannot be started.
pub(crate) fn register(
    held: &Arc<impl Refresh + 'static>,
    interval: Duration,
    phase: u8,
    device: u64,
) -> io::Result<Registration> {
    let keepalive = Keepalive::of_this_process()?;
    let lock: Arc<dyn Refresh> = held.clone();
    let job = Job {
        lock: Arc::downgrade(&lock),
        device,
        underway: Arc::default(),
    };
    let key = keepalive.add(job, interval, phase)?;
    Ok(Registration { keepalive, key })
}

/// Keeps the scheduling thread while a lock is waited for. A start of the thread takes 80 us, which would
/// pass between the end of one hold and the next.
#[derive(Debug)]
pub(crate) struct Expectation {
    keepalive: &'static Keepalive,
}

/// Starts the scheduling thread, if there is none, for a lock that is waited for.
///
/// # Errors
///
/// The thread cannot be started. [`register`] tries again.
pub(crate) fn expect_lock() -> io::Result<Expectation> {
    Keepalive::of_this_process()?.expect_lock()
}

impl Drop for Expectation {
    fn drop(&mut self) {
        // As for a registration: in a forked child the mutex may be locked for good.
        if !self.keepalive.is_of_this_process() {
            return;
        }
        let mut state = lock(&self.keepalive.state);
        state.expected -= 1;
        if state.expected == 0 && state.schedule.next_due().is_none() {
            // Nothing was acquired: the thread does not sleep on.
            let ends_at = self.keepalive.start.elapsed().saturating_add(LINGER);
            state.wakes_at = state.wakes_at.map(|_| ends_at);
            self.keepalive.changed.notify_one();
        }
    }
}

#[derive(Clone)]
struct Job {
    /// Weak: a released lock is not kept open by its schedule.
    lock: Weak<dyn Refresh>,
    device: u64,
    /// Set while a worker has it, so that refreshes do not pile up on a device that hangs.
    underway: Arc<AtomicBool>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

/// The schedule of one process and the thread that follows it.
///
/// A forked child inherits the parent's, perhaps locked by a thread that the child does not have.
/// So each process has its own, in a list to which only a forked child adds.
#[derive(Debug)]
struct Keepalive {
    process: Identity,
    state: Mutex<State>,
    changed: Condvar,
    start: Instant,
    workers: Mutex<HashMap<u64, Sender<(Key, Job)>>>,
    next: OnceLock<Box<Keepalive>>,
}

#[derive(Debug)]
struct State {
    schedule: Schedule<Job>,
    /// When the thread wakes by itself. `None` if there is no thread.
    wakes_at: Option<Duration>,
    /// How many locks are waited for.
    expected: usize,
}

/// Three refreshes fit into the 30 s after which a dead process's record is stale on its own host.
pub(crate) const REFRESH_INTERVAL: Duration = Duration::from_secs(10);

/// How long the scheduling thread stays when nothing is held. Without this a program that acquires
/// and releases again and again would start a thread each time, which costs more than the lock.
const LINGER: Duration = Duration::from_secs(1);

/// When the thread wakes by itself while a lock is waited for and no lock is held.
const NEVER: Duration = Duration::MAX;

/// How long an idle worker stays: longer than the default interval.
const WORKER_IDLE: Duration = Duration::from_secs(30);

impl Keepalive {
    fn of_this_process() -> io::Result<&'static Keepalive> {
        static FIRST: OnceLock<Box<Keepalive>> = OnceLock::new();
        let process = Host.identity()?;
        let mut slot = &FIRST;
        loop {
            // `set`, not `get_or_init` alone: a child that is forked while another thread runs an
            // initialiser would wait for that thread indefinitely.
            if slot.get().is_none() {
                let _ = slot.set(Box::new(Keepalive::new(process)));
            }
            let found = slot.get_or_init(|| Box::new(Keepalive::new(process)));
            if found.process == process {
                return Ok(found);
            }
            slot = &found.next;
        }
    }

    fn new(process: Identity) -> Keepalive {
        Keepalive {
            process,
            state: Mutex::new(State {
                schedule: Schedule::new(),
                wakes_at: None,
                expected: 0,
            }),
            changed: Condvar::new(),
            start: Instant::now(),
            workers: Mutex::new(HashMap::new()),
            next: OnceLock::new(),
        }
    }

    fn is_of_this_process(&self) -> bool {
        Host.identity().is_ok_and(|process| process == self.process)
    }

    fn add(&'static self, job: Job, interval: Duration, phase: u8) -> io::Result<Key> {
        let mut state = lock(&self.state);
        let key = state
            .schedule
            .insert(self.start.elapsed(), interval, phase, job);
        match (state.wakes_at, state.schedule.next_due()) {
            (None, due) => {
                if let Err(error) = self.start_thread() {
                    state.schedule.remove(key);
                    return Err(error);
                }
                state.wakes_at = due;
            }
            (Some(wakes_at), Some(due)) if due < wakes_at => {
                state.wakes_at = Some(due);
                self.changed.notify_one();
            }
            // The thread wakes before that by itself: an acquisition costs no wake-up.
            _ => {}
        }
        Ok(key)
    }

    fn expect_lock(&'static self) -> io::Result<Expectation> {
        let mut state = lock(&self.state);
        if state.wakes_at.is_none() {
            self.start_thread()?;
            state.wakes_at = Some(NEVER);
        }
        state.expected += 1;
        Ok(Expectation { keepalive: self })
    }

    fn start_thread(&'static self) -> io::Result<()> {
        thread::spawn("rvlf-keepalive", || self.run()).map(drop)
    }

    /// The scheduling thread. Ends after [`LINGER`] without a lock that is held or waited for.
    fn run(&'static self) {
        let mut state = lock(&self.state);
        let mut ends_at = None;
        loop {
            let now = self.start.elapsed();
            let due = state.schedule.tick(now);
            if !due.is_empty() {
                drop(state);
                for (key, job) in due {
                    self.refresh(key, job);
                }
                // A wait for a lock that is held now may have left a watch that is slow to close.
                close_spare_watch();
                state = lock(&self.state);
                continue;
            }
            let next_due = state.schedule.next_due();
            let (is_idle, is_expecting) = (next_due.is_none(), state.expected > 0);
            let idle_end = ends_at.unwrap_or(now.saturating_add(LINGER));
            ends_at = (is_idle && !is_expecting).then_some(idle_end);
            let expecting = is_expecting.then_some(NEVER);
            // The lock for which the thread wakes at this moment may be released by now. A wake-up
            // for nothing costs less than one by every acquisition that follows.
            let announced = state.wakes_at;
            let moments = [announced, next_due, ends_at, expecting];
            let moments = moments.into_iter().flatten();
            state.wakes_at = moments.filter(|at| *at > now).min();
            let Some(wakes_at) = state.wakes_at else {
                // Their workers end when they have done what was handed to them.
                lock(&self.workers).clear();
                drop(state);
                return close_spare_watch();
            };
            state = match wakes_at {
                NEVER => wait(&self.changed, state),
                at => wait_timeout(&self.changed, state, at.saturating_sub(now)),
            };
        }
    }

    fn refresh(&'static self, key: Key, job: Job) {
        if !job.underway.swap(true, Ordering::AcqRel) {
            return self.hand_to_worker(key, job);
        }
        // A refresh that hangs, as on a mount without its server, may report the loss long after
        // others have the lock. `catch_unwind`: see `refresh_here`.
        if let Some(held) = job.lock.upgrade() {
            let _ = catch_unwind(AssertUnwindSafe(|| held.notice_loss()));
        }
    }

    fn refresh_here(&self, key: Key, job: &Job) {
        // A subscriber to the trace events is the program's own code. If it panics, the refreshes
        // of all other locks must go on.
        let refresh = || {
            let held = job.lock.upgrade();
            held.is_some_and(|held| held.refresh_in_background())
        };
        let is_needed = catch_unwind(AssertUnwindSafe(refresh)).unwrap_or(true);
        job.underway.store(false, Ordering::Release);
        if !is_needed {
            lock(&self.state).schedule.remove(key);
        }
    }

    fn hand_to_worker(&'static self, key: Key, job: Job) {
        let device = job.device;
        let mut workers = lock(&self.workers);
        let worker = workers.get(&device);
        if worker.is_some_and(|worker| worker.send((key, job.clone())).is_ok()) {
            return;
        }
        let (sender, receiver) = channel();
        let started = thread::spawn("rvlf-refresh", move || self.work(device, &receiver));
        if started.is_ok() && sender.send((key, job.clone())).is_ok() {
            workers.insert(device, sender);
        } else {
            // No thread can be started now. A refresh that may hang is better than none.
            drop(workers);
            self.refresh_here(key, &job);
        }
    }

    fn work(&self, device: u64, jobs: &Receiver<(Key, Job)>) {
        loop {
            match jobs.recv_timeout(WORKER_IDLE) {
                Ok((key, job)) => self.refresh_here(key, &job),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    // Jobs are sent under the map's mutex: what is not in the queue now never will
                    // be.
                    let mut workers = lock(&self.workers);
                    match jobs.try_recv() {
                        Ok((key, job)) => {
                            drop(workers);
                            self.refresh_here(key, &job);
                        }
                        Err(TryRecvError::Empty) => {
                            workers.remove(&device);
                            return;
                        }
                        // The map may have another worker for the device by now.
                        Err(TryRecvError::Disconnected) => return,
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Far more than any machine needs: a test that waits so long has failed.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A lock that reports which thread refreshes it.
    struct Witness(Mutex<Sender<std::thread::ThreadId>>);

    impl Refresh for Witness {
        fn refresh_in_background(&self) -> bool {
            lock(&self.0).send(std::thread::current().id()).is_ok()
        }

        fn notice_loss(&self) {}
    }

    /// A lock whose refresh panics.
    struct Panicking(Mutex<Sender<()>>);

    impl Refresh for Panicking {
        fn refresh_in_background(&self) -> bool {
            let _ = lock(&self.0).send(());
            panic!("as a subscriber to trace events may");
        }

        fn notice_loss(&self) {}
    }

    // A program that acquires, writes and releases in a loop started a thread nearly every time,
    // for the thread ended as soon as it found nothing to refresh: 25 us on top of a cycle of 40.
    #[test]
    #[cfg_attr(
        any(not(any(unix, windows)), rvlf_unsupported),
        ignore = "no locks can be held there"
    )]
    fn one_thread_serves_holds_that_follow_each_other() {
        let (sender, receiver) = channel();
        let held = Arc::new(Witness(Mutex::new(sender)));
        let refreshed_by = || {
            let registration = register(&held, Duration::from_millis(1), 0, 1);
            let _registration = registration.expect("a thread can be started");
            receiver
                .recv_timeout(PATIENCE)
                .expect("a refresh is due every millisecond")
        };
        let first = refreshed_by();
        // Long enough for the thread to wake and find nothing.
        std::thread::sleep(Duration::from_millis(50));
        while receiver.try_recv().is_ok() {}
        assert_eq!(refreshed_by(), first, "the thread stays for the next hold");
    }

    // A contender that waits has the thread started before it has the lock. That thread sleeps
    // without a timer: the lock that comes has to wake it, and the end of a wait without a lock has to end it.
    #[test]
    #[cfg_attr(
        any(not(any(unix, windows)), rvlf_unsupported),
        ignore = "no locks can be held there"
    )]
    fn the_thread_of_a_wait_serves_the_lock_that_comes_and_ends_without_one() {
        let own = Host.identity().expect("this process is known");
        let keepalive: &'static Keepalive = Box::leak(Box::new(Keepalive::new(own)));
        let has_thread = || lock(&keepalive.state).wakes_at.is_some();
        let ends = || {
            let start = std::time::Instant::now();
            while has_thread() && start.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(10));
            }
            !has_thread()
        };

        let [first, second] = [(); 2].map(|()| keepalive.expect_lock());
        let (first, second) = (first.expect("a thread"), second.expect("the same thread"));
        drop(first);
        assert!(has_thread(), "the second wait goes on");
        let (sender, refreshed) = channel();
        let held: Arc<dyn Refresh> = Arc::new(Witness(Mutex::new(sender)));
        let job = Job {
            lock: Arc::downgrade(&held),
            device: 0xfa,
            underway: Arc::default(),
        };
        let key = keepalive.add(job, Duration::from_millis(1), 0);
        let key = key.expect("the thread is there");
        drop(second);
        for _ in 0..3 {
            let refreshed = refreshed.recv_timeout(PATIENCE);
            refreshed.expect("the lock wakes the thread");
        }
        lock(&keepalive.state).schedule.remove(key);
        assert!(ends(), "the last lock is released");

        let third = keepalive.expect_lock().expect("a thread can be started");
        assert!(has_thread(), "the thread is there before the lock");
        drop(third);
        assert!(ends(), "the wait has ended without a lock");
    }

    // A panic ended the scheduling thread, and every lock of the process was lost within minutes.
    #[test]
    #[cfg_attr(
        any(not(any(unix, windows)), rvlf_unsupported),
        ignore = "no locks can be held there"
    )]
    fn a_panic_in_one_refresh_ends_no_other() {
        let (sender, panicked) = channel();
        let unlucky = Arc::new(Panicking(Mutex::new(sender)));
        let (sender, refreshed) = channel();
        let other = Arc::new(Witness(Mutex::new(sender)));
        for device in [0xfe, 0xff] {
            let every = Duration::from_millis(1);
            let _unlucky = register(&unlucky, every, 0, device).expect("a thread can be started");
            let _other = register(&other, every, 0, device).expect("a thread can be started");
            for _ in 0..3 {
                panicked.recv_timeout(PATIENCE).expect("it is tried again");
                refreshed
                    .recv_timeout(PATIENCE)
                    .expect("the other one goes on");
            }
        }
    }

    /// A lock on a device that hangs until its [`Observer`] is dropped.
    struct Frozen {
        thawed: Mutex<Receiver<()>>,
        hangs: Mutex<Sender<()>>,
        notices: Mutex<Sender<()>>,
    }

    /// What happens to a lock on a frozen device.
    struct Observer {
        hangs: Receiver<()>,
        notices: Receiver<()>,
        _thaw: Sender<()>,
    }

    impl Frozen {
        fn new() -> (Arc<Frozen>, Observer) {
            let (thaw, thawed) = channel();
            let (hang, hangs) = channel();
            let (notice, notices) = channel();
            let frozen = Frozen {
                thawed: Mutex::new(thawed),
                hangs: Mutex::new(hang),
                notices: Mutex::new(notice),
            };
            let observer = Observer {
                hangs,
                notices,
                _thaw: thaw,
            };
            (Arc::new(frozen), observer)
        }
    }

    impl Refresh for Frozen {
        fn refresh_in_background(&self) -> bool {
            let _ = lock(&self.hangs).send(());
            lock(&self.thawed).recv().is_ok()
        }

        fn notice_loss(&self) {
            let _ = lock(&self.notices).send(());
        }
    }

    // A write to a local disk that is frozen (fsfreeze, a snapshot of a virtual machine) hangs. It
    // hung the scheduling thread, and a lock on a healthy mount was lost after 150 s.
    #[test]
    #[cfg_attr(
        any(not(any(unix, windows)), rvlf_unsupported),
        ignore = "no locks can be held there"
    )]
    fn a_refresh_that_hangs_stops_no_other_device() {
        let every = Duration::from_millis(1);
        let (stuck, observer) = Frozen::new();
        let (sender, refreshed) = channel();
        let healthy = Arc::new(Witness(Mutex::new(sender)));
        let _stuck = register(&stuck, every, 0, 0xfc).expect("a thread can be started");
        let _healthy = register(&healthy, every, 0, 0xfd).expect("a thread can be started");
        let begun = observer.hangs.recv_timeout(PATIENCE);
        begun.expect("the refresh begins");
        while refreshed.try_recv().is_ok() {}
        let mut threads = HashSet::new();
        for _ in 0..20 {
            let thread = refreshed.recv_timeout(PATIENCE);
            threads.insert(thread.expect("the healthy device is refreshed"));
        }
        assert_eq!(threads.len(), 1, "one thread for the device");
        assert!(
            observer.hangs.try_recv().is_err(),
            "nothing piles up on the frozen device"
        );
    }

    // A client of NFS that was cut off heard of its loss only when the network was back: the refresh
    // hung, and `on_lost` was called after other hosts had the lock.
    #[test]
    #[cfg_attr(
        any(not(any(unix, windows)), rvlf_unsupported),
        ignore = "no locks can be held there"
    )]
    fn a_loss_is_noticed_while_a_refresh_hangs() {
        let (stuck, observer) = Frozen::new();
        let every = Duration::from_millis(1);
        let _stuck = register(&stuck, every, 0, 0xfb).expect("a thread can be started");
        let begun = observer.hangs.recv_timeout(PATIENCE);
        begun.expect("the refresh begins");
        for _ in 0..3 {
            let noticed = observer.notices.recv_timeout(PATIENCE);
            noticed.expect("at every tick");
        }
    }
}
