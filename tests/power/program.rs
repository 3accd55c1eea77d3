//! Writers on a disk that loses power, and what must be there afterwards.
//!
//! ```text
//! power note NAME ITEM EVENT..  a note: what was promised
//! power write DIR NAME          writers of all items in DIR, on the file system NAME, until killed
//! power check DIR NAME <NOTES   after a cut: is in DIR what the notes promise of NAME? (0), no (1)
//! ```
//!
//! `RVLF_POWER_MARKS` is the device that takes the notes, `RVLF_POWER_LOG` the example `append_log`.
//! Two libraries are preloaded: `RVLF_POWER_NO_SYNC` into controls, whose syncs do nothing, and
//! `RVLF_POWER_NO_TMPFILE` into holders whose lock is to be published by a private name or created exclusively.
//!
//! The items of a file system, each a file in DIR:
//!
//! | item | what is promised | its control |
//! |---|---|---|
//! | `lock` | a lock that was handed out is there, stale, and reported to the next holder | `control-lock`, with `Durability::None` |
//! | `data` | what is written and synced under `control-lock` is there | |
//! | `table` | the table is whole, with every entry whose save has returned | `control-table` |
//! | `log` | the entries that the example `append_log` has reported are there | `control-log` |

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use super::marks::Marks;
use super::{check, write};

pub(crate) type Fallible<T> = Result<T, Box<dyn Error>>;

pub(crate) fn run() -> Fallible<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["note", name, item, event @ ..] => {
            Marks::open(name, item)?.note(&event.join(" "))?;
            Ok(ExitCode::SUCCESS)
        }
        ["write", dir, name] => write::all(Path::new(dir), name),
        ["write", dir, name, role, item] => write::one(Path::new(dir), name, role, item),
        ["check", dir, name] => check::all(Path::new(dir), name),
        _ => Err("usage: power note NAME ITEM EVENT.. | write DIR NAME | check DIR NAME".into()),
    }
}
