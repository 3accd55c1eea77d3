//! [`Sys`] for systems other than Unix: every operation fails at [`Sys::open_dir`].
//!
//! No value of the uninhabited types can exist, so the calls that take one cannot be reached.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::time::Duration;

use super::{
    Access, CancelToken, FileId, Flock, FlockOutcome, Identity, Liveness, LockingProcess, Now,
    OwnHolds, Prefix, Stat, SyncMode, Sys, WakeReason,
};
use crate::judge::FileSystem;
use crate::record::{Hostname, Pid};

/// An operating system that this crate does not support.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host;

impl Host {
    pub(crate) fn flock_holders(
        &self,
        dir: &Never,
        _name: &OsStr,
    ) -> io::Result<Vec<LockingProcess>> {
        match *dir {}
    }
}

/// A handle that cannot exist.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Never {}

impl Sys for Host {
    type Dir = Never;
    type File = Never;
    type Watch = Never;

    fn open_dir(&self, _base: Option<&Never>, _path: &Path) -> io::Result<Never> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "rvlf supports Unix systems only",
        ))
    }

    fn stat_dir(&self, _base: Option<&Never>, _path: &Path) -> io::Result<FileId> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn file_system(&self, dir: &Never) -> io::Result<FileSystem> {
        match *dir {}
    }

    fn list(&self, dir: &Never) -> io::Result<Vec<OsString>> {
        match *dir {}
    }

    fn stat_at(&self, dir: &Never, _name: &OsStr) -> io::Result<Stat> {
        match *dir {}
    }

    fn is_mount_point(&self, dir: &Never, _name: &OsStr) -> io::Result<bool> {
        match *dir {}
    }

    fn open(&self, dir: &Never, _name: &OsStr, _access: Access) -> io::Result<Never> {
        match *dir {}
    }

    fn create(&self, dir: &Never, _name: &OsStr, _mode: u32) -> io::Result<Never> {
        match *dir {}
    }

    fn create_unnamed(&self, dir: &Never, _mode: u32) -> io::Result<Never> {
        match *dir {}
    }

    fn link(&self, file: &Never, _dir: &Never, _name: &OsStr) -> io::Result<()> {
        match *file {}
    }

    fn rename(&self, dir: &Never, _from: &OsStr, _to: &OsStr) -> io::Result<()> {
        match *dir {}
    }

    fn rename_noreplace(&self, dir: &Never, _from: &OsStr, _to: &OsStr) -> io::Result<()> {
        match *dir {}
    }

    fn unlink(&self, dir: &Never, _name: &OsStr) -> io::Result<()> {
        match *dir {}
    }

    fn sync_dir(&self, dir: &Never) -> io::Result<()> {
        match *dir {}
    }

    fn stat(&self, file: &Never) -> io::Result<Stat> {
        match *file {}
    }

    fn read(&self, file: &Never) -> io::Result<Prefix> {
        match *file {}
    }

    fn write(&self, file: &Never, _offset: u64, _bytes: &[u8]) -> io::Result<()> {
        match *file {}
    }

    fn truncate(&self, file: &Never) -> io::Result<()> {
        match *file {}
    }

    fn flock(&self, file: &Never, _operation: Flock) -> io::Result<FlockOutcome> {
        match *file {}
    }

    fn sync(&self, file: &Never, _mode: SyncMode) -> io::Result<()> {
        match *file {}
    }

    fn hostname(&self) -> Hostname {
        Hostname::truncated(b"")
    }

    fn is_host_alias(&self, _name: &Hostname) -> bool {
        false
    }

    fn boot_id(&self) -> Option<[u8; 16]> {
        None
    }

    fn identity(&self) -> io::Result<Identity> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn process(&self, _pid: Pid) -> Liveness {
        Liveness::Unknown
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn own_holds(&self) -> &OwnHolds {
        OwnHolds::of_this_process()
    }

    fn now(&self) -> Now {
        Now {
            realtime_ns: 0,
            since_boot: Duration::ZERO,
        }
    }

    fn watch(&self, file: &Never, _process: Option<Pid>, _is_locked: bool) -> io::Result<Never> {
        match *file {}
    }

    fn watches_process(&self, watch: &Never) -> bool {
        match *watch {}
    }

    fn wait(
        &self,
        watch: Option<&mut Never>,
        _cancel: &[CancelToken],
        _timeout: Duration,
    ) -> WakeReason {
        match watch {
            Some(watch) => match *watch {},
            None => WakeReason::Timeout,
        }
    }
}

pub(crate) fn close_spare_watch() {}
