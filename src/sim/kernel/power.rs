//! What the disk holds, and what is left of it after a loss of power.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use super::super::call::{Fd, Name, Reply};
use super::super::shared::Shared;
use super::processes::SERVER;
use super::{Ino, Inode, Kernel, Life, Process, System};
use crate::record::Record;
use crate::sys::SyncMode;

/// How long machines take to boot.
const REBOOT: Duration = Duration::from_secs(10);

/// What was synced. Empty where power is not lost any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Disk {
    names: Shared<BTreeMap<Name, Ino>>,
    inodes: Shared<BTreeMap<Ino, Inode>>,
}

impl Kernel {
    pub(super) fn may_lose_power(&self) -> bool {
        self.budget.power_losses > 0
    }

    /// Puts everything that is there now on the disk.
    pub(in crate::sim) fn sync_everything(&mut self) {
        if self.may_lose_power() {
            self.disk.names = self.names.clone();
            self.disk.inodes = self.inodes.clone();
        }
    }

    /// fsync(2): the content; with [`SyncMode::All`] the names of the file as well, as on file
    /// systems with a journal.
    pub(super) fn sync(
        &mut self,
        pid_index: usize,
        fd: Fd,
        mode: SyncMode,
    ) -> Result<Reply, Errno> {
        let ino = self.description(pid_index, fd)?.1.ino;
        if self.may_lose_power() {
            let inode = self.inode(ino).clone();
            self.disk.inodes.insert(ino, inode);
            if mode == SyncMode::All {
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

    /// Removes a file from the disk before its number is given out again. A journal has what happened in
    /// its order: with the end of the file's last name it has all names of that moment. So a name that a
    /// rename gave to another file is not missing.
    pub(super) fn forget_on_disk(&mut self, ino: Ino) {
        if self.disk.names.values().any(|at| *at == ino) {
            self.sync_names();
        }
        if self.may_lose_power() {
            self.disk.inodes.remove(&ino);
        }
    }

    /// Kills every process and boots all machines. Writes that were not synced are lost or kept.
    pub(super) fn lose_power(&mut self, unsynced_is_lost: bool) {
        self.kill_all(|_| true);
        if unsynced_is_lost {
            self.names = std::mem::take(&mut self.disk.names);
            self.inodes = std::mem::take(&mut self.disk.inodes);
        }
        for (ino, inode) in self.inodes.iter_mut() {
            let names = self.names.values().filter(|at| *at == ino);
            inode.links = names.count() as u64;
            inode.deletion = None;
        }
        self.inodes.retain(|_, inode| inode.links > 0);
        self.budget.power_losses -= 1;
        self.disk = Shared::default();
        self.sync_everything();
        self.advance_clock(REBOOT);
        let processes = self.processes.iter();
        let kernels: BTreeSet<_> = processes.map(|process| process.system.kernel()).collect();
        for kernel in kernels {
            self.boot_again(kernel);
        }
    }

    /// Boots the server again, in good order: its disk has everything. The other machines go on.
    pub(super) fn reboot_server(&mut self) {
        self.kill_all(|system| system.kernel() == SERVER);
        self.budget.server_reboots -= 1;
        self.advance_clock(REBOOT);
        self.boot_again(SERVER);
    }

    fn kill_all(&mut self, is_there: impl Fn(System) -> bool) {
        for pid_index in 0..self.processes.len() {
            let Process { life, system, .. } = *self.process(pid_index);
            if life != Life::Dead && is_there(system) {
                self.kill(pid_index);
                self.close_all(pid_index);
                self.process_mut(pid_index).life = Life::Dead;
            }
        }
    }

    /// Whether the file `name` is a whole record.
    pub(in crate::sim) fn has_record(&self, name: &str) -> bool {
        let ino = self.names.get(OsStr::new(name));
        ino.is_some_and(|ino| Record::decode(&self.inode(*ino).content).is_ok())
    }
}
