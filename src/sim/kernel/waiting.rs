//! Clocks, sleeps, watches and their events.

use std::time::Duration;

use nix::errno::Errno;

use super::super::call::{Call, Fd, Reply, WatchId};
use super::{Ino, Kernel, Rules, fill_slot};
use crate::record::Pid;
use crate::sys::{Liveness, Now, WakeReason, nanos};

/// What a process waits for, and which events have arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Watch {
    /// `None` when the inode is gone: another file may have its number by now.
    pub(super) ino: Option<Ino>,
    pub(super) file_event: bool,
    /// Whether unlocks of the file are events.
    of_unlocks: bool,
    owner: usize,
    /// Whether its owner has unlocked the file since.
    unlocked_itself: bool,
    pub(super) process: Option<Pid>,
}

/// Clocks and sleeps.
impl Kernel {
    pub(super) fn now(&self, pid_index: usize) -> Now {
        let kernel = self.process(pid_index).system.kernel();
        Now {
            realtime_ns: self.realtime_ns(kernel),
            since_boot: Duration::from_nanos(self.now_ns - self.boot(kernel).at_ns),
        }
    }

    /// Starts a sleep, if `call` is one.
    pub(in crate::sim) fn begin_sleep(&mut self, rules: &Rules, pid_index: usize, call: &Call) {
        let (Call::Wait(_, timeout, _) | Call::Sleep(timeout, _)) = call else {
            return;
        };
        let timeout = rules.length_of(*timeout);
        // A timeout that u64 cannot count never ends.
        let timeout_ns = u64::try_from(timeout.as_nanos()).ok();
        let deadline_ns = timeout_ns.and_then(|timeout| self.now_ns.checked_add(timeout));
        self.process_mut(pid_index).deadline_ns = deadline_ns;
    }

    /// Whether `call` would return now. All calls do, but a wait and a sleep. A sleep without a
    /// watch may end at any moment, as real schedulers allow, and moves the clock on; but not
    /// in a coarse world.
    pub(in crate::sim) fn is_ready(&self, rules: &Rules, pid_index: usize, call: &Call) -> bool {
        match call {
            _ if self.is_paused(pid_index) => false,
            Call::Wait(id, ..) => self.wake_reason(pid_index, *id).is_some(),
            Call::Sleep(..) => {
                let deadline_ns = self.process(pid_index).deadline_ns;
                deadline_ns.is_some_and(|deadline| !rules.coarse || deadline <= self.now_ns)
            }
            _ => true,
        }
    }

    /// Ends the wait or the sleep of a process by its token.
    pub(in crate::sim) fn cancel_wait(&mut self, pid_index: usize) -> Reply {
        self.process_mut(pid_index).deadline_ns = None;
        Reply::Woken(WakeReason::Cancelled)
    }

    /// Moves the clock on to the first deadline of `waiting`, or to the end of a pause. False if
    /// there is neither.
    pub(in crate::sim) fn pass_time(&mut self, waiting: impl Iterator<Item = usize>) -> bool {
        let deadline = |pid_index| self.process(pid_index).deadline_ns;
        let deadlines =
            waiting.filter_map(|pid_index| self.pause_end(pid_index).or(deadline(pid_index)));
        let Some(first) = deadlines.min() else {
            return false;
        };
        self.now_ns = self.now_ns.max(first);
        self.pause = self.pause.filter(|pause| pause.until_ns > self.now_ns);
        true
    }

    pub(in crate::sim) fn advance_clock(&mut self, time: Duration) {
        self.now_ns += nanos(time);
    }
}

/// Watches.
impl Kernel {
    pub(super) fn watch(
        &mut self,
        pid_index: usize,
        fd: Fd,
        process: Option<Pid>,
        is_locked: bool,
    ) -> Result<Reply, Errno> {
        let ino = Some(self.description(pid_index, fd)?.1.ino);
        let process = process.filter(|pid| self.liveness(pid_index, *pid) != Liveness::Dead);
        let watch = Watch {
            ino,
            file_event: false,
            of_unlocks: is_locked && self.reports_unlocks,
            owner: pid_index,
            unlocked_itself: false,
            process,
        };
        let id = fill_slot(&mut self.process_mut(pid_index).watches, watch);
        Ok(Reply::Watch(id, process.is_some()))
    }

    pub(super) fn watches_of(&mut self, ino: Ino) -> impl Iterator<Item = &mut Watch> {
        let is_of = move |watch: &Watch| watch.ino == Some(ino);
        // Processes without such a watch stay shared.
        let processes = self.processes.iter_mut();
        let watching = processes.filter(move |it| it.watches.iter().flatten().any(is_of));
        let watches = watching.flat_map(|process| process.watches.iter_mut().flatten());
        watches.filter(move |watch| is_of(watch))
    }

    /// Queues an event for all watches of this inode.
    pub(super) fn notify_watches(&mut self, ino: Ino) {
        for watch in self.watches_of(ino) {
            watch.file_event = true;
        }
    }

    /// Queues an event for the watches of this inode that watch for unlocks: the process has unlocked it.
    pub(super) fn report_unlock(&mut self, pid_index: usize, ino: Ino) {
        for watch in self.watches_of(ino).filter(|watch| watch.of_unlocks) {
            watch.file_event = true;
            watch.unlocked_itself |= watch.owner == pid_index;
        }
    }

    /// Whether a wait would end because the process itself has unlocked the file: it would examine, unlock
    /// and wait, without rest.
    pub(in crate::sim) fn is_woken_by_itself(&self, pid_index: usize, id: WatchId) -> bool {
        let watch = self.process(pid_index).watches.get(id).copied().flatten();
        watch.is_some_and(|watch| watch.unlocked_itself)
    }

    /// Why a wait would end now. `None` if it would not.
    fn wake_reason(&self, pid_index: usize, id: WatchId) -> Option<WakeReason> {
        let process = self.process(pid_index);
        let watch = process.watches.get(id).copied().flatten()?;
        let is_dead = |pid| self.liveness(pid_index, pid) == Liveness::Dead;
        if watch.process.is_some_and(is_dead) {
            return Some(WakeReason::ProcessEnded);
        }
        if watch.file_event {
            return Some(WakeReason::FileEvent);
        }
        let deadline_ns = process.deadline_ns?;
        (deadline_ns <= self.now_ns).then_some(WakeReason::Timeout)
    }

    pub(super) fn wake(&mut self, pid_index: usize, id: WatchId) -> Reply {
        let woken = self.wake_reason(pid_index, id);
        let woken = woken.expect("only waits that are over are executed");
        let process = self.process_mut(pid_index);
        process.deadline_ns = None;
        if let Some(Some(watch)) = process.watches.get_mut(id) {
            match woken {
                WakeReason::ProcessEnded => watch.process = None,
                WakeReason::FileEvent => {
                    watch.file_event = false;
                    watch.unlocked_itself = false;
                }
                WakeReason::Timeout | WakeReason::Cancelled => {}
            }
        }
        Reply::Woken(woken)
    }
}
