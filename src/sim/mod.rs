//! A kernel in memory, and the search over its schedules. Built with `--cfg rvlf_sim` only, for the
//! tests in `tests/schedules`.
//!
//! The shipped protocol runs in this kernel unchanged: simulated contenders execute the same code
//! as on a real kernel. A [`World`] declares the processes and the events that may happen to them.
//! [`World::explore`] tries every interleaving of their calls, [`World::random_walk`] random ones,
//! and [`World::replay`] the one that some bytes describe.
//!
//! A world also declares which faults may happen, and how often: processes are killed, calls fail,
//! clocks are set, machines are suspended or lose power, at any moment. Where a process runs is a
//! [`System`]: a kernel, a pid namespace and a host name.
//!
//! After every step the search checks: there are never two holders; no planted foreign file was
//! changed; no process writes into a file that is not its own; no program panics; no process sleeps
//! on when the lock becomes free. When nothing can happen any more, it checks: no process waits
//! indefinitely; no more files are left than crashes and faults explain; a process that comes later
//! succeeds ([`World::finally`]).
//!
//! Where the processes of a world use an allocation table ([`World::with_table`]), all of them claim the
//! same paths to write, so that there are never two holders there either. The search also checks that the
//! table at the path is whole and names every holder, after a loss of power those that held until then.
//!
//! This is the top of the crate: it imports the lock and the protocol, and no other file imports
//! it.

mod call;
mod chooser;
mod contender;
mod deployed;
mod explorer;
mod fingerprint;
mod histories;
mod kernel;
mod process;
mod promises;
mod report;
mod script;
mod shared;
mod sim_sys;
mod state;
mod step;
mod table;
#[cfg(test)]
mod tests;
mod transitions;
mod windows_sys;
mod world;

pub use self::call::Fork;
pub use self::contender::SimLock;
pub use self::deployed::DeployedLock;
pub use self::kernel::System;
pub use self::process::SimSys;
pub use self::report::{Report, Violation};
pub use self::sim_sys::{SimDir, SimFile, SimWatch};
pub use self::table::SimAllocation;
pub use self::world::World;
pub use crate::sys::hooks::Safeguard;

/// The data file of every world. Not relative to a working directory: its directory may be replaced.
const DATA_FILE: &str = "/d";

/// The lock path of the data file.
const LOCK: &str = "d.lock";

/// The allocation table of a world that has one, in the same directory.
const TABLE: &str = "t.json";

/// A table that is complete, or not yet, and does not have the name yet.
const NEW_TABLE: &str = ".t.json.rvlf-new";

/// What processes lock instead of the table, off local file systems.
const TABLE_LOCK: &str = ".t.json.rvlf-lock";

/// A program that makes this many private calls in a row is in an endless loop.
const SPIN_LIMIT: usize = 10_000;
