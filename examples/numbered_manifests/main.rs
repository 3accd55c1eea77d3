//! Writers of one log on a mount that are killed, and stopped until another writer has taken their lock:
//! no acknowledged entry is lost, because the row of manifests refuses late commits.
//!
//! ```sh
//! cargo run --example numbered_manifests                     # in a temporary directory
//! cargo run --example numbered_manifests -- DIR DIR          # one directory on two mounts
//! cargo run --example numbered_manifests -- --in-place       # without the row: entries are lost
//! ```
//!
//! [`write::fenced`] is what a program of yours would do; `row.rs` is the recipe of `docs/fencing.md`.

#[cfg(unix)]
mod demonstration;
#[cfg(unix)]
mod mount;
#[cfg(unix)]
mod row;
#[cfg(unix)]
mod write;

#[cfg(unix)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    demonstration::run()
}

/// The demonstration stops processes by signals.
#[cfg(not(unix))]
fn main() {}
