//! The runs of a test: its schedules, its clock, its forks and its limits.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Duration;

use shuttle::rand::{Rng, RngCore};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Schedule, Scheduler, Task, TaskId};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};
use shuttle_engine::runtime::execution::ExecutionState;

/// How the schedules of a test are searched.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    schedules: usize,
    time_passes: TimePasses,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TimePasses {
    WhenAllWait,
    AtAnyMoment,
}

/// The schedules of each kind for one test: random ones, and those of PCT, which change the priorities of
/// threads a few times. `RVLF_SCHEDULES=N` sets their number.
fn schedules() -> usize {
    let asked = std::env::var("RVLF_SCHEDULES").ok();
    asked.and_then(|asked| asked.parse().ok()).unwrap_or(250)
}

/// Far more than a run needs whose threads do not keep each other busy.
const MOST_STEPS: usize = 100_000;

/// How often PCT changes the priorities in one schedule: a fault that needs more changes is rare.
const CHANGES: usize = 3;

/// A search in which time passes only when all threads wait: what is late then is late by a fault.
#[must_use]
pub fn search() -> Search {
    Search {
        schedules: schedules(),
        time_passes: TimePasses::WhenAllWait,
    }
}

impl Search {
    /// Time may pass at any moment, as on a machine that is slow.
    #[must_use]
    pub fn with_slow_threads(self) -> Search {
        Search {
            time_passes: TimePasses::AtAnyMoment,
            ..self
        }
    }

    /// Runs `test` in schedules of both kinds.
    ///
    /// # Panics
    ///
    /// If `test` or one of its threads panics, if threads wait that nothing wakes, or if a child of
    /// [`fork`] fails.
    pub fn run(self, test: impl Fn() + Send + Sync + 'static) {
        let test = Arc::new(test);
        let random = test.clone();
        self.run_with(RandomScheduler::new(self.schedules), move || random());
        self.run_with(PctScheduler::new(CHANGES, self.schedules), move || test());
    }

    fn run_with(
        self,
        scheduler: impl Scheduler + 'static,
        test: impl Fn() + Send + Sync + 'static,
    ) {
        // The statics of the library are shared by all tests of the process.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let mut config = Config::new();
        config.stack_size = 1 << 18;
        config.silence_warnings = true;
        config.max_steps = MaxSteps::FailAfter(MOST_STEPS);
        // The seed is printed.
        config.failure_persistence = FailurePersistence::None;
        let runner = Runner::new(Timed(scheduler), config);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            runner.run(move || {
                begin(self);
                thread_body(&test);
            })
        }));
        if with(|run| run.is_child) {
            // The child's harness is a copy of the parent's, and must not go on.
            exit_child(false);
        }
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
    }
}

/// One run of a test under one schedule.
struct Run {
    number: u64,
    search: Option<Search>,
    now: Duration,
    /// Those who wait until a time.
    timers: BTreeMap<(Duration, u64), Sleeper>,
    last_timer: u64,
    /// How often the clock has run although a thread could go on.
    early_ticks: u32,
    /// Those who wait in a system call, and look again when all others wait.
    in_calls: Vec<Arc<Waiter>>,
    /// Threads that have not ended; the clock and daemons are none of them.
    threads: usize,
    most_threads: usize,
    clock: Option<TaskId>,
    clock_ran: bool,
    /// Whether the clock wakes those whose time has come. They all go on at once, in any order.
    clock_wakes: bool,
    all_wait: bool,
    /// In a forked child: the thread that forked, and the first of those that came after the fork.
    survivors: Option<(TaskId, usize)>,
    is_child: bool,
}

thread_local! {
    static RUN: RefCell<Run> = const { RefCell::new(Run {
        number: 0,
        search: None,
        now: Duration::ZERO,
        timers: BTreeMap::new(),
        last_timer: 0,
        early_ticks: 0,
        in_calls: Vec::new(),
        threads: 0,
        most_threads: usize::MAX,
        clock: None,
        clock_ran: false,
        clock_wakes: false,
        all_wait: false,
        survivors: None,
        is_child: false,
    }) };
}

fn with<T>(act: impl FnOnce(&mut Run) -> T) -> T {
    RUN.with_borrow_mut(act)
}

fn begin(search: Search) {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    with(|run| {
        run.number = NUMBER.fetch_add(1, Ordering::Relaxed);
        run.search = Some(search);
        run.now = Duration::ZERO;
        run.timers.clear();
        run.in_calls.clear();
        run.threads = 1;
        run.early_ticks = 0;
        run.most_threads = usize::MAX;
        run.clock = None;
        run.clock_wakes = false;
    });
    let clock = shuttle::thread::spawn(tick);
    let id = usize::from(clock.thread().id());
    with(|run| run.clock = Some(TaskId::from(id)));
}

/// The number of this run, which no other one has.
#[must_use]
pub fn number() -> u64 {
    with(|run| run.number)
}

/// The time that has passed in this run.
#[must_use]
pub fn now() -> Duration {
    with(|run| run.now)
}

/// The clocks of the machine at the first call, and the virtual time since.
pub fn clocks<const N: usize>(machine: impl FnOnce() -> [Duration; N]) -> [Duration; N] {
    static FIRST: OnceLock<Vec<Duration>> = OnceLock::new();
    let first = FIRST.get_or_init(|| machine().to_vec());
    std::array::from_fn(|clock| {
        first
            .get(clock)
            .map_or(Duration::ZERO, |first| *first + now())
    })
}

/// From now on `most` threads can run at a time, the first one of the test included.
pub fn limit_threads(most: usize) {
    with(|run| run.most_threads = most);
}

pub(crate) fn can_start_thread() -> bool {
    with(|run| run.threads < run.most_threads)
}

/// Counts a thread, which is not yet started.
pub(crate) fn count_thread() {
    with(|run| run.threads += 1);
}

/// What a counted thread does.
pub(crate) fn thread_body<T>(body: impl FnOnce() -> T) -> T {
    struct Ended;
    impl Drop for Ended {
        fn drop(&mut self) {
            with(|run| run.threads -= 1);
        }
    }
    let _ended = Ended;
    body()
}

/// The calling thread, as one for which the run does not wait: it ends with the last of the others.
pub(crate) struct Daemon(());

impl Daemon {
    pub(crate) fn new() -> Daemon {
        let me = TaskId::from(usize::from(shuttle::thread::current().id()));
        ExecutionState::with(|state| state.detach(me));
        with(|run| run.threads -= 1);
        Daemon(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        with(|run| run.threads += 1);
    }
}

/// A random number of this schedule.
#[must_use]
pub fn random() -> u64 {
    shuttle::rand::thread_rng().next_u64()
}

/// A place where another thread may go on.
pub fn step() {
    // Destructors of a run that has failed run without a scheduler.
    if !std::thread::panicking() {
        shuttle::thread::sleep(Duration::ZERO);
    }
}

// ---------------------------------------------------------------- waiting

/// Why a wait has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    ByThread,
    ByTime,
}

/// A thread that waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    thread: shuttle::thread::Thread,
    woken: Cell<Option<Woken>>,
}

// SAFETY: one thread of the operating system runs all threads of a run.
#[allow(unsafe_code, reason = "a cell that one thread uses")]
unsafe impl Send for Waiter {}
// SAFETY: as above.
#[allow(unsafe_code, reason = "a cell that one thread uses")]
unsafe impl Sync for Waiter {}

impl Waiter {
    pub(crate) fn of_this_thread() -> Arc<Waiter> {
        Arc::new(Waiter {
            thread: shuttle::thread::current(),
            woken: Cell::new(None),
        })
    }

    /// False if the wait has ended already.
    pub(crate) fn wake(&self, by: Woken) -> bool {
        if self.woken.get().is_some() {
            return false;
        }
        self.woken.set(Some(by));
        self.thread.unpark();
        true
    }

    /// Waits until [`wake`](Waiter::wake), or until the time `until`.
    pub(crate) fn wait(self: &Arc<Waiter>, until: Option<Duration>) -> Woken {
        let timer =
            until.map(|until| with(|run| run.add_timer(until, Sleeper::Thread(self.clone()))));
        let woken = loop {
            match self.woken.get() {
                Some(woken) => break woken,
                None => shuttle::thread::park(),
            }
        };
        if let Some(timer) = timer {
            with(|run| run.timers.remove(&timer));
        }
        woken
    }
}

/// A thread or a future that waits until a time.
enum Sleeper {
    Thread(Arc<Waiter>),
    Future(Waker),
}

impl Sleeper {
    fn wake(self) {
        match self {
            Sleeper::Thread(waiter) => drop(waiter.wake(Woken::ByTime)),
            Sleeper::Future(waker) => waker.wake(),
        }
    }
}

/// Wakes a future at a time, unless it is dropped before.
#[derive(Debug)]
pub(crate) struct Timer((Duration, u64));

impl Timer {
    pub(crate) fn new(until: Duration, waker: Waker) -> Timer {
        Timer(with(|run| run.add_timer(until, Sleeper::Future(waker))))
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let dropped = with(|run| run.timers.remove(&self.0));
        drop(dropped);
    }
}

/// The end of a wait that begins now. A wait of centuries has none.
pub(crate) fn deadline(timeout: Duration) -> Option<Duration> {
    now().checked_add(timeout)
}

/// Makes a call that waits for `timeout` at most. `call` is made with no timeout at all, again and again,
/// until its answer `is_ready` or the time is over.
pub fn sleep_in_call<T>(
    timeout: Duration,
    mut call: impl FnMut(Duration) -> T,
    is_ready: impl Fn(&T) -> bool,
) -> T {
    let until = deadline(timeout);
    loop {
        step();
        let answer = call(Duration::ZERO);
        if is_ready(&answer) || until.is_some_and(|until| until <= now()) {
            return answer;
        }
        let waiter = Waiter::of_this_thread();
        with(|run| run.in_calls.push(waiter.clone()));
        waiter.wait(until);
        with(|run| run.in_calls.retain(|other| !Arc::ptr_eq(other, &waiter)));
    }
}

// ---------------------------------------------------------------- the clock

impl Run {
    fn add_timer(&mut self, until: Duration, sleeper: Sleeper) -> (Duration, u64) {
        self.last_timer += 1;
        self.timers.insert((until, self.last_timer), sleeper);
        (until, self.last_timer)
    }

    fn time_passes_at_any_moment(&self) -> bool {
        let at_any_moment = |search: Search| search.time_passes == TimePasses::AtAnyMoment;
        self.search.is_some_and(at_any_moment)
    }

    /// Whether the clock may run although a thread could go on.
    fn may_tick_early(&self) -> bool {
        let is_due = !self.in_calls.is_empty() || self.time_passes_at_any_moment();
        is_due && !self.clock_ran && self.early_ticks < MOST_EARLY_TICKS
    }

    fn may_run(&self, task: &Task) -> bool {
        let survives = |(forked, first): (TaskId, usize)| {
            task.id() == forked || usize::from(task.id()) >= first || Some(task.id()) == self.clock
        };
        task.runnable() && self.survivors.is_none_or(survives)
    }
}

/// Without a limit a thread that has work every millisecond, or that looks at every tick, would always be at
/// work, and a scheduler may prefer that thread to all others.
const MOST_EARLY_TICKS: u32 = 100;

/// The thread of the clock. Ends with the last thread of the run.
fn tick() {
    let mut looked = false;
    loop {
        shuttle::thread::sleep(Duration::ZERO);
        let (ended, all_wait, slow) = with(|run| {
            (
                run.threads == 0,
                run.all_wait,
                run.time_passes_at_any_moment(),
            )
        });
        if ended {
            return;
        }
        let in_calls = with(|run| std::mem::take(&mut run.in_calls));
        let have_looked = all_wait && looked;
        if !in_calls.is_empty() && !have_looked {
            // What a system call waits for is reported before time passes.
            looked = all_wait;
            for waiter in in_calls {
                waiter.wake(Woken::ByThread);
            }
            continue;
        }
        with(|run| run.in_calls = in_calls);
        looked = false;
        if all_wait || slow && shuttle::rand::thread_rng().gen_ratio(1, 8) {
            pass_time(all_wait);
        }
    }
}

/// Until the first time for which a thread waits.
fn pass_time(all_wait: bool) {
    let first = with(|run| {
        let (at, _) = *run.timers.first_key_value()?.0;
        run.now = run.now.max(at);
        let later = run.timers.split_off(&(run.now, u64::MAX));
        Some(std::mem::replace(&mut run.timers, later))
    });
    match first {
        Some(due) => {
            with(|run| run.clock_wakes = true);
            due.into_values().for_each(Sleeper::wake);
            with(|run| run.clock_wakes = false);
        }
        None if all_wait => panic!("threads wait, and nothing wakes them"),
        None => {}
    }
}

/// A scheduler that keeps the clock behind all threads, and a forked child to the threads that it has.
struct Timed<S>(S);

impl<S: Scheduler> Scheduler for Timed<S> {
    fn new_execution(&mut self) -> Option<Schedule> {
        with(|run| run.clock = None);
        self.0.new_execution()
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        let candidates = with(|run| {
            let mut candidates: Vec<_> = runnable
                .iter()
                .copied()
                .filter(|task| run.may_run(task))
                .collect();
            let is_clock = |task: &&Task| Some(task.id()) == run.clock;
            run.all_wait = candidates.iter().all(is_clock);
            if !run.all_wait && !run.clock_wakes && !run.may_tick_early() {
                candidates.retain(|task| !is_clock(task));
            }
            candidates
        });
        let next = self.0.next_task(&candidates, current, is_yielding);
        with(|run| {
            run.clock_ran = next == run.clock;
            let is_early = run.clock_ran && !run.all_wait && !run.clock_wakes;
            run.early_ticks += u32::from(is_early);
        });
        next
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}

// ---------------------------------------------------------------- fork

/// Forks this process. In the child the calling thread goes on alone: it runs `child`, and the child ends
/// when that returns. The parent waits for the child.
///
/// # Panics
///
/// If the child panics, or waits for what no thread of its own does.
#[cfg(unix)]
#[allow(unsafe_code, reason = "fork(2)")]
pub fn fork(child: impl FnOnce()) {
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    step();
    // SAFETY: all threads of the run are one thread of the operating system, which the child has.
    match unsafe { fork() }.expect("there is room for a process") {
        ForkResult::Child => {
            nix::unistd::alarm::set(60);
            let me = TaskId::from(usize::from(shuttle::thread::current().id()));
            with(|run| {
                run.is_child = true;
                run.survivors = Some((me, usize::MAX));
            });
            let first_new = usize::from(next_id());
            with(|run| run.survivors = Some((me, first_new)));
            let passed = catch_unwind(AssertUnwindSafe(child)).is_ok();
            exit_child(passed);
        }
        ForkResult::Parent { child } => {
            let status = waitpid(child, None).expect("the process is a child of this one");
            assert_eq!(
                status,
                WaitStatus::Exited(child, 0),
                "the forked child failed"
            );
        }
    }
}

/// The id that the next thread gets.
#[cfg(unix)]
fn next_id() -> TaskId {
    // The thread ends at once; its id is the first after the fork.
    let probe = shuttle::thread::spawn(|| {});
    TaskId::from(usize::from(probe.thread().id()))
}

#[allow(unsafe_code, reason = "_exit(2)")]
fn exit_child(passed: bool) -> ! {
    #[cfg(unix)]
    // SAFETY: ends the process without the handlers of the harness, which are the parent's.
    unsafe {
        nix::libc::_exit(i32::from(!passed))
    }
    #[cfg(not(unix))]
    std::process::exit(i32::from(!passed))
}
