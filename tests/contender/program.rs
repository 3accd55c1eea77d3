//! Tries a lock on any file system, from several processes, mounts and hosts.
//!
//! ```text
//! contender try PATH            one attempt: acquired (0), held (1), not a lock (4), error (5)
//! contender again PATH          two attempts of one process, of which the first must fail
//! contender hold PATH..         hold until standard input ends, then report whether all locks were kept; a loss
//!                               is reported at once
//! contender race ROUNDS PATH..  16 processes, spread over the PATHs of one file, one after another
//! contender crash ROUNDS PATH.. the same, and every eighth hold ends with the process's death
//! contender audit LOG..         do any two holds in the logs of `race` overlap?
//! contender rounds ROUNDS PATH WITNESS NAME           holds that are reported to a witness
//! contender unlocked-rounds ROUNDS PATH WITNESS NAME  the same with a lock that does not exclude
//! contender table SECONDS TABLE..  8 processes share a table, spread over its TABLEs, and are killed (on Linux)
//! contender keep|keep-blindly PATH WITNESS NAME       one such hold, with writes, until the witness ends it
//! ```
//!
//! `RVLF_STALE_AFTER=SECONDS` shortens the ages after which a silent holder is judged dead, and the
//! intervals of refreshes. `scripts/filesystems.sh` runs this program on each file system, `scripts/hosts.sh`
//! on several machines.

use std::error::Error;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use rvlf::{AcquireError, HoldError, LockOptions, StalePolicy, WriterLock};
use support::monotonic_ns;

use super::witness::{self, Witness};
use crate::holds::{Audit, Log, audit};

pub(crate) type Fallible<T> = Result<T, Box<dyn Error>>;

const CONTENDERS: usize = 16;

/// The limit of one wait, longer than every age rule.
const PATIENCE: Duration = Duration::from_secs(400);

pub(crate) fn run() -> Fallible<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    #[cfg(target_os = "linux")]
    if let Some(ended) = crate::soak::run(&arguments) {
        return ended;
    }
    match arguments.as_slice() {
        ["try", path] => Ok(attempt(Path::new(path)).into()),
        ["again", path] => again(Path::new(path)),
        ["hold", paths @ ..] if !paths.is_empty() => hold(paths),
        [mode @ ("race" | "crash"), rounds, paths @ ..] if !paths.is_empty() => {
            race(mode, rounds.parse()?, paths)
        }
        ["contend", mode, rounds, path, log] => {
            contend(*mode == "crash", rounds.parse()?, Path::new(path), log)
        }
        [
            mode @ ("rounds" | "unlocked-rounds"),
            rounds,
            path,
            address,
            name,
        ] => {
            let witness = Witness::connect(address, name)?;
            match *mode {
                "rounds" => witness::rounds(rounds.parse()?, Path::new(path), &options(), &witness),
                _ => witness::unlocked_rounds(rounds.parse()?, Path::new(path), &witness),
            }
        }
        [mode @ ("keep" | "keep-blindly"), path, address, name] => {
            let witness = Witness::connect(address, name)?;
            let blind = *mode == "keep-blindly";
            witness::keep(Path::new(path), options(), blind, &witness, name)
        }
        #[cfg(target_os = "linux")]
        ["table", seconds, tables @ ..] if !tables.is_empty() => {
            crate::table::race(seconds.parse()?, tables)
        }
        #[cfg(target_os = "linux")]
        ["table-worker", table, dir] => crate::table::work(Path::new(table), Path::new(dir)),
        ["audit", logs @ ..] => {
            let logs: Vec<PathBuf> = logs.iter().map(PathBuf::from).collect();
            report(&logs)
        }
        _ => Err("unknown arguments: see the head of tests/contender/program.rs".into()),
    }
}

fn options() -> LockOptions {
    let stale_after = std::env::var("RVLF_STALE_AFTER").ok();
    match stale_after.and_then(|seconds| seconds.parse().ok()) {
        None => WriterLock::options(),
        Some(seconds) => {
            let age = Duration::from_secs(seconds);
            let policy = StalePolicy::new()
                .with_same_host_age(age)
                .with_cross_host_age(age);
            let keepalive = Some(age / 4);
            WriterLock::options()
                .stale_policy(policy)
                .keepalive(keepalive)
        }
    }
}

/// One attempt, and its exit status.
fn attempt(path: &Path) -> u8 {
    match options().try_acquire(path) {
        Ok(lock) => {
            let reclaimed = lock.reclaimed().is_some();
            println!("acquired{}", if reclaimed { ", reclaimed" } else { "" });
            0
        }
        Err(error) => {
            println!("{error}");
            match error {
                _ if error.is_held() => 1,
                AcquireError::Foreign { .. } | AcquireError::UnsupportedVersion { .. } => 4,
                _ => 5,
            }
        }
    }
}

fn again(path: &Path) -> Fallible<ExitCode> {
    if attempt(path) == 0 {
        return Err("the first attempt did not fail".into());
    }
    Ok(attempt(path).into())
}

fn hold(paths: &[&str]) -> Fallible<ExitCode> {
    let options = options().on_lost(|lost| println!("noticed: {lost}"));
    let acquire = |path: &&str| options.acquire(path, PATIENCE);
    let locks = paths.iter().map(acquire).collect::<Result<Vec<_>, _>>()?;
    let first = locks.first().ok_or("a path is named")?;
    println!("held {} {}", first.record().pid(), first.writer_id());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let lost = locks.iter().find_map(|lock| lock.check().err());
    println!(
        "{}",
        lost.map_or("kept".to_owned(), |lost| lost.to_string())
    );
    for lock in locks {
        lock.release()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts the contenders at once, replaces those that died, and audits their logs.
fn race(mode: &str, rounds: u32, paths: &[&str]) -> Fallible<ExitCode> {
    let dir = tempfile::Builder::new().prefix("rvlf-test-").tempdir()?;
    let start = |number: usize, path: &str, generation: u32| -> Fallible<(PathBuf, Child)> {
        let log = dir.path().join(format!("{number}.{generation}"));
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["contend", mode, &rounds.to_string(), path]);
        let child = command.arg(&log).stdout(Stdio::null()).spawn()?;
        Ok((log, child))
    };
    let mut logs = Vec::new();
    let mut deaths = 0;
    let began = monotonic_ns();
    let mut running = Vec::new();
    for (number, path) in paths.iter().cycle().enumerate().take(CONTENDERS) {
        let (log, child) = start(number, path, 0)?;
        logs.push(log);
        running.push((number, *path, child));
    }
    while let Some((number, path, mut child)) = running.pop() {
        use std::os::unix::process::ExitStatusExt;
        let status = child.wait()?;
        if status.signal().is_some() && logs.len() < CONTENDERS * 3 {
            deaths += 1;
            let (log, child) = start(number, path, deaths)?;
            logs.push(log);
            running.push((number, path, child));
        } else if !status.success() && status.signal().is_none() {
            return Err(format!("a contender failed: {status}").into());
        }
    }
    print!(
        "{:.1} s, {deaths} deaths replaced, ",
        (monotonic_ns() - began) as f64 / 1e9
    );
    report(&logs)
}

/// Acquires, holds for 100 us and releases, `rounds` times. Logs the begin and the end of each hold.
fn contend(crashes: bool, rounds: u32, path: &Path, log: &str) -> Fallible<ExitCode> {
    let mut log = Log::create(Path::new(log))?;
    for round in 1..=rounds {
        let lock = options().acquire(path, PATIENCE)?;
        let hold = log.begin(lock.reclaimed().is_some())?;
        hold.last(Duration::from_micros(100))?;
        if crashes && (round + std::process::id()) % 8 == 0 {
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL)?;
        }
        match lock.release() {
            Err(error) if matches!(error.error, HoldError::Lost(_)) => hold.lost()?,
            released => drop(released?),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn report(logs: &[PathBuf]) -> Fallible<ExitCode> {
    let Audit {
        holds,
        overlaps,
        lost,
        ..
    } = audit(logs)?;
    println!("{holds} holds, {overlaps} overlaps, {lost} lost");
    Ok(if overlaps == 0 && lost == 0 && holds > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
