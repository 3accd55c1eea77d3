//! The record and the judgement link into a program without std, and work there.
//!
//! A check with `--no-default-features` alone shows nothing: on this host a dependency that needs
//! std finds it, and the mistake shows only where there is none.
#![cfg(unix)]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::second_reader::{self, Class, Polynomial};

fn run(command: &mut Command) -> String {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}: {said}",
        output.status
    );
    String::from_utf8(output.stdout).expect("it prints ASCII")
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("no_std")
}

/// Builds the static library and links a C program with it.
fn build() -> PathBuf {
    let source = source();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no_std");
    run(Command::new(env!("CARGO"))
        .args(["build", "--release", "--quiet", "--manifest-path"])
        .arg(source.join("Cargo.toml"))
        .env("CARGO_TARGET_DIR", &target)
        // Flags for this build, such as those of a platform test, are not meant for that one.
        .env_remove("RUSTFLAGS"));
    let library = target.join("release/librvlf_no_std.a");
    let program = target.join("main");
    run(Command::new("gcc")
        .args(["-Wall", "-Wextra", "-Werror", "-nodefaultlibs", "-o"])
        .arg(&program)
        .arg(source.join("main.c"))
        .arg(&library)
        // No libgcc_s and no libpthread: what std would drag in does not resolve.
        .args(["-lc", "-Wl,--gc-sections"]));
    program
}

#[test]
fn a_c_program_decodes_refreshes_and_judges_without_std() {
    let missing = if Command::new("gcc").arg("--version").output().is_err() {
        Some("there is no gcc")
    } else if !source().exists() {
        Some("the published package does not have the program's source")
    } else {
        None
    };
    if let Some(reason) = missing {
        let required = env::var_os("RVLF_REQUIRE").is_some_and(|which| which == "all");
        assert!(!required, "RVLF_REQUIRE=all, but {reason}");
        println!("skipped: {reason}");
        return;
    }
    let program = build();
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spec/vectors");
    for (file, pid, rows) in [
        ("rt-default.bin", 23921, "row 13, later -13"),
        ("node-hostname-utf8.bin", 24687, "row 13, later -13"),
        // CRC-32C is computed by another routine without std than with it.
        ("synthetic/crc32c.bin", 4242, "row 13, later -13"),
        ("synthetic/stamped.bin", 4242, "row 9, later -9"),
        ("synthetic/long-504.bin", 4242, "row 13, later -13"),
        ("synthetic/bad-crc.bin", 0, "row 3, later -4"),
        ("synthetic/empty.bin", 0, "row 3, later -4"),
        ("synthetic/pid-0.bin", 0, "row 3, later -4"),
        ("synthetic/version-2.bin", 0, "row 1, later 1"),
        ("rvlite031-json-lock.bin", 0, "row 1, later 1"),
    ] {
        let path = vectors.join(file);
        let mut expected = format!("pid {pid}\n{rows}\n");
        let bytes = fs::read(&path).expect("the vectors are part of the repository");
        if let Class::Valid(fields) = second_reader::classify(&bytes) {
            expected += &format!("refreshed {}\n", refreshed(&bytes, fields.writer_id));
        }
        assert_eq!(run(Command::new(&program).arg(&path)), expected, "{file}");
    }
}

/// The record in `bytes` at the time that the program sets, in hexadecimal.
fn refreshed(bytes: &[u8], writer_id: [u8; 16]) -> String {
    let field = bytes
        .get(0x08..0x48)
        .and_then(|field| field.try_into().ok());
    let pid = bytes.get(0x04..0x08).and_then(|pid| pid.try_into().ok());
    let record = second_reader::build(
        u32::from_le_bytes(pid.expect("a whole record")),
        field.expect("a whole record"),
        0x0102_0304_0506_0708,
        writer_id,
        1,
        Polynomial::Ieee,
    );
    record.iter().map(|byte| format!("{byte:02x}")).collect()
}
