//! The verbs on a lock in an object store, which this process serves.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

#[cfg(target_os = "linux")]
use ::support::until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rvlf::record::{Hostname, StoreStamp};
use rvlf::{Record, WriterId};
use serde_json::Value;

use crate::support::bucket::{Bucket, SECRET};
#[cfg(target_os = "linux")]
use crate::support::has_ended;
use crate::support::{Directory, Holder, LONG_AGO, Output, RVLF, finish, now_ns, vector};

/// The data object.
const URL: &str = "s3://bucket/data/x";
const KEY: &str = "data/x.lock";
const ID: WriterId = WriterId::from_bytes(*b"sixteen bytes id");

struct Test {
    dir: Directory,
    bucket: Bucket,
}

impl Test {
    fn new() -> Test {
        Test {
            dir: Directory::new(),
            bucket: Bucket::new(),
        }
    }

    fn rvlf(&self, args: &[&str]) -> Output {
        finish(self.bucket.command(&self.dir, args))
    }

    fn status(&self) -> Value {
        self.rvlf(&["status", "--json", URL]).json()
    }

    /// Holds the lock with the shortest lease.
    fn hold(&self, script: &str) -> Holder {
        let args = ["run", "--lease=5s", URL, "--", "sh", "-c", script];
        Holder::spawn(self.bucket.command(&self.dir, &args))
    }

    /// Writes the record of a process that has ended, and a payload.
    fn plant(&self, generation: u64, lease_ms: u32, timestamp_ns: u64, payload: &[u8]) {
        let stamp = StoreStamp {
            generation,
            lease_ms,
            nonce: 7,
        };
        let pid = rvlf::record::Pid::new(12).expect("a positive number");
        let host = Hostname::truncated(b"elsewhere");
        let record = Record::for_store(pid, &host, timestamp_ns, ID, stamp);
        let age = Duration::from_nanos(now_ns().saturating_sub(timestamp_ns));
        let bytes = [&record.encode()[..], payload].concat();
        self.bucket.write(KEY, &bytes, age);
    }
}

/// Prints that it runs, and ends well with its standard input.
const UNTIL_END_OF_INPUT: &str = "echo ready; read line; true";

#[test]
fn run_ends_with_the_status_of_its_command_and_releases() {
    let test = Test::new();
    let script = "echo $RVLF_GENERATION $RVLF_WRITER_ID $RVLF_LOCK_PATH; exit 3";
    let ended = test.rvlf(&["run", URL, "--", "sh", "-c", script]);
    assert_eq!(ended.code(), 3, "{}", ended.stderr);
    let status = test.status();
    let record = &status["record"];
    let expected = format!(
        "{} {} s3://bucket/data/x.lock\n",
        status["generation"],
        record["writer_id"].as_str().expect("a writer id is text")
    );
    assert_eq!(ended.stdout, expected, "what the command has found");
    assert_eq!(status["state"], "free");
    assert_eq!(status["released"], true);
    let first = status["generation"].as_u64().expect("a small number");
    assert_eq!(test.rvlf(&["run", URL, "true"]).code(), 0);
    assert_eq!(test.status()["generation"], first + 1, "one more hold");
    assert!(test.dir.is_empty(), "no lock file");
}

// A lock file under the lock of an object: its hold has no generation, and the outer one's is not its own.
#[test]
fn a_nested_lock_file_does_not_pass_on_the_generation_of_another_hold() {
    let test = Test::new();
    let script = format!("{RVLF} run d -- sh -c 'echo \"<$RVLF_GENERATION>\"'");
    let ended = test.rvlf(&["run", URL, "--", "sh", "-c", &script]);
    assert_eq!(
        (ended.code(), ended.stdout.as_str()),
        (0, "<>\n"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_held_lock_is_reported_and_awaited_and_refused() {
    let test = Test::new();
    let holder = test.hold(UNTIL_END_OF_INPUT);
    let pid = format!("held by pid {}", holder.rvlf_pid());
    let refused = test.rvlf(&["run", URL, "true"]);
    assert_eq!(refused.code(), 75, "{}", refused.stderr);
    assert!(refused.stderr.contains(&pid), "{}", refused.stderr);
    let quiet = test.rvlf(&["run", "-q", "-E", "7", URL, "true"]);
    assert_eq!((quiet.code(), quiet.stderr.as_str()), (7, ""));
    for url in [URL, "s3://bucket/data/x.lock"] {
        let shown = test.rvlf(&["status", url]);
        assert_eq!(shown.code(), 1, "{}", shown.stderr);
        assert!(shown.stdout.contains(&pid), "{}", shown.stdout);
    }
    let waited = test.rvlf(&["wait", "--timeout=100ms", URL]);
    assert_eq!(waited.code(), 1, "{}", waited.stderr);
    assert!(waited.stderr.contains("timed out"), "{}", waited.stderr);
    let broken = test.rvlf(&["break", URL]);
    assert_eq!(broken.code(), 1, "{}", broken.stderr);
    assert_eq!(holder.end().code(), 0);
    assert_eq!(test.rvlf(&["wait", URL]).code(), 0);
    assert_eq!(
        test.rvlf(&["break", URL]).stdout,
        format!("{URL}: already free\n")
    );
}

// `rvlf run` in a script that runs under the same lock would wait for itself.
#[test]
fn a_nested_run_of_the_same_lock_is_refused_at_once() {
    let test = Test::new();
    let inner = format!("{RVLF} run --wait {URL} true");
    let ended = test.rvlf(&["run", URL, "--", "sh", "-c", &inner]);
    assert_eq!(ended.code(), 125, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("leave the inner rvlf out"),
        "{}",
        ended.stderr
    );
}

// The store is unreachable. The holder's lock is taken over after its lease: its command must not write then.
#[test]
fn no_process_gets_the_lock_while_the_command_of_a_silenced_holder_runs() {
    let test = Test::new();
    let mut holder =
        test.hold("trap 'echo asked' TERM; echo ready; echo $$; while :; do sleep 0.1; done");
    let command = holder.pid_line();
    let contender = test.bucket.at_another_port();
    test.bucket.be_silent();
    let script = format!("kill -0 {command} 2>&1 && echo alive");
    let args = [
        "run",
        "--wait",
        "--lease=5s",
        URL,
        "--",
        "sh",
        "-c",
        &script,
    ];
    let successor = finish(contender.command(&test.dir, &args));
    assert!(!successor.stdout.contains("alive"), "{}", successor.stdout);
    assert!(
        successor.stderr.contains("taken over from pid"),
        "{}",
        successor.stderr
    );
    assert_eq!(holder.line(), "asked", "SIGTERM comes before SIGKILL");
    let ended = holder.ended();
    let message = &ended.stderr;
    assert_eq!(ended.code(), 128 + 9, "{message}");
    for text in ["confirmed no refresh", "sending SIGTERM", "sending SIGKILL"] {
        assert!(message.contains(text), "{text} is not in {message}");
    }
}

// A command that ends well at SIGTERM has not done its work.
#[test]
fn a_command_that_succeeds_after_the_store_fell_silent_is_a_failure() {
    for (option, expected) in [("--on-lost=kill", 125), ("--on-lost=warn", 0)] {
        let test = Test::new();
        let script = "trap 'exit 0' TERM; echo ready; for i in 1 2 3 4 5 6 7 8; do sleep 0.5; done";
        let args = ["run", "--lease=5s", option, URL, "--", "sh", "-c", script];
        let holder = Holder::spawn(test.bucket.command(&test.dir, &args));
        test.bucket.be_silent();
        let ended = holder.ended();
        assert_eq!(ended.code(), expected, "{option}: {}", ended.stderr);
        let message = "confirmed no refresh for 2.5 s";
        assert!(ended.stderr.contains(message), "{}", ended.stderr);
    }
}

// A user has restored an old version of the object, or deleted it.
#[test]
fn a_lock_that_is_replaced_ends_the_command_at_once() {
    let test = Test::new();
    let holder = test.hold(UNTIL_END_OF_INPUT);
    test.bucket.write(KEY, b"another program's", Duration::ZERO);
    let ended = holder.ended();
    assert_eq!(ended.code(), 128 + 15, "{}", ended.stderr);
    let message = "lock lost: another program overwrote the lock object";
    assert!(ended.stderr.contains(message), "{}", ended.stderr);
    assert_eq!(
        test.bucket.read(KEY).as_deref(),
        Some(&b"another program's"[..])
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_command_does_not_outlive_a_killed_rvlf() {
    let test = Test::new();
    let mut holder = test.hold("echo ready; echo $$; read line");
    let command = holder.pid_line();
    let input = holder.take_input();
    holder.kill_rvlf();
    // The signal is underway when rvlf is reaped, and a process closes its output before it has ended.
    until("the command ends", || has_ended(command));
    drop(input);
    let waited = test.rvlf(&["wait", URL]);
    assert_eq!(waited.code(), 3, "stale after its lease: {}", waited.stderr);
}

#[test]
fn a_signal_ends_a_wait_and_leaves_the_lock_to_its_holder() {
    let test = Test::new();
    let holder = test.hold(UNTIL_END_OF_INPUT);
    let before = test.status()["record"]["writer_id"].clone();
    let waiter = test
        .bucket
        .command(&test.dir, &["run", "--wait", URL, "true"])
        .spawn();
    let mut waiter = waiter.expect("the command starts");
    // Its first line says that it waits: the signal has a handler by then.
    let output = waiter.stderr.take().expect("standard error is piped");
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).expect("a pipe");
    assert!(line.contains("waiting for s3://bucket/data/x"), "{line}");
    kill(Pid::from_raw(waiter.id() as i32), Signal::SIGINT).expect("it runs");
    let status = waiter.wait().expect("it is a child");
    assert_eq!(status.code(), Some(130));
    assert_eq!(test.status()["record"]["writer_id"], before);
    holder.end();
}

// The record was in when the signal came, its answer was not: rvlf ended, and the lock stayed held for a lease.
#[test]
#[cfg(target_os = "linux")]
fn a_signal_during_the_acquisition_leaves_no_lock() {
    let test = Test::new();
    // The server is tested by other keys.
    test.plant(1, 0, LONG_AGO, b"");
    let before = test.bucket.read(KEY);
    test.bucket.keep_answers_to_writes(true);
    let args = ["run", URL, "--", "touch", "ran"];
    let started = test.bucket.command(&test.dir, &args).spawn();
    let mut rvlf = started.expect("the command starts");
    until("the record is in", || test.bucket.read(KEY) != before);
    kill(Pid::from_raw(rvlf.id() as i32), Signal::SIGTERM).expect("it runs");
    // Without an answer rvlf may end at any moment.
    std::thread::sleep(Duration::from_millis(500));
    test.bucket.keep_answers_to_writes(false);
    let status = rvlf.wait().expect("it is a child");
    assert_eq!(status.code(), Some(143));
    assert_eq!(test.status()["state"], "free");
    assert!(!test.dir.join("ran").exists(), "the command did not run");
}

#[test]
fn status_break_and_dump_know_every_state() {
    // The lease, the timestamp; the state, and the statuses of `status` and `break`.
    let cases = [
        (0, now_ns(), "free", 0, 0),
        (30_000, now_ns(), "held", 1, 1),
        (30_000, LONG_AGO, "stale", 3, 0),
        // Beyond the limits of the format.
        (30, now_ns(), "foreign", 4, 4),
    ];
    for (lease_ms, timestamp_ns, state, status, broken) in cases {
        let test = Test::new();
        test.plant(41, lease_ms, timestamp_ns, b"the root");
        let shown = test.rvlf(&["status", "--json", URL]);
        assert_eq!(
            (shown.code(), &shown.json()["state"]),
            (status, &state.into())
        );
        assert_eq!(shown.json()["payload_bytes"], 8);
        let lease = (state != "free").then_some(lease_ms);
        assert_eq!(shown.json()["lease_ms"], Value::from(lease));
        assert_eq!(shown.json()["generation"], 41);
        let before = test.bucket.read(KEY);
        let dumped = test.rvlf(&["dump", "s3://bucket/data/x.lock"]);
        assert_eq!(dumped.code(), 0, "{}", dumped.stderr);
        let summary = "a valid record, followed by a payload of 8 bytes";
        assert!(dumped.stdout.contains(summary), "{}", dumped.stdout);
        assert_eq!(test.rvlf(&["break", URL]).code(), broken, "{state}");
        let is_changed = test.bucket.read(KEY) != before;
        assert_eq!(is_changed, state == "stale", "{state}: what break writes");
        let payload = test.bucket.read(KEY).map(|bytes| bytes[104..].to_vec());
        assert_eq!(payload.as_deref(), Some(&b"the root"[..]), "{state}");
    }
}

#[test]
fn an_object_that_is_no_lock_of_a_store_is_shown_and_never_written() {
    for (bytes, state) in [
        (b"{\"pid\": 1}".to_vec(), "foreign"),
        (vector("rt-default.bin"), "foreign"),
        (vector("synthetic/version-2.bin"), "unsupported"),
        (vector("synthetic/bad-crc.bin"), "malformed"),
    ] {
        let test = Test::new();
        test.bucket.write(KEY, &bytes, Duration::from_secs(100_000));
        let shown = test.rvlf(&["status", "--json", URL]);
        assert_eq!((shown.code(), &shown.json()["state"]), (4, &state.into()));
        let id = ID.to_string();
        for (args, code) in [
            (&["run", "--wait=100ms", URL, "true"][..], 125),
            (&["wait", "--timeout=100ms", URL], 4),
            (&["break", URL], 4),
            (&["break", "--force", "--writer-id", &id, URL], 4),
        ] {
            let refused = test.rvlf(args);
            assert_eq!(
                refused.code(),
                code,
                "{state}: {args:?}: {}",
                refused.stderr
            );
        }
        assert_eq!(test.bucket.read(KEY), Some(bytes), "{state}");
    }
}

// A data object may have any name.
#[test]
fn a_data_object_whose_name_ends_as_that_of_a_lock_has_a_lock_of_its_own() {
    let test = Test::new();
    test.bucket
        .write("Cargo.lock", b"version = 4", Duration::ZERO);
    let ended = test.rvlf(&["run", "s3://bucket/Cargo.lock", "true"]);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(test.bucket.read("Cargo.lock.lock").is_some());
    assert_eq!(
        test.bucket.read("Cargo.lock").as_deref(),
        Some(&b"version = 4"[..])
    );
}

// The lock of x~ was at x%7E.lock, beside that of another program. `d/.lock` meant the lock of d.
#[test]
fn the_lock_is_at_the_key_of_the_data_with_its_end_whatever_characters_the_key_has() {
    let test = Test::new();
    for (data, lock) in [("x~", "x~.lock"), ("d/.lock", "d/.lock.lock")] {
        let ended = test.rvlf(&["run", &format!("s3://bucket/{data}"), "true"]);
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        assert!(test.bucket.read(lock).is_some(), "{lock}");
    }
    assert_eq!(test.bucket.read("d.lock"), None);
}

#[test]
fn a_forced_break_takes_the_lock_of_the_named_hold_alone() {
    let test = Test::new();
    test.plant(41, 1_000, now_ns(), b"");
    let wrong = "00000000-0000-4000-8000-000000000000";
    let refused = test.rvlf(&["break", "--force", "--writer-id", wrong, URL]);
    assert_eq!(refused.code(), 1, "{}", refused.stderr);
    assert!(
        refused.stderr.contains(&ID.to_string()),
        "{}",
        refused.stderr
    );
    for now in [&[][..], &["--now"]] {
        test.plant(41, 1_000, now_ns(), b"");
        let id = ID.to_string();
        let args = [&["break", "--force", "--writer-id", &id], now, &[URL]].concat();
        let broken = test.rvlf(&args);
        assert_eq!(broken.code(), 0, "{}", broken.stderr);
        assert_eq!(
            broken.stderr.contains("waiting for its lease"),
            now.is_empty()
        );
        assert_eq!(test.status()["released"], true);
        assert_eq!(test.status()["generation"], 42, "a hold of its own");
    }
}

#[test]
fn the_lease_comes_from_the_option_or_from_the_environment() {
    let test = Test::new();
    let script = format!("{RVLF} status --json {URL}");
    for (option, variable, expected) in [
        (None, None, 30_000),
        (None, Some("7"), 7_000),
        (Some("--lease=8s"), Some("7"), 8_000),
    ] {
        let command = ["sh", "-c", &script];
        let args = [&["run"], option.as_slice(), &[URL, "--"], &command].concat();
        let mut command = test.bucket.command(&test.dir, &args);
        command.envs(variable.map(|lease| ("RVLF_LEASE", lease)));
        assert_eq!(finish(command).json()["lease_ms"], expected);
    }
    for (option, variable) in [("--lease=1s", "7"), ("--lease=2h", "7"), ("-n", "soon")] {
        let mut command = test
            .bucket
            .command(&test.dir, &["run", option, URL, "true"]);
        command.env("RVLF_LEASE", variable);
        let refused = finish(command);
        assert_eq!(refused.code(), 125, "{option}: {}", refused.stderr);
        assert!(
            refused.stderr.to_lowercase().contains("lease"),
            "{}",
            refused.stderr
        );
    }
}

#[test]
fn diagnose_reports_a_good_store_and_leaves_nothing_behind() {
    let test = Test::new();
    let tested = test.rvlf(&["diagnose", URL]);
    assert_eq!(tested.code(), 0, "{}", tested.stderr);
    assert_eq!(tested.stdout.matches("20 races with one winner").count(), 2);
    assert_eq!(
        test.bucket.read(KEY),
        None,
        "the lock itself is not touched"
    );
}

// The permissions that docs/object-stores.md names: get and put, and no list. To a key that is absent S3 answers 403
// then.
#[test]
fn no_verb_that_creates_a_lock_needs_the_permission_to_list() {
    let test = Test::new();
    test.bucket.hide_absent_objects();
    let inner = format!("{RVLF} run s3://bucket/inner true");
    let nested: [&str; 6] = ["run", URL, "--", "sh", "-c", &inner];
    for args in [
        &nested[..],
        &["run", "s3://bucket/Cargo.lock", "true"],
        &["diagnose", "s3://bucket/fresh"],
    ] {
        let ended = test.rvlf(args);
        assert_eq!(ended.code(), 0, "{args:?}: {}", ended.stderr);
    }
    for key in [KEY, "inner.lock", "Cargo.lock.lock"] {
        assert!(test.bucket.read(key).is_some(), "{key}");
    }
}

// An endpoint that is wrong stays wrong: the wait said nothing, and the test of the server went on for ten minutes.
#[test]
fn a_store_that_cannot_be_asked_is_reported_while_a_verb_waits_for_it() {
    let test = Test::new();
    let at_no_server = |args: &[&str]| {
        let mut command = test.bucket.command(&test.dir, args);
        command.env("AWS_ENDPOINT", "http://127.0.0.1:9");
        command
    };
    for args in [&["run", "--wait", URL, "true"][..], &["wait", URL]] {
        let mut command = at_no_server(args);
        let mut waiter = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let messages = waiter.stderr.take().expect("it is a pipe");
        let first = BufReader::new(messages).lines().next();
        let first = first.expect("a message").expect("text");
        assert!(
            first.contains("waiting, although s3://"),
            "{args:?}: {first}"
        );
        waiter.kill().expect("it waits");
        waiter.wait().expect("it is a child");
    }
    let tested = finish(at_no_server(&["diagnose", URL]));
    assert_eq!(tested.code(), 5, "{}", tested.stderr);
}

// T32. Servers and proxies repeat the request in an error; parsers repeat what they could not read.
#[test]
fn no_message_contains_a_credential() {
    let verbs: [&[&str]; 7] = [
        &["run", URL, "true"],
        &["status", URL],
        &["status", "--json", URL],
        &["wait", "--timeout=100ms", URL],
        &["break", URL],
        &["dump", URL],
        &["diagnose", URL],
    ];
    for status in ["403 Forbidden: AccessDenied", "404 Not Found: NoSuchBucket"] {
        let test = Test::new();
        test.bucket.answer_only(status);
        for args in verbs {
            let output = test.rvlf(args);
            assert!(
                [4, 5, 125].contains(&output.code()),
                "{args:?}: {}",
                output.stderr
            );
            check_no_secret(args, &output);
        }
    }
    let variables = [
        (
            "az://bucket/k",
            "AZURE_STORAGE_ENDPOINT",
            "http://id:hunter2@127.0.0.1:9",
        ),
        (
            "s3://bucket/k",
            "AWS_ENDPOINT",
            "http://id:hunter2@127.0.0.1:9",
        ),
        (
            "s3://bucket/k",
            "AWS_ENDPOINT",
            "http://id:\"/hunter2@127.0.0.1:9",
        ),
        ("s3://bucket/k", "AWS_SESSION_TOKEN", "hunter2\n"),
        (
            "az://bucket/k",
            "AZURE_STORAGE_ACCOUNT_KEY",
            "hunter2 is no base64",
        ),
        (
            "gs://bucket/k",
            "GOOGLE_SERVICE_ACCOUNT_KEY",
            "{\"private_key\": hunter2",
        ),
    ];
    let test = Test::new();
    for (url, name, value) in variables {
        let mut command = test.bucket.command(&test.dir, &["status", url]);
        command
            .env(name, value)
            .env("AZURE_STORAGE_ACCOUNT_NAME", "name");
        let output = finish(command);
        assert_eq!(output.code(), 5, "{name}: {}", output.stderr);
        check_no_secret(&[name], &output);
    }
}

fn check_no_secret(what: &[&str], output: &Output) {
    let shown = format!("{}{}", output.stdout, output.stderr);
    assert!(!shown.contains(SECRET), "{what:?}: {shown}");
    assert_eq!(
        output.stderr.lines().count(),
        1,
        "{what:?}: {}",
        output.stderr
    );
}

// A program relies on the document. A key that only the code knows is a trap.
#[test]
fn every_key_of_a_store_is_documented_and_every_key_of_a_file_is_there() {
    let test = Test::new();
    test.plant(41, 30_000, now_ns(), b"");
    let of_store = test.status();
    let of_file = test.dir.rvlf(&["status", "--json", "d"]).json();
    let document = fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/command.md"),
    );
    let document = document.expect("the document lies beside the source");
    let keys = of_store.as_object().expect("it is an object");
    for key in keys.keys() {
        assert!(
            document.contains(&format!("`{key}`")),
            "docs/command.md lacks {key}"
        );
    }
    for key in of_file.as_object().expect("it is an object").keys() {
        assert!(keys.contains_key(key), "{key} is missing");
    }
    for reason in rvlf::judge::StoreReason::ALL {
        let mention = format!("`\"{}\"`", reason.code());
        assert!(
            document.contains(&mention),
            "docs/command.md lacks {mention}"
        );
    }
}
