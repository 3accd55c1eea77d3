//! `rvlf wait`, and signals that end a wait.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Child;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Directory, Holder, output_of};

fn first_message(waiting: &mut Child) -> String {
    let stderr = waiting.stderr.take().expect("standard error is piped");
    let mut line = String::new();
    let read = BufReader::new(stderr).read_line(&mut line);
    read.expect("standard error is a pipe");
    line
}

#[test]
fn wait_returns_when_the_lock_is_free() {
    let dir = Directory::new();
    let holder = Holder::start(&dir);
    let mut waiting = dir.start(&["wait", "d.rvf"]);
    let line = first_message(&mut waiting);
    assert!(
        line.starts_with("rvlf: waiting for d.rvf: held by pid "),
        "{line}"
    );
    let status = waiting.try_wait().expect("rvlf has not been reaped");
    assert_eq!(status, None, "it waits");
    holder.end();
    let waited = output_of(waiting, "rvlf wait");
    assert_eq!((waited.code(), waited.stdout.as_str()), (0, ""));
}

// An operator loses patience. Only the holder's lock file may be left.
#[test]
fn a_signal_while_waiting_leaves_no_file_behind() {
    let dir = Directory::new();
    // A refresh would change the bytes that are compared.
    let holder = Holder::with_options(&dir, &["--no-keepalive"]);
    let before = fs::read(dir.join("d.rvf.lock")).expect("the lock file exists");
    let waits: [&[&str]; 2] = [
        &["run", "--wait", "d.rvf", "--", "touch", "never"],
        &["wait", "d.rvf"],
    ];
    for args in waits {
        for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
            let mut waiting = dir.start(args);
            first_message(&mut waiting);
            kill(Pid::from_raw(waiting.id() as i32), signal).expect("it waits");
            assert_eq!(output_of(waiting, "rvlf").code(), code, "{args:?}");
            assert_eq!(dir.names(), ["d.rvf.lock"], "{args:?}");
        }
    }
    let after = fs::read(dir.join("d.rvf.lock")).expect("the lock file exists");
    assert_eq!(after, before, "the holder's lock is unchanged");
    holder.end();
}

// The signal and the release may come together. The wait must not leave the lock behind that it
// acquires at that moment.
#[test]
fn a_signal_at_the_moment_of_the_release_leaves_no_lock_behind() {
    for _ in 0..10 {
        let dir = Directory::new();
        let holder = Holder::start(&dir);
        let mut waiting = dir.start(&["run", "--wait", "d.rvf", "--", "true"]);
        first_message(&mut waiting);
        let pid = Pid::from_raw(waiting.id() as i32);
        let ending = std::thread::spawn(|| holder.end());
        kill(pid, Signal::SIGINT).expect("it waits");
        let code = output_of(waiting, "rvlf run --wait").code();
        assert!([0, 130].contains(&code), "ran, or interrupted: {code}");
        ending.join().expect("the holder ends");
        assert!(dir.is_empty(), "{code}: {:?}", dir.names());
    }
}
