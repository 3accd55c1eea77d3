//! Times of candidates that take turns in one run.

use std::time::{Duration, Instant};

/// Times of one candidate, one for each round.
#[derive(Clone, Debug, Default)]
pub struct Samples(pub Vec<Duration>);

impl Samples {
    /// The time that a share of `q` of the rounds did not exceed.
    pub fn quantile(&self, q: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        let index = (q * last as f64).round() as usize;
        sorted.get(index).copied().unwrap_or_default()
    }

    /// The time in the middle.
    pub fn median(&self) -> Duration {
        self.quantile(0.5)
    }

    /// The median, over the rounds, of this time divided by `other`'s of the same round: what the
    /// machine does to a whole round cancels out.
    pub fn ratio_to(&self, other: &Samples) -> f64 {
        let pairs = self.0.iter().zip(&other.0);
        let mut ratios: Vec<f64> = pairs
            .map(|(this, other)| this.as_secs_f64() / other.as_secs_f64())
            .collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// Runs the candidates in turn, A B C A B C, each `batch` times a turn; the times are per call.
///
/// The first of a round changes from round to round, so that none always follows the same one.
pub fn interleaved<const N: usize>(
    rounds: u32,
    batch: u32,
    mut candidates: [&mut dyn FnMut(); N],
) -> [Samples; N] {
    let mut samples: [Samples; N] = std::array::from_fn(|_| Samples::default());
    for round in 0..rounds as usize {
        for turn in 0..N {
            let at = (round + turn) % N;
            let (Some(candidate), Some(samples)) = (candidates.get_mut(at), samples.get_mut(at))
            else {
                continue;
            };
            let start = Instant::now();
            for _ in 0..batch {
                candidate();
            }
            samples.0.push(start.elapsed() / batch);
        }
    }
    samples
}

/// Prints the median of a candidate and the ratio to another one.
pub fn print_row(name: &str, samples: &Samples, against: &Samples) {
    let (time, ratio) = (show_time(samples.median()), samples.ratio_to(against));
    println!("  {name:48} {time:>8}  {ratio:>6.2} x");
}

/// A time with three digits and its unit.
pub fn show_time(time: Duration) -> String {
    let ns = time.as_nanos() as f64;
    let (value, unit) = match ns {
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "us"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    let digits = match value {
        value if value < 10.0 => 2,
        value if value < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}
