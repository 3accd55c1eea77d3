//! Choosers of the steps of one schedule: of this search, and of that of the simulated store, which
//! includes this file (`object-store/schedules`).

use super::step::Step;

/// Chooses the next step.
pub(super) trait Chooser {
    /// One of `steps`; `None` if there are none.
    fn choose(&mut self, steps: &[Step]) -> Option<Step>;
}

/// Lets one process run for a while and injects faults rarely. A uniform choice would spend all
/// faults at the start of a schedule, and no process would ever get far without interruption.
pub(super) struct Random {
    random: SplitMix,
    /// One step in this many is drawn from all processes.
    run_length: u64,
    last_run: Option<usize>,
}

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        let mut random = SplitMix(seed);
        let run_length = 1 << (random.next() % 5);
        Random {
            random,
            run_length,
            last_run: None,
        }
    }
}

impl Chooser for Random {
    fn choose(&mut self, steps: &[Step]) -> Option<Step> {
        let (rare, common) = split_by_rarity(steps);
        if self.random.one_in(32) && !rare.is_empty() {
            return self.random.choose(&rare);
        }
        let step = match step_of(self.last_run, &common) {
            Some(step) if !self.random.one_in(self.run_length) => Some(step),
            _ => self.random.choose(&common),
        };
        self.last_run = step.and_then(|step| step.process()).or(self.last_run);
        step
    }
}

/// The rare steps and the common ones.
pub(super) fn split_by_rarity(steps: &[Step]) -> (Vec<Step>, Vec<Step>) {
    steps.iter().partition(|step| step.is_rare())
}

/// The step by which the process `last_run` goes on.
pub(super) fn step_of(last_run: Option<usize>, steps: &[Step]) -> Option<Step> {
    let last_run = last_run?;
    let goes_on = |step: &&Step| step.process() == Some(last_run);
    steps.iter().find(goes_on).copied()
}

/// Vigna's SplitMix64: its whole state is one number, and any number is a good seed.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.next() % n == 0
    }

    fn choose<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let len = u64::try_from(from.len()).ok().filter(|len| *len > 0)?;
        let index = usize::try_from(self.next() % len).expect("an index of the slice");
        from.get(index).copied()
    }
}
