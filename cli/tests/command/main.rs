//! The command `rvlf`, run as people and scripts run it.
#![cfg(unix)]
#![allow(
    clippy::indexing_slicing,
    reason = "a key that a JSON value does not have reads as null"
)]

mod break_;
mod chaos;
mod document;
mod dump;
mod exit_status;
mod file_limit;
mod foreign;
mod guardian;
mod help;
mod hold;
mod hostile_names;
mod json;
mod run;
mod run_children;
mod run_loss;
mod run_options;
mod run_signals;
mod scan;
mod status;
#[cfg(feature = "object-store")]
mod store;
#[cfg(feature = "object-store")]
mod store_servers;
mod support;
#[cfg(target_os = "linux")]
mod table;
mod tasks;
mod terminal;
mod urls;
mod wait;
