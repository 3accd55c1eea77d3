//! `rvlf table reclaim`: removes the entries of dead processes.

use std::io::Write;
use std::path::Path;

use anstream::stdout;
use rvlf::table::{Entry, TableGuard, snapshot};

use super::{Failure, LOCK_TIMEOUT, dead_entries, describe, of_table};
use crate::exit;

pub fn run(path: &Path, dry_run: bool) -> Result<u8, Failure> {
    let snapshot = snapshot(path)?;
    let dead: Vec<_> = dead_entries(&snapshot.table.entries, &snapshot.liveness).collect();
    // Opening the table to change it would create the file and its directory.
    if dead.is_empty() {
        writeln!(stdout(), "{}", of_table(path, "nothing to reclaim"))?;
    } else if dry_run {
        for (entry, liveness) in dead {
            let line = describe(entry, "would be reclaimed", liveness);
            writeln!(stdout(), "{line}")?;
        }
    } else {
        reclaim(path)?;
    }
    Ok(exit::SUCCESS)
}

fn reclaim(path: &Path) -> Result<(), Failure> {
    let mut guard = TableGuard::open(path, LOCK_TIMEOUT)?;
    // Each process is judged once. If a process ended between two judgements, its entry would be
    // reclaimed and reported as alive.
    let judged = guard.liveness();
    let mut liveness = judged.iter();
    let is_dead = |_: &Entry| liveness.next().is_some_and(|liveness| liveness.is_dead());
    let reclaimed = guard.table_mut().reclaim_stale_with(is_dead);
    guard.save()?;
    let reasons = judged.into_iter().filter(|liveness| liveness.is_dead());
    for (entry, liveness) in reclaimed.iter().zip(reasons) {
        writeln!(stdout(), "{}", describe(entry, "reclaimed", liveness))?;
    }
    Ok(())
}
