//! The command as a whole process: `rvlf run DATA -- true`, beside `flock FILE true`.

use std::path::Path;
use std::process::{Command, Stdio};

use rvlf_benches::{
    Directory, Goal, Mode, build_command, directories, interleaved, print_row, report_goal,
};

fn run(command: &mut Command) {
    let status = command.stdin(Stdio::null()).status();
    let status = status.expect("the program starts");
    assert!(status.success(), "{command:?}: {status}");
}

fn compare(mode: Mode, directory: &Directory, rvlf: &Path) {
    let (data_path, flock_path) = (directory.join("data"), directory.join("flock"));
    let mut run_rvlf = Command::new(rvlf);
    run_rvlf.arg("run").arg(&data_path).args(["--", "true"]);
    let mut run_flock = Command::new("flock");
    run_flock.arg(&flock_path).arg("true");
    let mut start_rvlf = Command::new(rvlf);
    start_rvlf.arg("--version").stdout(Stdio::null());
    let mut look = Command::new(rvlf);
    look.arg("status").arg(&data_path).stdout(Stdio::null());
    let mut without_keepalive = Command::new(rvlf);
    without_keepalive
        .args(["run", "--no-keepalive"])
        .arg(&data_path)
        .args(["--", "true"]);
    let [rvlf, flock, alone, started, looked, unrefreshed] = interleaved(
        mode.pick(100, 1),
        mode.pick(5, 1),
        [
            &mut || run(&mut run_rvlf),
            &mut || run(&mut run_flock),
            &mut || run(&mut Command::new("true")),
            &mut || run(&mut start_rvlf),
            &mut || run(&mut look),
            &mut || run(&mut without_keepalive),
        ],
    );
    println!("a whole process, {}:", directory.file_system);
    print_row("flock FILE true", &flock, &flock);
    print_row("rvlf run DATA -- true", &rvlf, &flock);
    // What the rest is: the start of the program, the lock, and the threads (one of four refreshes).
    print_row("rvlf run --no-keepalive DATA -- true", &unrefreshed, &flock);
    print_row("rvlf status DATA", &looked, &flock);
    print_row("rvlf --version", &started, &flock);
    print_row("true", &alone, &flock);
    report_goal(
        mode,
        "`rvlf run DATA -- true`, whole process, against `flock FILE true`",
        Goal::AtMost(1.3),
        directory.file_system,
        rvlf.ratio_to(&flock),
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
    let rvlf = build_command();
    for directory in directories() {
        compare(mode, &directory, &rvlf);
    }
}
