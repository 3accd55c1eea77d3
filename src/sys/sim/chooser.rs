//! Random schedules.

use super::explorer::Step;

/// Chooses steps at random, but not as dice would: who runs goes on running for a while, which is
/// different in every schedule, and mishaps are rare, or all would come at the beginning.
pub(super) struct Chooser {
    random: SplitMix,
    /// One step in so many goes to anybody.
    patience: u64,
    last: Option<usize>,
}

impl Chooser {
    pub(super) fn new(seed: u64) -> Chooser {
        let mut random = SplitMix(seed);
        let patience = 1 << (random.next() % 5);
        Chooser {
            random,
            patience,
            last: None,
        }
    }

    pub(super) fn choose(&mut self, steps: &[Step]) -> Option<Step> {
        let (mishaps, others): (Vec<_>, Vec<_>) = steps.iter().partition(|step| step.is_rare());
        if self.random.one_in(32) && !mishaps.is_empty() {
            return self.random.choose(&mishaps);
        }
        let stay = others
            .iter()
            .find(|step| matches!(step, Step::Run(who) if Some(*who) == self.last));
        let step = match stay {
            Some(step) if !self.random.one_in(self.patience) => Some(*step),
            _ => self.random.choose(&others),
        };
        if let Some(Step::Run(who)) = step {
            self.last = Some(who);
        }
        step
    }
}

/// Vigna's generator: one number is all its state, and any number will do as a seed.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }

    fn choose<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let len = u64::try_from(from.len()).ok().filter(|len| *len > 0)?;
        let at = usize::try_from(self.next() % len).expect("an index of the slice");
        from.get(at).copied()
    }
}
