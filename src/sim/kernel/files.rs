//! Names, inodes, open file descriptions and their locks.

use std::ops::Range;
use std::sync::Arc;

use nix::errno::Errno;

use super::super::call::{Fd, Name, Reply};
use super::{
    DEV, Description, DescriptionId, FIRST_INO, Ino, Inode, Kernel, LIE, Lock, Process, Reach,
    Rules, first_free, free, nanos,
};
use crate::sys::{Access, FileId, FileKind, Flock, Flocked, Head, READ_LEN, Stat};

impl Kernel {
    // Names and inodes.

    pub(super) fn find(&self, name: &Name) -> Result<Ino, Errno> {
        self.names.get(name).copied().ok_or(Errno::ENOENT)
    }

    /// The lowest free number; in a coarse world one that no other file ever has.
    pub(super) fn next_ino(&self, rules: &Rules, who: usize) -> Ino {
        if !rules.coarse {
            let free = (FIRST_INO..).find(|ino| !self.inodes.contains_key(ino));
            return free.expect("there are more numbers than files");
        }
        let free = self
            .own_numbers(who)
            .find(|ino| !self.inodes.contains_key(ino));
        free.expect("a round makes a handful of files")
    }

    /// In a coarse world, the inode numbers of one round of one process.
    pub(super) fn own_numbers(&self, who: usize) -> Range<Ino> {
        let Process {
            start_ticks, round, ..
        } = *self.process(who);
        let first = start_ticks * 10_000 + u64::from(round) * 100;
        first..first + 100
    }

    pub(super) fn make_inode(&mut self, rules: &Rules, who: usize, ino: Ino) {
        self.forget_on_disk(ino);
        let now_ns = self.file_time_ns(rules);
        let content = Arc::new([]);
        let inode = Inode {
            kind: FileKind::Regular,
            links: 0,
            mtime_ns: now_ns,
            born_ns: now_ns,
            content,
            maker: Some(who),
        };
        self.inodes.insert(ino, inode);
    }

    pub(super) fn inode(&self, ino: Ino) -> &Inode {
        self.inodes
            .get(&ino)
            .expect("inodes live while something refers to them")
    }

    pub(super) fn inode_mut(&mut self, ino: Ino) -> &mut Inode {
        self.inodes
            .get_mut(&ino)
            .expect("inodes live while something refers to them")
    }

    pub(super) fn stat_open(&self, rules: &Rules, who: usize, fd: Fd) -> Result<Stat, Errno> {
        let (_, Description { ino, .. }) = self.description(who, fd)?;
        let stat = Stat {
            born_ns: Some(self.inode(ino).born_ns),
            ..self.stat(ino)
        };
        Ok(if rules.coarse {
            Stat { links: 1, ..stat }
        } else {
            stat
        })
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

    pub(super) fn open(&mut self, who: usize, name: &Name, access: Access) -> Result<Fd, Errno> {
        let ino = self.find(name)?;
        match self.inode(ino).kind {
            FileKind::Symlink => Err(Errno::ELOOP),
            FileKind::Socket => Err(Errno::ENXIO),
            FileKind::Directory if access == Access::ReadWrite => Err(Errno::EISDIR),
            _ => Ok(self.describe(who, ino, access == Access::ReadWrite)),
        }
    }

    pub(super) fn create(&mut self, rules: &Rules, who: usize, name: &Name) -> Result<Fd, Errno> {
        let there = self.names.get(name).copied();
        if there.is_some_and(|ino| !rules.exclusive_lies || !self.is_unseen(who, ino)) {
            return Err(Errno::EEXIST);
        }
        let ino = self.next_ino(rules, who);
        self.make_inode(rules, who, ino);
        self.inode_mut(ino).links = 1;
        self.names.insert(name.clone(), ino);
        there.into_iter().for_each(|ino| self.drop_link(ino));
        Ok(self.describe(who, ino, true))
    }

    /// Whether another kernel made the file so lately that a lying mount does not show it yet.
    fn is_unseen(&self, who: usize, ino: Ino) -> bool {
        let Inode { maker, born_ns, .. } = *self.inode(ino);
        let kernel = self.process(who).system.kernel();
        let foreign = maker.is_some_and(|maker| self.process(maker).system.kernel() != kernel);
        foreign && self.now_ns - born_ns < nanos(LIE)
    }

    pub(super) fn link(&mut self, who: usize, fd: Fd, name: &Name) -> Result<Reply, Errno> {
        let ino = self.description(who, fd)?.1.ino;
        if self.names.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        self.names.insert(name.clone(), ino);
        self.inode_mut(ino).links += 1;
        self.report(ino);
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
        self.report(ino);
        replaced.into_iter().for_each(|ino| self.drop_link(ino));
        Ok(Reply::Done)
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

    pub(super) fn drop_link(&mut self, ino: Ino) {
        self.inode_mut(ino).links -= 1;
        self.report(ino);
        self.reap(ino);
    }

    /// Frees an inode that has neither a name nor a descriptor, and its number with it.
    pub(super) fn reap(&mut self, ino: Ino) {
        if self.inode(ino).links > 0 || self.references(|other| other.ino == ino) > 0 {
            return;
        }
        self.inodes.remove(&ino);
        for watch in self.watches_of(ino) {
            watch.ino = None;
        }
    }

    // Descriptors.

    pub(super) fn describe(&mut self, who: usize, ino: Ino, writable: bool) -> Fd {
        let process = self.process_mut(who);
        let description = Description {
            ino,
            writable,
            lock: None,
        };
        let index = first_free(&mut process.descriptions, description);
        first_free(
            &mut process.descriptors,
            DescriptionId { opener: who, index },
        )
    }

    pub(super) fn description(
        &self,
        who: usize,
        fd: Fd,
    ) -> Result<(DescriptionId, Description), Errno> {
        let id = self
            .process(who)
            .descriptors
            .get(fd)
            .copied()
            .flatten()
            .ok_or(Errno::EBADF)?;
        Ok((id, self.description_of(id)))
    }

    pub(super) fn description_of(&self, id: DescriptionId) -> Description {
        let description = self
            .process(id.opener)
            .descriptions
            .get(id.index)
            .copied()
            .flatten();
        description.expect("descriptions live while a descriptor refers to them")
    }

    pub(super) fn description_mut(&mut self, id: DescriptionId) -> &mut Description {
        let descriptions = &mut self.process_mut(id.opener).descriptions;
        let description = descriptions.get_mut(id.index).and_then(Option::as_mut);
        description.expect("descriptions live while a descriptor refers to them")
    }

    /// How many descriptors of all processes refer to a description like this.
    pub(super) fn references(&self, like: impl Fn(&Description) -> bool) -> usize {
        self.used()
            .filter(|id| like(&self.description_of(*id)))
            .count()
    }

    pub(super) fn used(&self) -> impl Iterator<Item = DescriptionId> {
        self.processes
            .iter()
            .flat_map(|process| process.descriptors.iter().flatten())
            .copied()
    }

    pub(super) fn close(&mut self, who: usize, fd: Fd) -> Result<Reply, Errno> {
        let (id, description) = self.description(who, fd)?;
        self.announce_close(who, fd);
        free(&mut self.process_mut(who).descriptors, fd);
        if self.used().all(|other| other != id) {
            free(&mut self.process_mut(id.opener).descriptions, id.index);
            self.reap(description.ino);
        }
        Ok(Reply::Done)
    }

    /// Tells those who watch a file that a descriptor open for writing goes. They hear it once, before
    /// its lock goes. False if nobody is told.
    pub(super) fn announce_close(&mut self, who: usize, fd: Fd) -> bool {
        let Ok((id, description)) = self.description(who, fd) else {
            return false;
        };
        let is_last = self.used().filter(|other| *other == id).count() == 1;
        let tells = is_last && description.writable && self.is_watched(description.ino);
        if tells {
            self.report(description.ino);
            self.description_mut(id).writable = false;
        }
        tells
    }

    pub(super) fn close_all(&mut self, who: usize) {
        for fd in 0..self.process(who).descriptors.len() {
            // A gap in the table is no error.
            let _ = self.close(who, fd);
        }
    }

    /// What foreign code in a process may do: closes its descriptors, and opens the file `name` for
    /// writing so often that it has all their numbers.
    pub(super) fn take_descriptors(&mut self, who: usize, name: &Name) -> Result<Reply, Errno> {
        let ino = self.find(name)?;
        let taken = self.process(who).descriptors.len();
        self.close_all(who);
        (0..taken).for_each(|_| {
            self.describe(who, ino, true);
        });
        Ok(Reply::Done)
    }

    pub(super) fn read(&self, who: usize, fd: Fd) -> Result<Reply, Errno> {
        let inode = self.inode(self.description(who, fd)?.1.ino);
        if inode.kind != FileKind::Regular {
            return Err(Errno::EISDIR);
        }
        let head = Head::read(|buffer| {
            let read = buffer.iter_mut().zip(inode.content.iter());
            read.for_each(|(to, from)| *to = *from);
            Ok(inode.content.len().min(READ_LEN))
        });
        Ok(Reply::Head(
            head.expect("reading from memory does not fail"),
        ))
    }

    pub(super) fn write(
        &mut self,
        rules: &Rules,
        who: usize,
        fd: Fd,
        at: u64,
        bytes: &[u8],
    ) -> Result<Reply, Errno> {
        let (_, description) = self.description(who, fd)?;
        if !description.writable {
            return Err(Errno::EBADF);
        }
        let now_ns = self.file_time_ns(rules);
        let inode = self.inode_mut(description.ino);
        let at = usize::try_from(at).map_err(|_| Errno::EFBIG)?;
        let end = at + bytes.len();
        let mut content = inode.content.to_vec();
        content.resize(content.len().max(end), 0);
        content
            .get_mut(at..end)
            .expect("it was made long enough")
            .copy_from_slice(bytes);
        inode.content = content.into();
        inode.mtime_ns = now_ns;
        Ok(Reply::Done)
    }

    /// flock(2) with LOCK_NB. A conversion drops the lock that it has before it asks for the other
    /// one, and has neither when that would block.
    pub(super) fn flock(
        &mut self,
        rules: &Rules,
        who: usize,
        fd: Fd,
        operation: Flock,
    ) -> Result<Flocked, Errno> {
        let (id, description) = self.description(who, fd)?;
        let wanted = Lock::wanted(operation);
        let system = self.process(who).system;
        let hears = |other: &DescriptionId| {
            let opener = self.process(other.opener).system;
            *other != id && (rules.flock == Reach::Everybody || opener.kernel() == system.kernel())
        };
        let conflicts = self.used().filter(hears).any(|other| {
            let other = self.description_of(other);
            other.ino == description.ino
                && (wanted == Some(Lock::Exclusive) && other.lock.is_some()
                    || wanted.is_some() && other.lock == Some(Lock::Exclusive))
        });
        self.description_mut(id).lock = wanted.filter(|_| !conflicts);
        Ok(if conflicts {
            Flocked::WouldBlock
        } else {
            Flocked::Done
        })
    }

    /// Drops the lock that a conversion gives up. False if this is none.
    pub(super) fn begin_conversion(&mut self, who: usize, fd: Fd, operation: Flock) -> bool {
        let Ok((id, description)) = self.description(who, fd) else {
            return false;
        };
        let wanted = Lock::wanted(operation);
        let converts = description.lock.is_some() && wanted.is_some() && description.lock != wanted;
        if converts {
            self.description_mut(id).lock = None;
        }
        converts
    }
}
