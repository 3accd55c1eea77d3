//! The command `rvlf`: the writer lock for shell scripts, for operators, and for programs that do
//! not link the library.

mod arguments;
mod environment;
mod escape;
mod events;
mod exit;
mod failure;
mod holding;
mod inspection;
mod json;
mod lock_bytes;
mod loss;
mod messages;
mod order;
mod progress;
mod render;
mod report;
#[cfg(feature = "object-store")]
mod store;
#[cfg(not(feature = "object-store"))]
#[path = "no_store.rs"]
mod store;
mod sys;
mod target;
mod thread;
mod time;
mod verbs;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand};

use verbs::{break_, completions, diagnose, dump, man, run, scan, status, table, wait};

/// The writer lock for single-writer data files
///
/// The lock of a data file DATA is the file DATA.lock: a 104-byte record that names the process
/// that writes DATA. The format is compatible with the lock files of the RVF vector store. If the
/// writer dies, the next writer recovers the lock.
///
/// DATA may also be an object in a store, such as s3://bucket/data/x: its lock is the object
/// s3://bucket/data/x.lock.
#[derive(Parser)]
// Not the name by which it was started, which a usage error would print.
#[command(name = "rvlf", bin_name = "rvlf", version, after_help = HELP)]
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
  0  success; status: free; break: removed, or already free
  1  held by another process, or timed out
  2  usage error
  3  stale: left behind by a dead holder
  4  malformed, of an unsupported version, or not an RVLF lock
  5  operating system error
  With several files, the highest of their statuses. `rvlf run` exits with the
  status of its command, with 75 if another process holds the lock, and with
  125 if rvlf itself fails.";

#[derive(Subcommand)]
enum Verb {
    Run(run::Run),
    #[command(flatten)]
    System(sys::Verb),
    Status(status::Status),
    Wait(wait::Wait),
    Break(break_::Break),
    Dump(dump::Dump),
    Scan(scan::Scan),
    Diagnose(diagnose::Diagnose),
    Table(table::Table),
    Completions(completions::Completions),
    Man(man::Man),
}

fn main() -> ExitCode {
    sys::file_limit::report_excess();
    let arguments = arguments::with_joined_wait(std::env::args_os());
    let status = match parse(&arguments) {
        Ok(cli) => {
            let status = status_of(dispatch(cli.verb));
            messages::flush();
            sys::signals::die_as_interrupted(status);
            status
        }
        Err(error) => {
            let error = arguments::with_advice(escape::usage_error(error), &arguments);
            match error.print() {
                Err(unwritten) if !error.use_stderr() => status_of(Err(unwritten)),
                // If the error cannot be written, no other way is left to report that.
                _ => status_for_usage_error(&error),
            }
        }
    };
    status.into()
}

fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let mut command = match arguments.get(1) {
        Some(verb) if verb == "run" => run_alone(),
        _ => command(),
    };
    let mut matches = command.try_get_matches_from_mut(arguments)?;
    Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

fn command() -> Command {
    sys::help::adapted(Cli::command())
}

/// `rvlf run` without the other verbs: they take as long to describe as the lock to acquire.
fn run_alone() -> Command {
    let run = run::Run::augment_args(Command::new("run"));
    sys::help::adapted(Command::new("rvlf").subcommand(run))
}

/// Runs a verb. An error is a failure to write to standard output.
fn dispatch(verb: Verb) -> io::Result<u8> {
    match verb {
        Verb::Run(args) => Ok(exit::whole(run::run(&args))),
        Verb::System(verb) => verb.run(),
        Verb::Wait(args) => Ok(wait::run(&args)),
        Verb::Status(args) => status::run(&args),
        Verb::Break(args) => break_::run(&args),
        Verb::Dump(args) => dump::run(&args),
        Verb::Scan(args) => scan::run(&args),
        Verb::Diagnose(args) => diagnose::run(&args),
        Verb::Table(args) => table::run(&args),
        Verb::Completions(args) => completions::run(&args, &command()),
        Verb::Man(args) => man::run(&args, command()),
    }
}

fn status_of(outcome: io::Result<u8>) -> u8 {
    match outcome {
        Ok(status) => status,
        // The reader of a pipe, such as head(1), has closed it: it has all that it wants.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => exit::SUCCESS,
        Err(error) => {
            messages::print(format_args!("cannot write to standard output: {error}"));
            exit::IO
        }
    }
}

fn status_for_usage_error(error: &clap::Error) -> u8 {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => exit::SUCCESS,
        // 2 could be mistaken for the status of the command that did not run.
        _ if std::env::args_os()
            .nth(1)
            .is_some_and(|verb| verb == "run" || verb == "hold") =>
        {
            exit::RVLF_FAILED
        }
        _ => exit::USAGE,
    }
}
