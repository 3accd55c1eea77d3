//! Starts writers, kills them, stops them while another one works, and audits the log.

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::write::{self, Result, Task};

const KILLS: u32 = 12;
const WRITERS: usize = 3;

/// What other writers commit while one is stopped: a little, and so much that its number is freed.
const WHILE_STOPPED: [u32; 4] = [1, 40, 2, 40];

pub fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (options, words): (Vec<_>, Vec<_>) =
        arguments.iter().partition(|word| word.starts_with("--"));
    let fenced = options.is_empty();
    match words.as_slice() {
        // A writer.
        [dir, commits, stop_before] => {
            let task = Task {
                commits: commits.parse()?,
                stop_before: stop_before.parse().ok(),
            };
            let write = if fenced {
                write::fenced
            } else {
                write::in_place
            };
            write(Path::new(dir.as_str()), &task)
        }
        [] => {
            let dir = tempfile::tempdir()?;
            demonstrate(fenced, &[dir.path().to_owned()])
        }
        dirs => {
            let dirs: Vec<PathBuf> = dirs.iter().map(PathBuf::from).collect();
            demonstrate(fenced, &dirs)
        }
    }
}

fn demonstrate(fenced: bool, dirs: &[PathBuf]) -> Result<()> {
    let (Some(first), Some(last)) = (dirs.first(), dirs.last()) else {
        return Err("no directory".into());
    };
    let mut outcomes = Vec::new();
    // Without the row a kill in the middle of a write would also damage the log.
    if fenced {
        outcomes.extend(kill_writers(dirs)?);
    }
    for commits in WHILE_STOPPED {
        let mut stopped = Writer::start(fenced, first, 3, Some(2))?;
        stopped.wait_until_stopped()?;
        let other = Writer::start(fenced, last, commits, None)?.finish()?;
        if other.acknowledged.len() != commits as usize {
            return Err(format!("the other writer was refused: {:?}", other.refused).into());
        }
        kill(stopped.pid()?, Signal::SIGCONT)?;
        let outcome = stopped.finish()?;
        let refused = outcome.refused.as_deref();
        println!(
            "a writer was stopped before its second commit while another made {commits}; then it was {}",
            match (outcome.acknowledged.len(), refused) {
                (1, Some(why)) => format!("refused: {why}"),
                _ => "acknowledged".to_owned(),
            }
        );
        outcomes.extend([other, outcome]);
    }
    audit(fenced, last, &outcomes)
}

/// Kills writers at any moment of their work.
fn kill_writers(dirs: &[PathBuf]) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    let mut writers = Vec::new();
    let mut dirs = dirs.iter().cycle();
    for round in 0..KILLS {
        while writers.len() < WRITERS {
            let dir = dirs.next().ok_or("no directory")?;
            writers.push(Writer::start(true, dir, 20, None)?);
        }
        std::thread::sleep(Duration::from_millis(40 + u64::from(round * 37 % 90)));
        let mut writer = writers.remove(0);
        writer.child.kill()?;
        outcomes.push(writer.finish()?);
    }
    for writer in writers {
        outcomes.push(writer.finish()?);
    }
    let acknowledged: usize = outcomes
        .iter()
        .map(|outcome| outcome.acknowledged.len())
        .sum();
    println!("{KILLS} writers were killed; entries acknowledged: {acknowledged}");
    Ok(outcomes)
}

/// What was acknowledged must be in the log once; with the row everything, without it not everything.
fn audit(fenced: bool, dir: &Path, outcomes: &[Outcome]) -> Result<()> {
    let log = if fenced {
        write::read_fenced(dir)?
    } else {
        write::read_in_place(dir)?
    };
    let acknowledged: Vec<&String> = outcomes
        .iter()
        .flat_map(|outcome| &outcome.acknowledged)
        .collect();
    let times = |entry: &str| log.lines().filter(|line| *line == entry).count();
    let lost = acknowledged
        .iter()
        .filter(|entry| times(entry) == 0)
        .count();
    let twice = acknowledged.iter().filter(|entry| times(entry) > 1).count();
    println!(
        "acknowledged: {}, lost: {lost}, twice: {twice}",
        acknowledged.len()
    );
    let refusals: Vec<&String> = outcomes
        .iter()
        .filter_map(|outcome| outcome.refused.as_ref())
        .collect();
    let refused = |why: &str| refusals.iter().any(|refusal| refusal.contains(why));
    match fenced {
        true if lost + twice > 0 => Err("an acknowledged entry is lost or there twice".into()),
        true if !refused("of another writer") || !refused("retired") => {
            Err(format!("no late commit was refused in both ways: {refusals:?}").into())
        }
        false if lost == 0 => Err("nothing was lost without the row".into()),
        _ => Ok(()),
    }
}

/// What a writer reported until it ended.
#[derive(Default)]
struct Outcome {
    acknowledged: Vec<String>,
    refused: Option<String>,
}

struct Writer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    outcome: Outcome,
}

impl Writer {
    /// Starts this program as a writer.
    fn start(fenced: bool, dir: &Path, commits: u32, stop_before: Option<u32>) -> Result<Writer> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args((!fenced).then_some("--in-place")).arg(dir);
        command.arg(commits.to_string());
        command.arg(stop_before.map_or("never".to_owned(), |number| number.to_string()));
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("the output is a pipe")?;
        Ok(Writer {
            child,
            lines: BufReader::new(output).lines(),
            outcome: Outcome::default(),
        })
    }

    fn pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(self.child.id().try_into()?))
    }

    fn wait_until_stopped(&mut self) -> Result<()> {
        if !self.read_until("stopped")? {
            return Err(format!("not stopped: {:?}", self.outcome.refused).into());
        }
        waitpid(self.pid()?, Some(WaitPidFlag::WUNTRACED))?;
        Ok(())
    }

    fn finish(mut self) -> Result<Outcome> {
        self.read_until("never printed")?;
        self.child.wait()?;
        Ok(std::mem::take(&mut self.outcome))
    }

    fn read_until(&mut self, end: &str) -> Result<bool> {
        for line in &mut self.lines {
            let line = line?;
            if line == end {
                return Ok(true);
            }
            match line.split_once(' ') {
                Some(("acknowledged", entry)) => self.outcome.acknowledged.push(entry.to_owned()),
                Some(("refused", why)) => self.outcome.refused = Some(why.to_owned()),
                _ => return Err(format!("unexpected: {line}").into()),
            }
        }
        Ok(false)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
