//! A kernel as a plain value: cloned, compared and hashed like a number.
//!
//! It has two directories, and the path leads to one of them. Each call is one atomic step, but for those
//! that [`Kernel::apply`] names. Descriptors, descriptions and, in a coarse world, inodes are
//! numbered per process: numbered globally, situations that differ only in which process came first
//! would be different values.

mod caches;
mod calls;
mod descriptors;
mod events;
mod faults;
mod files;
mod power;
mod processes;
mod rules;
mod share_modes;
mod visibility;
mod waiting;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::time::Duration;

use self::caches::{Cached, CachedName};
use self::descriptors::{Description, DescriptionId};
use self::events::Pause;
use self::files::{Ino, Inode};
use self::power::Disk;
use self::processes::{Boot, Life, Process};
use self::waiting::Watch;
use super::call::{DirId, Name, name_in};
use super::shared::Shared;
use crate::record::{KernelStamp, Pid, Record, WriterId};
use crate::sys::{FileKind, nanos};

pub(super) use self::events::{EventBudget, WorldEvent};
pub(super) use self::faults::Fault;
pub use self::processes::System;
pub(super) use self::rules::{FlockScope, Rules};
pub(super) use self::share_modes::{
    DELETE_PENDING, DeletionKind, Existing, SHARING_VIOLATION, Sharing,
};

/// Inode numbers below are never used, as on real file systems. In a trace they cannot be mistaken
/// for descriptors.
const FIRST_INO: Ino = 11;

/// The pid of a process that was dead from the beginning.
const DEAD_PID: Pid = Pid::new(7).expect("7 is a pid");

/// The first moment of every world: 2023-11-14, an hour after boot.
const START_NS: u64 = 1_700_000_000_000_000_000;
const UPTIME_NS: u64 = 3_600_000_000_000;

/// 100 ticks a second, as Linux shows them.
const NS_PER_TICK: u64 = 10_000_000;

/// What the stamp of a planted record names.
#[derive(Clone, Copy, Debug)]
pub(super) enum Key {
    /// The inode of a plain file system.
    Plain,
    /// The inode, the device number and the boot.
    OfThisBoot,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kernel {
    /// By a clock that is never set.
    now_ns: u64,
    /// The last boots of machines that have booted since the beginning.
    boots: Shared<BTreeMap<u8, Boot>>,
    path_leads_to: DirId,
    /// Whether the path ever led to the other directory, of which no watch is notified.
    had_switch: bool,
    /// By how many seconds the wall clock of each kernel was set.
    clock_steps: Shared<BTreeMap<u8, i64>>,
    pause: Option<Pause>,
    /// What each kernel has read of the files of others.
    caches: Shared<BTreeMap<(u8, Ino), Cached>>,
    /// What each kernel has seen names stand for.
    cached_names: Shared<BTreeMap<(u8, Name), CachedName>>,
    /// Which events and faults may still happen.
    pub(super) budget: EventBudget,
    inodes: Shared<BTreeMap<Ino, Inode>>,
    names: Shared<BTreeMap<Name, Ino>>,
    disk: Shared<Disk>,
    processes: Vec<Shared<Process>>,
    /// Whether a process died with a lock and no watch was notified: closing a descriptor that is
    /// open only for reading generates no event.
    had_silent_unlock: bool,
    /// Whether a call failed that could have succeeded.
    had_fault: bool,
    /// Whether a dead process is invisible while its files are still open.
    pub(super) death_shows_first: bool,
    /// Whether each unlock of a file is an event, and no close of a file that was open for writing.
    pub(super) reports_unlocks: bool,
    /// Whether a stat does not show when a file was made, and no key of a file has it.
    pub(super) hides_births: bool,
}

impl Kernel {
    pub(super) fn new() -> Kernel {
        Kernel {
            now_ns: START_NS,
            boots: Shared::default(),
            path_leads_to: 0,
            had_switch: false,
            clock_steps: Shared::default(),
            pause: None,
            caches: Shared::default(),
            cached_names: Shared::default(),
            budget: EventBudget::default(),
            inodes: Shared::default(),
            names: Shared::default(),
            disk: Shared::default(),
            processes: Vec::new(),
            had_silent_unlock: false,
            had_fault: false,
            death_shows_first: false,
            reports_unlocks: false,
            hides_births: false,
        }
    }

    /// Adds a file that was there from the beginning, last written `age` ago.
    pub(super) fn plant(&mut self, name: &Name, content: &[u8], age: Duration) {
        let ino = self.next_planted_ino();
        let written_ns = self.now_ns - nanos(age);
        let inode = Inode {
            kind: FileKind::Regular,
            links: 1,
            mtime_ns: written_ns,
            born_ns: written_ns,
            content: content.into(),
            creator: None,
            deletion: None,
        };
        self.inodes.insert(ino, inode);
        self.names.insert(name.clone(), ino);
    }

    fn next_planted_ino(&self) -> Ino {
        FIRST_INO + u64::try_from(self.inodes.len()).expect("a world has few files")
    }

    /// The record of a process that died while it held the lock, for the file that is planted next,
    /// `age` ago.
    pub(super) fn record_of_the_dead(&self, key: Option<Key>, age: Duration) -> Record {
        let (ino, written_ns) = (self.next_planted_ino(), self.now_ns - nanos(age));
        let stamp = |key| KernelStamp {
            inode_key: match key {
                Key::Plain => self.plain_key(ino, written_ns),
                Key::OfThisBoot => self.key_of_this_boot(ino),
            },
            start_ticks: 1,
        };
        Record::new(
            DEAD_PID,
            &System::HOST.hostname(),
            written_ns,
            WriterId::from_bytes(*b"a dead writer's."),
            key.map(stamp),
        )
    }

    /// The key of a plain file system.
    fn plain_key(&self, ino: Ino, born_ns: u64) -> u64 {
        let born_ns = if self.hides_births { 0 } else { born_ns };
        KernelStamp::plain_key(ino, born_ns)
    }

    /// The key that names the boot, as a process on the first machine computes it.
    fn key_of_this_boot(&self, ino: Ino) -> u64 {
        let boot_id = self.boot_id(System::HOST);
        let boot_id = boot_id.expect("the first machine has procfs");
        KernelStamp::inode_key(&boot_id, System::HOST.device(), ino)
    }

    /// The content of the file `name`.
    pub(super) fn content(&self, name: &Name) -> Option<&[u8]> {
        let ino = self.names.get(name)?;
        Some(&self.inode(*ino).content)
    }

    /// The same, in the directory to which the path leads.
    pub(super) fn content_at_the_path(&self, name: &str) -> Option<&[u8]> {
        self.content(&name_in(self.path_leads_to, OsStr::new(name)))
    }

    /// Whether the path has come to lead to another directory.
    pub(super) fn had_switch(&self) -> bool {
        self.had_switch
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.names.keys()
    }

    /// Whether any process that examines the lock `name` finds it free: no file is there, or a
    /// record whose stamp is of this kernel and whose kernel lock is free. (While the writer of
    /// the record lives, the lock does not count as free: the writer may have had two faults,
    /// one in its publish and one in its withdrawal.)
    pub(super) fn is_free(&self, name: &str) -> bool {
        let Some(ino) = self.names.get(OsStr::new(name)).copied() else {
            return true;
        };
        let is_locked = self.references(|other| other.ino == ino && other.lock.is_some()) > 0
            || self.is_refused(ino, Sharing::EXAMINE);
        let record = Record::decode(&self.inode(ino).content).ok();
        let Some(stamp) = record.and_then(|record| record.stamp()) else {
            return false;
        };
        let plain_key = self.plain_key(ino, self.inode(ino).born_ns);
        let own_keys = [plain_key, self.key_of_this_boot(ino)];
        let writer_lives = || {
            let mut processes = self.processes.iter();
            processes.any(|it| it.start_ticks == stamp.start_ticks && it.life != Life::Dead)
        };
        !is_locked && own_keys.contains(&stamp.inode_key) && !writer_lives()
    }

    /// Whether a waiter may have received no event although the lock `name` is free: a process that
    /// dies while it examines or breaks the lock generates none, nor does one that gives up after a
    /// fault.
    pub(super) fn may_lack_event(&self, name: &str) -> bool {
        self.had_silent_unlock
            || self.had_switch
            || self.had_fault && self.names.contains_key(OsStr::new(name))
    }
}

/// Puts `value` into the first free slot.
fn fill_slot<T>(table: &mut Vec<Option<T>>, value: T) -> usize {
    let free = table.iter().position(Option::is_none);
    let slot = free.unwrap_or(table.len());
    match table.get_mut(slot) {
        Some(free) => *free = Some(value),
        None => table.push(Some(value)),
    }
    slot
}

/// Empties a slot. Tables end with a used slot, so that equal tables are equal values.
fn free_slot<T>(table: &mut Vec<Option<T>>, slot: usize) {
    if let Some(used) = table.get_mut(slot) {
        *used = None;
    }
    while table.last().is_some_and(Option::is_none) {
        table.pop();
    }
}
