//! Values by fingerprints: among 2^40 of them two alike are less likely than a wrong bit in memory.

use std::hash::{Hash, Hasher};

/// 128 bits that stand for a value.
pub(super) fn fingerprint(value: &impl Hash) -> u128 {
    let mut hasher = Fingerprint(0);
    value.hash(&mut hasher);
    hasher.0
}

/// A multiplication per word. The states are not chosen by an adversary.
struct Fingerprint(u128);

impl Fingerprint {
    /// An odd number without a pattern: the fraction of the golden ratio.
    const FACTOR: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

    fn mix(&mut self, word: u64) {
        // Added before multiplying, lest zeros at the beginning leave no trace.
        let mixed = (self.0 ^ u128::from(word))
            .wrapping_add(1)
            .wrapping_mul(Self::FACTOR);
        self.0 = mixed ^ (mixed >> 64);
    }
}

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        words
            .iter()
            .for_each(|word| self.mix(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        if let Some(bytes) = last.get_mut(..rest.len()).filter(|bytes| !bytes.is_empty()) {
            bytes.copy_from_slice(rest);
            self.mix(u64::from_le_bytes(last));
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
