//! A running command, and all that it has started, in a job that ends them if the lock is lost or if this
//! process is killed.

use std::io;
use std::process::{Child, ExitStatus};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rvlf::process::Job;

use crate::events::{Event, EventSource, Events};
use crate::loss::Loss;
use crate::{exit, messages, thread};

/// How often a job that is ending is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

pub struct Supervisor {
    job: Job,
    /// Before [`wait`](Supervisor::wait).
    child: Option<Child>,
    /// Ends with the command.
    waiter: Option<JoinHandle<io::Result<ExitStatus>>>,
    /// The exit status of the command, once it has ended.
    status: Option<i32>,
    /// Whether to end the command if the lock is lost.
    kills_on_loss: bool,
    has_reported_loss: bool,
    is_ending: bool,
}

impl Supervisor {
    /// Supervises `child`, which is in `job`.
    pub fn new(job: Job, child: Child, kills_on_loss: bool) -> Supervisor {
        Supervisor {
            job,
            child: Some(child),
            waiter: None,
            status: None,
            kills_on_loss,
            has_reported_loss: false,
            is_ending: false,
        }
    }

    /// Returns the exit status of the command when it has ended, and after a loss when all that it has
    /// started has ended.
    ///
    /// # Errors
    ///
    /// The command cannot be waited for. It has been ended then.
    pub fn wait(&mut self, source: &mut impl EventSource) -> io::Result<i32> {
        if let Err(error) = self.start_waiter(source.events()) {
            self.job.terminate(exit::RVLF_FAILED.into())?;
            return Err(error);
        }
        loop {
            match self.status {
                Some(status) if !self.is_ending || self.job.is_empty()? => return Ok(status),
                _ => {}
            }
            let deadline = self.is_ending.then(|| Instant::now() + INTERVAL);
            match source.next_before(deadline) {
                Some(Event::Child) => self.reap()?,
                Some(Event::Lost(loss)) => self.act_on_loss(&loss)?,
                // The console has sent a Ctrl-C to the command as well.
                Some(Event::Signal(_) | Event::WorkDone | Event::Seen(_)) | None => {}
            }
        }
    }

    /// The processes that the command has started and that still run do not end with this one: the command
    /// has ended.
    pub fn dismiss_guardian(&mut self) {
        if self.is_ending {
            return;
        }
        if let Err(error) = self.job.let_live() {
            messages::print(format_args!(
                "cannot let what the command has started run on: {error}"
            ));
        }
    }

    /// The release after the command's end has found a loss: ends what the command has started.
    ///
    /// # Errors
    ///
    /// The processes cannot be ended.
    pub fn end_after_loss(&mut self, loss: &Loss, source: &mut impl EventSource) -> io::Result<()> {
        // The event of the same loss may have been first.
        if !self.has_reported_loss {
            self.act_on_loss(loss)?;
        }
        self.wait(source).map(drop)
    }

    /// Starts the thread that waits for the command's end, if it does not run.
    fn start_waiter(&mut self, events: &Events) -> io::Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let sender = events.sender();
        self.waiter = Some(thread::spawn("rvlf-command", move || {
            let ended = child.wait();
            // Fails if the main thread does not wait for events any more.
            sender.send(Event::Child);
            ended
        })?);
        Ok(())
    }

    fn reap(&mut self) -> io::Result<()> {
        if let Some(waiter) = self.waiter.take() {
            let ended = waiter.join().expect("the thread does not panic")?;
            self.status = Some(ended.code().unwrap_or(exit::RVLF_FAILED.into()));
        }
        Ok(())
    }

    /// The end of the processes comes first: it must not wait for a message.
    fn act_on_loss(&mut self, loss: &Loss) -> io::Result<()> {
        // Windows has no signal that asks a process to end: nothing waits for the moment of SIGKILL.
        let Loss {
            message,
            kill_at: _at_once,
        } = loss;
        self.has_reported_loss = true;
        if !self.kills_on_loss || self.is_ending {
            messages::print(message);
            return Ok(());
        }
        self.is_ending = true;
        let ended = self.job.terminate(exit::RVLF_FAILED.into());
        messages::print(message);
        messages::print(match self.status {
            None => "ending the command and what it has started",
            Some(_) => "ending what the command has started",
        });
        ended
    }
}

/// Windows has no orphans to reap.
///
/// # Errors
///
/// None.
pub fn reap_orphans() -> io::Result<()> {
    Ok(())
}
