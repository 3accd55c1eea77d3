//! [`Sys`] of a simulated process: each call becomes a [`Call`], and its [`Reply`] the result.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;

use super::call::{Call, Cancel, DirId, Fd, Name, Reply, WatchId, name_in};
use super::fingerprint::fingerprint;
use super::process::SimSys;
use super::windows_sys::Role;
use crate::judge::FileSystem;
use crate::record::{Hostname, Pid};
use crate::sys::hooks::{Hooks, Safeguard};
use crate::sys::{
    Access, CancelToken, FileId, Flock, FlockOutcome, Identity, Liveness, Now, OwnHolds, Prefix,
    Stat, SyncMode, Sys, WakeReason,
};

impl fmt::Debug for SimSys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimSys")
    }
}

impl SimSys {
    pub(super) fn done(&self, call: Call) -> io::Result<()> {
        match self.call(call) {
            Reply::Done => Ok(()),
            reply => Err(reply.into_error()),
        }
    }

    fn dir(&self, call: Call) -> io::Result<DirId> {
        match self.call(call) {
            Reply::Dir(dir) => Ok(dir),
            reply => Err(reply.into_error()),
        }
    }

    fn file(&self, call: Call) -> io::Result<SimFile> {
        self.opened(self.call(call), Role::Unix)
    }

    pub(super) fn opened(&self, reply: Reply, role: Role) -> io::Result<SimFile> {
        match reply {
            Reply::File(fd) => Ok(SimFile {
                sys: self.clone(),
                fd,
                role,
            }),
            reply => Err(reply.into_error()),
        }
    }
}

/// A directory of a world.
#[derive(Debug)]
pub struct SimDir(DirId);

impl SimDir {
    pub(super) fn name(&self, name: &OsStr) -> Name {
        name_in(self.0, name)
    }
}

/// An open file of a simulated process.
#[derive(Debug)]
pub struct SimFile {
    sys: SimSys,
    pub(super) fd: Fd,
    pub(super) role: Role,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        if self.sys.close_beside(self) {
            self.sys.call(Call::Close(self.fd));
        }
    }
}

/// A watch of a simulated process.
#[derive(Debug)]
pub struct SimWatch {
    sys: SimSys,
    id: WatchId,
    watches_process: bool,
}

impl Drop for SimWatch {
    fn drop(&mut self) {
        self.sys.call(Call::Unwatch(self.id));
    }
}

impl Sys for SimSys {
    type Dir = SimDir;
    type File = SimFile;
    type Watch = SimWatch;

    fn open_dir(&self, base: Option<&SimDir>, _path: &Path) -> io::Result<SimDir> {
        let led_to = self.dir(Call::OpenDir)?;
        Ok(SimDir(base.map_or(led_to, |itself| itself.0)))
    }

    fn stat_dir(&self, base: Option<&SimDir>, _path: &Path) -> io::Result<FileId> {
        let dir = match base {
            Some(itself) => itself.0,
            None => self.dir(Call::StatDir)?,
        };
        let ino = u64::try_from(dir).expect("a world has two directories");
        Ok(FileId { dev: 0, ino })
    }

    fn file_system(&self, _dir: &SimDir) -> io::Result<FileSystem> {
        match self.call(Call::FileSystem) {
            Reply::FileSystem(file_system) => Ok(file_system),
            reply => Err(reply.into_error()),
        }
    }

    fn reports_locks_as_io_errors(&self, _dir: &SimDir) -> bool {
        self.rules.locked_against == Errno::EIO
    }

    fn list(&self, dir: &SimDir) -> io::Result<Vec<OsString>> {
        match self.call(Call::List(dir.0)) {
            Reply::Names(names) => Ok(names.iter().map(|name| OsString::from(&**name)).collect()),
            reply => Err(reply.into_error()),
        }
    }

    fn stat_at(&self, dir: &SimDir, name: &OsStr) -> io::Result<Stat> {
        match self.unless_pending(&Call::StatAt(dir.name(name))) {
            Reply::Stat(stat) => Ok(stat),
            reply => Err(reply.into_error()),
        }
    }

    /// Called where it has an effect alone: elsewhere each look would be a step more of the search.
    fn forget_name(&self, dir: &SimDir, name: &OsStr) {
        if self.rules.opens_remembered_files {
            self.call(Call::ForgetName(dir.name(name)));
        }
    }

    /// The simulated kernel has one mount.
    fn is_mount_point(&self, _dir: &SimDir, _name: &OsStr) -> io::Result<bool> {
        Ok(false)
    }

    fn open(&self, dir: &SimDir, name: &OsStr, access: Access) -> io::Result<SimFile> {
        match self.has_share_modes() {
            true => self.open_found(dir.name(name), access),
            false => self.file(Call::Open(dir.name(name), access)),
        }
    }

    fn create(&self, dir: &SimDir, name: &OsStr, _mode: u32) -> io::Result<SimFile> {
        match self.has_share_modes() {
            true => self.make(dir.name(name), false),
            false => self.file(Call::Create(dir.name(name))),
        }
    }

    fn create_unnamed(&self, dir: &SimDir, _mode: u32) -> io::Result<SimFile> {
        match self.has_share_modes() {
            true => self.make_private(dir),
            false => self.file(Call::CreateUnnamed),
        }
    }

    fn link(&self, file: &SimFile, dir: &SimDir, name: &OsStr) -> io::Result<()> {
        match self.has_share_modes() {
            true => self.link_private(file, dir.name(name)),
            false => self.done(Call::Link(file.fd, dir.name(name))),
        }
    }

    fn rename(&self, dir: &SimDir, from: &OsStr, to: &OsStr) -> io::Result<()> {
        self.done(Call::Rename(dir.name(from), dir.name(to)))
    }

    fn rename_noreplace(&self, dir: &SimDir, from: &OsStr, to: &OsStr) -> io::Result<()> {
        self.done(Call::RenameNoreplace(dir.name(from), dir.name(to)))
    }

    fn unlink(&self, dir: &SimDir, name: &OsStr) -> io::Result<()> {
        self.done(Call::Unlink(dir.name(name)))
    }

    fn removes_by_handle(&self) -> bool {
        self.has_share_modes()
    }

    fn remove(&self, dir: &SimDir, file: &SimFile, aside: &OsStr) -> io::Result<()> {
        self.remove_by_handle(file, dir.name(aside))
    }

    fn sync_dir(&self, _dir: &SimDir) -> io::Result<()> {
        self.done(Call::SyncDir)
    }

    fn stat(&self, file: &SimFile) -> io::Result<Stat> {
        match self.call(Call::Stat(file.fd)) {
            Reply::Stat(stat) => Ok(stat),
            reply => Err(reply.into_error()),
        }
    }

    fn read(&self, file: &SimFile) -> io::Result<Prefix> {
        match self.call(Call::Read(file.fd)) {
            Reply::Prefix(prefix) => Ok(prefix),
            reply => Err(reply.into_error()),
        }
    }

    fn write(&self, file: &SimFile, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.done(Call::Write(file.fd, offset, bytes.to_vec()))
    }

    fn truncate(&self, file: &SimFile) -> io::Result<()> {
        self.done(Call::Truncate(file.fd))
    }

    fn flock(&self, file: &SimFile, operation: Flock) -> io::Result<FlockOutcome> {
        if self.has_share_modes() {
            return self.lock_beside(file, operation);
        }
        match self.call(Call::Flock(file.fd, operation)) {
            Reply::Flocked(flocked) => Ok(flocked),
            reply => Err(reply.into_error()),
        }
    }

    fn sync(&self, file: &SimFile, mode: SyncMode) -> io::Result<()> {
        self.done(Call::Sync(file.fd, mode))
    }

    fn hostname(&self) -> Hostname {
        match self.call(Call::Hostname) {
            Reply::Hostname(name) => name,
            _ => Hostname::truncated(b""),
        }
    }

    fn is_host_alias(&self, name: &Hostname) -> bool {
        self.call(Call::IsHostAlias(*name)) == Reply::IsHostAlias(true)
    }

    fn boot_id(&self) -> Option<[u8; 16]> {
        match self.call(Call::BootId) {
            Reply::BootId(id) => Some(id),
            _ => None,
        }
    }

    fn has_stamps(&self, _own: Identity) -> bool {
        true
    }

    fn identity(&self) -> io::Result<Identity> {
        match self.call(Call::Identity) {
            Reply::Identity(identity) => Ok(identity),
            reply => Err(reply.into_error()),
        }
    }

    fn process(&self, pid: Pid) -> Liveness {
        match self.call(Call::Process(pid)) {
            Reply::Process(liveness) => liveness,
            _ => Liveness::Unknown,
        }
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        match self.call(Call::Random) {
            Reply::Random(bytes) => Ok(bytes),
            reply => Err(reply.into_error()),
        }
    }

    fn own_holds(&self) -> &OwnHolds {
        &self.own_holds
    }

    fn now(&self) -> Now {
        match self.call(Call::Now) {
            Reply::Now(now) => now,
            _ => Now {
                realtime_ns: 0,
                since_boot: Duration::ZERO,
            },
        }
    }

    fn watch(&self, file: &SimFile, process: Option<Pid>, is_locked: bool) -> io::Result<SimWatch> {
        match self.call(Call::Watch(file.fd, process, is_locked)) {
            Reply::Watch(id, watches_process) => Ok(SimWatch {
                sys: self.clone(),
                id,
                watches_process,
            }),
            reply => Err(reply.into_error()),
        }
    }

    fn watches_process(&self, watch: &SimWatch) -> bool {
        watch.watches_process
    }

    fn wait(
        &self,
        watch: Option<&mut SimWatch>,
        cancel: &[CancelToken],
        timeout: Duration,
    ) -> WakeReason {
        let may_end = match cancel {
            [] => Cancel::Never,
            [..] => Cancel::AtAnyMoment,
        };
        let call = match watch {
            Some(watch) => Call::Wait(watch.id, timeout, may_end),
            None => Call::Sleep(timeout, may_end),
        };
        let Reply::Woken(woken) = self.call(call) else {
            return WakeReason::Timeout;
        };
        if woken == WakeReason::Cancelled {
            // As the thread that ends this wait would do.
            cancel.iter().for_each(CancelToken::cancel);
        }
        woken
    }

    fn hooks(&self) -> Option<&dyn Hooks> {
        Some(self)
    }
}

impl Hooks for SimSys {
    fn begin_loop(&self) -> usize {
        let entry = self.calls_made();
        self.call(Call::BeginLoop);
        entry
    }

    fn begin_round(&self, entry: usize, memory: &dyn fmt::Debug) {
        // A round in the history needs no fingerprint. Making one takes longer than everything
        // else.
        let is_this_loop = |call: &Call| matches!(call, Call::BeginRound(of, _) if *of == entry);
        if self.skip_in_history(is_this_loop) {
            return;
        }
        let memory = fingerprint(&format!("{memory:?}"));
        self.call(Call::BeginRound(entry, memory));
    }

    fn disables(&self, safeguard: Safeguard) -> bool {
        self.rules.lacks(safeguard)
    }
}
