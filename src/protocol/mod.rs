//! Publish, examine, break, release: written once, over [`Sys`].
//!
//! ```text
//!             linkat / O_EXCL                    unlink, then close
//!   absent ------------------> held -----------------------------------> absent
//!     ^                          | holder dies
//!     |   rename aside, unlink   v
//!     +------------------------ left behind
//! ```
//!
//! The source is `spec/protocol.md`; section names in comments are its headings. Two facts carry the
//! exclusion: linkat(2) and O_EXCL let one of many publish, and whoever breaks holds the kernel lock
//! exclusively and has looked again at what it is about to break.

mod acquire;
mod breaking;
mod examine;
mod hold;
pub(crate) mod keepalive;
mod publish;
mod release;
pub(crate) mod wait;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use crate::error::IoError;
use crate::holder::{FileFacts, Foreign, Holder};
use crate::judge::{FileSystem, KernelLock, Reason, StalePolicy};
use crate::record::{Record, WriterId};
use crate::sys::{Access, FileId, FileKind, Flock, Flocked, Head, Stat, Sys};

pub(crate) use acquire::Attempt;
pub(crate) use breaking::{BreakAttempt, Displaced};
pub(crate) use examine::{Asker, Found, Torn};
pub(crate) use hold::{Acquisition, Held, HoldError, OnLost};
pub(crate) use publish::Published;
#[cfg(rvlf_sim)]
pub(crate) use publish::READ_BACK_DELAY;
pub(crate) use release::Whereabouts;

use examine::ServerClock;

/// How long a deployed client may take from reading a stale record to unlinking what is at the path
/// by then, and how long a breaker may take to put back what it caught by mistake.
pub(crate) const SETTLE: Duration = Duration::from_millis(10);

/// A kernel lock held by nobody alive belongs to a breaker or an examiner, who need microseconds;
/// pauses of 1, 2, 4 .. 32 ms outlast them on a loaded machine before we believe it. Also how long a
/// publisher by exclusive create waits for an examiner.
pub(crate) const DOUBTS: [Duration; 6] = pauses();

const fn pauses() -> [Duration; 6] {
    let ms = Duration::from_millis;
    [ms(1), ms(2), ms(4), ms(8), ms(16), ms(32)]
}

/// How often one attempt may find that the lock has changed hands before it gives up: more often
/// than any schedule seen, few enough to end.
const ROUNDS: u32 = 32;

/// Why an operation was not done, apart from a holder that is in the way.
#[derive(Debug)]
pub(crate) enum Error {
    Foreign(Foreign),
    UnsupportedVersion(u32),
    Io {
        operation: &'static str,
        source: io::Error,
    },
}

impl Error {
    fn is_gone(&self) -> bool {
        matches!(self, Error::Io { source, .. } if is_gone(source))
    }
}

/// Whether a call on an open file says that another host has removed it: ESTALE on NFS, ENOENT on
/// FUSE mounts.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::StaleNetworkFileHandle
    )
}

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// Names the operation that failed.
trait Context<T> {
    fn context(self, operation: &'static str) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, operation: &'static str) -> Result<T> {
        self.map_err(|source| Error::Io { operation, source })
    }
}

/// `None` for a name that is not there.
fn present<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// How a lock is published and what counts as stale.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) policy: StalePolicy,
    pub(crate) sync: bool,
    /// Permission bits, before the umask.
    pub(crate) mode: u32,
}

/// The lock path of one data file, reached through its directory's handle: a later chdir or a renamed
/// parent cannot make us miss the file.
#[derive(Debug)]
pub(crate) struct Place<S: Sys> {
    pub(crate) sys: S,
    dir: S::Dir,
    name: OsString,
    data_path: PathBuf,
    lock_path: PathBuf,
    pub(crate) file_system: FileSystem,
    /// [`DOUBTS`]; fewer where schedules are searched exhaustively.
    pub(crate) doubts: &'static [Duration],
    /// The file server's clock, as the mtime of a probe file told it.
    server_clock: Mutex<Option<ServerClock>>,
}

impl<S: Sys> Place<S> {
    /// Opens the directory of the data file.
    pub(crate) fn open(sys: S, data_path: &Path) -> std::result::Result<Place<S>, IoError> {
        let lock_path = lock_path_for(data_path);
        let failed = |operation| {
            let path = &lock_path;
            move |source| IoError::new(operation, path, source)
        };
        let name = match (lock_path.file_name(), data_path.file_name()) {
            (Some(name), Some(_)) => name.to_owned(),
            _ => {
                let kind = io::ErrorKind::InvalidInput;
                let invalid = io::Error::new(kind, "the path has no file name");
                return Err(failed("name the lock file")(invalid));
            }
        };
        let parent = match data_path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let dir = sys.open_dir(parent).map_err(failed("open the directory"))?;
        let file_system = sys
            .file_system(&dir)
            .map_err(failed("identify the file system"))?;
        Ok(Place {
            sys,
            dir,
            name,
            data_path: data_path.to_owned(),
            lock_path,
            file_system,
            doubts: &DOUBTS,
            server_clock: Mutex::new(None),
        })
    }

    pub(crate) fn data_path(&self) -> &Path {
        &self.data_path
    }

    pub(crate) fn lock_path(&self) -> &Path {
        &self.lock_path
    }

    /// The kind and the number of links of the data file, if its name exists.
    pub(crate) fn data_links(&self) -> Result<Option<(FileKind, u64)>> {
        let name = self
            .data_path
            .file_name()
            .expect("open refuses paths without a name");
        let stat = present(self.sys.stat_at(&self.dir, name)).context("stat the data file")?;
        Ok(stat.map(|stat| (stat.kind, stat.links)))
    }

    /// The path's stat, if it names the inode `id`.
    pub(super) fn stat_if_named(&self, id: FileId) -> Result<Option<Stat>> {
        let stat = present(self.sys.stat_at(&self.dir, &self.name)).context("stat")?;
        Ok(stat.filter(|stat| stat.id == id))
    }

    /// The stat of `name`, if it stands for the file `id`, whose content `is_it` recognises.
    ///
    /// On a local file system the inode number says so. Others make numbers up: sshfs has one for each
    /// name on each mount, and a successor's file has its predecessor's. There the content decides.
    pub(super) fn stat_if_it(
        &self,
        name: &OsStr,
        id: FileId,
        is_it: impl FnOnce(&Head) -> bool,
    ) -> io::Result<Option<Stat>> {
        let stat = present(self.sys.stat_at(&self.dir, name))?;
        let Some(stat) = stat.filter(|stat| stat.id == id) else {
            return Ok(None);
        };
        let recognised = self.file_system == FileSystem::Local
            || self.read_afresh(name)?.is_some_and(|head| is_it(&head));
        Ok(recognised.then_some(stat))
    }

    /// What `name` holds, opened afresh.
    pub(super) fn read_afresh(&self, name: &OsStr) -> io::Result<Option<Head>> {
        match present(self.sys.open(&self.dir, name, Access::Read))? {
            Some(file) => self.reread(&file).map(Some),
            None => Ok(None),
        }
    }

    pub(super) fn flock(&self, file: &S::File, operation: Flock) -> Result<KernelLock> {
        match self.sys.flock(file, operation).context("flock")? {
            Flocked::Done => Ok(KernelLock::Free),
            Flocked::WouldBlock => Ok(KernelLock::HeldElsewhere),
            // Every local file system has it. One that says no (ENOLCK) would leave the deaths that
            // it should witness to be guessed.
            Flocked::Unsupported if self.file_system == FileSystem::Local => {
                Err(io::ErrorKind::Unsupported.into()).context("flock")
            }
            Flocked::Unsupported => Ok(KernelLock::Unsupported),
        }
    }
}

/// Who was in the way, and the inode to watch.
pub(crate) struct Refusal {
    pub(crate) holder: Box<Holder>,
    pub(crate) id: Option<FileId>,
}

/// One hold: its inode's number may belong to the next holder's file a moment later.
pub(crate) type Hold = (FileId, Option<WriterId>);

impl Refusal {
    /// Which hold was in the way, if there is a file to watch.
    pub(crate) fn hold(&self) -> Option<Hold> {
        let writer_id = self.holder.record().map(Record::writer_id);
        self.id.map(|id| (id, writer_id))
    }

    pub(crate) fn contended() -> Refusal {
        let holder = Holder::unseen(Reason::Contended, FileFacts::UNKNOWN);
        Refusal {
            holder: Box::new(holder),
            id: None,
        }
    }
}

/// Between 3/4 and 5/4 of `pause`, so that many contenders do not come all at once.
pub(crate) fn jittered<S: Sys>(sys: &S, pause: Duration) -> Duration {
    let random = sys.random().map_or(0x80, |[byte, ..]| byte);
    spread(random, pause)
}

fn spread(random: u8, pause: Duration) -> Duration {
    pause * (192 + u32::from(random) / 2) / 256
}

/// The lock path of a data file: its name with `.lock` appended. Lexical: links are not resolved.
///
/// ```
/// # use std::path::Path;
/// assert_eq!(rvlf::lock_path_for("data/store.rvf"), Path::new("data/store.rvf.lock"));
/// ```
#[must_use]
pub fn lock_path_for(data_path: impl AsRef<Path>) -> PathBuf {
    let data_path = data_path.as_ref();
    let mut name = data_path.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    data_path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Two contenders that see each other at work and sleep equally long meet again.
    #[test]
    fn pauses_are_spread_evenly_from_three_quarters_to_five() {
        let pause = Duration::from_millis(1024);
        let spread: Vec<_> = (0..=u8::MAX).map(|random| spread(random, pause)).collect();
        assert_eq!(spread.first(), Some(&Duration::from_millis(768)));
        assert_eq!(spread.get(0x80), Some(&pause));
        assert_eq!(spread.last(), Some(&Duration::from_millis(1276)));
        assert!(spread.is_sorted());
    }
}
