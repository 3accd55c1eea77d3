//! Where a table is if the caller does not say.

use std::io;
use std::path::{Path, PathBuf};

use super::error::{Result, TableError};
use super::snapshot::snapshot;
use crate::sys::{Host, Sys, entry};

/// The path of the table: `argument` if there is one, else `$RVLF_TABLE`, else
/// `$XDG_STATE_HOME/rvlf/table.json`, else `$HOME/.local/state/rvlf/table.json`.
///
/// The default is a file that outlives a login: in a directory that vanishes at logout
/// (`XDG_RUNTIME_DIR`) the entries of live holders would vanish, too, and the next login would give
/// their scopes to others. Each user has a table of its own by default.
///
/// Pass a path, or set `RVLF_TABLE`, for a home directory that is read-only, and for one that several
/// hosts share (NFS): its table would hold the entries of all of them, and the deaths of processes on
/// the other hosts would not be known.
///
/// An empty variable counts as unset. So does a relative `XDG_STATE_HOME` or `HOME`. A relative
/// `RVLF_TABLE` is used as it is, and means another table in another working directory. Reads the
/// environment; and, for the default, the table that versions before this rule used,
/// `$XDG_RUNTIME_DIR/rvlf/table.json`. Does not wait for a lock.
///
/// # Errors
///
/// [`NoPath`](TableError::NoPath): there is no argument, and no variable is usable.
/// [`OldDefault`](TableError::OldDefault): a live process holds an entry in the table that earlier
/// versions used by default. [`UnreadableOldDefault`](TableError::UnreadableOldDefault): that table cannot be read.
///
/// ```
/// use std::path::Path;
/// use rvlf::table::default_path;
///
/// let path = default_path(Some(Path::new("/srv/table.json")))?;
/// assert_eq!(path, Path::new("/srv/table.json"));
/// # Ok::<(), rvlf::table::TableError>(())
/// ```
pub fn default_path(argument: Option<&Path>) -> Result<PathBuf> {
    let environment = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    resolve(argument, environment)
}

fn resolve(
    argument: Option<&Path>,
    environment: impl Fn(&str) -> Option<PathBuf>,
) -> Result<PathBuf> {
    if let Some(path) = argument {
        return Ok(path.to_owned());
    }
    let set = |variable| environment(variable).filter(|path| !path.as_os_str().is_empty());
    if let Some(path) = set("RVLF_TABLE") {
        return Ok(path);
    }
    let absolute = |variable| set(variable).filter(|path| path.is_absolute());
    let in_home = || absolute("HOME").map(|home| home.join(".local").join("state"));
    let state = absolute("XDG_STATE_HOME").or_else(in_home);
    let path = in_directory(&state.ok_or(TableError::NoPath)?);
    if let Some(runtime) = absolute("XDG_RUNTIME_DIR") {
        ensure_unused(&in_directory(&runtime), &path)?;
    }
    Ok(path)
}

fn in_directory(directory: &Path) -> PathBuf {
    directory.join("rvlf").join("table.json")
}

/// Refuses `path` while a live process holds an entry in the table at `old`: a program of an earlier
/// version that was started before an update. The two would not exclude each other.
///
/// The old table is not used in its place. When its last entry is released, one process would still
/// go on with the old table, and the next one begin with the new.
fn ensure_unused(old: &Path, path: &Path) -> Result<()> {
    if old == path || is_same_directory(entry::parent(old), entry::parent(path)) {
        return Ok(());
    }
    let table = match snapshot(old) {
        // The directory of another user, of which su(1) leaves the variable. Or a file, or a link that leads
        // nowhere, is where a directory would be: no table is there, as if nothing were.
        Err(TableError::Io(error)) if has_no_table(error.source.kind()) => return Ok(()),
        Err(error) => {
            return Err(TableError::UnreadableOldDefault {
                path: path.to_owned(),
                error: Box::new(error),
            });
        }
        Ok(table) => table,
    };
    let mut held = table.entries().filter(|(_, liveness)| !liveness.is_dead());
    match held.next() {
        Some((entry, liveness)) => Err(TableError::OldDefault {
            old: old.to_owned(),
            path: path.to_owned(),
            entry: entry.name.clone(),
            pid: entry.pid,
            is_placeholder: entry.is_placeholder(),
            liveness,
        }),
        None => Ok(()),
    }
}

/// Whether both paths lead to one directory, through a link or a mount: then the two tables are one.
fn is_same_directory(one: &Path, other: &Path) -> bool {
    let number = |path| Host.stat_dir(None, path).ok();
    number(one).is_some_and(|one| number(other) == Some(one))
}

fn has_no_table(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    matches!(kind, NotADirectory | NotFound | PermissionDenied)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn resolved(argument: Option<&Path>, variables: &[(&str, &str)]) -> Result<PathBuf> {
        let environment = |wanted: &str| {
            let set = variables.iter().find(|(variable, _)| *variable == wanted);
            set.map(|(_, value)| PathBuf::from(value))
        };
        resolve(argument, environment)
    }

    // The error named a path that the user had not chosen.
    #[test]
    #[cfg_attr(miri, ignore = "makes system calls")]
    fn a_file_in_place_of_the_old_directory_has_no_table() {
        let variables = [
            ("XDG_STATE_HOME", "/state"),
            ("XDG_RUNTIME_DIR", "/dev/null"),
        ];
        let path = resolved(None, &variables).ok();
        assert_eq!(path, Some("/state/rvlf/table.json".into()));
    }

    // Two processes that resolve different paths use two tables, and do not exclude each other.
    #[test]
    fn the_argument_precedes_the_variable_which_precedes_the_state_directory() {
        let all = [
            ("RVLF_TABLE", "/named/table"),
            ("XDG_STATE_HOME", "/state"),
            ("HOME", "/home/u"),
        ];
        let path = |argument: Option<&Path>, variables: &[(&str, &str)]| {
            resolved(argument, variables).ok()
        };
        let argument = Path::new("given.json");
        assert_eq!(path(Some(argument), &all), Some(argument.into()));
        assert_eq!(path(None, &all), Some("/named/table".into()));
        let [_, state, home] = all;
        assert_eq!(
            path(None, &[("RVLF_TABLE", ""), state, home]),
            Some("/state/rvlf/table.json".into())
        );
        assert_eq!(
            path(None, &[("XDG_STATE_HOME", "relative"), home]),
            Some("/home/u/.local/state/rvlf/table.json".into())
        );
        // A service or a job has no login, and so none of the variables.
        let error = resolved(None, &[("HOME", ""), ("XDG_RUNTIME_DIR", "/run/user/7")]);
        let error = error.expect_err("a directory that vanishes at logout is no default");
        assert!(error.to_string().contains("RVLF_TABLE"), "{error}");
    }
}
