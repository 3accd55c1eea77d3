//! Sleeping until a lock may be free: events where they arrive, growing pauses elsewhere.
//!
//! Source: `spec/protocol.md#wait`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::contention::HoldId;
use super::pace::Pace;
use super::{Contention, Place, ROUNDS, Result, jittered};
use crate::judge::Verdict;
use crate::record::Record;
use crate::sys::entry::present;
use crate::sys::hooks::sabotaged;
use crate::sys::{Access, CancelToken, Sys, WakeReason};

/// With few contenders the next release is a matter of microseconds: three lost races cost nothing.
const BACKOFF_AFTER: u32 = 3;
/// Then 1, 2, 4 .. 16 ms. Of 64 contenders that never rest, on ext4, the unluckiest had 0.02 to
/// 0.26 of an even share without this, and 0.4 to 0.6 with it.
const LONGEST_BACKOFF: Duration = Duration::from_millis(16);

/// The pauses of one operation: every sleep that may end early goes through here. (What must not
/// end early is [`Place::settle`].)
#[derive(Debug)]
pub(super) struct Pauses<'a, S> {
    sys: &'a S,
    cancel: &'a [CancelToken],
}

impl<'a, S: Sys> Pauses<'a, S> {
    pub(super) fn new(sys: &'a S, cancel: &'a [CancelToken]) -> Self {
        Pauses { sys, cancel }
    }

    pub(super) fn are_cancelled(&self) -> bool {
        CancelToken::is_any_cancelled(self.cancel)
    }

    pub(super) fn sleep(&self, time: Duration) {
        self.wait(None, time);
    }

    /// Sleeps until the watch reports, the operation is cancelled, or the time is over.
    fn wait(&self, watch: Option<&mut S::Watch>, time: Duration) -> WakeReason {
        self.sys.wait(watch, self.cancel, time)
    }
}

/// What one look at the lock has shown.
pub(crate) enum Look<T> {
    Done(T),
    NotYet(Contention),
    /// The path leads to another directory by now.
    Moved,
}

/// How a wait ended without an error.
pub(crate) enum Waited<T> {
    Done(T),
    TimedOut(Contention),
    Cancelled,
}

/// What a waiter does next.
enum Next {
    LookAgain,
    Sleep,
}

/// Whether a watch of a hold was armed.
enum Watching<W> {
    /// The path names another file, or none.
    Gone,
    /// What happened between the look and the watch is not known.
    FromNowOn(W),
    /// The hold is as it was at the look, and whatever ends it will be reported.
    All(W),
}

/// Waits for one lock, with a timeout.
pub(crate) struct Waiter<'a, S: Sys> {
    place: &'a Place<S>,
    pauses: Pauses<'a, S>,
    /// Time since boot.
    started: Duration,
    timeout: Duration,
    /// The hold that is waited for.
    hold: Option<HoldId>,
    /// The watch of its lock file. `None` where events do not arrive.
    watch: Option<S::Watch>,
    /// Whether another process had the kernel lock when the watch was armed.
    was_locked: bool,
    pace: Pace,
    backoff: Backoff,
}

impl<'a, S: Sys> Waiter<'a, S> {
    pub(crate) fn new(place: &'a Place<S>, timeout: Duration, cancel: &'a [CancelToken]) -> Self {
        Waiter {
            place,
            pauses: Pauses::new(place.sys(), cancel),
            started: place.sys().now().since_boot,
            timeout,
            hold: None,
            watch: None,
            was_locked: false,
            pace: Pace::new(),
            backoff: Backoff::default(),
        }
    }

    /// Looks until it is done, the timeout has passed, or the wait is cancelled; unless it was
    /// cancelled before, at least once. `None` if the path leads to another directory by now.
    pub(crate) fn until<T>(
        mut self,
        mut look: impl FnMut() -> Result<Look<T>>,
    ) -> Result<Option<Waited<T>>> {
        loop {
            if self.pauses.are_cancelled() {
                return Ok(Some(Waited::Cancelled));
            }
            let contention = match look()? {
                Look::Done(value) => return Ok(Some(Waited::Done(value))),
                Look::NotYet(contention) => contention,
                Look::Moved => return Ok(None),
            };
            // An attempt that is cancelled ends before its time: what it saw is no answer.
            if self.pauses.are_cancelled() {
                return Ok(Some(Waited::Cancelled));
            }
            let left = self.left();
            if left.is_zero() {
                return Ok(Some(Waited::TimedOut(contention)));
            }
            match self.follow(&contention, left) {
                Next::LookAgain => {}
                Next::Sleep => self.pause(&contention, left),
            }
            // No event reports that the directory was replaced: the next look is what notices.
            if self.place.has_moved() {
                return Ok(None);
            }
        }
    }

    fn left(&self) -> Duration {
        let now = self.place.sys().now().since_boot;
        self.timeout
            .saturating_sub(now.saturating_sub(self.started))
    }

    /// Goes over to the hold that was in the way, if it is another one than before.
    fn follow(&mut self, contention: &Contention, left: Duration) -> Next {
        let hold = contention.hold();
        // `None` twice is no change either: the lock file may not be read, or was another one at every look. A new
        // pace at each such look would look every 10 ms, indefinitely.
        if hold == self.hold {
            return self.follow_kernel_lock(contention);
        }
        // Before the next watch is made, which can then take what this one leaves.
        self.watch = None;
        self.pace = Pace::new();
        // The hold that was waited for has ended, and another contender has the lock.
        let lost_to_another = self.hold.take().is_some();
        if let Some(pause) = lost_to_another.then(|| self.backoff.lost_race()).flatten() {
            let pause = jittered(self.place.sys(), pause);
            self.pauses.sleep(pause.min(left));
            return Next::LookAgain;
        }
        self.arm(contention)
    }

    /// Watches anew if the kernel lock was taken or dropped since the watch was armed, because unlocks are
    /// events only while another process has it.
    ///
    /// Dropped: B, at a file whose holder has closed it by mistake, was woken by A's examination, A by B's,
    /// and each by its own. Taken: an exclusive creator locked its file after the first look, forked and
    /// died, and the end of the child was no event.
    fn follow_kernel_lock(&mut self, contention: &Contention) -> Next {
        let is_as_before = contention.holder.is_kernel_locked() == self.was_locked;
        if self.watch.is_none() || is_as_before {
            return Next::Sleep;
        }
        self.watch = None;
        self.arm(contention)
    }

    fn arm(&mut self, contention: &Contention) -> Next {
        self.was_locked = contention.holder.is_kernel_locked();
        match self.place.watch(contention) {
            Ok(Watching::All(watch)) => {
                self.hold = contention.hold();
                self.watch = Some(watch);
                Next::Sleep
            }
            // The holder may have released, or died, between the look and the watch.
            Ok(Watching::FromNowOn(watch)) => {
                self.hold = contention.hold();
                self.watch = Some(watch);
                Next::LookAgain
            }
            // Another contender's file is at the path: the next look arms a watch for it.
            Ok(Watching::Gone) => Next::LookAgain,
            Err(_) => {
                self.hold = contention.hold();
                Next::Sleep
            }
        }
    }

    fn pause(&mut self, contention: &Contention, left: Duration) {
        let sys = self.place.sys();
        let pause = match self.watch {
            Some(_) => self.pace.until_next_look(sys, stale_in(contention)),
            None => self.pace.until_next_poll(sys),
        };
        match self.pauses.wait(self.watch.as_mut(), pause.min(left)) {
            WakeReason::FileEvent | WakeReason::ProcessEnded => self.pace.event(),
            WakeReason::Timeout | WakeReason::Cancelled => {}
        }
    }
}

impl<S: Sys> Place<S> {
    /// Waits by `wait`, which receives the place and the time that is left, and again with the
    /// directory opened anew where `wait` finds that the path leads to another one, or fails after
    /// foreign code has closed the directory's descriptor.
    pub(crate) fn wait_at_the_path<T>(
        place: &Arc<Place<S>>,
        timeout: Duration,
        mut wait: impl FnMut(&Arc<Place<S>>, Duration) -> Result<Option<Waited<T>>>,
    ) -> Result<Waited<T>> {
        let mut place = Arc::clone(place);
        let since_boot = |place: &Place<S>| place.sys().now().since_boot;
        let started = since_boot(&place);
        let mut rounds = 0;
        loop {
            let waited = since_boot(&place).saturating_sub(started);
            let left = timeout.saturating_sub(waited);
            match wait(&place, left) {
                Ok(Some(waited)) => return Ok(waited),
                Err(error) if place.entry.is_open() => return Err(error),
                Ok(None) | Err(_) => {}
            }
            rounds += 1;
            if rounds >= ROUNDS && left.is_zero() {
                return Ok(Waited::TimedOut(Contention::changed_hands()));
            }
            place = Arc::new(place.open_anew()?);
        }
    }
}

fn stale_in(contention: &Contention) -> Option<Duration> {
    match contention.holder.verdict() {
        Verdict::Held { stale_in, .. } => stale_in,
        Verdict::Stale { .. } => Some(Duration::ZERO),
    }
}

impl<S: Sys> Place<S> {
    /// Watches the lock file of the hold that was in the way, and its process. An error where there
    /// is no file to watch, or events do not arrive.
    fn watch(&self, contention: &Contention) -> io::Result<Watching<S::Watch>> {
        let Some(id) = contention.id.filter(|_| self.entry.is_local()) else {
            // Off local file systems inotify reports nothing that another mount did.
            return Err(io::ErrorKind::Unsupported.into());
        };
        let Some(file) = present(self.entry.open_now(Access::Read))? else {
            return Ok(Watching::Gone);
        };
        if self.sys().stat(&file)?.id != id {
            return Ok(Watching::Gone);
        }
        let holder = &contention.holder;
        let process = holder.record().filter(|_| holder.process_lives());
        let is_locked = holder.is_kernel_locked() || sabotaged!(self.entry.sys, OwnUnlocks);
        let watch = self
            .sys()
            .watch(&file, process.map(Record::pid), is_locked)?;
        // A death before the watch shows in the process, which could not be watched any more; a
        // release shows at the path, where no other file can have the number of one that is open.
        let is_complete = sabotaged!(self.entry.sys, LookAfterWatch)
            || self.sys().watches_process(&watch)
                && self.still_holds(&file, contention)
                && matches!(self.entry.stat_if_names(id), Ok(Some(_)));
        Ok(if is_complete {
            Watching::All(watch)
        } else {
            Watching::FromNowOn(watch)
        })
    }

    /// Whether `file` has the record of the hold that was in the way.
    fn still_holds(&self, file: &S::File, contention: &Contention) -> bool {
        let prefix = self.sys().read(file);
        let record = prefix.map(|prefix| Record::decode(prefix.bytes()));
        matches!(record, Ok(Ok(record)) if Some(record.writer_id()) == contention.writer_id())
    }
}

/// The pauses after races that were lost to other contenders. Each release wakes all waiters, and the
/// process that has just released comes first most of the time: waiters that lose again and again would
/// only slow that process down.
#[derive(Debug, Default)]
struct Backoff {
    lost_races: u32,
}

impl Backoff {
    /// How long to stay away after a race that was lost.
    fn lost_race(&mut self) -> Option<Duration> {
        let beyond = self.lost_races.checked_sub(BACKOFF_AFTER);
        self.lost_races += 1;
        let doubled = |beyond: u32| Duration::from_millis(1 << beyond.min(10));
        beyond.map(|beyond| doubled(beyond).min(LONGEST_BACKOFF))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Sixty-four processes that acquire and release without rest: if all came at each release, the
    // one that has just released would win nearly always.
    #[test]
    fn a_waiter_that_loses_race_after_race_stays_away_for_longer_but_never_for_long() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..40).map(|_| backoff.lost_race()).collect();
        let ms = |ms| Some(Duration::from_millis(ms));
        let first = [None, None, None, ms(1), ms(2), ms(4), ms(8), ms(16)];
        assert!(pauses.starts_with(&first));
        assert!(
            pauses
                .iter()
                .skip(first.len())
                .all(|pause| *pause == ms(16))
        );
    }
}
