//! `rvlf table`: the allocation table, seen and put right by a person.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anstream::stdout;
use clap::{Args, Subcommand, ValueHint};
use rvlf::table::{Entry, Liveness, Snapshot, TableError, TableGuard, default_path, snapshot};
use serde_json::json;

use crate::text::Plain;
use crate::{exit, text};

/// How long a change waits for the table: operations take milliseconds, a person no longer than
/// this.
const PATIENCE: Duration = Duration::from_secs(10);

/// Show and repair an allocation table: who holds which part of a data set
///
/// The table is FILE, or $RVLF_TABLE, or $XDG_RUNTIME_DIR/rvlf/table.json.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Table {
    /// The table's file
    #[arg(long = "table", value_name = "FILE", global = true, value_hint = ValueHint::FilePath)]
    path: Option<PathBuf>,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Show every entry below the one that delegated it: its process, alive or not and how we know,
    /// its scopes and its segment
    ///
    /// Locks, creates and changes nothing.
    List {
        /// Print one JSON object per entry and line
        #[arg(long)]
        json: bool,
    },
    /// Look for overlapping scopes, names and segments that two entries have, missing parents,
    /// relative paths, and dead entries
    ///
    /// Locks, creates and changes nothing.
    Check,
    /// Remove the entries of dead processes; their children go to their parents
    Reclaim {
        /// Only say what would be removed
        #[arg(long)]
        dry_run: bool,
    },
    /// Remove one entry, dead or of unknown fate; its children go to its parent
    ///
    /// Of several entries of one name, the first.
    Release {
        /// Also if its process is alive, which then writes on without it
        #[arg(long)]
        force: bool,

        /// The entry's name
        name: String,
    },
}

const HELP: &str = "\
EXAMPLES
  rvlf table list
  rvlf table list --json | jq -r 'select(.state == \"dead\") | .entry.pod_name'
  rvlf table --table /srv/data/table.json reclaim --dry-run

EXIT STATUS
  0  done; check: nothing is wrong
  1  release: its process is alive; or somebody kept the table locked for 10 s
  2  bad usage; no table named; release: no such entry
  3  check: dead entries, and nothing worse
  4  check: entries that contradict each other; or the file is no table
  5  the operating system failed";

pub fn run(args: &Table) -> io::Result<u8> {
    let done = default_path(args.path.as_deref()).map_err(Failure::Table);
    let done = done.and_then(|path| match &args.verb {
        Verb::List { json } => list(&path, *json),
        Verb::Check => check(&path),
        Verb::Reclaim { dry_run } => reclaim(&path, *dry_run),
        Verb::Release { force, name } => release(&path, name, *force),
    });
    match done {
        Ok(status) => Ok(status),
        Err(Failure::Output(error)) => Err(error),
        Err(Failure::Table(error)) => {
            text::complain(&error);
            Ok(status_of(&error))
        }
    }
}

enum Failure {
    Output(io::Error),
    Table(TableError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

impl From<TableError> for Failure {
    fn from(error: TableError) -> Failure {
        Failure::Table(error)
    }
}

fn status_of(error: &TableError) -> u8 {
    match error {
        TableError::Timeout { .. } | TableError::Replaced { .. } => exit::HELD,
        TableError::NoPath | TableError::UnknownName { .. } => exit::USAGE,
        TableError::Parse { .. } | TableError::NotRegular { .. } => exit::NOT_A_LOCK,
        _ => exit::IO,
    }
}

fn plain(text: &str) -> Plain<'_> {
    Plain(text.into())
}

// ---------------------------------------------------------------- list

fn list(path: &Path, as_json: bool) -> Result<u8, Failure> {
    let looked = snapshot(path)?;
    let entries = looked.table.entries.iter().zip(&looked.liveness);
    if as_json {
        for (entry, liveness) in entries {
            let object = json!({
                "entry": entry,
                "state": state(*liveness),
                "reason": liveness.to_string(),
            });
            writeln!(stdout(), "{object}")?;
        }
        return Ok(exit::DONE);
    }
    if looked.table.entries.is_empty() {
        writeln!(stdout(), "{}: no entries", text::path(path))?;
    }
    show_tree(&looked)?;
    Ok(exit::DONE)
}

/// Each entry below its parent; last those whose parents go round in a circle.
fn show_tree(looked: &Snapshot) -> io::Result<()> {
    let entries = &looked.table.entries;
    let names: HashSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    let mut children: HashMap<&str, Vec<usize>> = HashMap::new();
    let mut roots = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        match entry.parent.as_deref() {
            Some(parent) if names.contains(parent) => {
                children.entry(parent).or_default().push(index);
            }
            _ => roots.push(index),
        }
    }
    let mut shown = HashSet::new();
    for root in roots.into_iter().chain(0..entries.len()) {
        let mut next = vec![(root, 0)];
        while let Some((index, depth)) = next.pop() {
            let judged = entries.get(index).zip(looked.liveness.get(index));
            let Some((entry, liveness)) = judged.filter(|_| shown.insert(index)) else {
                continue;
            };
            show_entry(entry, *liveness, depth)?;
            let below = children.get(entry.name.as_str()).into_iter().flatten();
            next.extend(below.rev().map(|child| (*child, depth + 1)));
        }
    }
    Ok(())
}

fn show_entry(entry: &Entry, liveness: Liveness, depth: usize) -> io::Result<()> {
    let indent = "    ".repeat(depth);
    let line = |text: &str| writeln!(stdout(), "{indent}{}", plain(text));
    let Entry { name, pid, .. } = entry;
    line(&format!(
        "{name}  pid {pid}  {}: {liveness}",
        state(liveness)
    ))?;
    match &entry.segment {
        Some(segment) => line(&format!("  segment {segment}"))?,
        None => line("  placeholder: not adopted yet")?,
    }
    for rule in &entry.allow {
        line(&format!("  {rule}"))?;
    }
    for rule in &entry.deny {
        line(&format!("  not {rule}"))?;
    }
    if !entry.socket.as_os_str().is_empty() {
        line(&format!("  socket {}", entry.socket.display()))?;
    }
    Ok(())
}

fn state(liveness: Liveness) -> &'static str {
    if liveness.is_dead() {
        "dead"
    } else if liveness.is_alive() {
        "alive"
    } else {
        "unknown"
    }
}

// ---------------------------------------------------------------- check

fn check(path: &Path) -> Result<u8, Failure> {
    let looked = snapshot(path)?;
    let problems = looked.table.problems();
    for problem in &problems {
        writeln!(stdout(), "{}", plain(&problem.to_string()))?;
    }
    let dead = dead(&looked.table.entries, &looked.liveness);
    for (entry, liveness) in &dead {
        writeln!(stdout(), "{}", about(entry, "is dead", *liveness))?;
    }
    if problems.is_empty() && dead.is_empty() {
        let entries = looked.table.entries.len();
        writeln!(stdout(), "{entries} entries, nothing is wrong")?;
    }
    Ok(match (problems.is_empty(), dead.is_empty()) {
        (false, _) => exit::NOT_A_LOCK,
        (true, false) => exit::STALE,
        (true, true) => exit::DONE,
    })
}

fn dead<'a>(entries: &'a [Entry], liveness: &[Liveness]) -> Vec<(&'a Entry, Liveness)> {
    let judged = entries.iter().zip(liveness.iter().copied());
    judged.filter(|(_, liveness)| liveness.is_dead()).collect()
}

fn about(entry: &Entry, what: &str, liveness: Liveness) -> String {
    let message = format!("{entry} {what}: {liveness}");
    plain(&message).to_string()
}

// ---------------------------------------------------------------- reclaim and release

fn reclaim(path: &Path, dry_run: bool) -> Result<u8, Failure> {
    let looked = snapshot(path)?;
    let found = dead(&looked.table.entries, &looked.liveness);
    if found.is_empty() {
        writeln!(stdout(), "nothing to reclaim")?;
    } else if dry_run {
        for (entry, liveness) in found {
            writeln!(stdout(), "{}", about(entry, "would be reclaimed", liveness))?;
        }
    } else {
        let mut guard = TableGuard::open(path, PATIENCE)?;
        // Judged once: a process that ends meanwhile would be told as alive, and reclaimed.
        let judged = guard.liveness();
        let mut liveness = judged.iter();
        let is_dead = |_: &Entry| liveness.next().is_some_and(|one| one.is_dead());
        let reclaimed = guard.table_mut().reclaim_stale_with(is_dead);
        guard.save()?;
        let why = judged.into_iter().filter(|liveness| liveness.is_dead());
        for (entry, liveness) in reclaimed.iter().zip(why) {
            writeln!(stdout(), "{}", about(entry, "reclaimed", liveness))?;
        }
    }
    Ok(exit::DONE)
}

fn release(path: &Path, name: &str, force: bool) -> Result<u8, Failure> {
    let unknown = || TableError::UnknownName {
        name: name.to_owned(),
    };
    // Without it a table that is not there would be made for nothing.
    snapshot(path)?.table.find(name).ok_or_else(unknown)?;
    let mut guard = TableGuard::open(path, PATIENCE)?;
    let entries = guard.table().entries.iter().zip(guard.liveness());
    let mut named = entries.filter(|(entry, _)| entry.name == name);
    let (entry, liveness) = named.next().ok_or_else(unknown)?;
    if liveness.is_alive() && !force {
        let held = about(entry, "is not released", liveness);
        text::say(format_args!(
            "{held}; end the process, or insist with --force"
        ));
        return Ok(exit::HELD);
    }
    let message = about(entry, "released", liveness);
    guard.release(name)?;
    guard.save()?;
    writeln!(stdout(), "{message}")?;
    Ok(exit::DONE)
}
