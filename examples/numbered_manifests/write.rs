//! A writer: acquires the lock, claims the row, commits, cleans up, releases.

use std::error::Error;
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, raise};
use rvlf::{LockFile, LockOptions, Lost, StalePolicy, WriterLock};

use crate::mount::Mount;
use crate::row::{NotAcknowledged, Row};

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Part of the format: the same in every writer. A program that commits often would take a thousand.
const BLOCK_LEN: u64 = 8;

/// What a writer has to do.
pub struct Task {
    pub commits: u32,
    /// Stops itself before this commit, at the worst moment: everything is checked.
    pub stop_before: Option<u32>,
}

impl Task {
    fn before(&self, commit: u32) -> Result<()> {
        if self.stop_before == Some(commit) {
            println!("stopped");
            raise(Signal::SIGSTOP)?;
        }
        Ok(())
    }
}

/// The lock of the log. A lock that stays held is taken by force, as another host would take it by age.
pub fn acquire(dir: &Path) -> Result<WriterLock> {
    let age = stale_after()?;
    let policy = StalePolicy::new()
        .with_same_host_age(age)
        .with_cross_host_age(age);
    let options = LockOptions::new()
        .stale_policy(policy)
        .keepalive(Some(age / 4));
    let lock = LockFile::with_options(dir.join("log"), options)?;
    match lock.acquire(age * 3) {
        // flock(2) shows that the holder lives: one kernel, or a mount that shares flock.
        Err(error) if error.is_held() => {
            let record = error.holder().and_then(|holder| holder.record());
            let record = record.ok_or("the record of the holder cannot be read")?;
            lock.force_break(record.writer_id())?;
            Ok(lock.acquire(age * 3)?)
        }
        outcome => Ok(outcome?),
    }
}

/// Instead of 300 s, so that the demonstration ends. A slow mount needs more than the default.
fn stale_after() -> Result<Duration> {
    match std::env::var("RVLF_STALE_AFTER") {
        Ok(seconds) => Ok(Duration::from_secs(seconds.parse()?)),
        Err(_) => Ok(Duration::from_secs(1)),
    }
}

/// Appends entries and reports each one that is acknowledged. A commit that is refused is reported.
pub fn fenced(dir: &Path, task: &Task) -> Result<()> {
    let lock = acquire(dir)?;
    let outcome = commit(dir, &lock, task);
    end(lock, outcome)
}

/// Reports a refusal, and releases the lock, which a writer that was refused has lost.
fn end(lock: WriterLock, outcome: Result<()>) -> Result<()> {
    match outcome {
        Err(error) if error.is::<NotAcknowledged>() || error.is::<Lost>() => {
            println!("refused {error}");
            Ok(())
        }
        Err(error) => Err(error),
        Ok(()) => {
            lock.release()?;
            Ok(())
        }
    }
}

fn commit(dir: &Path, lock: &WriterLock, task: &Task) -> Result<()> {
    let row = Row {
        directory: Mount::new(dir, lock.writer_id()),
        block_len: BLOCK_LEN,
    };
    let mut hold = row.claim(lock.writer_id())?;
    for number in 1..=task.commits {
        let mut log = match hold.newest().data {
            Some(data) => row.directory.read_data(data)?,
            None => String::new(),
        };
        let entry = append(&mut log, number);
        let data = hold.next_data();
        row.directory.write_data(data, &log)?;
        // Saves a writer that has lost the lock the attempt. The fence is the commit.
        lock.check()?;
        task.before(number)?;
        hold = hold.commit(data)?;
        println!("acknowledged {entry}");
    }
    // Not in every hold: a listing costs more than a commit.
    if u64::from(task.commits) > BLOCK_LEN {
        hold.clean_up()?;
        row.directory.remove_private_files()?;
    }
    Ok(())
}

/// The log as its newest manifest names it. The claim makes the reader see the newest.
pub fn read_fenced(dir: &Path) -> Result<String> {
    let lock = acquire(dir)?;
    let row = Row {
        directory: Mount::new(dir, lock.writer_id()),
        block_len: BLOCK_LEN,
    };
    let hold = row.claim(lock.writer_id())?;
    let log = match hold.newest().data {
        Some(data) => row.directory.read_data(data)?,
        None => String::new(),
    };
    lock.release()?;
    Ok(log)
}

/// The same without the row: the lock and its check are all that protects the log.
pub fn in_place(dir: &Path, task: &Task) -> Result<()> {
    let lock = acquire(dir)?;
    let outcome = overwrite(dir, &lock, task);
    end(lock, outcome)
}

fn overwrite(dir: &Path, lock: &WriterLock, task: &Task) -> Result<()> {
    for number in 1..=task.commits {
        let mut log = read_in_place(dir)?;
        let entry = append(&mut log, number);
        lock.check()?;
        task.before(number)?;
        fs::write(dir.join("log"), &log)?;
        File::open(dir.join("log"))?.sync_all()?;
        println!("acknowledged {entry}");
    }
    Ok(())
}

pub fn read_in_place(dir: &Path) -> Result<String> {
    match fs::read_to_string(dir.join("log")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        outcome => Ok(outcome?),
    }
}

fn append(log: &mut String, number: u32) -> String {
    let entry = format!("{}-{number}", std::process::id());
    log.push_str(&entry);
    log.push('\n');
    entry
}
