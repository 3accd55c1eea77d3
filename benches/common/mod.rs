//! What the benches share: measuring side by side, judging goals, places to measure on.
#![allow(dead_code, reason = "each bench uses its part")]

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// What the command line asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Measure, and judge the goals.
    Measure,
    /// Run everything once, quickly, and judge nothing: `cargo bench -- --test`.
    Test,
    /// Say what there is.
    List,
}

impl Mode {
    pub fn from_args() -> Mode {
        let has = |flag: &str| std::env::args().any(|arg| arg == flag);
        if has("--list") {
            Mode::List
        } else if has("--test") || !has("--bench") {
            // `cargo test --benches` runs benches without `--bench`.
            Mode::Test
        } else {
            Mode::Measure
        }
    }

    /// `measured` when measuring, else as little as still runs everything.
    pub fn pick<T>(self, measured: T, tried: T) -> T {
        if self == Mode::Measure {
            measured
        } else {
            tried
        }
    }
}

/// Prints a goal that is a ratio of two times of one run, and whether it is met.
pub fn goal(mode: Mode, what: impl fmt::Display, ratio: f64, at_most: f64) {
    if mode == Mode::Measure {
        let verdict = if ratio <= at_most { "met" } else { "NOT MET" };
        println!("goal: <= {at_most} x, measured {ratio:.2} x, {verdict}  ({what})");
    }
}

/// Prints a goal that is a yes or no, and what it rests on.
pub fn goal_if(mode: Mode, what: impl fmt::Display, measured: impl fmt::Display, met: bool) {
    if mode == Mode::Measure {
        let verdict = if met { "met" } else { "NOT MET" };
        println!("goal: {what}: measured {measured}, {verdict}");
    }
}

/// Times of one contestant, one a round.
#[derive(Clone, Debug, Default)]
pub struct Samples(pub Vec<Duration>);

impl Samples {
    pub fn quantile(&self, q: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        let index = (q * last as f64).round() as usize;
        sorted.get(index).copied().unwrap_or_default()
    }

    pub fn median(&self) -> Duration {
        self.quantile(0.5)
    }

    /// The median, over the rounds, of this time divided by `other`'s of the same round: what the
    /// machine does to a whole round cancels out.
    pub fn ratio_to(&self, other: &Samples) -> f64 {
        let mut ratios: Vec<f64> = self
            .0
            .iter()
            .zip(&other.0)
            .map(|(a, b)| a.as_secs_f64() / b.as_secs_f64())
            .collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// Runs the contestants in turn, A B C A B C, each `batch` times a turn; times are per call.
///
/// The one who begins changes from round to round, so that nobody always comes after the same one.
pub fn interleaved<const N: usize>(
    rounds: u32,
    batch: u32,
    mut contestants: [&mut dyn FnMut(); N],
) -> [Samples; N] {
    let mut samples: [Samples; N] = std::array::from_fn(|_| Samples::default());
    for round in 0..rounds as usize {
        for turn in 0..N {
            let at = (round + turn) % N;
            let (Some(contestant), Some(samples)) = (contestants.get_mut(at), samples.get_mut(at))
            else {
                continue;
            };
            let start = Instant::now();
            for _ in 0..batch {
                contestant();
            }
            samples.0.push(start.elapsed() / batch);
        }
    }
    samples
}

/// A time with three digits and its unit.
pub fn show(time: Duration) -> String {
    let ns = time.as_nanos() as f64;
    let (value, unit) = match ns {
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "us"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    let digits = if value < 10.0 {
        2
    } else {
        usize::from(value < 100.0)
    };
    format!("{value:.digits$} {unit}")
}

/// A temporary directory on a file system worth measuring.
pub struct Ground {
    pub name: &'static str,
    pub dir: TempDir,
}

impl Ground {
    pub fn resource(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// The build directory's file system, and memory where there is a tmpfs.
pub fn grounds() -> Vec<Ground> {
    let build = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(&build).expect("the build directory can be written to");
    [build, PathBuf::from("/dev/shm")]
        .into_iter()
        .filter_map(|parent| match tempfile::tempdir_in(&parent) {
            Ok(dir) => Some(Ground {
                name: file_system_name(dir.path()),
                dir,
            }),
            Err(error) => {
                println!("skipped: {}: {error}", parent.display());
                None
            }
        })
        .collect()
}

fn file_system_name(path: &std::path::Path) -> &'static str {
    use nix::sys::statfs;
    match statfs::statfs(path).map(|stat| stat.filesystem_type()) {
        Ok(statfs::EXT4_SUPER_MAGIC) => "ext4",
        Ok(statfs::TMPFS_MAGIC) => "tmpfs",
        Ok(statfs::XFS_SUPER_MAGIC) => "xfs",
        Ok(statfs::BTRFS_SUPER_MAGIC) => "btrfs",
        Ok(statfs::OVERLAYFS_SUPER_MAGIC) => "overlay",
        _ => "another file system",
    }
}

/// Raises the limit of open files as far as it goes; says how far that is.
pub fn raise_descriptor_limit() -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("every process has limits");
    let wanted = hard.min(1 << 20);
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).expect("up to the hard limit is allowed");
    wanted as usize
}
