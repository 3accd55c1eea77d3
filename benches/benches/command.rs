//! The command as a whole process: `rvlf run DATA -- true`, beside `flock FILE true`, and what the rest is.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rvlf::{Durability, LockOptions};
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
fn cycle(data: &Path, durability: Durability) {
    let options = LockOptions::new().keepalive(None).durability(durability);
    let lock = options.try_acquire(data).expect("the lock is free");
    lock.check().expect("the lock is held");
    lock.release().expect("the lock is held");
}

/// The times of each candidate.
struct Times {
    flock: Samples,
    run: Samples,
    run_static: Samples,
    alone: Samples,
    start: Samples,
    start_static: Samples,
    look: Samples,
    cycle: Samples,
    unsynced: Samples,
}

fn measure(mode: Mode, directory: &Directory, rvlf: &Installed) -> Times {
    let data = directory.join("data");
    let mut run_rvlf = run_locked(rvlf.path(), &data);
    let mut run_static = run_locked(rvlf.static_path(), &data);
    let mut run_flock = Command::new("flock");
    run_flock.arg(directory.join("flock")).arg("true");
    let (mut start_rvlf, mut start_static) = (start(rvlf.path()), start(rvlf.static_path()));
    let mut look = Command::new(rvlf.path());
    look.arg("status").arg(&data).stdout(Stdio::null());
    let measured = interleaved(
        mode.pick(100, 1),
        mode.pick(5, 1),
        [
            &mut || run(&mut run_flock),
            &mut || run(&mut run_rvlf),
            &mut || run(&mut run_static),
            &mut || run(&mut Command::new("true")),
            &mut || run(&mut start_rvlf),
            &mut || run(&mut start_static),
            &mut || run(&mut look),
            &mut || cycle(&data, Durability::Sync),
            &mut || cycle(&data, Durability::None),
        ],
    );
    let [
        flock,
        run,
        run_static,
        alone,
        start,
        start_static,
        look,
        cycle,
        unsynced,
    ] = measured;
    Times {
        flock,
        run,
        run_static,
        alone,
        start,
        start_static,
        look,
        cycle,
        unsynced,
    }
}

fn print_rows(times: &Times, has_static: bool) {
    let print = |name: &str, samples: &Samples| print_row(name, samples, &times.flock);
    print("flock FILE true", &times.flock);
    print("rvlf run DATA -- true", &times.run);
    print("rvlf status DATA", &times.look);
    print("rvlf --version", &times.start);
    print("true", &times.alone);
    if has_static {
        print(
            "rvlf run DATA -- true, linked statically",
            &times.run_static,
        );
        print("rvlf --version, linked statically", &times.start_static);
    }
}

/// Where the time of `rvlf run DATA -- true` goes: of the fastest tenth, in which other programs take the
/// least part.
fn print_parts(times: &Times, has_static: bool) {
    let fast = |samples: &Samples| samples.quantile(0.1);
    let print = |name: &str, time: Duration| {
        let share = time.as_secs_f64() / fast(&times.flock).as_secs_f64();
        println!("    {name:46} {:>8}  {share:>6.2} x", show_time(time));
    };
    let less = |whole: Duration, part: Duration| whole.saturating_sub(part);
    println!("  the parts of rvlf run DATA -- true (fastest tenth):");
    print("all", fast(&times.run));
    print("true, as a process of its own", fast(&times.alone));
    print(
        "the start of rvlf and the parser (--version)",
        fast(&times.start),
    );
    if has_static {
        let loading = less(fast(&times.start), fast(&times.start_static));
        print("  of it: loading and relocating libraries", loading);
    }
    print("acquire, check, release", fast(&times.cycle));
    let syncing = less(fast(&times.cycle), fast(&times.unsynced));
    print("  of it: fsync", syncing);
    let known = fast(&times.alone) + fast(&times.start) + fast(&times.cycle);
    print(
        "the rest: signals, fork, wait",
        less(fast(&times.run), known),
    );
}

fn compare(mode: Mode, directory: &Directory, rvlf: &Installed) {
    let times = measure(mode, directory, rvlf);
    println!("a whole process, {}:", directory.file_system);
    print_rows(&times, rvlf.has_static());
    print_parts(&times, rvlf.has_static());
    report_goal(
        mode,
        "`rvlf run DATA -- true`, whole process, against `flock FILE true`",
        Goal::AtMost(1.3),
        directory.file_system,
        times.run.ratio_to(&times.flock),
    );
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
