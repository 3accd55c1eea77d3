//! Refreshing what is held: one scheduling thread for all locks of a process.
//!
//! [`Schedule`] is pure: it is told the time and says what is due. The thread around it refreshes
//! locks on local file systems itself; others are handed to a worker for their device, so that a
//! mount that hangs stalls nobody else. Source: `spec/protocol.md#refresh`.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, Weak};
use std::time::{Duration, Instant};

use crate::sync::lock;
use crate::sys::{Host, Identity, Sys, close_spare_watch};

/// A held lock, as the keepalive sees it.
pub(crate) trait Refresh: Send + Sync {
    /// Refreshes once. False if there is nothing to come back for: released or lost.
    fn refresh_in_background(&self) -> bool;
}

/// Names an entry of a schedule.
pub(crate) type Key = u64;

/// When each lock is due next. Times are those of any clock that does not step.
#[derive(Debug)]
struct Schedule<T> {
    entries: BTreeMap<(Duration, Key), Entry<T>>,
    due: HashMap<Key, Duration>,
    last_key: Key,
}

#[derive(Debug)]
struct Entry<T> {
    interval: Duration,
    item: T,
}

impl<T: Clone> Schedule<T> {
    fn new() -> Schedule<T> {
        Schedule {
            entries: BTreeMap::new(),
            due: HashMap::new(),
            last_key: 0,
        }
    }

    /// Adds an entry. `phase` (0 to 255) says where in its interval it comes first, so that locks
    /// acquired together are not refreshed together.
    fn insert(&mut self, now: Duration, interval: Duration, phase: u8, item: T) -> Key {
        self.last_key += 1;
        // Divided first: the longest interval times anything would overflow.
        let first = interval / 256 * (u32::from(phase) + 1);
        self.put(
            now.saturating_add(first),
            self.last_key,
            Entry { interval, item },
        );
        self.last_key
    }

    fn put(&mut self, at: Duration, key: Key, entry: Entry<T>) {
        self.due.insert(key, at);
        self.entries.insert((at, key), entry);
    }

    fn remove(&mut self, key: Key) {
        if let Some(at) = self.due.remove(&key) {
            self.entries.remove(&(at, key));
        }
    }

    fn next_due(&self) -> Option<Duration> {
        self.entries.keys().next().map(|(at, _)| *at)
    }

    /// What is due at `now`. Each comes again after its interval: from now, not from when it was
    /// due, for after a suspension once is enough.
    fn tick(&mut self, now: Duration) -> Vec<(Key, T)> {
        let mut items = Vec::new();
        while let Some(first) = self
            .entries
            .first_entry()
            .filter(|first| first.key().0 <= now)
        {
            let ((_, key), entry) = first.remove_entry();
            items.push((key, entry.item.clone()));
            self.put(now.saturating_add(entry.interval), key, entry);
        }
        items
    }
}

/// A lock's place in the schedule. Dropping it ends the refreshes.
#[derive(Debug)]
pub(crate) struct Registration {
    keepalive: &'static Keepalive,
    key: Key,
}

impl Drop for Registration {
    fn drop(&mut self) {
        // In a forked child this schedule's lock may have been taken, by a thread that the child
        // does not have. Nothing refreshes there: nothing to end.
        if self.keepalive.is_of_this_process() {
            lock(&self.keepalive.state).schedule.remove(self.key);
        }
    }
}

/// Starts refreshing `held` every `interval`.
///
/// `device` names the device of a file system that is not local, which may hang.
///
/// # Errors
///
/// The scheduling thread cannot be started.
pub(crate) fn register(
    held: &Arc<impl Refresh + 'static>,
    interval: Duration,
    phase: u8,
    device: Option<u64>,
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

#[derive(Clone)]
struct Job {
    /// Weak: a released lock is not kept open by its schedule.
    lock: Weak<dyn Refresh>,
    device: Option<u64>,
    /// Set while a worker has it, so that a mount that hangs does not pile up refreshes.
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
/// A forked child inherits the parent's, perhaps locked by a thread that it does not have. So each
/// process has its own, in a list that only grows by forks.
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
    /// When the thread will look at the schedule by itself. `None` if there is no thread.
    wakes_at: Option<Duration>,
}

/// How long the scheduling thread stays when nothing is held. A program that acquires and releases
/// again and again would else start a thread each time, which costs more than the lock.
const LINGER: Duration = Duration::from_secs(1);

/// How long a worker without work stays: longer than the default interval.
const WORKER_IDLE: Duration = Duration::from_secs(30);

impl Keepalive {
    fn of_this_process() -> io::Result<&'static Keepalive> {
        static FIRST: OnceLock<Box<Keepalive>> = OnceLock::new();
        let process = Host.identity()?;
        let mut slot = &FIRST;
        loop {
            // `set`, not `get_or_init` alone: a child forked while another thread runs an
            // initialiser would wait for it for ever.
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
                let thread = std::thread::Builder::new().name("rvlf-keepalive".into());
                if let Err(error) = thread.spawn(|| self.run()) {
                    state.schedule.remove(key);
                    return Err(error);
                }
                state.wakes_at = due;
            }
            (Some(wakes_at), Some(due)) if due < wakes_at => {
                state.wakes_at = Some(due);
                self.changed.notify_one();
            }
            // The thread sleeps until something is due anyway: no wake-up for an acquisition.
            _ => {}
        }
        Ok(key)
    }

    /// The scheduling thread: ends when for a while nothing was there to refresh.
    fn run(&'static self) {
        let mut state = lock(&self.state);
        let mut ends_at = None;
        loop {
            let now = self.start.elapsed();
            let due = state.schedule.tick(now);
            if !due.is_empty() {
                drop(state);
                due.into_iter()
                    .for_each(|(key, job)| self.refresh(key, job));
                // Somebody holds: the wait for that may have left something that is slow to close.
                close_spare_watch();
                state = lock(&self.state);
                continue;
            }
            let next_due = state.schedule.next_due();
            let idle_end = ends_at.unwrap_or(now.saturating_add(LINGER));
            ends_at = next_due.is_none().then_some(idle_end);
            // The lock that asked for this moment may be released by now. Waking then for nothing
            // costs less than being told of an earlier moment by every acquisition that follows.
            let asked = state.wakes_at;
            let moments = [asked, next_due, ends_at].into_iter().flatten();
            state.wakes_at = moments.filter(|at| *at > now).min();
            let Some(wakes_at) = state.wakes_at else {
                drop(state);
                return close_spare_watch();
            };
            state = wait_timeout(&self.changed, state, wakes_at.saturating_sub(now));
        }
    }

    fn refresh(&'static self, key: Key, job: Job) {
        match job.device {
            None => self.refresh_here(key, &job),
            Some(device) if !job.underway.swap(true, Ordering::AcqRel) => {
                self.hand_to_worker(device, key, job);
            }
            Some(_) => {}
        }
    }

    fn refresh_here(&self, key: Key, job: &Job) {
        // A subscriber to our trace events is the program's own code. If it panics, the refreshes of
        // all other locks go on.
        let refresh = || {
            let held = job.lock.upgrade();
            held.is_some_and(|held| held.refresh_in_background())
        };
        let comes_again = catch_unwind(AssertUnwindSafe(refresh)).unwrap_or(true);
        job.underway.store(false, Ordering::Release);
        if !comes_again {
            lock(&self.state).schedule.remove(key);
        }
    }

    fn hand_to_worker(&'static self, device: u64, key: Key, job: Job) {
        let mut workers = lock(&self.workers);
        let underway = job.underway.clone();
        let job = match workers
            .get(&device)
            .map(|worker| worker.send((key, job.clone())))
        {
            Some(Ok(())) => return,
            _ => job,
        };
        let (sender, receiver) = channel();
        let thread = std::thread::Builder::new().name("rvlf-refresh".into());
        let started = thread.spawn(move || self.work(device, &receiver));
        if started.is_ok() && sender.send((key, job)).is_ok() {
            workers.insert(device, sender);
        } else {
            // No thread to be had now: the next tick tries again.
            underway.store(false, Ordering::Release);
        }
    }

    fn work(&self, device: u64, jobs: &Receiver<(Key, Job)>) {
        loop {
            match jobs.recv_timeout(WORKER_IDLE) {
                Ok((key, job)) => self.refresh_here(key, &job),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    // Senders hold the map's lock: what is not in the queue now never will be.
                    let mut workers = lock(&self.workers);
                    match jobs.try_recv() {
                        Ok((key, job)) => {
                            drop(workers);
                            self.refresh_here(key, &job);
                        }
                        Err(_) => {
                            workers.remove(&device);
                            return;
                        }
                    }
                }
            }
        }
    }
}

fn wait_timeout<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    timeout: Duration,
) -> MutexGuard<'a, T> {
    let outcome = condvar.wait_timeout(guard, timeout);
    outcome.unwrap_or_else(std::sync::PoisonError::into_inner).0
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    // Ten thousand locks opened at program start, refreshed all at once every 10 s, would be a
    // burst of system calls that every one of their data files feels.
    #[test]
    fn locks_acquired_together_are_refreshed_apart() {
        let mut schedule = Schedule::new();
        for phase in 0..=255 {
            schedule.insert(secs(100), secs(10), phase, ());
        }
        let half = schedule.tick(secs(105)).len();
        assert_eq!(
            half, 128,
            "half of the interval brings half of the refreshes"
        );
        assert_eq!(
            schedule.tick(secs(110)).len(),
            128,
            "the rest follows in the other half"
        );
    }

    #[test]
    fn every_entry_comes_once_an_interval_and_no_more_after_removal() {
        let mut schedule = Schedule::new();
        let kept = schedule.insert(secs(0), secs(10), 255, 'a');
        let removed = schedule.insert(secs(0), secs(10), 255, 'b');
        assert_eq!(schedule.tick(secs(9)), [], "nothing is due before its time");
        assert_eq!(schedule.tick(secs(10)), [(kept, 'a'), (removed, 'b')]);
        assert_eq!(schedule.next_due(), Some(secs(20)));
        schedule.remove(removed);
        // A suspension of an hour: one refresh, not 360.
        assert_eq!(schedule.tick(secs(3620)), [(kept, 'a')]);
        assert_eq!(schedule.next_due(), Some(secs(3630)));
        schedule.remove(kept);
        assert_eq!(schedule.next_due(), None);
    }

    struct Witness(Mutex<Sender<std::thread::ThreadId>>);

    impl Refresh for Witness {
        fn refresh_in_background(&self) -> bool {
            lock(&self.0).send(std::thread::current().id()).is_ok()
        }
    }

    // A program that acquires, writes and releases in a loop started a thread nearly every time,
    // for the thread ended as soon as it found nothing to refresh: 25 us on top of a cycle of 40.
    #[test]
    fn one_thread_serves_holds_that_follow_each_other() {
        let (sender, receiver) = channel();
        let held = Arc::new(Witness(Mutex::new(sender)));
        let refreshed_by = || {
            let registration = register(&held, Duration::from_millis(1), 0, None);
            let _registration = registration.expect("a thread can be started");
            receiver
                .recv_timeout(secs(60))
                .expect("a refresh is due every millisecond")
        };
        let first = refreshed_by();
        // Long enough for the thread to wake and find nothing.
        std::thread::sleep(Duration::from_millis(50));
        while receiver.try_recv().is_ok() {}
        assert_eq!(refreshed_by(), first, "the thread stays for the next hold");
    }
    struct Panicking(Mutex<Sender<()>>);

    impl Refresh for Panicking {
        fn refresh_in_background(&self) -> bool {
            let _ = lock(&self.0).send(());
            panic!("as a subscriber to trace events may");
        }
    }

    // A panic ended the scheduling thread, and every lock of the process was lost within minutes.
    #[test]
    fn a_panic_in_one_refresh_ends_no_other() {
        let (sender, panicked) = channel();
        let unlucky = Arc::new(Panicking(Mutex::new(sender)));
        let (sender, refreshed) = channel();
        let other = Arc::new(Witness(Mutex::new(sender)));
        for device in [None, Some(0xff)] {
            let every = Duration::from_millis(1);
            let _unlucky = register(&unlucky, every, 0, device).expect("a thread can be started");
            let _other = register(&other, every, 0, device).expect("a thread can be started");
            for _ in 0..3 {
                panicked.recv_timeout(secs(60)).expect("it is tried again");
                refreshed
                    .recv_timeout(secs(60))
                    .expect("the other one goes on");
            }
        }
    }
}
