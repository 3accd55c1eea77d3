//! The command `rvlf` as a user gets it.

use std::path::{Path, PathBuf};

use escargot::CargoBuild;
use tempfile::TempDir;

use crate::Mode;

/// Builds the command with the release profile, if the built one is not current, and returns its
/// path. Cargo sets no path for a program of another package, and one that was built earlier may
/// be out of date.
pub fn build_command() -> PathBuf {
    built(release())
}

fn release() -> CargoBuild {
    CargoBuild::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .package("rvlf-cli")
        .bin("rvlf")
        .release()
}

fn built(build: CargoBuild) -> PathBuf {
    let program = build.run().expect("the command rvlf compiles");
    program.path().to_owned()
}

/// The command as `cargo install` leaves it: a copy. The linker writes a file in pieces, which the kernel
/// keeps in single pages: each process that executes it has a tenth more page faults.
pub struct Installed {
    path: PathBuf,
    static_path: Option<PathBuf>,
    _directory: TempDir,
}

impl Installed {
    /// Builds the command as it is built by default, and linked statically where that can be compared and
    /// time matters.
    pub fn build(mode: Mode) -> Installed {
        let directory = tempfile::tempdir_in(directory_of_this_program());
        let directory = directory.expect("the build directory is writable");
        let install = |name: &str, program: PathBuf| {
            let path = directory.path().join(name);
            std::fs::copy(program, &path).expect("there is room for a copy");
            path
        };
        let static_path = can_be_static(mode).then(|| install("static", built(statically())));
        Installed {
            path: install("rvlf", build_command()),
            static_path,
            _directory: directory,
        }
    }

    /// The program as it is built by default.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the other program differs.
    pub fn has_static(&self) -> bool {
        self.static_path.is_some()
    }

    /// The program that is linked statically; that which is built by default, if there is none.
    pub fn static_path(&self) -> &Path {
        self.static_path.as_ref().unwrap_or(&self.path)
    }
}

fn can_be_static(mode: Mode) -> bool {
    matches!(mode, Mode::Full | Mode::Goals)
        && cfg!(all(
            target_os = "linux",
            target_env = "gnu",
            target_arch = "x86_64"
        ))
}

fn statically() -> CargoBuild {
    release()
        // Named, so that the flags are not those of build scripts and macros.
        .target("x86_64-unknown-linux-gnu")
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
}

fn directory_of_this_program() -> PathBuf {
    let program = std::env::current_exe().expect("the path of a running program is known");
    let directory = program.parent().expect("a program lies in a directory");
    directory.to_owned()
}
