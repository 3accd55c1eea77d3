//! The allocation table on any file system, from several processes and mounts.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use support::Rng;
use support::table_worker::{self, TableWorker};

use crate::program::Fallible;

const WORKERS: usize = 8;

/// The longest pause of a worker between two operations. The narrower, the more often one process reads while
/// another one saves.
const PAUSE: Duration = Duration::from_millis(2);

/// How often one of the workers is killed, on the average.
const KILL_EVERY: Duration = Duration::from_millis(500);

/// Runs workers for `seconds`, spread over the `paths` of one table, and kills some. Prints how often each
/// operation was done. Fails if a promise was broken: a piece had two holders, `check` reported a loss to a
/// holder, or a call failed.
pub(crate) fn race(seconds: u64, paths: &[&str]) -> Fallible<ExitCode> {
    let dir = tempfile::Builder::new().prefix("rvlf-test-").tempdir()?;
    fs::create_dir(dir.path().join("pieces"))?;
    let log = dir.path().join("log");
    File::create_new(&log)?;
    let start = |path: &str| -> Fallible<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["table-worker", path]).arg(dir.path());
        Ok(command.stdin(Stdio::null()).spawn()?)
    };
    let mut workers = Vec::new();
    for path in paths.iter().cycle().take(WORKERS) {
        workers.push((*path, start(path)?));
    }
    let mut rng = Rng::new();
    let mut kills = 0;
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        std::thread::sleep(rng.micros(2 * 1_000 * u64::try_from(KILL_EVERY.as_millis())?));
        // A worker that has found a broken promise has ended, with a line in the log.
        let chosen = usize::try_from(rng.below(WORKERS as u64))?;
        let (path, worker) = workers.get_mut(chosen).ok_or("a number below theirs")?;
        end_worker(worker)?;
        *worker = start(path)?;
        kills += 1;
    }
    for (_, worker) in &mut workers {
        end_worker(worker)?;
    }
    let counts = table_worker::counts(fs::read_to_string(&log)?.lines());
    println!("{kills} kills, {counts:?}");
    let is_broken = counts.keys().any(|line| line.starts_with("VIOLATION"));
    let is_empty = !counts.contains_key("release");
    Ok(ExitCode::from(u8::from(is_broken || is_empty)))
}

fn end_worker(worker: &mut Child) -> Fallible<()> {
    worker.kill()?;
    worker.wait()?;
    Ok(())
}

/// Registers, delegates, adopts and releases until it is killed. `dir` is that of the race.
pub(crate) fn work(table: &Path, dir: &Path) -> ! {
    support::die_with_the_parent();
    TableWorker::new(table.into(), dir.join("pieces"), &dir.join("log")).work(PAUSE)
}
