//! [`OwnHolds`]: the holds that a process has lost or given up, and what its failed publishes have
//! left.
//!
//! Source: `spec/protocol.md#evidence`.

use std::collections::VecDeque;

use super::FileId;
use crate::judge::OwnHold;
use crate::record::WriterId;
use crate::sync::{Mutex, MutexGuard, thread, try_lock};

/// How many holds are remembered, and how many failed publishes. Older ones are judged as any other
/// process's.
const REMEMBERED: usize = 256;

/// How often the mutex is tried, which is never locked for longer than it takes to search 256
/// entries.
const TRIES: u32 = 1000;

/// What a process remembers of its holds and publishes. A forked child inherits it, and rightly so,
/// since a loss is final. An exec forgets it.
#[derive(Debug)]
pub(crate) struct OwnHolds(Mutex<Entries>);

#[derive(Debug)]
struct Entries {
    /// The holds that were lost or given up, the latest last.
    holds: VecDeque<(WriterId, OwnHold)>,
    /// What failed publishes have left, the latest last.
    failed: VecDeque<FailedPublish>,
}

/// What a failed publish has left at a lock path. No process has written under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailedPublish {
    /// A record that could not be taken back.
    Record(WriterId),
    /// A file without content, by its inode and its modification time. The inode alone does not
    /// name it: the next file may have the same number.
    Empty { id: FileId, mtime_ns: u64 },
}

static OF_THIS_PROCESS: OwnHolds = OwnHolds::new();

impl OwnHolds {
    pub(crate) const fn new() -> OwnHolds {
        OwnHolds(Mutex::new(Entries {
            holds: VecDeque::new(),
            failed: VecDeque::new(),
        }))
    }

    pub(super) fn of_this_process() -> &'static OwnHolds {
        &OF_THIS_PROCESS
    }

    /// What this process knows of the hold `id`.
    pub(crate) fn get(&self, id: WriterId) -> OwnHold {
        let known = self.try_entries().and_then(|entries| {
            let entry = entries.holds.iter().find(|(known, _)| *known == id)?;
            Some(entry.1)
        });
        known.unwrap_or_default()
    }

    /// This process has lost the hold `id`.
    pub(crate) fn lost(&self, id: WriterId) {
        self.set(id, OwnHold::Lost);
    }

    /// Nothing in this process writes under the hold `id` any more, and its file was closed.
    pub(crate) fn given_up(&self, id: WriterId) {
        self.set(id, OwnHold::GivenUp);
    }

    /// A publish of this process has failed.
    pub(crate) fn publish_failed(&self, left: FailedPublish) {
        if let Some(mut entries) = self.try_entries() {
            push_latest(&mut entries.failed, left);
        }
    }

    /// Whether a failed publish of this process has left this.
    pub(crate) fn has_left(&self, left: FailedPublish) -> bool {
        let entries = self.try_entries();
        entries.is_some_and(|entries| entries.failed.contains(&left))
    }

    fn set(&self, id: WriterId, state: OwnHold) {
        let Some(mut entries) = self.try_entries() else {
            return;
        };
        entries.holds.retain(|(known, _)| *known != id);
        push_latest(&mut entries.holds, (id, state));
    }

    /// `None` in a forked child if a thread that the child does not have had locked the mutex at
    /// the fork. Then nothing is known, and the other rows decide.
    fn try_entries(&self) -> Option<MutexGuard<'_, Entries>> {
        for _ in 0..TRIES {
            if let Some(entries) = try_lock(&self.0) {
                return Some(entries);
            }
            thread::yield_now();
        }
        None
    }
}

fn push_latest<T>(entries: &mut VecDeque<T>, entry: T) {
    if entries.len() == REMEMBERED {
        entries.pop_front();
    }
    entries.push_back(entry);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> WriterId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
        WriterId::from_bytes(bytes)
    }

    // A program whose disk is full tries again and again for months.
    #[test]
    fn the_latest_holds_are_remembered_and_memory_is_bounded() {
        let holds = OwnHolds::new();
        for number in 0..2 * REMEMBERED {
            holds.lost(id(number));
            holds.given_up(id(number));
            holds.publish_failed(FailedPublish::Record(id(number)));
        }
        assert_eq!(holds.get(id(REMEMBERED - 1)), OwnHold::None);
        assert_eq!(holds.get(id(REMEMBERED)), OwnHold::GivenUp);
        assert_eq!(holds.get(id(2 * REMEMBERED - 1)), OwnHold::GivenUp);
        let has_left = |number| holds.has_left(FailedPublish::Record(id(number)));
        assert!(!has_left(REMEMBERED - 1) && has_left(REMEMBERED));
        let lengths =
            |entries: MutexGuard<'_, Entries>| (entries.holds.len(), entries.failed.len());
        let lengths = holds.try_entries().map(lengths);
        assert_eq!(lengths, Some((REMEMBERED, REMEMBERED)));
    }

    #[test]
    fn a_mutex_that_is_locked_for_ever_hangs_no_caller() {
        let holds = OwnHolds::new();
        holds.given_up(id(1));
        let _locked = holds.try_entries();
        assert_eq!(holds.get(id(1)), OwnHold::None);
    }
}
