//! Starts the command of `rvlf run`.

use std::process::{Child, Command};

use nix::unistd::Pid;
use rvlf::WriterLock;

use super::descendants::{Ticks, adopt_orphans};
use super::gate::Gate;
use super::guardian::Guardian;
use super::sigpipe;
use super::supervisor::Supervisor;
use crate::environment::Environment;
use crate::failure::{cannot_run, failed, failed_to};
use crate::order::Order;

/// What follows where processes that the command has left behind keep the lock.
pub const LEFT_OPEN: &str = "no process refreshes the lock: deployed RVF clients take it after 30 s, and on \
    network file systems other writers after 300 s; to wait for such processes next time: rvlf run \
    --wait-children; to release the lock without them: rvlf run --close";

/// Whether a command can be run so. The error is the reason why not, and what to do.
pub fn check(_order: &Order) -> Result<(), &'static str> {
    Ok(())
}

/// Starts the command, or returns the exit status that says why not.
///
/// Must run on the main thread: the kernel sends the death signal of a child when the thread that started
/// the child ends.
pub fn start(lock: &WriterLock, order: &Order) -> Result<Supervisor, u8> {
    adopt_orphans();
    let since = Ticks::now().map_err(|error| failed(&error))?;
    let kills_on_loss = order.kills_on_loss;
    if order.close {
        let (command, guardian) = start_guarded(lock, order)?;
        return Ok(Supervisor::new(
            &command,
            since,
            Some(guardian),
            kills_on_loss,
        ));
    }
    let mut command = Command::new(order.program);
    command.args(order.arguments);
    let lent = lock.lend_to(&mut command);
    lent.map_err(|error| failed_to("pass the lock to the command", &error))?;
    set_environment(&mut command, &Environment::of_file(lock));
    let child = command.spawn();
    // What the command was to inherit: the release of a lock whose command cannot be started may need it.
    drop(command);
    let child = child.map_err(|error| cannot_run(order.program, &error))?;
    Ok(Supervisor::new(&child, since, None, kills_on_loss))
}

/// Starts the command under a lock that no descriptor keeps: if this process is killed, so is the command,
/// which could not know of the loss. Returns the exit status that says why it cannot be started.
///
/// Must run on the main thread, as [`start`].
#[cfg(feature = "object-store")]
pub fn start_alone(environment: &Environment, order: &Order) -> Result<Supervisor, u8> {
    adopt_orphans();
    let since = Ticks::now().map_err(|error| failed(&error))?;
    let mut command = Command::new(order.program);
    command.args(order.arguments);
    set_environment(&mut command, environment);
    rvlf::process::kill_with_parent(&mut command);
    let child = command.spawn();
    let child = child.map_err(|error| cannot_run(order.program, &error))?;
    Ok(Supervisor::new(&child, since, None, order.kills_on_loss))
}

/// Starts the command without the lock's descriptor, and before it a guardian that has the descriptor.
fn start_guarded(lock: &WriterLock, order: &Order) -> Result<(Child, Guardian), u8> {
    let guard = |error| failed_to("guard the command", &error);
    let mut guardian = Guardian::start(lock).map_err(guard)?;
    let (mut command, gate) = Gate::before(order.program, order.arguments).map_err(guard)?;
    set_environment(&mut command, &Environment::of_file(lock));
    rvlf::process::kill_with_parent(&mut command);
    let mut child = command.spawn().map_err(guard)?;
    // The copy of the gate's other end: a child that ends must be noticed.
    drop(command);
    let pid = Pid::from_raw(child.id() as i32);
    match guardian.guard(pid).and_then(|()| gate.open()) {
        Ok(()) => Ok((child, guardian)),
        Err(error) => {
            // It has executed nothing yet.
            let _ = child.kill();
            let _ = child.wait();
            Err(guard(error))
        }
    }
}

fn set_environment(command: &mut Command, environment: &Environment) {
    environment.set(command);
    sigpipe::pass_on(command);
}
