//! Stores of other authors, before and after rvlf is their lock: the proof of docs/adopting.md.
#![cfg(target_os = "linux")]

mod commit_log;
mod contention;
mod guarded_log;
mod journal;
mod pages;
mod patched;
mod rvf_runtime;

#[test]
fn child_role() {
    support::run_role(&[
        ("bare contender", commit_log::bare_contender),
        ("guarded contender", commit_log::guarded_contender),
        ("torn writer", commit_log::torn_writer),
    ]);
}
