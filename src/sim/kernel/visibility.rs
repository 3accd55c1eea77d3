//! Which calls no other process can observe. The search executes these at once, because it makes no
//! difference when they happen.
//!
//! This is the partial order reduction of the search: a private call is the only step that is taken of
//! its state (an ample set of one step). It is sound because
//!
//! - the call is independent of every step of every other process, now and later, and of the kill of
//!   its own process: the two orders lead to one state;
//! - no promise is checked on what it changes;
//! - no run of private calls is endless: after [`SPIN_LIMIT`](super::super::SPIN_LIMIT) of them the
//!   search reports the program. So every other step is taken in the end.
//!
//! Then the search reaches every state in which nothing can happen any more, and every violation
//! ([`World::without_reduction`](crate::sim::World::without_reduction) is the search to compare with).

use super::super::call::{Call, Cancel, Fd, Name};
use super::{Description, FlockScope, Ino, Kernel, Rules, Sharing};
use crate::judge::FileSystem;
use crate::sys::Liveness;

impl Kernel {
    /// Whether it makes no difference when `call` happens, as long as that is before its process's
    /// next call: no other process can observe `call` or change its outcome. Then it also makes
    /// no difference whether another process runs, or this one dies, right before it.
    ///
    /// A call that may fail is never private. Where clocks may be set, no call is private that
    /// reads a clock or dates a file. Otherwise these are private:
    ///
    /// - Facts about the process itself, and constants.
    /// - Calls on a hidden file. (But not its creation or its end: they decide which process gets
    ///   which inode number.)
    /// - Reading what no process writes, or none but the process that reads.
    /// - A sync, in a world that does not lose power.
    /// - Locking a byte: its number is drawn at random, and no table names it yet.
    /// - The report that a hold begins: the hold begins with the return of the call before it.
    /// - A flock that excludes no other process, off local file systems: there no process waits for its
    ///   end.
    ///
    /// In a coarse world, these are private as well:
    ///
    /// - Creating files without a name or under a temporary one, and closing files, because inode
    ///   numbers are not given out again. (But not closing a file that is locked, watched, deleted, or
    ///   not shared.)
    /// - Reading the clock, which stands still while any process can run.
    /// - fstat of an open file: the facts that change are not reported.
    /// - A sleep that takes no time.
    pub(in crate::sim) fn is_private(&self, rules: &Rules, pid_index: usize, call: &Call) -> bool {
        if rules.no_reduction || !self.possible_faults(rules, pid_index, call).is_empty() {
            return false;
        }
        match call {
            Call::OpenDir | Call::StatDir => self.budget.switches == 0,
            Call::FileSystem
            | Call::Hostname
            | Call::IsHostAlias(_)
            | Call::BootId
            | Call::KernelBootId
            | Call::PidNamespace
            | Call::LockByte(_)
            | Call::Identity
            | Call::Random
            | Call::Unwatch(_)
            | Call::Entered
            | Call::BeginLoop
            | Call::IsSameFile(..)
            | Call::BeginRound(..) => true,
            Call::SyncDir | Call::Sync(..) => !self.may_lose_power(),
            Call::Process(pid) => {
                let is_dead = || self.liveness(pid_index, *pid) == Liveness::Dead;
                *pid == self.process(pid_index).pid || !self.reuses_pids() && is_dead()
            }
            Call::Flock(fd, _) => {
                self.is_hidden(pid_index, *fd) || self.excludes_no_other(rules, pid_index)
            }
            Call::Write(fd, ..) => self.clocks_are_steady() && self.is_hidden(pid_index, *fd),
            Call::Read(_) | Call::ReadAll(_) if rules.mandatory_flock => false,
            Call::Read(_) | Call::ReadAll(_) if rules.closes_removed_files => false,
            Call::Read(fd) | Call::ReadAll(fd) => {
                self.is_written_by_no_other(rules, pid_index, *fd)
            }
            Call::Stat(_) if rules.forgets_removed_files => false,
            Call::Stat(fd) if rules.coarse => self.is_written_by_no_other(rules, pid_index, *fd),
            Call::Stat(fd) => self.is_hidden(pid_index, *fd),
            Call::Close(fd) => rules.coarse && self.is_idle(rules, pid_index, *fd),
            Call::Sleep(time, Cancel::Never) => rules.coarse && rules.length_of(*time).is_zero(),
            Call::CreateUnnamed => rules.coarse && self.clocks_are_steady(),
            Call::CreateShared(name, _) => {
                rules.coarse && self.clocks_are_steady() && is_temporary(name)
            }
            Call::Now => rules.coarse && self.clocks_change_in_sleep_alone(),
            _ => false,
        }
    }

    /// Whether `call` writes to a file that other processes can read.
    pub(in crate::sim) fn is_named_write(&self, pid_index: usize, call: &Call) -> bool {
        matches!(call, Call::Write(fd, ..) | Call::Truncate(fd) if !self.is_hidden(pid_index, *fd))
    }

    /// Whether `call` writes into a file that this process did not create.
    pub(in crate::sim) fn is_write_to_another(&self, pid_index: usize, call: &Call) -> bool {
        matches!(call, Call::Write(fd, ..) | Call::Truncate(fd) if self.is_of_another(pid_index, *fd))
    }

    /// Whether the file is open and this process did not create it.
    pub(super) fn is_of_another(&self, pid_index: usize, fd: Fd) -> bool {
        let found = self.description(pid_index, fd);
        found.is_ok_and(|(_, found)| self.inode(found.ino).creator != Some(pid_index))
    }

    /// Whether no other process can change, from now on, what reading the open file shows. A process
    /// writes only into the files that it made: another write is a violation. A dead process that is
    /// not started again leaves its files as they are.
    fn is_written_by_no_other(&self, rules: &Rules, pid_index: usize, fd: Fd) -> bool {
        let Ok((_, Description { ino, .. })) = self.description(pid_index, fd) else {
            return false;
        };
        let is_past = |creator| creator == pid_index || self.is_dead(creator);
        let is_final = self.inode(ino).creator.is_none_or(is_past)
            && !rules.forgets_removed_files
            && rules.cached_for.is_none();
        !rules.named_writes || is_final || self.is_hidden(pid_index, fd)
    }

    /// Whether no other process can see this one's flocks.
    fn excludes_no_other(&self, rules: &Rules, pid_index: usize) -> bool {
        let is_unshared = match rules.flock {
            FlockScope::Nowhere => true,
            FlockScope::SameKernel => self.is_alone_on_its_kernel(pid_index),
            FlockScope::Everywhere => false,
        };
        is_unshared && rules.file_system == FileSystem::NotLocal && !rules.forgets_removed_files
    }

    fn is_alone_on_its_kernel(&self, pid_index: usize) -> bool {
        let system = self.process(pid_index).system;
        let mut others = (0..self.processes.len()).filter(|other| *other != pid_index);
        others.all(|other| {
            self.is_dead(other) || self.process(other).system.kernel() != system.kernel()
        })
    }

    /// Whether closing the descriptor changes nothing but which inode numbers are free.
    fn is_idle(&self, rules: &Rules, pid_index: usize, fd: Fd) -> bool {
        let found = self.description(pid_index, fd);
        found.is_ok_and(|(_, found)| {
            (found.lock.is_none() || self.excludes_no_other(rules, pid_index))
                && found.sharing.refuses_none()
                && self.inode(found.ino).deletion.is_none()
                && !self.is_watched(found.ino)
        })
    }

    /// Whether the file has no name, a single descriptor refers to it, no process watches it, and no kernel
    /// opens it by what it remembers: no other process can reach it until it is linked. Where files are made
    /// with a temporary name, a process that finds the name skips the file, since it is young and its maker
    /// has it open.
    pub(super) fn is_hidden(&self, pid_index: usize, fd: Fd) -> bool {
        let Ok((_, Description { ino, sharing, .. })) = self.description(pid_index, fd) else {
            return false;
        };
        (self.inode(ino).links == 0 || sharing == Sharing::HOLD && self.is_private_file(ino))
            && self.references(|other| other.ino == ino) == 1
            && !self.is_watched(ino)
            && !self.is_remembered(ino)
    }

    /// Whether the file has a temporary name alone.
    fn is_private_file(&self, ino: Ino) -> bool {
        let mut names = self.names.iter().filter(|(_, at)| **at == ino);
        names.all(|(name, _)| is_temporary(name))
    }

    pub(super) fn is_watched(&self, ino: Ino) -> bool {
        let mut processes = self.processes.iter();
        processes.any(|process| {
            let mut watches = process.watches.iter().flatten();
            watches.any(|watch| watch.ino == Some(ino))
        })
    }
}

/// Whether the name is one that a publisher or a breaker has drawn.
pub(super) fn is_temporary(name: &Name) -> bool {
    name.to_str().is_some_and(|name| name.contains(".rvlf-"))
}
