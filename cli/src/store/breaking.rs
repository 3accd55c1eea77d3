//! `rvlf break URL`.

use std::io::{self, Write};

use anstream::stdout;
use rvlf::{Escaped, Record, ShellWord, WriterId};
use rvlf_object_store::{AcquireError, BreakError, StoreOptions, block_on};

use super::url::{Opened, Url};
use crate::{exit, messages};

/// Breaks the lock: if it is stale, or by force that of the hold `forced`, at once if `now`.
pub fn break_lock(url: &Url, forced: Option<WriterId>, now: bool) -> io::Result<u8> {
    let opened = match url.open(&StoreOptions::new()) {
        Ok(opened) => opened,
        Err(error) => {
            messages::print(error);
            return Ok(exit::IO);
        }
    };
    let lock = &opened.lock;
    let broken = match forced {
        None => block_on(lock.break_stale()),
        Some(writer_id) if now => block_on(lock.break_forced_now(writer_id)),
        Some(writer_id) => {
            announce_wait(&opened, writer_id);
            block_on(lock.break_forced(writer_id))
        }
    };
    match broken {
        Ok(victim) => {
            print_broken(&opened, victim)?;
            Ok(exit::SUCCESS)
        }
        Err(error) => Ok(refused(&opened, forced, &error)),
    }
}

/// The wait takes a lease of the holder, in which nothing is to be seen.
fn announce_wait(opened: &Opened, writer_id: WriterId) {
    let Ok(report) = block_on(opened.lock.inspect()) else {
        return;
    };
    let is_named = |record: &&Record| record.writer_id() == writer_id;
    if let (Some(_), Some(lease)) = (report.record().filter(is_named), report.lease()) {
        messages::print(format_args!(
            "{}: taking the lock over, and waiting for its lease of {} s, so that the holder has noticed; \
             --now does not wait",
            Escaped::path(opened.data.to_string().as_ref()),
            lease.as_secs_f64(),
        ));
    }
}

fn print_broken(opened: &Opened, victim: Option<Record>) -> io::Result<()> {
    let data = opened.data.to_string();
    let data = Escaped::path(data.as_ref());
    match victim {
        None => writeln!(stdout(), "{data}: already free"),
        Some(record) => writeln!(
            stdout(),
            "{data}: released, instead of pid {} on {} (writer id {})",
            record.pid(),
            record.hostname(),
            record.writer_id()
        ),
    }
}

fn refused(opened: &Opened, forced: Option<WriterId>, error: &BreakError) -> u8 {
    let held_id = match error {
        BreakError::Held { holder } => holder.record().map(Record::writer_id),
        _ => None,
    };
    match (held_id, forced) {
        (Some(held), Some(given)) if held != given => messages::print(format_args!(
            "{}: not broken: its writer id is {held}, not {given}; look again: rvlf status {}",
            Escaped::path(opened.data.to_string().as_ref()),
            ShellWord::new(&opened.data.to_string()),
        )),
        _ => messages::print(error),
    }
    match error {
        BreakError::Held { .. } | BreakError::Lost(_) => exit::HELD,
        BreakError::Acquire(AcquireError::NotALock { .. }) => exit::NOT_A_LOCK,
        BreakError::Acquire(AcquireError::Held { .. }) => exit::HELD,
        _ => exit::IO,
    }
}
