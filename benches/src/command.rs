//! The command `rvlf` as a user gets it.

use std::path::PathBuf;

use escargot::CargoBuild;

/// Builds the command with the release profile, if the built one is not current, and returns its
/// path. Cargo sets no path for a program of another package, and one that was built earlier may
/// be out of date.
pub fn build_command() -> PathBuf {
    let build = CargoBuild::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .package("rvlf-cli")
        .bin("rvlf")
        .release();
    let program = build.run().expect("the command rvlf compiles");
    program.path().to_owned()
}
