//! Where a table is if the caller does not say.

use std::path::{Path, PathBuf};

use super::error::{Result, TableError};

/// The path of the table: `argument` if there is one, else `$RVLF_TABLE`, else
/// `$XDG_RUNTIME_DIR/rvlf/table.json`.
///
/// An empty variable counts as unset. So does a relative `XDG_RUNTIME_DIR`, as its specification
/// demands. A relative `RVLF_TABLE` is used as it is, and means another table in another working
/// directory. Reads the environment; does no I/O and never blocks.
///
/// # Errors
///
/// [`NoPath`](TableError::NoPath): there is no argument, and neither variable is usable.
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
    match set("XDG_RUNTIME_DIR") {
        Some(runtime) if runtime.is_absolute() => Ok(runtime.join("rvlf").join("table.json")),
        _ => Err(TableError::NoPath),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    // Two processes that resolve different paths use two tables, and do not exclude each other.
    #[test]
    fn the_argument_precedes_the_variable_which_precedes_the_runtime_directory() {
        let both = |variable: &str| match variable {
            "RVLF_TABLE" => Some(PathBuf::from("/named/table")),
            "XDG_RUNTIME_DIR" => Some(PathBuf::from("/run/user/7")),
            _ => None,
        };
        let argument = Path::new("given.json");
        let resolved = |argument, environment: &dyn Fn(&str) -> Option<PathBuf>| {
            resolve(argument, environment).ok()
        };
        assert_eq!(resolved(Some(argument), &both), Some(argument.into()));
        assert_eq!(resolved(None, &both), Some("/named/table".into()));
        let runtime = |variable: &str| both(variable).filter(|_| variable != "RVLF_TABLE");
        assert_eq!(
            resolved(None, &runtime),
            Some("/run/user/7/rvlf/table.json".into())
        );
        let unusable = |variable: &str| match variable {
            "RVLF_TABLE" => Some(PathBuf::new()),
            _ => Some(PathBuf::from("relative")),
        };
        let error = resolve(None, unusable).expect_err("neither variable is usable");
        assert!(error.to_string().contains("RVLF_TABLE"), "{error}");
    }
}
