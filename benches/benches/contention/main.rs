//! Many processes and one lock: hand-over, recovery after a kill, throughput and fairness, and what
//! waiting costs; next to blocking flock(2), and to Python filelock and npm proper-lockfile where
//! they are installed. Draws a figure of each.
//!
//! `RVLF_BENCH_PYTHON` names a Python that can import filelock (default: python3); `NODE_PATH` leads
//! node to proper-lockfile.

mod figure;
mod measure;
mod worker;

use std::process::Command;
use std::time::Duration;

use figure::{Curve, Figure};
use measure::{Competition, Idle};
use rvlf_benches::{
    Directory as Ground, Goal, Mode, Samples, directories as grounds, report_goal,
    show_time as show,
};
use worker::Kind;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|arg| arg == worker::FLAG) {
        return worker::run(arguments.split_at(at + 1).1);
    }
    let mode = Mode::from_args();
    if mode == Mode::List {
        return println!("contention: bench");
    }
    let kinds = installed();
    // One place shows how the figures grow; the others whether the goals are met there too.
    let scales = [Scale::full(mode), Scale::goals(mode)];
    for (ground, scale) in grounds().iter().zip(&scales) {
        println!("on {}:", ground.file_system);
        let bench = Bench {
            mode,
            ground,
            scale,
            kinds: &kinds,
        };
        if wanted("hand-over") {
            bench.hand_over();
        }
        if wanted("recovery") {
            bench.recovery();
        }
        if wanted("throughput") {
            bench.throughput();
        }
        if wanted("waiting") {
            bench.waiting();
        }
    }
}

/// How much is measured.
struct Scale {
    counts: &'static [usize],
    /// Whether those who never meet a goal of ours, but show what is usual, take part.
    peers: bool,
    rounds: u32,
    draw: bool,
}

impl Scale {
    fn full(mode: Mode) -> Scale {
        Scale {
            counts: mode.pick(&[2, 4, 8, 16, 32, 64], &[2, 3]),
            peers: true,
            rounds: mode.pick(200, 2),
            draw: true,
        }
    }

    fn goals(mode: Mode) -> Scale {
        Scale {
            counts: mode.pick(&[2, 64], &[2]),
            peers: false,
            draw: false,
            ..Scale::full(mode)
        }
    }
}

struct Bench<'a> {
    mode: Mode,
    ground: &'a Ground,
    scale: &'a Scale,
    kinds: &'a [Kind],
}

/// Whether the command line names this part, or none.
fn wanted(part: &str) -> bool {
    let mut named = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with("--"))
        .peekable();
    named.peek().is_none() || named.any(|name| part.contains(&name))
}

/// Everybody who can take part here; says who cannot.
fn installed() -> Vec<Kind> {
    let can = |kind: Kind, mut probe: Command| match probe.output() {
        Ok(output) if output.status.success() => Some(kind),
        _ => {
            println!("skipped: {}: not installed", kind.name());
            None
        }
    };
    let mut python = Command::new(worker::python());
    python.args(["-c", "import filelock"]);
    let mut node = Command::new("node");
    node.args(["-e", "require('proper-lockfile')"]);
    let ours = [Kind::Rvlf, Kind::RvlfSynced, Kind::Flock].map(Some);
    let theirs = [can(Kind::Filelock, python), can(Kind::ProperLockfile, node)];
    ours.into_iter().chain(theirs).flatten().collect()
}

type Medians = Vec<(Kind, usize, Samples)>;

impl Bench<'_> {
    fn kinds(&self) -> impl Iterator<Item = Kind> {
        let peers = self.scale.peers;
        let kinds = self.kinds.iter().copied();
        kinds.filter(move |kind| peers || !kind.polls())
    }

    fn kinds_and_floor(&self) -> impl Iterator<Item = Kind> {
        [Kind::Bare].into_iter().chain(self.kinds())
    }

    fn hand_over(&self) {
        println!("hand-over from a release to the next holder:");
        let kinds = self.kinds_and_floor();
        let (pollers, woken): (Vec<Kind>, Vec<Kind>) = kinds.partition(|kind| kind.polls());
        let dir = self.ground.path();
        let mut results = Medians::new();
        for n in self.scale.counts.iter().copied() {
            // More for the two whose ratio is a goal.
            let rounds = self.scale.rounds * if n == 2 { 2 } else { 1 };
            // In turn where their ratio is a goal; else on their own, for a user may have 128 inotify
            // instances, and each waiter takes one.
            let apart = if n == 2 { woken.len() } else { 1 };
            let mut samples: Vec<Samples> = woken
                .chunks(apart)
                .flat_map(|kinds| measure::hand_over(dir, kinds, n, rounds))
                .collect();
            // They do not sleep while others are measured. A tenth of the rounds shows a poll's time.
            let rounds = self.scale.rounds.div_ceil(10);
            for kind in &pollers {
                samples.extend(measure::hand_over(dir, &[*kind], n, rounds));
            }
            let kinds = woken.iter().chain(&pollers).copied();
            print_times(n, kinds.clone().zip(&samples));
            if n == 2 {
                self.judge_hand_over(&woken, &samples);
            }
            results.extend(kinds.zip(samples).map(|(kind, samples)| (kind, n, samples)));
        }
        self.draw_times("Release to the next holder", "hand-over", &results);
    }

    fn judge_hand_over(&self, kinds: &[Kind], samples: &[Samples]) {
        let of = |kind| {
            let at = kinds.iter().position(|k| *k == kind);
            at.and_then(|at| samples.get(at))
        };
        let all = (of(Kind::Bare), of(Kind::Rvlf), of(Kind::Flock));
        let (Some(bare), Some(rvlf), Some(flock)) = all else {
            return;
        };
        report_goal(
            self.mode,
            "release to the next holder, against the bare calls of a lock that is a file",
            Goal::AtMost(1.1),
            self.ground.file_system,
            rvlf.ratio_to(bare),
        );
        let floor = bare.ratio_to(flock);
        println!("  the bare calls of a lock that is a file: {floor:.2} x flock(2)");
        println!("  rvlf against them: {:.2} x", rvlf.ratio_to(bare));
    }

    fn recovery(&self) {
        println!("recovery from SIGKILL of the holder to the next holder:");
        let measured = [Kind::Rvlf, Kind::Flock];
        let dir = self.ground.path();
        let mut results = Medians::new();
        for n in self.scale.counts.iter().copied() {
            let rounds = self.scale.rounds.div_ceil(if n == 2 { 1 } else { 2 });
            let mut samples = measure::recovery(dir, &measured, n, rounds);
            let mut kinds = measured.to_vec();
            for kind in self.kinds().filter(|kind| kind.polls()) {
                // Ten seconds each: a directory that nobody touches must have become that old.
                let by_age = kind == Kind::ProperLockfile;
                if by_age && (n > 2 || self.mode == Mode::Smoke) {
                    continue;
                }
                let few = if by_age {
                    1
                } else {
                    self.scale.rounds.div_ceil(20)
                };
                samples.extend(measure::recovery(dir, &[kind], n, few));
                kinds.push(kind);
            }
            print_times(n, kinds.iter().copied().zip(&samples));
            if let (2, [rvlf, flock, ..]) = (n, samples.as_slice()) {
                report_goal(
                    self.mode,
                    "SIGKILL to the next holder, against flock(2)",
                    Goal::AtMost(2.0),
                    self.ground.file_system,
                    rvlf.ratio_to(flock),
                );
            }
            let kinds = kinds.into_iter();
            results.extend(kinds.zip(samples).map(|(kind, samples)| (kind, n, samples)));
        }
        println!(
            "  rvf-runtime: 30 s and the next attempt, for a dead process must be that old too"
        );
        self.draw_times(
            "SIGKILL of the holder to the next holder",
            "recovery",
            &results,
        );
    }

    fn draw_times(&self, title: &str, name: &str, results: &Medians) {
        let curve = |kind: Kind, quantile: f64| {
            let of = results.iter().filter(move |(k, ..)| *k == kind);
            let points =
                of.map(|(_, n, samples)| (*n, samples.quantile(quantile).as_secs_f64() * 1e6));
            Curve {
                name: kind.name(),
                colour: kind.colour(),
                dashed: quantile > 0.5,
                points: points.collect(),
            }
        };
        let curves = Kind::ALL
            .iter()
            .flat_map(|kind| [curve(*kind, 0.99), curve(*kind, 0.5)]);
        let y = "microseconds; the line is the median, dashed is the 99th percentile";
        self.draw(name, title, y, 1.0, curves.collect());
    }

    fn draw(&self, name: &str, title: &str, y: &'static str, least: f64, curves: Vec<Curve>) {
        if !self.scale.draw {
            return;
        }
        let curves = curves.into_iter().filter(|curve| !curve.points.is_empty());
        let figure = Figure {
            title: format!("{title} ({})", self.ground.file_system),
            y,
            least,
            curves: curves.collect(),
        };
        figure.draw(self.mode, name);
    }

    /// Everybody acquires, notes it in a shared file, releases, and asks again at once.
    fn throughput(&self) {
        let time = Duration::from_millis(self.mode.pick(3000, 200));
        println!("contenders that ask again at once, {} each:", show(time));
        println!(
            "  {:16} {:>4} {:>10} {:>10} {:>10} {:>13} {:>12}",
            "", "n", "holds/s", "changes/s", "longest", "fewest..most", "CPU/hold"
        );
        let mut results: Competitions = Vec::new();
        for n in self.scale.counts.iter().copied() {
            for kind in self.kinds_and_floor() {
                let result = measure::competition(self.ground.path(), kind, n, time);
                let spread = format!("{}..{}", result.fewest, result.most);
                println!(
                    "  {:16} {n:>4} {:>10.0} {:>10.0} {:>10} {spread:>13} {:>12}",
                    kind.name(),
                    result.holds_per_second,
                    result.changes_per_second,
                    show(result.longest_wait),
                    show(result.cpu_per_hold),
                );
                results.push((kind, n, result));
            }
        }
        self.judge_throughput(&results);
        self.draw_throughput(&results);
    }

    fn judge_throughput(&self, results: &Competitions) {
        let of = |kind| results.iter().filter(move |(k, ..)| *k == kind);
        let kept = |kind| {
            let (.., few) = of(kind).next()?;
            let (.., many) = of(kind).next_back()?;
            Some(many.holds_per_second / few.holds_per_second)
        };
        let last = of(Kind::Rvlf).next_back();
        let (Some((_, n, many)), Some(ours), Some(bare)) =
            (last, kept(Kind::Rvlf), kept(Kind::Bare))
        else {
            return;
        };
        println!(
            "  of the holds a second with 2 contenders, {n} have {ours:.2} (bare calls {bare:.2})"
        );
        let Some((.., flock)) = of(Kind::Flock).next_back() else {
            return;
        };
        report_goal(
            self.mode,
            "holds of the unluckiest of 64 contenders, of an even share",
            Goal::AtLeast(0.01),
            self.ground.file_system,
            many.least_share,
        );
        println!("  flock(2): {:.2}", flock.least_share);
    }

    fn draw_throughput(&self, results: &Competitions) {
        type Value = fn(&Competition) -> f64;
        let figures: [(&str, &str, &'static str, f64, Value); 5] = [
            (
                "throughput",
                "Holds a second, of all contenders",
                "holds a second",
                1.0,
                |c| c.holds_per_second,
            ),
            (
                "changes",
                "Hand-overs to somebody else",
                "hand-overs a second",
                1.0,
                |c| c.changes_per_second,
            ),
            (
                "longest-wait",
                "Longest wait of anybody",
                "milliseconds",
                0.1,
                |c| c.longest_wait.as_secs_f64() * 1e3,
            ),
            (
                "fairness",
                "Holds of the unluckiest contender",
                "of an even share; 1 is fair",
                0.01,
                |c| c.least_share,
            ),
            (
                "cpu",
                "CPU time of all contenders for one hold",
                "microseconds",
                1.0,
                |c| c.cpu_per_hold.as_secs_f64() * 1e6,
            ),
        ];
        for (file, title, y, least, value) in figures {
            self.draw(file, title, y, least, curves(results, value));
        }
    }

    /// One holds, and the others have nothing to do but wait.
    fn waiting(&self) {
        let time = self
            .mode
            .pick(Duration::from_secs(10), Duration::from_millis(200));
        println!("waiters while the holder holds for {}:", show(time));
        let mut results: Vec<(Kind, usize, Idle)> = Vec::new();
        let counts = self.scale.counts.iter().copied();
        // What the goals ask is the same everywhere: no file is touched.
        for n in counts.take(if self.scale.draw { usize::MAX } else { 1 }) {
            let kinds: Vec<Kind> = self
                .kinds()
                .filter(|kind| *kind != Kind::RvlfSynced)
                .collect();
            let idle = measure::idle(self.ground.path(), &kinds, n, time);
            for (kind, idle) in kinds.into_iter().zip(idle) {
                println!(
                    "  {:16} {n:>4} {:>7.0} wake-ups a minute each, {:>8} CPU a second in all",
                    kind.name(),
                    idle.wake_ups,
                    show(idle.cpu)
                );
                results.push((kind, n, idle));
            }
        }
        if let Some((.., idle)) = results.iter().rfind(|(kind, ..)| *kind == Kind::Rvlf) {
            // The safety timer is jittered by a quarter: 3.75 to 6.25 s.
            report_goal(
                self.mode,
                "wake-ups a minute of an idle waiter",
                Goal::AtMost(16.0),
                self.ground.file_system,
                idle.wake_ups,
            );
        }
        type Value = fn(&Idle) -> f64;
        let figures: [(&str, &str, &'static str, f64, Value); 2] = [
            (
                "idle-wake-ups",
                "Wake-ups of a waiter while nothing happens",
                "voluntary context switches a minute, each; the lowest line is none at all",
                1.0,
                |idle| idle.wake_ups,
            ),
            (
                "idle-cpu",
                "CPU time of all waiters while nothing happens",
                "microseconds a second, all together; the lowest line is none at all",
                1.0,
                |idle| idle.cpu.as_secs_f64() * 1e6,
            ),
        ];
        for (file, title, y, least, value) in figures {
            self.draw(file, title, y, least, curves(&results, value));
        }
    }
}

type Competitions = Vec<(Kind, usize, Competition)>;

fn curves<T>(results: &[(Kind, usize, T)], value: fn(&T) -> f64) -> Vec<Curve> {
    let curve = |kind: &Kind| {
        let of = results.iter().filter(|(k, ..)| k == kind);
        Curve {
            name: kind.name(),
            colour: kind.colour(),
            dashed: false,
            points: of.map(|(_, n, result)| (*n, value(result))).collect(),
        }
    };
    Kind::ALL.iter().map(curve).collect()
}

fn print_times<'a>(n: usize, times: impl Iterator<Item = (Kind, &'a Samples)>) {
    for (kind, samples) in times {
        let [median, p99, max] = [0.5, 0.99, 1.0].map(|q| show(samples.quantile(q)));
        println!(
            "  {:16} {n:>4}  median {median:>8}  p99 {p99:>8}  longest {max:>8}",
            kind.name()
        );
    }
}
