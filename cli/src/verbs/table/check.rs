//! `rvlf table check`: reports contradictions and dead entries.

use std::io::{self, Write};
use std::path::Path;

use anstream::stdout;
use rvlf::Escaped;
use rvlf::table::{Table, snapshot};

use super::{Failure, dead_entries, describe, of_table};
use crate::exit;
use crate::messages::count;

pub fn run(path: &Path) -> Result<u8, Failure> {
    let snapshot = snapshot(path)?;
    let entries = &snapshot.table.entries;
    let problems = snapshot.table.problems();
    for problem in &problems {
        writeln!(stdout(), "{}", Escaped::text(&problem.to_string()))?;
    }
    note_compatibility(&snapshot.table)?;
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
    let result = of_table(path, format_args!("{entries}, no problems"));
    writeln!(stdout(), "{result}")?;
    Ok(exit::SUCCESS)
}

/// One line, which changes no exit status: most tables are not shared with other programs.
fn note_compatibility(table: &Table) -> io::Result<()> {
    let problems = table.compatibility_problems();
    let Some(first) = problems.first() else {
        return Ok(());
    };
    let more = match problems.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    let note = format!("note: {first}{more}");
    writeln!(stdout(), "{}", Escaped::text(&note))
}
