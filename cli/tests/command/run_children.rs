//! `rvlf run` and what its command has started: it may outlive the command, and write.
#![cfg(target_os = "linux")]

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use ::support::until;

use crate::support::{Directory, Holder, has_ended, output_of};

/// Ends, and leaves a process behind that runs until standard input ends. It does not keep the pipes
/// of the test open.
const LEAVES_A_WRITER: &str = "exec 3<&0; cat <&3 >/dev/null 2>&1 & echo ready; echo $!";

/// Ends as its writer does.
const WITH_A_WRITER: &str = "exec 3<&0; cat <&3 >/dev/null 2>&1 & echo ready; echo $!; wait";

// A script starts a writer in the background and ends: the next run wrote beside that writer.
// flock(1) refuses.
#[test]
fn the_lock_is_held_until_what_the_command_has_started_has_ended() {
    let dir = Directory::new();
    let mut holder = Holder::running(&dir, &[], &["sh", "-c", LEAVES_A_WRITER]);
    let writer = holder.pid_line();
    let input = holder.take_input();
    let ended = holder.ended();
    assert_eq!(ended.code(), 0, "the status of the command");
    let message = ended.stderr;
    let kept_open = format!("kept open by pid {writer} (cat)");
    assert!(message.contains(&kept_open), "{message}");
    assert!(
        message.contains("--wait-children"),
        "a next step: {message}"
    );

    let refused = dir.rvlf(&["run", "d.rvf", "true"]);
    assert_eq!(refused.code(), 75, "{}", refused.stderr);
    assert!(refused.stderr.contains(&kept_open), "{}", refused.stderr);

    let waiting = dir.start(&["run", "--wait", "d.rvf", "true"]);
    drop(input);
    assert_eq!(output_of(waiting, "rvlf run --wait").code(), 0);
    assert!(dir.is_empty(), "the lock file is removed");
}

// SIGTERM to rvlf, or SIGKILL of the shell, ends the shell alone.
#[test]
fn the_lock_is_held_until_the_children_of_a_killed_command_have_ended() {
    let dir = Directory::new();
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let script = format!(
            "echo ready; echo $$; {}",
            LEAVES_A_WRITER.replace("echo ready;", "")
        );
        let mut holder = Holder::running(&dir, &[], &["sh", "-c", &format!("{script}; wait")]);
        let shell = holder.pid_line();
        let writer = holder.pid_line();
        match signal {
            Signal::SIGTERM => holder.send(Signal::SIGTERM),
            signal => kill(shell, signal).expect("the shell runs"),
        }
        let input = holder.take_input();
        let ended = holder.ended();
        assert_eq!(ended.code(), 128 + signal as i32);
        assert_eq!(dir.rvlf(&["status", "d.rvf"]).code(), 1, "{signal}: held");
        drop(input);
        until("the writer ends", || has_ended(writer));
        assert_eq!(
            dir.rvlf(&["run", "d.rvf", "true"]).code(),
            0,
            "{signal}: free"
        );
    }
}

#[test]
fn with_wait_children_rvlf_ends_when_what_the_command_has_started_has_ended() {
    let dir = Directory::new();
    let options = ["--wait-children"];
    let mut holder = Holder::running(&dir, &options, &["sh", "-c", LEAVES_A_WRITER]);
    let writer = holder.pid_line();
    let status = dir.rvlf(&["status", "--json", "d.rvf"]).json();
    assert_eq!(status["state"], "held");
    drop(holder.take_input());
    let ended = holder.ended();
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    assert!(has_ended(writer));
    assert!(dir.is_empty(), "the lock is released");
}

#[test]
fn a_signal_ends_the_wait_for_children() {
    let dir = Directory::new();
    let options = ["--wait-children"];
    let mut holder = Holder::running(&dir, &options, &["sh", "-c", LEAVES_A_WRITER]);
    let writer = holder.pid_line();
    let input = holder.take_input();
    until("rvlf has reaped the shell and adopted the writer", || {
        children(holder.rvlf_pid()) == [writer]
    });
    holder.send(Signal::SIGTERM);
    let ended = holder.ended();
    assert_eq!(ended.code(), 128 + 15);
    assert!(ended.stderr.contains("stays held"), "{}", ended.stderr);
    assert!(!has_ended(writer), "it is not rvlf's to end");
    drop(input);
}

/// The children of rvlf, zombies included.
fn children(rvlf: u32) -> Vec<Pid> {
    let children = fs::read_to_string(format!("/proc/{rvlf}/task/{rvlf}/children"));
    let children = children.expect("rvlf runs");
    let pid = |pid: &str| Pid::from_raw(pid.parse().expect("a number"));
    children.split_whitespace().map(pid).collect()
}

// A command that got SIGTERM has ended, and the writer that it has started writes on without the
// lock.
#[test]
fn after_a_loss_everything_that_the_command_has_started_is_ended() {
    let scripts = [
        WITH_A_WRITER.to_owned(),
        // In a session of its own, as daemons are.
        WITH_A_WRITER.replace("cat", "setsid cat"),
        // Its parent has ended: an orphan.
        "exec 3<&0; (sh -c 'echo ready; echo $$; exec cat <&3 >/dev/null 2>&1' & ); read line"
            .to_owned(),
        // It ignores SIGTERM.
        "echo ready; sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done'".to_owned(),
    ];
    let started = scripts.map(|script| {
        let dir = Directory::new();
        let mut holder = Holder::running(&dir, &[], &["sh", "-c", &script]);
        let writer = holder.pid_line();
        fs::remove_file(dir.join("d.rvf.lock")).expect("the lock is held");
        (script, dir, holder, writer)
    });
    for (script, _dir, holder, writer) in started {
        let ended = holder.ended();
        assert!(
            ended.stderr.contains("lock lost"),
            "{script}: {}",
            ended.stderr
        );
        assert!(has_ended(writer), "{script}: it writes on");
    }
}

// The release finds the loss, or the wait for the children: the command has ended, and what it has started
// wrote on without the lock.
#[test]
fn a_loss_after_the_end_of_the_command_ends_what_it_has_started() {
    let writer = "setsid sleep 600 >/dev/null 2>&1 & echo ready; echo $!";
    let at_release = format!("{writer}; rm d.rvf.lock");
    let later = format!("{writer}; (sleep 0.5; rm d.rvf.lock) >/dev/null 2>&1 &");
    for (options, script) in [(&[][..], at_release), (&["--wait-children"], later)] {
        let dir = Directory::new();
        let mut holder = Holder::running(&dir, options, &["sh", "-c", &script]);
        let writer = holder.pid_line();
        let ended = holder.ended();
        assert_eq!(ended.code(), 125, "{script}: {}", ended.stderr);
        let message = "sending SIGTERM to what the command has started";
        assert!(ended.stderr.contains(message), "{script}: {}", ended.stderr);
        assert!(has_ended(writer), "{script}: it writes on");
    }
}

// A message that no process reads filled the pipe, and rvlf waited for a reader instead of ending the
// command.
#[test]
fn a_loss_ends_the_command_although_no_process_reads_the_messages() {
    let dir = Directory::new();
    let mut command = dir.command(["run", "d.rvf", "sh", "-c", "echo ready; exec cat"]);
    let (reader, writer) = ::support::pipe().expect("there are descriptors");
    let full = [b'x'; 4096];
    nix::fcntl::fcntl(
        &writer,
        nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
    )
    .expect("it is a pipe");
    while std::io::Write::write(&mut &writer, &full).is_ok() {}
    nix::fcntl::fcntl(
        &writer,
        nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty()),
    )
    .expect("it is a pipe");
    command.stderr(writer);
    let holder = Holder::spawn(command);
    fs::remove_file(dir.join("d.rvf.lock")).expect("the lock is held");
    let ended = holder.ended();
    assert_eq!(ended.code(), 128 + 15);
    drop(reader);
}

// As PID 1 of a container rvlf is the parent of every orphan: zombies filled the table of processes.
#[test]
fn orphans_are_reaped() {
    let dir = Directory::new();
    let script = "(sh -c 'exit 3' &); (sh -c 'exit 4' &); echo ready; read line";
    let mut holder = Holder::running(&dir, &[], &["sh", "-c", script]);
    let rvlf = holder.rvlf_pid();
    until("the orphans are reaped", || children(rvlf).len() == 1);
    holder.close_input();
    assert_eq!(holder.ended().code(), 1);
}

// The lock of a killed rvlf is kept by the writer that its command has started.
#[test]
fn the_lock_outlives_a_killed_rvlf_and_its_command_until_the_last_writer_has_ended() {
    let dir = Directory::new();
    let mut holder = Holder::running(&dir, &[], &["sh", "-c", WITH_A_WRITER]);
    let writer = holder.pid_line();
    holder.kill_rvlf();
    assert_eq!(dir.rvlf(&["run", "d.rvf", "true"]).code(), 75);
    holder.close_input();
    until("the writer ends", || has_ended(writer));
    assert_eq!(dir.rvlf(&["run", "--wait", "d.rvf", "true"]).code(), 0);
}
