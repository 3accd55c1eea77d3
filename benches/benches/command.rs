//! The command as a whole process: `rvlf run DATA -- true`, beside `flock FILE true`, and what the rest is.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rvlf::LockOptions;
use rvlf_benches::{
    Directory, Goal, Installed, Mode, Samples, directories, interleaved, print_row, report_goal,
    show_time,
};

fn run(command: &mut Command) {
    let status = command.stdin(Stdio::null()).status();
    let status = status.expect("the program starts");
    assert!(status.success(), "{command:?}: {status}");
}

fn run_locked(rvlf: &Path, data: &Path) -> Command {
    let mut command = Command::new(rvlf);
    command.arg("run").arg(data).args(["--", "true"]);
    command
}

/// Starts, describes its arguments to the parser, and prints a line.
fn start(rvlf: &Path) -> Command {
    let mut command = Command::new(rvlf);
    command.arg("--version").stdout(Stdio::null());
    command
}

/// The lock alone, as the command acquires it.
fn cycle(data: &Path) {
    let options = LockOptions::new().keepalive(None);
    let lock = options.try_acquire(data).expect("the lock is free");
    lock.check().expect("the lock is held");
    lock.release().expect("the lock is held");
}

fn compare(mode: Mode, directory: &Directory, rvlf: &Installed) {
    let (data, flock_path) = (directory.join("data"), directory.join("flock"));
    let mut run_rvlf = run_locked(rvlf.path(), &data);
    let mut run_static = run_locked(rvlf.static_path(), &data);
    let mut run_flock = Command::new("flock");
    run_flock.arg(&flock_path).arg("true");
    let (mut start_rvlf, mut start_static) = (start(rvlf.path()), start(rvlf.static_path()));
    let mut look = Command::new(rvlf.path());
    look.arg("status").arg(&data).stdout(Stdio::null());
    let [
        all,
        flock,
        static_all,
        alone,
        started,
        static_started,
        looked,
        cycled,
    ] = interleaved(
        mode.pick(100, 1),
        mode.pick(5, 1),
        [
            &mut || run(&mut run_rvlf),
            &mut || run(&mut run_flock),
            &mut || run(&mut run_static),
            &mut || run(&mut Command::new("true")),
            &mut || run(&mut start_rvlf),
            &mut || run(&mut start_static),
            &mut || run(&mut look),
            &mut || cycle(&data),
        ],
    );
    println!("a whole process, {}:", directory.file_system);
    print_row("flock FILE true", &flock, &flock);
    print_row("rvlf run DATA -- true", &all, &flock);
    print_row("rvlf status DATA", &looked, &flock);
    print_row("rvlf --version", &started, &flock);
    print_row("true", &alone, &flock);
    if rvlf.has_static() {
        print_row(
            "rvlf run DATA -- true, linked statically",
            &static_all,
            &flock,
        );
        print_row("rvlf --version, linked statically", &static_started, &flock);
    }
    let loading = rvlf
        .has_static()
        .then(|| less(fast(&started), fast(&static_started)));
    print_parts(&flock, &all, &alone, &started, &cycled, loading);
    report_goal(
        mode,
        "`rvlf run DATA -- true`, whole process, against `flock FILE true`",
        Goal::AtMost(1.3),
        directory.file_system,
        all.ratio_to(&flock),
    );
}

/// Of the fastest tenth: what other programs do to the machine is in none of the parts then.
fn fast(samples: &Samples) -> Duration {
    samples.quantile(0.1)
}

fn less(whole: Duration, part: Duration) -> Duration {
    whole.saturating_sub(part)
}

/// Where the time of `rvlf run DATA -- true` goes.
fn print_parts(
    flock: &Samples,
    all: &Samples,
    alone: &Samples,
    started: &Samples,
    cycled: &Samples,
    loading: Option<Duration>,
) {
    let print = |name: &str, time: Duration| {
        let share = time.as_secs_f64() / fast(flock).as_secs_f64();
        println!("    {name:46} {:>8}  {share:>6.2} x", show_time(time));
    };
    println!("  the parts of rvlf run DATA -- true (fastest tenth):");
    print("all", fast(all));
    print("true, as a process of its own", fast(alone));
    print(
        "the start of rvlf and the parser (--version)",
        fast(started),
    );
    if let Some(loading) = loading {
        print("  of it: loading and relocating libraries", loading);
    }
    print("acquire, check, release", fast(cycled));
    let known = fast(alone) + fast(started) + fast(cycled);
    print("the rest: signals, fork, wait", less(fast(all), known));
}

fn main() {
    let Some(mode) = Mode::from_args_of("command") else {
        return;
    };
    if Command::new("flock")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_err()
    {
        println!("skipped: flock(1) is not installed");
        return;
    }
    let rvlf = Installed::build(mode);
    for directory in directories() {
        compare(mode, &directory, &rvlf);
    }
}
