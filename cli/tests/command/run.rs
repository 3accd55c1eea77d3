//! `rvlf run`: one command at a time, what the next one gets, and exit statuses.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use rvlf::WriterId;

use crate::support::{
    Directory, Holder, LONG_AGO, Output, RVLF, STUBBORN, finish, output_of, skip, vector,
};

// A script checks for a writer before it copies a file. A status of 0 for a held lock makes it copy a
// file that is half written.
#[test]
fn while_run_holds_the_lock_status_names_the_holder() {
    let dir = Directory::new();
    assert_eq!(dir.rvlf(&["status", "d.rvf"]).code(), 0, "free at first");

    let holder = Holder::start(&dir);
    let status = dir.rvlf(&["status", "--json", "d.rvf"]);
    assert_eq!(status.code(), 1, "held");
    let json = status.json();
    assert_eq!(json["state"], "held");
    assert_eq!(json["reason_code"], "kernel-lock");
    assert_eq!(
        json["record"]["pid"],
        holder.rvlf_pid(),
        "rvlf is the holder"
    );
    assert_eq!(json["data_path"], "d.rvf");
    assert_eq!(json["lock_path"], "d.rvf.lock");
    assert_eq!(json["record"]["checksum"], "iso-hdlc");
    assert!(
        json["record"]["timestamp_ns"].is_string(),
        "JavaScript would round a number"
    );

    let refused = dir.rvlf(&["run", "d.rvf", "--", "touch", "second"]);
    assert_eq!(refused.code(), 75, "held by another process");
    let pid = holder.rvlf_pid().to_string();
    assert!(refused.stderr.contains(&pid), "by whom: {}", refused.stderr);
    assert!(!dir.join("second").exists(), "the command did not run");

    let ended = holder.end();
    assert_eq!(
        ended.code(),
        1,
        "read(1) fails at the end of its input, and rvlf exits with 1"
    );
    assert_eq!(ended.stderr, "", "no message");
    assert!(dir.is_empty(), "the lock file is removed");
    assert_eq!(dir.rvlf(&["status", "d.rvf"]).code(), 0, "free again");
}

// The OOM killer ends the writer and rvlf. The next writer must neither wait for 30 s nor miss that
// the file may be half written.
#[test]
fn after_both_are_killed_the_next_run_succeeds_and_names_the_dead_holder() {
    let dir = Directory::new();
    let script = ["sh", "-c", "echo ready; echo $$; read line"];
    let mut holder = Holder::running(&dir, &[], &script);
    let command = holder.pid_line();
    let rvlf_pid = holder.rvlf_pid().to_string();
    kill(command, Signal::SIGSTOP).expect("the command still runs");
    holder.kill_rvlf();
    kill(command, Signal::SIGKILL).expect("the stopped command still exists");
    assert_eq!(holder.line(), "", "the command has ended");

    let status = dir.rvlf(&["status", "d.rvf"]);
    assert_eq!(status.code(), 3, "stale: {}", status.stdout);

    let next = dir.rvlf(&["run", "d.rvf", "--", "echo", "next"]);
    assert_eq!((next.code(), next.stdout.as_str()), (0, "next\n"));
    let message = next.stderr;
    assert!(message.contains("reclaimed from pid"), "{message}");
    assert!(message.contains(&rvlf_pid), "from whom: {message}");
    assert_eq!(message.lines().count(), 1, "in one line: {message}");
    assert!(dir.is_empty(), "no file is left");
}

// rvlf is killed and its command writes on. No other process may write until the command has ended.
#[test]
fn the_lock_outlives_a_killed_rvlf_until_its_command_has_ended() {
    let dir = Directory::new();
    let mut holder = Holder::running(&dir, &[], &STUBBORN);
    holder.kill_rvlf();

    let status = dir.rvlf(&["status", "--json", "d.rvf"]);
    assert_eq!(
        status.code(),
        1,
        "the command has the lock: {}",
        status.stdout
    );
    let json = status.json();
    assert_eq!(json["reason_code"], "kernel-lock-outlives-process");
    assert_eq!(json["locked_by"][0]["command"], "sh", "{json}");
    let kept_open = format!("kept open by pid {} (sh)", json["locked_by"][0]["pid"]);

    let status = dir.rvlf(&["status", "d.rvf"]).stdout;
    let line = format!("\n  {}\n", kept_open.replace("open by", "open  by"));
    assert!(status.contains(&line), "{status}");
    let scanned = dir.rvlf(&["scan", "."]).stdout;
    assert!(scanned.contains(&kept_open), "{scanned}");
    for (args, status) in [
        (&["run", "d.rvf", "--", "true"][..], 75),
        (&["run", "--wait=300ms", "d.rvf", "--", "true"], 75),
        (&["wait", "--timeout=10ms", "d.rvf"], 1),
        (&["break", "d.rvf"], 1),
    ] {
        let refused = dir.rvlf(args);
        assert_eq!(refused.code(), status, "{args:?}: {}", refused.stderr);
        let message = refused.stderr;
        assert!(message.contains(&kept_open), "by whom, {args:?}: {message}");
    }

    let waiting = dir.start(&["run", "--wait", "d.rvf", "--", "echo", "mine"]);
    holder.close_input();
    let waited = output_of(waiting, "rvlf run --wait");
    assert_eq!((waited.code(), waited.stdout.as_str()), (0, "mine\n"));
    assert!(
        waited.stderr.contains("reclaimed from"),
        "{}",
        waited.stderr
    );
}

// A process that has only a shared kernel lock keeps every breaker out, and no examination shows it: "stale,
// the next writer recovers it", and the next writer is refused.
#[test]
#[cfg(target_os = "linux")]
fn a_refusal_because_of_a_shared_lock_names_the_process_that_has_it() {
    let dir = Directory::new();
    dir.plant("d.rvf.lock", b"elsewhere", LONG_AGO);
    let file = std::fs::File::open(dir.join("d.rvf.lock")).expect("the file exists");
    ::support::lock_shared(&file).expect("no process has locked the file");
    let kept_open = format!("d.rvf.lock: kept open by pid {} (", std::process::id());
    for (args, code) in [
        (&["run", "d.rvf", "--", "true"][..], 75),
        (&["break", "d.rvf"], 1),
    ] {
        let refused = dir.rvlf(args);
        assert_eq!(refused.code(), code, "{args:?}: {}", refused.stderr);
        let message = &refused.stderr;
        assert!(message.contains(&kept_open), "{args:?}: {message}");
    }
}

// A service that was started under the lock leaves a daemon behind, which would keep the lock of
// its dead parents indefinitely: that is what --close is for.
#[test]
fn with_close_a_daemon_of_the_command_does_not_keep_the_lock() {
    let dir = Directory::new();
    let command = ["sh", "-c", "sleep 120 & echo ready; echo $!; wait"];
    for (options, keeps_lock) in [(&["-o"][..], false), (&["--close"], false), (&[], true)] {
        let mut holder = Holder::running(&dir, options, &command);
        let daemon = holder.pid_line();
        holder.kill_rvlf();
        if keeps_lock {
            let status = dir.rvlf(&["status", "d.rvf"]);
            assert_eq!(status.code(), 1, "inherited: {}", status.stdout);
            kill(daemon, Signal::SIGKILL).expect("the daemon runs");
        }
        // A killed command takes a moment to end. The wait is not for the daemon, which runs 120 s.
        let next = dir.rvlf(&["run", "--wait=30s", "d.rvf", "--", "true"]);
        assert_eq!(next.code(), 0, "{options:?}: {}", next.stderr);
        if !keeps_lock {
            kill(daemon, Signal::SIGKILL).expect("the daemon still runs");
        }
    }
}

// Shell scripts branch on these numbers, which are those of the shell, of env(1) and of sysexits.h.
#[test]
fn run_exits_as_its_command_does_or_with_a_status_of_its_own() {
    let dir = Directory::new();
    dir.write("data", "no program");
    dir.write("foreign.lock", "4121\n");
    dir.write("v2.lock", vector("synthetic/version-2.bin"));
    let cases: [(&[&str], i32); 12] = [
        (&["run", "d", "--", "true"], 0),
        (&["run", "d", "--", "sh", "-c", "exit 42"], 42),
        (&["run", "d", "--", "sh", "-c", "exit 255"], 255),
        (&["run", "d", "--", "sh", "-c", "kill -KILL $$"], 128 + 9),
        (&["run", "d", "--", "sh", "-c", "kill -TERM $$"], 128 + 15),
        (&["run", "d", "--", "./data"], 126),
        (&["run", "d", "--", "./no-such-program"], 127),
        (&["run", "foreign", "--", "true"], 125),
        (&["run", "v2", "--", "true"], 125),
        (&["run", "no/such/directory/d", "--", "true"], 125),
        (&["run", "d"], 125),
        (&["run", "--wait=soon", "d", "--", "true"], 125),
    ];
    for (args, expected) in cases {
        let output = dir.rvlf(args);
        assert_eq!(output.code(), expected, "{args:?}: {}", output.stderr);
        assert!(
            !dir.join("d.lock").exists(),
            "{args:?}: the lock is released"
        );
    }
}

// A command that changes its directory, or that stores who wrote its data, needs both.
#[test]
fn the_command_finds_the_lock_path_and_the_writer_id_in_its_environment() {
    let dir = Directory::new();
    let script = "cd /; echo \"$RVLF_WRITER_ID\"; head -c 4 \"$RVLF_LOCK_PATH\"";
    let output = dir.rvlf(&["run", "d.rvf", "--", "sh", "-c", script]);
    let (id, magic) = output.stdout.split_once('\n').expect("two lines");
    assert!(id.parse::<WriterId>().is_ok(), "{id} is a writer id");
    assert_eq!(magic, "FLVR", "the path is valid in every directory");
}

/// Reads the message of a waiting command.
fn first_message(waiting: &mut Child) -> (String, impl Read + use<>) {
    let stderr = waiting.stderr.take().expect("standard error is piped");
    let mut stderr = BufReader::new(stderr);
    let mut line = String::new();
    let read = stderr.read_line(&mut line);
    read.expect("standard error is a pipe");
    (line, stderr)
}

// A nightly job waits until the writer of the day has finished.
#[test]
fn a_waiting_run_names_the_holder_once_and_gets_the_lock_at_its_release() {
    let dir = Directory::new();
    let holder = Holder::start(&dir);
    let pid = holder.rvlf_pid().to_string();
    let mut waiting = dir.start(&["run", "--wait=1h", "d.rvf", "--", "echo", "mine"]);
    let (line, mut stderr) = first_message(&mut waiting);
    assert!(
        line.starts_with("rvlf: waiting for d.rvf: held by pid "),
        "{line}"
    );
    assert!(line.contains(&pid), "by whom: {line}");
    assert!(
        line.contains("the kernel reports"),
        "and the reason: {line}"
    );
    holder.end();
    let waited = output_of(waiting, "rvlf run --wait");
    assert_eq!((waited.code(), waited.stdout.as_str()), (0, "mine\n"));
    let mut rest = String::new();
    let read = stderr.read_to_string(&mut rest);
    read.expect("standard error is a pipe");
    assert_eq!(rest, "", "a pipe gets one line");
}

#[test]
fn a_run_that_times_out_exits_with_75() {
    let dir = Directory::new();
    let holder = Holder::start(&dir);
    let waited = dir.rvlf(&["run", "--wait=50ms", "d.rvf", "--", "touch", "never"]);
    assert_eq!(waited.code(), 75, "{}", waited.stderr);
    let message = waited.stderr;
    assert!(message.contains("timed out after 0.05 s"), "{message}");
    assert!(!dir.join("never").exists(), "the command did not run");
    holder.end();
}

// The cause says whether the next step is the right one, so a reader needs it first.
#[test]
fn a_message_names_the_cause_and_then_the_next_step() {
    let dir = Directory::new();
    dir.write("table", "{");
    let cases: [(&[&str], &str, &str); 4] = [
        (
            &["run", "missing/d", "--", "true"],
            "could not open the directory: No such file or directory (os error 2)",
            "check the path, or create the directory first",
        ),
        (
            &["status", "missing/d"],
            "could not open the directory: No such file or directory (os error 2)",
            "check the path, or create the directory first",
        ),
        (
            &["wait", "missing/d"],
            "could not open the directory: No such file or directory (os error 2)",
            "check the path, or create the directory first",
        ),
        (
            &["table", "--table", "table", "list"],
            "not an allocation table: EOF while parsing",
            "repair the file; moving it away gives up every entry: end all processes that use it first",
        ),
    ];
    for (args, cause, step) in cases {
        let message = dir.rvlf(args).stderr;
        let step = format!("; {step}\n");
        assert!(message.contains(cause), "{args:?}: {message}");
        assert!(message.ends_with(&step), "{args:?}: {message}");
    }
}

// The cause alone does not help: "No such file or directory" of a script that is there.
#[test]
fn a_command_that_cannot_run_comes_with_a_next_step() {
    let dir = Directory::new();
    dir.write("data", "text");
    dir.write_program("script", "");
    dir.write("script", "#!/no/such/interpreter\n");
    for (command, code, step) in [
        ("no-such-command", 127, "check the name and PATH"),
        ("./missing", 127, "check the path"),
        ("echo hi", 127, "separate words; for shell syntax: sh -c"),
        ("./script", 126, "the interpreter in its first line"),
        ("./data", 126, "make it executable (chmod +x)"),
        (".", 126, "it is a directory"),
    ] {
        let mut rvlf = dir.command(["run", "d", "--", command]);
        // A directory that this user may not search makes another error.
        rvlf.env("PATH", "/usr/bin:/bin");
        let ended = finish(rvlf);
        let text = &ended.stderr;
        assert_eq!(ended.code(), code, "{command}: {text}");
        assert!(text.contains(step), "{command}: {text}");
    }
}

// The advice to a line without a command named its last word, which was an option's value.
#[test]
fn a_line_without_a_command_is_completed_with_its_data_file() {
    let dir = Directory::new();
    for line in [
        "d",
        "d --",
        "d -w 5",
        "-w 5 d",
        "--wait 5s d",
        "-q -E 9 -- d",
    ] {
        let args: Vec<_> = ["run"].into_iter().chain(line.split(' ')).collect();
        let text = dir.rvlf(&args).stderr;
        let advice = "under the lock of d: rvlf run d COMMAND";
        assert!(text.contains(advice), "{line}: {text}");
    }
}

// A tip that was followed to the letter led to the next error: "use '-- -1'".
#[test]
fn no_usage_error_proposes_a_line_that_fails() {
    let dir = Directory::new();
    for args in [
        &["run", "-w", "-1", "d", "true"][..],
        &["wait", "-t", "5", "d"],
        &["status", "d", "-q"],
    ] {
        let text = dir.rvlf(args).stderr;
        assert!(!text.contains("tip:"), "{args:?}: {text}");
    }
}

#[test]
fn an_option_of_flock_is_answered_with_what_takes_its_place() {
    let dir = Directory::new();
    for (option, advice) in [
        ("-c", "rvlf run DATA sh -c"),
        ("-x", "always exclusive"),
        ("-s", "no shared locks"),
    ] {
        let text = dir.rvlf(&["run", "d", option, "true"]).stderr;
        assert!(text.contains(advice), "{option}: {text}");
    }
}

// The advice for `rvlf run d "$COMMAND"` with an unset variable was to check PATH.
#[test]
fn a_command_without_a_name_is_called_that() {
    let ended = Directory::new().rvlf(&["run", "d", ""]);
    assert_eq!(ended.code(), 127, "{}", ended.stderr);
    assert!(ended.stderr.contains("name is empty"), "{}", ended.stderr);
}

// "invalid digit found in string" did not say what the option takes.
#[test]
fn a_number_that_is_none_is_answered_with_what_the_option_takes() {
    let dir = Directory::new();
    for value in ["", "x", "256"] {
        let text = dir.rvlf(&["run", "-E", value, "d", "true"]).stderr;
        assert!(text.contains("a number from 0 to 255"), "{value}: {text}");
    }
    for value in ["", "x", "0", "-1"] {
        let option = format!("--for={value}");
        let text = dir.rvlf(&["hold", &option, "d"]).stderr;
        assert!(text.contains("$$ is that of the script"), "{value}: {text}");
    }
}

// `rvlf store.rvf ./work` was "unrecognized subcommand", without a next step.
#[test]
fn a_data_file_in_place_of_the_verb_is_answered_with_the_verb() {
    let dir = Directory::new();
    let text = |args: &[&str]| dir.rvlf(args).stderr;
    let command = text(&["store.rvf", "./work"]);
    assert!(command.contains("rvlf run store.rvf COMMAND"), "{command}");
    let alone = text(&["./store"]);
    assert!(alone.contains("rvlf status ./store"), "{alone}");
    let of_a_table = text(&["table", "t.json", "list"]);
    assert!(!of_a_table.contains("rvlf run"), "{of_a_table}");
    let word = text(&["frobnicate"]);
    assert!(!word.contains("rvlf status"), "{word}");
}

#[test]
fn a_verb_of_another_tool_is_answered_with_ours() {
    let dir = Directory::new();
    for (verb, advice) in [
        ("list", "rvlf scan"),
        ("release", "rvlf break DATA"),
        ("version", "rvlf --version"),
        ("unlock", "rvlf break DATA"),
        ("lock", "rvlf run DATA COMMAND"),
        ("check", "rvlf status DATA"),
    ] {
        let text = dir.rvlf(&[verb, "d"]).stderr;
        assert!(text.contains(advice), "{verb}: {text}");
    }
}

// new.lock is the lock file of new while new is held, and a data file while neither is there: one word would name two
// locks, and no message said so.
#[test]
fn a_name_of_a_lock_file_that_is_not_there_is_reported_as_a_data_file() {
    let dir = Directory::new();
    let text = dir.rvlf(&["run", "new.lock", "--", "true"]).stderr;
    assert!(text.contains("its lock is new.lock.lock"), "{text}");
    for present in ["new.lock", "new"] {
        dir.write(present, "text");
        let text = dir.rvlf(&["run", "new.lock", "--", "true"]).stderr;
        assert!(!text.contains("its lock is"), "{present}: {text}");
        std::fs::remove_file(dir.join(present)).expect("it was written");
    }
}

// A job in each of two containers locks the same data under two paths, and both write.
#[test]
fn run_refuses_a_link_only_with_refuse_aliases() {
    let dir = Directory::new();
    std::fs::write(dir.join("d.rvf"), "").expect("the directory is writable");
    std::os::unix::fs::symlink("d.rvf", dir.join("link")).expect("the directory is writable");

    let refused = dir.rvlf(&["run", "--refuse-aliases", "link", "--", "touch", "ran"]);
    assert_eq!(refused.code(), 125, "no usable data file");
    let message = &refused.stderr;
    assert!(message.contains("it is a symbolic link"), "why: {message}");
    assert!(!dir.join("ran").exists(), "the command did not run");

    let permitted = dir.rvlf(&["run", "link", "--", "touch", "ran"]);
    assert_eq!(permitted.code(), 0, "the default: {}", permitted.stderr);
    let only = dir.rvlf(&["run", "--refuse-aliases", "d.rvf", "--", "true"]);
    assert_eq!(only.code(), 0, "its own name: {}", only.stderr);
}

// A holder on another host that was silent for 300 s may be alive: a message that it has ended sends
// the operator to recover a file that it still writes.
#[test]
fn a_lock_that_was_reclaimed_by_age_is_not_reported_as_that_of_a_dead_process() {
    let dir = Directory::new();
    dir.plant("d.rvf.lock", b"elsewhere", LONG_AGO);
    let next = dir.rvlf(&["run", "d.rvf", "--", "true"]);
    let message = &next.stderr;
    assert_eq!(next.code(), 0, "{message}");
    assert!(
        message.contains("on elsewhere, which did not release it"),
        "{message}"
    );
    assert!(!message.contains("ended"), "{message}");
}

/// `unshare --pid` without --fork executes rvlf in a process that can start no thread.
fn without_threads(dir: &Directory, args: &[&str]) -> Output {
    let mut command = Command::new("unshare");
    command.arg("--pid").arg(RVLF).args(args);
    command.current_dir(dir.path()).stderr(Stdio::piped());
    let child = command.spawn().expect("util-linux is installed");
    output_of(child, "rvlf under unshare --pid")
}

// rvlf printed "Invalid argument".
#[test]
fn a_process_that_can_start_no_thread_is_named_with_a_next_step() {
    if !nix::unistd::geteuid().is_root() {
        return skip("only root may make a pid namespace");
    }
    let dir = Directory::new();
    let holder = Holder::start(&dir);
    for verb in [&["run", "--wait", "d.rvf", "true"][..], &["wait", "d.rvf"]] {
        let refused = without_threads(&dir, verb);
        assert_ne!(refused.code(), 0, "{verb:?}");
        let (cause, step) = ("unshare(CLONE_NEWPID)", "unshare --fork");
        let message = &refused.stderr;
        assert!(
            message.contains(cause) && message.contains(step),
            "{message}"
        );
    }
    holder.end();
    assert!(dir.is_empty(), "no lock file is left");
}

// The thread that refreshes is started while the command runs. Where none can be started, no refresh was
// made, and the command wrote on beside the next holder.
#[test]
fn a_lock_is_refreshed_where_no_thread_can_be_started() {
    if !nix::unistd::geteuid().is_root() {
        return skip("only root may make a pid namespace");
    }
    let dir = Directory::new();
    let script = "trap 'exit 7' TERM; rm \"$RVLF_LOCK_PATH\"; while :; do sleep 0.05; done";
    let ended = without_threads(&dir, &["run", "d.rvf", "sh", "-c", script]);
    assert_eq!(ended.code(), 7, "{}", ended.stderr);
    let losses = ended.stderr.matches("lock lost").count();
    assert_eq!(losses, 1, "{}", ended.stderr);
}
