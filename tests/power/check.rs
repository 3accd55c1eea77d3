//! What must be there after a cut of power, by the notes of the writers.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rvlf::table::{TableGuard, snapshot};
use rvlf::{LockState, Record, WriterLock, inspect};

use super::program::Fallible;
use super::write::PUBLISHES;

/// The limit of one wait: longer than a torn record is left alone.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a check ended, or what is missing.
type Outcome = Result<&'static str, String>;

type Check = fn(&Path, &Notes<'_>) -> Outcome;

/// The checks beside those of the locks.
const CHECKS: [(&str, Check); 5] = [
    ("data", entries),
    ("table", table),
    ("control-table", table),
    ("log", log),
    ("control-log", log),
];

/// The notes about one item since the directory was emptied.
struct Notes<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Notes<'a> {
    fn new(text: &'a str, name: &str, item: &str) -> Notes<'a> {
        let of_name = text.lines().filter_map(|line| {
            let (of, rest) = line.split_once(' ')?;
            (of == name).then_some(rest)
        });
        let mut notes = Vec::new();
        for note in of_name {
            match note.split(' ').collect::<Vec<_>>().as_slice() {
                [_, "emptied"] => notes.clear(),
                [of, event, what] if *of == item => notes.push((*event, *what)),
                _ => {}
            }
        }
        Notes(notes)
    }

    /// What has begun by one of the events `begins` and was not ended by a later one.
    fn lasting(&self, begins: &[&str]) -> Vec<&'a str> {
        let mut lasting = Vec::new();
        for (event, what) in &self.0 {
            match begins.contains(event) {
                true => lasting.push(*what),
                false => lasting.retain(|begun| begun != what),
            }
        }
        lasting
    }

    /// The last note about a hold.
    fn last_of(&self, what: &str) -> Option<&'a str> {
        let mut notes = self.0.iter().rev();
        notes.find_map(|(event, of)| (*of == what).then_some(*event))
    }

    fn committed(&self) -> usize {
        let numbers = self.0.iter().filter_map(|(_, number)| number.parse().ok());
        numbers.max().unwrap_or(0)
    }
}

/// Prints how each check ended.
pub(crate) fn all(dir: &Path, name: &str) -> Fallible<ExitCode> {
    let mut notes = Vec::new();
    std::io::stdin().read_to_end(&mut notes)?;
    let notes = String::from_utf8(notes)?;
    let notes = notes.trim_end_matches('\0');
    let mut broken = false;
    let mut print = |item: &str, outcome: Outcome| match outcome {
        Ok(outcome) => println!("power | {name} | {item} | kept | {outcome}"),
        Err(what) => {
            broken = true;
            println!("power | {name} | {item} | BROKEN | {what}");
        }
    };
    for item in ["lock", "control-lock"] {
        match recover(&dir.join(item)) {
            Ok((state, usable)) => {
                print(&format!("usable-{item}"), Ok(usable));
                print(item, promised(&state, &Notes::new(notes, name, item)));
            }
            Err(what) => print(&format!("usable-{item}"), Err(what)),
        }
    }
    for (item, check) in CHECKS {
        print(item, check(&dir.join(item), &Notes::new(notes, name, item)));
    }
    Ok(ExitCode::from(u8::from(broken)))
}

/// With any durability the next contender acquires the lock, and its guard names the dead holder whose record
/// is there.
fn recover(path: &Path) -> Result<(LockState, &'static str), String> {
    let state = inspect(path).map_err(|error| format!("cannot be read: {error}"))?;
    let lock = WriterLock::acquire(path, PATIENCE);
    let lock = lock.map_err(|error| format!("cannot be acquired: {error}"))?;
    let reported = lock.reclaimed();
    lock.release()
        .map_err(|error| format!("cannot be released: {error}"))?;
    let outcome = match (&state, reported) {
        (LockState::Free, None) => "free",
        (LockState::Stale(_), Some(dead)) if same(dead.record, found(&state)) => {
            "stale, and its record was reported"
        }
        (LockState::Malformed(_), Some(dead)) if dead.record.is_none() => {
            "torn, and reported without a record"
        }
        _ => return Err(format!("is {}, and reported as {reported:?}", state.code())),
    };
    Ok((state, outcome))
}

/// The lock that was handed out was there.
fn promised(state: &LockState, notes: &Notes<'_>) -> Outcome {
    let found = found(state).map(|record| record.writer_id().to_string());
    match notes.lasting(&PUBLISHES).as_slice() {
        [] => {}
        [held] if found.as_deref() == Some(*held) => {
            return Ok(match notes.last_of(held) {
                Some("private") => "held, and there: published by a private name",
                Some("created") => "held, and there: created exclusively",
                _ => "held, and there: linked",
            });
        }
        [_] => return Err(format!("was held, and is {}", state.code())),
        several => return Err(format!("has {} holders", several.len())),
    }
    let Some(found) = found else {
        return Ok("not held: free, or the torn record of a publish that had not returned");
    };
    Ok(match notes.last_of(&found) {
        None => "not held: the record of a publish that had not returned",
        Some("dying") => "not held: the record of a holder that had died before",
        Some(_) => "not held: released, and back",
    })
}

fn found(state: &LockState) -> Option<Record> {
    state.holder().and_then(|holder| holder.record()).copied()
}

fn same(one: Option<Record>, other: Option<Record>) -> bool {
    one.map(|record| record.writer_id()) == other.map(|record| record.writer_id())
}

/// The table is whole, every entry is there whose save has returned, all are dead, and the table can be used.
fn table(path: &Path, notes: &Notes<'_>) -> Outcome {
    let found = snapshot(path).map_err(|error| format!("is torn: {error}"))?;
    let expected = notes.lasting(&["registered"]);
    let lost = expected
        .iter()
        .find(|name| found.table.find(name).is_none());
    if let Some(lost) = lost {
        return Err(format!("has lost the entry {lost}"));
    }
    if let Some((entry, liveness)) = found.entries().find(|(_, liveness)| !liveness.is_dead()) {
        return Err(format!(
            "has an entry that is not dead: {entry}: {liveness}"
        ));
    }
    if let Some(problem) = found.table.problems().first() {
        return Err(format!("has a problem: {problem}"));
    }
    let reclaimed = TableGuard::open(path, PATIENCE).and_then(|mut guard| {
        guard.reclaim_stale();
        guard.save()
    });
    reclaimed.map_err(|error| format!("cannot be used: {error}"))?;
    Ok(match expected.is_empty() {
        true => "whole, with no entry that had to be there",
        false => "whole, with every entry that had to be there",
    })
}

/// As [`entries`], after one more append by the example, which repairs the end of the log.
fn log(path: &Path, notes: &Notes<'_>) -> Outcome {
    let append = || -> Fallible<usize> {
        let program = std::env::var_os("RVLF_POWER_LOG").ok_or("RVLF_POWER_LOG is not set")?;
        let mut command = Command::new(program);
        command
            .arg(path)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut example = command.spawn()?;
        let mut line = String::new();
        let output = example.stdout.take().ok_or("the output is not piped")?;
        BufReader::new(output).read_line(&mut line)?;
        example.kill()?;
        let output = example.wait_with_output()?;
        line.trim_end().parse().map_err(|_| {
            let errors = String::from_utf8_lossy(&output.stderr);
            format!("the example fails: {}", errors.trim_end()).into()
        })
    };
    let number = append().map_err(|error| error.to_string())?;
    if number <= notes.committed() {
        return Err(format!("the next entry has the number {number} again"));
    }
    entries(path, notes)
}

/// Every entry is whole and has the next number, up to what was committed.
fn entries(path: &Path, notes: &Notes<'_>) -> Outcome {
    let committed = notes.committed();
    let bytes = std::fs::read(path).unwrap_or_default();
    let whole = bytes.iter().rposition(|byte| *byte == b'\n');
    let whole = bytes.get(..whole.map_or(0, |last| last + 1));
    let mut last = 0;
    for (line, number) in String::from_utf8_lossy(whole.unwrap_or_default())
        .lines()
        .zip(1..)
    {
        let is_whole =
            line.starts_with(&format!("{number} written by pid ")) && line.ends_with(", committed");
        if !is_whole {
            return Err(format!(
                "entry {number} of {committed} committed is torn: {line:?}"
            ));
        }
        last = number;
    }
    match last {
        last if last < committed => Err(format!("ends at {last}, and {committed} were committed")),
        _ if committed == 0 => Ok("no entry that had to be there"),
        _ => Ok("every committed entry"),
    }
}
