//! `rvlf break`: removes a stale lock, and with `--force` one that may be held.

use std::io::{self, Write};
use std::path::PathBuf;

use anstream::stdout;
use clap::{Args, ValueHint};
use rvlf::{BreakError, Escaped, Holder, LockFile, LockState, WriterId};

use crate::{arguments, exit, inspection, messages, render};

/// Remove a lock that a dead holder left behind
///
/// Rarely needed: the next writer recovers a stale lock by itself. A lock that is or may be held is
/// left unchanged. With --force it is removed if its record contains the given writer id (shown by
/// `rvlf status`). If the holder is alive, two processes may write until the holder detects the
/// loss.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Break {
    /// Remove the lock even if it may be held
    #[arg(long, requires = "writer_id")]
    force: bool,

    /// The writer id of the only lock that --force may remove
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
  0  removed, or already free
  1  held, or a lock with another writer id: left unchanged
  2  usage error
  4  of an unsupported version, or not an RVLF lock: left unchanged
  5  operating system error";

pub fn run(mut args: Break) -> io::Result<u8> {
    args.data = arguments::data_file(&args.data);
    match break_lock(&args) {
        Ok(removed) => {
            print_removed(&args, removed)?;
            Ok(exit::SUCCESS)
        }
        Err(error) => {
            print_refusal(&args, &error);
            Ok(exit::status_for_break_error(&error))
        }
    }
}

fn break_lock(args: &Break) -> Result<Option<Holder>, BreakError> {
    let lock_file = LockFile::open(&args.data)?;
    match args.writer_id {
        Some(writer_id) => lock_file.force_break(writer_id),
        None => lock_file.break_stale(),
    }
}

fn print_removed(args: &Break, removed: Option<Holder>) -> io::Result<()> {
    let path = Escaped::path(&args.data);
    let Some(holder) = removed else {
        return writeln!(stdout(), "{path}: already free");
    };
    let state = match holder.record() {
        None => LockState::Malformed(holder),
        Some(_) if holder.verdict().is_stale() => LockState::Stale(holder),
        Some(_) => LockState::Held(holder),
    };
    writeln!(stdout(), "{path}: removed: {}", render::state_line(&state))
}

fn print_refusal(args: &Break, error: &BreakError) {
    let held_id = match error {
        BreakError::Held { holder, .. } => holder.record().map(|record| record.writer_id()),
        _ => None,
    };
    match (held_id, args.writer_id) {
        (Some(held), Some(given)) if held != given => messages::print(format_args!(
            "{}: not removed: its writer id is {held}, not {given}; check `rvlf status` again",
            Escaped::path(&args.data),
        )),
        _ => {
            messages::print(error);
            if let BreakError::Held { holder, .. } = error {
                inspection::report_kept_open(&args.data, holder);
            }
        }
    }
}
