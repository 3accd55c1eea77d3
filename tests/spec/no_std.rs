//! The record and the judgement link into a program without std, and work there.
//!
//! A check with `--no-default-features` alone proves nothing: on this host a dependency that needs std
//! finds it, and the mistake shows only on a target without std.
#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::second_reader::{self, Class, Polynomial};

fn run(command: &mut Command) -> String {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}: {message}",
        output.status
    );
    String::from_utf8(output.stdout).expect("the output is ASCII")
}

fn source() -> PathBuf {
    support::repository().join("tests/no_std")
}

/// Builds the static library and links a C program with it.
fn build() -> PathBuf {
    let source = source();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no_std");
    run(Command::new(env!("CARGO"))
        .args(["build", "--release", "--quiet", "--manifest-path"])
        .arg(source.join("Cargo.toml"))
        .env("CARGO_TARGET_DIR", &target)
        // The flags of this build, such as those of a platform test, are not for that build.
        .env_remove("RUSTFLAGS"));
    let library = target.join("release/librvlf_no_std.a");
    let program = target.join("main");
    run(Command::new("gcc")
        .args(["-Wall", "-Wextra", "-Werror", "-nodefaultlibs", "-o"])
        .arg(&program)
        .arg(source.join("main.c"))
        .arg(&library)
        // No libgcc_s and no libpthread: symbols that std needs do not resolve.
        .args(["-lc", "-Wl,--gc-sections"]));
    program
}

#[test]
fn a_c_program_decodes_refreshes_and_judges_without_std() {
    if Command::new("gcc").arg("--version").output().is_err() {
        return support::skip("gcc is not installed");
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    if tempfile::tempfile_in(target).is_err() {
        return support::skip("this user may not write to the directory of the build");
    }
    let program = build();
    let vectors = support::repository().join("spec/vectors");
    for (file, pid, rows) in [
        ("rt-default.bin", 23921, "row 13, later -13"),
        ("node-hostname-utf8.bin", 24687, "row 13, later -13"),
        // Without std another routine computes CRC-32C.
        ("synthetic/crc32c.bin", 4242, "row 13, later -13"),
        ("synthetic/stamped.bin", 4242, "row 9, later -9"),
        ("synthetic/long-504.bin", 4242, "row 13, later -13"),
        // A copied object of a store: no stamp, another host.
        (
            "synthetic/store-payload-json.bin",
            4242,
            "row 13, later -13",
        ),
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

/// The record in `bytes` after the program's refresh, in hexadecimal.
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
