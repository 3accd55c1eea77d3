//! A kernel as a plain value: cloned, compared and hashed like a number.
//!
//! One directory is enough for a lock. Each call is one atomic step. What a choice of numbers could
//! make different although it is the same (who opened a file first) is numbered per process, so that
//! equal situations are equal values.

mod faults;
mod files;
mod mishaps;
mod power;
mod processes;
mod waiting;

pub(super) use self::faults::Fault;
pub(super) use self::mishaps::{Mishap, Mishaps};
use self::power::Disk;
pub use self::processes::System;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use super::call::{Call, Fd, Fork, Name, Reply};
use crate::judge::FileSystem;
use crate::protocol::{READ_BACK_DELAY, SETTLE};
use crate::record::{KernelStamp, Pid, Record, WriterId};
use crate::sys::hooks::Safeguard;
use crate::sys::{FileKind, Flock, Flocked, Identity, Liveness, Woken};

/// What does not change while a world runs.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) file_system: FileSystem,
    /// Whether there are files without a name, to be linked later.
    pub(super) unnamed: bool,
    /// Whether they can be given one.
    pub(super) links: bool,
    pub(super) flock: Reach,
    /// Whether two kernels can both create one name, the last of them with success.
    pub(super) exclusive_lies: bool,
    /// Whether an open file cannot be used any more once its name was removed.
    pub(super) removed_is_forgotten: bool,
    pub(super) noreplace: bool,
    pub(super) disabled: BTreeSet<Safeguard>,
    /// See [`World::coarse`](super::World::coarse).
    pub(super) coarse: bool,
    /// In a coarse world shorter sleeps take no time.
    pub(super) grain: Duration,
    /// See [`World::every_history`](super::World::every_history).
    pub(super) every_history: bool,
    /// Whether files are written that have a name, or had one.
    pub(super) rewrites: bool,
}

impl Rules {
    pub(super) fn lacks(&self, safeguard: Safeguard) -> bool {
        self.disabled.contains(&safeguard)
    }

    /// Whether a sleep takes no time.
    fn is_instant(&self, sleep: Duration) -> bool {
        self.coarse && sleep < self.grain
            || self.lacks(Safeguard::Settle) && sleep == SETTLE
            || self.lacks(Safeguard::ReadBack) && sleep == READ_BACK_DELAY
    }
}

/// Who hears of a flock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Nobody: there is none.
    Nobody,
    /// Processes of the same kernel, as on sshfs.
    Kernel,
    /// Everybody who has the file open, as on NFS.
    Everybody,
}

/// Longer than any sleep that only makes room for others.
pub(super) const GRAIN: Duration = Duration::from_secs(1);

/// Creators of one name sleep for as long to find out that they are many.
pub(super) const GRAIN_OF_LIES: Duration = Duration::from_millis(100);

/// How long a lying mount takes until others see what was created.
const LIE: Duration = Duration::from_millis(50);

/// An inode number. They are given out again, the lowest free one first, as ext4 does.
type Ino = u64;

/// Numbers below are not given out, as on real file systems; readers tell them from descriptors.
const FIRST_INO: Ino = 11;

const DEV: u64 = 8;

const BOOT_ID: [u8; 16] = *b"one boot of sim.";

/// Nobody's any more.
const DEAD_PID: Pid = Pid::new(7).expect("7 is a pid");

/// The first moment of every world: 2023-11-14, an hour after boot.
const START_NS: u64 = 1_700_000_000_000_000_000;
const UPTIME_NS: u64 = 3_600_000_000_000;

/// 100 ticks a second, as Linux shows them.
const NS_PER_TICK: u64 = 10_000_000;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kernel {
    /// By a clock that nobody sets.
    now_ns: u64,
    /// When the machines were booted, and how often they were since the beginning.
    booted_ns: u64,
    boots: u8,
    /// How many seconds the wall clocks of kernels were set by.
    clocks: BTreeMap<u8, i64>,
    /// What may still happen.
    pub(super) mishaps: Mishaps,
    inodes: BTreeMap<Ino, Inode>,
    names: BTreeMap<Name, Ino>,
    disk: Disk,
    processes: Vec<Process>,
    /// Whether a lock has gone with a process and nobody was told: closing a descriptor that is open
    /// for reading only makes no event.
    silent_death: bool,
    /// A call has failed that could have succeeded.
    had_fault: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Inode {
    kind: FileKind,
    links: u64,
    mtime_ns: u64,
    born_ns: u64,
    content: Arc<[u8]>,
    /// Whose file it is. Nobody's is what was there before.
    maker: Option<usize>,
}

/// A process, or what is left of it: its place in the table is its name for the explorer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pid: Pid,
    /// No other process has this, in whatever place and however often it is started again.
    start_ticks: u64,
    system: System,
    life: Life,
    descriptors: Vec<Option<DescriptionId>>,
    /// The open file descriptions that this process made. Its children may keep them in use.
    descriptions: Vec<Option<Description>>,
    watches: Vec<Option<Watch>>,
    /// How often it has begun a round, and drawn at random in it.
    round: u32,
    draws: u32,
    /// Whether half of its call is done.
    midway: bool,
    /// When the sleep ends that it is in.
    deadline_ns: Option<u64>,
    /// Whether it says that it holds the lock.
    holds: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Life {
    Alive,
    /// It executes nothing more, but it can still be seen: a killed holder's flock was seen free while
    /// /proc still showed the process.
    Dying,
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct DescriptionId {
    opener: usize,
    index: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Description {
    ino: Ino,
    writable: bool,
    lock: Option<Lock>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Lock {
    Shared,
    Exclusive,
}

impl Lock {
    fn wanted(operation: Flock) -> Option<Lock> {
        match operation {
            Flock::Shared => Some(Lock::Shared),
            Flock::Exclusive => Some(Lock::Exclusive),
            Flock::Unlock => None,
        }
    }
}

/// What a process waits for, and what has come already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Watch {
    /// None when the inode is gone: its number may be another's by now.
    ino: Option<Ino>,
    file_event: bool,
    process: Option<Pid>,
}

impl Kernel {
    pub(super) fn new() -> Kernel {
        Kernel {
            now_ns: START_NS,
            booted_ns: START_NS - UPTIME_NS,
            boots: 0,
            clocks: BTreeMap::new(),
            mishaps: Mishaps::default(),
            inodes: BTreeMap::new(),
            names: BTreeMap::new(),
            disk: Disk::default(),
            processes: Vec::new(),
            silent_death: false,
            had_fault: false,
        }
    }

    /// A file that was there before, last written `age` ago.
    pub(super) fn plant(&mut self, name: &Name, content: &[u8], age: Duration) {
        let ino = self.planted_ino();
        let written_ns = self.now_ns - nanos(age);
        let inode = Inode {
            kind: FileKind::Regular,
            links: 1,
            mtime_ns: written_ns,
            born_ns: written_ns,
            content: content.into(),
            maker: None,
        };
        self.inodes.insert(ino, inode);
        self.names.insert(name.clone(), ino);
    }

    fn planted_ino(&self) -> Ino {
        FIRST_INO + u64::try_from(self.inodes.len()).expect("a handful of files")
    }

    /// The record of a process that died while it held the lock that is planted next.
    pub(super) fn record_of_the_dead(&self, stamped: bool, age: Duration) -> Record {
        let inode_key =
            KernelStamp::inode_key(&self.boot_id(System::HOST), DEV, self.planted_ino());
        let stamp = KernelStamp {
            inode_key,
            start_ticks: 1,
        };
        let written_ns = self.now_ns - nanos(age);
        let writer = WriterId::from_bytes(*b"of somebody dead");
        Record::new(
            DEAD_PID,
            &System::HOST.hostname(),
            written_ns,
            writer,
            stamped.then_some(stamp),
        )
    }

    /// The content of what `name` stands for.
    pub(super) fn content(&self, name: &Name) -> Option<&[u8]> {
        let ino = self.names.get(name)?;
        Some(&self.inode(*ino).content)
    }

    /// Whether whoever looks finds the lock `name` free: nothing is there, or a record whose writer
    /// promised this kernel to have flock, and nobody has it. (A writer that lives counts for a while
    /// all the same: it may have had two faults, one in its publish and one in taking it back.)
    pub(super) fn is_free(&self, name: &str) -> bool {
        let Some(ino) = self.names.get(OsStr::new(name)).copied() else {
            return true;
        };
        let locked = self.references(|other| other.ino == ino && other.lock.is_some()) > 0;
        let record = Record::decode(&self.inode(ino).content).ok();
        let key = KernelStamp::inode_key(&self.boot_id(System::HOST), DEV, ino);
        let stamp = record.and_then(|record| record.stamp());
        let lives = |start_ticks| {
            let mut processes = self.processes.iter();
            processes.any(|it| it.start_ticks == start_ticks && it.life != Life::Dead)
        };
        let counts = |stamp: KernelStamp| stamp.inode_key != key || lives(stamp.start_ticks);
        !locked && !stamp.is_none_or(counts)
    }

    /// Whether a waiter may not have heard that the lock `name` is free: whoever dies while it
    /// examines or breaks what is there makes no event, nor does who gives up after a fault.
    pub(super) fn was_silent(&self, name: &str) -> bool {
        self.silent_death || self.had_fault && self.names.contains_key(OsStr::new(name))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.names.keys()
    }

    /// Starts the sleep that `call` is, if it is one.
    pub(super) fn begin(&mut self, rules: &Rules, who: usize, call: &Call) {
        if let Call::Wait(_, timeout) | Call::Sleep(timeout) = call {
            let timeout = if rules.is_instant(*timeout) {
                Duration::ZERO
            } else {
                *timeout
            };
            // Longer than u64 can count is for ever.
            let timeout = u64::try_from(timeout.as_nanos()).ok();
            let deadline = timeout.and_then(|timeout| self.now_ns.checked_add(timeout));
            self.process_mut(who).deadline_ns = deadline;
        }
    }

    /// Whether `call` would return. All but waiting do at once. A bare sleep may end at any moment, as
    /// real schedulers have it, and takes the clock along; but not in a coarse world.
    pub(super) fn is_ready(&self, rules: &Rules, who: usize, call: &Call) -> bool {
        let deadline_ns = self.process(who).deadline_ns;
        match call {
            Call::Wait(id, _) => self.woken(who, *id).is_some(),
            Call::Sleep(_) => deadline_ns.is_some_and(|end| !rules.coarse || end <= self.now_ns),
            _ => true,
        }
    }

    /// Lets time pass until the first of `waiting` has waited enough. False if none ever has.
    pub(super) fn pass_time(&mut self, waiting: impl Iterator<Item = usize>) -> bool {
        let deadlines = waiting.filter_map(|who| self.process(who).deadline_ns);
        let Some(next) = deadlines.min() else {
            return false;
        };
        self.now_ns = self.now_ns.max(next);
        true
    }

    pub(super) fn advance(&mut self, time: Duration) {
        self.now_ns += nanos(time);
    }

    /// Whether it makes no difference when `call` happens, as long as it is before its process's next
    /// one: no other process can see it or change its outcome. Then it is no moment at which it
    /// matters who runs or dies.
    ///
    /// No call is private that may fail; where clocks may be set, none that reads one or dates a file.
    /// Else:
    ///
    /// - Facts about oneself, and constants.
    /// - What is done to a hidden file. (Not its making nor its end: they decide who gets which inode
    ///   number.)
    /// - Reading what nobody writes.
    /// - Syncing, in a world that does not lose power.
    /// - The beginning of a hold: it is the return of the last call before it.
    ///
    /// And in a coarse world:
    ///
    /// - Making and closing files, as inode numbers are not given out again; not closing what is
    ///   locked or watched.
    /// - Reading the clock, which stands still while anybody can do anything.
    /// - Asking an open file for its facts: those that change are not told.
    pub(super) fn is_private(&self, rules: &Rules, who: usize, call: &Call) -> bool {
        if !self.possible_faults(rules, who, call).is_empty() {
            return false;
        }
        match call {
            Call::OpenDir
            | Call::FileSystem
            | Call::Hostname
            | Call::IsHostAlias(_)
            | Call::BootId
            | Call::Identity
            | Call::Random
            | Call::Unwatch(_)
            | Call::Entered
            | Call::BeginLoop
            | Call::BeginRound(..) => true,
            Call::SyncDir | Call::Sync(..) => !self.may_lose_power(),
            Call::Process(pid) => {
                let is_dead = || self.liveness(who, *pid) == Liveness::Dead;
                *pid == self.process(who).pid || !self.pids_return() && is_dead()
            }
            Call::Flock(fd, _) => self.is_hidden(who, *fd),
            Call::Write(fd, ..) => self.clocks_are_steady() && self.is_hidden(who, *fd),
            Call::Read(fd) => !rules.rewrites || self.is_hidden(who, *fd),
            Call::Stat(_) if rules.removed_is_forgotten => false,
            Call::Stat(fd) => rules.coarse && !rules.rewrites || self.is_hidden(who, *fd),
            Call::Close(fd) => rules.coarse && self.is_idle(who, *fd),
            Call::CreateUnnamed | Call::Now => rules.coarse && self.clocks_are_steady(),
            _ => false,
        }
    }

    /// Whether `call` writes to a file that others may read.
    pub(super) fn is_rewrite(&self, who: usize, call: &Call) -> bool {
        matches!(call, Call::Write(fd, ..) if !self.is_hidden(who, *fd))
    }

    /// Whether `call` writes into a file that this process did not make.
    pub(super) fn is_trespass(&self, who: usize, call: &Call) -> bool {
        matches!(call, Call::Write(fd, ..) if self.is_of_another(who, *fd))
    }

    /// Whether the file is open and this process did not make it.
    fn is_of_another(&self, who: usize, fd: Fd) -> bool {
        let found = self.description(who, fd);
        found.is_ok_and(|(_, found)| self.inode(found.ino).maker != Some(who))
    }

    /// Whether nobody would notice that the descriptor is closed, but by inode numbers.
    fn is_idle(&self, who: usize, fd: Fd) -> bool {
        let description = self.description(who, fd);
        description.is_ok_and(|(_, found)| found.lock.is_none() && !self.is_watched(found.ino))
    }

    /// Whether the file has no name, one descriptor alone refers to it, and nobody watches it:
    /// nobody else can get at it until it is linked.
    fn is_hidden(&self, who: usize, fd: Fd) -> bool {
        self.description(who, fd)
            .is_ok_and(|(_, Description { ino, .. })| {
                self.inode(ino).links == 0
                    && self.references(|other| other.ino == ino) == 1
                    && !self.is_watched(ino)
            })
    }

    fn is_removed(&self, who: usize, fd: Fd) -> bool {
        let description = self.description(who, fd);
        description.is_ok_and(|(_, found)| self.inode(found.ino).links == 0)
    }

    fn is_watched(&self, ino: Ino) -> bool {
        let mut watches = self
            .processes
            .iter()
            .flat_map(|process| process.watches.iter().flatten());
        watches.any(|watch| watch.ino == Some(ino))
    }

    /// Executes one call of one process. `None` after the first half of those that are not atomic:
    ///
    /// - A conversion of a flock drops one lock before it asks for the other. flock(2)
    /// - Closing a file tells of it before the lock is dropped (seen on Linux 6.18).
    pub(super) fn apply(&mut self, rules: &Rules, who: usize, call: &Call) -> Option<Reply> {
        if let Some(reply) = self.ignore(rules, who, call) {
            return Some(reply);
        }
        let midway = match call {
            _ if self.process(who).midway => false,
            Call::Flock(fd, operation) => self.begin_conversion(who, *fd, *operation),
            Call::Close(fd) => self.announce_close(who, *fd),
            _ => false,
        };
        self.process_mut(who).midway = midway;
        (!midway).then(|| self.perform(rules, who, call).unwrap_or_else(Reply::failed))
    }

    /// The reply to a call that does nothing because a safeguard is disabled.
    fn ignore(&self, rules: &Rules, who: usize, call: &Call) -> Option<Reply> {
        match call {
            Call::Flock(fd, Flock::Exclusive) => (rules.lacks(Safeguard::KernelLock)
                && self.is_of_another(who, *fd))
            .then_some(Reply::Flocked(Flocked::Done)),
            Call::Sync(..) | Call::SyncDir => rules.lacks(Safeguard::Sync).then_some(Reply::Done),
            _ => None,
        }
    }

    fn perform(&mut self, rules: &Rules, who: usize, call: &Call) -> Result<Reply, Errno> {
        Ok(match call {
            Call::Stat(fd) | Call::Read(fd) | Call::Write(fd, ..) | Call::Flock(fd, _)
                if rules.removed_is_forgotten && self.is_removed(who, *fd) =>
            {
                return Err(Errno::ESTALE);
            }
            Call::OpenDir => Reply::Done,
            Call::SyncDir => self.sync_names(),
            Call::FileSystem => Reply::FileSystem(rules.file_system),
            Call::List => Reply::Names(self.names.keys().cloned().collect()),
            Call::StatAt(name) => Reply::Stat(self.stat(self.find(name)?)),
            Call::Open(name, access) => Reply::File(self.open(who, name, *access)?),
            Call::Create(name) => Reply::File(self.create(rules, who, name)?),
            Call::CreateUnnamed if !rules.unnamed => return Err(Errno::ENOTSUP),
            Call::CreateUnnamed => {
                let ino = self.next_ino(rules, who);
                self.make_inode(rules, who, ino);
                Reply::File(self.describe(who, ino, true))
            }
            Call::Link(..) if !rules.links => return Err(Errno::ENOTSUP),
            Call::Link(fd, name) => self.link(who, *fd, name)?,
            Call::Rename(from, to) => self.rename(from, to)?,
            Call::RenameNoreplace(..) if !rules.noreplace => return Err(Errno::ENOTSUP),
            Call::RenameNoreplace(_, to)
                if self.names.contains_key(to) && !rules.lacks(Safeguard::PutBackNoReplace) =>
            {
                return Err(Errno::EEXIST);
            }
            Call::RenameNoreplace(from, to) => self.rename(from, to)?,
            Call::Unlink(name) => self.unlink(name)?,
            Call::Stat(fd) => Reply::Stat(self.stat_open(rules, who, *fd)?),
            Call::Read(fd) => self.read(who, *fd)?,
            Call::Write(fd, offset, bytes) => self.write(rules, who, *fd, *offset, bytes)?,
            Call::Flock(..) if rules.flock == Reach::Nobody => Reply::Flocked(Flocked::Unsupported),
            Call::Flock(fd, operation) => Reply::Flocked(self.flock(rules, who, *fd, *operation)?),
            Call::Sync(fd, extent) => self.sync(who, *fd, *extent)?,
            Call::Close(fd) => {
                if rules.lacks(Safeguard::CloseOnly) {
                    self.flock(rules, who, *fd, Flock::Unlock)?;
                }
                self.close(who, *fd)?
            }
            Call::Hostname => Reply::Hostname(self.process(who).system.hostname()),
            Call::IsHostAlias(name) => {
                Reply::IsHostAlias(*name == self.process(who).system.hostname())
            }
            Call::BootId => Reply::BootId(self.boot_id(self.process(who).system)),
            Call::Identity => {
                let Process {
                    pid, start_ticks, ..
                } = *self.process(who);
                Reply::Identity(Identity {
                    pid,
                    start_ticks,
                    generation: 0,
                })
            }
            Call::Process(pid) => Reply::Process(self.liveness(who, *pid)),
            Call::Random => Reply::Random(self.draw(who)),
            Call::Now => Reply::Now(self.now(who)),
            Call::Watch(fd, process) => self.watch(who, *fd, *process)?,
            Call::Unwatch(id) => {
                free(&mut self.process_mut(who).watches, *id);
                Reply::Done
            }
            Call::Wait(id, _) => self.wake(who, *id),
            Call::Sleep(_) => {
                let deadline = self.process_mut(who).deadline_ns.take();
                self.now_ns = self
                    .now_ns
                    .max(deadline.expect("endless sleeps are never ready"));
                Reply::Woken(Woken::Timeout)
            }
            Call::Fork => {
                self.fork(who);
                Reply::Fork(Fork::Parent)
            }
            Call::Entered => {
                self.process_mut(who).holds = true;
                Reply::Done
            }
            Call::Left => {
                self.process_mut(who).holds = false;
                Reply::Done
            }
            Call::TakeDescriptors(name) => self.take_descriptors(who, name)?,
            Call::HasName(id) => {
                let found = self.inodes.get(&id.ino);
                Reply::HasName(found.is_some_and(|inode| inode.links > 0))
            }
            Call::BeginLoop => Reply::Done,
            Call::BeginRound(..) => {
                self.forget_draws(rules, who);
                Reply::Done
            }
            Call::Exit => {
                self.kill(who);
                Reply::Done
            }
        })
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Puts `value` into the first free place.
fn first_free<T>(table: &mut Vec<Option<T>>, value: T) -> usize {
    let place = table
        .iter()
        .position(Option::is_none)
        .unwrap_or(table.len());
    match table.get_mut(place) {
        Some(free) => *free = Some(value),
        None => table.push(Some(value)),
    }
    place
}

/// Empties a place. Tables end with a used one, so that equal tables are equal values.
fn free<T>(table: &mut Vec<Option<T>>, place: usize) {
    if let Some(used) = table.get_mut(place) {
        *used = None;
    }
    while table.last().is_some_and(Option::is_none) {
        table.pop();
    }
}
