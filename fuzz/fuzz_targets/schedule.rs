//! Any schedule of a few contenders in a simulated kernel: the first bytes choose the contenders,
//! the kind of system, and the faults that may happen; the other bytes are the schedule.
#![no_main]

use std::panic::resume_unwind;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use rvlf_simulated::sim::{SimLock, SimSys, System, World};
use rvlf_simulated::{AcquireError, HoldError, LossReason};

const LATER: Duration = Duration::from_secs(600);

/// Longer than any program holds the lock, and shorter than the age of 300 s at which a record that
/// no kernel witnesses is dead: a wait until that age is 500 polls, too many for one schedule.
const PATIENCE: Duration = Duration::from_secs(120);

/// Containers of one machine.
const CONTAINERS: [System; 4] = [
    System::HOST,
    System::HOST.in_pid_namespace(1),
    System::HOST.in_pid_namespace(2).named("container"),
    System::HOST.named("renamed"),
];

/// Machines that share a mount.
const MACHINES: [System; 4] = [
    System::HOST,
    System::HOST.on_kernel(1),
    System::HOST.on_kernel(2).named("elsewhere"),
    System::HOST.in_pid_namespace(1),
];

/// Ends a program without calling the panic hook: the fuzzer's hook would end the process before
/// the schedule is printed.
fn fail(message: String) -> ! {
    resume_unwind(Box::new(message))
}

fn hold(os: &SimSys, outcome: Result<SimLock, AcquireError>) {
    match outcome {
        Ok(lock) => {
            os.entered();
            let refreshed = lock.refresh();
            os.left();
            check_is_not_taken(refreshed);
            check_is_not_taken(lock.release());
        }
        Err(AcquireError::Held { .. } | AcquireError::Io { .. }) => {}
        Err(error) => fail(format!("an unexpected error: {error}")),
    }
}

/// Checks that no process took the lock. A holder that no kernel witnesses may give it up by
/// itself.
fn check_is_not_taken(outcome: Result<(), HoldError>) {
    match outcome {
        Err(HoldError::Lost(lost)) if !matches!(lost.reason, LossReason::RefreshFailed) => {
            fail(format!("a live lock was taken: {lost}"))
        }
        _ => {}
    }
}

fn contend(os: &SimSys) {
    hold(os, os.try_acquire());
}

fn wait(os: &SimSys) {
    hold(os, os.acquire(PATIENCE));
}

fn hold_for_a_while(os: &SimSys) {
    let outcome = os.try_acquire();
    if outcome.is_ok() {
        os.sleep(Duration::from_secs(5));
    }
    hold(os, outcome);
}

fn take_a_long_time(os: &SimSys) {
    let outcome = os.acquire(Duration::from_secs(5));
    if outcome.is_ok() {
        os.sleep(Duration::from_secs(100));
    }
    hold(os, outcome);
}

fn come_later(os: &SimSys) {
    if let Err(error) = os.try_acquire() {
        fail(format!("a process that comes later is refused: {error}"));
    }
}

fn world(kind: u8, events: u8) -> (World, [System; 4]) {
    let age = Duration::from_secs(if kind & 0x80 == 0 { 1 } else { 400 });
    let of = |shift: u8| usize::from(events >> shift & 3);
    let world = |world: World| {
        let world = world.crashes(of(0)).clock_steps(of(2));
        world
            .suspensions(of(4))
            .faults(of(6))
            .foreign("notes", b"mine")
    };
    match kind % 6 {
        0 => (world(World::local()), CONTAINERS),
        1 => (world(World::local().dead_lock(age)), CONTAINERS),
        // A record without a stamp is judged by its age, and a clock that is set back hides the
        // age.
        2 => {
            let world = world(World::local().dead_deployed_lock(age));
            (world.clock_steps(0), CONTAINERS)
        }
        3 => (world(World::local().without_unnamed()), CONTAINERS),
        // A holder whose flock failed with ENOLCK is judged by age, and so is a suspended one.
        // Together they could break exclusion: faults and clocks each have a world of their
        // own.
        4 => (world(World::network()).faults(0), MACHINES),
        _ => (
            world(World::network()).clock_steps(0).suspensions(0),
            MACHINES,
        ),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let [kind, events, rest @ ..] = bytes else {
        return;
    };
    let (mut world, systems) = world(*kind, *events);
    let contenders = 1 + usize::from(kind / 6 % 4);
    let Some((choices, schedule)) = rest.split_at_checked(contenders) else {
        return;
    };
    for (choice, name) in choices.iter().zip(["A", "B", "C", "D"]) {
        // Where age decides, a waiter polls a thousand times: too long for a schedule.
        let witnessed = kind % 6 < 4;
        let program = match choice % 4 {
            0 => contend,
            1 if witnessed => wait,
            1 | 2 => hold_for_a_while,
            _ => take_a_long_time,
        };
        let [.., system] = systems;
        let system = systems
            .get(usize::from(choice / 4 % 4))
            .copied()
            .unwrap_or(system);
        let runs = 1 + usize::from(choice / 16 % 3);
        world = world.on(system).process(name, runs, program);
    }
    let outcome = world.finally(LATER, come_later).replay(schedule);
    if let Err(violation) = outcome {
        panic!("{violation}");
    }
});
