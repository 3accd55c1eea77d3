//! What each call does.

use nix::errno::Errno;

use super::super::call::{Call, Fd, Fork, Reply};
use super::{FlockScope, Kernel, Process, Rules, free_slot};
use crate::sys::hooks::Safeguard;
use crate::sys::{Flock, FlockOutcome, Identity, WakeReason};

impl Kernel {
    /// Executes one call of one process. `None` after the first half of a call that is not atomic:
    ///
    /// - A conversion of a flock drops one lock before it requests the other. flock(2)
    /// - Closing a file reports the close before it drops the lock (seen on Linux 6.18).
    /// - A client of NFS takes the name from an open file before it renames another one to it.
    pub(in crate::sim) fn apply(
        &mut self,
        rules: &Rules,
        pid_index: usize,
        call: &Call,
    ) -> Option<Reply> {
        if self.is_ignored(rules, pid_index, call) {
            return Some(match call {
                Call::Flock(..) => Reply::Flocked(FlockOutcome::Done),
                _ => Reply::Done,
            });
        }
        let is_midway = match call {
            _ if self.process(pid_index).is_midway => false,
            Call::Flock(..) if rules.mandatory_flock => false,
            Call::Flock(fd, operation) => self.begin_conversion(pid_index, *fd, *operation),
            Call::Close(fd) => self.report_close(pid_index, *fd),
            Call::Rename(_, to) if rules.renames_away => self.move_away(pid_index, to),
            _ => false,
        };
        self.process_mut(pid_index).is_midway = is_midway;
        if is_midway {
            return None;
        }
        let reply = self.perform(rules, pid_index, call);
        if reply.is_ok() {
            self.note_changed_names(pid_index, call);
        }
        Some(reply.unwrap_or_else(Reply::failed))
    }

    /// Whether a disabled safeguard makes the call do nothing and report success.
    fn is_ignored(&self, rules: &Rules, pid_index: usize, call: &Call) -> bool {
        match call {
            Call::Flock(fd, Flock::Exclusive) => {
                rules.lacks(Safeguard::KernelLock) && self.is_of_another(pid_index, *fd)
            }
            Call::Sync(..) | Call::SyncDir => rules.lacks(Safeguard::Sync),
            Call::ForgetName(_) => rules.lacks(Safeguard::ForgetName),
            _ => false,
        }
    }

    /// Executes a call, or its second half. A table: one line for each call.
    pub(super) fn perform(
        &mut self,
        rules: &Rules,
        pid_index: usize,
        call: &Call,
    ) -> Result<Reply, Errno> {
        match call {
            Call::Read(fd) | Call::ReadAll(fd)
                if rules.closes_removed_files && self.is_removed(pid_index, *fd) =>
            {
                Err(Errno::EBADF)
            }
            Call::Stat(fd)
            | Call::Read(fd)
            | Call::ReadAll(fd)
            | Call::Write(fd, ..)
            | Call::Truncate(fd)
            | Call::Flock(fd, _)
                if rules.forgets_removed_files && self.is_removed(pid_index, *fd) =>
            {
                Err(Errno::ESTALE)
            }
            Call::OpenDir => {
                self.process_mut(pid_index).pins = rules.pins_directories;
                Ok(Reply::Dir(self.path_leads_to))
            }
            Call::StatDir => Ok(Reply::Dir(self.path_leads_to)),
            Call::SyncDir => Ok(self.sync_names()),
            Call::FileSystem => {
                let system = self.process(pid_index).system;
                Ok(Reply::FileSystem(system.file_system(rules)))
            }
            Call::List(dir) => Ok(self.list(*dir)),
            Call::StatAt(name) => self.stat_at(rules, pid_index, name),
            Call::ForgetName(name) => {
                self.forget_cached_name(pid_index, name);
                Ok(Reply::Done)
            }
            Call::Open(name, access) => self.open(rules, pid_index, name, *access),
            Call::Create(name) => self.create(rules, pid_index, name),
            Call::CreateUnnamed => self.create_unnamed(rules, pid_index),
            Call::Link(fd, name) => self.link(rules, pid_index, *fd, name),
            Call::Rename(from, to) if rules.share_modes.is_some() => {
                self.rename_at(rules, pid_index, from, to)
            }
            Call::Unlink(name) if rules.share_modes.is_some() => {
                self.delete_at(rules, pid_index, name)
            }
            Call::Rename(from, to) => self.rename(from, to),
            Call::RenameNoreplace(from, to) => self.rename_noreplace(rules, from, to),
            Call::Unlink(name) => self.unlink(name),
            Call::OpenShared(name, sharing) => self.open_shared(rules, pid_index, name, *sharing),
            Call::CreateShared(name, sharing) => {
                self.create_shared(rules, pid_index, name, *sharing)
            }
            Call::RenameOpen(fd, name, existing) => {
                self.rename_open(rules, pid_index, *fd, name, *existing)
            }
            Call::DeleteOpen(fd) => self.delete_open(rules, pid_index, *fd),
            Call::IsSameFile(one, other) => self.is_same_file(pid_index, [*one, *other]),
            Call::Stat(fd) => self.stat_open(rules, pid_index, *fd),
            Call::Read(fd) => self.read(rules, pid_index, *fd),
            Call::Write(fd, offset, bytes) => self.write(rules, pid_index, *fd, *offset, bytes),
            Call::Truncate(fd) => self.truncate(rules, pid_index, *fd),
            Call::Flock(..) if rules.flock == FlockScope::Nowhere => {
                Ok(Reply::Flocked(FlockOutcome::Unsupported))
            }
            Call::Flock(fd, operation) => self.flock(rules, pid_index, *fd, *operation),
            Call::Sync(fd, mode) => self.sync(pid_index, *fd, *mode),
            Call::Close(fd) => self.close_by_call(rules, pid_index, *fd),
            Call::Hostname => Ok(Reply::Hostname(self.process(pid_index).system.hostname())),
            Call::IsHostAlias(name) => {
                let own = self.process(pid_index).system.hostname();
                Ok(Reply::IsHostAlias(*name == own))
            }
            Call::BootId => {
                let boot_id = self.boot_id(self.process(pid_index).system);
                boot_id.map(Reply::BootId).ok_or(Errno::ENOENT)
            }
            Call::Identity => Ok(Reply::Identity(self.identity(pid_index))),
            Call::Process(pid) => Ok(Reply::Process(self.liveness(pid_index, *pid))),
            Call::Random => Ok(Reply::Random(self.random_bytes(pid_index))),
            Call::Now => Ok(Reply::Now(self.now(pid_index))),
            Call::ReadAll(fd) => self.read_all(rules, pid_index, *fd),
            Call::StatUncached(fd) => self.stat_uncached(rules, pid_index, *fd),
            Call::LockByte(offset) => Ok(self.lock_byte(pid_index, *offset)),
            Call::IsByteLocked(offset) => Ok(self.is_byte_locked(rules, pid_index, *offset)),
            Call::KernelBootId => {
                let boot_id = self.kernel_boot_id(self.process(pid_index).system);
                boot_id.map(Reply::BootId).ok_or(Errno::ENOENT)
            }
            Call::PidNamespace => {
                let namespace = self.process(pid_index).system.pid_namespace();
                Ok(Reply::PidNamespace(namespace))
            }
            Call::Watch(fd, process, is_locked) => self.watch(pid_index, *fd, *process, *is_locked),
            Call::Unwatch(id) => {
                free_slot(&mut self.process_mut(pid_index).watches, *id);
                Ok(Reply::Done)
            }
            Call::Wait(id, ..) => Ok(self.wake(pid_index, *id)),
            Call::Sleep(..) => Ok(self.wake_from_sleep(pid_index)),
            Call::Fork => {
                self.fork(pid_index);
                Ok(Reply::Fork(Fork::Parent))
            }
            Call::Entered => Ok(self.set_holder(pid_index, true)),
            Call::Left => Ok(self.set_holder(pid_index, false)),
            Call::TakeDescriptors(name) => self.take_descriptors(pid_index, name),
            Call::HasName(id) => {
                let found = self.inodes.get(&id.ino);
                Ok(Reply::HasName(found.is_some_and(|inode| inode.links > 0)))
            }
            Call::BeginLoop => Ok(Reply::Done),
            Call::BeginRound(..) => {
                self.reset_draws(rules, pid_index);
                Ok(Reply::Done)
            }
            Call::Exit => {
                self.kill(pid_index);
                Ok(Reply::Done)
            }
        }
    }

    fn identity(&self, pid_index: usize) -> Identity {
        let Process {
            pid, start_ticks, ..
        } = *self.process(pid_index);
        Identity {
            pid,
            start_ticks,
            generation: 0,
        }
    }

    fn wake_from_sleep(&mut self, pid_index: usize) -> Reply {
        // A sleep that takes no time has no deadline.
        let deadline_ns = self.process_mut(pid_index).deadline_ns.take();
        self.now_ns = self.now_ns.max(deadline_ns.unwrap_or_default());
        Reply::Woken(WakeReason::Timeout)
    }

    fn set_holder(&mut self, pid_index: usize, holds: bool) -> Reply {
        self.process_mut(pid_index).holds = holds;
        Reply::Done
    }

    /// close(2). Where the safeguard is disabled, a process unlocks before it closes: it takes the
    /// lock from all copies of the descriptor.
    fn close_by_call(&mut self, rules: &Rules, pid_index: usize, fd: Fd) -> Result<Reply, Errno> {
        if rules.lacks(Safeguard::CloseOnly) {
            self.flock(rules, pid_index, fd, Flock::Unlock)?;
        }
        self.close(pid_index, fd)
    }
}
