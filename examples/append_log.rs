//! Several processes append to one log, some are killed while they write, then the log is audited.
//!
//! ```sh
//! cargo run --example append_log
//! ```
//!
//! [`append`] is what a program of yours would do: acquire, recover, write, check, commit, release.

use std::error::Error;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rvlf::WriterLock;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const WRITERS: usize = 4;
const KILLS: usize = 20;

/// Appends one entry and returns its number. The line feed at its end commits an entry.
fn append(path: &Path) -> Result<usize> {
    let lock = WriterLock::acquire(path, Duration::from_secs(30))?;
    let mut options = File::options();
    let mut log = options.read(true).append(true).create(true).open(path)?;
    if let Some(dead) = lock.reclaimed() {
        eprintln!("pid {}: recovering after {dead}", std::process::id());
    }
    let number = recover(&mut log)? + 1;
    write!(log, "{number} written by pid {}", std::process::id())?;
    // A slow disk: a kill then leaves an unfinished entry.
    std::thread::sleep(Duration::from_millis(2));
    // Right before the commit: an operator may have removed the lock.
    lock.check()?;
    writeln!(log, ", committed")?;
    log.sync_data()?;
    lock.release()?;
    Ok(number)
}

/// Cuts off the entry that a killed writer did not commit, and returns the number of entries. A
/// program with a long log would read its last entry alone.
fn recover(log: &mut File) -> Result<usize> {
    let mut text = String::new();
    log.read_to_string(&mut text)?;
    let committed = text.rfind('\n').map_or(0, |last| last + 1);
    log.set_len(committed as u64)?;
    Ok(text.matches('\n').count())
}

/// Starts this program as a writer, which reports each entry that it has committed.
fn start_writer(path: &Path) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    Ok(command.arg(path).stdout(Stdio::piped()).spawn()?)
}

/// Kills a writer at any moment of its work. Returns the numbers of the entries that it committed.
fn kill(mut writer: Child) -> Result<Vec<usize>> {
    let pid = writer.id();
    writer.kill()?;
    let output = String::from_utf8(writer.wait_with_output()?.stdout)?;
    let numbers = output.lines().map(str::parse);
    let committed = numbers.collect::<std::result::Result<Vec<_>, _>>()?;
    println!(
        "pid {pid} was killed; entries that it committed: {}",
        committed.len()
    );
    Ok(committed)
}

fn demonstrate() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("journal.log");
    let mut committed = Vec::new();
    let mut writers = Vec::new();
    for _ in 0..KILLS {
        while writers.len() < WRITERS {
            writers.push(start_writer(&path)?);
        }
        std::thread::sleep(Duration::from_millis(50));
        committed.extend(kill(writers.remove(0))?);
    }
    for writer in writers {
        committed.extend(kill(writer)?);
    }
    // No process is left: this one recovers what the last victim did not finish.
    committed.push(append(&path)?);
    audit(&path, &committed)
}

/// Every entry is whole and has the next number, and no committed entry is missing.
fn audit(path: &Path, committed: &[usize]) -> Result<()> {
    let log = fs::read_to_string(path)?;
    for (line, number) in log.lines().zip(1..) {
        let rest = line.strip_prefix(&format!("{number} written by pid "));
        let pid = rest.and_then(|rest| rest.strip_suffix(", committed"));
        if pid.is_none_or(|pid| pid.parse::<u32>().is_err()) {
            return Err(format!("entry {number} is damaged: {line}").into());
        }
    }
    let entries = log.lines().count();
    let last = committed.iter().max().copied().unwrap_or(0);
    assert!(last <= entries, "entry {last} was committed and is lost");
    println!("{entries} entries, all whole and in order; nothing that was committed is lost");
    Ok(())
}

fn main() -> Result<()> {
    match std::env::args_os().nth(1) {
        // A writer appends until it is killed.
        Some(path) => loop {
            println!("{}", append(Path::new(&path))?);
        },
        None => demonstrate(),
    }
}
