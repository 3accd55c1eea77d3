//! Random numbers, and how a set of measured times is printed.

use std::env;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A small generator of random numbers, xorshift64*. Its seed is printed and can be set.
pub struct Rng(u64);

impl Rng {
    /// Seeded by `RVLF_SEED`, otherwise by the clock.
    #[allow(clippy::new_without_default, reason = "it reads the clock and prints")]
    pub fn new() -> Rng {
        let given = env::var("RVLF_SEED").ok();
        let given = given.and_then(|seed| seed.parse().ok());
        let clock = || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            now.map_or(0, |now| now.as_micros() as u64) | 1
        };
        let seed = given.unwrap_or_else(clock);
        println!("seed: RVLF_SEED={seed}");
        Rng(seed)
    }

    pub fn from_seed(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }

    pub fn micros(&mut self, limit: u64) -> Duration {
        Duration::from_micros(self.below(limit))
    }
}

/// Median, 99th percentile and maximum.
pub fn summary(times: &mut [Duration]) -> String {
    times.sort();
    let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len() - 1));
    let [median, p99, max] = [50, 99, 100].map(|percent| at(percent).copied().unwrap_or_default());
    format!("median {median:.1?}, 99 % {p99:.1?}, longest {max:.1?}")
}
