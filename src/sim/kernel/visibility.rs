//! Which calls no other process can observe. The search executes these at once, because it makes no
//! difference when they happen.

use super::super::call::{Call, Fd, Name};
use super::{Description, Ino, Kernel, Rules, Sharing};
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
    /// - Reading what no process writes.
    /// - A sync, in a world that does not lose power.
    /// - Locking a byte: its number is drawn at random, and no table names it yet.
    /// - The report that a hold begins: the hold begins with the return of the call before it.
    ///
    /// In a coarse world, these are private as well:
    ///
    /// - Creating files without a name or under a temporary one, and closing files, because inode
    ///   numbers are not given out again. (But not closing a file that is locked, watched, deleted, or
    ///   not shared.)
    /// - Reading the clock, which stands still while any process can run.
    /// - fstat of an open file: the facts that change are not reported.
    pub(in crate::sim) fn is_private(&self, rules: &Rules, pid_index: usize, call: &Call) -> bool {
        if !self.possible_faults(rules, pid_index, call).is_empty() {
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
            Call::Flock(fd, _) => self.is_hidden(pid_index, *fd),
            Call::Write(fd, ..) => self.clocks_are_steady() && self.is_hidden(pid_index, *fd),
            Call::Read(_) | Call::ReadAll(_) if rules.mandatory_flock => false,
            Call::Read(_) | Call::ReadAll(_) if rules.closes_removed_files => false,
            Call::Read(fd) | Call::ReadAll(fd) => {
                !rules.named_writes || self.is_hidden(pid_index, *fd)
            }
            Call::Stat(_) if rules.forgets_removed_files => false,
            Call::Stat(fd) => rules.coarse && !rules.named_writes || self.is_hidden(pid_index, *fd),
            Call::Close(fd) => rules.coarse && self.is_idle(pid_index, *fd),
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

    /// Whether closing the descriptor changes nothing but which inode numbers are free.
    fn is_idle(&self, pid_index: usize, fd: Fd) -> bool {
        let found = self.description(pid_index, fd);
        found.is_ok_and(|(_, found)| {
            found.lock.is_none()
                && found.sharing.refuses_none()
                && self.inode(found.ino).deletion.is_none()
                && !self.is_watched(found.ino)
        })
    }

    /// Whether the file has no name, a single descriptor refers to it, and no process watches it:
    /// no other process can reach it until it is linked. Where files are made with a temporary name, a
    /// process that finds the name skips the file, since it is young and its maker has it open.
    fn is_hidden(&self, pid_index: usize, fd: Fd) -> bool {
        let Ok((_, Description { ino, sharing, .. })) = self.description(pid_index, fd) else {
            return false;
        };
        (self.inode(ino).links == 0 || sharing == Sharing::HOLD && self.is_private_file(ino))
            && self.references(|other| other.ino == ino) == 1
            && !self.is_watched(ino)
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
