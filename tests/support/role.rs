//! A child process: it runs a role, takes commands on its standard input and reports on its standard
//! output.
//!
//! A child process is the test's own binary, started with an environment variable that names the role.
//! Commands are lines; reports are lines that begin with `@`, because the test harness writes to the
//! same stream. A role ends with the test that started it.

use std::env;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use rvlf::{AcquireError, WriterLock};

use crate::records::break_stale;
use crate::{PATIENCE, container};

pub(crate) const ROLE: &str = "RVLF_TEST_ROLE";

/// A role's name and what its process does.
pub type RoleEntry = (&'static str, fn());

/// The body of the test `child_role`: does nothing unless this process was started for a role.
pub fn run_role(roles: &[RoleEntry]) {
    let Ok(name) = env::var(ROLE) else { return };
    die_with_the_parent();
    if arg_or("MOUNT_PROC", "") == "yes" {
        container::mount_procfs();
    }
    let common: [RoleEntry; 2] = [
        ("namespaced", container::enter_namespaces),
        ("worker", worker),
    ];
    let mut all = roles.iter().chain(&common);
    let (_, role) = all
        .find(|(known, _)| *known == name)
        .expect("tests start only roles that exist");
    role();
    std::process::exit(0);
}

/// A test that fails must leave no holder behind.
pub fn die_with_the_parent() {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).expect("SIGKILL is a signal");
}

/// Sends a report to the parent.
pub fn report(text: impl std::fmt::Display) {
    // The harness may have left an unfinished line.
    let line = format!("\n@{text}\n");
    let mut out = std::io::stdout().lock();
    // If the parent is dead, this process is about to be killed as well.
    let _ = out.write_all(line.as_bytes());
    let _ = out.flush();
}

/// The parent's next command. Ends the process if the parent is dead.
pub fn next_command() -> String {
    let mut line = String::new();
    match std::io::stdin().read_line(&mut line) {
        Ok(n) if n > 0 => line.trim_end().to_owned(),
        _ => std::process::exit(0),
    }
}

/// An argument of the role; [`Role::with`](crate::Role::with) sets it.
pub fn arg(key: &str) -> OsString {
    env::var_os(variable(key)).expect("the test passes what the role needs")
}

pub fn arg_or(key: &str, default: &str) -> String {
    let value = env::var_os(variable(key)).and_then(|value| value.into_string().ok());
    value.unwrap_or_else(|| default.to_owned())
}

pub fn number(key: &str) -> u64 {
    let text = arg(key).into_string().expect("numbers are ASCII");
    text.parse().expect("the test passes a number")
}

/// The environment variable of an argument.
pub(crate) fn variable(key: &str) -> String {
    format!("RVLF_TEST_{key}")
}

/// The processes that share the kernel lock, as this process sees them.
pub fn locked_by(data: &Path) -> String {
    let file = rvlf::LockFile::open(data).expect("the directory exists");
    let found = file.locked_by().expect("procfs is mounted");
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    found.join(", ")
}

/// A holder or contender of the lock of the data file `DATA` that does what its test commands.
pub fn worker() {
    let data = PathBuf::from(arg("DATA"));
    let mut held = None;
    report("ready");
    loop {
        match next_command().as_str() {
            "try" => report(keep(WriterLock::try_acquire(&data), &mut held)),
            "acquire" => report(keep(WriterLock::acquire(&data, PATIENCE), &mut held)),
            "inspect" => report(format_args!("{:?}", rvlf::inspect(&data))),
            "locked by" => report(locked_by(&data)),
            "break" => report(match break_stale(&data) {
                Ok(removed) => format!("broken {}", removed.is_some()),
                Err(error) => format!("error {error}"),
            }),
            "check" => match held.as_ref().map(WriterLock::check) {
                Some(outcome) => report(format_args!("{outcome:?}")),
                None => report("nothing held"),
            },
            "refresh" => match held.as_ref().map(WriterLock::refresh) {
                Some(Ok(())) => report("refreshed"),
                Some(Err(error)) => report(format_args!("not refreshed: {error}")),
                None => report("nothing held"),
            },
            "release" => match held.take().map(WriterLock::release) {
                Some(Ok(_)) => report("released"),
                Some(Err(error)) => report(format_args!("not released: {error}")),
                None => report("nothing held"),
            },
            command => panic!("no such command: {command}"),
        }
    }
}

fn keep(outcome: Result<WriterLock, AcquireError>, held: &mut Option<WriterLock>) -> String {
    let text = describe(&outcome);
    if let Ok(lock) = outcome {
        *held = Some(lock);
    }
    text
}

/// An outcome in one word and its detail: `got`, `held`, `timeout` or `error`.
pub fn describe(outcome: &Result<WriterLock, AcquireError>) -> String {
    match outcome {
        Ok(lock) => match lock.reclaimed().and_then(|reclaimed| reclaimed.record) {
            Some(record) => format!("got {} from {}", lock.writer_id(), record.writer_id()),
            None => format!("got {}", lock.writer_id()),
        },
        Err(AcquireError::Held { holder, .. }) => format!("held {:?}", holder.verdict().reason()),
        Err(AcquireError::Timeout { holder, .. }) => {
            format!("timeout {:?}", holder.verdict().reason())
        }
        Err(error) => format!("error {error}"),
    }
}
