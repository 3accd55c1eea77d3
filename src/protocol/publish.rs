//! Publish: the whole record appears at once, or not at all.

use std::io;
use std::time::Duration;

use super::{Context, Displaced, Place, Result, SETTLE, Terms, Whereabouts, is_gone};
use crate::judge::{FileSystem, KernelLock};
use crate::record::{DecodeError, KernelStamp, Record, WriterId};
use crate::sys::hooks::sabotaged;
use crate::sys::{Extent, FileId, Flock, Head, Identity, Sys};

/// How long a network mount may take until all creators of one name see one file.
pub(crate) const READ_BACK_DELAY: Duration = Duration::from_millis(100);

/// A lock file that this process has just published.
#[derive(Debug)]
pub(crate) struct Published<F> {
    pub(crate) file: F,
    pub(crate) id: FileId,
    pub(crate) record: Record,
    /// Time since boot that belongs to the record's timestamp.
    pub(crate) recorded_at: Duration,
    /// What was broken on the way.
    pub(crate) displaced: Option<Displaced>,
}

/// A record, and the time since boot that belongs to its timestamp.
type Recorded = (Record, Duration);

enum Linked<S: Sys> {
    Done(Option<Box<Published<S::File>>>),
    Unsupported,
}

impl<S: Sys> Place<S> {
    /// Puts a record at the lock path, all of it at once. `None` if somebody else was first.
    pub(super) fn publish(
        &self,
        terms: &Terms,
        displaced: Option<Displaced>,
    ) -> Result<Option<Box<Published<S::File>>>> {
        let linked = if self.may_link() {
            self.sys.create_unnamed(&self.dir, terms.mode)
        } else {
            Err(io::ErrorKind::Unsupported.into())
        };
        let published = match linked {
            Ok(file) => match self.publish_linked(file, terms)? {
                Linked::Done(published) => published,
                Linked::Unsupported => self.publish_exclusive(terms)?,
            },
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                self.publish_exclusive(terms)?
            }
            Err(error) => return Err(error).context("create the lock file"),
        };
        let Some(mut published) = published else {
            return Ok(None);
        };
        published.displaced = displaced;
        if self.has_settled(&published)? {
            Ok(Some(published))
        } else {
            Ok(None)
        }
    }

    /// Only where it was tried: a network mount that had O_TMPFILE deleted the linked file when its
    /// holder died, and kept a name that nobody could open or take (JuiceFS 1.4).
    fn may_link(&self) -> bool {
        self.file_system == FileSystem::Local
    }

    /// Linked publish: an unnamed file is locked, written, and only then given its name.
    fn publish_linked(&self, file: S::File, terms: &Terms) -> Result<Linked<S>> {
        let id = self.sys.stat(&file).context("stat")?.id;
        // Nobody else can have opened a file without a name.
        let stamped = self.flock(&file, Flock::Exclusive)? == KernelLock::Free;
        let writer_id = self.draw_writer_id()?;
        let (record, recorded_at) = self.new_record(id, writer_id, stamped)?;
        self.sys
            .write(&file, 0, &record.encode())
            .context("write the record")?;
        match self.sys.link(&file, &self.dir, &self.name) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                return Ok(Linked::Unsupported);
            }
            Err(error) => {
                self.lost_the_race(error, "link the lock file")?;
                return Ok(Linked::Done(None));
            }
        }
        let published = Box::new(Published {
            file,
            id,
            record,
            recorded_at,
            displaced: None,
        });
        if terms.sync {
            // One fsync after the link makes record and name durable together; synced before the
            // link, a power loss made the lock vanish.
            let synced = self.sys.sync(&published.file, Extent::All);
            self.or_withdraw(&published, synced, "sync the lock file")?;
        }
        Ok(Linked::Done(Some(published)))
    }

    /// Exclusive create: for a moment the file is empty, and deployed clients delete empty files.
    fn publish_exclusive(&self, terms: &Terms) -> Result<Option<Box<Published<S::File>>>> {
        let writer_id = self.draw_writer_id()?;
        let file = match self.sys.create(&self.dir, &self.name, terms.mode) {
            Ok(file) => file,
            Err(error) => {
                self.lost_the_race(error, "create the lock file")?;
                return Ok(None);
            }
        };
        let id = match self.sys.stat(&file) {
            Ok(stat) => stat.id,
            Err(error) if is_gone(&error) => return Ok(None),
            // Without its identity the file cannot be told from a successor's: it stays, torn, and
            // the next contender breaks it after the grace.
            Err(error) => return Err(error).context("stat"),
        };
        let stamped = match self.lock_named(&file) {
            Ok(Some(stamped)) => stamped,
            Ok(None) => {
                if sabotaged!(self.sys, LockedWithdraw) {
                    self.withdraw(id, writer_id);
                }
                return Ok(None);
            }
            Err(error) if error.is_gone() => return Ok(None),
            Err(error) => return Err(error),
        };
        // A deployed client deletes what it takes for a short file: look whether it is still there.
        let filled = self.fill(&file, id, writer_id, stamped, terms);
        let filled = filled.and_then(|recorded| Ok((recorded, self.stat_if_named(id)?.is_some())));
        let failure = match filled {
            Ok(((record, recorded_at), true)) => {
                return Ok(Some(Box::new(Published {
                    file,
                    id,
                    record,
                    recorded_at,
                    displaced: None,
                })));
            }
            Ok((_, false)) => Ok(None),
            Err(error) if error.is_gone() => Ok(None),
            Err(error) => Err(error),
        };
        // Also where the server says that our file is gone: if it is not, it is a whole record of a
        // live process that holds nothing.
        self.withdraw(id, writer_id);
        failure
    }

    /// Takes the kernel lock of our file that has its name already; false where there is no flock.
    /// `None` if an examiner or a breaker does not let go of it.
    ///
    /// Without the lock the file is not ours to remove any more: it stays, torn. Breaker B, by a clock
    /// that was set forward, judges it old, locks it, and sees that the path still names it. If we
    /// unlinked it now and published another one, B's rename would catch that, and C could publish
    /// while we hold.
    fn lock_named(&self, file: &S::File) -> Result<Option<bool>> {
        let mut doubts = self.doubts.iter().copied();
        loop {
            match self.flock(file, Flock::Exclusive)? {
                KernelLock::Free => return Ok(Some(true)),
                KernelLock::Unsupported => return Ok(Some(false)),
                KernelLock::HeldElsewhere => match doubts.next() {
                    Some(pause) => self.sys.wait(None, pause),
                    None => return Ok(None),
                },
            };
        }
    }

    /// Writes and syncs a file that has its name already.
    fn fill(
        &self,
        file: &S::File,
        id: FileId,
        writer_id: WriterId,
        stamped: bool,
        terms: &Terms,
    ) -> Result<Recorded> {
        let (record, recorded_at) = self.new_record(id, writer_id, stamped)?;
        self.sys
            .write(file, 0, &record.encode())
            .context("write the record")?;
        if terms.sync {
            self.sys
                .sync(file, Extent::Data)
                .context("sync the record")?;
            self.sys.sync_dir(&self.dir).context("sync the directory")?;
        }
        Ok((record, recorded_at))
    }

    fn draw_writer_id(&self) -> Result<WriterId> {
        let random = self.sys.random().context("draw a writer id")?;
        Ok(WriterId::from_random(random))
    }

    fn new_record(&self, id: FileId, writer_id: WriterId, stamped: bool) -> Result<Recorded> {
        let Identity {
            pid, start_ticks, ..
        } = self.sys.identity().context("identify this process")?;
        // Without start ticks a contender could not tell this process from a later one.
        let stamp = self.inode_key(id).filter(|_| stamped && start_ticks > 0);
        let stamp = stamp.map(|inode_key| KernelStamp {
            inode_key,
            start_ticks,
        });
        let hostname = self.sys.hostname();
        let now = self.sys.now();
        let record = Record::new(pid, &hostname, now.realtime_ns, writer_id, stamp);
        Ok((record, now.since_boot))
    }

    /// `Ok` if the error means that somebody else was first: EEXIST, and on some network mounts
    /// EPERM or EACCES with the file there.
    fn lost_the_race(&self, error: io::Error, operation: &'static str) -> Result<()> {
        let exists = || self.sys.stat_at(&self.dir, &self.name).is_ok();
        match error.kind() {
            io::ErrorKind::AlreadyExists => Ok(()),
            io::ErrorKind::PermissionDenied if exists() => Ok(()),
            _ => Err(error).context(operation),
        }
    }

    /// Whether what we published is still there after those who may have been about to remove it,
    /// or to create the same name on another mount, are done.
    fn has_settled(&self, published: &Published<S::File>) -> Result<bool> {
        let displaced = published.displaced;
        let known = displaced.is_some_and(|displaced| displaced.known_to_deployed);
        if known {
            self.sys.wait(None, SETTLE);
            let named = self.stat_if_named(published.id);
            if self.or_withdraw_outcome(published, named)?.is_none() {
                return Ok(false);
            }
        }
        if self.file_system == FileSystem::Local {
            return Ok(true);
        }
        self.sys.wait(None, READ_BACK_DELAY);
        let found = match self.read_afresh(&self.name) {
            Err(error) if is_gone(&error) => Ok(None),
            found => found,
        };
        let found = self.or_withdraw(published, found, "read the lock file back")?;
        let Some(head) = found else {
            // Also where the server has only forgotten our handle: see publish_exclusive.
            self.withdraw(published.id, published.record.writer_id());
            return Ok(false);
        };
        match Record::decode(head.bytes()) {
            Ok(record) => Ok(record.writer_id() == published.record.writer_id()),
            // Another creator's file, which has not been written yet: ours has been.
            Err(DecodeError::Short { .. }) => Ok(false),
            // A lock that others cannot read is no lock.
            Err(error) => {
                let outcome = Err(io::Error::other(error));
                self.or_withdraw(published, outcome, "read the lock file back")
            }
        }
    }

    fn or_withdraw<T>(
        &self,
        published: &Published<S::File>,
        outcome: io::Result<T>,
        operation: &'static str,
    ) -> Result<T> {
        self.or_withdraw_outcome(published, outcome.context(operation))
    }

    /// A failed publish leaves nothing behind.
    fn or_withdraw_outcome<T>(
        &self,
        published: &Published<S::File>,
        outcome: Result<T>,
    ) -> Result<T> {
        let writer_id = published.record.writer_id();
        outcome.inspect_err(|_| self.withdraw(published.id, writer_id))
    }

    /// Removes our own file from the path, and no other. The error that led here is the one to
    /// report, not a second one.
    fn withdraw(&self, id: FileId, writer_id: WriterId) {
        let is_torn = |head: &Head| {
            let record = Record::decode(head.bytes());
            matches!(record, Err(DecodeError::Short { .. }))
        };
        // A torn file has no writer id: there the inode number has to do everywhere.
        let named = || self.stat_if_it(&self.name, id, is_torn);
        let is_whole = || matches!(self.whereabouts(id, writer_id), Ok(Whereabouts::Ours));
        let local = self.file_system == FileSystem::Local;
        let ours = || matches!(named(), Ok(Some(_))) || !local && is_whole();
        if !sabotaged!(self.sys, Withdraw) && ours() {
            let _ = self.sys.unlink(&self.dir, &self.name);
        }
    }
}
