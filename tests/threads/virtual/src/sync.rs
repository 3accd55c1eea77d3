//! What threads share.

use std::collections::VecDeque;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use shuttle::sync::atomic;
pub use std::sync::{Arc, LockResult, PoisonError, TryLockError, TryLockResult, Weak};

pub use crate::once::OnceLock;
use crate::run::{self, Waiter, Woken};

/// As [`std::sync::Mutex`], without poisoning.
#[derive(Default)]
pub struct Mutex<T> {
    inner: shuttle::sync::Mutex<T>,
    is_locked: AtomicBool,
}

/// As [`std::sync::MutexGuard`].
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    /// Taken by a wait of a [`Condvar`] alone.
    inner: Option<shuttle::sync::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Mutex<T> {
        Mutex {
            inner: shuttle::sync::Mutex::new(value),
            is_locked: AtomicBool::new(false),
        }
    }

    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(self.guard(inner))
    }

    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        match self.inner.try_lock() {
            Ok(inner) => Ok(self.guard(inner)),
            Err(TryLockError::Poisoned(error)) => Ok(self.guard(error.into_inner())),
            Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
        }
    }

    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        Ok(self.inner.get_mut().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a thread has locked it. No other thread goes on here.
    pub(crate) fn is_locked(&self) -> bool {
        self.is_locked.load(Ordering::Relaxed)
    }

    fn guard<'a>(&'a self, inner: shuttle::sync::MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.is_locked.store(true, Ordering::Relaxed);
        MutexGuard {
            mutex: self,
            inner: Some(inner),
        }
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").finish_non_exhaustive()
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.inner.as_ref().expect("only a wait takes it")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.inner.as_mut().expect("only a wait takes it")
    }
}

impl<T> MutexGuard<'_, T> {
    fn unlock(&mut self) {
        if let Some(inner) = self.inner.take() {
            drop(inner);
            self.mutex.is_locked.store(false, Ordering::Relaxed);
        }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.unlock();
    }
}

/// As [`std::sync::Condvar`].
#[derive(Debug, Default)]
pub struct Condvar {
    /// Never locked while another thread may go on.
    waiters: std::sync::Mutex<VecDeque<Arc<Waiter>>>,
}

/// As [`std::sync::WaitTimeoutResult`].
#[derive(Clone, Copy, Debug)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    #[must_use]
    pub const fn new() -> Condvar {
        Condvar {
            waiters: std::sync::Mutex::new(VecDeque::new()),
        }
    }

    fn waiters(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Waiter>>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let (guard, woken) = self.wait_until(guard, run::deadline(timeout));
        Ok((guard, WaitTimeoutResult(woken == Woken::ByTime)))
    }

    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        Ok(self.wait_until(guard, None).0)
    }

    fn wait_until<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        until: Option<Duration>,
    ) -> (MutexGuard<'a, T>, Woken) {
        let mutex = guard.mutex;
        let waiter = Waiter::of_this_thread();
        self.waiters().push_back(waiter.clone());
        guard.unlock();
        let woken = waiter.wait(until);
        self.waiters().retain(|other| !Arc::ptr_eq(other, &waiter));
        let guard = mutex.lock().unwrap_or_else(PoisonError::into_inner);
        (guard, woken)
    }

    /// Wakes the one that waits longest.
    pub fn notify_one(&self) {
        run::step();
        while let Some(waiter) = { self.waiters().pop_front() } {
            if waiter.wake(Woken::ByThread) {
                return;
            }
        }
    }

    pub fn notify_all(&self) {
        run::step();
        let waiters = std::mem::take(&mut *self.waiters());
        for waiter in waiters {
            waiter.wake(Woken::ByThread);
        }
    }
}

pub mod mpsc {
    //! As [`std::sync::mpsc`].

    use std::collections::VecDeque;
    use std::fmt;
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
    use std::time::Duration;

    pub use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError};

    use crate::run::{self, Waiter, Woken};

    struct Queue<T> {
        values: VecDeque<T>,
        senders: usize,
        has_receiver: bool,
        receiving: Option<Arc<Waiter>>,
    }

    struct Channel<T> {
        /// Never locked while another thread may go on.
        queue: Mutex<Queue<T>>,
        /// As in std, whatever reads or writes `receiving` has this mutex: a child that is forked meanwhile never
        /// gets it.
        registration: super::Mutex<()>,
    }

    type Shared<T> = Arc<Channel<T>>;

    impl<T> Channel<T> {
        fn queue(&self) -> MutexGuard<'_, Queue<T>> {
            self.queue.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn register(&self, receiving: Option<Arc<Waiter>>) {
            let _locked = self.registration.lock();
            run::step();
            self.queue().receiving = receiving;
        }

        fn wake_receiver(&self) {
            let _locked = self.registration.lock();
            let receiving = self.queue().receiving.take();
            if let Some(waiter) = receiving {
                waiter.wake(Woken::ByThread);
            }
        }
    }

    pub struct Sender<T>(Shared<T>);

    impl<T> fmt::Debug for Sender<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Sender").finish_non_exhaustive()
        }
    }

    pub struct Receiver<T>(Shared<T>);

    #[must_use]
    pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
        let queue = Mutex::new(Queue {
            values: VecDeque::new(),
            senders: 1,
            has_receiver: true,
            receiving: None,
        });
        let shared = Arc::new(Channel {
            queue,
            registration: super::Mutex::new(()),
        });
        (Sender(shared.clone()), Receiver(shared))
    }

    impl<T> Sender<T> {
        pub fn send(&self, value: T) -> Result<(), SendError<T>> {
            run::step();
            let mut queue = self.0.queue();
            if !queue.has_receiver {
                return Err(SendError(value));
            }
            queue.values.push_back(value);
            let is_awaited = queue.receiving.is_some();
            drop(queue);
            if is_awaited {
                self.0.wake_receiver();
            }
            Ok(())
        }
    }

    impl<T> Clone for Sender<T> {
        fn clone(&self) -> Sender<T> {
            self.0.queue().senders += 1;
            Sender(self.0.clone())
        }
    }

    impl<T> Drop for Sender<T> {
        fn drop(&mut self) {
            run::step();
            let mut queue = self.0.queue();
            queue.senders -= 1;
            let is_last = queue.senders == 0;
            drop(queue);
            if is_last {
                self.0.wake_receiver();
            }
        }
    }

    impl<T> Receiver<T> {
        pub fn recv(&self) -> Result<T, RecvError> {
            self.recv_until(None).map_err(|_| RecvError)
        }

        pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
            self.recv_until(run::deadline(timeout))
        }

        fn recv_until(&self, until: Option<Duration>) -> Result<T, RecvTimeoutError> {
            loop {
                if let Some(ended) = self.take()? {
                    return Ok(ended);
                }
                let waiter = Waiter::of_this_thread();
                self.0.register(Some(waiter.clone()));
                // A value that came before the registration woke no thread.
                if let Some(ended) = self.take()? {
                    self.0.register(None);
                    return Ok(ended);
                }
                if waiter.wait(until) == Woken::ByTime {
                    self.0.register(None);
                    return Err(RecvTimeoutError::Timeout);
                }
            }
        }

        /// `None` if there is no value yet.
        fn take(&self) -> Result<Option<T>, RecvTimeoutError> {
            match self.try_recv() {
                Ok(value) => Ok(Some(value)),
                Err(TryRecvError::Empty) => Ok(None),
                Err(TryRecvError::Disconnected) => Err(RecvTimeoutError::Disconnected),
            }
        }

        pub fn try_recv(&self) -> Result<T, TryRecvError> {
            run::step();
            let mut queue = self.0.queue();
            match queue.values.pop_front() {
                Some(value) => Ok(value),
                None if queue.senders == 0 => Err(TryRecvError::Disconnected),
                None => Err(TryRecvError::Empty),
            }
        }
    }

    impl<T> IntoIterator for Receiver<T> {
        type Item = T;
        type IntoIter = IntoIter<T>;

        fn into_iter(self) -> IntoIter<T> {
            IntoIter(self)
        }
    }

    pub struct IntoIter<T>(Receiver<T>);

    impl<T> Iterator for IntoIter<T> {
        type Item = T;

        fn next(&mut self) -> Option<T> {
            self.0.recv().ok()
        }
    }

    impl<T> Drop for Receiver<T> {
        fn drop(&mut self) {
            run::step();
            let values = {
                let mut queue = self.0.queue();
                queue.has_receiver = false;
                std::mem::take(&mut queue.values)
            };
            drop(values);
        }
    }
}
