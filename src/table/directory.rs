//! The directory of a table, and what may be in its place.

use std::path::Path;

use super::error::Result;
use super::flocked::is_missing;
use crate::sys::entry::{self, Entry};
use crate::sys::{Context, Operation, TableSys};

/// The mode of a directory that is made. Only its user may see which tables are in it.
const DIR_MODE: u32 = 0o700;

/// Opens the directory of the table at `path`. `None` if it is not there: then there is no table.
pub(super) fn open<S: TableSys>(sys: S, path: &Path) -> Result<Option<Entry<S>>> {
    match Entry::open(sys.clone(), path) {
        Ok(entry) => Ok(Some(entry)),
        Err(error) => {
            ensure_not_replaced(&sys, path)?;
            match is_missing(&error) {
                true => Ok(None),
                false => Err(error.into()),
            }
        }
    }
}

/// Makes the directory of the table at `path`, unless it is there.
pub(super) fn make<S: TableSys>(sys: &S, path: &Path) -> Result<()> {
    let made = sys.create_dirs(entry::parent(path), DIR_MODE);
    if made.is_err() {
        ensure_not_replaced(sys, path)?;
    }
    Ok(made.context(Operation::NewName("make the directory"), path)?)
}

/// Refuses a file, or a link that leads nowhere, in the place of a directory above `path`. The error of the call that
/// failed would name the table, which is not at fault; and what a link leads to may be a disk that is not mounted
/// yet, with a table full of entries.
fn ensure_not_replaced<S: TableSys>(sys: &S, path: &Path) -> Result<()> {
    let Some(found) = sys.in_place_of_dir(entry::parent(path)) else {
        return Ok(());
    };
    let opened = sys.open_dir(None, &found);
    opened.context(Operation::InPlaceOfDirectory("open the directory"), &found)?;
    Ok(())
}
