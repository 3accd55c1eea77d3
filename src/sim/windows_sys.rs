//! How a simulated process makes the calls of [`Sys`](crate::sys::Sys) in a kernel with share modes:
//! step by step as `src/sys/windows/files.rs` does.

use std::ffi::OsStr;
use std::io;
use std::sync::Mutex;
use std::time::Duration;

use nix::errno::Errno;

use super::call::{Call, Cancel, Fd, Name, Reply};
use super::kernel::{DELETE_PENDING, Existing, SHARING_VIOLATION, Sharing};
use super::process::SimSys;
use super::sim_sys::{SimDir, SimFile};
use crate::sync::lock;
use crate::sys::hooks::Safeguard;
use crate::sys::{Access, Flock, FlockOutcome};

/// How an open file came about.
#[derive(Debug)]
pub(super) enum Role {
    /// By a call of a kernel that has no share modes.
    Unix,
    /// Made by this process. The handle has the kernel lock from the beginning.
    Made(Mutex<Made>),
    /// Opened by its name.
    Found {
        name: Name,
        /// The handle that has the kernel lock, while this process has it.
        lock: Mutex<Option<Fd>>,
    },
}

#[derive(Debug)]
pub(super) struct Made {
    name: Name,
    /// Whether the file has a temporary name and nothing else.
    is_private: bool,
    /// Whether the handle is closed already.
    is_closed: bool,
}

const SHARING: i32 = SHARING_VIOLATION as i32;
const PENDING: i32 = DELETE_PENDING as i32;
const DENIED: i32 = Errno::EACCES as i32;
const ABSENT: i32 = Errno::ENOENT as i32;

impl SimSys {
    pub(super) fn has_share_modes(&self) -> bool {
        self.rules.share_modes.is_some()
    }

    /// Makes `call` again where it was refused by one of `errnos`, which may pass. A second time is as
    /// good as ten.
    pub(super) fn patiently(&self, errnos: &[i32], call: &Call) -> Reply {
        let reply = self.call(call.clone());
        if !matches!(&reply, Reply::Failed(errno) if errnos.contains(errno)) {
            return reply;
        }
        if !self.rules.coarse {
            self.call(Call::Sleep(Duration::from_millis(1), Cancel::Never));
        }
        self.call(call.clone())
    }

    /// A second time where the file is deleted and still has its name.
    pub(super) fn unless_pending(&self, call: &Call) -> Reply {
        let errnos: &[i32] = match self.has_share_modes() {
            true => &[PENDING],
            false => &[],
        };
        self.patiently(errnos, call)
    }

    /// No process writes a lock file that it has not made: every file is opened for reading.
    pub(super) fn open_found(&self, name: Name, _access: Access) -> io::Result<SimFile> {
        let call = Call::OpenShared(name.clone(), Sharing::LOOK);
        let lock = Mutex::new(None);
        self.opened(
            self.patiently(&[SHARING, PENDING], &call),
            Role::Found { name, lock },
        )
    }

    pub(super) fn make(&self, name: Name, is_private: bool) -> io::Result<SimFile> {
        let call = Call::CreateShared(name.clone(), Sharing::HOLD);
        let reply = match self.unless_pending(&call) {
            // The name is taken for as long as a process keeps the deleted file open.
            Reply::Failed(PENDING) => Reply::failed(Errno::EEXIST),
            reply => reply,
        };
        let made = Made {
            name,
            is_private,
            is_closed: false,
        };
        self.opened(reply, Role::Made(Mutex::new(made)))
    }

    /// A private file, which is deleted when it is dropped before it is linked.
    pub(super) fn make_private(&self, dir: &SimDir) -> io::Result<SimFile> {
        let Reply::Random([a, b, c, d, e, f, g, h, ..]) = self.call(Call::Random) else {
            return Err(Errno::EIO.into());
        };
        let number = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        self.make(dir.name(format!(".rvlf-{number:016x}").as_ref()), true)
    }

    /// Gives a private file its name.
    pub(super) fn link_private(&self, file: &SimFile, name: Name) -> io::Result<()> {
        let call = Call::RenameOpen(file.fd, name.clone(), Existing::Stays);
        match self.patiently(&[SHARING, PENDING, DENIED], &call) {
            Reply::Done => {}
            Reply::Failed(PENDING) => return Err(Errno::EEXIST.into()),
            reply => return Err(reply.into_error()),
        }
        if let Role::Made(made) = &file.role {
            let mut made = lock(made);
            made.is_private = false;
            made.name = name;
        }
        Ok(())
    }

    /// Takes the kernel lock of an examined file: opens it once more by its name, and compares.
    pub(super) fn lock_beside(&self, file: &SimFile, operation: Flock) -> io::Result<FlockOutcome> {
        let Role::Found { name, lock: kept } = &file.role else {
            return Ok(FlockOutcome::Done);
        };
        self.unlock_beside(kept);
        let sharing = match operation {
            Flock::Unlock => return Ok(FlockOutcome::Done),
            Flock::Shared => Sharing::EXAMINE,
            Flock::Exclusive => Sharing::BREAK,
        };
        match self.open_beside(name, sharing) {
            Reply::File(fd) => {
                // Another file's handle is no answer about this one, whose name has gone.
                *lock(kept) = Some(fd);
                if !self.is_same_file(fd, file.fd) {
                    self.unlock_beside(kept);
                }
                Ok(FlockOutcome::Done)
            }
            Reply::Failed(ABSENT) => Ok(FlockOutcome::Done),
            Reply::Failed(SHARING) if self.rules.lacks(Safeguard::ViolationIsHeld) => {
                Ok(FlockOutcome::Done)
            }
            Reply::Failed(SHARING | PENDING) => Ok(FlockOutcome::WouldBlock),
            reply => Err(reply.into_error()),
        }
    }

    /// Access may be denied for a moment, and for good to a user who may not delete the file: that user
    /// examines with a handle that does not share deletion.
    fn open_beside(&self, name: &Name, sharing: Sharing) -> Reply {
        let open = |sharing| Call::OpenShared(name.clone(), sharing);
        if sharing == Sharing::BREAK {
            return self.patiently(&[DENIED], &open(sharing));
        }
        match self.call(open(sharing)) {
            Reply::Failed(DENIED) => self.call(open(Sharing::SCAN)),
            reply => reply,
        }
    }

    fn unlock_beside(&self, kept: &Mutex<Option<Fd>>) {
        let fd = lock(kept).take();
        if let Some(fd) = fd {
            self.call(Call::Close(fd));
        }
    }

    fn is_same_file(&self, one: Fd, other: Fd) -> bool {
        self.call(Call::IsSameFile(one, other)) == Reply::IsSameFile(true)
    }

    /// Removes the file by the handle that has its kernel lock: if the rename fails, under its own
    /// name; if the deletion fails, the aside stays.
    pub(super) fn remove_by_handle(&self, file: &SimFile, aside: Name) -> io::Result<()> {
        if self.rules.lacks(Safeguard::RemoveByHandle) {
            return self.remove_by_name(file);
        }
        let handle = match &file.role {
            Role::Found { lock: kept, .. } => *lock(kept),
            Role::Made(_) | Role::Unix => Some(file.fd),
        };
        // The name was another file's when the kernel lock was requested.
        let handle = handle.ok_or(io::ErrorKind::NotFound)?;
        if self.rules.lacks(Safeguard::RemoveAside) {
            return self.done(Call::DeleteOpen(handle));
        }
        let rename = Call::RenameOpen(handle, aside, Existing::Stays);
        let renamed = match self.patiently(&[SHARING, DENIED], &rename) {
            Reply::Done => Ok(()),
            reply => Err(reply.into_error()),
        };
        let deleted = self.done(Call::DeleteOpen(handle));
        renamed.or(deleted)
    }

    /// What the disabled safeguard leaves: gives the kernel lock up, and removes what has the name.
    fn remove_by_name(&self, file: &SimFile) -> io::Result<()> {
        let name = match &file.role {
            Role::Found { name, lock: kept } => {
                self.unlock_beside(kept);
                name.clone()
            }
            Role::Made(made) => {
                let mut made = lock(made);
                made.is_closed = true;
                made.name.clone()
            }
            Role::Unix => return Err(Errno::ENOTSUP.into()),
        };
        if matches!(file.role, Role::Made(_)) {
            self.call(Call::Close(file.fd));
        }
        self.done(Call::Unlink(name))
    }

    /// What the end of an open file does before its own handle is closed. False if that is closed.
    pub(super) fn close_beside(&self, file: &SimFile) -> bool {
        match &file.role {
            Role::Unix => true,
            Role::Found { lock: kept, .. } => {
                self.unlock_beside(kept);
                true
            }
            Role::Made(made) => {
                let Made {
                    is_private,
                    is_closed,
                    ..
                } = *lock(made);
                if is_private {
                    self.call(Call::DeleteOpen(file.fd));
                }
                !is_closed
            }
        }
    }

    /// The file that a program makes which shares everything, as std does.
    pub(super) fn create_by_std(&self, name: Name) -> io::Result<SimFile> {
        self.opened(
            self.call(Call::CreateShared(name, Sharing::WRITE)),
            Role::Unix,
        )
    }

    /// What a scanner does with the file `name`: reads it for `time`, and lets no process delete it
    /// meanwhile.
    pub fn scan(&self, name: &str, time: Duration) {
        self.read_for(name, Sharing::SCAN, time);
    }

    /// What a program of another kind does with it: reads it for `time`, and shares everything.
    pub fn read_file(&self, name: &str, time: Duration) {
        self.read_for(name, Sharing::LOOK, time);
    }

    fn read_for(&self, name: &str, sharing: Sharing, time: Duration) {
        let call = Call::OpenShared(OsStr::new(name).into(), sharing);
        if let Ok(file) = self.opened(self.call(call), Role::Unix) {
            let _ = self.call(Call::Read(file.fd));
            if !time.is_zero() {
                self.sleep(time);
            }
        }
    }
}
