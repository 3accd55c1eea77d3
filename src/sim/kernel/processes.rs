//! Processes, and where they run.

use super::{BOOT_ID, Kernel, Life, NS_PER_TICK, Process, Rules};
use crate::record::{Hostname, Pid};
use crate::sys::Liveness;

/// Where processes run. Two that are equal in all of this see each other as on one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct System {
    hostname: &'static str,
    kernel: u8,
    pid_namespace: u8,
    pid: Option<Pid>,
}

impl System {
    /// The machine that everybody is on by default.
    pub const HOST: System = System {
        hostname: "sim",
        kernel: 0,
        pid_namespace: 0,
        pid: None,
    };

    /// Under another host name.
    #[must_use]
    pub const fn named(mut self, hostname: &'static str) -> System {
        self.hostname = hostname;
        self
    }

    /// On a kernel of its own, with its own pids.
    #[must_use]
    pub const fn on_kernel(mut self, kernel: u8) -> System {
        self.kernel = kernel;
        self
    }

    /// Where other pids are seen, and under the same pids others.
    #[must_use]
    pub const fn in_pid_namespace(mut self, pid_namespace: u8) -> System {
        self.pid_namespace = pid_namespace;
        self
    }

    /// Where the process that is added next gets this pid, as does each that follows it in its place:
    /// as in a container that is started again, or where a pid is given out again.
    #[must_use]
    pub const fn with_pid(mut self, pid: Pid) -> System {
        self.pid = Some(pid);
        self
    }

    pub(super) fn hostname(&self) -> Hostname {
        Hostname::truncated(self.hostname.as_bytes())
    }

    pub(super) fn kernel(&self) -> u8 {
        self.kernel
    }
}

impl Kernel {
    /// Names this boot of the kernel of `system`.
    pub(super) fn boot_id(&self, system: System) -> [u8; 16] {
        let mut id = BOOT_ID;
        let [.., boot, kernel] = &mut id;
        (*boot, *kernel) = (self.boots, system.kernel);
        id
    }

    /// Starts a process in the next place of the table.
    pub(in super::super) fn start(&mut self, pid: Pid, system: System) -> usize {
        let place = self.processes.len();
        let pid = system.pid.unwrap_or(pid);
        self.processes.push(Process::new(pid, system, born(place)));
        place
    }

    /// Starts a process in the place of a dead one, whose children may live.
    pub(in super::super) fn restart(&mut self, who: usize) {
        let process = self.process_mut(who);
        let descriptions = std::mem::take(&mut process.descriptions);
        let next = Pid::new(process.pid.get() + 1).expect("pids of the simulation are small");
        let pid = process.system.pid.unwrap_or(next);
        *process = Process {
            descriptions,
            ..Process::new(pid, process.system, process.start_ticks + 1)
        };
    }

    pub(in super::super) fn pid(&self, who: usize) -> Pid {
        self.process(who).pid
    }

    pub(in super::super) fn is_alive(&self, who: usize) -> bool {
        self.process(who).life == Life::Alive
    }

    pub(in super::super) fn is_dying(&self, who: usize) -> bool {
        self.process(who).life == Life::Dying
    }

    pub(in super::super) fn is_dead(&self, who: usize) -> bool {
        self.process(who).life == Life::Dead
    }

    /// How many processes say that they hold the lock.
    pub(in super::super) fn holders(&self) -> usize {
        self.processes
            .iter()
            .filter(|process| process.holds)
            .count()
    }

    pub(super) fn process(&self, who: usize) -> &Process {
        self.processes
            .get(who)
            .expect("processes keep their place in the table")
    }

    pub(super) fn process_mut(&mut self, who: usize) -> &mut Process {
        self.processes
            .get_mut(who)
            .expect("processes keep their place in the table")
    }

    /// Whether a pid can be another process's later.
    pub(super) fn pids_return(&self) -> bool {
        self.processes
            .iter()
            .any(|process| process.system.pid.is_some())
    }

    pub(super) fn fork(&mut self, who: usize) {
        let parent = self.process(who);
        let children = self.processes.len();
        let pid = parent.pid.get() + 1000 * u32::try_from(children).expect("a handful");
        let pid = Pid::new(pid).expect("pids of the simulation are small");
        let child = Process {
            descriptors: parent.descriptors.clone(),
            ..Process::new(pid, parent.system, born(children))
        };
        self.processes.push(child);
    }

    /// Ends what a process does, by itself or by SIGKILL. What it leaves open is closed, now or, if
    /// somebody hears of it first, by [`Kernel::bury`].
    pub(in super::super) fn kill(&mut self, who: usize) {
        let open = self.process(who).descriptors.iter().flatten();
        let mut open = open.map(|id| self.description_of(*id));
        let silent = open.any(|found| found.lock.is_some() && !found.writable);
        // Midway a conversion has given up one lock and not got the other.
        self.silent_death |= silent || self.process(who).midway;
        let Process {
            pid,
            start_ticks,
            system,
            ..
        } = *self.process(who);
        let process = self.process_mut(who);
        let descriptors = std::mem::take(&mut process.descriptors);
        let descriptions = std::mem::take(&mut process.descriptions);
        let life = if descriptors.is_empty() {
            Life::Dead
        } else {
            Life::Dying
        };
        *process = Process {
            life,
            descriptors,
            descriptions,
            ..Process::new(pid, system, start_ticks)
        };
        let open = self.process(who).descriptors.len();
        if (0..open).filter(|fd| self.announce_close(who, *fd)).count() == 0 {
            self.close_all(who);
        }
    }

    /// Takes a dying process away, in one step or two: its descriptors are closed and its locks free
    /// before it cannot be seen any more.
    pub(in super::super) fn bury(&mut self, who: usize) {
        if self.process(who).descriptors.is_empty() {
            self.process_mut(who).life = Life::Dead;
        } else {
            self.close_all(who);
        }
    }

    /// Begins a round in which nothing of the last one is remembered.
    pub(in super::super) fn forget(&mut self, who: usize) {
        let process = self.process_mut(who);
        process.round += 1;
        process.draws = 0;
    }

    /// What `who` sees under `pid`: a pid of another namespace is nobody's.
    pub(super) fn liveness(&self, who: usize, pid: Pid) -> Liveness {
        let System {
            kernel,
            pid_namespace,
            ..
        } = self.process(who).system;
        let mut processes = self.processes.iter();
        let process = processes.find(|process| {
            let there = process.system;
            process.pid == pid && there.kernel == kernel && there.pid_namespace == pid_namespace
        });
        match process {
            Some(process) if process.life != Life::Dead => Liveness::Alive {
                start_ticks: process.start_ticks,
                started_ns: self.now(who).booted_ns() + process.start_ticks * NS_PER_TICK,
            },
            _ => Liveness::Dead,
        }
    }

    /// Lets what was drawn be drawn again when nothing of it is left, neither in a file of this round
    /// nor as a name, so that rounds of a loop can be alike.
    pub(super) fn forget_draws(&mut self, rules: &Rules, who: usize) {
        let mut files = self.inodes.range(self.own_numbers(who));
        let written = files.any(|(_, inode)| !inode.content.is_empty());
        if rules.coarse && !written && self.names.len() <= 1 {
            self.process_mut(who).draws = 0;
        }
    }

    /// Bytes that no other process and no other draw of this round has.
    pub(super) fn draw(&mut self, who: usize) -> [u8; 16] {
        let process = self.process_mut(who);
        process.draws += 1;
        let number =
            u64::from(process.draws) << 48 | u64::from(process.round) << 32 | process.start_ticks;
        let mut bytes = [0; 16];
        bytes
            .split_at_mut(8)
            .0
            .copy_from_slice(&number.to_le_bytes());
        bytes
    }
}

/// When the first process in a place began, in ticks: a number that no other process has.
fn born(place: usize) -> u64 {
    let place = u64::try_from(place).expect("a handful of processes");
    1000 + 100 * place
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
            round: 0,
            draws: 0,
            midway: false,
            deadline_ns: None,
            holds: false,
        }
    }
}
