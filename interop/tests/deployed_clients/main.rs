//! The published clients of the format beside this library, each with the same cases.
#![cfg(target_os = "linux")]

#[macro_use]
mod cases;
mod rvf_node;
mod rvf_runtime;

#[test]
#[ignore = "runs as a child process of the other tests"]
fn process() {
    cases::serve();
}
