//! As [`tokio::runtime`]: futures that one thread runs.
//!
//! Which of the futures that are ready is polled next is up to the schedule, where tokio takes the first. The
//! channels of tokio need no counterpart: each of their operations is one step.
//!
//! [`tokio::runtime`]: https://docs.rs/tokio/latest/tokio/runtime

use std::collections::HashMap;
use std::io;
use std::mem::ManuallyDrop;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use tokio::sync::oneshot;

use crate::run::{self, Daemon, Waiter, Woken};

/// As [`tokio::task::JoinHandle`](https://docs.rs/tokio/latest/tokio/task/struct.JoinHandle.html). A panic of
/// the future is one of the run.
pub type JoinHandle<T> = oneshot::Receiver<T>;

/// As `tokio::runtime::Builder`.
#[derive(Debug)]
pub struct Builder(());

impl Builder {
    #[must_use]
    pub fn new_current_thread() -> Builder {
        Builder(())
    }

    pub fn enable_all(&mut self) -> &mut Builder {
        self
    }

    pub fn build(&mut self) -> io::Result<Runtime> {
        Ok(Runtime(Handle::default()))
    }
}

/// As `tokio::runtime::Runtime`.
#[derive(Debug)]
pub struct Runtime(Handle);

impl Runtime {
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.0
    }

    /// Runs all futures until this one is ready. The run does not wait for that: where all other threads have
    /// ended, so has the process.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let _daemon = Daemon::new();
        let tasks = &self.0.0;
        let waker = Waker::from(tasks.clone());
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            run::step();
            match tasks.take_ready() {
                Some((number, task)) => tasks.poll(number, task),
                None => tasks.wait(),
            }
        }
    }
}

/// As `tokio::runtime::Handle`.
#[derive(Clone, Default)]
pub struct Handle(Arc<Tasks>);

impl Handle {
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (done, output) = oneshot::channel();
        self.0.add(Box::pin(async move {
            let _ = done.send(future.await);
        }));
        output
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The futures of a runtime.
#[derive(Default)]
struct Tasks(Mutex<State>);

#[derive(Default)]
struct State {
    last: u64,
    /// Those that are polled now are not among them.
    tasks: HashMap<u64, Task>,
    ready: Vec<u64>,
    /// Whether the future of `block_on` was woken.
    is_woken: bool,
    waiting: Option<Arc<Waiter>>,
}

impl Tasks {
    /// Never locked while another thread may go on.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(self: &Arc<Tasks>, task: Task) {
        let mut state = self.state();
        state.last += 1;
        let number = state.last;
        state.tasks.insert(number, task);
        drop(state);
        self.ready(number);
    }

    fn ready(&self, number: u64) {
        let mut state = self.state();
        if !state.ready.contains(&number) {
            state.ready.push(number);
        }
        Tasks::wake_thread(state);
    }

    fn wake_thread(mut state: MutexGuard<'_, State>) {
        let waiting = state.waiting.take();
        drop(state);
        if let Some(waiter) = waiting {
            waiter.wake(Woken::ByThread);
        }
    }

    fn take_ready(&self) -> Option<(u64, Task)> {
        let mut state = self.state();
        while !state.ready.is_empty() {
            let ready = u64::try_from(state.ready.len()).expect("it is a small number");
            let at = usize::try_from(run::random() % ready).expect("it is less than a length");
            let number = state.ready.swap_remove(at);
            // It may have ended since it was woken.
            if let Some(task) = state.tasks.remove(&number) {
                return Some((number, task));
            }
        }
        None
    }

    fn poll(self: &Arc<Tasks>, number: u64, task: Task) {
        let tasks = self.clone();
        let waker = Waker::from(Arc::new(TaskWaker { tasks, number }));
        // Where the process ends now, no destructor runs.
        let mut task = ManuallyDrop::new(task);
        match task.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(()) => drop(ManuallyDrop::into_inner(task)),
            Poll::Pending => {
                let mut state = self.state();
                state.tasks.insert(number, ManuallyDrop::into_inner(task));
            }
        }
    }

    /// Until a future is woken.
    fn wait(&self) {
        let mut state = self.state();
        if std::mem::take(&mut state.is_woken) || !state.ready.is_empty() {
            return;
        }
        let waiter = Waiter::of_this_thread();
        state.waiting = Some(waiter.clone());
        drop(state);
        waiter.wait(None);
    }
}

/// Wakes the future of `block_on`.
impl Wake for Tasks {
    fn wake(self: Arc<Tasks>) {
        let mut state = self.state();
        state.is_woken = true;
        Tasks::wake_thread(state);
    }
}

struct TaskWaker {
    tasks: Arc<Tasks>,
    number: u64,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<TaskWaker>) {
        self.tasks.ready(self.number);
    }
}

pub mod time {
    //! As `tokio::time`, in virtual time.

    use std::future::poll_fn;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll};
    use std::time::Duration;

    use crate::run::{self, Timer};

    /// As `tokio::time::error::Elapsed`.
    #[derive(Debug)]
    pub struct Elapsed(());

    /// As `tokio::time::Sleep`.
    #[derive(Debug)]
    pub struct Sleep {
        until: Option<Duration>,
        timer: Option<Timer>,
    }

    /// As `tokio::time::sleep`.
    #[must_use]
    pub fn sleep(time: Duration) -> Sleep {
        Sleep {
            until: run::deadline(time),
            timer: None,
        }
    }

    impl Future for Sleep {
        type Output = ();

        fn poll(mut self: Pin<&mut Sleep>, context: &mut Context<'_>) -> Poll<()> {
            self.timer = None;
            if self.until.is_some_and(|until| until <= run::now()) {
                return Poll::Ready(());
            }
            let waker = context.waker();
            self.timer = self.until.map(|until| Timer::new(until, waker.clone()));
            Poll::Pending
        }
    }

    /// As `tokio::time::timeout`.
    pub async fn timeout<F: Future>(time: Duration, future: F) -> Result<F::Output, Elapsed> {
        let (mut future, mut over) = (pin!(future), pin!(sleep(time)));
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => over.as_mut().poll(context).map(|()| Err(Elapsed(()))),
        })
        .await
    }
}
