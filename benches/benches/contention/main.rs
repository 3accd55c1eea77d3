//! Many processes and one lock: hand-over, recovery after a kill, throughput and fairness, and what
//! waiting costs; beside blocking flock(2), and beside Python filelock and npm proper-lockfile
//! where they are installed.
//!
//! Words after `--` choose parts: hand-over, recovery, throughput, waiting. `RVLF_BENCH_FIGURES`
//! names a directory in which a figure of each is drawn. `RVLF_BENCH_PYTHON` names a Python that
//! can import filelock (default: python3); `NODE_PATH` leads node to proper-lockfile.

mod contender;
mod figure;
mod group;
mod hand_over;
mod kind;
mod outcome;
mod recovery;
mod throughput;
mod waiting;
mod worker;

use std::path::Path;

use figure::{Axis, Figure};
use kind::LockKind;
use rvlf_benches::{Directory, Goal, Mode, Samples, directories, report_goal, show_time};

type Part = fn(&Bench);

const PARTS: [(&str, Part); 4] = [
    ("hand-over", hand_over::run),
    ("recovery", recovery::run),
    ("throughput", throughput::run),
    ("waiting", waiting::run),
];

/// One file system's worth of measurements.
struct Bench<'a> {
    mode: Mode,
    directory: &'a Directory,
    kinds: &'a [LockKind],
    scale: Scale,
}

/// How much is measured.
struct Scale {
    /// Numbers of contenders.
    counts: &'static [usize],
    /// Whether the lock files that poll take part. They meet no goal of ours, and show what is
    /// usual.
    polling: bool,
    draw: bool,
    rounds: u32,
}

/// What was measured of one kind of lock with `n` contenders.
struct Point<T> {
    kind: LockKind,
    n: usize,
    value: T,
}

impl Scale {
    /// How the figures grow with the contenders, in one directory.
    fn full(mode: Mode) -> Scale {
        Scale {
            counts: mode.pick(&[2, 4, 8, 16, 32, 64], &[2, 3]),
            polling: true,
            draw: true,
            rounds: mode.pick(200, 2),
        }
    }

    /// Whether the goals are met, in the other directories.
    fn goals(mode: Mode) -> Scale {
        Scale {
            counts: mode.pick(&[2, 64], &[2]),
            polling: false,
            draw: false,
            ..Scale::full(mode)
        }
    }
}

impl Bench<'_> {
    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn counts(&self) -> impl Iterator<Item = usize> {
        self.scale.counts.iter().copied()
    }

    fn kinds(&self) -> impl Iterator<Item = LockKind> {
        let kinds = self.kinds.iter().copied();
        kinds.filter(|kind| self.scale.polling || !kind.polls())
    }

    fn report_goal(&self, what: &str, goal: Goal, figure: f64) {
        report_goal(self.mode, what, goal, self.directory.file_system, figure);
    }

    fn draw<T>(
        &self,
        name: &str,
        title: &str,
        axis: Axis,
        points: &[Point<T>],
        value: fn(&T) -> f64,
    ) {
        if self.scale.draw {
            let title = format!("{title} ({})", self.directory.file_system);
            Figure::new(&title, axis, points, value).draw(name);
        }
    }
}

/// Prints the median, the 99th percentile and the longest time of each point.
fn print_times(points: &[Point<Samples>]) {
    for Point { kind, n, value } in points {
        let [median, p99, longest] = [0.5, 0.99, 1.0].map(|q| show_time(value.quantile(q)));
        println!(
            "  {:16} {n:>4}  median {median:>8}  p99 {p99:>8}  longest {longest:>8}",
            kind.name()
        );
    }
}

/// Draws the medians of times.
fn draw_times(bench: &Bench, name: &str, title: &str, points: &[Point<Samples>]) {
    let axis = Axis {
        label: "microseconds, median",
        floor: 1.0,
    };
    bench.draw(name, title, axis, points, |times| {
        times.median().as_secs_f64() * 1e6
    });
}

/// The points of those kinds, from `samples` in the same order.
fn points(kinds: &[LockKind], n: usize, samples: Vec<Samples>) -> Vec<Point<Samples>> {
    let pairs = kinds.iter().zip(samples);
    pairs
        .map(|(kind, value)| Point {
            kind: *kind,
            n,
            value,
        })
        .collect()
}

/// What was measured of `kind`, if it took part.
fn find<T>(points: &[Point<T>], kind: LockKind) -> Option<&T> {
    let point = points.iter().find(|point| point.kind == kind);
    point.map(|point| &point.value)
}

/// Whether the command line names this part, or none.
fn is_chosen(part: &str) -> bool {
    let mut words = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with("--"))
        .peekable();
    words.peek().is_none() || words.any(|word| word == part)
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|arg| arg == contender::FLAG) {
        return contender::run(arguments.split_at(at + 1).1);
    }
    let Some(mode) = Mode::from_args_of("contention") else {
        return;
    };
    let kinds = kind::installed();
    let scales = [Scale::full(mode), Scale::goals(mode)];
    for (directory, scale) in directories().iter().zip(scales) {
        println!("on {}:", directory.file_system);
        let bench = Bench {
            mode,
            directory,
            kinds: &kinds,
            scale,
        };
        for (name, part) in PARTS {
            if is_chosen(name) {
                part(&bench);
            }
        }
    }
}
