//! The command `rvlf`: the writer lock for programs that do not know of it, and for people.

#[cfg(not(unix))]
compile_error!("the command knows Unix systems only; the library builds everywhere");

mod breaking;
mod dump;
mod duration;
mod exit;
mod json;
mod lock_file;
mod manual;
mod report;
mod run;
mod scan;
mod signals;
mod status;
mod table;
mod text;
mod wait;
mod waiting;

use std::io;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

/// The writer lock for single-writer data files
///
/// A lock is the file DATA.lock: a record of 104 bytes that says who is writing. It is compatible with
/// the locks of the RVF vector store, and recovers by itself when the writer dies.
#[derive(Parser)]
#[command(name = "rvlf", version, after_help = HELP)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const HELP: &str = "\
EXAMPLES
  rvlf run store.rvf -- ./compact store.rvf
  rvlf run --wait=30s store.rvf -- ./append store.rvf
  rvlf status store.rvf

EXIT STATUS
  0  done; status: free; break: removed, or free already
  1  held by another, or timed out
  2  bad usage
  3  stale: left behind by a dead holder
  4  malformed, of an unsupported version, or no RVLF lock at all
  5  the operating system failed
  Of several files, the highest. `rvlf run` exits as its command does, with
  75 if the lock is held by another, and with 125 if rvlf itself fails.";

#[derive(Subcommand)]
enum Verb {
    Run(run::Run),
    Status(status::Status),
    Wait(wait::Wait),
    Break(breaking::Break),
    Dump(dump::Dump),
    Scan(scan::Scan),
    Table(table::Table),
    Completions(manual::Completions),
    Man(manual::Man),
}

fn main() -> ExitCode {
    let status = match Cli::try_parse() {
        Ok(cli) => obey(cli.verb),
        Err(error) => {
            // Where nobody listens there is nobody to tell.
            let _ = error.print();
            of_usage(&error)
        }
    };
    status.into()
}

fn obey(verb: Verb) -> u8 {
    let outcome = match verb {
        Verb::Run(args) => Ok(run::run(args)),
        Verb::Wait(args) => Ok(wait::run(args)),
        Verb::Status(args) => status::run(&args),
        Verb::Break(args) => breaking::run(&args),
        Verb::Dump(args) => dump::run(&args),
        Verb::Scan(args) => scan::run(&args),
        Verb::Table(args) => table::run(&args),
        Verb::Completions(args) => manual::completions(&args, Cli::command()).map(|()| exit::DONE),
        Verb::Man(args) => match manual::man(args, Cli::command()) {
            Ok(outcome) => outcome.map(|()| exit::DONE),
            Err(verb) => {
                text::say(format_args!("there is no verb {verb}; ask `rvlf --help`"));
                Ok(exit::USAGE)
            }
        },
    };
    match outcome {
        Ok(status) => status,
        // Whoever read our output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => exit::DONE,
        Err(error) => {
            text::say(format_args!("could not write to standard output: {error}"));
            exit::IO
        }
    }
}

fn of_usage(error: &clap::Error) -> u8 {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => exit::DONE,
        // 2 could be taken for the status of the command that was not run.
        _ if std::env::args_os().nth(1).is_some_and(|verb| verb == "run") => exit::OWN_FAILURE,
        _ => exit::USAGE,
    }
}
