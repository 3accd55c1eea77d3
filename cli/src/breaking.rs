//! `rvlf break`: remove a lock that nobody holds; by force, also one that somebody may hold.

use std::io::{self, Write};
use std::path::PathBuf;

use anstream::stdout;
use clap::{Args, ValueHint};
use rvlf::{BreakError, Holder, LockState, WriterId};

use crate::{exit, report, text};

/// Remove the lock that a dead holder left behind
///
/// Seldom needed: the next writer recovers a stale lock by itself. A lock that is held, or may be,
/// is not touched. With --force it is removed if its record bears the given writer id (`rvlf status`
/// shows it); if its holder lives after all, two may write until it learns that it has lost the lock.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Break {
    /// Remove the lock although it may be held
    #[arg(long, requires = "writer_id")]
    force: bool,

    /// The writer id of the one lock that --force may remove
    #[arg(long, value_name = "UUID", requires = "force")]
    writer_id: Option<WriterId>,

    /// The data file; its lock is DATA.lock
    #[arg(value_hint = ValueHint::FilePath)]
    data: PathBuf,
}

const HELP: &str = "\
EXAMPLES
  rvlf break store.rvf
  rvlf break --force --writer-id 1a3a8ffc-4f5d-477b-9db9-93b83de332ce store.rvf

EXIT STATUS
  0  removed, or free already
  1  held, or not the lock that was named: not touched
  2  bad usage
  4  of an unsupported version, or no RVLF lock at all: not touched
  5  the operating system failed";

pub fn run(args: &Break) -> io::Result<u8> {
    let outcome = match args.writer_id {
        Some(writer_id) => rvlf::force_break(&args.data, writer_id),
        None => rvlf::break_stale(&args.data),
    };
    match outcome {
        Ok(removed) => say_removed(args, removed)?,
        Err(error) => {
            complain(args, &error);
            return Ok(exit::of_break_error(&error));
        }
    }
    Ok(exit::DONE)
}

fn say_removed(args: &Break, removed: Option<Holder>) -> io::Result<()> {
    let path = text::path(&args.data);
    match removed {
        None => writeln!(stdout(), "{path}: free already"),
        Some(holder) => {
            let state = match holder.record() {
                None => LockState::Malformed(holder),
                Some(_) if holder.verdict().is_stale() => LockState::Stale(holder),
                Some(_) => LockState::Held(holder),
            };
            writeln!(stdout(), "{path}: removed: {}", report::line(&state))
        }
    }
}

fn complain(args: &Break, error: &BreakError) {
    match (error, args.writer_id) {
        (BreakError::Held { holder, .. }, Some(wanted))
            if holder
                .record()
                .is_none_or(|record| record.writer_id() != wanted) =>
        {
            text::say(format_args!("{error}, not with {wanted}"));
        }
        _ => text::complain(error),
    }
}
