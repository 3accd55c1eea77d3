//! Examine: open, read and judge what lies at the lock path, and change nothing.

use std::io;
use std::time::Duration;

use super::{Context, Error, Place, ROUNDS, Refusal, Result, present};
use crate::holder::{FileFacts, Foreign, Holder};
use crate::judge::{
    Age, Content, Evidence, FileSystem, HostMatch, KernelLock, Process, Reason, StalePolicy, Stamp,
    Verdict, judge,
};
use crate::record::{DecodeError, Hostname, KernelStamp, RECORD_LEN, Record};
use crate::sync::lock;
use crate::sys::hooks::{Rounds, sabotaged};
use crate::sys::{Access, FileId, FileKind, Flock, Head, Liveness, Now, Stat, Sys};

/// A torn checksum is re-read this often: a refresh in place may be seen half done.
const REREADS: u32 = 3;

/// What lies at the lock path.
pub(crate) enum Found<S: Sys> {
    Nothing,
    /// A regular file that this user may not read.
    Unreadable(Refusal),
    /// It was another file whenever we looked.
    Contended,
    Lock(Box<Examined<S>>),
}

/// A lock file that was read and judged. The shared kernel lock is held until it is dropped.
pub(crate) struct Examined<S: Sys> {
    pub(super) opened: Opened<S>,
    pub(super) head: Head,
    pub(crate) holder: Holder,
}

/// An open lock file of somebody else's. Dropping it unlocks before it closes, so that a child
/// forked meanwhile keeps nothing.
pub(super) struct Opened<S: Sys> {
    pub(super) sys: S,
    pub(super) file: S::File,
    pub(super) stat: Stat,
    /// Whether the kernel lock was ever obtained: a waiter, who was refused, has nothing to unlock.
    pub(super) locked: bool,
}

impl<S: Sys> Drop for Opened<S> {
    fn drop(&mut self) {
        if self.locked {
            // The close that follows unlocks as well, unless a child was forked: nothing to report.
            let _ = self.sys.flock(&self.file, Flock::Unlock);
        }
    }
}

impl<S: Sys> Examined<S> {
    pub(crate) fn id(&self) -> FileId {
        self.opened.stat.id
    }

    pub(crate) fn into_refusal(self) -> Refusal {
        Refusal {
            id: Some(self.id()),
            holder: Box::new(self.holder),
        }
    }
}

enum Existing<S: Sys> {
    None,
    Unreadable(u32),
    Opened(Opened<S>),
}

/// On whose behalf a lock file is examined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// Somebody who only wants to know, and creates nothing.
    Observer,
    /// Somebody who wants the lock.
    Contender,
    /// A contender that is about to break it, and takes no earlier reading of the server's clock.
    Breaker,
}

/// A malformed file, watched: what stays unchanged on our own monotonic clock ages by it, so that a
/// clock set back cannot keep a torn file for ever.
#[derive(Debug, Default)]
pub(crate) struct Torn {
    seen: Option<(FileId, u64, Head)>,
    since: Duration,
    looks: u32,
    /// In all, over all files: an attempt that only ever meets torn files ends.
    waited: Duration,
}

impl Torn {
    fn unchanged_for(&mut self, stat: &Stat, head: &Head, since_boot: Duration) -> Duration {
        let seen = Some((stat.id, stat.mtime_ns, *head));
        if self.seen != seen {
            *self = Torn {
                seen,
                since: since_boot,
                looks: 0,
                ..*self
            };
        }
        since_boot.saturating_sub(self.since)
    }

    /// To be called where an attempt begins: what was seen is kept, and there is patience again.
    pub(super) fn begin_attempt(&mut self) {
        self.looks = 0;
        self.waited = Duration::ZERO;
    }

    /// How long to wait before the next look, if `verdict` is row 3 (a write of microseconds, or soon
    /// row 4) and this attempt's patience lasts: 2 s, for one attempt is to answer soon. A longer
    /// grace is for whoever waits with a timeout.
    pub(super) fn pause(&mut self, verdict: &Verdict, policy: &StalePolicy) -> Option<Duration> {
        let patience = policy.malformed_grace().min(StalePolicy::MALFORMED_GRACE);
        match *verdict {
            Verdict::Held {
                reason: Reason::BeingWritten,
                stale_in: Some(left),
            } if self.waited < patience => {
                // 1, 2, 4 .. 64 ms: the first looks come soon.
                let pause = Duration::from_millis(1 << self.looks.min(6));
                self.looks += 1;
                // Row 3 ends only when the age has reached the grace.
                let pause = pause.min(left.max(Duration::from_millis(1)));
                self.waited += pause;
                Some(pause)
            }
            _ => None,
        }
    }
}

/// What came of the wish to watch a hold.
pub(crate) enum Watching<W> {
    /// The path names another file, or none.
    Nothing,
    /// What happened between the look and the watch is not known.
    FromNowOn(W),
    /// The hold is as it was at the look, and whatever ends it will be reported.
    All(W),
}

/// What the file server's clock showed at a moment of ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerClock {
    server_ns: u64,
    since_boot: Duration,
}

impl<S: Sys> Place<S> {
    /// Opens, reads and judges what lies at the lock path.
    ///
    /// An error for what can never be a lock; nothing at the path is ever changed.
    pub(crate) fn examine(
        &self,
        policy: &StalePolicy,
        torn: &mut Torn,
        asker: Asker,
    ) -> Result<Found<S>> {
        let rounds = Rounds::of(&self.sys);
        for _ in 0..ROUNDS {
            rounds.begin_with(&[&*torn, &self.server_clock]);
            match self.look(policy, torn, asker) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(error) if error.is_gone() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Found::Contended)
    }

    /// Examines for a contender, and waits out a write.
    pub(super) fn examine_written(
        &self,
        policy: &StalePolicy,
        torn: &mut Torn,
    ) -> Result<Found<S>> {
        let rounds = Rounds::of(&self.sys);
        loop {
            rounds.begin_with(&[&*torn, &self.server_clock]);
            let found = self.examine(policy, torn, Asker::Contender)?;
            let Found::Lock(examined) = &found else {
                return Ok(found);
            };
            let Some(pause) = torn.pause(&examined.holder.verdict, policy) else {
                return Ok(found);
            };
            drop(found);
            self.sys.wait(None, pause);
        }
    }

    /// `None` if the path names another file by now.
    fn look(
        &self,
        policy: &StalePolicy,
        torn: &mut Torn,
        asker: Asker,
    ) -> Result<Option<Found<S>>> {
        Ok(match self.open_existing()? {
            Existing::None => Some(Found::Nothing),
            Existing::Unreadable(uid) => {
                let facts = FileFacts {
                    uid: Some(uid),
                    ..FileFacts::UNKNOWN
                };
                let holder = Box::new(Holder::unseen(Reason::Unreadable, facts));
                Some(Found::Unreadable(Refusal { holder, id: None }))
            }
            Existing::Opened(opened) => {
                let examined = self.examine_opened(opened, policy, torn, asker)?;
                examined.map(|examined| Found::Lock(Box::new(examined)))
            }
        })
    }

    fn open_existing(&self) -> Result<Existing<S>> {
        let Some(stat) = present(self.sys.stat_at(&self.dir, &self.name)).context("stat")? else {
            return Ok(Existing::None);
        };
        refuse_irregular(&stat)?;
        let file = match self.open_for_flock() {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Ok(Existing::Unreadable(stat.uid));
            }
            // Perhaps released between the stat and the open: it is gone, then.
            Err(error) => return Err(error).context("open"),
        };
        // A FIFO may have taken the regular file's place before the open.
        let stat = self.sys.stat(&file).context("stat")?;
        let opened = Opened {
            sys: self.sys.clone(),
            file,
            stat,
            locked: false,
        };
        refuse_irregular(&opened.stat)?;
        Ok(Existing::Opened(opened))
    }

    /// Read-only on local file systems: there every close of a descriptor open for writing is an
    /// IN_CLOSE_WRITE that would wake all waiters, who would wake one another for ever. Elsewhere
    /// for writing if we may: NFS answers EBADF to LOCK_EX on a read-only descriptor.
    fn open_for_flock(&self) -> io::Result<S::File> {
        if self.file_system == FileSystem::NotLocal {
            match self.sys.open(&self.dir, &self.name, Access::ReadWrite) {
                Err(error) if is_refusal(&error) => {}
                outcome => return outcome,
            }
        }
        self.sys.open(&self.dir, &self.name, Access::Read)
    }

    /// `None` if the path names another inode by now: also when the kernel lock is held, for the
    /// holder may just have released.
    fn examine_opened(
        &self,
        mut opened: Opened<S>,
        policy: &StalePolicy,
        torn: &mut Torn,
        asker: Asker,
    ) -> Result<Option<Examined<S>>> {
        let mut doubts = self.doubts.iter().copied();
        let rounds = Rounds::of(&self.sys);
        loop {
            let clock = &self.server_clock;
            rounds.begin_with(&[&*torn, &doubts.len(), &opened.locked, clock]);
            let kernel_lock = self.flock(&opened.file, Flock::Shared)?;
            opened.locked |= kernel_lock == KernelLock::Free;
            let Some(stat) = self.stat_if_named(opened.stat.id)? else {
                return Ok(None);
            };
            let head = self.reread(&opened.file).context("read")?;
            let examined = self.judge_head(head, &stat, kernel_lock, policy, torn, asker)?;
            let outlived = examined.verdict.reason() == Reason::KernelLockOutlivesProcess;
            if let Some(pause) = doubts.next().filter(|_| outlived) {
                self.sys.wait(None, pause);
                continue;
            }
            let held_for = self.time_since(opened.stat.born_ns);
            let facts = FileFacts {
                held_for,
                ..examined.facts
            };
            let holder = Holder { facts, ..examined };
            return Ok(Some(Examined {
                opened,
                head,
                holder,
            }));
        }
    }

    /// A bad checksum is read again: the holder may be refreshing in place.
    pub(super) fn reread(&self, file: &S::File) -> io::Result<Head> {
        let mut head = self.sys.read(file)?;
        for _ in 0..REREADS {
            let record = Record::decode(head.bytes());
            if !matches!(record, Err(DecodeError::BadChecksum { .. })) {
                break;
            }
            self.sys.wait(None, Duration::from_millis(1));
            head = self.sys.read(file)?;
        }
        Ok(head)
    }

    pub(super) fn judge_head(
        &self,
        head: Head,
        stat: &Stat,
        kernel_lock: KernelLock,
        policy: &StalePolicy,
        torn: &mut Torn,
        asker: Asker,
    ) -> Result<Holder> {
        let record = Record::decode(head.bytes());
        match &record {
            Err(DecodeError::Foreign { first }) => {
                return Err(Error::Foreign(Foreign::Content(*first)));
            }
            Err(DecodeError::UnsupportedVersion { found }) => {
                return Err(Error::UnsupportedVersion(*found));
            }
            _ => {}
        }
        let now = self.sys.now();
        let mtime_age = match (kernel_lock, &record) {
            (KernelLock::HeldElsewhere, _) => Duration::ZERO,
            (_, Ok(_)) => self.mtime_age(stat, &record, &now, asker),
            (_, Err(_)) => {
                let unchanged_for = torn.unchanged_for(stat, &head, now.since_boot);
                self.mtime_age(stat, &record, &now, asker)
                    .max(unchanged_for)
            }
        };
        let evidence = self.evidence(&record, stat, kernel_lock, mtime_age, &now);
        Ok(Holder {
            evidence: Some(evidence),
            verdict: judge(&evidence, policy),
            facts: FileFacts {
                uid: Some(stat.uid),
                has_trailing_bytes: head.bytes().len() > RECORD_LEN,
                held_for: None,
            },
            is_this_process: record.is_ok_and(|record| self.is_own(&record, stat.id)),
            record: record.map_err(Some),
        })
    }

    fn evidence(
        &self,
        record: &Result<Record, DecodeError>,
        stat: &Stat,
        kernel_lock: KernelLock,
        mtime_age: Duration,
        now: &Now,
    ) -> Evidence {
        let unread = Evidence {
            content: record
                .as_ref()
                .map_or_else(Content::from, |_| Content::Valid),
            kernel_lock,
            file_system: self.file_system,
            stamp: Stamp::Absent,
            host: HostMatch::Other,
            process: Process::Unknown,
            timestamp_age: Age::Past(Duration::ZERO),
            mtime_age,
            predates_boot: false,
        };
        let Ok(record) = record else { return unread };
        let stamp = self.stamp(record, stat.id);
        let host = self.host_match(&record.hostname());
        Evidence {
            stamp,
            host,
            // The pid means nothing here unless this host or this kernel gave it.
            process: match (stamp, host) {
                (Stamp::Different { .. } | Stamp::Absent, HostMatch::Other) => Process::Unknown,
                _ => self.process(record),
            },
            timestamp_age: Age::at(now.realtime_ns, record.timestamp_ns()),
            predates_boot: record.timestamp_ns() < now.booted_ns(),
            ..unread
        }
    }

    fn stamp(&self, record: &Record, id: FileId) -> Stamp {
        match record.stamp() {
            None => Stamp::Absent,
            Some(KernelStamp {
                inode_key,
                start_ticks,
            }) => {
                if self.inode_key(id) == Some(inode_key) {
                    Stamp::Same { start_ticks }
                } else {
                    Stamp::Different { start_ticks }
                }
            }
        }
    }

    pub(super) fn inode_key(&self, id: FileId) -> Option<u64> {
        Some(KernelStamp::inode_key(&self.sys.boot_id()?, id.dev, id.ino))
    }

    fn host_match(&self, recorded: &Hostname) -> HostMatch {
        if *recorded == self.sys.hostname() {
            HostMatch::Same
        } else if self.sys.is_host_alias(recorded) {
            HostMatch::Alias
        } else {
            HostMatch::Other
        }
    }

    fn process(&self, record: &Record) -> Process {
        /// The process's start is known to a clock tick and the boot's time to the clock's steps:
        /// a second's difference does not make a pid look reused.
        const SLACK: u64 = 1_000_000_000;
        match self.sys.process(record.pid()) {
            Liveness::Alive {
                start_ticks,
                started_ns,
            } => Process::Alive {
                start_ticks,
                started_after_timestamp: started_ns > record.timestamp_ns().saturating_add(SLACK),
            },
            Liveness::Dead => Process::Dead,
            Liveness::Unknown => Process::Unknown,
        }
    }

    /// Exact where there is a stamp. Without one (no procfs, long host names) two containers of one
    /// name may both hold pid 1: there only a system that has no stamps at all goes by pid and host.
    fn is_own(&self, record: &Record, id: FileId) -> bool {
        let Ok(own) = self.sys.identity() else {
            return false;
        };
        let same_writer = match self.stamp(record, id) {
            Stamp::Same { start_ticks } => start_ticks == own.start_ticks,
            Stamp::Different { .. } => false,
            Stamp::Absent => own.start_ticks == 0 && record.hostname() == self.sys.hostname(),
        };
        same_writer && record.pid() == own.pid
    }

    /// Age of the file's mtime by the clock that set it.
    ///
    /// A local file system uses this machine's. Elsewhere the server's clock may differ by hours; it
    /// shows in the mtime of a probe file. Where no probe may be made, a contender sees no age at
    /// all (doubt reads as held), and an observer, who changes nothing, takes this machine's clock.
    fn mtime_age(
        &self,
        stat: &Stat,
        record: &Result<Record, DecodeError>,
        now: &Now,
        asker: Asker,
    ) -> Duration {
        let by_this_clock = Age::at(now.realtime_ns, stat.mtime_ns).or_zero();
        // Rows 10 to 13 read the mtime only in place of a timestamp that lies ahead.
        let unread = record.is_ok_and(|record| {
            record.stamp().is_none() && record.timestamp_ns() <= now.realtime_ns
        });
        if self.file_system == FileSystem::Local || asker == Asker::Observer || unread {
            return by_this_clock;
        }
        let known = *lock(&self.server_clock);
        let clock = match known.filter(|_| asker != Asker::Breaker) {
            Some(clock) => clock,
            None => match self.probe_server_clock() {
                Ok(clock) => *lock(&self.server_clock).insert(clock),
                Err(_) => return Duration::ZERO,
            },
        };
        let passed = crate::sys::nanos(now.since_boot.saturating_sub(clock.since_boot));
        Age::at(clock.server_ns.saturating_add(passed), stat.mtime_ns).or_zero()
    }

    fn probe_server_clock(&self) -> io::Result<ServerClock> {
        let name = self.aside_name()?;
        let probe = self.sys.create(&self.dir, &name, 0o600)?;
        let stat = self.sys.stat(&probe);
        self.sys.unlink(&self.dir, &name)?;
        Ok(ServerClock {
            server_ns: stat?.mtime_ns,
            since_boot: self.sys.now().since_boot,
        })
    }

    fn time_since(&self, born_ns: Option<u64>) -> Option<Duration> {
        born_ns.map(|born_ns| Age::at(self.sys.now().realtime_ns, born_ns).or_zero())
    }

    /// Watches the lock file of the hold that was in the way, and its process. An error where there is
    /// no file to watch, or events do not arrive.
    pub(crate) fn watch(&self, refusal: &Refusal) -> io::Result<Watching<S::Watch>> {
        let Some(id) = refusal.id.filter(|_| self.file_system == FileSystem::Local) else {
            // Off local file systems inotify reports nothing that another mount did.
            return Err(io::ErrorKind::Unsupported.into());
        };
        let Some(file) = present(self.sys.open(&self.dir, &self.name, Access::Read))? else {
            return Ok(Watching::Nothing);
        };
        if self.sys.stat(&file)?.id != id {
            return Ok(Watching::Nothing);
        }
        let holder = &refusal.holder;
        let process = holder.record().filter(|_| holder.process_lives());
        let watch = self.sys.watch(&file, process.map(Record::pid))?;
        // A death before the watch shows in the process, which it could not watch any more; a release
        // shows at the path, where no other file can have the number of one that is open.
        let is_complete = sabotaged!(self.sys, LookAfterWatch)
            || self.sys.watches_process(&watch)
                && self.is_record_of(&file, refusal)
                && matches!(self.stat_if_named(id), Ok(Some(_)));
        Ok(if is_complete {
            Watching::All(watch)
        } else {
            Watching::FromNowOn(watch)
        })
    }

    fn is_record_of(&self, file: &S::File, refusal: &Refusal) -> bool {
        let head = self.sys.read(file);
        let record = head.map(|head| Record::decode(head.bytes()));
        let seen = refusal.holder.record().map(Record::writer_id);
        matches!(record, Ok(Ok(record)) if Some(record.writer_id()) == seen)
    }
}

fn refuse_irregular(stat: &Stat) -> Result<()> {
    match stat.kind {
        FileKind::Regular => Ok(()),
        kind => Err(Error::Foreign(Foreign::Kind(kind))),
    }
}

/// Whether an open for writing failed because of permissions alone.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

#[cfg(all(test, unix, not(rvlf_unsupported)))]
mod tests {
    use super::*;
    use crate::record::{Pid, WriterId};
    use crate::sys::Host;

    // Between a look's flock and its end another thread forks. The child has the descriptor for as long
    // as it lives: closed alone, it would keep every breaker out.
    #[test]
    fn a_look_unlocks_what_a_forked_child_still_has_open() {
        let dir = tempfile::tempdir().expect("there is room");
        let resource = dir.path().join("data");
        let pid = Pid::new(1).expect("1 is a pid");
        let id = WriterId::from_bytes([7; 16]);
        let record = Record::new(pid, &Host.hostname(), 0, id, None);
        let path = super::super::lock_path_for(&resource);
        std::fs::write(&path, record.encode()).expect("there is room");

        let place = Place::open(Host, &resource).expect("the directory is there");
        let found = place.examine(&StalePolicy::new(), &mut Torn::default(), Asker::Observer);
        let Ok(Found::Lock(examined)) = found else {
            panic!("a lock file is there");
        };
        let copy = examined.opened.file.try_clone();
        let other = std::fs::File::open(&path).expect("it is there");
        other.try_lock().expect_err("the look has locked it");
        drop(examined);
        other.try_lock().expect("the look is over");
        drop(copy);
    }
}
