//! [`Sys`] over nix and std, for every Unix. What differs between systems is in `platform`: `linux`, `bsd`
//! (macOS and the BSDs) or `portable` (every other Unix).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{UnlinkatFlags, gethostname, unlinkat};
use rand::TryRng;
use rand::rngs::SysRng;

use super::calls::{errno, retry, to_stat};
use super::cancel::CancelToken;
use super::descriptor::Descriptor;
use super::flock::flock;
use super::latch::wait_any;
use super::wide::fstatat;
use super::{
    Access, FileId, Flock, FlockOutcome, Identity, Liveness, LockingProcess, Now, OwnHolds, Prefix,
    Stat, SyncMode, Sys, WakeReason, nanos, platform, thread,
};
use crate::judge::FileSystem;
use crate::record::{Hostname, Pid, RECORD_LEN};
use crate::sync;

/// The operating system that this program runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host;

impl Host {
    /// The processes that share a kernel lock of the file `name`, as far as this user may see them.
    pub(crate) fn flock_holders(
        &self,
        dir: &Descriptor<File>,
        name: &OsStr,
    ) -> io::Result<Vec<LockingProcess>> {
        platform::flock_holders(dir.get()?, name)
    }
}

/// How every lock file is opened: it follows no link, is not inherited across exec, and does not
/// block ([`Entry::open_existing`](super::entry::Entry::open_existing) says why).
const SAFE: OFlag = OFlag::O_NOFOLLOW
    .union(OFlag::O_CLOEXEC)
    .union(OFlag::O_NONBLOCK);

/// A lease break is the only thing that makes a non-blocking open of a regular file fail with
/// EWOULDBLOCK; the kernel asks the lease's holder to release it, usually within milliseconds.
/// fcntl(2)
const LEASE_RETRIES: u32 = 50;
const LEASE_PAUSE: Duration = Duration::from_millis(10);

impl Sys for Host {
    type Dir = Descriptor<File>;
    type File = Descriptor<File>;
    type Watch = platform::Watch;

    fn open_dir(
        &self,
        base: Option<&Descriptor<File>>,
        path: &Path,
    ) -> io::Result<Descriptor<File>> {
        let base = base_or_working_dir(base)?;
        let open = |access| {
            let flags = access | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            retry(|| openat(base, path, flags, Mode::empty()))
        };
        let dir = match (open(OFlag::O_RDONLY), platform::SEARCH_ONLY) {
            // In a directory that may not be listed (mode 1733) files can still be made and opened.
            (Err(error), Some(search_only)) if errno(&error) == Errno::EACCES => open(search_only),
            (outcome, _) => outcome,
        };
        Descriptor::new(dir?.into())
    }

    fn stat_dir(&self, base: Option<&Descriptor<File>>, path: &Path) -> io::Result<FileId> {
        let base = base_or_working_dir(base)?;
        let stat = retry(|| fstatat(base, path, AtFlags::empty()))?;
        Ok(to_stat(&stat).id)
    }

    fn is_open(&self, dir: &Descriptor<File>) -> bool {
        dir.get().is_ok()
    }

    fn file_system(&self, dir: &Descriptor<File>) -> io::Result<FileSystem> {
        platform::file_system(dir.get()?)
    }

    #[cfg(all(target_vendor = "apple", not(rvlf_portable)))]
    fn reports_locks_as_io_errors(&self, dir: &Descriptor<File>) -> bool {
        dir.get().is_ok_and(platform::reports_locks_as_io_errors)
    }

    fn list(&self, dir: &Descriptor<File>) -> io::Result<Vec<OsString>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let dir = dir.get()?;
        let mut dir = retry(|| Dir::openat(dir, ".", flags, Mode::empty()))?;
        dir.iter()
            .map(|entry| Ok(os_string(entry?.file_name().to_bytes())))
            .collect()
    }

    fn stat_at(&self, dir: &Descriptor<File>, name: &OsStr) -> io::Result<Stat> {
        let dir = dir.get()?;
        let stat = retry(|| fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW))?;
        Ok(to_stat(&stat))
    }

    fn is_mount_point(&self, dir: &Descriptor<File>, name: &OsStr) -> io::Result<bool> {
        platform::is_mount_point(dir.get()?, name)
    }

    fn open(
        &self,
        dir: &Descriptor<File>,
        name: &OsStr,
        access: Access,
    ) -> io::Result<Descriptor<File>> {
        let flags = match access {
            Access::Read => OFlag::O_RDONLY,
            Access::ReadWrite => OFlag::O_RDWR,
        };
        let flags = flags | SAFE | platform::varied_flags();
        let dir = dir.get()?;
        let mut retries = 0;
        let mut was_invalid = false;
        loop {
            match openat(dir, name, flags, Mode::empty()) {
                Ok(file) => return Descriptor::new(file.into()),
                Err(Errno::EINTR) => {}
                // SMB, when another mount has replaced the file that this one remembers: once, or until
                // every process of this mount has closed it, and a second longer.
                Err(Errno::EINVAL) if !was_invalid => was_invalid = true,
                Err(Errno::EWOULDBLOCK) if retries < LEASE_RETRIES => {
                    retries += 1;
                    sync::thread::sleep(LEASE_PAUSE);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn create(
        &self,
        dir: &Descriptor<File>,
        name: &OsStr,
        mode: u32,
    ) -> io::Result<Descriptor<File>> {
        // A new regular file cannot block. The SMB client (Linux 6.1) lets two descriptors with equal
        // flags share one handle of the server: without this difference an examiner in the holder's own
        // process could lock the file shared, and its close dropped the holder's lock.
        let safe = SAFE.difference(OFlag::O_NONBLOCK);
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | safe;
        let dir = dir.get()?;
        let created = retry(|| openat(dir, name, flags, to_mode(mode)));
        Descriptor::new(created?.into())
    }

    fn create_unnamed(&self, dir: &Descriptor<File>, mode: u32) -> io::Result<Descriptor<File>> {
        Descriptor::new(platform::create_unnamed(dir.get()?, to_mode(mode))?)
    }

    fn link(
        &self,
        file: &Descriptor<File>,
        dir: &Descriptor<File>,
        name: &OsStr,
    ) -> io::Result<()> {
        platform::link(file.get()?, dir.get()?, name)
    }

    fn rename(&self, dir: &Descriptor<File>, from: &OsStr, to: &OsStr) -> io::Result<()> {
        let dir = dir.get()?;
        retry(|| renameat(dir, from, dir, to))
    }

    fn rename_noreplace(&self, dir: &Descriptor<File>, from: &OsStr, to: &OsStr) -> io::Result<()> {
        platform::rename_noreplace(dir.get()?, from, to)
    }

    fn unlink(&self, dir: &Descriptor<File>, name: &OsStr) -> io::Result<()> {
        let dir = dir.get()?;
        retry(|| unlinkat(dir, name, UnlinkatFlags::NoRemoveDir))
    }

    fn forget_name(&self, dir: &Descriptor<File>, name: &OsStr) {
        if let Ok(dir) = dir.get() {
            platform::forget_name(dir, name);
        }
    }

    fn sync_dir(&self, dir: &Descriptor<File>) -> io::Result<()> {
        // Some network file systems have nothing to sync in a directory and answer EINVAL. fsync(2)
        let dir = dir.get()?;
        platform::sync(dir, SyncMode::All).or_else(|error| match errno(&error) {
            Errno::EINVAL => Ok(()),
            // The descriptor is open, but fsync(2) does not accept it: a directory that may be
            // written and not listed (mode 1733) can be opened in no other way.
            Errno::EBADF => Ok(()),
            _ => Err(error),
        })
    }

    fn stat(&self, file: &Descriptor<File>) -> io::Result<Stat> {
        platform::stat(file.get()?)
    }

    fn read(&self, file: &Descriptor<File>) -> io::Result<Prefix> {
        let file = file.get()?;
        Prefix::read(|buffer| {
            let mut len = 0;
            // Stop once a whole record is read: trailing bytes are only reported, and another read
            // would cost every look of every waiter a system call.
            while len < RECORD_LEN {
                let rest = buffer.get_mut(len..).expect("a record fits the buffer");
                match retry(|| file.read_at(rest, len as u64))? {
                    0 => break,
                    n => len += n,
                }
            }
            Ok(len)
        })
    }

    fn write(&self, file: &Descriptor<File>, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = file.get()?;
        let written = retry(|| file.write_at(bytes, offset))?;
        if written == bytes.len() {
            Ok(())
        } else {
            // The disk filled up. A reader could see two writes as two halves of a record.
            Err(io::Error::new(
                io::ErrorKind::WriteZero,
                "the record was written in part",
            ))
        }
    }

    fn truncate(&self, file: &Descriptor<File>) -> io::Result<()> {
        let file = file.get()?;
        retry(|| file.set_len(0))
    }

    fn flock(&self, file: &Descriptor<File>, operation: Flock) -> io::Result<FlockOutcome> {
        flock(file.get()?, operation)
    }

    fn close_within(&self, file: Self::File, time: Duration) {
        thread::drop_within(file, time);
    }

    fn sync(&self, file: &Descriptor<File>, mode: SyncMode) -> io::Result<()> {
        platform::sync(file.get()?, mode)
    }

    fn hostname(&self) -> Hostname {
        // gethostname(2) can only fail for a buffer that is too short, and nix brings its own.
        let name = gethostname().unwrap_or_default();
        Hostname::truncated(name.as_bytes())
    }

    fn is_host_alias(&self, name: &Hostname) -> bool {
        super::aliases::is_alias(name, gethostname().ok())
    }

    fn boot_id(&self) -> Option<[u8; 16]> {
        platform::boot_id().ok().flatten()
    }

    fn has_stamps(&self, own: Identity) -> bool {
        // Linux has stamps without a start, too: where there is no /proc.
        cfg!(all(target_os = "linux", not(rvlf_portable))) || own.start_ticks > 0
    }

    fn identity(&self) -> io::Result<Identity> {
        platform::identity()
    }

    fn process(&self, pid: Pid) -> Liveness {
        platform::process(pid, || self.now())
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        let mut bytes = [0; 16];
        SysRng
            .try_fill_bytes(&mut bytes)
            .map_err(io::Error::other)?;
        Ok(bytes)
    }

    fn own_holds(&self) -> &OwnHolds {
        OwnHolds::of_this_process()
    }

    fn now(&self) -> Now {
        let [realtime, since_boot] = sync::clocks(|| {
            // Of std, whose seconds have 64 bits also on 32-bit systems.
            let realtime = SystemTime::now().duration_since(UNIX_EPOCH);
            let since_boot = clock(platform::CLOCK_SINCE_BOOT);
            [realtime.unwrap_or_default(), since_boot]
        });
        Now {
            realtime_ns: nanos(realtime),
            since_boot,
        }
    }

    fn watch(
        &self,
        file: &Descriptor<File>,
        process: Option<Pid>,
        is_locked: bool,
    ) -> io::Result<platform::Watch> {
        platform::watch(file.get()?, process, is_locked)
    }

    fn watches_process(&self, watch: &platform::Watch) -> bool {
        platform::watches_process(watch)
    }

    fn wait(
        &self,
        watch: Option<&mut platform::Watch>,
        cancel: &[CancelToken],
        timeout: Duration,
    ) -> WakeReason {
        if let Some(watch) = watch {
            return platform::wait(watch, cancel, timeout);
        }
        let latches: Vec<_> = cancel.iter().map(CancelToken::latch).collect();
        if wait_any(&latches, timeout) {
            WakeReason::Cancelled
        } else {
            WakeReason::Timeout
        }
    }
}

fn clock(id: ClockId) -> Duration {
    let time = clock_gettime(id).map(Duration::from);
    time.expect("clock_gettime fails only for clocks that the kernel does not have")
}

fn base_or_working_dir(base: Option<&Descriptor<File>>) -> io::Result<BorrowedFd<'_>> {
    base.map_or(Ok(AT_FDCWD), |base| base.get().map(AsFd::as_fd))
}

fn to_mode(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode as nix::libc::mode_t)
}

pub(super) fn os_string(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}
