//! What the disk holds, and what is left when the power goes.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use super::super::call::{Fd, Name, Reply};
use super::{Ino, Inode, Kernel, Life};
use crate::record::Record;
use crate::sys::Extent;

/// How long machines take to come back.
const REBOOT: Duration = Duration::from_secs(10);

/// What was synced. Empty where no power is lost any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Disk {
    names: BTreeMap<Name, Ino>,
    inodes: BTreeMap<Ino, Inode>,
}

impl Kernel {
    pub(super) fn may_lose_power(&self) -> bool {
        self.mishaps.power_losses > 0
    }

    /// What was there before is on the disk.
    pub(in super::super) fn settle_disk(&mut self) {
        if self.may_lose_power() {
            self.disk.names = self.names.clone();
            self.disk.inodes = self.inodes.clone();
        }
    }

    /// fsync(2): the content; with [`Extent::All`] the names of the file as well, as file systems that
    /// journal have it.
    pub(super) fn sync(&mut self, who: usize, fd: Fd, extent: Extent) -> Result<Reply, Errno> {
        let ino = self.description(who, fd)?.1.ino;
        if self.may_lose_power() {
            self.disk.inodes.insert(ino, self.inode(ino).clone());
            if extent == Extent::All {
                self.disk.names.retain(|_, at| *at != ino);
                let names = self.names.iter().filter(|(_, at)| **at == ino);
                let names = names.map(|(name, at)| (name.clone(), *at));
                self.disk.names.extend(names);
            }
        }
        Ok(Reply::Done)
    }

    /// fsync(2) of the directory: the names, and empty files where the content was not synced.
    pub(super) fn sync_names(&mut self) -> Reply {
        if self.may_lose_power() {
            self.disk.names = self.names.clone();
            for ino in self.names.values() {
                let inode = self.inodes.get(ino).expect("names keep their files");
                let empty = Inode {
                    content: Arc::new([]),
                    ..inode.clone()
                };
                self.disk.inodes.entry(*ino).or_insert(empty);
            }
        }
        Reply::Done
    }

    /// A number is given out again only when the end of its file is on the disk.
    pub(super) fn forget_on_disk(&mut self, ino: Ino) {
        self.disk.names.retain(|_, at| *at != ino);
        self.disk.inodes.remove(&ino);
    }

    /// Everybody dies, and all machines boot again. What was not synced is on the disk or not.
    pub(super) fn lose_power(&mut self, unsynced_is_lost: bool) {
        for who in 0..self.processes.len() {
            if self.process(who).life != Life::Dead {
                self.kill(who);
                self.close_all(who);
                self.process_mut(who).life = Life::Dead;
            }
        }
        if unsynced_is_lost {
            self.names = std::mem::take(&mut self.disk.names);
            self.inodes = std::mem::take(&mut self.disk.inodes);
        }
        for (ino, inode) in &mut self.inodes {
            let names = self.names.values().filter(|at| *at == ino);
            inode.links = names.count() as u64;
        }
        self.inodes.retain(|_, inode| inode.links > 0);
        self.mishaps.power_losses -= 1;
        self.disk = Disk::default();
        self.settle_disk();
        self.advance(REBOOT);
        self.booted_ns = self.now_ns;
        self.boots += 1;
    }

    /// Whether there is a whole record under `name`.
    pub(in super::super) fn has_record(&self, name: &str) -> bool {
        let ino = self.names.get(OsStr::new(name));
        ino.is_some_and(|ino| Record::decode(&self.inode(*ino).content).is_ok())
    }
}
