//! A parent process that delegates parts of its data to child processes, one of which is killed.
//!
//! ```sh
//! cargo run --features table --example allocation_table
//! ```
//!
//! [`index`] is what a child process would do in your program, [`supervise`] what the parent would.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use rvlf::table::{Allocation, Claim, ScopeRule, TableError, new_segment, snapshot};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How long to wait for the lock of the table: each operation takes milliseconds.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The data set. The example writes nothing there: the table compares names only.
const DATA: &str = "/srv/index";

/// The child: adopts the part that the parent delegated, and works until its input ends.
fn index(table: &Path, name: &str) -> Result<()> {
    let part = Allocation::adopt(table, name, &new_segment()?, TIMEOUT)?;
    println!("ready");
    let mut commands = std::io::stdin().lines();
    while let Some("commit") = commands.next().transpose()?.as_deref() {
        // Right before each commit: an operator or the parent may have removed the entry.
        part.check()?;
    }
    part.release()?;
    Ok(())
}

/// The parent: registers the data set, delegates a part to each child, and starts the children.
fn supervise(table: &Path) -> Result<()> {
    let all = Claim::new("parent").allow(ScopeRule::write(DATA));
    let parent = Allocation::register(table, &all, &new_segment()?, TIMEOUT)?;
    let mut first = start_child(&parent, "child-1")?;
    let mut second = start_child(&parent, "child-2")?;
    print_table("each child holds its part:", table)?;

    let part = ScopeRule::write(Path::new(DATA).join("child-1/x"));
    let third = Claim::new("child-3").allow(part);
    match parent.delegate(&third, TIMEOUT) {
        Err(error @ TableError::WriteConflict { .. }) => println!("\nrefused: {error}"),
        other => return Err(format!("a part was delegated twice: {other:?}").into()),
    }

    first.kill()?;
    first.wait()?;
    print_table("\nchild-1 was killed and released nothing:", table)?;
    // Every operation first reclaims dead entries: the part of child-1 is the parent's again.
    parent.delegate(&third, TIMEOUT)?;
    print_table("\nthe parent delegated that part to child-3:", table)?;

    drop(second.stdin.take());
    second.wait()?;
    parent.reclaim("child-3", &[], TIMEOUT)?;
    parent.release()?;
    assert!(
        snapshot(table)?.table.entries.is_empty(),
        "all entries are released"
    );
    println!("\nall entries are released");
    Ok(())
}

/// Delegates a part to a child process of this program, starts the process, and waits until it has
/// adopted the part.
fn start_child(parent: &Allocation, name: &str) -> Result<Child> {
    let part = ScopeRule::write(Path::new(DATA).join(name));
    parent.delegate(&Claim::new(name).allow(part), TIMEOUT)?;
    let mut child = Command::new(std::env::current_exe()?)
        .args([parent.table_path().as_os_str(), name.as_ref()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().ok_or("the output is not piped")?;
    BufReader::new(output).read_line(&mut String::new())?;
    Ok(child)
}

fn print_table(title: &str, table: &Path) -> Result<()> {
    println!("{title}");
    let snapshot = snapshot(table)?;
    assert_eq!(snapshot.table.problems(), [], "no two entries overlap");
    for (entry, liveness) in snapshot.entries() {
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
