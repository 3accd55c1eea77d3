//! `rvlf status`: the text that people read, and `--watch`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::time::Duration;

use serde_json::Value;
use snapbox::str;

use crate::support::{
    Directory, Holder, LONG_AGO, assert_reads, finish, now_ns, run_as_ordinary_user, skip,
};

fn status(dir: &Directory, data: &str) -> String {
    dir.rvlf(&["status", data]).stdout
}

// "free" for a mistyped path reads like the answer to the question that was meant.
#[test]
fn the_status_of_a_free_lock_reads_like_this() {
    let dir = Directory::new();
    dir.write("d.rvf", "");
    assert_reads(
        status(&dir, "d.rvf"),
        str![[r#"
d.rvf: free

"#]],
    );
    assert_reads(
        status(&dir, "b.rvf"),
        str![[r#"
b.rvf: free
  data file  there is none of this name

"#]],
    );
}

#[test]
fn the_status_of_a_held_lock_reads_like_this() {
    let dir = Directory::new();
    let holder = Holder::start(&dir);
    assert_reads(
        status(&dir, "d.rvf"),
        str![[r#"
d.rvf: held by pid [..] (rvlf) on [..] for [..] s
  reason     the kernel reports that a process holds it
  since      [..]-[..]-[..] [..]:[..]:[..] +00:00
  refreshed  [..] s ago
  writer id  [..]-[..]-4[..]-[..]-[..]
  lock file  d.rvf.lock
  next step  wait until it is free: rvlf wait d.rvf

"#]],
    );
    holder.end();
}

#[test]
fn the_status_of_another_hosts_lock_reads_like_this() {
    let dir = Directory::new();
    dir.plant("far.lock", b"build7", now_ns());
    assert_reads(
        status(&dir, "far"),
        str![[r#"
far: held by pid 1073741822 on build7 for 0 s
  reason     it names another host: only its age decides
  since      [..]
  refreshed  [..] s ago
  stale in   4 min [..] s, unless refreshed
  writer id  73697874-6565-6e20-6279-746573206964
  lock file  far.lock
  next step  wait until it is free: rvlf wait far

"#]],
    );
}

// The clock of the holder's host is ahead, or this machine's is behind. Without the condition, "stale in
// 5 min" never comes for a user who shows the status again and again.
#[test]
fn the_status_of_a_record_from_the_future_says_for_whom_it_ages() {
    const LATEST: &str = "at the latest to a process that waits for it, unless refreshed";
    let dir = Directory::new();
    let file = dir.join("far.lock");
    for (ahead_s, shown) in [(100, "6 min [..] s"), (100_000, "5 min")] {
        let ahead = Duration::from_secs(ahead_s);
        let ahead_ns = u64::try_from(ahead.as_nanos()).expect("100,000 s are no overflow");
        dir.plant("far.lock", b"build7", now_ns() + ahead_ns);
        let file = fs::File::open(&file).expect("the file was just written");
        let then = std::time::SystemTime::now() + ahead;
        file.set_modified(then).expect("the file is this user's");
        let expected = format!(
            "\
far: held by pid 1073741822 on build7 for [..] s
  reason     it names another host: only its age decides
  since      [..]
  refreshed  [..] in the future
  stale in   {shown} {LATEST}
  writer id  73697874-6565-6e20-6279-746573206964
  lock file  far.lock
  next step  wait until it is free: rvlf wait far
"
        );
        assert_reads(status(&dir, "far"), expected);
    }
}

#[test]
fn the_status_of_a_stale_lock_reads_like_this() {
    let dir = Directory::new();
    dir.plant("it's stale.lock", b"build7", LONG_AGO);
    assert_reads(
        status(&dir, "it's stale"),
        str![[r#"
it's stale: left behind by pid 1073741822 on build7, last refreshed [..] d[..] ago
  reason     it names another host: only its age decides
  since      [..]
  refreshed  [..] d[..] ago
  writer id  73697874-6565-6e20-6279-746573206964
  lock file  it's stale.lock
  next step  none needed, the next writer that may remove the file recovers the lock; to remove it now: rvlf break 'it'\''s stale'

"#]],
    );
}

#[test]
fn the_status_of_another_programs_file_reads_like_this() {
    let dir = Directory::new();
    dir.write("foreign.lock", "{\"pid\": 4121}");
    assert_reads(
        status(&dir, "foreign"),
        str![[r#"
foreign: not an RVLF lock but a file that begins with "{\"pid\": 4121}"
  reason     the file is not an RVLF lock, so it is never removed
  lock file  foreign.lock
  next step  if no other program needs the file, move it away

"#]],
    );
}

#[test]
fn the_status_of_a_torn_lock_reads_like_this() {
    let dir = Directory::new();
    dir.write("torn.lock", "FLVR1234");
    dir.age("torn.lock", Duration::from_secs(10));
    assert_reads(
        status(&dir, "torn"),
        str![[r#"
torn: malformed: torn record: 8 of 104 bytes
  reason     the record is incomplete or damaged, and no process is writing it
  since      [..]
  lock file  torn.lock
  next step  none needed, the next writer that may remove the file recovers the lock; to remove it now: rvlf break torn

"#]],
    );
}

// Deployed RVF clients write records without a stamp. The command must name their process and judge
// it alive.
#[test]
#[cfg(target_os = "linux")]
fn the_lock_of_a_deployed_client_is_held_while_its_process_lives() {
    let dir = Directory::new();
    let host = nix::unistd::gethostname().expect("this host has a name");
    let host = host.to_str().expect("host names are ASCII").to_owned();
    let pid = std::process::id();
    for (host, reason) in [
        (host.as_str(), "process-alive"),
        ("elsewhere.invalid", "other-host"),
    ] {
        let timestamp_ns = now_ns();
        dir.plant_of(pid, "d.rvf.lock", host.as_bytes(), timestamp_ns);
        let status = dir.rvlf(&["status", "--json", "d.rvf"]);
        assert_eq!(status.code(), 1, "held: {}", status.stdout);
        let json = status.json();
        assert_eq!(
            (&json["state"], &json["reason_code"]),
            (&"held".into(), &reason.into())
        );
        let record = &json["record"];
        assert_eq!(record["pid"], pid);
        assert_eq!(record["hostname"], host);
        assert_eq!(record["timestamp_ns"], timestamp_ns.to_string());
        assert_eq!(record["stamp"], Value::Null);
    }
}

// The log of a watcher gets one line for each change, not one for each inspection.
#[test]
fn a_watched_status_reports_every_change() {
    let dir = Directory::new();
    let mut watching = dir.start(&["status", "--watch", "--json", "d.rvf"]);
    let stdout = watching.stdout.take().expect("standard output is piped");
    let mut states = BufReader::new(stdout).lines().map(|line| {
        let line = line.expect("standard output is a pipe");
        let json: Value = serde_json::from_str(&line).expect("one object on each line");
        json["state"].as_str().expect("a state is text").to_owned()
    });
    assert_eq!(states.next().as_deref(), Some("free"));
    let holder = Holder::start(&dir);
    assert_eq!(states.next().as_deref(), Some("held"));
    holder.end();
    assert_eq!(states.next().as_deref(), Some("free"));
    watching.kill().expect("it watches until it is killed");
    watching.wait().expect("rvlf has not been reaped");
}

// In /tmp every user may create files, and none but the owner may remove one. "None needed, the next writer
// recovers the lock" is not true for a writer of another user.
#[test]
fn the_status_of_a_lock_that_this_user_cannot_recover_says_who_can() {
    if !nix::unistd::geteuid().is_root() {
        return skip("only root can make another user's file");
    }
    let dir = Directory::new();
    let set_mode = |name: &str, mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(dir.join(name), mode).expect("the file is this user's");
    };
    set_mode("", 0o755);
    let sticky = "(the directory is sticky, and this user owns neither)";
    let as_owner = format!("as root or user 1000 {sticky}: rvlf break sticky/d;");
    for (name, mode, uid, expected) in [
        ("sticky", 0o1777, 1000, as_owner.as_str()),
        ("sticky", 0o1777, 65534, "none needed, the next writer"),
        ("open", 0o777, 1000, "none needed, the next writer"),
        (
            "closed",
            0o755,
            65534,
            "as a user who may write to the directory: rvlf break closed/d;",
        ),
    ] {
        let data = format!("{name}/d");
        let lock = format!("{data}.lock");
        let _ = fs::create_dir(dir.join(name));
        set_mode(name, mode);
        dir.plant(&lock, b"elsewhere", LONG_AGO);
        set_mode(&lock, 0o644);
        chown(dir.join(&lock), Some(uid), None).expect("root may change the owner");

        for verb in ["status", "wait"] {
            let mut command = dir.command([verb, &data]);
            if !run_as_ordinary_user(&mut command) {
                return;
            }
            let output = finish(command);
            assert_eq!(output.code(), 3, "stale: {}", output.stderr);
            let text = format!("{}{}", output.stdout, output.stderr);
            assert!(text.contains(expected), "{name}, {uid}: {text}");
        }
        let root = dir.rvlf(&["status", &data]).stdout;
        assert!(root.contains("none needed, the next writer"), "{root}");

        // What is said is true.
        let mut command = dir.command(["run", &data, "--", "true"]);
        run_as_ordinary_user(&mut command);
        let recovers = finish(command).code() == 0;
        assert_eq!(recovers, expected.starts_with("none"), "{name}, {uid}");
    }
}

// With `--wait`, the user waits for a holder that died long ago, in a file of mode 600.
#[test]
fn a_lock_file_that_this_user_may_not_read_is_not_something_to_wait_for() {
    let dir = Directory::new();
    dir.plant("d.rvf.lock", b"elsewhere", LONG_AGO);
    let set_mode = |name: &str, mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(dir.join(name), mode).expect("the file has our uid");
    };
    set_mode("", 0o755);
    set_mode("d.rvf.lock", 0);
    let mut command = dir.command(["status", "d.rvf"]);
    if !run_as_ordinary_user(&mut command) {
        return;
    }
    let status = finish(command);
    assert_eq!(status.code(), 1, "doubt reads as held: {}", status.stderr);
    let text = &status.stdout;
    let uid = nix::unistd::geteuid();
    let holder = format!("held or left behind by a process of user {uid}");
    assert!(text.contains(&holder), "{text}");
    assert!(
        text.contains("as a user who may read the lock file"),
        "{text}"
    );
    assert!(!text.contains("rvlf wait"), "{text}");
}
