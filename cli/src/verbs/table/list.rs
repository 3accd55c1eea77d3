//! `rvlf table list`: the entries as a tree, or as JSON.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::path::Path;

use anstream::stdout;
use rvlf::Escaped;
use rvlf::table::{Entry, Liveness, Snapshot, snapshot};
use serde_json::json;

use super::{Failure, is_missing, of_table};
use crate::escape::{json_text, shell_path};
use crate::{exit, messages};

/// The deepest level that has an indent of its own. A deeper entry names its parent: with an indent for each level
/// the output would grow with the square of the depth, and a table of 3 MB may have 20,000 levels.
const INDENTED: usize = 16;

pub fn run(path: &Path, as_json: bool) -> Result<u8, Failure> {
    let snapshot = snapshot(path)?;
    let is_empty = snapshot.table.entries.is_empty();
    if as_json && is_empty && is_missing(path) {
        messages::print(of_table(path, "no entries"));
    } else if as_json {
        print_json(&snapshot)?;
    } else if is_empty {
        writeln!(stdout(), "{}", of_table(path, "no entries"))?;
    } else {
        print_tree(&snapshot)?;
        print_advice(path, &snapshot)?;
    }
    Ok(exit::SUCCESS)
}

fn print_json(snapshot: &Snapshot) -> io::Result<()> {
    for (entry, liveness) in snapshot.table.entries.iter().zip(&snapshot.liveness) {
        let object = json!({
            "entry": entry,
            "state": state(*liveness),
            "reason": liveness.to_string(),
        });
        writeln!(stdout(), "{}", json_text(&object))?;
    }
    Ok(())
}

/// Prints each entry below its parent, and at the end the entries whose parents form a cycle.
fn print_tree(snapshot: &Snapshot) -> io::Result<()> {
    let entries = &snapshot.table.entries;
    let (roots, children) = family(entries);
    let mut printed = HashSet::new();
    for root in roots.into_iter().chain(0..entries.len()) {
        let mut stack = vec![(root, 0)];
        while let Some((index, depth)) = stack.pop() {
            let judged = entries.get(index).zip(snapshot.liveness.get(index));
            let Some((entry, liveness)) = judged.filter(|_| printed.insert(index)) else {
                continue;
            };
            print_entry(entry, *liveness, depth)?;
            let below = children.get(entry.name.as_str()).into_iter().flatten();
            stack.extend(below.rev().map(|child| (*child, depth + 1)));
        }
    }
    Ok(())
}

/// What to do about entries of which only a person can know whether their processes are alive.
fn print_advice(path: &Path, snapshot: &Snapshot) -> io::Result<()> {
    let is_unknown = |liveness: &Liveness| !liveness.is_dead() && !liveness.is_alive();
    if !snapshot.liveness.iter().any(is_unknown) {
        return Ok(());
    }
    let path = shell_path(path);
    writeln!(
        stdout(),
        "if the process of an unknown entry is dead: rvlf table --table {path} release NAME"
    )
}

/// The indices of the entries without a parent, and of each name's children.
fn family(entries: &[Entry]) -> (Vec<usize>, HashMap<&str, Vec<usize>>) {
    let names: HashSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    let (mut roots, mut children) = (Vec::new(), HashMap::<&str, Vec<usize>>::new());
    for (index, entry) in entries.iter().enumerate() {
        match entry.parent.as_deref() {
            Some(parent) if names.contains(parent) => {
                children.entry(parent).or_default().push(index);
            }
            _ => roots.push(index),
        }
    }
    (roots, children)
}

fn print_entry(entry: &Entry, liveness: Liveness, depth: usize) -> io::Result<()> {
    let indent = "    ".repeat(depth.min(INDENTED));
    let print = |line: String| writeln!(stdout(), "{indent}{}", Escaped::text(&line));
    let (name, pid, state) = (&entry.name, entry.pid, state(liveness));
    print(format!("{name}  pid {pid}  {state}: {liveness}"))?;
    if let Some(parent) = entry.parent.as_ref().filter(|_| depth > INDENTED) {
        print(format!("  delegated by {parent}"))?;
    }
    match &entry.segment {
        Some(segment) => print(format!("  segment {segment}"))?,
        None => print("  placeholder: not adopted yet".into())?,
    }
    for rule in &entry.allow {
        print(format!("  {rule}"))?;
    }
    for rule in &entry.deny {
        print(format!("  not {rule}"))?;
    }
    if !entry.socket.as_os_str().is_empty() {
        print(format!("  socket {}", entry.socket.display()))?;
    }
    Ok(())
}

fn state(liveness: Liveness) -> &'static str {
    if liveness.is_dead() {
        "dead"
    } else if liveness.is_alive() {
        "alive"
    } else {
        "unknown"
    }
}
