//! Break: remove what a dead holder left behind, and nothing else.

use std::ffi::{OsStr, OsString};
use std::io;
use std::time::Duration;

use super::examine::{Examined, Opened};
use super::{Asker, Context, Found, Place, Refusal, Result, Torn, jittered, present};
use crate::holder::Holder;
use crate::judge::{Age, KernelLock, Reason, StalePolicy, Verdict};
use crate::record::{DecodeError, Record, WriterId};
use crate::sys::hooks::sabotaged;
use crate::sys::{Access, FileId, FileKind, Flock, Flocked, Head, Stat, Sys};

/// How old a deployed client's rules let a record become before they call it stale on its host.
const DEPLOYED_STALE_AGE: Duration = StalePolicy::SAME_HOST_AGE;

/// How long an aside may be a breaker's that is still at work.
const LITTER_AGE: Duration = Duration::from_secs(60);

/// What a breaker renames the lock file to; always fits NAME_MAX.
const ASIDE_PREFIX: &str = ".rvlf-";

/// What a breaker removed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Displaced {
    pub(crate) record: Option<Record>,
    /// Whether a deployed client may have judged it stale at the same time.
    pub(super) known_to_deployed: bool,
}

impl<S: Sys> Examined<S> {
    fn displaced(&self) -> Displaced {
        let old = |age: Age| age.or_zero() > DEPLOYED_STALE_AGE;
        // Deployed clients delete short files at once, whatever their age.
        let known_to_deployed = self.holder.timestamp_age().is_none_or(old);
        Displaced {
            record: self.holder.record().copied(),
            known_to_deployed,
        }
    }
}

/// How a break ended without an error.
pub(super) enum Broken {
    Done(Displaced),
    /// The path does not name what was judged any more, or it is no longer stale.
    Changed,
    /// Somebody examines or breaks it right now.
    Busy,
}

/// How a break by hand ended without an error.
pub(crate) enum BreakAttempt {
    Nothing,
    Removed(Box<Holder>),
    Refused(Refusal),
}

impl<S: Sys> Place<S> {
    /// Removes the examined lock if, looked at again under the exclusive kernel lock, it is still
    /// the file that was judged, and still stale.
    pub(super) fn break_lock(
        &self,
        examined: Examined<S>,
        policy: &StalePolicy,
        torn: &mut Torn,
    ) -> Result<Broken> {
        match self.break_examined(examined, policy, torn) {
            // A breaker on another host was quicker.
            Err(error) if error.is_gone() => Ok(Broken::Changed),
            outcome => outcome,
        }
    }

    fn break_examined(
        &self,
        examined: Examined<S>,
        policy: &StalePolicy,
        torn: &mut Torn,
    ) -> Result<Broken> {
        // Breakers A and B both judged it stale. A breaks it and publishes. B, without this lock or
        // the looks that follow, would rename A's live lock aside, and C could publish meanwhile.
        let file = &examined.opened.file;
        let kernel_lock = self.flock(file, Flock::Exclusive)?;
        if kernel_lock == KernelLock::HeldElsewhere {
            return Ok(Broken::Busy);
        }
        let id = examined.id();
        if !sabotaged!(self.sys, Identity) {
            let named = self.stat_if_it(&self.name, id, |head| *head == examined.head);
            let Some(stat) = named.context("read")? else {
                return Ok(Broken::Changed);
            };
            let head = self.sys.read(file).context("read")?;
            if head != examined.head {
                return Ok(Broken::Changed);
            }
            let again = self.judge_head(head, &stat, kernel_lock, policy, torn, Asker::Breaker)?;
            if !again.verdict.is_stale() {
                return Ok(Broken::Changed);
            }
        }
        let is_it = |caught: &Head| *caught == examined.head;
        if !self.remove_if(|aside| Ok(self.stat_if_it(aside, id, is_it)?.is_some()))? {
            return Ok(Broken::Changed);
        }
        let displaced = examined.displaced();
        crate::trace::broken(&self.lock_path, &examined.holder);
        Ok(Broken::Done(displaced))
    }

    /// Renames the lock aside, and unlinks it if `is_it` recognises what was caught. Otherwise puts
    /// it back. False if nothing was removed.
    fn remove_if(&self, is_it: impl FnOnce(&OsStr) -> io::Result<bool>) -> Result<bool> {
        let aside = self.aside_name().context("name an aside")?;
        let renamed = present(self.sys.rename(&self.dir, &self.name, &aside));
        if renamed.context("rename the lock file aside")?.is_none() {
            return Ok(false);
        }
        let recognised = if sabotaged!(self.sys, Identity) {
            Ok(true)
        } else {
            is_it(&aside)
        };
        match recognised {
            Ok(true) => {
                self.sys
                    .unlink(&self.dir, &aside)
                    .context("unlink the aside")?;
                Ok(true)
            }
            Ok(false) => self.put_back(&aside).map(|()| false),
            Err(error) => {
                // The first error is the one to report.
                let _ = self.put_back(&aside);
                Err(error).context("stat the aside")
            }
        }
    }

    /// Gives a lock that was caught by mistake its name again. Where somebody else has published
    /// meanwhile, the one caught is lost, and its holder will notice. Where it cannot be put back
    /// the aside stays, and this is an error: to go on would be to take the lock of a live holder.
    fn put_back(&self, aside: &OsStr) -> Result<()> {
        match self.sys.rename_noreplace(&self.dir, aside, &self.name) {
            // Somebody else's program may have put its own file there between our look and our
            // rename: that is never removed, under whatever name.
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists && self.holds_ours(aside) =>
            {
                let _ = self.sys.unlink(&self.dir, aside);
                Ok(())
            }
            outcome => outcome.context("put back the lock file"),
        }
    }

    fn holds_ours(&self, aside: &OsStr) -> bool {
        let head = self.read_afresh(aside);
        head.is_ok_and(|head| head.is_some_and(|head| is_ours(&head)))
    }

    /// Removes the lock if it is stale. `Ok(None)` if nothing is there (any more).
    pub(crate) fn break_stale(&self, policy: &StalePolicy) -> Result<BreakAttempt> {
        let mut torn = Torn::default();
        let mut refusal = Refusal::contended();
        for pause in self.doubts.iter().copied() {
            let examined = match self.examine_written(policy, &mut torn)? {
                Found::Nothing => return Ok(BreakAttempt::Nothing),
                Found::Unreadable(refusal) => return Ok(BreakAttempt::Refused(refusal)),
                Found::Contended => break,
                Found::Lock(examined) => *examined,
            };
            if !examined.holder.verdict.is_stale() {
                return Ok(BreakAttempt::Refused(examined.into_refusal()));
            }
            let (holder, id) = (examined.holder.clone(), examined.id());
            match self.break_lock(examined, policy, &mut torn)? {
                Broken::Done(_) => return Ok(BreakAttempt::Removed(Box::new(holder))),
                Broken::Changed => {}
                Broken::Busy => {
                    refusal = busy(holder, id);
                    self.sys.wait(None, jittered(&self.sys, pause));
                }
            }
        }
        Ok(BreakAttempt::Refused(refusal))
    }

    /// Removes the lock, live or not, if its record bears `writer_id`.
    pub(crate) fn force_break(&self, writer_id: WriterId) -> Result<BreakAttempt> {
        let never = StalePolicy::never();
        let examined = match self.examine(&never, &mut Torn::default(), Asker::Observer)? {
            Found::Nothing => return Ok(BreakAttempt::Nothing),
            Found::Unreadable(refusal) => return Ok(BreakAttempt::Refused(refusal)),
            Found::Contended => return Ok(BreakAttempt::Refused(Refusal::contended())),
            Found::Lock(examined) => *examined,
        };
        let named = |record: &Record| record.writer_id() == writer_id;
        if !examined.holder.record().is_some_and(named) {
            return Ok(BreakAttempt::Refused(examined.into_refusal()));
        }
        let removed = self.remove_if(|aside| {
            let file = self.sys.open(&self.dir, aside, Access::Read)?;
            let head = self.sys.read(&file)?;
            Ok(Record::decode(head.bytes()).as_ref().is_ok_and(named))
        })?;
        if removed {
            crate::trace::broken(&self.lock_path, &examined.holder);
            Ok(BreakAttempt::Removed(Box::new(examined.holder)))
        } else {
            Ok(BreakAttempt::Refused(Refusal::contended()))
        }
    }

    pub(super) fn aside_name(&self) -> io::Result<OsString> {
        let [a, b, c, d, e, f, g, h, ..] = self.sys.random()?;
        let number = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        Ok(format!("{ASIDE_PREFIX}{number:016x}").into())
    }

    /// Removes what breakers that died between rename and unlink have left. Best effort: whoever
    /// breaks next comes by again.
    pub(crate) fn sweep(&self) -> usize {
        let names = self.sys.list(&self.dir).unwrap_or_default();
        names
            .iter()
            .filter(|name| is_aside_name(name) && self.sweep_one(name))
            .count()
    }

    fn sweep_one(&self, name: &OsStr) -> bool {
        let old = |stat: &Stat| {
            let age = Age::at(self.sys.now().realtime_ns, stat.mtime_ns).or_zero();
            stat.kind == FileKind::Regular && age > LITTER_AGE
        };
        if !self.sys.stat_at(&self.dir, name).as_ref().is_ok_and(old) {
            return false;
        }
        let Ok(file) = self.sys.open(&self.dir, name, Access::Read) else {
            return false;
        };
        let Ok(stat) = self.sys.stat(&file) else {
            return false;
        };
        let opened = Opened {
            sys: self.sys.clone(),
            file,
            stat,
            locked: true,
        };
        // An aside whose kernel lock is held is a live lock that was caught by mistake.
        let free = matches!(
            self.sys.flock(&opened.file, Flock::Exclusive),
            Ok(Flocked::Done)
        );
        free && old(&opened.stat)
            && self.sys.read(&opened.file).is_ok_and(|head| is_ours(&head))
            && self.sys.unlink(&self.dir, name).is_ok()
    }
}

/// A stale lock that could not be broken because somebody kept its kernel lock all the time.
pub(super) fn busy(holder: Holder, id: FileId) -> Refusal {
    let reason = Reason::KernelLockOutlivesProcess;
    let verdict = Verdict::Held {
        reason,
        stale_in: None,
    };
    Refusal {
        holder: Box::new(Holder { verdict, ..holder }),
        id: Some(id),
    }
}

fn is_aside_name(name: &OsStr) -> bool {
    let number = name
        .to_str()
        .and_then(|name| name.strip_prefix(ASIDE_PREFIX));
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    number.is_some_and(|number| number.len() == 16 && number.bytes().all(is_hex))
}

/// Whether an aside's content is a lock's: whole, torn or damaged. (A torn one was broken by row 4.)
fn is_ours(head: &Head) -> bool {
    !matches!(
        Record::decode(head.bytes()),
        Err(DecodeError::Foreign { .. } | DecodeError::UnsupportedVersion { .. })
    )
}
