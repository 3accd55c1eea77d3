//! The lock of the deployed RVF clients, call by call (rvf-runtime 0.5, `locking.rs`).
//!
//! It creates the file and then writes it. It deletes at once a file that is shorter than a record
//! or has another magic. It unlinks by path the file that it has judged before.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::LOCK;
use super::process::SimSys;
use super::sim_sys::SimDir;
use crate::judge::{Age, StalePolicy};
use crate::record::{MAGIC, Pid, RECORD_LEN, Record, WriterId};
use crate::sys::{Access, Liveness, Prefix, SyncMode, Sys};

/// A deployed client's lock. It is released by [`DeployedLock::release`] alone.
#[derive(Debug)]
pub struct DeployedLock {
    dir: SimDir,
    record: Record,
}

impl SimSys {
    /// Acquires as a deployed client does.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the lock is held, `AlreadyExists` if another process was quicker, or the
    /// error of the call that failed.
    pub fn try_acquire_deployed(&self) -> io::Result<DeployedLock> {
        self.try_acquire_deployed_slowly(Duration::ZERO)
    }

    /// The same by a process that is stopped for `pause` between its create and its write.
    ///
    /// # Errors
    ///
    /// As [`try_acquire_deployed`](SimSys::try_acquire_deployed).
    pub fn try_acquire_deployed_slowly(&self, pause: Duration) -> io::Result<DeployedLock> {
        let dir = self.open_dir(None, Path::new("."))?;
        let pid = self.identity()?.pid;
        let (hostname, now) = (self.hostname(), self.now().realtime_ns);
        let record = Record::new(
            pid,
            &hostname,
            now,
            WriterId::from_bytes(self.random()?),
            None,
        );
        match self.create_deployed(&dir, &record, pause) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !self.break_deployed(&dir)? {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                self.create_deployed(&dir, &record, pause)?;
            }
            outcome => outcome?,
        }
        Ok(DeployedLock { dir, record })
    }

    fn create_deployed(&self, dir: &SimDir, record: &Record, pause: Duration) -> io::Result<()> {
        let name = OsStr::new(LOCK);
        let file = match self.has_share_modes() {
            true => self.create_by_std(dir.name(name))?,
            false => self.create(dir, name, 0o666)?,
        };
        if !pause.is_zero() {
            self.sleep(pause);
        }
        self.write(&file, 0, &record.encode())?;
        self.sync(&file, SyncMode::All)
    }

    /// Whether the lock was removed or was already gone.
    fn break_deployed(&self, dir: &SimDir) -> io::Result<bool> {
        let prefix = match self.read_deployed(dir) {
            Ok(prefix) => prefix,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(error),
        };
        let stale = self.is_stale_deployed(prefix.bytes());
        if stale {
            let _ = self.unlink(dir, OsStr::new(LOCK));
        }
        Ok(stale)
    }

    fn read_deployed(&self, dir: &SimDir) -> io::Result<Prefix> {
        let file = self.open(dir, OsStr::new(LOCK), Access::Read)?;
        self.read(&file)
    }

    fn is_stale_deployed(&self, bytes: &[u8]) -> bool {
        if bytes.len() < RECORD_LEN || !bytes.starts_with(&MAGIC.to_le_bytes()) {
            return true;
        }
        // The client ignores checksum and version. In this world every whole record is valid.
        let Ok(record) = Record::decode(bytes) else {
            return false;
        };
        let age = Age::at(self.now().realtime_ns, record.timestamp_ns()).or_zero();
        if record.hostname() == self.hostname() {
            !self.is_alive_deployed(record.pid()) && age > StalePolicy::SAME_HOST_AGE
        } else {
            age > StalePolicy::CROSS_HOST_AGE
        }
    }

    fn is_alive_deployed(&self, pid: Pid) -> bool {
        self.process(pid) != Liveness::Dead
    }
}

impl DeployedLock {
    /// Releases as a deployed client does: it reads, compares the writer id, and unlinks.
    pub fn release(self, os: &SimSys) {
        if let Ok(prefix) = os.read_deployed(&self.dir) {
            let found = Record::decode(prefix.bytes());
            if found.is_ok_and(|found| found.writer_id() == self.record.writer_id()) {
                let _ = os.unlink(&self.dir, OsStr::new(LOCK));
            }
        }
    }
}
