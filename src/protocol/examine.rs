//! Examine: open, read and judge what lies at the lock path, and change nothing.

use std::io;
use std::time::Duration;

use super::evidence::{Gatherer, Observation, Purpose};
use super::wait::Pauses;
use super::{Contention, Error, Place, ROUNDS, Result};
use crate::holder::{FileFacts, Foreign, Holder};
use crate::judge::{Age, KernelLock, OwnHold, Reason, StalePolicy, judge};
use crate::record::{DecodeError, RECORD_LEN, Record};
use crate::sys::entry::{Opened, is_replaced};
use crate::sys::hooks::Rounds;
use crate::sys::{Access, CancelToken, Context, FileId, Flock, Operation, Prefix, Stat, Sys};

/// What lies at the lock path.
pub(crate) enum LockFileState<S: Sys> {
    Absent,
    /// A regular file that this user may not read, or that another process has leased or locked
    /// against reads.
    Unreadable(Contention),
    /// It was another file at every look.
    Contended,
    Lock(Box<ExaminedLock<S>>),
}

impl<S: Sys> LockFileState<S> {
    /// Whether a contender could obtain the lock.
    pub(crate) fn is_obtainable(&self) -> bool {
        match self {
            LockFileState::Absent => true,
            LockFileState::Unreadable(_) | LockFileState::Contended => false,
            LockFileState::Lock(lock) => lock.holder.verdict.is_stale(),
        }
    }
}

/// A lock file that was read and judged.
pub(crate) struct ExaminedLock<S: Sys> {
    pub(super) opened: OpenLockFile<S>,
    pub(super) prefix: Prefix,
    pub(crate) holder: Holder,
}

/// An open lock file of another holder. Dropping it unlocks before it closes, so that a child
/// forked meanwhile keeps no kernel lock.
pub(super) struct OpenLockFile<S: Sys> {
    pub(super) sys: S,
    pub(super) file: S::File,
    pub(super) stat: Stat,
    /// Whether this process has its kernel lock.
    pub(super) locked: bool,
}

impl<S: Sys> OpenLockFile<S> {
    /// What `named`, the stat of the file's name, says now, with the birth time that only the open
    /// file shows.
    pub(super) fn stat_now(&self, named: Stat) -> Stat {
        Stat {
            born_ns: self.stat.born_ns,
            ..named
        }
    }

    pub(super) fn unlock(&mut self) {
        if self.locked {
            // The close that follows unlocks as well, unless a child was forked: nothing to report.
            let _ = self.sys.flock(&self.file, Flock::Unlock);
            self.locked = false;
        }
    }
}

impl<S: Sys> Drop for OpenLockFile<S> {
    fn drop(&mut self) {
        self.unlock();
    }
}

impl<S: Sys> ExaminedLock<S> {
    pub(super) fn id(&self) -> FileId {
        self.opened.stat.id
    }

    pub(crate) fn into_contention(self) -> Contention {
        Contention {
            id: Some(self.id()),
            holder: Box::new(self.holder),
        }
    }
}

/// The looks of one operation at one lock path.
pub(crate) struct Examination<'a, S: Sys> {
    pub(super) place: &'a Place<S>,
    policy: StalePolicy,
    pub(super) gatherer: Gatherer<'a, S>,
    pub(super) pauses: Pauses<'a, S>,
}

impl<'a, S: Sys> Examination<'a, S> {
    pub(crate) fn new(place: &'a Place<S>, policy: StalePolicy, purpose: Purpose) -> Self {
        Examination {
            place,
            policy,
            gatherer: Gatherer::new(place, purpose, &policy),
            pauses: Pauses::new(place.sys(), &[]),
        }
    }

    /// Ends pauses when one of `tokens` is cancelled.
    pub(crate) fn cancelled_by(mut self, tokens: &'a [CancelToken]) -> Self {
        self.pauses = Pauses::new(self.place.sys(), tokens);
        self
    }

    /// Opens, reads and judges what lies at the lock path.
    ///
    /// An error for what can never be a lock; nothing at the path is ever changed.
    pub(crate) fn examine(&mut self) -> Result<LockFileState<S>> {
        let rounds = Rounds::of(self.place.sys());
        for _ in 0..ROUNDS {
            rounds.begin_with(&[self.gatherer.memory()]);
            match self.look() {
                Ok(Some(state)) => return Ok(state),
                Ok(None) => {}
                Err(error) if error.is_gone() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(LockFileState::Contended)
    }

    /// Examines, and waits until a write that is under way is done.
    pub(super) fn examine_written(&mut self) -> Result<LockFileState<S>> {
        let rounds = Rounds::of(self.place.sys());
        loop {
            rounds.begin_with(&[self.gatherer.memory()]);
            let state = self.examine()?;
            let LockFileState::Lock(lock) = &state else {
                return Ok(state);
            };
            let pause = self.gatherer.pause(&lock.holder.verdict, &self.policy);
            let Some(pause) = pause.filter(|_| !self.pauses.are_cancelled()) else {
                return Ok(state);
            };
            drop(state);
            self.pauses.sleep(pause);
        }
    }

    /// `None` if the path names another file by now.
    fn look(&mut self) -> Result<Option<LockFileState<S>>> {
        let place = self.place;
        self.gatherer.begin_look();
        let opened = match place.entry.open_existing(|| place.open_for_flock()) {
            // Only a lease makes an open that does not block fail so. fcntl(2)
            Err(error) if error.source.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Some(LockFileState::Unreadable(Contention::leased())));
            }
            // Not another look at once, which would keep the replaced file open.
            Err(error) if !place.entry.is_local() && is_replaced(&error.source) => {
                return Ok(Some(LockFileState::Contended));
            }
            opened => opened?,
        };
        match opened {
            Opened::Absent => Ok(Some(LockFileState::Absent)),
            Opened::Irregular(kind) => Err(Error::foreign(place.lock_path(), Foreign::Kind(kind))),
            Opened::Denied { uid, .. } => {
                Ok(Some(LockFileState::Unreadable(Contention::unreadable(uid))))
            }
            Opened::File(file, stat) => self.examine_opened(OpenLockFile {
                sys: place.sys().clone(),
                file,
                stat,
                locked: false,
            }),
        }
    }

    /// `None` if the path names another inode by now: also when the kernel lock is held, for the
    /// holder may just have released.
    fn examine_opened(&mut self, mut opened: OpenLockFile<S>) -> Result<Option<LockFileState<S>>> {
        let place = self.place;
        let mut retry_pauses = place.retry_pauses.iter();
        let rounds = Rounds::of(place.sys());
        loop {
            let left = retry_pauses.len();
            rounds.begin_with(&[self.gatherer.memory(), &left]);
            let kernel_lock = place.ask_kernel_lock(&mut opened)?;
            let Some(stat) = place.entry.stat_if_names(opened.stat.id)? else {
                return Ok(None);
            };
            let is_held = kernel_lock == KernelLock::HeldElsewhere;
            let prefix = match place.read(&opened.file) {
                // The lock of the file's holder is mandatory, as on SMB.
                Err(error) if place.is_locked_against_reads(&error, is_held) => {
                    let locked = || LockFileState::Unreadable(Contention::locked());
                    return Ok(is_held.then(locked));
                }
                // A fault of the server, or a process has locked the file since flock's answer.
                Err(error) if left > 0 && place.is_locked_against_reads(&error, true) => {
                    if let Some(pause) = retry_pauses.next() {
                        self.pauses.sleep(*pause);
                    }
                    continue;
                }
                read => read.context(Operation::File("read"), place.lock_path())?,
            };
            let holder = self.judge(&Observation {
                prefix,
                stat: opened.stat_now(stat),
                kernel_lock,
            })?;
            // A kernel lock that outlives its process belongs to a breaker or an examiner, most of
            // the time, who need microseconds.
            let outlived = holder.verdict.reason() == Reason::KernelLockOutlivesProcess;
            if let Some(pause) = retry_pauses.next().filter(|_| outlived) {
                self.pauses.sleep(*pause);
                continue;
            }
            let facts = FileFacts {
                held_for: self.time_since(opened.stat.born_ns),
                ..holder.facts
            };
            return Ok(Some(LockFileState::Lock(Box::new(ExaminedLock {
                opened,
                prefix,
                holder: Holder { facts, ..holder },
            }))));
        }
    }

    /// Gathers the evidence of what was seen, and judges it.
    ///
    /// An error for content that can never be a lock, unless a process has locked the file.
    pub(super) fn judge(&mut self, observation: &Observation) -> Result<Holder> {
        let record = Record::decode(observation.prefix.bytes());
        // A live process that has locked the file keeps it, whatever a stray write has put there.
        if observation.kernel_lock != KernelLock::HeldElsewhere {
            self.ensure_known(&record)?;
        }
        let evidence = self.gatherer.gather(observation, &record);
        let is_ours = |record| {
            evidence.own_hold != OwnHold::GivenUp
                && !evidence.is_of_another_boot()
                && self.place.is_written_by_us(record, evidence.stamp)
        };
        Ok(Holder {
            evidence: Some(evidence),
            verdict: judge(&evidence, &self.policy),
            facts: FileFacts {
                uid: observation.stat.uid,
                has_trailing_bytes: observation.prefix.bytes().len() > RECORD_LEN,
                held_for: None,
            },
            is_this_process: record.as_ref().is_ok_and(is_ours),
            record: record.map_err(Some),
        })
    }

    /// An error for content that is no RVLF record, or a record of a version that this program does
    /// not know.
    fn ensure_known(&self, record: &Result<Record, DecodeError>) -> Result<()> {
        let lock_path = self.place.lock_path();
        match *record {
            Err(DecodeError::Foreign { first }) => {
                Err(Error::foreign(lock_path, Foreign::Content(first)))
            }
            Err(DecodeError::UnsupportedVersion { found }) => Err(Error::UnsupportedVersion {
                lock_path: lock_path.to_owned(),
                found,
            }),
            _ => Ok(()),
        }
    }

    fn time_since(&self, born_ns: Option<u64>) -> Option<Duration> {
        let now = || self.place.sys().now().realtime_ns;
        born_ns.map(|born_ns| Age::at(now(), born_ns).or_zero())
    }
}

impl<S: Sys> Place<S> {
    /// Whether another process has the kernel lock of `opened`.
    ///
    /// Unlocks as soon as it has the answer: breakers and exclusive creators need the kernel lock
    /// for themselves, and under many examiners that held it through their whole look 9 of 150
    /// breakers were refused. A breaker asks again, exclusively, and judges again.
    fn ask_kernel_lock(&self, opened: &mut OpenLockFile<S>) -> Result<KernelLock> {
        let kernel_lock = self.flock(&opened.file, Flock::Shared)?;
        opened.locked = kernel_lock == KernelLock::Free;
        opened.unlock();
        Ok(kernel_lock)
    }

    /// Read-only on local file systems. There every close of a descriptor that is open for writing
    /// is an IN_CLOSE_WRITE that would wake all waiters, who would wake one another indefinitely.
    /// Elsewhere for writing where that is permitted: NFS answers EBADF to LOCK_EX on a read-only
    /// descriptor.
    fn open_for_flock(&self) -> io::Result<S::File> {
        if !self.entry.is_local() {
            match self.entry.open_now(Access::ReadWrite) {
                Err(error) if is_not_writable(&error) => {}
                outcome => return outcome,
            }
        }
        self.entry.open_now(Access::Read)
    }
}

/// Whether an open for writing failed because of permissions alone.
pub(super) fn is_not_writable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

#[cfg(all(test, unix, not(rvlf_unsupported)))]
mod tests {
    use std::sync::Arc;

    use super::super::acquire::AcquireOptions;
    use super::super::hold::{Acquired, Held};
    use super::*;
    use crate::record::{Pid, WriterId};
    use crate::sys::Host;

    // A process that reports the state of a lock may lack the permission to write, and is no contender: the server's
    // clock is not asked. Nor is it on a local file system, which has this machine's clock.
    #[test]
    fn a_report_and_a_look_on_a_local_file_system_make_no_probe_file() {
        let dir = tempfile::tempdir().expect("there is room");
        let data = dir.path().join("data");
        let place = Place::open(Host, &data).expect("the directory is there");
        let path = super::super::lock_path_for(&data);
        std::fs::write(path, "FLVR").expect("there is room");
        let changed = || {
            let dir = std::fs::metadata(dir.path()).expect("it is there");
            dir.modified().expect("the file system has it")
        };
        let before = changed();
        std::thread::sleep(Duration::from_millis(20));
        let examine = |purpose| {
            let state = Examination::new(&place, StalePolicy::new(), purpose).examine();
            assert!(matches!(state, Ok(LockFileState::Lock(_))));
        };
        examine(Purpose::Report);
        if place.entry.is_local() {
            examine(Purpose::Acquire);
        }
        assert_eq!(changed(), before);
    }

    // On a system without stamps (illumos, Haiku) a process has only its pid and its host name to recognise its
    // record by. What other Unixes get was built on Linux as if it had stamps, and no test saw those compared.
    #[test]
    fn a_process_recognises_the_record_of_its_own_hold() {
        let dir = tempfile::tempdir().expect("there is room");
        let place = Place::open(Host, &dir.path().join("data"));
        let place = Arc::new(place.expect("the directory is there"));
        let options = AcquireOptions::one_attempt();
        let acquired = Held::acquire(&place, options, &|| {});
        assert!(matches!(acquired, Ok(Acquired::Held(_))), "it is free");
        let policy = StalePolicy::new();
        let state = Examination::new(&place, policy, Purpose::Report).examine();
        let Ok(LockFileState::Lock(lock)) = state else {
            panic!("a lock file is there");
        };
        assert!(lock.holder.is_this_process);
    }

    // An examiner needs the kernel lock only for the answer of flock(2). If it kept the lock until
    // it has judged, many examiners would keep every breaker out; and a child that another thread
    // forks would keep it for as long as the child lives.
    #[test]
    fn an_examination_keeps_no_kernel_lock() {
        let dir = tempfile::tempdir().expect("there is room");
        let data = dir.path().join("data");
        let pid = Pid::new(1).expect("1 is a pid");
        let id = WriterId::from_bytes([7; 16]);
        let record = Record::new(pid, &Host.hostname(), 0, id, None);
        let path = super::super::lock_path_for(&data);
        std::fs::write(&path, record.encode()).expect("there is room");

        let place = Place::open(Host, &data).expect("the directory is there");
        let policy = StalePolicy::new();
        let state = Examination::new(&place, policy, Purpose::Report).examine();
        let Ok(LockFileState::Lock(lock)) = state else {
            panic!("a lock file is there");
        };
        let other = place.open_for_flock().expect("the file exists");
        let flocked = place.flock(&other, Flock::Exclusive);
        let flocked = flocked.expect("the file system has flock");
        assert_eq!(flocked, KernelLock::Free, "the examination has its answer");
        drop(lock);
    }
}
