//! The published npm package `@ruvector/rvf-node`: the same cases as for rvf-runtime.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::cases::{Process, Start};

/// The directory of the installed package, or why there is none.
fn package() -> &'static Result<PathBuf, String> {
    static PACKAGE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    PACKAGE.get_or_init(install)
}

fn install() -> Result<PathBuf, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("node");
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("node");
    fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    for name in ["package.json", "client.js"] {
        let copied = fs::copy(source.join(name), directory.join(name));
        copied.map_err(|error| error.to_string())?;
    }
    // A machine without network may have it from an earlier run.
    if loads(&directory).is_err() {
        let install = ["install", "--no-audit", "--no-fund", "--no-package-lock"];
        run(Command::new("npm").args(install).current_dir(&directory))?;
        loads(&directory)?;
    }
    Ok(directory)
}

fn loads(directory: &Path) -> Result<(), String> {
    let wanted = "process.exit(require('@ruvector/rvf-node/package.json').version === \
                  require('./package.json').dependencies['@ruvector/rvf-node'] && \
                  require('@ruvector/rvf-node').RvfDatabase ? 0 : 1)";
    run(Command::new("node")
        .args(["-e", wanted])
        .current_dir(directory))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output();
    let output = output.map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}: {message}", output.status))
}

fn start() -> Option<Start> {
    match package() {
        Ok(directory) => Some(Box::new(move |hostname| {
            let mut node = Command::new("node");
            Process::start(node.arg("client.js").current_dir(directory), hostname)
        })),
        Err(reason) => {
            support::skip(reason);
            None
        }
    }
}

all_cases!(start);
