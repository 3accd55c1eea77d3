//! Names and inodes.

use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use super::super::call::{DirId, Fd, Name, Reply, SECOND_DIR};
use super::share_modes::{DELETE_PENDING, Deletion};
use super::{Description, FIRST_INO, Kernel, Process, Rules};
use crate::sys::hooks::Safeguard;
use crate::sys::{Access, FileId, FileKind, Stat, nanos};

/// How long a file is invisible to other kernels on a mount whose exclusive create lies.
const CREATE_WINDOW: Duration = Duration::from_millis(50);

/// Between the number of an empty file and the number of the same file with content, where numbers
/// change.
const STORED: Ino = 1 << 32;

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
    /// Whether the file is deleted, and has its name until a handle is closed.
    pub(super) deletion: Option<Deletion>,
}

impl Kernel {
    pub(super) fn find(&self, name: &Name) -> Result<Ino, Errno> {
        self.names.get(name).copied().ok_or(Errno::ENOENT)
    }

    pub(super) fn list(&self, dir: DirId) -> Reply {
        let name_here = |name: &Name| {
            let in_second = name.as_bytes().strip_prefix(SECOND_DIR.as_bytes());
            match (dir, in_second) {
                (0, None) => Some(Arc::clone(name)),
                (1, Some(rest)) => Some(OsStr::from_bytes(rest).into()),
                _ => None,
            }
        };
        Reply::Names(self.names.keys().filter_map(name_here).collect())
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
            deletion: None,
        };
        self.inodes.insert(ino, inode);
        ino
    }

    /// Makes a file with a name, in place of any other file.
    pub(super) fn make_named(&mut self, rules: &Rules, pid_index: usize, name: &Name) -> Ino {
        let ino = self.make_inode(rules, pid_index);
        self.inode_mut(ino).links = 1;
        self.names.insert(name.clone(), ino);
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
        &mut self,
        rules: &Rules,
        pid_index: usize,
        fd: Fd,
    ) -> Result<Reply, Errno> {
        let (_, Description { ino, .. }) = self.description(pid_index, fd)?;
        let stat = self.stat(rules, pid_index, ino);
        Ok(Reply::Stat(Stat {
            born_ns: (!self.hides_births).then(|| self.inode(ino).born_ns),
            links: if rules.coarse { 1 } else { stat.links },
            ..stat
        }))
    }

    /// Shows the links also in a coarse world, with that of the trash.
    pub(super) fn stat_uncached(
        &mut self,
        rules: &Rules,
        pid_index: usize,
        fd: Fd,
    ) -> Result<Reply, Errno> {
        let (_, Description { ino, .. }) = self.description(pid_index, fd)?;
        let in_trash = u64::from(rules.has_trash);
        Ok(Reply::Stat(Stat {
            links: self.inode(ino).links.max(in_trash),
            ..self.stat(rules, pid_index, ino)
        }))
    }

    pub(super) fn stat_at(
        &mut self,
        rules: &Rules,
        pid_index: usize,
        name: &Name,
    ) -> Result<Reply, Errno> {
        if let Some(seen) = self.cached_name(pid_index, name) {
            return Ok(Reply::Stat(seen));
        }
        let ino = self.find(name)?;
        if self.inode(ino).deletion.is_some() {
            return Err(DELETE_PENDING);
        }
        let stat = self.stat(rules, pid_index, ino);
        self.cache_name(rules, pid_index, name, stat);
        Ok(Reply::Stat(stat))
    }

    /// What the process sees.
    pub(super) fn stat(&mut self, rules: &Rules, pid_index: usize, ino: Ino) -> Stat {
        let mtime_ns = self.seen(rules, pid_index, ino).mtime_ns;
        let inode = self.inode(ino);
        // Each lock file has the number of the last one.
        let shown = if rules.numbers_by_name {
            FIRST_INO
        } else if rules.numbers_change && !inode.content.is_empty() {
            ino + STORED
        } else {
            ino
        };
        Stat {
            id: FileId {
                dev: self.process(pid_index).system.device(),
                ino: shown,
            },
            kind: inode.kind,
            // A mount that remembers names remembers the links that it has seen as well.
            links: inode.links.max(u64::from(rules.opens_remembered_files)),
            uid: Some(1000),
            mtime_ns,
            born_ns: None,
        }
    }

    pub(super) fn open(
        &mut self,
        rules: &Rules,
        pid_index: usize,
        name: &Name,
        access: Access,
    ) -> Result<Reply, Errno> {
        let seen = self.cached_name(pid_index, name);
        let ino = match seen.filter(|_| rules.opens_remembered_files) {
            Some(seen) => seen.id.ino,
            None => {
                // The kernel looks anew.
                self.forget_cached_name(pid_index, name);
                self.find(name)?
            }
        };
        let writable = access == Access::ReadWrite;
        let is_refused = match self.inode(ino).creator {
            None => rules.unreadable,
            Some(creator) => rules.private_files && creator != pid_index,
        };
        if is_refused {
            return Err(Errno::EACCES);
        }
        match self.inode(ino).kind {
            FileKind::Symlink => Err(Errno::ELOOP),
            FileKind::Socket => Err(Errno::ENXIO),
            FileKind::Directory if writable => Err(Errno::EISDIR),
            _ => {
                // What the kernel remembers is not newer by that.
                if self.cached_name(pid_index, name).is_none() {
                    let stat = self.stat(rules, pid_index, ino);
                    self.cache_name(rules, pid_index, name, stat);
                }
                Ok(Reply::File(self.add_descriptor(pid_index, ino, writable)))
            }
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
        let ino = self.make_named(rules, pid_index, name);
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
        rules.unnamed?;
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
        let ino = self.description(pid_index, fd)?.1.ino;
        if self.names.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        rules.links?;
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

    /// Takes the name from a file that the process's machine has open. False if it has none open there.
    pub(super) fn move_away(&mut self, pid_index: usize, name: &Name) -> bool {
        let Ok(ino) = self.find(name) else {
            return false;
        };
        let is_open = self.is_open_on(self.process(pid_index).system.kernel(), ino);
        if is_open {
            self.names.remove(name);
            self.drop_link(ino);
        }
        is_open
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

    /// Frees an inode that has neither a name nor a descriptor, and its number with it. What a kernel
    /// remembers stays: an open may still lead there.
    pub(super) fn free_inode(&mut self, ino: Ino) {
        let is_used = self.inode(ino).links > 0 || self.references(|other| other.ino == ino) > 0;
        if is_used || self.is_remembered(ino) {
            return;
        }
        self.inodes.remove(&ino);
        self.forget_cached(ino);
        for watch in self.watches_of(ino) {
            watch.ino = None;
        }
    }
}
