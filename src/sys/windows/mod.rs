//! Windows: [`Sys`] over std and the calls of `windows-sys`. `nt` has the calls that std has not, `files`
//! the lock files and their share modes, `volume` says what is local, `processes` has the facts about
//! processes, `waiting` the waiting, on the handles of `event`.

pub(crate) mod child;
pub(super) mod event;
mod files;
mod nt;
mod paths;
mod processes;
mod times;
mod volume;
mod waiting;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::time::Duration;

use rand::TryRng;
use rand::rngs::SysRng;

use super::cancel::CancelToken;
use super::latch::wait_any;
use super::{
    Access, FileId, Flock, FlockOutcome, Identity, Liveness, LockingProcess, Now, OwnHolds, Prefix,
    Stat, SyncMode, Sys, WakeReason, thread,
};
use crate::judge::FileSystem;
use crate::record::{Hostname, KernelStamp, Pid};

pub(crate) use files::{Dir, OpenFile};
pub(crate) use waiting::Watch;

/// The operating system that this program runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host;

impl Host {
    /// No call shows which processes share a handle.
    pub(crate) fn flock_holders(
        &self,
        _dir: &Dir,
        _name: &OsStr,
    ) -> io::Result<Vec<LockingProcess>> {
        Ok(Vec::new())
    }
}

impl Sys for Host {
    type Dir = Dir;
    type File = OpenFile;
    type Watch = Watch;

    fn check_data_name(&self, name: &OsStr) -> io::Result<()> {
        paths::check_data_name(name)
    }

    fn open_dir(&self, base: Option<&Dir>, path: &Path) -> io::Result<Dir> {
        Dir::open(base, path)
    }

    fn stat_dir(&self, base: Option<&Dir>, path: &Path) -> io::Result<FileId> {
        Dir::id_at(base, path)
    }

    fn file_system(&self, dir: &Dir) -> io::Result<FileSystem> {
        Ok(dir.file_system())
    }

    fn list(&self, dir: &Dir) -> io::Result<Vec<OsString>> {
        dir.list()
    }

    fn stat_at(&self, dir: &Dir, name: &OsStr) -> io::Result<Stat> {
        dir.stat_at(name)
    }

    /// A mounted volume is a reparse point, which the stat shows.
    fn is_mount_point(&self, _dir: &Dir, _name: &OsStr) -> io::Result<bool> {
        Ok(false)
    }

    fn open(&self, dir: &Dir, name: &OsStr, _access: Access) -> io::Result<OpenFile> {
        OpenFile::open(dir, name)
    }

    /// The file has the permissions that its directory gives to new files.
    fn create(&self, dir: &Dir, name: &OsStr, _mode: u32) -> io::Result<OpenFile> {
        OpenFile::create(dir, name)
    }

    fn create_unnamed(&self, dir: &Dir, _mode: u32) -> io::Result<OpenFile> {
        let [a, b, c, d, e, f, g, h, ..] = random()?;
        let number = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        OpenFile::create_private(dir, format!(".rvlf-{number:016x}").as_ref())
    }

    fn link(&self, file: &OpenFile, dir: &Dir, name: &OsStr) -> io::Result<()> {
        file.link(dir, name)
    }

    /// No name is changed but by the handle of its file.
    fn rename(&self, _dir: &Dir, _from: &OsStr, _to: &OsStr) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn rename_noreplace(&self, _dir: &Dir, _from: &OsStr, _to: &OsStr) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn unlink(&self, _dir: &Dir, _name: &OsStr) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn removes_by_handle(&self) -> bool {
        true
    }

    fn remove(&self, dir: &Dir, file: &OpenFile, aside: &OsStr) -> io::Result<()> {
        file.remove(dir, aside)
    }

    /// The volume's journal has the names; a directory cannot be flushed.
    fn sync_dir(&self, _dir: &Dir) -> io::Result<()> {
        Ok(())
    }

    fn stat(&self, file: &OpenFile) -> io::Result<Stat> {
        file.stat()
    }

    fn read(&self, file: &OpenFile) -> io::Result<Prefix> {
        file.read()
    }

    fn write(&self, file: &OpenFile, offset: u64, bytes: &[u8]) -> io::Result<()> {
        file.write(offset, bytes)
    }

    fn truncate(&self, file: &OpenFile) -> io::Result<()> {
        file.truncate()
    }

    fn flock(&self, file: &OpenFile, operation: Flock) -> io::Result<FlockOutcome> {
        file.flock(operation)
    }

    fn close_within(&self, file: Self::File, time: Duration) {
        thread::drop_within(file, time);
    }

    fn sync(&self, file: &OpenFile, _mode: SyncMode) -> io::Result<()> {
        file.sync()
    }

    fn hostname(&self) -> Hostname {
        Hostname::truncated(processes::hostname().as_bytes())
    }

    fn is_host_alias(&self, name: &Hostname) -> bool {
        super::aliases::is_alias(name, Some(processes::hostname().into()))
    }

    /// Nothing names a boot: the key of a file outlasts it.
    fn boot_id(&self) -> Option<[u8; 16]> {
        None
    }

    fn own_key(&self, stat: &Stat, _is_plain: bool) -> Option<u64> {
        let machine = processes::machine_id()?;
        Some(KernelStamp::inode_key(&machine, stat.id.dev, stat.id.ino))
    }

    fn identity(&self) -> io::Result<Identity> {
        processes::identity()
    }

    fn process(&self, pid: Pid) -> Liveness {
        processes::process(pid)
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        random()
    }

    fn own_holds(&self) -> &OwnHolds {
        OwnHolds::of_this_process()
    }

    fn now(&self) -> Now {
        times::now()
    }

    fn watch(&self, file: &OpenFile, process: Option<Pid>, _is_locked: bool) -> io::Result<Watch> {
        waiting::watch(file, process)
    }

    fn watches_process(&self, watch: &Watch) -> bool {
        waiting::watches_process(watch)
    }

    fn wait(
        &self,
        watch: Option<&mut Watch>,
        cancel: &[CancelToken],
        timeout: Duration,
    ) -> WakeReason {
        if let Some(watch) = watch {
            return waiting::wait(watch, cancel, timeout);
        }
        let latches: Vec<_> = cancel.iter().map(CancelToken::latch).collect();
        match wait_any(&latches, timeout) {
            true => WakeReason::Cancelled,
            false => WakeReason::Timeout,
        }
    }
}

fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(io::Error::other)?;
    Ok(bytes)
}

/// A watch costs nothing to close.
pub(crate) fn close_spare_watch() {}
