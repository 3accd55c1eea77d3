//! `rvlf break`: removes a stale lock, and with `--force` one that may be held.

use std::io::{self, Write};
use std::path::Path;

use anstream::stdout;
use clap::{Args, ValueHint};
use rvlf::{BreakError, Escaped, Holder, LockFile, LockState, WriterId};

use crate::escape::shell_path;
use crate::target::Target;
use crate::{arguments, exit, inspection, messages, render, store};

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

    /// In an object store: do not wait until the holder has noticed that it lost the lock
    ///
    /// With --force the lock is taken over first, and released after the lease of its holder, which has
    /// stopped writing by then. With --now it is released at once: until the holder notices, two
    /// processes may hold the lock. A commit of the old holder is refused in either case.
    #[arg(long, requires = "force")]
    now: bool,

    /// The data file or URL; its lock is DATA.lock
    #[arg(value_hint = ValueHint::FilePath)]
    data: Target,
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

pub fn run(args: &Break) -> io::Result<u8> {
    match &args.data {
        Target::Store(url) => store::break_lock(url, args.writer_id, args.now),
        Target::File(_) if args.now => {
            messages::print("--now is for URLs: the lock of a file is removed at once");
            Ok(exit::USAGE)
        }
        Target::File(data) => break_file(&arguments::data_file(data), args.writer_id),
    }
}

fn break_file(data: &Path, forced: Option<WriterId>) -> io::Result<u8> {
    match break_lock(data, forced) {
        Ok(removed) => {
            print_removed(data, removed)?;
            Ok(exit::SUCCESS)
        }
        Err(error) => {
            print_refusal(data, forced, &error);
            Ok(exit::status_for_break_error(&error))
        }
    }
}

fn break_lock(data: &Path, forced: Option<WriterId>) -> Result<Option<Holder>, BreakError> {
    let lock_file = LockFile::open(data)?;
    match forced {
        Some(writer_id) => lock_file.force_break(writer_id),
        None => lock_file.break_stale(),
    }
}

fn print_removed(data: &Path, removed: Option<Holder>) -> io::Result<()> {
    let path = Escaped::path(data);
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

fn print_refusal(data: &Path, forced: Option<WriterId>, error: &BreakError) {
    let held_id = match error {
        BreakError::Held { holder, .. } => holder.record().map(|record| record.writer_id()),
        _ => None,
    };
    match (held_id, forced) {
        (Some(held), Some(given)) if held != given => messages::print(format_args!(
            "{}: not removed: its writer id is {held}, not {given}; look again: rvlf status {}",
            Escaped::path(data),
            shell_path(data),
        )),
        _ => {
            messages::print(error);
            if let BreakError::Held { holder, .. } = error {
                inspection::report_kept_open(data, holder);
            }
        }
    }
}
