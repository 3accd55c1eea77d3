//! `rvlf status`: shows who holds a lock.

use std::io::{self, Write};
use std::time::Duration;

use anstream::stdout;
use clap::{Args, ValueHint};

use crate::report::{Essence, Looker, Report};
use crate::target::Target;
use crate::{arguments, escape, exit, messages, store, time};

/// The pause between two looks at a watched lock.
const INTERVAL: Duration = Duration::from_millis(500);
/// The pause where each look is a request to a store, which costs money.
const STORE_INTERVAL: Duration = Duration::from_secs(2);

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

    /// The data files or URLs; the lock of each is DATA.lock
    #[arg(required = true, value_name = "DATA", value_hint = ValueHint::FilePath)]
    data: Vec<Target>,
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

pub fn run(args: &Status) -> io::Result<u8> {
    let targets = arguments::data_of_all(&args.data);
    if args.watch {
        return watch(&targets, args.json);
    }
    let mut highest = exit::SUCCESS;
    for target in &targets {
        highest = highest.max(show(target, args.json)?);
    }
    Ok(highest)
}

fn looker(target: &Target) -> Looker {
    match target {
        Target::File(data) => Looker::of_file(data),
        Target::Store(url) => Looker::Store(store::Looker::new(url)),
    }
}

fn show(target: &Target, as_json: bool) -> io::Result<u8> {
    let report = match looker(target).look() {
        Ok(report) => report,
        Err(error) => {
            messages::print(error);
            return Ok(exit::IO);
        }
    };
    match as_json {
        true => print_json(&*report)?,
        false => write!(stdout(), "{}", report.block())?,
    }
    Ok(report.status())
}

fn print_json(report: &dyn Report) -> io::Result<()> {
    writeln!(stdout(), "{}", escape::json_text(&report.json()))
}

fn watch(targets: &[Target], as_json: bool) -> io::Result<u8> {
    let watched = targets.iter().map(|target| (looker(target), None));
    let mut watched: Vec<_> = watched.collect();
    let interval = match targets
        .iter()
        .any(|target| matches!(target, Target::Store(_)))
    {
        true => STORE_INTERVAL,
        false => INTERVAL,
    };
    loop {
        for (looker, shown) in &mut watched {
            let report = looker.look();
            let essence = Some(match &report {
                Ok(report) => report.essence(),
                Err(error) => Essence::failed(error),
            });
            if *shown != essence {
                *shown = essence;
                show_change(report, as_json)?;
            }
        }
        std::thread::sleep(interval);
    }
}

fn show_change(report: Result<Box<dyn Report>, String>, as_json: bool) -> io::Result<()> {
    match report {
        Err(error) => {
            messages::print(error);
            Ok(())
        }
        Ok(report) if as_json => print_json(&*report),
        Ok(report) => {
            let (now, data, line) = (time::local_time_now(), report.data(), report.line());
            writeln!(stdout(), "{now}  {data}: {line}")
        }
    }
}
