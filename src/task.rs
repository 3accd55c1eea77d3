//! Blocking work on a thread of its own: for waits that can be cancelled, and for futures.
//!
//! A system call on a mount that hangs cannot be interrupted. The thread that makes it can be left
//! behind: what it returns later is discarded, and a lock that is discarded is held no more.

use std::fmt;
use std::future::Future;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::error::{Cancelled, IoError};
use crate::sync::{Mutex, lock, try_lock};
use crate::sys::latch::{Latch, wait_any};
use crate::sys::thread;
use crate::sys::{CancelToken, Operation};

/// How long a cancelled wait may take to notice the cancellation before its thread is left behind.
/// It needs microseconds, unless a mount hangs or the machine is overloaded.
const GRACE: Duration = Duration::from_millis(250);

/// The name of the threads.
const NAME: &str = "rvlf-wait";

/// Runs `work` with the tokens that cancel it: `cancel`, and `token` if the caller has one.
///
/// With `token` the work runs on a thread of its own, so that the caller returns when the token is
/// cancelled, even if a system call of the work hangs. `discard` gets what comes later.
pub(crate) fn cancellable<T, E>(
    token: Option<&CancelToken>,
    mut cancel: Vec<CancelToken>,
    lock_path: &Path,
    discard: fn(Result<T, E>),
    work: impl FnOnce(Vec<CancelToken>) -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<IoError> + From<Cancelled> + Send + 'static,
{
    let Some(token) = token else {
        return work(cancel);
    };
    cancel.push(token.clone());
    match run(token, discard, move || work(cancel)) {
        Ok(Some(result)) => result,
        Ok(None) => Err(E::from(Cancelled {
            lock_path: lock_path.to_owned(),
        })),
        Err(source) => {
            Err(IoError::new(Operation::Thread("start a thread"), lock_path, source).into())
        }
    }
}

/// Runs `work`, which ends by itself soon after `token` is cancelled, on a thread of its own, and
/// waits for its result. `None` if it did not end within [`GRACE`] of the cancellation.
///
/// # Errors
///
/// No thread can be started.
fn run<T: Send + 'static>(
    token: &CancelToken,
    discard: fn(T),
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Option<T>> {
    let slot = start(discard, work)?;
    let done = Arc::new(Latch::new());
    let result = slot.poll(&Waker::from(done.clone())).or_else(|| {
        wait_any(&[&done, token.latch()], Duration::MAX);
        wait_any(&[&done], GRACE);
        slot.close().into_result()
    });
    Ok(result.map(|result| result.unwrap_or_else(|panic| resume_unwind(panic))))
}

/// The work of a thread sets the latch when it has a result.
impl Wake for Latch {
    fn wake(self: Arc<Self>) {
        self.set();
    }
}

/// The future of an operation that waits for a lock. It works with every runtime.
///
/// The operation blocks, so it runs on a thread of its own, which starts at the first poll.
/// Dropping the future cancels the operation: its thread ends at once and leaves no lock file. If
/// the thread hangs with its mount it is left behind, and a lock that it acquires later is
/// released. If a dead holder's lock was recovered meanwhile, its record is put back: the next holder
/// learns of the death ([`WriterLock::reclaimed`](crate::WriterLock::reclaimed)).
///
/// A future that has been polled may acquire the lock at any moment, and holds it until it is polled
/// again or dropped. Of two futures for one lock, await both at once or drop one: the one that is not
/// polled may hold what the other one waits for. A relative path is resolved at the first poll.
///
/// **Fork**: the thread stays in the parent. In a child a future that was polled before the fork
/// never finishes; dropping it there is harmless.
///
/// **Panics** if it is polled after it has finished, as other futures do. A panic on its thread goes on in
/// the poll that takes the result.
///
/// Made by [`WriterLock::acquire_async`](crate::WriterLock::acquire_async) and
/// [`LockFile::wait_until_free_async`](crate::LockFile::wait_until_free_async).
#[must_use = "futures do nothing until they are polled"]
pub struct LockFuture<T, E> {
    /// The lock file, for the error of a thread that cannot be started.
    lock_path: PathBuf,
    token: CancelToken,
    /// Gets the result if the future is dropped.
    discard: fn(Result<T, E>),
    state: Progress<Result<T, E>>,
}

enum Progress<T> {
    /// Not polled yet.
    Ready(Box<dyn FnOnce() -> T + Send + Sync>),
    Started(Arc<Slot<T>>),
    Finished,
}

impl<T, E> LockFuture<T, E> {
    /// `work` must end by itself soon after its token is cancelled.
    pub(crate) fn new(
        lock_path: &Path,
        discard: fn(Result<T, E>),
        work: impl FnOnce(CancelToken) -> Result<T, E> + Send + Sync + 'static,
    ) -> LockFuture<T, E> {
        let token = CancelToken::new();
        LockFuture {
            lock_path: lock_path.to_owned(),
            token: token.clone(),
            discard,
            state: Progress::Ready(Box::new(move || work(token))),
        }
    }
}

impl<T: Send + 'static, E: From<IoError> + Send + 'static> Future for LockFuture<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T, E>> {
        if let Progress::Ready(_) = &self.state {
            if let Err(source) = self.start() {
                let error =
                    IoError::new(Operation::Thread("start a thread"), &self.lock_path, source);
                return Poll::Ready(Err(error.into()));
            }
        }
        let Progress::Started(slot) = &self.state else {
            panic!("the future was polled after it had finished");
        };
        // The state stays as it is until there is a result: a waker may panic, and the drop of the
        // future has to cancel the work then, too.
        let Some(result) = slot.poll(context.waker()) else {
            return Poll::Pending;
        };
        self.state = Progress::Finished;
        Poll::Ready(result.unwrap_or_else(|panic| resume_unwind(panic)))
    }
}

impl<T: Send + 'static, E: Send + 'static> LockFuture<T, E> {
    /// Starts the thread of a future that has not been polled. If no thread can be started the future is
    /// finished.
    fn start(&mut self) -> io::Result<()> {
        if let Progress::Ready(work) = mem::replace(&mut self.state, Progress::Finished) {
            self.state = Progress::Started(start(self.discard, work)?);
        }
        Ok(())
    }
}

fn start<T: Send + 'static>(
    discard: fn(T),
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Arc<Slot<T>>> {
    let slot = Arc::new(Slot::new(discard));
    let filled = slot.clone();
    thread::spawn(NAME, move || filled.fill(work))?;
    Ok(slot)
}

impl<T, E> Drop for LockFuture<T, E> {
    fn drop(&mut self) {
        if let Progress::Started(slot) = &self.state {
            self.token.cancel();
            slot.discard();
        }
    }
}

impl<T, E> fmt::Debug for LockFuture<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockFuture")
            .field("lock_path", &self.lock_path)
            .finish_non_exhaustive()
    }
}

/// Carries the result of a thread's work to the thread that waits for it.
struct Slot<T> {
    state: Mutex<State<T>>,
    /// Gets a result that no caller wants any more.
    discard: fn(T),
}

enum State<T> {
    Running(Option<Waker>),
    /// Also a panic, which goes on where the result is taken.
    Done(std::thread::Result<T>),
    /// Taken, or no longer wanted.
    Closed,
}

impl<T> Slot<T> {
    fn new(discard: fn(T)) -> Slot<T> {
        Slot {
            state: Mutex::new(State::Running(None)),
            discard,
        }
    }

    fn fill(&self, work: impl FnOnce() -> T) {
        let result = catch_unwind(AssertUnwindSafe(work));
        let mut state = lock(&self.state);
        let waker = match &mut *state {
            State::Running(waker) => waker.take(),
            // After the mutex, since a lock is released.
            State::Done(_) | State::Closed => {
                drop(state);
                return self.discard_result(result);
            }
        };
        *state = State::Done(result);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The result, or `None` and `waker` is woken when there is one.
    ///
    /// A waker's clone and drop are code of the runtime: neither runs under the mutex.
    fn poll(&self, waker: &Waker) -> Option<std::thread::Result<T>> {
        let waker = waker.clone();
        let mut state = lock(&self.state);
        if let State::Running(registered) = &mut *state {
            let earlier = registered.replace(waker);
            drop(state);
            drop(earlier);
            return None;
        }
        let ended = mem::replace(&mut *state, State::Closed);
        drop(state);
        ended.into_result()
    }

    /// What the slot has. If it has no result yet, the result is discarded when it comes.
    fn close(&self) -> State<T> {
        mem::replace(&mut *lock(&self.state), State::Closed)
    }

    /// Discards what the slot has, or the result when it comes.
    ///
    /// Waits for no thread: in a forked child the mutex may be locked by one that the child does not
    /// have. Where that thread exists, it is putting its result in at this moment, and the last owner of
    /// the slot discards it.
    fn discard(&self) {
        let ended = try_lock(&self.state).map(|mut state| mem::replace(&mut *state, State::Closed));
        self.discard_ended(ended);
    }

    fn discard_ended(&self, ended: Option<State<T>>) {
        if let Some(result) = ended.and_then(State::into_result) {
            self.discard_result(result);
        }
    }

    fn discard_result(&self, result: std::thread::Result<T>) {
        // A panic of the work has no caller to go on to.
        if let Ok(result) = result {
            (self.discard)(result);
        }
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        let state = state.unwrap_or_else(PoisonError::into_inner);
        let ended = mem::replace(state, State::Closed);
        self.discard_ended(Some(ended));
    }
}

impl<T> State<T> {
    fn into_result(self) -> Option<std::thread::Result<T>> {
        match self {
            State::Done(result) => Some(result),
            State::Running(_) | State::Closed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Far more than any machine needs: a test that waits so long has failed.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Reports its drop, as the drop of a lock releases the lock.
    struct Lock(mpsc::Sender<()>);

    impl Drop for Lock {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }

    // A system call on a mount that hangs does not end when the wait is cancelled. What it acquires
    // once the mount answers must not stay held by a caller that does not know of it.
    #[test]
    fn a_cancelled_call_that_hangs_is_left_behind_and_its_lock_is_released_when_it_ends() {
        let token = CancelToken::new();
        let (mount_answers, answer) = mpsc::channel::<()>();
        let (sender, released) = mpsc::channel();
        token.cancel();
        let hangs = move || {
            let _ = answer.recv();
            Lock(sender)
        };
        let result = run(&token, drop, hangs).expect("a thread can be started");
        assert!(result.is_none(), "the call still hangs");
        assert!(released.try_recv().is_err());
        drop(mount_answers);
        released.recv().expect("the lock is released");
    }

    #[test]
    fn a_panic_of_the_work_reaches_the_caller() {
        let token = CancelToken::new();
        let caller = || {
            run(&token, drop, || -> u8 {
                panic!("as a subscriber to trace events may")
            })
        };
        assert!(catch_unwind(AssertUnwindSafe(caller)).is_err());
    }

    // A future that is dropped before it is polled must not start the wait.
    #[test]
    fn a_future_that_is_never_polled_does_nothing() {
        let (sender, started) = mpsc::channel::<()>();
        let sender = Mutex::new(sender);
        let future = LockFuture::<(), IoError>::new(Path::new("store.lock"), drop, move |_| {
            let _ = lock(&sender).send(());
            Ok(())
        });
        drop(future);
        assert!(started.recv().is_err(), "the work was dropped");
    }

    #[test]
    fn a_future_that_is_dropped_cancels_its_work() {
        let (sender, ended) = mpsc::channel::<bool>();
        let sender = Mutex::new(sender);
        let mut future =
            LockFuture::<(), IoError>::new(Path::new("store.lock"), drop, move |token| {
                let cancelled = wait_any(&[token.latch()], Duration::from_secs(600));
                let _ = lock(&sender).send(cancelled);
                Ok(())
            });
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut future).poll(&mut context).is_pending());
        drop(future);
        assert_eq!(ended.recv(), Ok(true), "the work ends by its token");
    }

    // A server forks a child while the wait's thread puts its result in: in the child the mutex stays locked,
    // and the drop of the future waited for it indefinitely. In the parent the lock must not stay held.
    #[test]
    fn a_future_is_dropped_while_its_result_is_put_in_and_the_lock_is_released() {
        let slot = Arc::new(Slot::<Result<Lock, IoError>>::new(drop));
        let future = LockFuture {
            lock_path: PathBuf::from("store.lock"),
            token: CancelToken::new(),
            discard: drop,
            state: Progress::Started(Arc::clone(&slot)),
        };
        let (sender, released) = mpsc::channel();
        let mut state = lock(&slot.state);
        let (end, ended) = mpsc::channel();
        let owner = crate::sys::thread::spawn("owner", move || {
            drop(future);
            let _ = end.send(());
        });
        let ended = ended.recv_timeout(PATIENCE);
        *state = State::Done(Ok(Ok(Lock(sender))));
        drop(state);
        assert_eq!(ended, Ok(()), "the drop waits for the mutex");
        let owner = owner.expect("a thread can be started");
        owner.join().expect("no panic");
        drop(slot);
        released.recv().expect("the lock is released");
    }

    /// Wakes no task. Its drop does what the test says, as the drop of a runtime's waker may drop a
    /// whole task.
    struct Dropping<F: FnMut() + Send + Sync>(F);

    impl<F: FnMut() + Send + Sync + 'static> Wake for Dropping<F> {
        fn wake(self: Arc<Self>) {}
    }

    impl<F: FnMut() + Send + Sync> Drop for Dropping<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }

    // A runtime that panics in its waker and then drops the task would leave the thread behind: it
    // would wait indefinitely, and take the lock for no caller.
    #[test]
    fn a_future_whose_waker_panics_still_cancels_its_work_when_it_is_dropped() {
        let mut future = LockFuture::<(), IoError>::new(Path::new("store.lock"), drop, |token| {
            let _ = wait_any(&[token.latch()], Duration::from_secs(600));
            Ok(())
        });
        let token = future.token.clone();
        let panics = || -> () { panic!("as a waker of a runtime may") };
        let waker = Waker::from(Arc::new(Dropping(panics)));
        let mut context = Context::from_waker(&waker);
        assert!(Pin::new(&mut future).poll(&mut context).is_pending());
        let replaced = catch_unwind(AssertUnwindSafe(|| {
            drop(waker);
            let mut context = Context::from_waker(Waker::noop());
            Pin::new(&mut future).poll(&mut context).is_pending()
        }));
        assert!(
            replaced.is_err(),
            "the first waker panics when it is replaced"
        );
        drop(future);
        assert!(token.is_cancelled(), "the work ends by its token");
    }

    // The waker's drop is code of the runtime: it may come back to this very wait.
    #[test]
    fn a_waker_is_dropped_without_the_mutex_of_the_result() {
        let slot = Arc::new(Slot::<()>::new(drop));
        let (sender, was_free) = mpsc::channel();
        let seen = slot.clone();
        let look = move || {
            let _ = sender.send(seen.state.try_lock().is_ok());
        };
        assert!(slot.poll(&Arc::new(Dropping(look)).into()).is_none());
        assert!(slot.poll(Waker::noop()).is_none());
        assert_eq!(was_free.recv(), Ok(true));
    }

    // `Pending` would be a task that no thread ever wakes.
    #[test]
    #[should_panic(expected = "polled after it had finished")]
    fn a_future_whose_work_panicked_is_finished() {
        let mut future = LockFuture::<(), IoError>::new(Path::new("store.lock"), drop, |_| {
            panic!("as a subscriber to trace events may")
        });
        let mut poll = || {
            let mut context = Context::from_waker(Waker::noop());
            Pin::new(&mut future).poll(&mut context)
        };
        while let Ok(poll) = catch_unwind(AssertUnwindSafe(&mut poll)) {
            assert!(poll.is_pending(), "the work has no result");
        }
        let _ = poll();
    }
}
