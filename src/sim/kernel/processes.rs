//! Processes, and where they run.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::call::{Name, Reply};
use super::super::shared::Shared;
use super::visibility::is_temporary;
use super::{Description, DescriptionId, Kernel, NS_PER_TICK, Rules, START_NS, UPTIME_NS, Watch};
use crate::judge::FileSystem;
use crate::record::{Hostname, Pid};
use crate::sys::hooks::Safeguard;
use crate::sys::{Liveness, nanos};

/// The machine whose disk has the files, where the others mount them.
pub(in crate::sim) const SERVER: u8 = 0;

/// Where a process runs. Processes of equal systems see each other as processes of one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct System {
    hostname: &'static str,
    kernel: u8,
    pid_namespace: u8,
    pid: Option<Pid>,
    boot_id: BootId,
    device: u64,
    overlay: bool,
}

/// What procfs shows as the boot id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum BootId {
    OfTheKernel,
    OfTheContainer(u8),
    Hidden,
}

/// One boot of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Boot {
    pub(super) at_ns: u64,
    /// Counted from the beginning.
    number: u8,
}

/// A process, or what is left of it. The explorer names it by its index in the process table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(super) pid: Pid,
    /// No other process has this number, in whatever place, and however often it is started again.
    pub(super) start_ticks: u64,
    pub(super) system: System,
    pub(super) life: Life,
    pub(super) descriptors: Vec<Option<DescriptionId>>,
    /// The open file descriptions that this process made. Its children may keep them in use.
    pub(super) descriptions: Vec<Option<Description>>,
    pub(super) watches: Vec<Option<Watch>>,
    /// How many runs of its program it has begun.
    pub(super) run: u32,
    /// How often it has drawn random bytes in this run.
    draws: u32,
    /// Whether the first half of its call is done.
    pub(super) is_midway: bool,
    /// When its sleep ends.
    pub(super) deadline_ns: Option<u64>,
    /// Whether it reports that it holds the lock.
    pub(super) holds: bool,
    /// Whether a directory that it has open cannot be replaced.
    pub(super) pins: bool,
    /// The bytes of the table's directory that it has locked. They stay locked until the process ends,
    /// although a process may close the directory earlier: by then no entry names the byte.
    pub(super) bytes: BTreeSet<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Life {
    Alive,
    /// The process executes nothing more, but it is still visible: a killed holder's flock was seen
    /// free while /proc still showed the process.
    Dying,
    Dead,
}

impl System {
    /// The machine that processes run on by default.
    pub const HOST: System = System {
        hostname: "sim",
        kernel: 0,
        pid_namespace: 0,
        pid: None,
        boot_id: BootId::OfTheKernel,
        device: 8,
        overlay: false,
    };

    /// Under another host name.
    #[must_use]
    pub const fn named(mut self, hostname: &'static str) -> System {
        self.hostname = hostname;
        self
    }

    /// On another kernel, which has its own pids.
    #[must_use]
    pub const fn on_kernel(mut self, kernel: u8) -> System {
        self.kernel = kernel;
        self
    }

    /// In another pid namespace: the processes of other namespaces are invisible, and the same pid
    /// names another process.
    #[must_use]
    pub const fn in_pid_namespace(mut self, pid_namespace: u8) -> System {
        self.pid_namespace = pid_namespace;
        self
    }

    /// The process that is added next has this pid, and so has each that is started again in its
    /// place: as in a container that is restarted, or where a pid is reused.
    #[must_use]
    pub const fn with_pid(mut self, pid: Pid) -> System {
        self.pid = Some(pid);
        self
    }

    /// In a container that has boot id number `number`, whatever the kernel's is (LXC, Incus,
    /// systemd-nspawn).
    #[must_use]
    pub const fn with_own_boot_id(mut self, number: u8) -> System {
        self.boot_id = BootId::OfTheContainer(number);
        self
    }

    /// Where procfs shows processes only (ProcSubset=pid): there is no boot id.
    #[must_use]
    pub const fn without_boot_id(mut self) -> System {
        self.boot_id = BootId::Hidden;
        self
    }

    /// Where the file system has another device number, as after a remount.
    #[must_use]
    pub const fn on_device(mut self, device: u64) -> System {
        self.device = device;
        self
    }

    /// Reaches the files through an overlay whose upper directory the other processes use: with the
    /// same inode numbers and birth times, but another device number, and a kernel lock of its own.
    #[must_use]
    pub const fn through_overlay(mut self) -> System {
        self.overlay = true;
        self.on_device(9)
    }

    /// The file system that a process sees.
    pub(super) fn file_system(&self, rules: &Rules) -> FileSystem {
        match rules.file_system {
            FileSystem::Local { .. } if rules.exported && self.kernel != SERVER => {
                FileSystem::NotLocal
            }
            FileSystem::Local { plain } => FileSystem::Local {
                plain: plain && !self.overlay,
            },
            FileSystem::NotLocal => FileSystem::NotLocal,
        }
    }

    pub(super) fn device(&self) -> u64 {
        self.device
    }

    /// Whether the kernel locks of both are locks of one inode of one kernel.
    pub(super) fn shares_inodes_with(&self, other: &System) -> bool {
        self.kernel == other.kernel && self.overlay == other.overlay
    }

    pub(super) fn hostname(&self) -> Hostname {
        Hostname::truncated(self.hostname.as_bytes())
    }

    pub(in crate::sim) fn kernel(&self) -> u8 {
        self.kernel
    }

    /// The inode number of its pid namespace. Namespaces that end leave their numbers to others.
    pub(super) fn pid_namespace(&self) -> u64 {
        4_026_531_836 + u64::from(self.pid_namespace)
    }
}

impl Process {
    fn new(pid: Pid, system: System, start_ticks: u64) -> Process {
        Process {
            pid,
            start_ticks,
            system,
            life: Life::Alive,
            descriptors: Vec::new(),
            descriptions: Vec::new(),
            watches: Vec::new(),
            run: 0,
            draws: 0,
            is_midway: false,
            deadline_ns: None,
            holds: false,
            pins: false,
            bytes: BTreeSet::new(),
        }
    }

    /// The lower 48 bits of the random numbers of this run. The first byte spreads pauses; the upper 52
    /// bits alone are the number of a table's locked byte.
    fn number_of_run(&self) -> u64 {
        u64::from(self.run) << 32 | self.start_ticks << 12 | self.start_ticks
    }

    /// Lets its sleep end later, if it sleeps.
    pub(super) fn delay(&mut self, time: Duration) {
        if let Some(deadline_ns) = &mut self.deadline_ns {
            *deadline_ns += nanos(time);
        }
    }
}

impl Kernel {
    /// The last boot of a machine.
    pub(super) fn boot(&self, kernel: u8) -> Boot {
        let first = Boot {
            at_ns: START_NS - UPTIME_NS,
            number: 0,
        };
        self.boots.get(&kernel).copied().unwrap_or(first)
    }

    /// Boots a machine again. Its processes are dead.
    pub(super) fn boot_again(&mut self, kernel: u8) {
        let boot = Boot {
            at_ns: self.now_ns,
            number: self.boot(kernel).number + 1,
        };
        self.boots.insert(kernel, boot);
    }

    /// What names this boot of the kernel of `system`, as its processes see it.
    pub(super) fn boot_id(&self, system: System) -> Option<[u8; 16]> {
        let mut id = *b"one boot of sim.";
        let [.., container, boot, kernel] = &mut id;
        (*boot, *kernel) = (self.boot(system.kernel).number, system.kernel);
        match system.boot_id {
            BootId::OfTheKernel => Some(id),
            BootId::OfTheContainer(number) => {
                (*container, *boot) = (number, 0);
                Some(id)
            }
            BootId::Hidden => None,
        }
    }

    /// The same of the kernel itself, which no container shows another one for.
    pub(super) fn kernel_boot_id(&self, system: System) -> Option<[u8; 16]> {
        let of_the_kernel = system.boot_id == BootId::OfTheKernel;
        of_the_kernel.then(|| self.boot_id(system)).flatten()
    }

    pub(super) fn lock_byte(&mut self, pid_index: usize, offset: u64) -> Reply {
        self.process_mut(pid_index).bytes.insert(offset);
        Reply::Done
    }

    pub(super) fn is_byte_locked(&self, rules: &Rules, pid_index: usize, offset: u64) -> Reply {
        let here = self.process(pid_index).system;
        let locks = |process: &Shared<Process>| {
            process.system.shares_inodes_with(&here) && process.bytes.contains(&offset)
        };
        let is_locked = self.processes.iter().any(locks);
        Reply::IsByteLocked(is_locked && !rules.lacks(Safeguard::Witness))
    }

    /// Starts a process in the next place of the process table. Returns its index.
    pub(in crate::sim) fn start(&mut self, pid: Pid, system: System) -> usize {
        let place = self.processes.len();
        let pid = system.pid.unwrap_or(pid);
        let process = Process::new(pid, system, first_start_ticks(place));
        self.processes.push(Shared::new(process));
        place
    }

    /// Starts a process in the place of a dead one, whose children may live.
    pub(in crate::sim) fn restart(&mut self, pid_index: usize) {
        let process = self.process_mut(pid_index);
        let descriptions = std::mem::take(&mut process.descriptions);
        let next = Pid::new(process.pid.get() + 1).expect("pids of the simulation are small");
        let pid = process.system.pid.unwrap_or(next);
        *process = Process {
            descriptions,
            ..Process::new(pid, process.system, process.start_ticks + 1)
        };
    }

    pub(in crate::sim) fn pid(&self, pid_index: usize) -> Pid {
        self.process(pid_index).pid
    }

    pub(in crate::sim) fn is_alive(&self, pid_index: usize) -> bool {
        self.process(pid_index).life == Life::Alive
    }

    pub(in crate::sim) fn is_dying(&self, pid_index: usize) -> bool {
        self.process(pid_index).life == Life::Dying
    }

    pub(in crate::sim) fn is_dead(&self, pid_index: usize) -> bool {
        self.process(pid_index).life == Life::Dead
    }

    /// How many processes report that they hold the lock.
    pub(in crate::sim) fn holders(&self) -> usize {
        self.held_by().len()
    }

    /// The starts of these processes.
    pub(in crate::sim) fn held_by(&self) -> Vec<u64> {
        let holders = self.processes.iter().filter(|process| process.holds);
        holders.map(|process| process.start_ticks).collect()
    }

    pub(super) fn process(&self, pid_index: usize) -> &Process {
        let process = self.processes.get(pid_index);
        process.expect("processes keep their place in the table")
    }

    pub(super) fn process_mut(&mut self, pid_index: usize) -> &mut Process {
        let process = self.processes.get_mut(pid_index);
        process.expect("processes keep their place in the table")
    }

    /// Whether a later process can have the pid of an earlier one.
    pub(super) fn reuses_pids(&self) -> bool {
        let mut processes = self.processes.iter();
        processes.any(|process| process.system.pid.is_some())
    }

    pub(super) fn fork(&mut self, pid_index: usize) {
        let parent = self.process(pid_index);
        let place = self.processes.len();
        let offset = 1000 * u32::try_from(place).expect("a world has few processes");
        let pid = Pid::new(parent.pid.get() + offset).expect("pids of the simulation are small");
        let child = Process {
            descriptors: parent.descriptors.clone(),
            bytes: parent.bytes.clone(),
            ..Process::new(pid, parent.system, first_start_ticks(place))
        };
        self.processes.push(Shared::new(child));
    }

    /// Ends a process, by its own exit or by SIGKILL. Its files are closed at once, or, if a watch
    /// is notified before that, by [`Kernel::reap_process`].
    pub(in crate::sim) fn kill(&mut self, pid_index: usize) {
        self.had_silent_unlock |= self.unlocks_silently(pid_index);
        let Process {
            pid,
            start_ticks,
            system,
            ..
        } = *self.process(pid_index);
        let process = self.process_mut(pid_index);
        let bytes = std::mem::take(&mut process.bytes);
        let descriptors = std::mem::take(&mut process.descriptors);
        let descriptions = std::mem::take(&mut process.descriptions);
        let life = if descriptors.is_empty() && bytes.is_empty() {
            Life::Dead
        } else {
            Life::Dying
        };
        let open = descriptors.len();
        *process = Process {
            life,
            descriptors,
            descriptions,
            bytes,
            ..Process::new(pid, system, start_ticks)
        };
        let reported = (0..open).filter(|fd| self.report_close(pid_index, *fd));
        if reported.count() == 0 && !self.death_shows_first {
            self.close_all(pid_index);
        }
    }

    /// Whether the death of a process drops a lock without an event.
    fn unlocks_silently(&self, pid_index: usize) -> bool {
        let process = self.process(pid_index);
        // No process waits for a file that no other can reach.
        let reached = (0..process.descriptors.len()).filter(|fd| !self.is_hidden(pid_index, *fd));
        let mut open = reached.filter_map(|fd| self.description(pid_index, fd).ok());
        // In the middle of a conversion the process has dropped one lock and not obtained the
        // other.
        open.any(|(_, it)| process.is_midway || it.lock.is_some() && !it.writable)
            || self.death_shows_first
    }

    /// Removes a dying process, in one step or two: its descriptors are closed and its locks
    /// dropped before it is invisible.
    pub(in crate::sim) fn reap_process(&mut self, pid_index: usize) {
        let Process {
            descriptors, bytes, ..
        } = self.process(pid_index);
        if descriptors.is_empty() && bytes.is_empty() {
            self.process_mut(pid_index).life = Life::Dead;
        } else {
            self.close_all(pid_index);
        }
    }

    /// Begins the next run of a process's program, which remembers nothing of the run before.
    pub(in crate::sim) fn begin_run(&mut self, pid_index: usize) {
        let process = self.process_mut(pid_index);
        process.run += 1;
        process.draws = 0;
        process.pins = false;
    }

    /// What a process sees under `pid`. Processes of other pid namespaces are invisible.
    pub(super) fn liveness(&self, pid_index: usize, pid: Pid) -> Liveness {
        let System {
            kernel,
            pid_namespace,
            ..
        } = self.process(pid_index).system;
        let mut processes = self.processes.iter();
        let process = processes.find(|process| {
            let there = process.system;
            process.pid == pid && there.kernel == kernel && there.pid_namespace == pid_namespace
        });
        match process {
            Some(process) if self.is_visible(process) => Liveness::Alive {
                start_ticks: process.start_ticks,
                started_ns: self.now(pid_index).booted_ns() + process.start_ticks * NS_PER_TICK,
            },
            _ => Liveness::Dead,
        }
    }

    fn is_visible(&self, process: &Process) -> bool {
        match process.life {
            Life::Alive => true,
            Life::Dying => !self.death_shows_first,
            Life::Dead => false,
        }
    }

    /// Random bytes that no other process and no other draw of this run has.
    pub(super) fn random_bytes(&mut self, pid_index: usize) -> [u8; 16] {
        let process = self.process_mut(pid_index);
        process.draws += 1;
        let number = u64::from(process.draws) << 48 | process.number_of_run();
        let mut bytes = [0; 16];
        let (low, _) = bytes.split_at_mut(8);
        low.copy_from_slice(&number.to_le_bytes());
        bytes
    }

    /// Lets the same random bytes be drawn again when none of them is left, neither in a file of
    /// this run nor as a name: so rounds of a loop can be alike. What other processes have drawn makes no
    /// difference: the call is private.
    pub(super) fn reset_draws(&mut self, rules: &Rules, pid_index: usize) {
        if !rules.coarse {
            return;
        }
        let mut files = self.inodes.range(self.inos_of_run(pid_index));
        let is_written = files.any(|(_, inode)| !inode.content.is_empty());
        let drawn = format!("{:012x}", self.process(pid_index).number_of_run());
        let is_own = |name: &Name| is_temporary(name) && name.to_string_lossy().contains(&drawn);
        if !is_written && !self.names.keys().any(is_own) {
            self.process_mut(pid_index).draws = 0;
        }
    }
}

/// When the first process in a place started, in ticks: a number that no other process has.
fn first_start_ticks(place: usize) -> u64 {
    let place = u64::try_from(place).expect("a world has few processes");
    1000 + 100 * place
}
