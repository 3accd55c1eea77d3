//! Links the unwinder of GCC into the command, where the linker has it as an archive.
//!
//! The standard library refers to it for backtraces. As a shared library, libgcc_s, it is one more file
//! that the dynamic loader opens, maps and relocates at each start of the command, a twelfth of the time
//! that `flock FILE true` takes as a whole process.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let is_gnu_linux =
        variable("CARGO_CFG_TARGET_OS") == "linux" && variable("CARGO_CFG_TARGET_ENV") == "gnu";
    // Of another target's linker nothing is known here.
    if is_gnu_linux && variable("HOST") == variable("TARGET") && has_archive() {
        println!("cargo::rustc-link-lib=static:-bundle=gcc_eh");
    }
}

/// Whether the linker, which is a C compiler on this system, finds the archive. It prints the bare name if
/// it does not.
fn has_archive() -> bool {
    let linker = env::var("RUSTC_LINKER").unwrap_or_else(|_| "cc".to_owned());
    let found = Command::new(linker)
        .arg("-print-file-name=libgcc_eh.a")
        .output();
    found.is_ok_and(|found| found.status.success() && found.stdout.starts_with(b"/"))
}
