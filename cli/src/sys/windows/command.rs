//! Starts the command of `rvlf run`.

use std::process::Command;

use rvlf::WriterLock;
use rvlf::process::Job;

use super::supervisor::Supervisor;
use crate::environment::Environment;
use crate::failure::{cannot_run, failed_to};
use crate::order::Order;

/// What follows where processes that the command has left behind keep the lock.
pub const LEFT_OPEN: &str = "no process refreshes the lock, and Windows lets no other writer take it; to wait \
    for such processes next time: rvlf run --wait-children";

/// Whether a command can be run so. The error is the reason why not, and what to do.
pub fn check(order: &Order) -> Result<(), &'static str> {
    const NO_CLOSE: &str = "rvlf run --close does not work on Windows: if rvlf were killed, the lock would \
                            be free before COMMAND has ended; leave --close out";
    match order.close {
        true => Err(NO_CLOSE),
        false => Ok(()),
    }
}

/// Starts the command, or returns the exit status that says why not.
pub fn start(lock: &WriterLock, order: &Order) -> Result<Supervisor, u8> {
    let job = Job::new().map_err(|error| failed_to("make a job object", &error))?;
    let mut command = Command::new(order.program);
    command.args(order.arguments);
    Environment::of_file(lock).set(&mut command);
    let child = lock.lend_during(|| job.spawn(&mut command));
    let child = child.map_err(|error| cannot_run(order.program, &error))?;
    Ok(Supervisor::new(job, child, order.kills_on_loss))
}

/// Starts the command under a lock that no handle keeps, or returns the exit status that says why not. If
/// this process is killed, Windows ends the command.
#[cfg(feature = "object-store")]
pub fn start_alone(environment: &Environment, order: &Order) -> Result<Supervisor, u8> {
    let job = Job::new().map_err(|error| failed_to("make a job object", &error))?;
    let mut command = Command::new(order.program);
    command.args(order.arguments);
    environment.set(&mut command);
    let child = job.spawn(&mut command);
    let child = child.map_err(|error| cannot_run(order.program, &error))?;
    Ok(Supervisor::new(job, child, order.kills_on_loss))
}
