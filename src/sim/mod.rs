//! A kernel in memory, and the search over its schedules. No stability promise.
//!
//! The shipped protocol runs in it unchanged: whatever its contenders do here, they do it by the
//! same code as on a real kernel. A [`World`] says who is there and what may happen to them;
//! [`World::explore`] tries every interleaving of their calls, [`World::walk`] random ones, and
//! [`World::follow`] the one that bytes say.
//!
//! A world says what may go wrong, and how often: processes are killed, calls fail, clocks are set,
//! machines suspended or robbed of power, at any moment. Where processes run is a [`System`]: a kernel, a
//! pid namespace and a host name.
//!
//! What is checked after every step: never two holders; no planted foreign file is touched; nobody
//! writes into a file that is not its own; no program panics; nobody sleeps on when the lock becomes
//! free. When nothing can happen any more: nobody waits for ever; no more files are left than crashes
//! and faults explain; whoever comes later succeeds ([`World::finally`]).

mod call;
mod chooser;
mod contender;
mod deployed;
mod explorer;
mod fingerprint;
mod kernel;
mod process;
mod step;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

pub use self::call::Fork;
use self::call::Name;
pub use self::contender::SimLock;
pub use self::deployed::DeployedLock;
use self::explorer::Explorer;
pub use self::explorer::{Report, Violation};
pub use self::kernel::System;
use self::kernel::{Kernel, Mishaps, Reach, Rules};
use self::process::Program;
pub use self::process::{SimDir, SimFile, SimSys, SimWatch};
use crate::judge::FileSystem;
use crate::protocol::SETTLE;
pub use crate::sys::hooks::Safeguard;

/// The data file that every world is about.
const RESOURCE: &str = "d";

/// Its lock path.
const LOCK: &str = "d.lock";

/// Who is there, on what kind of system, and what may happen to them.
pub struct World {
    rules: Rules,
    kernel: Kernel,
    contenders: Vec<Contender>,
    mishaps: Mishaps,
    /// Where the processes run that are added next.
    system: System,
    foreign: Vec<(Name, Vec<u8>)>,
    /// Names that may be there in the end.
    expected: Vec<Name>,
    finally: Option<(Duration, Program)>,
}

struct Contender {
    name: String,
    system: System,
    program: Program,
    rounds: usize,
}

impl World {
    /// A local file system with everything that Linux has, and nobody there.
    #[must_use]
    pub fn local() -> World {
        World {
            rules: Rules {
                file_system: FileSystem::Local,
                unnamed: true,
                links: true,
                flock: Reach::Everybody,
                exclusive_lies: false,
                removed_is_forgotten: false,
                noreplace: true,
                disabled: BTreeSet::new(),
                coarse: false,
                grain: kernel::GRAIN,
                every_history: false,
                rewrites: false,
            },
            kernel: Kernel::new(),
            contenders: Vec::new(),
            system: System::HOST,
            mishaps: Mishaps::default(),
            foreign: Vec::new(),
            expected: vec![OsStr::new(LOCK).into()],
            finally: None,
        }
    }

    /// A network mount: no files without a name, and several kernels may be there, all of which hear
    /// of a flock.
    #[must_use]
    pub fn network() -> World {
        let mut world = World::local().without_unnamed();
        world.rules.file_system = FileSystem::NotLocal;
        world
    }

    /// A flock is known to its own kernel alone.
    #[must_use]
    pub fn flock_not_shared(mut self) -> World {
        self.rules.flock = Reach::Kernel;
        self
    }

    /// A mount that lets two kernels both create one name (`weed mount`): for a moment the second one does
    /// not see the first one's file, and then its own has the name.
    #[must_use]
    pub fn where_exclusive_create_lies(mut self) -> World {
        self.rules.exclusive_lies = true;
        self.rules.grain = kernel::GRAIN_OF_LIES;
        self
    }

    /// A server that knows no file without a name: who has it open hears ESTALE, as on NFS.
    #[must_use]
    pub fn where_removed_files_are_forgotten(mut self) -> World {
        self.rules.removed_is_forgotten = true;
        self
    }

    /// A file system without flock.
    #[must_use]
    pub fn without_flock(mut self) -> World {
        self.rules.flock = Reach::Nobody;
        self
    }

    /// Leaves out what rarely matters and costs most, so that more processes can be explored:
    ///
    /// - Sleeps shorter than a second take no time; longer ones end when nobody else can do anything.
    /// - Inode numbers are not given out again while anybody could remember them (as on tmpfs).
    /// - Open files do not tell their link counts.
    /// - Contenders doubt a kernel lock once, not six times, and look at a torn file twice.
    ///
    /// Random schedules, which can afford it, should have all of that.
    #[must_use]
    pub fn coarse(mut self) -> World {
        self.rules.coarse = true;
        self
    }

    /// In a coarse world, lets the settle time pass only when nobody can do anything: everybody is
    /// quicker than those who wait for that.
    #[must_use]
    pub fn quick(mut self) -> World {
        self.rules.grain = SETTLE;
        self
    }

    /// Takes no two histories of a process for one: what loops say of their memory is not believed.
    /// Slow; to show that it may be believed.
    #[must_use]
    pub fn every_history(mut self) -> World {
        self.rules.every_history = true;
        self
    }

    /// Files cannot be made without a name.
    #[must_use]
    pub fn without_unnamed(mut self) -> World {
        self.rules.unnamed = false;
        self
    }

    /// Files can be made without a name, and then be given none: no procfs to name them by, and an old
    /// kernel.
    #[must_use]
    pub fn without_links(mut self) -> World {
        self.rules.links = false;
        self
    }

    /// Disables a safeguard of the protocol.
    #[must_use]
    pub fn without(mut self, safeguard: Safeguard) -> World {
        self.rules.disabled.insert(safeguard);
        self
    }

    /// A file that is there from the beginning, last written `age` ago.
    #[must_use]
    pub fn file(mut self, name: &str, content: &[u8], age: Duration) -> World {
        let name: Name = OsStr::new(name).into();
        self.kernel.plant(&name, content, age);
        self.expected.push(name);
        self
    }

    /// The lock of a process that has died, last refreshed `age` ago.
    #[must_use]
    pub fn dead_lock(self, age: Duration) -> World {
        let record = self.kernel.record_of_the_dead(true, age);
        self.file(LOCK, &record.encode(), age)
    }

    /// The lock of a deployed client that has died, acquired `age` ago.
    #[must_use]
    pub fn dead_deployed_lock(self, age: Duration) -> World {
        let record = self.kernel.record_of_the_dead(false, age);
        self.file(LOCK, &record.encode(), age)
    }

    /// A file that nobody may touch.
    #[must_use]
    pub fn foreign(mut self, name: &str, content: &[u8]) -> World {
        self.foreign
            .push((OsStr::new(name).into(), content.to_vec()));
        self.file(name, content, Duration::from_secs(3600))
    }

    /// Where the processes run that are added from here on.
    #[must_use]
    pub fn on(mut self, system: System) -> World {
        self.system = system;
        self
    }

    /// A process that executes `program` so many times. Nothing is remembered from one round to the
    /// next; when the process is killed, another takes its place with the next round. The first process
    /// has pid 100, the second one 200.
    ///
    /// The program must be a function of what its [`SimSys`] tells it: it is executed many times.
    #[must_use]
    pub fn process(
        mut self,
        name: &str,
        rounds: usize,
        program: impl Fn(&SimSys) + 'static,
    ) -> World {
        let program: Program = Arc::new(program);
        self.contenders.push(Contender {
            name: name.to_owned(),
            system: self.system,
            program,
            rounds,
        });
        self
    }

    /// How many processes are killed, at any moments.
    #[must_use]
    pub fn crashes(mut self, crashes: usize) -> World {
        self.mishaps.crashes = crashes;
        self
    }

    /// How often a wall clock is set, by an hour or ten years, forwards or backwards, at any moments.
    #[must_use]
    pub fn clock_steps(mut self, steps: usize) -> World {
        self.mishaps.clock_steps = steps;
        self
    }

    /// How often a kernel is suspended for an hour, at any moments. Its own timers fire as much later.
    #[must_use]
    pub fn suspensions(mut self, suspensions: usize) -> World {
        self.mishaps.suspensions = suspensions;
        self
    }

    /// How many calls fail that could: EIO, ENOSPC, EMFILE, ENOLCK (as a flock that is not supported),
    /// and on a network mount ESTALE. A call that was interrupted (EINTR) never comes to the protocol.
    #[must_use]
    pub fn faults(mut self, faults: usize) -> World {
        self.mishaps.faults = faults;
        self
    }

    /// How many calls on a network mount fail although the server has done them: its answer was lost, and
    /// the client gives up (ETIMEDOUT), or asks again and hears that the name is there (EEXIST), or is
    /// gone (ENOENT).
    #[must_use]
    pub fn lost_answers(mut self, answers: usize) -> World {
        self.mishaps.lost_answers = answers;
        self
    }

    /// How often all machines lose power and boot again, at any moments. What was synced is on the disk
    /// then, and with it all that was not, or nothing of that.
    #[must_use]
    pub fn power_losses(mut self, losses: usize) -> World {
        self.mishaps.power_losses = losses;
        self
    }

    /// A process that comes `after` all others have ended, and is alone. It panics if it finds
    /// something wrong.
    #[must_use]
    pub fn finally(mut self, after: Duration, program: impl Fn(&SimSys) + 'static) -> World {
        self.finally = Some((after, Arc::new(program)));
        self
    }

    /// Tries every schedule.
    ///
    /// # Errors
    ///
    /// A shortest schedule that breaks something.
    pub fn explore(&self) -> Result<Report, Violation> {
        Explorer::new(self).explore()
    }

    /// Tries `schedules` random schedules; the first is chosen by `seed`, the next by `seed + 1`.
    ///
    /// # Errors
    ///
    /// A schedule that breaks something, and its seed: `walk(seed, 1)` finds it again.
    pub fn walk(&self, seed: u64, schedules: u64) -> Result<Report, Violation> {
        let mut explorer = Explorer::new(self);
        let mut report = Report::default();
        for seed in (0..schedules).map(|n| seed.wrapping_add(n)) {
            let steps = explorer.walk(seed)?;
            report.transitions += steps;
            report.finals += 1;
            report.depth = report.depth.max(steps);
        }
        Ok(report)
    }

    /// Tries the schedule that `bytes` say: each byte is a choice, and any bytes are a schedule.
    ///
    /// # Errors
    ///
    /// The schedule, if it breaks something.
    pub fn follow(&self, bytes: &[u8]) -> Result<Report, Violation> {
        let steps = Explorer::new(self).follow(bytes)?;
        Ok(Report {
            transitions: steps,
            finals: 1,
            depth: steps,
            ..Report::default()
        })
    }

    fn name(&self, who: usize) -> &str {
        let declared = self
            .contenders
            .get(who)
            .map(|contender| contender.name.as_str());
        declared.unwrap_or("later")
    }

    fn is_expected(&self, name: &Name) -> bool {
        self.expected.contains(name)
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}
