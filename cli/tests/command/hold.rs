//! `rvlf hold`: the rest of a script under the lock.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use std::time::Duration;

use ::support::until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{
    CONTAINER, Directory, Holder, RVLF, can_run_in_container, finish, has_ended, output_of,
};

/// A script in a process group of its own.
fn script(dir: &Directory, shell: &str, text: &str) -> Command {
    let mut command = dir.command([""; 0]);
    let environment: Vec<_> = command
        .get_envs()
        .filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())))
        .collect();
    command = Command::new(shell);
    command
        .args(["-c", text])
        .envs(environment)
        .env("RVLF", RVLF);
    command.current_dir(dir.path()).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
}

/// A script that holds the lock and has printed the pid of its keeper.
struct Script {
    child: Child,
    /// The script reads it.
    input: ChildStdin,
    keeper: Pid,
}

impl Script {
    fn start(dir: &Directory, rest: &str) -> Script {
        Script::start_with(dir, rest, &[])
    }

    fn start_with(dir: &Directory, rest: &str, variables: &[(&str, &str)]) -> Script {
        let text = format!("keeper=$($RVLF hold --for $$ d.rvf) || exit; echo $keeper; {rest}");
        let mut command = script(dir, "sh", &text);
        command.envs(variables.iter().copied());
        let mut child = command.spawn().expect("there is a shell");
        let input = child.stdin.take().expect("it is a pipe");
        let mut line = String::new();
        let output = child.stdout.take().expect("it is a pipe");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let keeper = line.trim().parse().expect("the pid of the keeper");
        Script {
            child,
            input,
            keeper: Pid::from_raw(keeper),
        }
    }

    fn kill(&mut self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32);
        kill(pid, signal).expect("the script runs");
        self.child.wait().expect("it is a child");
    }
}

#[test]
fn the_lock_is_held_until_the_script_ends_or_lets_go() {
    for shell in ["sh", "bash"] {
        let dir = Directory::new();
        let text = "keeper=$($RVLF hold --for $$ d.rvf) || exit
            $RVLF run -q d.rvf true; echo $?
            kill $keeper
            $RVLF run --wait 60s d.rvf echo free
            keeper=$($RVLF hold --for $$ --wait 60s d.rvf) || exit
            $RVLF run -q d.rvf true; echo $?";
        let ended = finish(script(&dir, shell, text));
        assert_eq!(ended.stdout, "75\nfree\n75\n", "{shell}: {}", ended.stderr);
        assert_eq!(ended.stderr, "", "{shell}: every hold ended by a release");
        until("the keeper has removed the lock file", || dir.is_empty());
    }
}

// A script that is killed runs no trap.
#[test]
fn a_script_that_is_killed_leaves_nothing_behind() {
    let dir = Directory::new();
    let mut script = Script::start(&dir, "read line");
    assert_eq!(dir.rvlf(&["status", "d.rvf"]).code(), 1);
    script.kill(Signal::SIGKILL);
    until("the keeper ends", || has_ended(script.keeper));
    assert!(dir.is_empty(), "the lock is released");
    drop(script.input);
}

#[test]
fn a_script_is_ended_when_its_lock_is_lost() {
    let dir = Directory::new();
    let rest = "sh -c 'trap \"\" TERM; echo $$ >child; while :; do sleep 1; done'";
    let mut script = Script::start(&dir, rest);
    until("the child runs", || dir.join("child").exists());
    let child = || fs::read_to_string(dir.join("child")).unwrap_or_default();
    until("the child has its pid", || child().ends_with('\n'));
    let child = Pid::from_raw(child().trim().parse().expect("a pid"));
    fs::remove_file(dir.join("d.rvf.lock")).expect("the lock is held");
    let status = script.child.wait().expect("it is a child");
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    assert_eq!(signal, Some(15), "the script got SIGTERM");
    until("what it has started is killed, too", || has_ended(child));
    until("the keeper ends", || has_ended(script.keeper));
}

// The list of the processes to kill was made once, before the trap.
#[test]
fn what_the_trap_of_a_script_starts_after_the_loss_is_killed_as_well() {
    let dir = Directory::new();
    let stubborn = "trap \"\" TERM; echo $$ >late; while :; do sleep 1; done";
    let rest = "trap 'sh -c \"$STUBBORN\"' TERM; echo >ready; while :; do sleep 0.05; done";
    let mut script = Script::start_with(&dir, rest, &[("STUBBORN", stubborn)]);
    until("the trap is set", || dir.join("ready").exists());
    fs::remove_file(dir.join("d.rvf.lock")).expect("the lock is held");
    let late = || fs::read_to_string(dir.join("late")).unwrap_or_default();
    until("the trap has started it", || late().ends_with('\n'));
    let late = Pid::from_raw(late().trim().parse().expect("a pid"));
    let status = script.child.wait().expect("it is a child");
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    assert_eq!(signal, Some(9), "the script waits for what it has started");
    until("the keeper ends", || has_ended(script.keeper));
    assert!(has_ended(late), "it is killed before the keeper ends");
}

#[test]
fn a_script_that_does_not_get_the_lock_is_told_by_the_status() {
    let dir = Directory::new();
    let holder = Holder::start(&dir);
    let text = "keeper=$($RVLF hold --for $$ -E 9 d.rvf) || exit; echo not reached";
    let ended = finish(script(&dir, "sh", text));
    assert_eq!((ended.code(), ended.stdout.as_str()), (9, ""));
    assert!(ended.stderr.contains("held by pid"), "{}", ended.stderr);
    holder.end();
}

// A signal that reached the keeper while it started was lost: it waited on, and held the lock later.
#[test]
fn a_hold_that_waits_ends_at_a_signal_and_leaves_no_keeper() {
    let dir = Directory::new();
    let holder = Holder::start(&dir);
    let pid = std::process::id().to_string();
    // At many moments of the keeper's start.
    for delay in 0..40 {
        let waiting = dir.start(&["hold", "--for", &pid, "--wait", "d.rvf"]);
        let hold = Pid::from_raw(waiting.id() as i32);
        until("the keeper is started", || keeper_of(hold).is_some());
        let keeper = keeper_of(hold).expect("it waits");
        std::thread::sleep(Duration::from_micros(100 * delay));
        kill(hold, Signal::SIGTERM).expect("it waits");
        let ended = output_of(waiting, "rvlf hold");
        assert_eq!(ended.code(), 128 + 15, "{delay}: {}", ended.stderr);
        assert!(has_ended(keeper), "{delay}");
    }
    holder.end();
}

// The keeper had reported that it holds the lock, the signal reached `rvlf hold` before the report did, and ended
// the keeper: the status was 0, and the script wrote without the lock. strace delays the report.
#[test]
fn a_signal_that_ends_a_keeper_before_its_report_arrives_is_the_status() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let dir = Directory::new();
        let inject = "trace=read -e inject=read:delay_exit=1000000:when=1";
        let Some(hold) = traced_hold(&dir, inject) else {
            return;
        };
        let lock_file = dir.join("d.rvf.lock");
        until("the keeper holds the lock", || lock_file.exists());
        // Less than the delay, and more than the keeper needs to write its report.
        std::thread::sleep(Duration::from_millis(300));
        kill(Pid::from_raw(hold.id() as i32), signal).expect("it waits for the report");
        let ended = output_of(hold, "rvlf hold");
        let shown = (ended.code(), ended.stdout.as_str());
        assert_eq!(shown, (128 + signal as i32, ""));
        until("the keeper has removed the lock file", || dir.is_empty());
    }
}

// The status said that there is no lock, and a keeper that no script knew of held it until the script ended.
#[test]
fn a_hold_that_is_killed_before_it_has_printed_its_keeper_holds_nothing() {
    let dir = Directory::new();
    let Some(mut hold) = traced_hold(&dir, "trace=write -e inject=write:signal=KILL:when=1") else {
        return;
    };
    let ended = hold.wait().expect("it is a child");
    assert_eq!(ended.signal(), Some(Signal::SIGKILL as i32));
    until("the keeper has removed the lock file", || dir.is_empty());
}

/// `rvlf hold` for this process under strace with faults; the keeper has no part of the output. `None` without
/// strace.
fn traced_hold(dir: &Directory, inject: &str) -> Option<Child> {
    if Command::new("strace").arg("-V").output().is_err() {
        ::support::skip("there is no strace here");
        return None;
    }
    let follow = if inject.contains("read") { "-f" } else { "" };
    let pid = std::process::id();
    let line = format!(
        "exec strace -D {follow} -qq -o /dev/null -e {inject} rvlf hold --for {pid} d.rvf 2>/dev/null"
    );
    Some(dir.sh(&line).spawn().expect("the shell starts"))
}

// The kernel sends SIGHUP and SIGCONT to a process group that has a stopped process when the last parent outside of
// the group ends: the keeper let go, and the script wrote on.
#[test]
fn a_keeper_that_is_stopped_when_its_parent_ends_holds_the_lock() {
    let dir = Directory::new();
    let holder = Holder::start(&dir);
    let pid = std::process::id();
    let line = format!("exec rvlf hold --for {pid} --wait d.rvf 2>/dev/null");
    let waiting = dir.sh(&line).spawn().expect("the shell starts");
    let hold = Pid::from_raw(waiting.id() as i32);
    until("the keeper is started", || keeper_of(hold).is_some());
    let keeper = keeper_of(hold).expect("it waits");
    kill(hold, Signal::SIGSTOP).expect("it waits");
    holder.end();
    until("the keeper holds the lock", || {
        let state = rvlf::inspect(dir.join("d.rvf")).expect("it can be read");
        let record = state.holder().and_then(|holder| holder.record());
        record.is_some_and(|record| record.pid().get() == keeper.as_raw() as u32)
    });
    // More than the keeper needs to write its report.
    std::thread::sleep(Duration::from_millis(200));
    kill(keeper, Signal::SIGSTOP).expect("it runs");
    kill(hold, Signal::SIGCONT).expect("it is stopped");
    assert_eq!(output_of(waiting, "rvlf hold").code(), 0);
    assert_holds_on(&dir, keeper);
}

/// The only child of `rvlf hold`.
fn keeper_of(hold: Pid) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{hold}/task/{hold}/children")).ok()?;
    Some(Pid::from_raw(children.trim().parse().ok()?))
}

#[test]
fn no_signal_but_sigterm_ends_a_keeper_that_can_handle_it() {
    let dir = Directory::new();
    let mut script = Script::start(&dir, "read line");
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGUSR1] {
        kill(script.keeper, signal).expect("it runs");
    }
    assert_holds_on(&dir, script.keeper);
    script.kill(Signal::SIGKILL);
}

/// Ends the keeper with SIGTERM.
fn assert_holds_on(dir: &Directory, keeper: Pid) {
    // A keeper that lets go needs less.
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(dir.rvlf(&["run", "-q", "d.rvf", "true"]).code(), 75);
    }
    kill(keeper, Signal::SIGTERM).expect("it runs");
    // The kernel continues it only if its process group has become an orphan.
    let _ = kill(keeper, Signal::SIGCONT);
    until("the keeper has removed the lock file", || dir.is_empty());
}

#[test]
fn a_lock_cannot_be_held_for_a_process_that_has_ended() {
    let dir = Directory::new();
    let mut child = Command::new("true").spawn().expect("it is installed");
    child.wait().expect("it is a child");
    let ended = dir.rvlf(&["hold", "--for", &child.id().to_string(), "d.rvf"]);
    assert_eq!(ended.code(), 125);
    assert!(ended.stderr.contains("No such process"), "{}", ended.stderr);
    assert!(dir.is_empty());
}

// A keeper that was to hold the lock for a zombie ended at once, and said nothing.
#[test]
fn a_lock_cannot_be_held_for_a_process_that_was_not_reaped() {
    let dir = Directory::new();
    let mut child = Command::new("true").spawn().expect("it is installed");
    let pid = Pid::from_raw(child.id() as i32);
    until("it is a zombie", || has_ended(pid));
    let ended = dir.rvlf(&["hold", "--for", &child.id().to_string(), "d.rvf"]);
    child.wait().expect("it is a child");
    assert_eq!(ended.code(), 125, "{}", ended.stderr);
    assert!(ended.stderr.contains("No such process"), "{}", ended.stderr);
    assert!(dir.is_empty());
}

// The message was an error of the system, and nothing else.
#[test]
fn a_keeper_that_cannot_be_started_is_reported_with_a_next_step() {
    let dir = Directory::new();
    let mut failures = 0;
    for files in 5..16 {
        let text = format!("ulimit -n {files}; exec \"$RVLF\" hold --for $$ d.rvf");
        let ended = output_of(
            script(&dir, "sh", &text).spawn().expect("it is installed"),
            "sh",
        );
        // The dynamic loader has a status of its own.
        if ended.code() == 125 {
            failures += 1;
            assert!(ended.stderr.contains("limit"), "{files}: {}", ended.stderr);
        }
    }
    assert!(failures > 0, "no limit was too low");
}

// What docs/command.md says of it.
#[test]
fn the_lock_of_a_killed_keeper_is_recovered_although_the_script_runs_on() {
    let dir = Directory::new();
    let mut script = Script::start(&dir, "read line");
    kill(script.keeper, Signal::SIGKILL).expect("the keeper runs");
    let next = dir.rvlf(&["run", "--wait", "60s", "d.rvf", "true"]);
    assert_eq!(next.code(), 0);
    assert!(next.stderr.contains("reclaimed from"), "{}", next.stderr);
    script.kill(Signal::SIGKILL);
}

// A script that ignores SIGTERM has a keeper that inherits that. It kept the lock when the script had
// ended, and no kill(1) ended it.
#[test]
fn the_keeper_of_a_script_that_ignores_signals_ends_with_the_script() {
    let dir = Directory::new();
    let text = "trap '' TERM HUP INT
        keeper=$($RVLF hold --for $$ d.rvf) || exit
        kill $keeper
        $RVLF run --wait=60s d.rvf echo free
        keeper=$($RVLF hold --for $$ --wait=60s d.rvf) || exit";
    let ended = finish(script(&dir, "sh", text));
    assert_eq!(ended.stdout, "free\n", "{}", ended.stderr);
    until("the keeper has removed the lock file", || dir.is_empty());
}

// The status said that there is no lock, and a keeper that no script knew of held it.
#[test]
fn a_hold_that_cannot_print_its_keeper_holds_nothing() {
    let dir = Directory::new();
    dir.write("d.rvf", "");
    let text = "$RVLF hold --for $$ d.rvf >/dev/full; echo $?; $RVLF status d.rvf";
    let ended = finish(script(&dir, "sh", text));
    assert_eq!(ended.stdout, "125\nd.rvf: free\n", "{}", ended.stderr);
    assert!(ended.stderr.contains("No space left"), "{}", ended.stderr);
}

// In a container the script often is PID 1. It adopts its keeper, which must not end itself when it ends
// what the script has started.
#[test]
fn the_script_of_a_container_can_hold_a_lock_and_is_ended_when_the_lock_is_lost() {
    let dir = Directory::new();
    let text = "keeper=$($RVLF hold --for $$ d.rvf) || exit
        sh -c 'trap \"\" TERM; while :; do sleep 1; done' &
        rm d.rvf.lock; wait $!; echo $?";
    if !can_run_in_container() {
        return;
    }
    let in_container = format!("exec unshare {} sh -c \"$SCRIPT\"", CONTAINER.join(" "));
    let mut command = script(&dir, "sh", &in_container);
    command.env("SCRIPT", text);
    let ended = finish(command);
    assert_eq!(ended.stdout, "137\n", "{}", ended.stderr);
}

// The keeper looked the script up in the /proc of another pid namespace, and sent no signal.
#[test]
fn a_script_without_a_proc_of_its_own_is_ended_when_its_lock_is_lost() {
    if !can_run_in_container() {
        return;
    }
    let dir = Directory::new();
    let text = "keeper=$($RVLF hold --for $$ d.rvf) || exit
        trap 'echo terminated; exit 7' TERM
        rm d.rvf.lock; for i in $(seq 300); do sleep 0.1; done; echo wrote on";
    dir.write("script", text);
    let ended = finish(script(&dir, "sh", "exec unshare --pid --fork sh ./script"));
    assert_eq!(ended.stdout, "terminated\n", "{}", ended.stderr);
}

// The keeper inherited the descriptor 9, and kept the lock that the script had let go.
#[test]
fn the_keeper_keeps_no_other_lock_of_the_script() {
    let dir = Directory::new();
    dir.write("outer.rvf", "");
    let text = "exec 9>other; flock 9
        keeper=$($RVLF hold --for $$ d.rvf) || exit
        exec 9>&-; flock -n other echo free
        $RVLF run outer.rvf sh -c '$RVLF hold --for $1 inner.rvf >/dev/null' sh $$
        $RVLF status outer.rvf";
    let ended = finish(script(&dir, "bash", text));
    assert_eq!(ended.stdout, "free\nouter.rvf: free\n", "{}", ended.stderr);
}
