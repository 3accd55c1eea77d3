//! `rvlf status`: shows who holds a lock.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anstream::stdout;
use clap::{Args, ValueHint};
use rvlf::judge::Reason;
use rvlf::{Escaped, IoError, WriterId};

use crate::inspection::{Inspection, Inspector};
use crate::render::Block;
use crate::{arguments, escape, exit, json, messages, render, time};

/// The pause between two inspections of a watched lock.
const INTERVAL: Duration = Duration::from_millis(500);

/// Show who holds the lock of a data file, since when, and the evidence for it
///
/// Creates and changes nothing. The answer describes the moment of the inspection.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Status {
    /// Print one JSON object for each lock, one per line
    #[arg(long)]
    json: bool,

    /// Print a line after each change, until interrupted
    #[arg(long)]
    watch: bool,

    /// The data files; the lock of each is DATA.lock
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
  2  usage error
  3  stale: left behind by a dead holder; the next writer recovers it
  4  malformed, of an unsupported version, or not an RVLF lock
  5  operating system error
  With several files, the highest of their statuses.";

pub fn run(mut args: Status) -> io::Result<u8> {
    args.data = arguments::data_files(&args.data);
    if args.watch {
        return watch(&args);
    }
    let mut highest = exit::SUCCESS;
    for data in &args.data {
        highest = highest.max(show(data, args.json)?);
    }
    Ok(highest)
}

fn show(data: &Path, as_json: bool) -> io::Result<u8> {
    let inspection = match Inspection::of(data) {
        Ok(inspection) => inspection,
        Err(error) => {
            messages::print(&error);
            return Ok(exit::IO);
        }
    };
    if as_json {
        writeln!(
            stdout(),
            "{}",
            escape::json_text(&json::lock_json(data, &inspection))
        )?;
    } else {
        let block = Block {
            data,
            inspection: &inspection,
        };
        write!(stdout(), "{block}")?;
    }
    Ok(exit::status_for_state(&inspection.state))
}

/// The part of a state whose change is worth a line. Ages change all the time.
#[derive(PartialEq, Eq)]
enum Essence {
    State(u8, Option<Reason>, Option<WriterId>),
    Failed(String),
}

impl Essence {
    fn of(inspected: &Result<Inspection, IoError>) -> Essence {
        match inspected {
            Ok(Inspection { state, .. }) => {
                let record = state.holder().and_then(|holder| holder.record());
                let writer_id = record.map(|record| record.writer_id());
                Essence::State(exit::status_for_state(state), state.reason(), writer_id)
            }
            Err(error) => Essence::Failed(error.source.to_string()),
        }
    }
}

fn watch(args: &Status) -> io::Result<u8> {
    let watched = args
        .data
        .iter()
        .map(|data| (data, Inspector::new(data), None));
    let mut watched: Vec<_> = watched.collect();
    loop {
        for (data, inspector, shown) in &mut watched {
            let inspected = inspector.inspect();
            let essence = Some(Essence::of(&inspected));
            if *shown != essence {
                *shown = essence;
                show_change(data, &inspected, args.json)?;
            }
        }
        std::thread::sleep(INTERVAL);
    }
}

fn show_change(
    data: &Path,
    inspected: &Result<Inspection, IoError>,
    as_json: bool,
) -> io::Result<()> {
    match inspected {
        Err(error) => {
            messages::print(error);
            Ok(())
        }
        Ok(inspection) if as_json => {
            writeln!(
                stdout(),
                "{}",
                escape::json_text(&json::lock_json(data, inspection))
            )
        }
        Ok(inspection) => {
            let (now, data, line) = (
                time::local_time_now(),
                Escaped::path(data),
                render::line(inspection),
            );
            writeln!(stdout(), "{now}  {data}: {line}")
        }
    }
}
