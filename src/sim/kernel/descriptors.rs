//! Descriptors, open file descriptions and their locks.

use std::sync::Arc;

use nix::errno::Errno;

use super::super::call::{Fd, Name, Reply};
use super::{FlockScope, Ino, Kernel, Rules, Sharing, fill_slot, free_slot};
use crate::sys::{FileKind, Flock, FlockOutcome, Prefix, READ_LEN};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct DescriptionId {
    opener: usize,
    slot: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Description {
    pub(super) ino: Ino,
    pub(super) writable: bool,
    pub(super) lock: Option<Lock>,
    /// Whether its last close is reported as an unlock: it was locked once.
    unlocks_at_close: bool,
    pub(super) sharing: Sharing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lock {
    Shared,
    Exclusive,
}

impl Lock {
    fn requested(operation: Flock) -> Option<Lock> {
        match operation {
            Flock::Shared => Some(Lock::Shared),
            Flock::Exclusive => Some(Lock::Exclusive),
            Flock::Unlock => None,
        }
    }

    fn conflicts(self, other: Lock) -> bool {
        self == Lock::Exclusive || other == Lock::Exclusive
    }
}

/// Descriptors and open file descriptions.
impl Kernel {
    pub(super) fn add_descriptor(&mut self, pid_index: usize, ino: Ino, writable: bool) -> Fd {
        let process = self.process_mut(pid_index);
        let description = Description {
            ino,
            writable,
            lock: None,
            unlocks_at_close: false,
            sharing: Sharing::NONE,
        };
        let id = DescriptionId {
            opener: pid_index,
            slot: fill_slot(&mut process.descriptions, description),
        };
        fill_slot(&mut process.descriptors, id)
    }

    pub(super) fn description(
        &self,
        pid_index: usize,
        fd: Fd,
    ) -> Result<(DescriptionId, Description), Errno> {
        let descriptors = &self.process(pid_index).descriptors;
        let id = descriptors.get(fd).copied().flatten();
        let id = id.ok_or(Errno::EBADF)?;
        Ok((id, self.description_of(id)))
    }

    pub(super) fn description_of(&self, id: DescriptionId) -> Description {
        let descriptions = &self.process(id.opener).descriptions;
        let description = descriptions.get(id.slot).copied().flatten();
        description.expect("a description lives while a descriptor refers to it")
    }

    pub(super) fn description_mut(&mut self, id: DescriptionId) -> &mut Description {
        let descriptions = &mut self.process_mut(id.opener).descriptions;
        let description = descriptions.get_mut(id.slot).and_then(Option::as_mut);
        description.expect("a description lives while a descriptor refers to it")
    }

    /// How many descriptors of all processes refer to a description that `matches`.
    pub(super) fn references(&self, matches: impl Fn(&Description) -> bool) -> usize {
        let descriptions = self.used_descriptions();
        let descriptions = descriptions.map(|id| self.description_of(id));
        descriptions.filter(matches).count()
    }

    /// Whether a process of the kernel has the file open.
    pub(super) fn is_open_on(&self, kernel: u8, ino: Ino) -> bool {
        self.used_descriptions().any(|id| {
            let is_here = self.process(id.opener).system.kernel() == kernel;
            is_here && self.description_of(id).ino == ino
        })
    }

    /// The description of each descriptor of each process.
    fn used_descriptions(&self) -> impl Iterator<Item = DescriptionId> {
        let processes = self.processes.iter();
        processes.flat_map(|process| process.descriptors.iter().flatten().copied())
    }

    /// Whether the last name of the file is gone.
    pub(super) fn is_removed(&self, pid_index: usize, fd: Fd) -> bool {
        let found = self.description(pid_index, fd);
        found.is_ok_and(|(_, found)| self.inode(found.ino).links == 0)
    }

    pub(super) fn close(&mut self, pid_index: usize, fd: Fd) -> Result<Reply, Errno> {
        let (id, description) = self.description(pid_index, fd)?;
        self.report_close(pid_index, fd);
        free_slot(&mut self.process_mut(pid_index).descriptors, fd);
        if self.used_descriptions().all(|other| other != id) {
            free_slot(&mut self.process_mut(id.opener).descriptions, id.slot);
            if description.unlocks_at_close {
                self.report_unlock(pid_index, description.ino);
            }
            self.finish_deletion(description.ino, id);
            self.note_close(pid_index, &description);
            self.free_inode(description.ino);
        }
        Ok(Reply::Done)
    }

    /// Notifies the watches of a file that its last descriptor open for writing is about to be
    /// closed. They receive this once, before the file's lock is dropped. False if no watch is
    /// notified.
    pub(super) fn report_close(&mut self, pid_index: usize, fd: Fd) -> bool {
        let Ok((id, description)) = self.description(pid_index, fd) else {
            return false;
        };
        let copies = self.used_descriptions().filter(|other| *other == id);
        let is_last = copies.count() == 1;
        let notifies = is_last
            && !self.reports_unlocks
            && description.writable
            && !description.sharing.is_windows()
            && self.is_watched(description.ino);
        if notifies {
            self.notify_watches(description.ino);
            self.description_mut(id).writable = false;
        }
        notifies
    }

    pub(super) fn close_all(&mut self, pid_index: usize) {
        for fd in 0..self.process(pid_index).descriptors.len() {
            // A gap in the table is no error.
            let _ = self.close(pid_index, fd);
        }
        self.process_mut(pid_index).bytes.clear();
    }

    /// Does what foreign code in a process may do: closes its descriptors, and opens the file
    /// `name` for writing until the new descriptors have all their numbers.
    pub(super) fn take_descriptors(
        &mut self,
        pid_index: usize,
        name: &Name,
    ) -> Result<Reply, Errno> {
        let ino = self.find(name)?;
        let taken = self.process(pid_index).descriptors.len();
        self.close_all(pid_index);
        for _ in 0..taken {
            self.add_descriptor(pid_index, ino, true);
        }
        Ok(Reply::Done)
    }

    /// EACCES where a mandatory lock of another descriptor forbids to read or to write the file.
    fn ensure_permitted(
        &self,
        rules: &Rules,
        id: DescriptionId,
        ino: Ino,
        forbids: impl Fn(Lock) -> bool,
    ) -> Result<(), Errno> {
        let mut others = self.used_descriptions().filter(|other| *other != id);
        let is_forbidden = others.any(|other| {
            let other = self.description_of(other);
            other.ino == ino && other.lock.is_some_and(&forbids)
        });
        match rules.mandatory_flock && is_forbidden {
            true => Err(rules.locked_against),
            false => Ok(()),
        }
    }

    pub(super) fn read(&mut self, rules: &Rules, pid_index: usize, fd: Fd) -> Result<Reply, Errno> {
        let content = self.content_of(rules, pid_index, fd)?;
        let prefix = Prefix::read(|buffer| {
            for (to, from) in buffer.iter_mut().zip(content.iter()) {
                *to = *from;
            }
            Ok(content.len().min(READ_LEN))
        });
        let prefix = prefix.expect("reading from memory does not fail");
        Ok(Reply::Prefix(prefix))
    }

    /// All of the file, however long it is.
    pub(super) fn read_all(
        &mut self,
        rules: &Rules,
        pid_index: usize,
        fd: Fd,
    ) -> Result<Reply, Errno> {
        Ok(Reply::Bytes(self.content_of(rules, pid_index, fd)?))
    }

    fn content_of(&mut self, rules: &Rules, pid_index: usize, fd: Fd) -> Result<Arc<[u8]>, Errno> {
        let (id, Description { ino, .. }) = self.description(pid_index, fd)?;
        self.ensure_permitted(rules, id, ino, |lock| lock == Lock::Exclusive)?;
        if self.inode(ino).kind != FileKind::Regular {
            return Err(Errno::EISDIR);
        }
        Ok(self.seen(rules, pid_index, ino).content)
    }

    pub(super) fn write(
        &mut self,
        rules: &Rules,
        pid_index: usize,
        fd: Fd,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Reply, Errno> {
        let (id, description) = self.description(pid_index, fd)?;
        if !description.writable {
            return Err(Errno::EBADF);
        }
        self.ensure_permitted(rules, id, description.ino, |_| true)?;
        let now_ns = self.file_time_ns(rules);
        let inode = self.inode_mut(description.ino);
        let start = usize::try_from(offset).map_err(|_| Errno::EFBIG)?;
        let end = start + bytes.len();
        let mut content = inode.content.to_vec();
        content.resize(content.len().max(end), 0);
        let written = content.get_mut(start..end);
        let written = written.expect("the content was resized");
        written.copy_from_slice(bytes);
        inode.content = content.into();
        inode.mtime_ns = now_ns;
        Ok(Reply::Done)
    }

    pub(super) fn truncate(
        &mut self,
        rules: &Rules,
        pid_index: usize,
        fd: Fd,
    ) -> Result<Reply, Errno> {
        let (id, description) = self.description(pid_index, fd)?;
        if !description.writable {
            return Err(Errno::EINVAL);
        }
        self.ensure_permitted(rules, id, description.ino, |_| true)?;
        let now_ns = self.file_time_ns(rules);
        let inode = self.inode_mut(description.ino);
        inode.content = Arc::new([]);
        inode.mtime_ns = now_ns;
        Ok(Reply::Done)
    }
}

/// flock(2), with LOCK_NB.
impl Kernel {
    /// A conversion drops the lock that it has before it requests the other one. If the request
    /// would block, it has neither. A mandatory lock is not converted: the request is refused.
    pub(super) fn flock(
        &mut self,
        rules: &Rules,
        pid_index: usize,
        fd: Fd,
        operation: Flock,
    ) -> Result<Reply, Errno> {
        let (id, description) = self.description(pid_index, fd)?;
        let requested = Lock::requested(operation);
        let system = self.process(pid_index).system;
        let is_excluded = |other: &DescriptionId| {
            let their_system = self.process(other.opener).system;
            *other != id
                && (rules.flock == FlockScope::Everywhere
                    || system.shares_inodes_with(&their_system))
        };
        let blocks = |other: Description| {
            let locks = requested.zip(other.lock);
            other.ino == description.ino && locks.is_some_and(|(own, other)| own.conflicts(other))
        };
        let would_block = self
            .used_descriptions()
            .filter(is_excluded)
            .any(|other| blocks(self.description_of(other)));
        let converts = description.lock.is_some() && requested.is_some();
        if rules.mandatory_flock && (would_block || converts) {
            return Err(Errno::EACCES);
        }
        let reports_unlocks = self.reports_unlocks;
        let opened = self.description_mut(id);
        opened.lock = requested.filter(|_| !would_block);
        opened.unlocks_at_close |= reports_unlocks && opened.lock.is_some();
        // Also an unlock that finds no lock.
        if reports_unlocks && requested.is_none() {
            self.report_unlock(pid_index, description.ino);
        }
        Ok(Reply::Flocked(if would_block {
            FlockOutcome::WouldBlock
        } else {
            FlockOutcome::Done
        }))
    }

    /// Drops the lock that a conversion gives up. False if this is no conversion.
    pub(super) fn begin_conversion(&mut self, pid_index: usize, fd: Fd, operation: Flock) -> bool {
        let Ok((id, description)) = self.description(pid_index, fd) else {
            return false;
        };
        let requested = Lock::requested(operation);
        let converts =
            description.lock.is_some() && requested.is_some() && description.lock != requested;
        if converts {
            self.description_mut(id).lock = None;
        }
        converts
    }
}
