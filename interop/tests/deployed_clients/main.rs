//! The published clients at the other end, each with the same cases.
#![cfg(unix)]

#[macro_use]
mod cases;
mod rvf_node;
mod rvf_runtime;

#[test]
#[ignore = "runs as a child process of the other tests"]
fn process() {
    cases::serve();
}
