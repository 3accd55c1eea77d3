//! Who chooses the steps of one schedule.

use super::step::Step;

/// Chooses what happens next, among what can.
pub(super) trait Chooser {
    fn choose(&mut self, steps: &[Step]) -> Option<Step>;
}

/// Runs of one process, and rarely something that goes wrong: with dice, all mishaps would come at the
/// beginning, and no process would ever get far by itself.
pub(super) struct Random {
    random: SplitMix,
    /// One step in so many goes to anybody.
    patience: u64,
    last: Option<usize>,
}

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        let mut random = SplitMix(seed);
        let patience = 1 << (random.next() % 5);
        Random {
            random,
            patience,
            last: None,
        }
    }
}

impl Chooser for Random {
    fn choose(&mut self, steps: &[Step]) -> Option<Step> {
        let (mishaps, others) = apart(steps);
        if self.random.one_in(32) && !mishaps.is_empty() {
            return self.random.choose(&mishaps);
        }
        let step = match run_of(self.last, &others) {
            Some(step) if !self.random.one_in(self.patience) => Some(step),
            _ => self.random.choose(&others),
        };
        self.last = runner(step).or(self.last);
        step
    }
}

/// Follows bytes, each of which says what happens next and, if that is a process's step, for how many
/// steps more that process goes on. When they are used up, the first that can runs.
pub(super) struct Script<'b> {
    bytes: std::slice::Iter<'b, u8>,
    last: Option<usize>,
    more: u8,
}

impl Script<'_> {
    pub(super) fn new(bytes: &[u8]) -> Script<'_> {
        Script {
            bytes: bytes.iter(),
            last: None,
            more: 0,
        }
    }
}

impl Chooser for Script<'_> {
    fn choose(&mut self, steps: &[Step]) -> Option<Step> {
        let (mishaps, others) = apart(steps);
        if let Some(step) = run_of(self.last, &others).filter(|_| self.more > 0) {
            self.more -= 1;
            return Some(step);
        }
        let byte = self.bytes.next().copied().unwrap_or_default();
        let (what, more) = (usize::from(byte % 8), byte / 8 % 16);
        if byte >= 128 && !mishaps.is_empty() {
            return mishaps
                .get(usize::from(byte - 128) % mishaps.len())
                .copied();
        }
        let step = others.get(what % others.len().max(1)).copied();
        self.more = more;
        self.last = runner(step);
        step
    }
}

/// What goes wrong, and what happens by itself.
fn apart(steps: &[Step]) -> (Vec<Step>, Vec<Step>) {
    steps.iter().partition(|step| step.is_rare())
}

fn run_of(last: Option<usize>, steps: &[Step]) -> Option<Step> {
    let mut steps = steps.iter().copied();
    steps.find(|step| last.is_some() && runner(Some(*step)) == last)
}

fn runner(step: Option<Step>) -> Option<usize> {
    match step {
        Some(Step::Run(who)) => Some(who),
        _ => None,
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
