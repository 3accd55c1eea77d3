//! The schedule that some bytes describe.

use super::chooser::{Chooser, split_by_rarity, step_of};
use super::step::Step;

/// Reads the schedule from bytes. Each byte is one choice; if it chooses a process, it also says
/// for how many steps more that process runs. After the last byte the first possible step is taken.
pub(super) struct Script<'b> {
    bytes: std::slice::Iter<'b, u8>,
    last_run: Option<usize>,
    steps_left: u8,
}

impl Script<'_> {
    pub(super) fn new(bytes: &[u8]) -> Script<'_> {
        Script {
            bytes: bytes.iter(),
            last_run: None,
            steps_left: 0,
        }
    }
}

impl Chooser for Script<'_> {
    fn choose(&mut self, steps: &[Step]) -> Option<Step> {
        let (rare, common) = split_by_rarity(steps);
        if self.steps_left > 0 {
            if let Some(step) = step_of(self.last_run, &common) {
                self.steps_left -= 1;
                return Some(step);
            }
        }
        let byte = self.bytes.next().copied().unwrap_or_default();
        if byte >= 128 && !rare.is_empty() {
            return rare.get(usize::from(byte - 128) % rare.len()).copied();
        }
        let choice = usize::from(byte % 8) % common.len().max(1);
        let step = common.get(choice).copied();
        self.steps_left = byte / 8 % 16;
        self.last_run = step.and_then(|step| step.process());
        step
    }
}
