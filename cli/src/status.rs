//! `rvlf status`: who holds a lock, and how we know.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anstream::stdout;
use clap::{Args, ValueHint};
use rvlf::{LockState, Reason, WriterId};

use crate::report::Block;
use crate::{exit, json, report, text};

/// How often a watched lock is looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// Show who holds the lock of a data file, since when, and how we know
///
/// Creates and changes nothing. The answer is true for the moment of the look.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Status {
    /// Print one JSON object per lock and line
    #[arg(long)]
    json: bool,

    /// Print a line whenever something changes, until interrupted
    #[arg(long)]
    watch: bool,

    /// The data files; their locks are DATA.lock
    #[arg(required = true, value_name = "DATA", value_hint = ValueHint::FilePath)]
    data: Vec<PathBuf>,
}

const HELP: &str = "\
EXAMPLES
  rvlf status store.rvf
  rvlf status --json *.rvf | jq -r 'select(.state == \"held\") | .record.pid'
  rvlf status --watch store.rvf

EXIT STATUS
  0  free
  1  held
  2  bad usage
  3  stale: left behind by a dead holder; the next writer recovers it
  4  malformed, of an unsupported version, or no RVLF lock at all
  5  the operating system failed
  Of several files, the highest.";

pub fn run(args: &Status) -> io::Result<u8> {
    if args.watch {
        watch(args)
    } else {
        let mut highest = exit::DONE;
        for data in &args.data {
            highest = highest.max(show(data, args.json)?);
        }
        Ok(highest)
    }
}

fn show(data: &Path, as_json: bool) -> io::Result<u8> {
    let state = match rvlf::inspect(data) {
        Ok(state) => state,
        Err(error) => {
            text::complain(&error);
            return Ok(exit::IO);
        }
    };
    if as_json {
        writeln!(stdout(), "{}", json::of_lock(data, &state))?;
    } else {
        let block = Block {
            resource: data,
            state: &state,
        };
        write!(stdout(), "{block}")?;
    }
    Ok(exit::of_state(&state))
}

/// What has to change for a watched lock to be shown again: not its ages.
#[derive(PartialEq, Eq)]
enum Essence {
    State(u8, Option<Reason>, Option<WriterId>),
    Failed(String),
}

fn watch(args: &Status) -> io::Result<u8> {
    let mut shown: Vec<Option<Essence>> = args.data.iter().map(|_| None).collect();
    loop {
        for (data, shown) in args.data.iter().zip(&mut shown) {
            let looked = rvlf::inspect(data);
            let essence = match &looked {
                Ok(state) => essence(state),
                Err(error) => Essence::Failed(error.source.to_string()),
            };
            if shown.as_ref() == Some(&essence) {
                continue;
            }
            *shown = Some(essence);
            match looked {
                Err(error) => text::complain(&error),
                Ok(state) if args.json => {
                    writeln!(stdout(), "{}", json::of_lock(data, &state))?;
                }
                Ok(state) => {
                    let (now, line) = (report::now(), report::line(&state));
                    writeln!(stdout(), "{now}  {}: {line}", text::path(data))?;
                }
            }
        }
        std::thread::sleep(INTERVAL);
    }
}

fn essence(state: &LockState) -> Essence {
    let record = report::holder(state).and_then(|holder| holder.record());
    let writer_id = record.map(|record| record.writer_id());
    Essence::State(exit::of_state(state), report::reason(state), writer_id)
}
