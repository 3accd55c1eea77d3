//! The command beside the references in plain Python and in plain JavaScript, which were written from
//! the text of `spec/` alone: all judge every lock file alike, and the one in Python shares locks.
#![cfg(all(target_os = "linux", not(rvlf_portable), not(rvlf_unsupported)))]
#![allow(
    clippy::indexing_slicing,
    reason = "a key that a JSON value does not have reads as null"
)]

mod contention;
mod dump;
mod programs;
mod recovery;
mod status;

use programs::{python3, reference, spec};

#[test]
fn child_role() {
    support::run_role(&[("section", contention::section), ("stay", recovery::stay)]);
}

// The text and the vectors are only as good as an implementation that was written from them.
#[test]
fn the_reference_passes_every_vector() {
    let Some(program) = reference() else { return };
    let mut command = python3();
    command.arg("-B").arg(program).arg("vectors");
    let output = command.arg(spec().join("vectors")).output();
    let output = output.expect("python3 has run before");
    let answer = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "a vector differs: {answer}");
}
