//! The declaration of a simulated world.

use std::ffi::OsStr;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use super::call::{Name, name_in};
use super::kernel::{DeletionKind, EventBudget, FlockScope, Kernel, Key, Rules, System};
use super::process::{Program, SimSys};
use super::{LOCK, Safeguard, TABLE, TABLE_LOCK};
use crate::judge::FileSystem;
use crate::protocol::{READ_BACK_DELAY, SETTLE};

/// The processes, the kind of system that they run on, and the events that may happen to them.
pub struct World {
    pub(super) rules: Rules,
    pub(super) kernel: Kernel,
    pub(super) contenders: Vec<Contender>,
    pub(super) budget: EventBudget,
    /// Where the processes run that are added next.
    system: System,
    pub(super) foreign: Vec<(Name, Vec<u8>)>,
    /// The names that may be left in the end.
    pub(super) expected: Vec<Name>,
    /// Whether holders are recorded in a table, and not in a lock file.
    pub(super) has_table: bool,
    pub(super) finally: Option<(Duration, Program)>,
}

pub(super) struct Contender {
    name: String,
    pub(super) system: System,
    pub(super) program: Program,
    pub(super) runs: usize,
}

/// The kind of system.
impl World {
    /// A local file system with everything that Linux has, and no process.
    #[must_use]
    pub fn local() -> World {
        World {
            rules: Rules::local(),
            kernel: Kernel::new(),
            contenders: Vec::new(),
            budget: EventBudget::default(),
            system: System::HOST,
            foreign: Vec::new(),
            expected: vec![OsStr::new(LOCK).into()],
            has_table: false,
            finally: None,
        }
    }

    /// A local file system of Windows: the kernel lock of a file is the share mode of an open handle. A
    /// deletion takes the name when the handle by which it was made is closed.
    #[must_use]
    pub fn windows() -> World {
        let mut world = World::local();
        world.rules.share_modes = Some(DeletionKind::Posix);
        world.kernel.hides_births = true;
        world
    }

    /// In a world with share modes, a deleted file keeps its name until its last handle is closed.
    #[must_use]
    pub fn where_deleted_files_keep_their_name(mut self) -> World {
        self.rules.share_modes = Some(DeletionKind::Classic);
        self
    }

    /// The file system is one of a server, which knows the share modes of the handles of all its clients
    /// (SMB).
    #[must_use]
    pub fn on_a_server(mut self) -> World {
        self.rules.file_system = FileSystem::NotLocal;
        self
    }

    /// A directory that a process has open cannot be replaced.
    #[must_use]
    pub fn where_open_directories_stay(mut self) -> World {
        self.rules.pins_directories = true;
        self
    }

    /// A dead process is invisible while its files are still open.
    #[must_use]
    pub fn where_death_shows_first(mut self) -> World {
        self.kernel.death_shows_first = true;
        self
    }

    /// Each unlock of a file is an event for those that watch for unlocks, and so is the last close of a
    /// descriptor with which it was locked; the close of a file that was open for writing is none (macOS).
    #[must_use]
    pub fn where_unlocks_are_events(mut self) -> World {
        self.kernel.reports_unlocks = true;
        self
    }

    /// A network mount. It has no files without a name. Several kernels may use it, and a flock
    /// excludes the processes of all of them.
    #[must_use]
    pub fn network() -> World {
        let mut world = World::local().refusing_unnamed();
        world.rules.file_system = FileSystem::NotLocal;
        world
    }

    /// An overlay that all processes use.
    #[must_use]
    pub fn overlay() -> World {
        let mut world = World::local();
        world.rules.file_system = FileSystem::Local { plain: false };
        world
    }

    /// A plain file system of the first machine, which others mount. There is no flock between the
    /// machines, nor with processes that reach the files [through an
    /// overlay](System::through_overlay).
    #[must_use]
    pub fn exported() -> World {
        let mut world = World::local().flock_not_shared();
        world.rules.exported = true;
        world
    }

    /// A flock excludes only processes of its own kernel.
    #[must_use]
    pub fn flock_not_shared(mut self) -> World {
        self.rules.flock = FlockScope::SameKernel;
        self
    }

    /// A flock is a mandatory lock of the server (SMB): contention is EACCES, a lock cannot be
    /// converted, and it keeps other descriptors from reading and writing the file.
    #[must_use]
    pub fn where_flock_is_mandatory(mut self) -> World {
        self.rules.mandatory_flock = true;
        self
    }

    /// The same, but the reads and writes that such a lock refuses fail with EIO, as on macOS.
    #[must_use]
    pub fn where_a_mandatory_flock_is_an_io_error(self) -> World {
        let mut world = self.where_flock_is_mandatory();
        world.rules.locked_against = Errno::EIO;
        world
    }

    /// A mount that lets two kernels both create one name (`weed mount`): for a moment the second
    /// kernel does not see the first one's file, and then its own file has the name.
    #[must_use]
    pub fn where_exclusive_create_lies(mut self) -> World {
        self.rules.exclusive_create_lies = true;
        // The creators of one name sleep this long to find out that they are several.
        self.rules.shortest_sleep = READ_BACK_DELAY;
        self
    }

    /// A mount that answers EBADF to a read of a file that was removed through another mount, as JuiceFS.
    #[must_use]
    pub fn where_removed_files_are_closed(mut self) -> World {
        self.rules.closes_removed_files = true;
        self
    }

    /// A server that forgets a file with its last name: a process that has the file open receives
    /// ESTALE, as on NFS.
    #[must_use]
    pub fn where_removed_files_are_forgotten(mut self) -> World {
        self.rules.forgets_removed_files = true;
        self
    }

    /// A mount that gives one inode number to each name, so that a successor's file has its
    /// predecessor's (sshfs).
    #[must_use]
    pub fn where_numbers_go_by_names(mut self) -> World {
        self.rules.numbers_by_name = true;
        self
    }

    /// The files that are there from the beginning belong to another user and may not be opened.
    #[must_use]
    pub fn where_planted_files_are_unreadable(mut self) -> World {
        self.rules.unreadable = true;
        self
    }

    /// Each process has a user of its own and may open what was there from the beginning, and its own files.
    #[must_use]
    pub fn where_files_of_others_are_private(mut self) -> World {
        self.rules.private_files = true;
        self
    }

    /// A mount that gives a file another inode number while the file is open, once it has stored
    /// what was written (`weed mount`).
    #[must_use]
    pub fn where_numbers_change(mut self) -> World {
        self.rules.numbers_change = true;
        self
    }

    /// A mount that shows for `time` what it has read of another machine's file, however often the
    /// file is opened anew. It does not count the time for which the machine is suspended.
    #[must_use]
    pub fn where_files_are_cached_for(mut self, time: Duration) -> World {
        self.rules.cached_for = Some(time);
        self
    }

    /// A mount that shows for `time` what a name stood for when the machine has last looked at it, as SMB
    /// and NFS do. An open asks the server, and shows the machine what is there.
    #[must_use]
    pub fn where_names_are_cached_for(mut self, time: Duration) -> World {
        self.rules.names_cached_for = Some(time);
        self
    }

    /// A mount that shows for `time` what a name stood for, and also opens that file, which the server keeps
    /// when it is removed, as JuiceFS does with its trash. The mount looks at the name again if the protocol
    /// makes it forget what it has seen.
    #[must_use]
    pub fn where_names_are_remembered_for(mut self, time: Duration) -> World {
        self.rules.opens_remembered_files = true;
        self.rules.has_trash = true;
        self.where_names_are_cached_for(time)
    }

    /// On such a mount the server has no link of a file that was removed.
    #[must_use]
    pub fn without_a_trash(mut self) -> World {
        self.rules.has_trash = false;
        self
    }

    /// A mount that takes a name away from a file that the machine has open, before it renames another file to
    /// that name, as NFS does. The machine may stop in between.
    #[must_use]
    pub fn where_open_files_are_renamed_away(mut self) -> World {
        self.rules.renames_away = true;
        self
    }

    /// A file system without flock.
    #[must_use]
    pub fn without_flock(mut self) -> World {
        self.rules.flock = FlockScope::Nowhere;
        self
    }

    /// Files cannot be made without a name: they get a private one first.
    #[must_use]
    pub fn without_unnamed(mut self) -> World {
        self.rules.unnamed = Err(Errno::ENOTSUP);
        self
    }

    /// Files can be made without a name but cannot be linked to one: there is no procfs that names
    /// them, and the kernel is old.
    #[must_use]
    pub fn without_links(mut self) -> World {
        self.rules.links = Err(Errno::ENOTSUP);
        self
    }

    /// A security policy refuses files without a name to all processes: they create exclusively.
    #[must_use]
    pub fn refusing_unnamed(mut self) -> World {
        self.rules.unnamed = Err(Errno::EACCES);
        self
    }

    /// A security policy refuses links to all processes.
    #[must_use]
    pub fn refusing_links(mut self) -> World {
        self.rules.links = Err(Errno::EACCES);
        self
    }

    /// Disables a safeguard of the protocol.
    #[must_use]
    pub fn without(mut self, safeguard: Safeguard) -> World {
        self.rules.disabled.insert(safeguard);
        self
    }
}

/// The level of detail.
impl World {
    /// Leaves out what rarely matters and costs most, so that more processes can be explored:
    ///
    /// - Sleeps shorter than a second take no time; longer ones end when no process can run.
    /// - Inode numbers are not given out again while any process could remember them (as on tmpfs).
    /// - fstat of an open file does not report its number of links.
    /// - Contenders check a kernel lock whose holder is not visible twice, not seven times, and a
    ///   torn file twice.
    ///
    /// Random schedules should not be coarse: they can afford all of this.
    #[must_use]
    pub fn coarse(mut self) -> World {
        self.rules.coarse = true;
        self
    }

    /// In a coarse world, lets the settle time pass only when no process can run: all processes are
    /// quicker than one that waits for the settle time.
    #[must_use]
    pub fn quick(mut self) -> World {
        self.rules.shortest_sleep = SETTLE;
        self
    }

    /// In a coarse world, lets each later pause of a waiter that polls take this time: the waiter
    /// looks as often as is useful, and its search ends.
    #[must_use]
    pub fn polls_take(mut self, time: Duration) -> World {
        // A pause of 500 ms is spread over 375 to 625 ms.
        self.rules.shortest_sleep = Duration::from_millis(300);
        self.rules.poll_takes = Some(time);
        self
    }

    /// Never merges two histories of a process: what the loops of the protocol declare as their
    /// memory is not relied on. Slow. Its purpose is to show that the declarations can be
    /// relied on.
    #[must_use]
    pub fn without_merging(mut self) -> World {
        self.rules.no_merging = true;
        self
    }

    /// Takes every call of every process as a step of its own, also where no other process can observe
    /// it. Slow. Its purpose is to show that the reduced search misses nothing.
    #[must_use]
    pub fn without_reduction(mut self) -> World {
        self.rules.no_reduction = true;
        self.rules.named_writes = true;
        self
    }
}

/// Files and processes.
impl World {
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
        let is_plain = self.rules.file_system.is_plain();
        let key = if is_plain {
            Key::Plain
        } else {
            Key::OfThisBoot
        };
        let record = self.kernel.record_of_the_dead(Some(key), age);
        self.file(LOCK, &record.encode(), age)
    }

    /// The same of a version that wrote the boot id and the device number on every file system.
    #[must_use]
    pub fn dead_lock_of_an_older_version(self, age: Duration) -> World {
        let record = self.kernel.record_of_the_dead(Some(Key::OfThisBoot), age);
        self.file(LOCK, &record.encode(), age)
    }

    /// The lock of a deployed client that has died, acquired `age` ago.
    #[must_use]
    pub fn dead_deployed_lock(self, age: Duration) -> World {
        let record = self.kernel.record_of_the_dead(None, age);
        self.file(LOCK, &record.encode(), age)
    }

    /// The processes use an allocation table, and not a lock. It is empty in the beginning.
    #[must_use]
    pub fn with_table(mut self) -> World {
        self.has_table = true;
        if !self.rules.file_system.is_local() {
            self.expected.push(OsStr::new(TABLE_LOCK).into());
            self.expected.push(name_in(1, OsStr::new(TABLE_LOCK)));
        }
        self.expected.push(name_in(1, OsStr::new(TABLE)));
        self.file(TABLE, b"", Duration::from_secs(3600))
    }

    /// A file that no process may change.
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

    /// A process that executes `program` `runs` times. Nothing is remembered from one run to the
    /// next. When the process is killed, another one takes its place and begins the next run.
    /// The first process has pid 100, the second one pid 200.
    ///
    /// The program must be a function of the replies of its [`SimSys`]: it is executed many times.
    #[must_use]
    pub fn process(
        mut self,
        name: &str,
        runs: usize,
        program: impl Fn(&SimSys) + 'static,
    ) -> World {
        self.contenders.push(Contender {
            name: name.to_owned(),
            system: self.system,
            program: Arc::new(program),
            runs,
        });
        self
    }

    /// A process that starts `after` all others have ended, and is alone. It panics if it finds
    /// something wrong.
    #[must_use]
    pub fn finally(mut self, after: Duration, program: impl Fn(&SimSys) + 'static) -> World {
        self.finally = Some((after, Arc::new(program)));
        self
    }
}

/// Events and faults.
impl World {
    /// How many processes are killed, at any moments.
    #[must_use]
    pub fn crashes(mut self, crashes: usize) -> World {
        self.budget.crashes = crashes;
        self
    }

    /// How often a wall clock is set, by an hour or ten years, forwards or backwards, at any
    /// moments.
    #[must_use]
    pub fn clock_steps(mut self, steps: usize) -> World {
        self.budget.clock_steps = steps;
        self
    }

    /// How often a kernel is suspended for an hour, at any moments. Its own timers fire an hour
    /// late.
    #[must_use]
    pub fn suspensions(mut self, suspensions: usize) -> World {
        self.budget.suspensions = suspensions;
        self
    }

    /// Once, at any moment at which its processes sleep, the wall clock of this machine is set
    /// back.
    #[must_use]
    pub fn setback(mut self, system: System, by: Duration) -> World {
        self.budget.setback = Some((system.kernel(), by));
        self
    }

    /// The wall clock of this machine is behind from the beginning.
    #[must_use]
    pub fn clock_behind(mut self, system: System, by: Duration) -> World {
        self.kernel.set_clock_back(system.kernel(), by);
        self
    }

    /// Once, at any moment at which its processes sleep, this machine is suspended for 400 s, and
    /// the others go on meanwhile.
    #[must_use]
    pub fn suspended_alone(mut self, system: System) -> World {
        self.budget.pause = Some(system.kernel());
        self
    }

    /// How many calls fail that could succeed: with EIO, ENOSPC, EMFILE, ENOLCK (reported as a
    /// flock that is not supported), and on a network mount ESTALE. EINTR never reaches the
    /// protocol.
    #[must_use]
    pub fn faults(mut self, faults: usize) -> World {
        self.budget.faults = faults;
        self
    }

    /// How often a call is refused for a moment that would delete or rename a file, or open it for that: a
    /// scanner has the file open, or a filter denies access.
    #[must_use]
    pub fn violations(mut self, violations: usize) -> World {
        self.budget.violations = violations;
        self
    }

    /// How many calls on a network mount report failure although the server has done them: the
    /// answer was lost, and the client gives up (ETIMEDOUT), or repeats the call and learns
    /// that the name exists (EEXIST) or is gone (ENOENT).
    #[must_use]
    pub fn lost_answers(mut self, answers: usize) -> World {
        self.budget.lost_answers = answers;
        self
    }

    /// How often the path comes to lead to the other of two directories, at any moments at which no
    /// process says that it holds the lock.
    #[must_use]
    pub fn switches(mut self, switches: usize) -> World {
        self.budget.switches = switches;
        self.expected.push(name_in(1, OsStr::new(LOCK)));
        self
    }

    /// How often the first machine boots again, at any moments, while the others go on. No file is
    /// lost.
    #[must_use]
    pub fn server_reboots(mut self, reboots: usize) -> World {
        self.budget.server_reboots = reboots;
        self
    }

    /// How often all machines lose power and boot again, at any moments. The disk then holds what
    /// was synced, and of all that was not synced either everything or nothing.
    #[must_use]
    pub fn power_losses(mut self, losses: usize) -> World {
        self.budget.power_losses = losses;
        self
    }
}

impl World {
    /// The name of a process, in a trace.
    pub(super) fn name(&self, pid_index: usize) -> &str {
        match self.contenders.get(pid_index) {
            Some(contender) => &contender.name,
            None => "later",
        }
    }

    pub(super) fn is_expected(&self, name: &Name) -> bool {
        self.expected.contains(name)
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}
