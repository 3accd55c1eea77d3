//! What the command line of a bench demands.

use std::time::Duration;

use criterion::Criterion;

/// How much a bench does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything.
    Full,
    /// Without criterion: the ratios of one run, and the goals.
    Goals,
    /// Everything once and quickly, judging no goal.
    Smoke,
    /// Print names only.
    List,
}

impl Mode {
    /// The mode that the options of this process demand.
    pub fn from_args() -> Mode {
        let has = |flag: &str| std::env::args().any(|arg| arg == flag);
        if has("--list") {
            Mode::List
        } else if has("--test") || !has("--bench") {
            // `cargo test --benches` runs a bench without `--bench`.
            Mode::Smoke
        } else if has("--goals") {
            Mode::Goals
        } else {
            Mode::Full
        }
    }

    /// As [`Mode::from_args`], for a bench without criterion: prints the name where names are
    /// demanded, and returns `None`.
    pub fn from_args_of(bench: &str) -> Option<Mode> {
        let mode = Mode::from_args();
        if mode == Mode::List {
            println!("{bench}: bench");
            return None;
        }
        Some(mode)
    }

    /// `measured`, or `smoke` where everything shall run once only.
    pub fn pick<T>(self, measured: T, smoke: T) -> T {
        match self {
            Mode::Full | Mode::Goals => measured,
            Mode::Smoke | Mode::List => smoke,
        }
    }

    /// Runs what criterion measures, in less time than by criterion's defaults: the goals rest on
    /// [`interleaved`](crate::interleaved) rounds and not on criterion.
    pub fn sample(self, benchmarks: impl FnOnce(&mut Criterion)) {
        if self == Mode::Goals {
            return;
        }
        let mut criterion = Criterion::default()
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(2))
            .configure_from_args();
        benchmarks(&mut criterion);
        criterion.final_summary();
    }
}
