//! `rvlf table`: the allocation table, seen and put right by a person.

use std::collections::HashSet;
use std::error::Error;
use std::fmt::{self, Display, Write as _};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueHint};
use rvlf::table::{Entry, Liveness, Snapshot, TableError, TableGuard, default_path, snapshot};
use serde_json::json;

/// How long a change waits for the table: operations take milliseconds, a person no longer than this.
const PATIENCE: Duration = Duration::from_secs(10);

const DONE: u8 = 0;
const HELD: u8 = 1;
const USAGE: u8 = 2;
const STALE: u8 = 3;
const NOT_A_TABLE: u8 = 4;
const IO: u8 = 5;

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
    /// Look for overlapping scopes, dead entries, missing parents and the like
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
    obey(args, &mut io::stdout().lock(), &mut io::stderr().lock())
}

/// What goes to `complaints` is about the command, what goes to `out` is the answer.
pub fn obey(args: &Table, out: &mut dyn Write, complaints: &mut dyn Write) -> io::Result<u8> {
    let done = default_path(args.path.as_deref()).map_err(Failure::Table);
    let done = done.and_then(|path| match &args.verb {
        Verb::List { json } => list(&path, *json, out),
        Verb::Check => check(&path, out),
        Verb::Reclaim { dry_run } => reclaim(&path, *dry_run, out),
        Verb::Release { force, name } => release(&path, name, *force, out),
    });
    match done {
        Ok(status) => Ok(status),
        Err(Failure::Output(error)) => Err(error),
        Err(Failure::Alive(message)) => {
            writeln!(complaints, "rvlf: {}", Plain(&message))?;
            Ok(HELD)
        }
        Err(Failure::Table(error)) => {
            writeln!(complaints, "rvlf: {}", Plain(&with_causes(&error)))?;
            Ok(status_of(&error))
        }
    }
}

enum Failure {
    Output(io::Error),
    Table(TableError),
    /// Somebody alive has it.
    Alive(String),
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
        TableError::Timeout { .. } | TableError::Replaced { .. } => HELD,
        TableError::NoPath | TableError::UnknownName { .. } => USAGE,
        TableError::Parse { .. } | TableError::NotRegular { .. } => NOT_A_TABLE,
        _ => IO,
    }
}

fn with_causes(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(message, ": {error}");
        cause = error.source();
    }
    message
}

/// Shows text with its control characters escaped, so that no name can drive a terminal or begin a
/// second line.
struct Plain<'a>(&'a str);

impl Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

// ---------------------------------------------------------------- list

fn list(path: &Path, as_json: bool, out: &mut dyn Write) -> Result<u8, Failure> {
    let looked = snapshot(path)?;
    let entries = looked.table.allocations.iter().zip(&looked.liveness);
    if as_json {
        for (entry, liveness) in entries {
            let object = json!({
                "entry": entry,
                "state": state(*liveness),
                "reason": liveness.to_string(),
            });
            writeln!(out, "{object}")?;
        }
        return Ok(DONE);
    }
    if looked.table.allocations.is_empty() {
        writeln!(out, "{}: no entries", Plain(&path.to_string_lossy()))?;
    }
    let mut tree = Tree {
        looked: &looked,
        shown: HashSet::new(),
    };
    let is_root = |entry: &Entry| match &entry.delegated_from {
        Some(parent) => looked.table.find(parent).is_none(),
        None => true,
    };
    for (index, entry) in looked.table.allocations.iter().enumerate() {
        if is_root(entry) {
            tree.show(index, entry, 0, out)?;
        }
    }
    // What is left goes round in a circle of parents.
    for (index, entry) in looked.table.allocations.iter().enumerate() {
        tree.show(index, entry, 0, out)?;
    }
    Ok(DONE)
}

struct Tree<'a> {
    looked: &'a Snapshot,
    shown: HashSet<usize>,
}

impl Tree<'_> {
    fn show(
        &mut self,
        index: usize,
        entry: &Entry,
        depth: usize,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        if !self.shown.insert(index) {
            return Ok(());
        }
        let liveness = self.looked.liveness.get(index);
        let liveness = *liveness.expect("a snapshot looks at every entry");
        show_entry(entry, liveness, depth, out)?;
        let entries = self.looked.table.allocations.iter().enumerate();
        for (index, child) in entries {
            if child.delegated_from.as_deref() == Some(&entry.pod_name) {
                self.show(index, child, depth + 1, out)?;
            }
        }
        Ok(())
    }
}

fn show_entry(
    entry: &Entry,
    liveness: Liveness,
    depth: usize,
    out: &mut dyn Write,
) -> io::Result<()> {
    let indent = "    ".repeat(depth);
    let mut line = |text: &str| writeln!(out, "{indent}{}", Plain(text));
    let Entry { pod_name, pid, .. } = entry;
    line(&format!(
        "{pod_name}  pid {pid}  {}: {liveness}",
        state(liveness)
    ))?;
    match &entry.segment_id {
        Some(segment) => line(&format!("  segment {segment}"))?,
        None => line("  placeholder: not adopted yet")?,
    }
    for rule in &entry.scope_allow {
        line(&format!("  {rule}"))?;
    }
    for rule in &entry.scope_deny {
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

fn check(path: &Path, out: &mut dyn Write) -> Result<u8, Failure> {
    let looked = snapshot(path)?;
    let problems = looked.table.problems();
    for problem in &problems {
        writeln!(out, "{}", Plain(&problem.to_string()))?;
    }
    let dead = dead(&looked.table.allocations, &looked.liveness);
    for (entry, liveness) in &dead {
        writeln!(out, "{}", about(entry, "is dead", *liveness))?;
    }
    if problems.is_empty() && dead.is_empty() {
        let entries = looked.table.allocations.len();
        writeln!(out, "{entries} entries, nothing is wrong")?;
    }
    Ok(match (problems.is_empty(), dead.is_empty()) {
        (false, _) => NOT_A_TABLE,
        (true, false) => STALE,
        (true, true) => DONE,
    })
}

fn dead<'a>(entries: &'a [Entry], liveness: &[Liveness]) -> Vec<(&'a Entry, Liveness)> {
    let judged = entries.iter().zip(liveness.iter().copied());
    judged.filter(|(_, liveness)| liveness.is_dead()).collect()
}

fn about(entry: &Entry, what: &str, liveness: Liveness) -> String {
    let message = format!("{entry} {what}: {liveness}");
    Plain(&message).to_string()
}

// ---------------------------------------------------------------- reclaim and release

fn reclaim(path: &Path, dry_run: bool, out: &mut dyn Write) -> Result<u8, Failure> {
    let looked = snapshot(path)?;
    let found = dead(&looked.table.allocations, &looked.liveness);
    if found.is_empty() {
        writeln!(out, "nothing to reclaim")?;
    } else if dry_run {
        for (entry, liveness) in found {
            writeln!(out, "{}", about(entry, "would be reclaimed", liveness))?;
        }
    } else {
        let mut guard = TableGuard::open(path, PATIENCE)?;
        let liveness = guard.liveness();
        let before = guard.data().allocations.clone();
        let reclaimed = guard.reclaim_stale();
        guard.save()?;
        let known = before.iter().zip(liveness);
        for (entry, liveness) in known.filter(|(entry, _)| reclaimed.contains(entry)) {
            writeln!(out, "{}", about(entry, "reclaimed", liveness))?;
        }
    }
    Ok(DONE)
}

fn release(path: &Path, name: &str, force: bool, out: &mut dyn Write) -> Result<u8, Failure> {
    let unknown = || TableError::UnknownName {
        name: name.to_owned(),
    };
    // Without it a table that is not there would be made for nothing.
    snapshot(path)?.table.find(name).ok_or_else(unknown)?;
    let mut guard = TableGuard::open(path, PATIENCE)?;
    let entries = guard.data().allocations.iter().zip(guard.liveness());
    let mut named = entries.filter(|(entry, _)| entry.pod_name == name);
    let (entry, liveness) = named.next().ok_or_else(unknown)?;
    if liveness.is_alive() && !force {
        let held = about(entry, "is not released", liveness);
        return Err(Failure::Alive(format!(
            "{held}; end the process, or insist with --force"
        )));
    }
    let message = about(entry, "released", liveness);
    guard.release(name)?;
    guard.save()?;
    writeln!(out, "{message}")?;
    Ok(DONE)
}
