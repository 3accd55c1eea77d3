//! What kernels have cached of the files of others.

use std::sync::Arc;
use std::time::Duration;

use super::super::call::{Call, Name};
use super::{Ino, Kernel, Rules};
use crate::sys::{Stat, nanos};

/// What a kernel shows of a file: what it has read last.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Cached {
    pub(super) mtime_ns: u64,
    pub(super) content: Arc<[u8]>,
    /// When it is read again.
    until_ns: u64,
}

/// What a kernel shows of a name: what it has seen there last.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct CachedName {
    stat: Stat,
    /// Whether an open leads to that file, too.
    is_opened: bool,
    /// When it looks again.
    until_ns: u64,
}

impl Kernel {
    /// What the process's kernel has seen the name stand for, if it does not look again.
    pub(super) fn cached_name(&self, pid_index: usize, name: &Name) -> Option<Stat> {
        let kernel = self.process(pid_index).system.kernel();
        let known = self.cached_names.get(&(kernel, name.clone()))?;
        (self.now_ns < known.until_ns).then_some(known.stat)
    }

    pub(super) fn cache_name(&mut self, rules: &Rules, pid_index: usize, name: &Name, stat: Stat) {
        if let Some(time) = rules.names_cached_for {
            let kernel = self.process(pid_index).system.kernel();
            let until_ns = self.now_ns + nanos(time);
            let is_opened = rules.opens_remembered_files;
            let seen = CachedName {
                stat,
                is_opened,
                until_ns,
            };
            self.cached_names.insert((kernel, name.clone()), seen);
        }
    }

    /// A kernel knows what its own processes do with names. What it remembers moves with a rename.
    pub(super) fn note_changed_names(&mut self, pid_index: usize, call: &Call) {
        // Most worlds remember none, and their states share the empty map.
        if self.cached_names.is_empty() {
            return;
        }
        let kernel = self.process(pid_index).system.kernel();
        let key = |name: &Name| (kernel, name.clone());
        match call {
            Call::Create(name) | Call::Link(_, name) | Call::Unlink(name) => {
                self.cached_names.remove(&key(name));
            }
            Call::Rename(from, to) | Call::RenameNoreplace(from, to) => {
                match self.cached_names.remove(&key(from)) {
                    Some(seen) => self.cached_names.insert(key(to), seen),
                    None => self.cached_names.remove(&key(to)),
                };
            }
            _ => {}
        }
    }

    pub(super) fn forget_cached_name(&mut self, pid_index: usize, name: &Name) {
        if self.cached_names.is_empty() {
            return;
        }
        let kernel = self.process(pid_index).system.kernel();
        self.cached_names.remove(&(kernel, name.clone()));
    }

    /// Whether a kernel may open the file by what it has seen at a name.
    pub(super) fn is_remembered(&self, ino: Ino) -> bool {
        let mut seen = self.cached_names.values();
        seen.any(|seen| seen.is_opened && seen.stat.id.ino == ino)
    }

    /// What the process sees of the file: what it holds now, or what the process's kernel has read
    /// of it before. A kernel knows what its own processes have written.
    pub(super) fn seen(&mut self, rules: &Rules, pid_index: usize, ino: Ino) -> Cached {
        let inode = self.inode(ino);
        let fresh = Cached {
            mtime_ns: inode.mtime_ns,
            content: Arc::clone(&inode.content),
            until_ns: 0,
        };
        let kernel_of = |pid_index| self.process(pid_index).system.kernel();
        let kernel = kernel_of(pid_index);
        let is_own = inode
            .creator
            .is_some_and(|creator| kernel_of(creator) == kernel);
        let Some(cached_for) = rules.cached_for.filter(|_| !is_own) else {
            return fresh;
        };
        let now_ns = self.now_ns;
        let known = self.caches.get(&(kernel, ino));
        if let Some(known) = known.filter(|known| now_ns < known.until_ns) {
            return known.clone();
        }
        let read = Cached {
            until_ns: now_ns + nanos(cached_for),
            ..fresh
        };
        self.caches.insert((kernel, ino), read.clone());
        read
    }

    pub(super) fn extend_caches(&mut self, kernel: u8, by: Duration) {
        for ((of, _), cached) in self.caches.iter_mut() {
            if *of == kernel {
                cached.until_ns += nanos(by);
            }
        }
        for ((of, _), cached) in self.cached_names.iter_mut() {
            if *of == kernel {
                cached.until_ns += nanos(by);
            }
        }
    }

    pub(super) fn forget_cached(&mut self, ino: Ino) {
        self.caches.retain(|(_, of), _| *of != ino);
    }
}
