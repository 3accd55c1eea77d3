//! The verbs on the servers that `scripts/servers.sh` starts; without it these tests say that they are skipped.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Directory, Holder, Output};

/// The URL of a data object that no other test uses, on a server that keeps the conditions.
fn url(key: &str) -> Option<String> {
    let bucket = bucket()?;
    if is_unsuitable() {
        eprintln!("skipped: the server ignores conditions, see the test that it is refused");
        return None;
    }
    // A server may be used by several runs.
    let time = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(format!("{bucket}/command/{key}-{}", time.as_nanos()))
}

fn bucket() -> Option<String> {
    let bucket = env::var("RVLF_TEST_URL").ok();
    if bucket.is_none() {
        eprintln!("skipped: no RVLF_TEST_URL; scripts/servers.sh starts servers and sets it");
    }
    bucket
}

fn is_unsuitable() -> bool {
    env::var("RVLF_TEST_SERVER").is_ok_and(|name| name == "s3rver")
}

/// Holds the lock with the shortest lease until standard input ends.
fn hold(dir: &Directory, url: &str) -> Holder {
    let script = "echo ready; read line; true";
    Holder::spawn(dir.command(["run", "--lease=5s", url, "--", "sh", "-c", script]))
}

fn check(output: &Output, code: i32) {
    assert_eq!(output.code(), code, "{}{}", output.stdout, output.stderr);
}

#[test]
fn each_verb_does_on_a_server_what_it_does_on_a_file() {
    let Some(url) = url("verbs") else { return };
    let dir = Directory::new();
    check(&dir.rvlf(&["status", &url]), 0);
    let holder = hold(&dir, &url);
    let status = dir.rvlf(&["status", "--json", &url]);
    check(&status, 1);
    let first = status.json()["generation"]
        .as_u64()
        .expect("a small number");
    check(&dir.rvlf(&["run", &url, "true"]), 75);
    check(&dir.rvlf(&["wait", "--timeout=200ms", &url]), 1);
    check(&dir.rvlf(&["break", &url]), 1);
    check(&holder.end(), 0);
    check(&dir.rvlf(&["wait", &url]), 0);
    check(&dir.rvlf(&["run", &url, "--", "sh", "-c", "exit 3"]), 3);
    let after = dir.rvlf(&["status", "--json", &url]).json();
    assert_eq!(after["generation"], first + 1);
    assert_eq!(after["released"], true);
    let dumped = dir.rvlf(&["dump", &format!("{url}.lock")]);
    check(&dumped, 0);
    assert!(dumped.stdout.contains("0: released"), "{}", dumped.stdout);
}

#[test]
fn a_killed_holder_is_taken_over_after_its_lease() {
    let Some(url) = url("killed") else { return };
    let dir = Directory::new();
    let mut holder = hold(&dir, &url);
    holder.kill_rvlf();
    check(&dir.rvlf(&["run", &url, "true"]), 75);
    let successor = dir.rvlf(&["run", "--wait", &url, "true"]);
    check(&successor, 0);
    assert!(
        successor.stderr.contains("taken over from pid"),
        "{}",
        successor.stderr
    );
}

#[test]
fn a_lock_that_is_broken_by_force_ends_the_command_of_its_holder() {
    let Some(url) = url("forced") else { return };
    let dir = Directory::new();
    let holder = hold(&dir, &url);
    let status = dir.rvlf(&["status", "--json", &url]).json();
    let id = status["record"]["writer_id"]
        .as_str()
        .expect("a writer id is text");
    check(&dir.rvlf(&["break", "--force", "--writer-id", id, &url]), 0);
    let victim = holder.ended();
    check(&victim, 128 + 15);
    assert!(
        victim.stderr.contains("lock lost: pid"),
        "{}",
        victim.stderr
    );
}

// T29. A server that hangs, and executes later what it has received.
#[test]
fn a_stopped_server_ends_the_command_and_serves_the_next_one() {
    let Some(url) = url("stopped") else { return };
    let Ok(pids) = env::var("RVLF_TEST_SERVER_PIDS") else {
        eprintln!("skipped: no RVLF_TEST_SERVER_PIDS");
        return;
    };
    let pids: Vec<_> = pids
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect();
    let signal = |signal: Signal| {
        for pid in &pids {
            kill(Pid::from_raw(*pid), signal).expect("the server runs");
        }
    };
    let dir = Directory::new();
    let holder = hold(&dir, &url);
    signal(Signal::SIGSTOP);
    let ended = holder.ended();
    signal(Signal::SIGCONT);
    check(&ended, 128 + 15);
    assert!(
        ended.stderr.contains("confirmed no refresh"),
        "{}",
        ended.stderr
    );
    check(&dir.rvlf(&["run", "--wait", &url, "true"]), 0);
}

#[test]
fn diagnose_tells_a_server_that_keeps_the_conditions_from_one_that_does_not() {
    let Some(bucket) = bucket() else { return };
    let (dir, url) = (Directory::new(), format!("{bucket}/command/diagnosed"));
    // SeaweedFS takes seconds for each race: longer than a command of a test may.
    let child = dir
        .command(["diagnose", &url])
        .spawn()
        .expect("the command starts");
    let ended = child.wait_with_output().expect("it has not been reaped");
    let message = String::from_utf8_lossy(&ended.stderr);
    let expected = if is_unsuitable() { 4 } else { 0 };
    assert_eq!(ended.status.code(), Some(expected), "{message}");
    if is_unsuitable() {
        assert!(message.contains("cannot carry a lock"), "{message}");
        let refused = dir.rvlf(&["run", &format!("{bucket}/command/new"), "true"]);
        check(&refused, 125);
        assert!(
            refused.stderr.contains("cannot carry a lock"),
            "{}",
            refused.stderr
        );
    }
}
