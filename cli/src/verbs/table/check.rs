//! `rvlf table check`: reports contradictions and dead entries.

use std::io::Write;
use std::path::Path;

use anstream::stdout;
use rvlf::Escaped;
use rvlf::table::snapshot;

use super::{Failure, dead_entries, describe};
use crate::exit;
use crate::messages::count;

pub fn run(path: &Path) -> Result<u8, Failure> {
    let snapshot = snapshot(path)?;
    let entries = &snapshot.table.entries;
    let problems = snapshot.table.problems();
    for problem in &problems {
        writeln!(stdout(), "{}", Escaped::text(&problem.to_string()))?;
    }
    let dead: Vec<_> = dead_entries(entries, &snapshot.liveness).collect();
    for (entry, liveness) in &dead {
        writeln!(stdout(), "{}", describe(entry, "is dead", *liveness))?;
    }
    if !problems.is_empty() {
        return Ok(exit::NOT_A_LOCK);
    }
    if !dead.is_empty() {
        return Ok(exit::STALE);
    }
    let entries = count(entries.len(), "entry", "entries");
    writeln!(stdout(), "{entries}, no problems")?;
    Ok(exit::SUCCESS)
}
