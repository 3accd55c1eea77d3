//! The holds of this process.

use std::collections::VecDeque;

use rvlf::WriterId;

/// How many dead holds are remembered. The lock of one that is forgotten is taken over after its lease.
const CAPACITY: usize = 256;

/// The holds of this process: which it has, and which it has lost or given up.
#[derive(Debug, Default)]
pub(crate) struct OwnHolds {
    live: Vec<WriterId>,
    dead: VecDeque<WriterId>,
}

impl OwnHolds {
    pub(crate) fn begin(&mut self, id: WriterId) {
        self.live.push(id);
    }

    /// The hold is lost, or given up: nothing of this process relies on it, so a record of it that is still
    /// in the store, or that lands later, may be replaced at once.
    pub(crate) fn end(&mut self, id: WriterId) {
        self.live.retain(|live| *live != id);
        if self.dead.contains(&id) {
            return;
        }
        if self.dead.len() >= CAPACITY {
            self.dead.pop_front();
        }
        self.dead.push_back(id);
    }

    pub(crate) fn is_live(&self, id: WriterId) -> bool {
        self.live.contains(&id)
    }

    pub(crate) fn dead(&self) -> Vec<WriterId> {
        self.dead.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A process that makes a million locks must not remember a million ids.
    #[test]
    fn dead_holds_are_bounded_and_the_latest_are_kept() {
        let mut holds = OwnHolds::default();
        let id = |number: u16| {
            let mut bytes = [0; 16];
            bytes[..2].copy_from_slice(&number.to_le_bytes());
            WriterId::from_bytes(bytes)
        };
        for number in 0..300 {
            holds.begin(id(number));
            holds.end(id(number));
        }
        assert_eq!(holds.dead().len(), CAPACITY);
        assert_eq!(holds.dead().last(), Some(&id(299)));
        assert!(!holds.is_live(id(299)));
    }
}
