//! [`OwnHolds`]: the holds that a process has lost or given up.
//!
//! Source: `spec/protocol.md#evidence`.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, TryLockError};

use crate::judge::OwnHold;
use crate::record::WriterId;

/// How many holds are remembered. Older ones are judged as any other process's.
const REMEMBERED: usize = 256;

/// How often the mutex is tried, which is never locked for longer than it takes to search 256 entries.
const TRIES: u32 = 1000;

/// The holds that a process has lost or given up, the latest last. Memory: a forked child inherits
/// them, and rightly so, since a loss is final. An exec forgets them.
#[derive(Debug)]
pub(crate) struct OwnHolds(Mutex<VecDeque<(WriterId, OwnHold)>>);

static OF_THIS_PROCESS: OwnHolds = OwnHolds::new();

impl OwnHolds {
    pub(crate) const fn new() -> OwnHolds {
        OwnHolds(Mutex::new(VecDeque::new()))
    }

    pub(super) fn of_this_process() -> &'static OwnHolds {
        &OF_THIS_PROCESS
    }

    /// What this process knows of the hold `id`.
    pub(crate) fn get(&self, id: WriterId) -> OwnHold {
        let known = self.try_entries().and_then(|entries| {
            let entry = entries.iter().find(|(known, _)| *known == id)?;
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

    fn set(&self, id: WriterId, state: OwnHold) {
        let Some(mut entries) = self.try_entries() else {
            return;
        };
        entries.retain(|(known, _)| *known != id);
        if entries.len() == REMEMBERED {
            entries.pop_front();
        }
        entries.push_back((id, state));
    }

    /// `None` in a forked child if a thread that the child does not have had locked the mutex at the
    /// fork. Then nothing is known, and the other rows decide.
    fn try_entries(&self) -> Option<MutexGuard<'_, VecDeque<(WriterId, OwnHold)>>> {
        for _ in 0..TRIES {
            match self.0.try_lock() {
                Ok(entries) => return Some(entries),
                Err(TryLockError::Poisoned(error)) => return Some(error.into_inner()),
                Err(TryLockError::WouldBlock) => std::thread::yield_now(),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> WriterId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        WriterId::from_bytes(bytes)
    }

    // A program whose disk is full tries again and again for months.
    #[test]
    fn the_latest_holds_are_remembered_and_memory_is_bounded() {
        let holds = OwnHolds::new();
        for number in 0..2 * REMEMBERED {
            holds.lost(id(number));
            holds.given_up(id(number));
        }
        assert_eq!(holds.get(id(REMEMBERED - 1)), OwnHold::None);
        assert_eq!(holds.get(id(REMEMBERED)), OwnHold::GivenUp);
        assert_eq!(holds.get(id(2 * REMEMBERED - 1)), OwnHold::GivenUp);
        let entries = holds.try_entries().map(|entries| entries.len());
        assert_eq!(entries, Some(REMEMBERED));
    }

    #[test]
    fn a_mutex_that_is_locked_for_ever_hangs_no_caller() {
        let holds = OwnHolds::new();
        holds.given_up(id(1));
        let _locked = holds.try_entries();
        assert_eq!(holds.get(id(1)), OwnHold::None);
    }
}
