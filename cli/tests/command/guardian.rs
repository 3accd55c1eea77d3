//! `rvlf run -o`: the lock is free when the command itself has ended, and not before.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ::support::until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use crate::support::{
    Directory, Holder, RVLF, can_run_in_container, output_of, run_as_ordinary_user, skip,
};

const STUBBORN: &str = "trap '' TERM; echo ready; read line; echo wrote on";

fn free_after_a_dead_holder(dir: &Directory) -> bool {
    dir.rvlf(&["status", "d.rvf"]).code() == 3
}

/// The guardian of a running `rvlf run -o`.
fn guardian(holder: &Holder) -> Pid {
    guardian_of(holder.rvlf_pid()).expect("it has a guardian")
}

fn guardian_of(rvlf: u32) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{rvlf}/task/{rvlf}/children")).ok()?;
    let is_guardian = |pid: &&str| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).nth(1) == Some(b"guard")
    };
    let pid = children.split_whitespace().find(is_guardian)?;
    Some(Pid::from_raw(pid.parse().ok()?))
}

// The kernel forgets the death signal when a program changes its user: the command wrote on beside the
// next holder.
#[test]
fn with_close_a_command_that_changes_its_user_is_killed_with_rvlf() {
    if !geteuid().is_root() {
        return skip("only root may change its user");
    }
    let dir = Directory::new();
    let command = [
        "setpriv",
        "--reuid=65534",
        "--clear-groups",
        "sh",
        "-c",
        STUBBORN,
    ];
    let mut holder = Holder::running(&dir, &["-o"], &command);
    holder.kill_rvlf();
    assert_eq!(holder.line(), "", "the command's output has ended");
    until("the guardian has ended", || free_after_a_dead_holder(&dir));
}

/// Copies a program. A child that another test forks has what this process writes open for a moment, and could not
/// execute it: so another process writes it.
fn copy_program(source: impl AsRef<Path>, target: impl AsRef<Path>) {
    let mut copy = Command::new("cp");
    let copied = copy.arg(source.as_ref()).arg(target.as_ref()).status();
    assert!(copied.expect("cp is installed").success(), "there is room");
}

/// A copy of `program` that gives every user the rights of root.
fn plant_set_user_id(dir: &Directory, program: &str) -> bool {
    let Some(source) = ["/usr/bin", "/bin"]
        .map(|bin| Path::new(bin).join(program))
        .into_iter()
        .find(|path| path.exists())
    else {
        skip(&format!("{program} is not installed"));
        return false;
    };
    copy_program(source, dir.join(program));
    let mode = |mode| fs::Permissions::from_mode(mode);
    fs::set_permissions(dir.join(program), mode(0o4755)).expect("it is root's");
    fs::set_permissions(dir.path(), mode(0o777)).expect("it is root's");
    true
}

// What sudo does. rvlf's user may not kill the command, which ignores what happens.
#[test]
fn with_close_a_lock_is_held_until_a_command_that_may_not_be_killed_has_ended() {
    if !geteuid().is_root() {
        return skip("only root may make a set-user-ID program");
    }
    let dir = Directory::new();
    if !plant_set_user_id(&dir, "setpriv") {
        return;
    }
    let args = [
        "run",
        "-o",
        "d.rvf",
        "./setpriv",
        "--reuid=0",
        "--regid=0",
        "--clear-groups",
    ];
    let mut command = dir.command(args.iter().chain(&["sh", "-c", STUBBORN]));
    if !run_as_ordinary_user(&mut command) {
        return;
    }
    let mut holder = Holder::spawn(command);
    holder.kill_rvlf();
    // The guardian has seen the end of rvlf when it has tried to kill the command.
    let refused = dir.rvlf(&["run", "d.rvf", "true"]);
    assert_eq!(
        refused.code(),
        75,
        "the command writes on: {}",
        refused.stderr
    );
    holder.close_input();
    assert_eq!(holder.line(), "wrote on");
    until("the guardian has ended", || free_after_a_dead_holder(&dir));
}

// The process stopped itself, and a SIGCONT from elsewhere executed the command before any process guarded it, or after
// rvlf and its guardian had been killed, and with both the lock.
#[test]
fn a_command_whose_gate_is_closed_does_not_run() {
    let dir = Directory::new();
    let (gate, inner) = UnixStream::pair().expect("there is room");
    let mut command = dir.command(["gated", "--", "touch", "ran"]);
    command.stdin(OwnedFd::from(inner));
    let child = command.spawn().expect("rvlf starts");
    drop(command);
    let pid = Pid::from_raw(child.id() as i32);
    for signal in [Signal::SIGCONT, Signal::SIGSTOP, Signal::SIGCONT] {
        kill(pid, signal).expect("it waits");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(gate);
    let ended = output_of(child, "rvlf gated");
    assert_eq!(ended.code(), 125, "{}", ended.stderr);
    assert!(dir.is_empty(), "the command has run");
}

// In a pid namespace with the /proc of another one rvlf did not find its guardian, and never executed the command.
#[test]
fn with_close_a_command_runs_without_a_proc_of_its_own() {
    if !can_run_in_container() {
        return;
    }
    let dir = Directory::new();
    let line = "exec unshare --pid --fork rvlf run -o d.rvf cat";
    let mut child = dir.sh(line);
    let mut child = child.stdin(Stdio::piped()).spawn().expect("it starts");
    let mut input = child.stdin.take().expect("it is a pipe");
    input.write_all(b"ran").expect("the command reads");
    drop(input);
    let ended = output_of(child, "unshare");
    let shown = (ended.code(), ended.stdout.as_str());
    assert_eq!(shown, (0, "ran"), "{}", ended.stderr);
}

// The guardian died after it had answered: rvlf held the lock without a command, indefinitely.
#[test]
fn with_close_a_guardian_that_dies_during_the_start_keeps_rvlf_from_nothing() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("there is no strace here");
    }
    let dir = Directory::new();
    let line = "exec strace -D -f -qq -o /dev/null -e trace=sendmsg \
                -e inject=sendmsg:delay_enter=1000000:when=1 rvlf run -o d.rvf echo ran";
    let rvlf = dir.sh(line).spawn().expect("the shell starts");
    let is_there = || guardian_of(rvlf.id()).is_some();
    until("there is a guardian", is_there);
    std::thread::sleep(Duration::from_millis(300));
    let guardian = guardian_of(rvlf.id()).expect("it runs");
    kill(guardian, Signal::SIGKILL).expect("it runs");
    let ended = output_of(rvlf, "rvlf run");
    let shown = (ended.code(), ended.stdout.as_str());
    assert_eq!(shown, (0, "ran\n"), "{}", ended.stderr);
    assert!(dir.is_empty(), "the lock is released");
}

#[test]
fn with_close_the_command_runs_as_without() {
    let dir = Directory::new();
    let output = dir.rvlf(&["run", "-o", "d.rvf", "sh", "-c", "echo out; exit 7"]);
    assert_eq!((output.code(), output.stdout.as_str()), (7, "out\n"));
    assert_eq!(output.stderr, "");
    let output = dir.rvlf(&["run", "-o", "d.rvf", "./not-there"]);
    assert_eq!(output.code(), 127, "{}", output.stderr);
    assert!(
        output.stderr.contains("cannot run ./not-there"),
        "{}",
        output.stderr
    );
    assert!(dir.is_empty(), "the lock is released");
}

// A daemon that the command leaves behind does not keep the lock.
#[test]
fn with_close_a_guardian_that_is_killed_ends_nothing() {
    let dir = Directory::new();
    let holder = Holder::running(
        &dir,
        &["-o"],
        &["sh", "-c", "echo ready; read line; echo on"],
    );
    kill(guardian(&holder), Signal::SIGKILL).expect("it runs");
    assert_eq!(
        dir.rvlf(&["status", "d.rvf"]).code(),
        1,
        "held by rvlf itself"
    );
    let ended = holder.end();
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "on\n"));
    assert!(dir.is_empty(), "the lock is released");
}

// It was stopped by a person who looked for the cause of a load: rvlf waited for it indefinitely.
#[test]
fn with_close_a_guardian_that_is_stopped_keeps_rvlf_from_nothing() {
    let dir = Directory::new();
    let holder = Holder::running(
        &dir,
        &["-o"],
        &["sh", "-c", "echo ready; read line; echo on"],
    );
    let guardian = guardian(&holder);
    kill(guardian, Signal::SIGSTOP).expect("it runs");
    let ended = holder.end();
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "on\n"));
    assert!(dir.is_empty(), "the lock is released");
    assert!(kill(guardian, None).is_err(), "the guardian has ended");
}

#[test]
fn with_close_a_loss_ends_the_command_and_the_guardian() {
    let dir = Directory::new();
    let holder = Holder::running(&dir, &["-o"], &["sh", "-c", STUBBORN]);
    let guardian = guardian(&holder);
    fs::remove_file(dir.join("d.rvf.lock")).expect("the lock is held");
    assert_eq!(holder.ended().code(), 128 + 9);
    until("the guardian has ended", || kill(guardian, None).is_err());
}

// An update replaces the program while `rvlf run` waits for the lock. The guardian could not be started:
// "No such file or directory".
#[test]
fn a_program_that_is_replaced_while_it_runs_starts_itself() {
    let dir = Directory::new();
    let program = dir.join("rvlf");
    copy_program(RVLF, &program);
    let holder = Holder::start(&dir);
    let mut command = Command::new(&program);
    command
        .args(["run", "-o", "--wait", "d.rvf", "echo", "works"])
        .current_dir(dir.path())
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut waiting = command.spawn().expect("it is a program");
    let mut message = [0; 1];
    let stderr = waiting.stderr.as_mut().expect("it is a pipe");
    stderr
        .read_exact(&mut message)
        .expect("it says that it waits");
    fs::remove_file(&program).expect("it is there");
    holder.end();
    let ended = output_of(waiting, "rvlf run");
    assert_eq!(ended.stdout, "works\n", "{}", ended.stderr);
}
