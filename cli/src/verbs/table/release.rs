//! `rvlf table release`: removes one entry.

use std::io::Write;
use std::path::Path;

use anstream::stdout;
use rvlf::table::{TableError, TableGuard, snapshot};

use super::{Failure, LOCK_TIMEOUT, describe, is_missing, of_table};
use crate::{exit, messages};

pub fn run(path: &Path, name: &str, force: bool) -> Result<u8, Failure> {
    let unknown = || TableError::UnknownName {
        name: name.to_owned(),
        table: Some(path.into()),
    };
    // Opening a table that does not exist would create its file and directory.
    if snapshot(path)?.table.find(name).is_none() {
        return not_found(path, name, unknown());
    }
    let mut guard = TableGuard::open(path, LOCK_TIMEOUT)?;
    let entries = guard.table().entries.iter().zip(guard.liveness());
    let mut named = entries.filter(|(entry, _)| entry.name == name);
    let (entry, liveness) = named.next().ok_or_else(unknown)?;
    if liveness.is_alive() && !force {
        let refusal = describe(entry, "not released", liveness);
        messages::print(format_args!(
            "{refusal}; end the process first, or use --force"
        ));
        return Ok(exit::HELD);
    }
    let message = describe(entry, "released", liveness);
    guard.release(name)?;
    guard.save()?;
    writeln!(stdout(), "{message}")?;
    Ok(exit::SUCCESS)
}

/// The path may not be the one that was meant, and the error cannot say that there is no file.
fn not_found(path: &Path, name: &str, error: TableError) -> Result<u8, Failure> {
    if !is_missing(path) {
        return Err(error.into());
    }
    let what = format!("no entry {name:?}; name the table by --table or RVLF_TABLE");
    messages::print(of_table(path, what));
    Ok(exit::USAGE)
}
