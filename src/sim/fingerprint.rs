//! 128-bit fingerprints of values. Among 2^40 values, two equal fingerprints are less likely than a
//! wrong bit in memory.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// A set of fingerprints. Their own bits are as good as those of any hash.
pub(super) type Fingerprints = HashSet<u128, BuildHasherDefault<OwnBits>>;

/// The upper half of a fingerprint.
#[derive(Default)]
pub(super) struct OwnBits(u64);

impl Hasher for OwnBits {
    fn write(&mut self, bytes: &[u8]) {
        let upper = bytes.last_chunk().copied().unwrap_or_default();
        self.0 = u64::from_le_bytes(upper);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// 128 bits that stand for a value.
pub(super) fn fingerprint(value: &impl Hash) -> u128 {
    let mut hasher = Fingerprint(0);
    value.hash(&mut hasher);
    hasher.0
}

/// One multiplication for each word. No adversary chooses the states.
struct Fingerprint(u128);

impl Fingerprint {
    /// An odd number without a pattern: the fraction of the golden ratio.
    const FACTOR: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

    fn mix(&mut self, word: u64) {
        // The addition comes first: without it, leading zeros would leave no trace.
        let mixed = (self.0 ^ u128::from(word))
            .wrapping_add(1)
            .wrapping_mul(Self::FACTOR);
        self.0 = mixed ^ (mixed >> 64);
    }
}

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.mix(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.mix(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.mix(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0 as u64
    }
}
