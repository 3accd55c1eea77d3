//! `rvlf table`: shows and repairs an allocation table.

mod check;
mod list;
mod reclaim;
mod release;

use std::fmt::Display;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueHint};
use rvlf::Escaped;
use rvlf::table::{self, Entry, Liveness, TableError, default_path};

use crate::{exit, inspection, messages};

/// The time that a change waits for the table's lock. An operation takes milliseconds, and an
/// operator does not wait longer than this.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// Show and repair an allocation table: which process owns which part of a data set
///
/// The table is FILE, or $RVLF_TABLE, or $XDG_STATE_HOME/rvlf/table.json, or
/// $HOME/.local/state/rvlf/table.json.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Table {
    /// The file of the table
    #[arg(long = "table", value_name = "FILE", global = true, value_hint = ValueHint::FilePath)]
    path: Option<PathBuf>,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List the entries as a tree
    ///
    /// Shows each entry below the entry that delegated it: its process, whether the process is alive
    /// and how that is known, its segment and its scopes. Locks, creates and changes nothing.
    List {
        /// Print one JSON object for each entry, one per line
        #[arg(long)]
        json: bool,
    },
    /// Report contradictions and dead entries
    ///
    /// Reports overlapping scopes, duplicate names and segments, missing parents, relative paths, and
    /// the entries of dead processes. A line that begins with `note:` says what keeps yoi, whose
    /// format this is, from reading the table. Locks, creates and changes nothing.
    Check,
    /// Remove the entries of dead processes
    ///
    /// The children of a removed entry move to its parent.
    Reclaim {
        /// Only print what would be removed
        #[arg(long)]
        dry_run: bool,
    },
    /// Remove one entry whose process is dead or unknown
    ///
    /// The children of the entry move to its parent. If several entries have the name, the first one
    /// is removed.
    Release {
        /// Remove the entry even if its process is alive (the process keeps writing)
        #[arg(long)]
        force: bool,

        /// The name of the entry
        name: String,
    },
}

const HELP: &str = "\
EXAMPLES
  rvlf table list
  rvlf table list --json | jq -r 'select(.state == \"dead\") | .entry | .worker_name // .pod_name'
  rvlf table --table /srv/data/table.json reclaim --dry-run

EXIT STATUS
  0  success; check: no problems
  1  release: the process is alive; or the table stayed locked for 10 s; or it was removed or
     replaced while it was locked; or a process that was started by an earlier version holds an
     entry in that version's default table
  2  usage error; no table given; release: no such entry
  3  check: dead entries, and no other problem
  4  check: entries that contradict each other; or the file, or the default table of an earlier
     version, is not a table, or larger than 64 MiB
  5  operating system error";

pub fn run(args: &Table) -> io::Result<u8> {
    let path = match default_path(args.path.as_deref()) {
        Ok(path) => path,
        Err(error) => return Ok(report(&error)),
    };
    if path.file_name().is_none() {
        let path = Escaped::path(&path);
        messages::print(format_args!(
            "{path}: names no file; name the file of the table"
        ));
        return Ok(exit::USAGE);
    }
    let outcome = match &args.verb {
        Verb::List { json } => list::run(&path, *json),
        Verb::Check => check::run(&path),
        Verb::Reclaim { dry_run } => reclaim::run(&path, *dry_run),
        Verb::Release { force, name } => release::run(&path, name, *force),
    };
    match outcome {
        Ok(status) => Ok(status),
        Err(Failure::Output(error)) => Err(error),
        Err(Failure::Table(error)) => Ok(report(&error)),
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

/// Prints an error and returns its exit status.
fn report(error: &TableError) -> u8 {
    messages::print(error);
    if let TableError::Timeout { path, .. } = error {
        inspection::report_locked_by(path, &table::locked_by(path).unwrap_or_default());
    }
    status_for(error)
}

fn status_for(error: &TableError) -> u8 {
    match error {
        TableError::Timeout { .. }
        | TableError::Replaced { .. }
        | TableError::OldDefault { .. } => exit::HELD,
        TableError::NoPath | TableError::UnknownName { .. } => exit::USAGE,
        TableError::Parse { .. } | TableError::TooLarge { .. } | TableError::NotRegular { .. } => {
            exit::NOT_A_LOCK
        }
        TableError::UnreadableOldDefault { error, .. } => status_for(error),
        _ => exit::IO,
    }
}

/// `PATH: WHAT`, with the reason if there is no file: a table that another path was meant for looks empty.
fn of_table(path: &Path, what: impl Display) -> String {
    let reason = match is_missing(path) {
        true => "no such file, so ",
        false => "",
    };
    format!("{}: {reason}{what}", Escaped::path(path))
}

fn is_missing(path: &Path) -> bool {
    let found = fs::symlink_metadata(path);
    found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// `"NAME" (pid N) is dead: its process is gone`
fn describe(entry: &Entry, what: &str, liveness: Liveness) -> String {
    let message = format!("{entry} {what}: {liveness}");
    Escaped::text(&message).to_string()
}

fn dead_entries<'a>(
    entries: &'a [Entry],
    liveness: &'a [Liveness],
) -> impl Iterator<Item = (&'a Entry, Liveness)> {
    let judged = entries.iter().zip(liveness.iter().copied());
    judged.filter(|(_, liveness)| liveness.is_dead())
}
