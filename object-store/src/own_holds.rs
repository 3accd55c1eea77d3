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
    breaks: VecDeque<WriterId>,
}

impl OwnHolds {
    pub(crate) fn begin(&mut self, id: WriterId) {
        self.live.push(id);
    }

    /// An acquisition by force begins. Its record keeps contenders out for the victim, which may believe: the
    /// calls of this process are no exception, also if the break fails.
    pub(crate) fn begin_break(&mut self, id: WriterId) {
        push_bounded(&mut self.breaks, id);
    }

    /// The hold is lost, or given up: nothing of this process relies on it, so a record of it that is still
    /// in the store, or that lands later, may be replaced at once.
    pub(crate) fn end(&mut self, id: WriterId) {
        self.live.retain(|live| *live != id);
        if !self.dead.contains(&id) && !self.breaks.contains(&id) {
            push_bounded(&mut self.dead, id);
        }
    }

    pub(crate) fn is_live(&self, id: WriterId) -> bool {
        self.live.contains(&id)
    }

    pub(crate) fn dead(&self) -> Vec<WriterId> {
        self.dead.iter().copied().collect()
    }
}

fn push_bounded(ids: &mut VecDeque<WriterId>, id: WriterId) {
    if ids.len() >= CAPACITY {
        ids.pop_front();
    }
    ids.push_back(id);
}

#[cfg(test)]
mod tests {
    use super::*;

    // A break that has no answer in time is given up. Its takeover may be in, and its victim alive: another call
    // of this process that takes it for dead writes beside the victim.
    #[test]
    fn hold_of_a_breaker_by_force_is_never_taken_for_dead() {
        let mut holds = OwnHolds::default();
        let id = WriterId::from_bytes([1; 16]);
        holds.begin_break(id);
        holds.begin(id);
        holds.end(id);
        assert!(!holds.is_live(id));
        assert_eq!(holds.dead(), []);
    }

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
