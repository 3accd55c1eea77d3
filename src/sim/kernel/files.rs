//! Names, inodes, open file descriptions and their locks.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use super::super::call::{Fd, Name, Reply};
use super::{DEV, FIRST_INO, FlockScope, Kernel, Process, Rules, fill_slot, free_slot};
use crate::sys::hooks::Safeguard;
use crate::sys::{Access, FileId, FileKind, Flock, FlockOutcome, Prefix, READ_LEN, Stat, nanos};

/// How long a file is invisible to other kernels on a mount whose exclusive create lies.
const CREATE_WINDOW: Duration = Duration::from_millis(50);

/// An inode number. The lowest free number is given out first, as on ext4.
pub(super) type Ino = u64;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Inode {
    pub(super) kind: FileKind,
    pub(super) links: u64,
    pub(super) mtime_ns: u64,
    pub(super) born_ns: u64,
    pub(super) content: Arc<[u8]>,
    /// The process that created the file. `None` for a file that was there from the beginning.
    pub(super) creator: Option<usize>,
}

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

/// Names and inodes.
impl Kernel {
    pub(super) fn find(&self, name: &Name) -> Result<Ino, Errno> {
        self.names.get(name).copied().ok_or(Errno::ENOENT)
    }

    /// The lowest free number; in a coarse world, a number that no other file ever has.
    fn next_ino(&self, rules: &Rules, pid_index: usize) -> Ino {
        let is_free = |ino: &Ino| !self.inodes.contains_key(ino);
        if rules.coarse {
            let free = self.inos_of_run(pid_index).find(is_free);
            free.expect("a run creates few files")
        } else {
            let free = (FIRST_INO..).find(is_free);
            free.expect("there are more numbers than files")
        }
    }

    /// In a coarse world: the inode numbers of one run of one process.
    pub(super) fn inos_of_run(&self, pid_index: usize) -> Range<Ino> {
        let Process {
            start_ticks, run, ..
        } = *self.process(pid_index);
        let first = start_ticks * 10_000 + u64::from(run) * 100;
        first..first + 100
    }

    /// Makes a file without a name.
    fn make_inode(&mut self, rules: &Rules, pid_index: usize) -> Ino {
        let ino = self.next_ino(rules, pid_index);
        self.forget_on_disk(ino);
        let now_ns = self.file_time_ns(rules);
        let inode = Inode {
            kind: FileKind::Regular,
            links: 0,
            mtime_ns: now_ns,
            born_ns: now_ns,
            content: Arc::new([]),
            creator: Some(pid_index),
        };
        self.inodes.insert(ino, inode);
        ino
    }

    pub(super) fn inode(&self, ino: Ino) -> &Inode {
        let inode = self.inodes.get(&ino);
        inode.expect("an inode lives while anything refers to it")
    }

    pub(super) fn inode_mut(&mut self, ino: Ino) -> &mut Inode {
        let inode = self.inodes.get_mut(&ino);
        inode.expect("an inode lives while anything refers to it")
    }

    pub(super) fn stat_open(
        &self,
        rules: &Rules,
        pid_index: usize,
        fd: Fd,
    ) -> Result<Reply, Errno> {
        let (_, Description { ino, .. }) = self.description(pid_index, fd)?;
        let stat = self.stat(ino);
        Ok(Reply::Stat(Stat {
            born_ns: Some(self.inode(ino).born_ns),
            links: if rules.coarse { 1 } else { stat.links },
            ..stat
        }))
    }

    pub(super) fn stat(&self, ino: Ino) -> Stat {
        let inode = self.inode(ino);
        Stat {
            id: FileId { dev: DEV, ino },
            kind: inode.kind,
            links: inode.links,
            uid: 1000,
            mtime_ns: inode.mtime_ns,
            born_ns: None,
        }
    }

    pub(super) fn open(
        &mut self,
        pid_index: usize,
        name: &Name,
        access: Access,
    ) -> Result<Reply, Errno> {
        let ino = self.find(name)?;
        let writable = access == Access::ReadWrite;
        match self.inode(ino).kind {
            FileKind::Symlink => Err(Errno::ELOOP),
            FileKind::Socket => Err(Errno::ENXIO),
            FileKind::Directory if writable => Err(Errno::EISDIR),
            _ => Ok(Reply::File(self.add_descriptor(pid_index, ino, writable))),
        }
    }

    /// open(2) with O_CREAT and O_EXCL.
    pub(super) fn create(
        &mut self,
        rules: &Rules,
        pid_index: usize,
        name: &Name,
    ) -> Result<Reply, Errno> {
        let existing = self.names.get(name).copied();
        let is_seen =
            |ino: Ino| !rules.exclusive_create_lies || !self.is_invisible_to(pid_index, ino);
        if existing.is_some_and(is_seen) {
            return Err(Errno::EEXIST);
        }
        let ino = self.make_inode(rules, pid_index);
        self.inode_mut(ino).links = 1;
        self.names.insert(name.clone(), ino);
        if let Some(replaced) = existing {
            self.drop_link(replaced);
        }
        Ok(Reply::File(self.add_descriptor(pid_index, ino, true)))
    }

    /// open(2) with O_TMPFILE.
    pub(super) fn create_unnamed(
        &mut self,
        rules: &Rules,
        pid_index: usize,
    ) -> Result<Reply, Errno> {
        if !rules.unnamed {
            return Err(Errno::ENOTSUP);
        }
        let ino = self.make_inode(rules, pid_index);
        Ok(Reply::File(self.add_descriptor(pid_index, ino, true)))
    }

    /// Whether another kernel created the file so recently that a lying mount does not show it yet.
    fn is_invisible_to(&self, pid_index: usize, ino: Ino) -> bool {
        let Inode {
            creator, born_ns, ..
        } = *self.inode(ino);
        let kernel_of = |pid_index| self.process(pid_index).system.kernel();
        creator.is_some_and(|creator| kernel_of(creator) != kernel_of(pid_index))
            && self.now_ns - born_ns < nanos(CREATE_WINDOW)
    }

    pub(super) fn link(
        &mut self,
        rules: &Rules,
        pid_index: usize,
        fd: Fd,
        name: &Name,
    ) -> Result<Reply, Errno> {
        if !rules.links {
            return Err(Errno::ENOTSUP);
        }
        let ino = self.description(pid_index, fd)?.1.ino;
        if self.names.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        self.names.insert(name.clone(), ino);
        self.inode_mut(ino).links += 1;
        self.notify_watches(ino);
        Ok(Reply::Done)
    }

    pub(super) fn rename(&mut self, from: &Name, to: &Name) -> Result<Reply, Errno> {
        let ino = self.find(from)?;
        // Two names of one inode: rename(2) does nothing.
        if self.names.get(to) == Some(&ino) {
            return Ok(Reply::Done);
        }
        self.names.remove(from);
        let replaced = self.names.insert(to.clone(), ino);
        self.notify_watches(ino);
        if let Some(replaced) = replaced {
            self.drop_link(replaced);
        }
        Ok(Reply::Done)
    }

    pub(super) fn rename_noreplace(
        &mut self,
        rules: &Rules,
        from: &Name,
        to: &Name,
    ) -> Result<Reply, Errno> {
        if self.names.contains_key(to) && !rules.lacks(Safeguard::PutBackNoReplace) {
            return Err(Errno::EEXIST);
        }
        self.rename(from, to)
    }

    pub(super) fn unlink(&mut self, name: &Name) -> Result<Reply, Errno> {
        let ino = self.find(name)?;
        if self.inode(ino).kind == FileKind::Directory {
            return Err(Errno::EISDIR);
        }
        self.names.remove(name);
        self.drop_link(ino);
        Ok(Reply::Done)
    }

    fn drop_link(&mut self, ino: Ino) {
        self.inode_mut(ino).links -= 1;
        self.notify_watches(ino);
        self.free_inode(ino);
    }

    /// Frees an inode that has neither a name nor a descriptor, and its number with it.
    fn free_inode(&mut self, ino: Ino) {
        if self.inode(ino).links > 0 || self.references(|other| other.ino == ino) > 0 {
            return;
        }
        self.inodes.remove(&ino);
        for watch in self.watches_of(ino) {
            watch.ino = None;
        }
    }
}

/// Descriptors and open file descriptions.
impl Kernel {
    fn add_descriptor(&mut self, pid_index: usize, ino: Ino, writable: bool) -> Fd {
        let process = self.process_mut(pid_index);
        let description = Description {
            ino,
            writable,
            lock: None,
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

    fn description_mut(&mut self, id: DescriptionId) -> &mut Description {
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
        let notifies = is_last && description.writable && self.is_watched(description.ino);
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

    pub(super) fn read(&self, pid_index: usize, fd: Fd) -> Result<Reply, Errno> {
        let inode = self.inode(self.description(pid_index, fd)?.1.ino);
        if inode.kind != FileKind::Regular {
            return Err(Errno::EISDIR);
        }
        let prefix = Prefix::read(|buffer| {
            for (to, from) in buffer.iter_mut().zip(inode.content.iter()) {
                *to = *from;
            }
            Ok(inode.content.len().min(READ_LEN))
        });
        let prefix = prefix.expect("reading from memory does not fail");
        Ok(Reply::Prefix(prefix))
    }

    pub(super) fn write(
        &mut self,
        rules: &Rules,
        pid_index: usize,
        fd: Fd,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Reply, Errno> {
        let (_, description) = self.description(pid_index, fd)?;
        if !description.writable {
            return Err(Errno::EBADF);
        }
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
}

/// flock(2), with LOCK_NB.
impl Kernel {
    /// A conversion drops the lock that it has before it requests the other one. If the request
    /// would block, it has neither.
    pub(super) fn flock(
        &mut self,
        rules: &Rules,
        pid_index: usize,
        fd: Fd,
        operation: Flock,
    ) -> Result<Reply, Errno> {
        let (id, description) = self.description(pid_index, fd)?;
        let requested = Lock::requested(operation);
        let kernel = self.process(pid_index).system.kernel();
        let is_excluded = |other: &DescriptionId| {
            *other != id
                && (rules.flock == FlockScope::Everywhere
                    || self.process(other.opener).system.kernel() == kernel)
        };
        let blocks = |other: Description| {
            let locks = requested.zip(other.lock);
            other.ino == description.ino && locks.is_some_and(|(own, other)| own.conflicts(other))
        };
        let would_block = self
            .used_descriptions()
            .filter(is_excluded)
            .any(|other| blocks(self.description_of(other)));
        self.description_mut(id).lock = requested.filter(|_| !would_block);
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
