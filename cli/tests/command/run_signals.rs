//! `rvlf run` and signals: those that reach the command, and what happens when rvlf is killed.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::until;

use crate::support::{Directory, Holder, RVLF, can_run_in_container, finish, has_ended, output_of};

// `docker stop` and systemd send SIGTERM to the process that they know. If rvlf ended at once, its
// command would be an orphan; if it ignored the signal, the service would not stop.
#[test]
fn signals_are_forwarded_and_rvlf_ends_when_the_command_does() {
    let script = "for s in HUP INT QUIT TERM; do trap \"echo $s; exit 7\" $s; done; \
                  echo ready; while :; do sleep 0.05; done";
    for (signal, name) in [
        (Signal::SIGTERM, "TERM"),
        (Signal::SIGINT, "INT"),
        (Signal::SIGHUP, "HUP"),
        (Signal::SIGQUIT, "QUIT"),
    ] {
        let dir = Directory::new();
        let mut holder = Holder::running(&dir, &[], &["sh", "-c", script]);
        holder.send(signal);
        assert_eq!(holder.line(), name, "the command has received the signal");
        assert_eq!(
            holder.end().code(),
            7,
            "rvlf exits with the command's status"
        );
        assert!(dir.is_empty(), "the lock is released");
    }
}

// Between the call that installs a handler and the note of what the handler is to do, a signal was swallowed:
// `rvlf hold --wait` waited on, and a service that was stopped in that moment ran on. strace stretches the
// moment to a tenth of a second.
#[test]
fn a_signal_that_arrives_while_handlers_are_installed_is_not_lost() {
    if Command::new("strace").arg("-V").output().is_err() {
        support::skip("there is no strace here");
        return;
    }
    let dir = Directory::new();
    let line = "exec strace -D -qq -o /dev/null -e trace=rt_sigaction \
                -e inject=rt_sigaction:delay_exit=100000 rvlf run d.rvf -- sleep 60";
    let rvlf = dir.sh(line).spawn().expect("the shell starts");
    let has_handler = || {
        let status = fs::read_to_string(format!("/proc/{}/status", rvlf.id())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        let is_rvlf = status.starts_with("Name:\trvlf\n");
        is_rvlf && caught.unwrap_or(0) >> (Signal::SIGTERM as i32 - 1) & 1 == 1
    };
    until("SIGTERM has a handler", has_handler);
    kill(Pid::from_raw(rvlf.id() as i32), Signal::SIGTERM).expect("it has not been reaped");
    let ended = output_of(rvlf, "rvlf run");
    assert_eq!(ended.code(), 128 + 15, "{}", ended.stderr);
    assert!(dir.is_empty(), "the lock is released");
}

// nohup(1) promises that a hangup has no effect. A wrapper that forwarded it to its command would
// break that promise.
#[test]
fn a_signal_that_is_ignored_from_the_start_stays_ignored() {
    let dir = Directory::new();
    let inner = "trap 'echo TERM; exit 7' TERM; trap 'echo HUP' HUP; echo ready; \
                 while :; do sleep 0.05; done";
    let outer = "trap '' HUP; exec \"$0\" run d.rvf -- sh -c \"$1\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", outer, RVLF, inner])
        .process_group(0)
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut holder = Holder::spawn(command);
    holder.send(Signal::SIGHUP);
    holder.send(Signal::SIGTERM);
    assert_eq!(holder.line(), "TERM", "the hangup has reached no process");
    assert_eq!(holder.end().code(), 7);
}

// Without the signal the command would write on for hours after rvlf is gone, and no process would
// refresh the record.
#[test]
fn the_command_gets_sigterm_when_rvlf_is_killed() {
    let dir = Directory::new();
    let script = "trap 'echo terminated; exit' TERM; echo ready; while :; do sleep 0.05; done";
    let mut holder = Holder::running(&dir, &[], &["sh", "-c", script]);
    holder.kill_rvlf();
    assert_eq!(holder.line(), "terminated");
}

// With --close no process keeps the lock once rvlf is gone. A command that cleans up first, or
// ignores SIGTERM, would write beside the next holder.
#[test]
fn with_close_the_command_itself_is_killed_with_rvlf() {
    let dir = Directory::new();
    let script = "trap '' TERM; echo ready; for i in 1 2 3 4 5; do sleep 1; done; echo wrote on";
    for option in ["-o", "--close"] {
        let mut holder = Holder::running(&dir, &[option], &["sh", "-c", script]);
        holder.kill_rvlf();
        assert_eq!(holder.line(), "", "the command's output has ended");
    }
}

// systemd starts services with SIGPIPE ignored. A command that expects EPIPE at a closed pipe would be
// killed instead, in the middle of a write to the data file.
#[test]
fn sigpipe_is_ignored_in_the_command_where_it_was_ignored_from_the_start() {
    for (trap, status, expected) in [("trap '' PIPE;", 0, "wrote on\n"), ("", 128 + 13, "")] {
        let dir = Directory::new();
        let (reader, writer) = ::support::pipe().expect("there is room for a pipe");
        drop(reader);
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                &format!("{trap} exec \"$@\""),
                "sh",
                RVLF,
                "run",
                "d.rvf",
            ])
            .args(["sh", "-c", "echo line 2>/dev/null; echo wrote on >&2"])
            .current_dir(dir.path())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(Stdio::piped());
        let output = finish(command);
        assert_eq!(
            (output.code(), output.stderr.as_str()),
            (status, expected),
            "{trap}"
        );
    }
}

// macOS and the BSDs have no /proc, in which rvlf looked for the ignored signals. It installed a handler for SIGHUP,
// which exec(2) resets to the default: the command of `nohup rvlf run` died at the logout, and one that expects EPIPE
// at a closed pipe was killed in the middle of a write.
#[cfg(target_os = "linux")]
#[test]
fn a_signal_that_is_ignored_from_the_start_stays_ignored_without_proc() {
    if !can_run_in_container() {
        return;
    }
    let dir = Directory::new();
    dir.write("script", "kill -HUP $$; kill -PIPE $$; echo on");
    let inner = "mount -t tmpfs none /proc; exec rvlf run d.rvf sh ./script";
    let line = format!("trap '' HUP PIPE; exec unshare --mount sh -c '{inner}'");
    let ended = finish(dir.sh(&line));
    assert_eq!(ended.stdout, "on\n", "{}", ended.stderr);
}

// A real-time signal had no name in a library: the child that it had killed was an error, at which rvlf released the
// lock while the command ran.
#[test]
fn a_child_that_a_real_time_signal_kills_is_one_that_a_signal_killed() {
    let dir = Directory::new();
    let ended = dir.rvlf(&["run", "d.rvf", "sh", "-c", "kill -40 $$"]);
    assert_eq!(ended.code(), 128 + 40, "{}", ended.stderr);
    let orphan = "(sh -c 'kill -40 $$' &); sleep 0.5; exec \"$RVLF\" status d.rvf";
    for option in ["--close", "--wait-children"] {
        let mut command = dir.command(["run", option, "d.rvf", "sh", "-c", orphan]);
        command.env("RVLF", RVLF);
        let ended = finish(command);
        assert_eq!(ended.code(), 1, "{option}: held: {}", ended.stderr);
        assert!(dir.is_empty(), "{option}: the lock is released");
    }
}

// The signal went to a command that had ended and was not reaped yet, and the wait for its children went on.
#[test]
fn a_signal_that_arrives_as_the_command_ends_ends_the_wait_for_its_children() {
    let dir = Directory::new();
    let script = "sleep 60 >/dev/null 2>&1 & echo ready; echo $$; read line";
    let mut holder = Holder::running(&dir, &["--wait-children"], &["sh", "-c", script]);
    let command = holder.pid_line();
    holder.send(Signal::SIGSTOP);
    holder.close_input();
    until("the command has ended", || has_ended(command));
    holder.send(Signal::SIGTERM);
    holder.send(Signal::SIGCONT);
    assert_eq!(holder.end().code(), 128 + 15);
}

// The kernel sends SIGALRM to this process alone, as alarm(1) of a parent asked it to: rvlf took it for a key of the
// terminal, which reaches the command as well.
#[test]
fn a_signal_of_the_kernel_reaches_the_command() {
    let dir = Directory::new();
    let alarm = "import os, signal, sys; signal.alarm(1); os.execvp(sys.argv[1], sys.argv[1:])";
    let mut command = Command::new("python3");
    command.args(["-c", alarm, RVLF, "run", "d.rvf", "sleep", "60"]);
    command.current_dir(dir.path()).stderr(Stdio::piped());
    let ended = finish(command);
    assert_eq!(ended.code(), 128 + 14, "{}", ended.stderr);
    assert!(dir.is_empty(), "the lock is released");
}

// A waiter whose standard error no process read acted on no signal, and later took the lock and ran nothing.
#[test]
fn a_waiter_that_no_process_reads_ends_at_a_signal() {
    let dir = Directory::new();
    let holder = Holder::start(&dir);
    for args in [&["run", "--wait", "d.rvf", "true"][..], &["wait", "d.rvf"]] {
        let (reader, writer) = nix::unistd::pipe().expect("there is room");
        let writer = File::from(writer);
        fill(&writer);
        let mut command = dir.command(args);
        let mut waiting = command.stderr(writer).spawn().expect("rvlf starts");
        // It says which process it waits for after 0.2 s.
        std::thread::sleep(Duration::from_millis(600));
        kill(Pid::from_raw(waiting.id() as i32), Signal::SIGTERM).expect("it waits");
        until("it has ended", || {
            waiting.try_wait().expect("it is a child").is_some()
        });
        drop(reader);
    }
    holder.end();
}

fn fill(mut pipe: &File) {
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("it is open");
    while pipe.write_all(&[b'x'; 4096]).is_ok() {}
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::empty())).expect("it is open");
}
