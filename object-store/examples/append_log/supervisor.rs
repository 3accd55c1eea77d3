//! Starts the workers, kills and stops them at random, and ends them all.

use std::fmt;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::Result;
use crate::options::Options;

const TICK: Duration = Duration::from_millis(20);
const FREEZES: u32 = 6;
const FREEZE: Duration = Duration::from_millis(3200);

/// What was done to the workers.
#[derive(Default)]
pub struct Done {
    kills: u32,
    stops: u32,
    self_stops: u32,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Done {
            kills,
            stops,
            self_stops,
        } = self;
        write!(
            f,
            "{kills} killed, {stops} stopped, {self_stops} stopped right before a write"
        )
    }
}

struct Worker {
    number: u32,
    child: Child,
    stopped: Option<Instant>,
}

impl Worker {
    fn start(options: &Options, number: u32) -> Result<Worker> {
        let program = std::env::current_exe()?;
        let child = Command::new(program)
            .args(options.of_worker(number))
            .spawn()?;
        Ok(Worker {
            number,
            child,
            stopped: None,
        })
    }

    fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Whether the process has stopped since the last call.
    fn has_stopped(&self) -> bool {
        let flags = WaitPidFlag::WUNTRACED | WaitPidFlag::WNOHANG;
        let pid = i32::try_from(self.child.id()).map(Pid::from_raw);
        pid.is_ok_and(|pid| matches!(waitpid(pid, Some(flags)), Ok(WaitStatus::Stopped(..))))
    }
}

/// No worker survives the supervisor.
impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn supervise(options: &Options) -> Result<Done> {
    let numbers = 0..options.workers;
    let mut workers = numbers
        .map(|number| Worker::start(options, number))
        .collect::<Result<Vec<_>>>()?;
    let mut done = Done::default();
    let end = Instant::now() + options.time;
    let freezes = options.freeze.map(|server| freeze(server, options.time));
    while Instant::now() < end {
        thread::sleep(TICK);
        continue_stopped(options, &mut workers, &mut done);
        let index = rand::random_range(0..workers.len());
        let Some(worker) = workers.get_mut(index) else {
            continue;
        };
        if worker.stopped.is_none() && happens(options.kills) {
            *worker = Worker::start(options, worker.number)?;
            done.kills += 1;
        } else if worker.stopped.is_none() && happens(options.stops) {
            // Counted when it has stopped, as one that stopped itself.
            worker.signal(Signal::SIGSTOP);
            worker.stopped = Some(Instant::now());
            done.stops += 1;
        }
    }
    if let Some(freezes) = freezes {
        let _ = freezes.join();
    }
    Ok(done)
}

/// Continues what has been stopped for long enough, and notes those that stopped themselves.
fn continue_stopped(options: &Options, workers: &mut [Worker], done: &mut Done) {
    for worker in workers {
        let stops = worker.has_stopped();
        match worker.stopped {
            None if stops => {
                worker.stopped = Some(Instant::now());
                done.self_stops += 1;
            }
            Some(since) if since.elapsed() >= options.pause() => {
                worker.stopped = None;
                worker.signal(Signal::SIGCONT);
            }
            _ => {}
        }
    }
}

/// Whether an event of this many a second happens in this tick.
fn happens(a_second: f64) -> bool {
    rand::random::<f64>() < a_second * TICK.as_secs_f64()
}

/// Stops a server for a while, again and again. Its buffers keep what it is sent meanwhile.
fn freeze(server: i32, time: Duration) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let server = Pid::from_raw(server);
        let pause = (time / FREEZES).saturating_sub(FREEZE);
        for _ in 0..FREEZES {
            thread::sleep(pause);
            let _ = kill(server, Signal::SIGSTOP);
            thread::sleep(FREEZE);
            let _ = kill(server, Signal::SIGCONT);
        }
    })
}
