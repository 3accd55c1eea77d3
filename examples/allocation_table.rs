//! A parent that gives parts of its data to children, one of which is killed.
//!
//! ```sh
//! cargo run --features table --example allocation_table
//! ```
//!
//! [`index`] is what a child of yours would do, [`supervise`] what a parent would.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use rvlf::table::{Allocation, Claim, ScopeRule, TableError, TableGuard, snapshot};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How long to wait for the table: each operation takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// The data set. Nothing is written there: the table is about names.
const DATA: &str = "/srv/index";

/// A child: takes over what its parent has set aside for it, and works until it is told to stop.
fn index(table: &Path, name: &str) -> Outcome<()> {
    let mine = Allocation::adopt(table, name, &format!("segment-of-{name}"), PATIENCE)?;
    println!("ready");
    let mut commands = std::io::stdin().lines();
    while let Some("commit") = commands.next().transpose()?.as_deref() {
        // Right before each commit: somebody may have taken the entry away.
        mine.check()?;
    }
    mine.release()?;
    Ok(())
}

/// A parent: registers the whole, sets a part aside for each child, and starts them.
fn supervise(table: &Path) -> Outcome<()> {
    let all = Claim::new("parent").allow(ScopeRule::write(DATA));
    let parent = Allocation::register(table, &all, "segment-of-parent", PATIENCE)?;
    let mut children = Vec::new();
    for name in ["child-1", "child-2"] {
        let part = ScopeRule::write(Path::new(DATA).join(name));
        parent.delegate(&Claim::new(name).allow(part), PATIENCE)?;
        children.push(start(table, name)?);
    }
    show("each has its part:", table)?;

    let taken = Claim::new("child-3").allow(ScopeRule::write(Path::new(DATA).join("child-1/x")));
    match parent.delegate(&taken, PATIENCE) {
        Err(error @ TableError::WriteConflict { .. }) => println!("\nrefused: {error}"),
        other => return Err(format!("two may not have one part: {other:?}").into()),
    }

    let [first, second] = children.as_mut_slice() else {
        return Err("two were started".into());
    };
    first.kill()?;
    first.wait()?;
    show("\nchild-1 is killed, and has released nothing:", table)?;
    // The next operation of anybody finds it dead; what it had is its parent's again.
    parent.delegate(&taken, PATIENCE)?;
    show(
        "\nits part is the parent's, who gives it to another:",
        table,
    )?;

    drop(second.stdin.take());
    second.wait()?;
    parent.reclaim("child-3", &[], PATIENCE)?;
    parent.release()?;
    let left = TableGuard::open(table, PATIENCE)?;
    assert!(left.table().entries.is_empty(), "all is released");
    println!("\nall is released");
    Ok(())
}

fn start(table: &Path, name: &str) -> Outcome<Child> {
    let mut child = Command::new(std::env::current_exe()?)
        .args([table.as_os_str(), name.as_ref()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let said = child.stdout.take().ok_or("its output is piped")?;
    BufReader::new(said).read_line(&mut String::new())?;
    Ok(child)
}

fn show(title: &str, table: &Path) -> Outcome<()> {
    println!("{title}");
    let looked = snapshot(table)?;
    assert_eq!(looked.table.problems(), [], "no two have one part");
    for (entry, liveness) in looked.table.entries.iter().zip(&looked.liveness) {
        let rules: Vec<String> = entry.allow.iter().map(ToString::to_string).collect();
        println!("  {entry}: {}; {liveness}", rules.join(", "));
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let outcome = match (args.next(), args.next()) {
        (Some(table), Some(name)) => index(&PathBuf::from(table), &name.to_string_lossy()),
        _ => tempfile::tempdir()
            .map_err(Into::into)
            .and_then(|dir| supervise(&dir.path().join("table.json"))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
