//! Publish: the whole record appears at once, or not at all.
//!
//! Source: `spec/protocol.md#publish`.

use std::io;
use std::time::Duration;

use super::breaking::BrokenLock;
use super::release::PathOwner;
use super::unsettled::Unsettled;
use super::{Place, Result, SETTLE, is_gone};
use crate::judge::KernelLock;
use crate::record::{DecodeError, KernelStamp, Record, WriterId};
use crate::sys::entry::{Entry, is_replaced};
use crate::sys::hooks::sabotaged;
use crate::sys::{
    Context, FileId, Flock, Identity, IoError, Operation, Stat, SyncMode, Sys, kind_of,
};

/// How long a network mount may take until all creators of one name see one file.
pub(crate) const READ_BACK_DELAY: Duration = Duration::from_millis(100);

/// How a record is published.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PublishOptions {
    /// Whether record and name are on stable storage before the lock is handed out.
    pub(crate) sync: bool,
    /// Permission bits, before the umask.
    pub(crate) mode: u32,
}

/// A lock file that this process has just published.
#[derive(Debug)]
pub(super) struct Published<F> {
    pub(super) file: F,
    pub(super) id: FileId,
    pub(super) recorded: Recorded,
    /// The lock that was broken on the way.
    pub(super) broken: Option<BrokenLock>,
}

/// A record that this process has written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recorded {
    pub(super) record: Record,
    /// Time since boot that belongs to the record's timestamp.
    pub(super) since_boot: Duration,
}

/// A record at the lock path that is not a hold yet.
pub(super) type Made<'a, S> = (Unsettled<'a, S>, Recorded);

/// How a publish ended without an error.
pub(super) enum Publish<F> {
    Done(Box<Published<F>>),
    /// Another contender was first.
    LostRace,
    /// The path leads to another directory by now.
    Moved,
}

/// The file of a linked publish.
enum Unnamed<F> {
    File(F),
    /// The system or the file system makes none: a private name takes its place.
    Unsupported,
    /// A security policy refuses it, or it must not be trusted here.
    Refused,
}

/// How a linked publish ended without an error.
pub(super) enum Linked<'a, S: Sys> {
    Done(Made<'a, S>),
    /// Another contender was first.
    NameTaken,
    /// No file can be linked here, or a security policy refuses it.
    Unavailable,
}

impl<S: Sys> Place<S> {
    /// Puts a record at the lock path, all of it at once.
    pub(super) fn publish(
        &self,
        options: &PublishOptions,
        broken: Option<BrokenLock>,
    ) -> Result<Publish<S::File>> {
        if sabotaged!(self.entry.sys, PathLast) && self.has_moved() {
            return Ok(Publish::Moved);
        }
        let made = match self.publish_linked(options)? {
            Linked::Done(made) => Some(made),
            Linked::NameTaken => None,
            Linked::Unavailable => self.publish_exclusive(options)?,
        };
        let Some((unsettled, recorded)) = made else {
            return Ok(Publish::LostRace);
        };
        let Some(unsettled) = self.settle_published(unsettled, broken)? else {
            return Ok(Publish::LostRace);
        };
        // The last step: whatever comes after it would be time in which the directory at the path
        // may be replaced, and another contender publish in the new one.
        if !sabotaged!(self.entry.sys, PathLast) && !self.is_at_the_path(&unsettled)? {
            if let Some(broken) = broken.filter(|broken| broken.was_held) {
                unsettled.put_back(&broken, &recorded.record);
            }
            return Ok(Publish::Moved);
        }
        Ok(Publish::Done(Box::new(Published {
            id: unsettled.id(),
            file: unsettled.keep(),
            recorded,
            broken,
        })))
    }

    /// Whether the path leads to the directory in which the published file is.
    fn is_at_the_path(&self, unsettled: &Unsettled<'_, S>) -> Result<bool, IoError> {
        match self.entry.path_leads_here() {
            // The numbers may be made up: what the whole path shows decides.
            Ok(false) if !self.entry.is_local() => {
                let owner = |place: Place<S>| {
                    let (file, id) = (Some(unsettled.file()), unsettled.id());
                    let owner = place.path_owner(file, id, unsettled.writer_id());
                    matches!(owner, Ok(PathOwner::Us))
                };
                Ok(self.open_anew().is_ok_and(owner))
            }
            // A directory is replaced in two renames, and this is the moment between them.
            Err(error) if leads_nowhere(&error.source) => Ok(false),
            leads_here => leads_here,
        }
    }

    /// Linked publish: a file that no other contender looks for is locked, written, and only then given
    /// its name.
    fn publish_linked(&self, options: &PublishOptions) -> Result<Linked<'_, S>> {
        match self.create_unnamed(options.mode)? {
            Unnamed::File(file) => self.link_unnamed(file, options),
            Unnamed::Unsupported => self.publish_private(options),
            Unnamed::Refused => Ok(Linked::Unavailable),
        }
    }

    fn link_unnamed(&self, file: S::File, options: &PublishOptions) -> Result<Linked<'_, S>> {
        let (sys, path) = (self.sys(), self.lock_path());
        let stat = sys.stat(&file).context(Operation::File("stat"), path)?;
        // No other process can have opened a file without a name.
        let has_flock = self.flock(&file, Flock::Exclusive)? == KernelLock::Free;
        let recorded = self.write_new_record(&file, &stat, has_flock)?;
        if options.sync && sys.removes_by_handle() {
            // A rename is in the journal, and may survive a loss of power without the content.
            let synced = sys.sync(&file, SyncMode::All);
            synced.context(Operation::Sync("sync the record"), path)?;
        }
        match sys.link(&file, &self.entry.dir, &self.entry.name) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Ok(Linked::NameTaken);
            }
            Err(error) if is_unavailable(&error) => return Ok(Linked::Unavailable),
            Err(error) => {
                return Err(error).context(Operation::NewName("link the lock file"), path)?;
            }
        }
        let unsettled = Unsettled::new(self, file, stat.id, recorded.record.writer_id());
        if options.sync {
            // One fsync after the link makes record and name durable together; synced before the
            // link, a power loss made the lock vanish.
            let synced = sys.sync(unsettled.file(), SyncMode::All);
            synced.context(Operation::Sync("sync the lock file"), path)?;
        }
        Ok(Linked::Done((unsettled, recorded)))
    }

    /// Writes a record of its own into a file that is not at the lock path yet.
    pub(super) fn write_new_record(
        &self,
        file: &S::File,
        stat: &Stat,
        has_flock: bool,
    ) -> Result<Recorded> {
        let recorded = self.new_record(stat, self.draw_writer_id()?, has_flock)?;
        let written = self.sys().write(file, 0, &recorded.record.encode());
        written.context(Operation::File("write the record"), self.lock_path())?;
        Ok(recorded)
    }

    fn create_unnamed(&self, mode: u32) -> Result<Unnamed<S::File>, IoError> {
        // Only where it was tried: a network mount that had O_TMPFILE deleted the linked file when
        // its holder died, and kept a name that no process could open or take (JuiceFS 1.4).
        if !self.entry.is_local() {
            return Ok(Unnamed::Refused);
        }
        match self.sys().create_unnamed(&self.entry.dir, mode) {
            Ok(file) => Ok(Unnamed::File(file)),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(Unnamed::Unsupported),
            Err(error) if is_unavailable(&error) => Ok(Unnamed::Refused),
            Err(error) => {
                Err(error).context(Operation::NewName("create the lock file"), self.lock_path())
            }
        }
    }

    /// Exclusive create: for a moment the file is empty, and deployed clients delete empty files.
    fn publish_exclusive(&self, options: &PublishOptions) -> Result<Option<Made<'_, S>>> {
        let writer_id = self.draw_writer_id()?;
        let Entry { sys, dir, name, .. } = &self.entry;
        let file = match sys.create(dir, name, options.mode) {
            Ok(file) => file,
            Err(error) => {
                self.ensure_lost_race(error)?;
                return Ok(None);
            }
        };
        match self.fill_created(file, writer_id, options) {
            // The server says that the file is gone: another client removed it.
            Err(error) if error.is_gone() => Ok(None),
            outcome => outcome,
        }
    }

    /// Writes the record into an empty file that this process has created under its name.
    fn fill_created(
        &self,
        file: S::File,
        writer_id: WriterId,
        options: &PublishOptions,
    ) -> Result<Option<Made<'_, S>>> {
        // Without its identity the file cannot be distinguished from a successor's: on an error it
        // stays, torn, and the next contender breaks it after the grace.
        let stat = self
            .sys()
            .stat(&file)
            .context(Operation::File("stat"), self.lock_path())?;
        let Some(has_flock) = self.lock_named(&file)? else {
            if sabotaged!(self.entry.sys, LockedWithdraw) {
                drop(Unsettled::new(self, file, stat.id, writer_id));
            } else {
                self.remember_empty(&file);
            }
            return Ok(None);
        };
        // From here on it is withdrawn unless all goes well. Also where the server says that it is
        // gone: if it is not, it is a whole record of a live process that holds nothing.
        let unsettled = Unsettled::new(self, file, stat.id, writer_id);
        let recorded = self.new_record(&stat, writer_id, has_flock)?;
        self.write_named(unsettled.file(), &recorded.record, options)?;
        // A deployed client deletes what it takes for a short file.
        let made = (unsettled, recorded);
        Ok(self.may_name(stat.id)?.then_some(made))
    }

    /// Takes the kernel lock of the created file, which has its name already; false where there is
    /// no flock. `None` if an examiner or a breaker does not let go of it.
    ///
    /// Without the kernel lock creator A must not remove the file any more: it stays, torn. Breaker
    /// B, by a clock that was set forward, judges it old, locks it, and sees that the path still
    /// names it. If A unlinked it now and published another one, B's rename would catch that, and C
    /// could publish while A holds.
    fn lock_named(&self, file: &S::File) -> Result<Option<bool>, IoError> {
        let mut retry_pauses = self.retry_pauses.iter();
        loop {
            match self.flock(file, Flock::Exclusive)? {
                KernelLock::Free => return Ok(Some(true)),
                KernelLock::Unsupported => return Ok(Some(false)),
                KernelLock::HeldElsewhere => {}
            }
            let Some(pause) = retry_pauses.next() else {
                return Ok(None);
            };
            self.settle(*pause);
        }
    }

    /// Writes and syncs a file that has its name already.
    fn write_named(
        &self,
        file: &S::File,
        record: &Record,
        options: &PublishOptions,
    ) -> Result<(), IoError> {
        let (sys, path) = (self.sys(), self.lock_path());
        let written = sys.write(file, 0, &record.encode());
        written.context(Operation::File("write the record"), path)?;
        if options.sync {
            // With its names where the file system journals them: a directory that this user may
            // not read cannot be synced.
            let synced = sys.sync(file, SyncMode::All);
            synced.context(Operation::Sync("sync the record"), path)?;
            let synced = sys.sync_dir(&self.entry.dir);
            synced.context(Operation::Sync("sync the directory"), path)?;
        }
        Ok(())
    }

    fn draw_writer_id(&self) -> Result<WriterId, IoError> {
        let random = self.sys().random();
        let random = random.context(Operation::Random("draw a writer id"), self.lock_path())?;
        Ok(WriterId::from_random(random))
    }

    fn new_record(
        &self,
        stat: &Stat,
        writer_id: WriterId,
        has_flock: bool,
    ) -> Result<Recorded, IoError> {
        let identity = self.sys().identity();
        let Identity {
            pid, start_ticks, ..
        } = identity.context(
            Operation::Process("identify this process"),
            self.lock_path(),
        )?;
        // Without start ticks (no /proc) a contender could not distinguish this process from a later one, and need
        // not on a plain file system: there the kernel lock alone decides.
        let is_enough = start_ticks > 0 || self.entry.file_system.is_plain();
        let stamp = if has_flock && is_enough {
            self.own_key(stat).map(|inode_key| KernelStamp {
                inode_key,
                start_ticks,
            })
        } else {
            None
        };
        let hostname = self.sys().hostname();
        let now = self.sys().now();
        Ok(Recorded {
            record: Record::new(pid, &hostname, now.realtime_ns, writer_id, stamp),
            since_boot: now.since_boot,
        })
    }

    /// `Ok` if the error of an exclusive create means that another contender was first: EEXIST, and
    /// on some network mounts EPERM or EACCES with the file there.
    fn ensure_lost_race(&self, error: io::Error) -> Result<(), IoError> {
        let exists = || self.entry.stat_at(&self.entry.name).is_ok();
        match error.kind() {
            io::ErrorKind::AlreadyExists => Ok(()),
            // On a local file system a security policy has refused to open what this call has just
            // made: the file may be there because of that, and stays as a torn one.
            io::ErrorKind::PermissionDenied if !self.entry.is_local() && exists() => Ok(()),
            _ => Err(error).context(Operation::NewName("create the lock file"), self.lock_path()),
        }
    }

    /// Waits for contenders that may be about to remove what this process published, or to create
    /// the same name on another mount. `None` if the published file is gone after the wait.
    fn settle_published<'a>(
        &'a self,
        unsettled: Unsettled<'a, S>,
        broken: Option<BrokenLock>,
    ) -> Result<Option<Unsettled<'a, S>>> {
        if broken.is_some_and(|broken| broken.stale_for_deployed) {
            self.settle(SETTLE);
            if !self.may_name(unsettled.id())? {
                unsettled.abandon();
                return Ok(None);
            }
        }
        if self.entry.is_local() {
            return Ok(Some(unsettled));
        }
        self.read_back(unsettled)
    }

    /// Whether the path names the file `id`, as far as an inode number shows it: off local file
    /// systems a number can change while the file is open (`weed mount`), and the read-back
    /// decides.
    fn may_name(&self, id: FileId) -> Result<bool, IoError> {
        let named = self.entry.stat()?;
        Ok(named.is_some_and(|stat| !self.entry.is_local() || stat.id == id))
    }

    /// Some network mounts let several creators of one name win: the record that is there in the
    /// end is the winner's.
    fn read_back<'a>(&'a self, unsettled: Unsettled<'a, S>) -> Result<Option<Unsettled<'a, S>>> {
        const OPERATION: Operation = Operation::File("read the lock file back");
        self.settle(READ_BACK_DELAY);
        let found = match self.read_locked(&self.entry.name, Some(unsettled.file()), unsettled.id())
        {
            Err(error) if is_gone(&error) || is_replaced(&error) => None,
            found => found.context(OPERATION, self.lock_path())?,
        };
        let Some(prefix) = found else {
            // Withdrawn, also where the server has only forgotten the publisher's handle: see
            // `fill_created`.
            return Ok(None);
        };
        match Record::decode(prefix.bytes()) {
            Ok(record) if record.writer_id() == unsettled.writer_id() => Ok(Some(unsettled)),
            // Another creator's file; a short one has not been written yet, and the publisher's has
            // been.
            Ok(_) | Err(DecodeError::Short { .. }) => {
                unsettled.abandon();
                Ok(None)
            }
            // A lock that others cannot read is no lock.
            Err(error) => Err(io::Error::other(error)).context(OPERATION, self.lock_path())?,
        }
    }
}

/// Whether the file system does not have the call, or a security policy refuses it: a profile of
/// AppArmor without the rule `l` permits a file to be created and not to be linked. Exclusive
/// create may work there, and where nothing may be created, its error is the one to report.
pub(super) fn is_unavailable(error: &io::Error) -> bool {
    matches!(
        kind_of(error),
        io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
    )
}

fn leads_nowhere(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
