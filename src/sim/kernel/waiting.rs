//! Clocks, watches and their events.

use std::time::Duration;

use nix::errno::Errno;

use super::super::call::{Fd, Reply, WatchId};
use super::{Ino, Kernel, Watch, first_free};
use crate::record::Pid;
use crate::sys::{Liveness, Now, Woken};

impl Kernel {
    // Clocks and waiting.

    pub(super) fn now(&self, who: usize) -> Now {
        let since_boot = Duration::from_nanos(self.now_ns - self.booted_ns);
        Now {
            realtime_ns: self.realtime_ns(self.process(who).system.kernel()),
            since_boot,
        }
    }

    pub(super) fn watch(
        &mut self,
        who: usize,
        fd: Fd,
        process: Option<Pid>,
    ) -> Result<Reply, Errno> {
        let ino = Some(self.description(who, fd)?.1.ino);
        let process = process.filter(|pid| self.liveness(who, *pid) != Liveness::Dead);
        let watch = Watch {
            ino,
            file_event: false,
            process,
        };
        let watches = &mut self.process_mut(who).watches;
        Ok(Reply::Watch(first_free(watches, watch), process.is_some()))
    }

    pub(super) fn watches_of(&mut self, ino: Ino) -> impl Iterator<Item = &mut Watch> {
        let watches = self
            .processes
            .iter_mut()
            .flat_map(|process| process.watches.iter_mut());
        watches
            .flatten()
            .filter(move |watch| watch.ino == Some(ino))
    }

    /// Queues an event for all who watch this inode.
    pub(super) fn report(&mut self, ino: Ino) {
        self.watches_of(ino)
            .for_each(|watch| watch.file_event = true);
    }

    /// Why a wait would end now.
    pub(super) fn woken(&self, who: usize, id: WatchId) -> Option<Woken> {
        let process = self.process(who);
        let watch = process.watches.get(id).copied().flatten()?;
        let ended = |pid| self.liveness(who, pid) == Liveness::Dead;
        if watch.process.is_some_and(ended) {
            Some(Woken::ProcessEnded)
        } else if watch.file_event {
            Some(Woken::FileEvent)
        } else {
            process
                .deadline_ns
                .filter(|end| *end <= self.now_ns)
                .map(|_| Woken::Timeout)
        }
    }

    pub(super) fn wake(&mut self, who: usize, id: WatchId) -> Reply {
        let woken = self
            .woken(who, id)
            .expect("only waits that are over are executed");
        let process = self.process_mut(who);
        process.deadline_ns = None;
        if let Some(Some(watch)) = process.watches.get_mut(id) {
            match woken {
                Woken::ProcessEnded => watch.process = None,
                Woken::FileEvent => watch.file_event = false,
                Woken::Timeout => {}
            }
        }
        Reply::Woken(woken)
    }
}
